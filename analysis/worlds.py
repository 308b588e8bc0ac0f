"""Synthetic runs of known truth: what `python -m analysis selftest` judges.

A world makes the scores of seeds on tasks; the truth of a contrast is set from outside, in deviations of a run.
Every world is symmetric about its truth, or states otherwise, so that mean and IQM of a contrast have the same truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import AGENT_STEPS
from analysis.plan import Plan, parse_plan
from analysis.scores import METRICS

Noise = Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]  # `[arms, seeds, tasks]`, mean 0


def normal(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Gaussian runs of standard deviation 1."""
    return rng.standard_normal(shape)


def heavy_tails(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Student's t of 3 degrees of freedom, standard deviation 1: a run in a hundred lies far out."""
    return np.asarray(rng.standard_t(3, shape) / np.sqrt(3))


def bimodal(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """A seed learns or does not, half and half, with little noise beside: modes at -1 and 1."""
    return np.asarray(rng.choice([-1.0, 1.0], shape) + 0.2 * rng.standard_normal(shape))


def dependent(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Half of a run's variance is its seed's, the same on every task."""
    arms, seeds, _ = shape
    return np.asarray(np.sqrt(0.5) * (rng.standard_normal((arms, seeds, 1)) + rng.standard_normal(shape)))


def unequal(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Gaussian runs, standard deviation 3 on the middle task, falling to 0.3 on the first and the last."""
    middle = (shape[2] - 1) / 2
    away = np.abs(np.arange(shape[2]) - middle) / max(middle, 1)
    return np.asarray(rng.standard_normal(shape) * 3.0 * 0.1**away)


def skewed(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Exponential runs, standard deviation 1: no small sample shows the tail that their mean hangs on."""
    return np.asarray(rng.exponential(size=shape) - 1.0)


def rare(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """One seed in twenty ends far below: most small samples have none of them."""
    return np.asarray(0.3 * rng.standard_normal(shape) - 4.0 * (rng.random(shape) < 0.05) + 0.2)


def rare_in_one(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """`rare`, of the first arm alone; the others only scatter."""
    return np.concatenate([rare(rng, (1, *shape[1:])), 0.3 * rng.standard_normal((shape[0] - 1, *shape[1:]))])


WORLDS: dict[str, Noise] = {
    "normal": normal,
    "heavy tails": heavy_tails,
    "bimodal seeds": bimodal,
    "dependent tasks": dependent,
    "unequal spread": unequal,
    "skewed": skewed,
    "rare failures": rare,
    "rare failures of A": rare_in_one,
}


def losses(rng: np.random.Generator, scores: np.ndarray) -> np.ndarray:
    """Which runs fail: bad ones more often, one in five of those well below their arm's mean, about 6 % in all."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(rng.random(scores.shape) < 0.2 / (1 + np.exp(4 * (centred + 1))) + 0.02)


@dataclass(frozen=True)
class Design:
    """Arms, tasks and seeds of a synthetic check, and its claims; `truth` of each arm in its claims' units."""

    arms: tuple[str, ...]
    tasks: int
    seeds: int
    claims: tuple[dict[str, Any], ...]
    metric: str = "score"
    tuning_seeds: int = 0
    looks: tuple[int, ...] = ()
    spread: float = 0.0  # tasks' effects lie this far around an arm's truth, symmetrically
    plan: Plan = field(init=False, repr=False, compare=False)
    frame: pd.DataFrame = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", parse_plan(self._raw(), "selftest"))
        object.__setattr__(self, "frame", self._frame())

    def _keys(self) -> list[tuple[str, str, int]]:
        tasks = [f"task{i}" for i in range(self.tasks)]
        return [(arm, task, seed) for arm in self.arms for seed in range(self.seeds) for task in tasks]

    def _raw(self) -> dict[str, Any]:
        arms: dict[str, Any] = {arm: {"label": arm, "reported": None, "overrides": []} for arm in self.arms}
        runs = [
            {"arm": arm, "task": task, "seed": seed, "steps": 1, "hash": "", "run_dir": f"{arm}-{task}-{seed}"}
            for arm, task, seed in self._keys()
        ]
        check = {
            "name": "selftest",
            "question": "Does the referee hold its rates?",
            "source": "synthetic runs",
            "arms": arms,
            "tasks": {f"task{i}": {"tag": "", "env": "synthetic"} for i in range(self.tasks)},
            "claims": list(self.claims),
            "reference": None,
            "tuning_seeds": self.tuning_seeds,
        }
        plan = {"check": check, "scale": "selftest", "scientific": True, "runs": runs, "looks": list(self.looks)}
        most = max(self.looks, default=self.seeds) + self.tuning_seeds
        return plan | {"most_seeds": {f"{arm}/{task}": most for arm, task, _ in self._keys()}}

    def _frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(self._keys(), columns=["arm", "task", "seed"])
        blank = dict.fromkeys([*METRICS, "range_low", "range_high"], np.nan)
        return frame.assign(state="done", error="", clock=AGENT_STEPS, steps=1, **blank)

    def scored(self, scores: np.ndarray, lost: np.ndarray | None = None) -> pd.DataFrame:
        """The frame that is judged. Args: scores, lost: `[arms, seeds, tasks]`."""
        values = scores.ravel()
        frame = self.frame.assign(**{self.metric: values})
        if lost is not None:
            gone = lost.ravel()
            frame[self.metric] = np.where(gone, np.nan, values)
            frame["state"] = np.where(gone, "failed", "done")
        return frame

    def scores(self, rng: np.random.Generator, noise: Noise, truths: Sequence[float]) -> np.ndarray:
        """`[arms, seeds, tasks]` of a world. Args: truths: of each arm."""
        shape = (len(self.arms), self.seeds, self.tasks)
        around = self.spread * np.linspace(-1, 1, self.tasks) if self.tasks > 1 else np.zeros(1)
        # The first arm alone carries what differs between tasks, so that contrasts with it do.
        effects = np.asarray(truths, dtype=float)[:, None] + np.where(np.arange(len(truths))[:, None] == 0, around, 0.0)
        return np.asarray(noise(rng, shape) + effects[:, None, :])


def claim(**changes: Any) -> dict[str, Any]:
    """A claim on the synthetic score: the first arm is better than the second by more than the margin."""
    return {
        "id": "claim",
        "statement": "A is better than B",
        "source": "selftest",
        "contrast": ["a", "b"],
        "tasks": None,
        "metric": "score",
        "normalise": "none",
        "direction": "greater",
        "margin": 0.5,
        "alpha": 0.05,
        "min_budget": 0.0,
    } | changes
