"""The way back into an episode under way: how it started, and the actions since.

A simulator is more than the fields that it shows (quantities that lag behind, warm starts of solvers, counters), so
nothing is copied from it: the episode, a few thousand steps at most, is played again.
"""

from typing import Any, Protocol

import numpy as np

from bench.envs.base import to_tensor

Random = np.random.Generator | np.random.RandomState
KEPT = 4096  # steps, after which those before all present episodes are forgotten
Start = int | dict[str, Any]  # the seed, or the state of the generator just before the episode's reset


class Player(Protocol):
    """One copy of a task, as it is played."""

    @property
    def random(self) -> Random:
        """The one generator of all its randomness."""

    def reset(self, seed: int | None) -> np.ndarray:
        """Start an episode. Args: seed: of all randomness from here on; None continues. Returns `[n]` floats."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        """Act. Args: action: `[d]` or an integer. Returns observation `[n]`, reward, terminated, cut by the time limit.

        Raises:
            FloatingPointError: the simulation has become unstable; says how.
        """


def random_state(random: Random) -> dict[str, Any]:
    """Plain state of a generator of NumPy's."""
    if isinstance(random, np.random.Generator):
        return dict(random.bit_generator.state)
    state: Any = random.get_state(legacy=False)
    return {**state, "state": {**state["state"], "key": to_tensor(state["state"]["key"].astype(np.int64))}}


def set_random_state(random: Random, state: dict[str, Any]) -> None:
    """Let a generator go on from such a state."""
    if isinstance(random, np.random.Generator):
        random.bit_generator.state = state
    else:
        key = state["state"]["key"].numpy().astype(np.uint32)
        random.set_state({**state, "state": {**state["state"], "key": key}})


class Tape:
    """The present episodes of B copies that are stepped together."""

    def __init__(self, num_envs: int):
        self._starts: list[Start] = [0] * num_envs
        self._began = [0] * num_envs  # rows before the copy's episode
        self._rows: list[np.ndarray] = []  # actions of all copies, per step

    def begin(self, copy: int, start: Start) -> None:
        """Another episode of this copy begins, after the last step."""
        self._starts[copy], self._began[copy] = start, len(self._rows)
        if len(self._rows) > KEPT:
            first = min(self._began)
            del self._rows[:first]
            self._began = [began - first for began in self._began]

    def add(self, actions: np.ndarray) -> None:
        """Keep a step. Args: actions: `[B]` or `[B, d]`, into which nobody writes afterwards."""
        self._rows.append(actions)

    def state_dict(self) -> dict[str, Any]:
        """Plain state."""
        first = min(self._began)
        return {
            "starts": list(self._starts),
            "began": [began - first for began in self._began],
            "rows": to_tensor(np.array(self._rows[first:])),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up such a state; the copies follow by `replay`."""
        self._starts, self._began = list(state["starts"]), list(state["began"])
        self._rows = list(state["rows"].numpy().copy())

    def replay(self, copy: int, player: Player) -> np.ndarray:
        """Play the copy's episode again. Returns its present observation `[n]`.

        Raises:
            ValueError: the episode is over before its actions are.
        """
        start, actions = self._starts[copy], [row[copy] for row in self._rows[self._began[copy] :]]
        if not isinstance(start, int):
            set_random_state(player.random, start)
        obs = player.reset(start if isinstance(start, int) else None)
        for step, action in enumerate(actions, start=1):
            obs, _, terminated, cut = player.step(action)
            if terminated or cut:
                raise ValueError(f"copy {copy} ended after {step} of {len(actions)} steps of its episode")
        return obs
