"""A CUDA graph on the CPU: the operations of a captured function are written down and run again on the same memory."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.graphs import Named, Work


class Tape(TorchDispatchMode):
    """What was done to which tensors. Like a graph it knows no Python: numbers stay as they were at the capture."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the captured function asks for a value")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        """Do it again, into the tensors of the first time."""
        with torch.no_grad():
            for func, args, kwargs, out in self.calls:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():  # no view, not in place
                        old.copy_(new)


class Taping:
    """In the place of `graphs.captured`. Counts captures."""

    def __init__(self) -> None:
        self.captures = 0

    def __call__(self, work: Work):
        """Unlike a capture for CUDA it does the work, so that what it changes must be put back."""
        self.captures += 1
        with Tape() as tape:
            outputs: Named = work()
        return tape.replay, outputs
