"""CUDA graphs: work of many small kernels that is issued once and then replayed without Python.

A graph replays the same kernels on the same memory. So inputs are copied into buffers that stay, results are copied
out of others, and the captured function must not ask the device for a value, take another path, or depend on a number
of Python that changes. Nothing here needs CUDA but `captured`, for which tests put something else.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from bench.nets import ActorCritic, State

Named = dict[str, Tensor]
Work = Callable[[], Named]
# Before the capture: libraries choose their kernels and take their memory (PyTorch's notes on CUDA graphs).
WARM_UPS = 3


def captured(work: Work) -> tuple[Callable[[], object], Named]:
    """Capture what the work does, without doing it. Returns what replays it, and the tensors that it then fills."""
    graph = torch.cuda.CUDAGraph()
    # Another thread may act meanwhile: only this one's calls can spoil the capture.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = work()
    return graph.replay, outputs


class Static:
    """A function of tensors by name, as one graph for inputs of the shapes that it was first called with.

    Inputs of other shapes (the last batch, which may be smaller) go through the function itself.

    Args:
        function: inputs -> outputs. Besides, it may change the tensors that `changes` names, in place.
        changes: those tensors. One that only the first call makes must begin as zeros (as Adam's moments do).
        capture: as `captured`.
    """

    def __init__(
        self,
        function: Callable[[Named], Named],
        changes: Callable[[], Iterable[Tensor]],
        capture: Callable[[Work], tuple[Callable[[], object], Named]] = captured,
    ):
        self.function, self.changes, self.capture = function, changes, capture
        self.forget()

    def forget(self) -> None:
        """Capture anew at the next call, because tensors that the function uses have been replaced."""
        self.replay: Callable[[], object] | None = None
        self.inputs: Named = {}
        self.outputs: Named = {}

    def __call__(self, inputs: Named) -> Named:
        """What the function returns for these inputs, in tensors of the caller's own."""
        if self.replay is None:
            self._prepare(inputs)
        elif any(value.shape != self.inputs[name].shape for name, value in inputs.items()):
            return self.function(inputs)
        assert self.replay is not None
        for name, value in inputs.items():
            self.inputs[name].copy_(value, non_blocking=True)
        self.replay()
        return {name: value.clone() for name, value in self.outputs.items()}

    def _prepare(self, inputs: Named) -> None:
        """Warm up and capture; whatever the function changed meanwhile is put back."""
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        before = [(tensor, tensor.detach().clone()) for tensor in self.changes()]
        _aside(lambda: [self.function(self.inputs) for _ in range(WARM_UPS)])
        self.replay, self.outputs = self.capture(lambda: self.function(self.inputs))
        known = {id(tensor): value for tensor, value in before}
        with torch.no_grad():
            for tensor in self.changes():
                tensor.copy_(known[id(tensor)]) if id(tensor) in known else tensor.zero_()


def _aside(work: Callable[[], object]) -> None:
    """Do it in a stream of its own, as what precedes a capture must be; without CUDA just do it."""
    if not torch.cuda.is_available():
        work()
        return
    aside: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work()
    torch.cuda.current_stream().wait_stream(aside)


def adam(net: nn.Module, rate: float, eps: float) -> torch.optim.Adam:
    """Adam of all parameters, which a graph may hold if they lie on CUDA. Its rate is set by `set_rate`."""
    device = next(net.parameters()).device
    if device.type != "cuda":
        return torch.optim.Adam(net.parameters(), lr=rate, eps=eps, fused=True)
    lr = torch.tensor(rate, device=device)  # a number would be captured as it was
    return torch.optim.Adam(net.parameters(), lr=lr, eps=eps, fused=True, capturable=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next steps have this learning rate, also those of a graph."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimised(optimizer: torch.optim.Optimizer, others: Sequence[Tensor] = ()) -> list[Tensor]:
    """All tensors that a step of the optimiser changes, and some others: what `Static` puts back."""
    moments = [part for state in optimizer.state.values() for part in state.values() if isinstance(part, Tensor)]
    return [*(p for group in optimizer.param_groups for p in group["params"]), *moments, *others]


class Forward(nn.Module):
    """A network that acts: its forward pass, without gradient, as a graph. Called like the network."""

    def __init__(self, net: ActorCritic, capture: Callable[[Work], tuple[Callable[[], object], Named]] = captured):
        super().__init__()
        self.net = net
        self.initial_state = net.initial_state
        self.static = Static(self._forward, lambda: (), capture)

    def _forward(self, inputs: Named) -> Named:
        logits, value, (h, c) = self.net(inputs["obs"], (inputs["h"], inputs["c"]), inputs["start"])
        return {"logits": logits, "value": value, "h": h, "c": c}

    @torch.no_grad()
    def forward(self, obs: Tensor, state: State, start: Tensor) -> tuple[Tensor, Tensor, State]:
        """See `ActorCritic`."""
        out = self.static({"obs": obs, "h": state[0], "c": state[1], "start": start})
        return out["logits"], out["value"], (out["h"], out["c"])


def acting(net: ActorCritic) -> ActorCritic:
    """A network for acting, to be called as one: `Forward` on CUDA, elsewhere itself."""
    return cast(ActorCritic, Forward(net)) if next(net.parameters()).is_cuda else net
