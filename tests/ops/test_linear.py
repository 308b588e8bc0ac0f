"""Products by whatever kernel the machine has are those of float64, with their first and second derivatives."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812, the field's name

from bench.ops import linear as module
from bench.ops.linear import WORTH, linear, linear_tanh, matmul, product

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2}
LEADING = [(1,), (40,), (3, 40), (2, 3, 8)]


def inputs(leading, dtype, n=6, m=5):
    generator = torch.Generator().manual_seed(0)
    shapes = ((*leading, n), (m, n), (m,))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def exact(x, weight, bias, tanh):
    out = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    return torch.tanh(out) if tanh else out


def close(found, expected, dtype):
    scale = expected.abs().max().clamp(min=1e-6)
    assert (found.double() - expected).abs().max() / scale < TOLERANCE[dtype]


@pytest.fixture(params=["the machine's", "PyTorch's"])
def kernel(request, monkeypatch):
    monkeypatch.setattr(module, "WORTH", 0)
    if request.param == "PyTorch's":
        monkeypatch.setattr(module, "_onednn", lambda: None)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize(("layer", "tanh"), [(linear, False), (linear_tanh, True)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients(layer, tanh, leading, dtype, biased):
    x, weight, bias = inputs(leading, dtype)
    arguments = (x, weight, bias) if biased else (x, weight)
    out = layer(*arguments)
    assert out.dtype == dtype
    assert out.shape == (*leading, 5)
    expected = exact(x, weight, bias if biased else None, tanh)
    close(out, expected, dtype)
    gradients = torch.autograd.grad(out.float().pow(3).sum(), arguments)
    for found, wanted in zip(gradients, torch.autograd.grad(expected.pow(3).sum(), arguments), strict=True):
        assert found.dtype == dtype
        close(found, wanted.double(), dtype)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("layer", "tanh"), [(linear, False), (linear_tanh, True)])
@pytest.mark.parametrize("leading", [(3,), (40,)])
def test_second_derivatives(layer, tanh, leading):
    arguments = inputs(leading, torch.float32)

    def twice(out):
        first = torch.autograd.grad(out.pow(3).sum(), arguments, create_graph=True)
        return torch.autograd.grad(sum(g.double().square().sum() for g in first), arguments)

    for found, wanted in zip(twice(layer(*arguments)), twice(exact(*arguments, tanh)), strict=True):
        close(found, wanted.double(), torch.float32)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("leading", LEADING)
def test_matmul(leading):
    x, weight, _ = inputs(leading, torch.float32)
    close(matmul(x, weight.t()), x.double() @ weight.double().t(), torch.float32)
    with torch.no_grad():
        flat = x.reshape(-1, x.shape[-1])
        close(product(flat, weight.t()), flat.double() @ weight.double().t(), torch.float32)


@pytest.mark.usefixtures("kernel")
def test_only_what_needs_a_gradient_gets_one():
    x, weight, bias = inputs((40,), torch.float32)
    linear_tanh(x.detach(), weight, bias.detach()).sum().backward()
    assert weight.grad is not None
    assert x.grad is None
    assert bias.grad is None


def test_other_types_are_left_to_pytorch():
    x, weight, bias = (value.double() for value in inputs((40,), torch.float32))
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert torch.equal(linear_tanh(x, weight, bias), torch.tanh(F.linear(x, weight, bias)))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("layer", [linear, linear_tanh])
def test_the_same_bits_every_time(layer):
    arguments = inputs((40,), torch.float32)
    assert torch.equal(layer(*arguments), layer(*arguments))


def test_small_products_are_pytorchs(monkeypatch):
    monkeypatch.setattr(module._Linear, "apply", None)  # calling it would be an error
    x, weight, bias = inputs((WORTH // 30 - 1,), torch.float32)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
