"""PyTorch's fused Adam without what surrounds each of its steps, which on small networks takes longer than the step."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class Adam(torch.optim.Adam):
    """Adam with PyTorch's state and arithmetic; hooks, profiling ranges and closures are not supported.

    Args:
        parameters: float32.
        lr, eps: as PyTorch's. Each step reads them from `param_groups`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, eps: float):
        super().__init__(parameters, lr=lr, eps=eps, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step on the gradients that are there."""
        assert closure is None
        (group,) = self.param_groups
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if any(parameter not in self.state for parameter in parameters):
            super().step()  # which sets up the state
            return
        state = [self.state[parameter] for parameter in parameters]
        steps = [part["step"] for part in state]
        beta1, beta2 = group["betas"]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters,
            [parameter.grad for parameter in parameters],
            [part["exp_avg"] for part in state],
            [part["exp_avg_sq"] for part in state],
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    step.hooked = True  # type: ignore[attr-defined]  # PyTorch wraps what lacks it in a profiling range
