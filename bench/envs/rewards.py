"""How a continuous task pays the learner: as it is, late, or seldom. Scores stay those of the task itself.

What is still owed is no part of the observation, so under `delayed` and `sparse` the task is no longer Markov: that
is the difficulty these schemes are for.
"""

from typing import Any, Protocol

import numpy as np

from bench.keeping import Kept

ROUNDING = 1e-9  # of a quantum: ten times 0.1 has reached 1, although its sum in binary has not


class Scheme(Protocol):
    """What the learner is given for the rewards of B copies. It remembers the present episode of each copy."""

    def start(self) -> None:
        """Forget all episodes: every copy starts anew."""

    def pay(self, reward: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Turn the task's rewards of one step into those of the learner.

        Args:
            reward: `[B]` float64, the task's own.
            ended: `[B]` bool, the copy's episode ends with this step, by its rules or by a limit.
        Returns:
            `[B]` float64.
        """

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, as plain state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""


class Dense(Kept):
    """The task's own reward."""

    KEPT = ()

    def start(self) -> None:
        """Nothing is remembered."""

    def pay(self, reward: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """The same array. Args: see `Scheme`."""
        return reward


class Delayed(Kept):
    """The sum of the rewards since the last payment, every `delay` steps of an episode and at its end.

    Source: ours; the return of an episode stays what it was.
    """

    KEPT = ("_owed", "_steps")

    def __init__(self, num_envs: int, delay: int):
        self.delay = delay
        self._owed = np.zeros(num_envs)
        self._steps = np.zeros(num_envs, dtype=np.int64)  # since the last payment

    def start(self) -> None:
        """Forget what is owed."""
        self._owed[:] = 0
        self._steps[:] = 0

    def pay(self, reward: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Args: see `Scheme`."""
        self._owed += reward
        self._steps += 1
        due = ended | (self._steps == self.delay)
        paid = np.where(due, self._owed, 0.0)
        self._owed[due] = 0
        self._steps[due] = 0
        return paid


class Sparse(Kept):
    """`quantum` for every multiple of it, 1 and up, that the episode's dense return reaches for the first time.

    Source: ours; the return of an episode is the highest dense return on its way, rounded down to a multiple.
    """

    KEPT = ("_earned", "_reached")

    def __init__(self, num_envs: int, quantum: float):
        self.quantum = quantum
        self._earned = np.zeros(num_envs)  # dense return of the episode so far
        self._reached = np.zeros(num_envs)  # multiples of the quantum that have been paid

    def start(self) -> None:
        """Forget what was earned and paid."""
        self._earned[:] = 0
        self._reached[:] = 0

    def pay(self, reward: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Args: see `Scheme`."""
        self._earned += reward
        reached = np.maximum(self._reached, np.floor(self._earned / self.quantum + ROUNDING))
        paid: np.ndarray = (reached - self._reached) * self.quantum
        self._reached = np.where(ended, 0.0, reached)
        self._earned[ended] = 0
        return paid


def make(name: str, num_envs: int, *, delay: int, quantum: float) -> Scheme:
    """The scheme of this name. Args: name: of bench.env_config.REWARDS; delay: steps; quantum: dense return."""
    schemes: dict[str, Scheme] = {
        "dense": Dense(),
        "delayed": Delayed(num_envs, delay),
        "sparse": Sparse(num_envs, quantum),
    }
    return schemes[name]
