"""Full games from single steps: the one place where scores are added up."""

from typing import Any, NamedTuple

import numpy as np

from bench.envs.base import Step


class Episode(NamedTuple):
    """A finished full game; the columns of episodes.csv."""

    step: int
    score: float
    length: int
    env: int
    truncated: int
    lives: int = 0


class EpisodeCounter:
    """Adds raw rewards until a full game ends. Lost lives and clipped rewards do not concern it."""

    def __init__(self, num_envs: int):
        self.score = np.zeros(num_envs)
        self.length = np.zeros(num_envs, dtype=np.int64)

    def add(self, count: int, step: Step) -> list[Episode]:
        """Take in one step. Args: count: agent steps generated so far. Returns the games that ended with it."""
        self.score += step.raw_reward
        self.length += 1
        ended = [
            Episode(
                count,
                float(self.score[b]),
                int(self.length[b]),
                int(b),
                int(step.game_cut[b]),
                0 if step.lives is None else int(step.lives[b]),
            )
            for b in np.flatnonzero(step.game_over)
        ]
        self.score[step.game_over] = 0.0
        self.length[step.game_over] = 0
        return ended

    def state_dict(self) -> dict[str, Any]:
        """The games under way, in lists: whoever reads this file for `Episode` has no need of PyTorch."""
        return {"score": self.score.tolist(), "length": self.length.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.score[:], self.length[:] = state["score"], state["length"]
