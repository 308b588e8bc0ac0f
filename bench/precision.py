"""float32 master weights of networks that compute in bfloat16 (`precision=bf16`), or in float32 like their master.

bfloat16 has float32's range and 8 bits of its 24: activations and weights of hidden layers stand it, sums of small
updates do not, so what the optimiser changes stays float32. Last layers (`full_precision`) and all that is computed of
their outputs are float32 too. Source: Micikevicius et al. 2018, section 3.1 (master weights); Kalamkar et al. 2019
(bfloat16 needs no scaling of losses).
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.config import PRECISIONS

L = TypeVar("L", bound=nn.Module)


def full_precision(layer: L) -> L:
    """Mark a layer that computes in float32 whatever the precision. Returns it."""
    layer.full_precision = True  # type: ignore[assignment]
    return layer


class Working:
    """The network that computes, and the master that is optimised, saved and hashed.

    Args:
        master: float32.
        precision: `fp32`: the master itself computes; `bf16`: a copy of it in bfloat16.
    """

    def __init__(self, master: nn.Module, precision: str):
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
        self.master = self.net = master
        if precision == "bf16":
            self.net = copy.deepcopy(master)
            _lower(self.net)
        self._of_master: list[Tensor] = list(master.parameters())
        self._of_net: list[Tensor] = list(self.net.parameters())
        self._trained = [parameter for parameter in self._of_net if parameter.requires_grad]

    def step(self, optimizer: torch.optim.Optimizer, loss: Tensor, max_norm: float | None = None) -> Tensor | None:
        """One step of the master's optimiser on a loss of the network.

        Args:
            optimizer: of the master's parameters.
            loss: scalar, computed with `net`.
            max_norm: of the whole gradient, to which it is clipped; None: it is not.
        Returns:
            the norm before clipping, if it is clipped.
        """
        self.backward(loss)
        norm = None if max_norm is None else nn.utils.clip_grad_norm_(self._of_master, max_norm).detach()
        optimizer.step()
        self.refresh()
        return norm

    def backward(self, loss: Tensor) -> None:
        """Put the gradient of a loss into the master's parameters, in the place of what was there."""
        for parameter in (*self._of_net, *self._of_master):
            parameter.grad = None
        loss.backward(inputs=self._trained)  # type: ignore[no-untyped-call]
        if self.net is not self.master:
            for low, full in zip(self._of_net, self._of_master, strict=True):
                full.grad = None if low.grad is None else low.grad.to(full.dtype)

    @torch.no_grad()
    def follow(self, other: "Working", tau: float) -> None:
        """Move this master towards another: (1 - tau) of its own parameters + tau of the other's (Polyak)."""
        torch._foreach_lerp_(self._of_master, other._of_master, tau)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the network to its master, whose parameters have changed."""
        if self.net is not self.master:
            torch._foreach_copy_(self._of_net, self._of_master)


def _lower(module: nn.Module) -> None:
    if getattr(module, "full_precision", False):
        return
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(torch.bfloat16)
    for child in module.children():
        _lower(child)
