"""What of a run must be kept for it to go on, bit for bit: objects name the attributes that make up their state.

Saving and loading read the same names, so nothing is saved and not loaded. A state is nested dicts and lists of tensors
and plain data: what `torch.load(..., weights_only=True)` accepts. Like PyTorch's it refers to what is live, so it is
saved before anything goes on; loading copies. Tensors come back where they lay: load without `map_location`.
"""

import copy
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


@runtime_checkable
class Stateful(Protocol):
    """What keeps and loads a state of its own: networks, optimisers, environments, and everything `Kept`."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state: Any, /) -> object:
        """Take up the state of an object of the same configuration."""


class Kept:
    """An object that consists, as far as it changes, of the attributes that its class names.

    These are stateful objects, generators, arrays, tensors, plain data, and dicts of them; None where there is nothing.
    """

    KEPT: ClassVar[tuple[str, ...]]
    MEMORY: ClassVar[tuple[str, ...]] = ()  # of an agent: what is big or transient, and no part of what was learnt

    def state_dict(self) -> dict[str, Any]:
        """The state by attribute; that of MEMORY under `memory`."""
        state = self.learnt()
        if self.MEMORY:
            state["memory"] = {name: state_of(getattr(self, name)) for name in self.MEMORY}
        return state

    def learnt(self) -> dict[str, Any]:
        """The state without `memory`."""
        return {name: state_of(getattr(self, name)) for name in self.KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state. Errors: `ValueError` where it has not the keys that it should have."""
        self._load(self.KEPT, {name: part for name, part in state.items() if name != "memory"})
        self._load(self.MEMORY, state.get("memory", {}))

    def _load(self, names: tuple[str, ...], state: dict[str, Any]) -> None:
        if state.keys() != set(names):
            keys = ", ".join(sorted(state.keys() ^ set(names)))
            raise ValueError(f"a state of {type(self).__name__} does not match in {keys}")
        for name in names:
            setattr(self, name, restored(getattr(self, name), state[name]))


class Rows(list[dict[str, Tensor]]):
    """Tensors by name, one row per step or update, of equal names and shapes; their state is a tensor per name."""

    def columns(self) -> dict[str, Tensor]:
        """Name -> `[rows, ...]`; nothing if there is no row."""
        return {name: torch.stack([row[name] for row in self]) for name in (self[0] if self else {})}

    def means(self) -> dict[str, float]:
        """Name -> mean over rows."""
        return {name: column.mean().item() for name, column in self.columns().items()}

    def state_dict(self) -> dict[str, Tensor]:
        """The columns."""
        return self.columns()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up rows from their columns."""
        columns = [column.clone().unbind() for column in state.values()]
        self[:] = [dict(zip(state, row, strict=True)) for row in zip(*columns, strict=True)]


def state_of(value: Any) -> Any:
    """The state of an attribute."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, Stateful):
        return value.state_dict()
    if isinstance(value, np.ndarray | np.generic):
        return torch.from_numpy(np.array(value))
    if isinstance(value, dict):
        return {name: state_of(part) for name, part in value.items()}
    return value


def restored(now: Any, state: Any) -> Any:
    """What an attribute becomes with a state: itself, changed, if it is stateful or a generator, else a new value."""
    if isinstance(now, torch.Generator):
        now.set_state(state)
        return now
    if isinstance(now, Stateful):
        # an optimiser would go on with these very tensors
        now.load_state_dict(copy.deepcopy(state) if isinstance(now, torch.optim.Optimizer) else state)
        return now
    if isinstance(now, np.ndarray | np.generic):
        return state.numpy().copy()
    if isinstance(now, dict):
        return {name: restored(now.get(name), part) for name, part in state.items()}
    return copy.deepcopy(state)
