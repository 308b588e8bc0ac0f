"""Products of matrices, and layers made of them, by the fastest kernel that the machine has for them.

PyTorch multiplies float32 matrices on a CPU with MKL, which on processors other than Intel's leaves half of AVX-512
unused; oneDNN, which PyTorch has for convolutions, does not. It also applies tanh in the same pass, where PyTorch's own
float32 tanh takes half as long as the product before it (docs/performance.md). Its kernel is reached by the operator
that PyTorch's compiler emits for it. Elsewhere, and for small products, these are PyTorch's own functions.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812, the field's name

WORTH = 2**20  # multiplications; with fewer the call costs more than it gains


@cache
def _onednn() -> Any:
    """The operator, or None on a machine that gains nothing from it."""
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not built or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _faster(x: Tensor, weight: Tensor, *dtypes: torch.dtype) -> bool:
    """True where oneDNN's kernel is worth its call. Args: weight: `[m, n]`."""
    return (
        x.dtype == weight.dtype
        and x.dtype in dtypes
        and x.device.type == "cpu"
        and x.numel() * len(weight) >= WORTH
        and _onednn() is not None
    )


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a b, differentiable any number of times.

    Args:
        a: `[..., n]`.
        b: `[n, m]`, of the same type.
    Returns:
        `[..., m]`.
    """
    if not _faster(a, b.t(), torch.float32):
        return a @ b
    product: Tensor = _Linear.apply(a.reshape(-1, a.shape[-1]), b.t(), None)  # type: ignore[no-untyped-call]
    return product.view(*a.shape[:-1], b.shape[1])


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b of two axes each, without gradient: for what has its gradient written out. Arguments as in `matmul`."""
    if not _faster(a, b.t(), torch.float32):
        return a @ b
    out: Tensor = _onednn()(a, b.t(), None, "none", [], "")
    return out


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias, as `torch.nn.functional.linear`.

    Args:
        x: `[..., n]`.
        weight: `[m, n]`.
        bias: `[m]`.
    Returns:
        `[..., m]`.
    """
    if not _faster(x, weight, torch.float32):  # with bfloat16 PyTorch's own is oneDNN's
        return F.linear(x, weight, bias)
    out: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], len(weight))


def linear_tanh(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """tanh of `linear`, in one pass where that is faster. Arguments as there."""
    if not _faster(x, weight, torch.float32, torch.bfloat16):
        return torch.tanh(F.linear(x, weight, bias))
    out: Tensor = _LinearTanh.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], len(weight))


def _gradients(needed: tuple[bool, ...], g: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
    """Of x, weight and bias, themselves differentiable."""
    of_x, of_weight, of_bias = needed
    return (
        matmul(g, weight) if of_x else None,
        matmul(g.t(), x) if of_weight else None,
        g.sum(0) if of_bias else None,
    )


class _Linear(torch.autograd.Function):
    """`linear` of two axes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Run oneDNN's kernel."""
        ctx.save_for_backward(x, weight)
        out: Tensor = _onednn()(x, weight, bias, "none", [], "")
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Two products more."""
        return _gradients(ctx.needs_input_grad, grads[0], *ctx.saved_tensors)


class _LinearTanh(torch.autograd.Function):
    """`linear_tanh` of two axes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Run oneDNN's kernel."""
        out: Tensor = _onednn()(x, weight, bias, "tanh", [], "")
        ctx.save_for_backward(x, weight, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The derivative of tanh from its value, then two products more."""
        x, weight, y = ctx.saved_tensors
        g = grads[0] * (1 - y * y) if torch.is_grad_enabled() else torch.ops.aten.tanh_backward(grads[0], y)
        return _gradients(ctx.needs_input_grad, g, x, weight)
