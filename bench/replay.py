"""Replay of roll-outs: first in first out per actor, sampled uniformly with replacement."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class RolloutReplay:
    """A ring of steps per actor, from which roll-outs of consecutive steps are drawn.

    Every field is a tensor `[time, actors, ...]`. Roll-outs may begin at any step and cross episodes (the fields
    carry the boundaries), but never the place where the newest step meets the oldest. A field lies where its first
    chunk lay.
    Steps near the two ends lie in fewer windows and are drawn less (0.4 % of them in the paper's setting).
    Source: Wang et al. 2019, Table 1 and appendix A.3.

    Args:
        capacity: steps kept per actor.
        num_envs: actors.
    """

    def __init__(self, capacity: int, num_envs: int):
        self.capacity = capacity
        self.num_envs = num_envs
        self.fields: dict[str, Tensor] = {}
        self.size = 0  # steps held per actor
        self.next = 0  # where the next step is written

    def extend(self, chunk: Mapping[str, Tensor]) -> None:
        """Append steps. Args: chunk: field -> `[steps, actors, ...]`, at most `capacity` steps."""
        steps = len(next(iter(chunk.values())))
        if steps > self.capacity:
            raise ValueError(f"a chunk of {steps} steps does not fit a replay of {self.capacity}")
        if not self.fields:
            self.fields = {name: value.new_empty((self.capacity, *value.shape[1:])) for name, value in chunk.items()}
        first = min(steps, self.capacity - self.next)
        for name, value in chunk.items():
            self.fields[name][self.next : self.next + first] = value[:first]
            self.fields[name][: steps - first] = value[first:]
        self.next = (self.next + steps) % self.capacity
        self.size = min(self.size + steps, self.capacity)

    def sample(
        self,
        rollouts: int,
        length: int,
        generator: torch.Generator,
        heads: tuple[str, ...] = (),
        actors: range | None = None,
    ) -> dict[str, Tensor]:
        """Draw roll-outs uniformly with replacement over actors and starting steps.

        Args:
            rollouts: how many, N.
            length: steps of each, T; at most the steps held.
            heads: fields that are wanted at the first step only.
            actors: those to draw from; all of them unless given.

        Returns: field -> `[T, N, ...]`, or `[N, ...]` for `heads`.
        """
        if length > self.size:
            raise ValueError(f"roll-outs of {length} steps from a replay that holds {self.size}")
        actors = actors or range(self.num_envs)
        offset = torch.randint(self.size - length + 1, (rollouts,), generator=generator)
        actor = torch.randint(actors.start, actors.stop, (rollouts,), generator=generator)
        return self.take(offset, actor, length, heads)

    def newest(self, steps: int, length: int, actors: range | None = None) -> tuple[Tensor, Tensor]:
        """Where the roll-outs of the newest steps begin, without overlap; a rest shorter than a roll-out is left out.

        Args:
            steps: how many of the newest steps of each actor; at most the steps held.
            length: steps of a roll-out.
            actors: whose; all of them unless given.

        Returns: offset from the oldest step held, and actor, `[N]` each.
        """
        if steps > self.size:
            raise ValueError(f"the newest {steps} steps of a replay that holds {self.size}")
        actors = actors or range(self.num_envs)
        offset = self.size - steps + length * torch.arange(steps // length)
        actor = torch.arange(actors.start, actors.stop)
        return offset.repeat_interleave(len(actor)), actor.repeat(len(offset))

    def take(self, offset: Tensor, actor: Tensor, length: int, heads: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """The roll-outs that begin there. Args: offset from the oldest step held and actor, `[N]`; else as `sample`."""
        oldest = self.next - self.size
        time = (oldest + offset + torch.arange(length).unsqueeze(1)) % self.capacity
        index = time * self.num_envs + actor
        taken = {}
        for name, field in self.fields.items():
            at = (index[0] if name in heads else index).to(field.device)
            # index_select copies rows; indexing by a tensor of numbers would go byte by byte through small types
            rows = field.flatten(0, 1).index_select(0, at.flatten())
            taken[name] = rows.view(*at.shape, *field.shape[2:])
        return taken

    def state_dict(self) -> dict[str, Any]:
        """The steps held, `[size, actors, ...]` a field, and where the ring stands."""
        # A slice would be saved with all that it is cut from.
        fields = {
            name: field if self.size == self.capacity else field[: self.size].clone()
            for name, field in self.fields.items()
        }
        return {"capacity": self.capacity, "size": self.size, "next": self.next, "fields": fields}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the steps of another replay. Errors: `ValueError` where that one has another capacity."""
        if state["capacity"] != self.capacity:
            raise ValueError(f"a replay of {state['capacity']} steps per actor, expected {self.capacity}")
        self.size, self.next = state["size"], state["next"]
        self.fields = {}
        for name, held in state["fields"].items():
            self.fields[name] = held.new_empty((self.capacity, *held.shape[1:]))
            self.fields[name][: self.size] = held
