"""The frames of stacked observations, each stored once however many stacks hold it."""

from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

GROWTH = 1.25  # of the pool, when the games that ended leave it too small


class Frames:
    """A pool of the frames that the last observations of B games consist of.

    An observation is told by the numbers of its frames, oldest first; the frame that is new in it is stored, the others
    are there already, unless the game was reset. Numbers grow; a frame stays as long as one of the last `window`
    observations of any game holds it. Memory: B (window + stack) frames of height x width bytes, and at most stack - 1
    more for every reset within the window.

    Args:
        num_envs: B.
        shape: `(stack, height, width)` of an observation.
        window: observations of each game that can be asked for.
        device: where the frames lie.
    """

    def __init__(self, num_envs: int, shape: tuple[int, ...], window: int, device: torch.device | str = "cpu"):
        self.shape, self.window = shape, window
        self.pool = torch.empty((num_envs * (window + shape[0]), *shape[1:]), dtype=torch.uint8, device=device)
        self.next = 0  # number of the next frame
        self.oldest: deque[int] = deque(maxlen=window)  # number of the oldest frame of each observation kept
        self.seen: np.ndarray | None = None  # [B, stack, height, width] the last observation
        self.ids = torch.zeros((num_envs, shape[0]), dtype=torch.int64)  # of its frames

    def push(self, obs: np.ndarray, *, between: bool = False) -> Tensor:
        """Store an observation of every game.

        Args:
            obs: `[B, stack, height, width]` uint8. It is kept until the next call and must not change meanwhile.
            between: it does not count for the window (the last observation of a game, before its reset).
        Returns:
            numbers of its frames, `[B, stack]` int64.
        """
        ids, seen = self.ids.clone(), self.seen
        follows = np.zeros(len(obs), dtype=bool) if seen is None else ~_differ(obs[:, :-1], seen[:, 1:])
        ids[follows, :-1] = self.ids[follows, 1:]
        ids[follows, -1] = self.next + torch.arange(int(follows.sum()))
        new = [obs[:, -1] if follows.all() else obs[follows, -1]]
        for b in np.flatnonzero(~follows):
            if seen is None or not np.array_equal(obs[b], seen[b]):
                anew = np.append(True, _differ(obs[b, 1:], obs[b, :-1]))  # a game may begin with one frame repeated
                ids[b] = self.next + sum(map(len, new)) + torch.from_numpy(anew.cumsum() - 1)
                new.append(obs[b, anew])
        self.seen, self.ids = obs, ids
        if not between:
            self.oldest.append(int(ids.min()))
        self._store(torch.from_numpy(new[0] if len(new) == 1 else np.concatenate(new)))
        return ids

    def _store(self, frames: Tensor) -> None:
        first = min(self.oldest, default=self.next)
        if self.next + len(frames) - first > len(self.pool):
            self._grow(first, self.next + len(frames) - first)
        if self.pool.is_cuda:
            frames = frames.contiguous().pin_memory()  # the copy then runs beside what follows
        begin = self.next % len(self.pool)
        until_end = len(self.pool) - begin
        self.pool[begin : begin + len(frames)].copy_(frames[:until_end], non_blocking=True)
        self.pool[: max(0, len(frames) - until_end)].copy_(frames[until_end:], non_blocking=True)
        self.next += len(frames)

    def _grow(self, first: int, needed: int) -> None:
        held = torch.arange(first, self.next)
        frames = self.pool.index_select(0, (held % len(self.pool)).to(self.pool.device))
        self.pool = self.pool.new_empty((int(GROWTH * needed) + 1, *self.shape[1:]))
        self.pool.index_copy_(0, (held % len(self.pool)).to(self.pool.device), frames)

    def take(self, ids: Tensor) -> Tensor:
        """Observations by the numbers of their frames. `[..., stack]` -> `[..., stack, height, width]` uint8."""
        at = (ids % len(self.pool)).flatten().to(self.pool.device)
        return self.pool.index_select(0, at).view(*ids.shape, *self.shape[1:])

    def state_dict(self) -> dict[str, Any]:
        """The frames that are held, and their numbers."""
        first = min(self.oldest, default=self.next)
        return {
            "frames": self.pool.index_select(0, (torch.arange(first, self.next) % len(self.pool)).to(self.pool.device)),
            "slots": len(self.pool),
            "next": self.next,
            "oldest": list(self.oldest),
            "seen": None if self.seen is None else torch.from_numpy(self.seen.copy()),
            "ids": self.ids.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.next, frames = state["next"], state["frames"]
        self.pool = self.pool.new_empty((state["slots"], *self.shape[1:]))
        at = torch.arange(self.next - len(frames), self.next) % state["slots"]
        self.pool.index_copy_(0, at.to(self.pool.device), frames.to(self.pool.device))
        self.oldest = deque(state["oldest"], maxlen=self.window)
        self.seen = None if state["seen"] is None else state["seen"].numpy().copy()
        self.ids = state["ids"].clone()


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along the first axis: True where anything differs."""
    differ: np.ndarray = (a != b).any(tuple(range(1, a.ndim)))
    return differ
