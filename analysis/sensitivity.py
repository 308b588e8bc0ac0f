"""How much an algorithm depends on its hyperparameters: pure functions on scores `[arms, tasks, runs]`.

An arm is a setting. Settings are chosen on tuning runs and judged on test runs, which are other runs (seeds): a
maximum over noisy means is too high on the runs that it was taken over. Scores are task-normalised, more is better.
A run without a number is NaN and left out of means; intervals need runs with every task.

Source: Adkins, Bowling, White 2024, "A Method for Evaluating Hyperparameter Sensitivity in Reinforcement Learning",
arXiv:2412.07165 (sensitivity, effective dimensionality); Simonsohn 2018, "Two Lines" (the U test).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sp

from analysis import stats

REACH = 0.95  # share of the tuned score that the effective dimensionality asks for; Adkins et al. 2024
TOLERANCE = 0.1  # a stable setting is at most a tenth worse than the best; ours


@dataclass(frozen=True)
class Sensitivity:
    """Per-task tuned minus fixed score on test runs. `gain` is per task; `low`, `high`: 95 %, None below 2 runs."""

    fixed: int  # arm
    tuned: list[int]  # arm of each task
    fixed_score: np.ndarray  # [tasks]
    tuned_score: np.ndarray  # [tasks]
    value: float
    low: float | None
    high: float | None

    @property
    def gain(self) -> np.ndarray:
        """Tuned minus fixed by task."""
        return np.asarray(self.tuned_score - self.fixed_score)


@dataclass(frozen=True)
class Hump:
    """Is the score over an ordered setting highest inside? p values against "not above both ends", "not two slopes"."""

    best: int  # index of the interior setting that tuning chose
    left: float  # best minus first, mean over test runs
    right: float  # best minus last
    p_ends: float
    p_lines: float
    n: int


def _means(scores: np.ndarray) -> np.ndarray:
    """`[arms, tasks]` means over the runs with a number; minus infinity where there is none, so that none wins."""
    found = np.isfinite(scores)
    count = found.sum(axis=-1)
    total = np.where(found, scores, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), -np.inf)


def fixed_best(tuning: np.ndarray) -> int:
    """The one arm with the highest mean over tasks; the first of equals. Args: tuning: `[arms, tasks, runs]`."""
    return int(np.argmax(_means(tuning).mean(axis=1)))


def tuned_best(tuning: np.ndarray) -> list[int]:
    """Each task's best arm; the first of equals. Args: tuning: `[arms, tasks, runs]`."""
    return [int(arm) for arm in np.argmax(_means(tuning), axis=0)]


def sensitivity(tuning: np.ndarray, test: np.ndarray) -> Sensitivity:
    """mean over tasks of (score of the task's tuned arm - score of the fixed arm), both on test runs.

    The interval is Student's t of one number per test run, its mean over tasks. The choice of arms is taken as given.
    May be negative: what was tuned on few runs may lose on others.
    Source: Adkins et al. 2024 (there on percentile-normalised scores).
    Args: tuning: `[arms, tasks, runs]`; test: `[arms, tasks, other runs]`.
    """
    fixed, tuned = fixed_best(tuning), tuned_best(tuning)
    of_fixed = test[fixed]
    of_tuned = np.stack([test[arm, task] for task, arm in enumerate(tuned)])
    difference = of_tuned - of_fixed  # [tasks, runs]
    means = [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in difference]
    whole = difference[:, np.isfinite(difference).all(axis=0)].mean(axis=0)
    found = stats.student_t(whole) if len(whole) >= 2 else None
    scores = (_means(of_fixed[None])[0], _means(of_tuned[None])[0])
    ends = (found.low, found.high) if found else (None, None)
    return Sensitivity(fixed, tuned, *scores, float(np.mean(means)), *ends)


def subset_scores(
    coordinates: Sequence[tuple[float, ...]], tuning: np.ndarray, test: np.ndarray
) -> dict[tuple[int, ...], float]:
    """Test score when only these hyperparameters are tuned per task and the others stay as in the fixed best arm.

    Args: coordinates: of each arm, one number per hyperparameter. Returns subset of hyperparameters -> mean over
    tasks; () is the fixed arm, all of them the tuned score.
    """
    fixed, means, judged = fixed_best(tuning), _means(tuning), _means(test)
    names = range(len(coordinates[0]))
    found = {}
    for size in range(len(names) + 1):
        for subset in itertools.combinations(names, size):
            kept = [name for name in names if name not in subset]
            arms = [a for a, at in enumerate(coordinates) if all(at[k] == coordinates[fixed][k] for k in kept)]
            chosen = [arms[int(np.argmax(means[arms, task]))] for task in range(tuning.shape[1])]
            found[subset] = float(np.mean([judged[arm, task] for task, arm in enumerate(chosen)]))
    return found


def effective_dimension(
    coordinates: Sequence[tuple[float, ...]], tuning: np.ndarray, test: np.ndarray, reach: float = REACH
) -> int | None:
    """The fewest hyperparameters to tune per task for `reach` of the score with all of them tuned; 0 = none.

    None where the tuned score is not above 0, which a share of says nothing.
    Source: Adkins et al. 2024, effective hyperparameter dimensionality, share 0.95.
    """
    scores = subset_scores(coordinates, tuning, test)
    whole = scores[tuple(range(len(coordinates[0])))]
    if not whole > 0:
        return None
    return min(len(subset) for subset, score in scores.items() if score >= reach * whole)


def run_means(scores: np.ndarray) -> np.ndarray:
    """`[arms, runs]` means over tasks; NaN where a run lacks a task. Args: scores: `[arms, tasks, runs]`."""
    return np.asarray(np.mean(scores, axis=1), dtype=float)


def stable_region(scores: np.ndarray, best: int, tolerance: float = TOLERANCE, alpha: float = 0.05) -> np.ndarray:
    """Arms that are shown to be at most `tolerance` worse than the best: `[arms]` of bool.

    An arm is in when the lower end of the Student-t interval of score(arm) - (1 - tolerance) score(best), paired by
    run, is above 0. An arm that is merely not shown to be worse stays out, so noise shrinks the region. A best
    score that is not above 0 has no such region.
    Args: scores: `[arms, tasks, runs]`, test runs; best: arm, chosen on other runs.
    """
    means = run_means(scores)
    stable = np.zeros(len(means), dtype=bool)
    for arm, values in enumerate(means):
        gap = values - (1 - tolerance) * means[best]
        gap = gap[np.isfinite(gap)]
        if len(gap) >= 2:
            stable[arm] = stats.student_t(gap, alpha).low > 0
    level = means[best][np.isfinite(means[best])]
    return stable if len(level) and level.mean() > 0 else np.zeros(len(means), dtype=bool)


def _above_zero(values: np.ndarray) -> float:
    """One-sided p of a t test against a mean of at most 0."""
    if np.ptp(values) <= 1e-12 * np.abs(values).max():  # every run alike but for rounding: SciPy divides by zero
        return 0.0 if values[0] > 0 else 1.0
    return float(sp.ttest_1samp(values, 0.0, alternative="greater").pvalue)


def hump(x: np.ndarray, tuning: np.ndarray, test: np.ndarray) -> Hump | None:
    """Is the score over x an inverted U ("U-shaped" in the project's question: best inside)?

    The best interior setting is chosen on tuning runs. p_ends: it scores above the first and above the last setting,
    an intersection-union test, p = the larger of two one-sided paired p values, so its level holds without a
    correction. p_lines: the slope over x up to it is positive and from it negative, again the larger p; slopes are
    fitted per run, the run is the unit.
    None below 3 settings or 2 whole runs, and where x does not increase.
    Source: Simonsohn 2018 for the two lines; Berger 1982 for the intersection-union test.
    Args: x: `[settings]`, increasing, such as log(1/eta); tuning: `[settings, tasks, runs]`; test: likewise.
    """
    means = run_means(test)
    means = means[:, np.isfinite(means).all(axis=0)]
    if len(x) < 3 or means.shape[1] < 2 or (np.diff(x) <= 0).any():
        return None
    best = 1 + int(np.argmax(_means(tuning).mean(axis=1)[1:-1]))
    left, right = means[best] - means[0], means[best] - means[-1]
    rising = np.polyfit(x[: best + 1], means[: best + 1], 1)[0]
    falling = np.polyfit(x[best:], means[best:], 1)[0]
    return Hump(
        best,
        float(left.mean()),
        float(right.mean()),
        max(_above_zero(left), _above_zero(right)),
        max(_above_zero(rising), _above_zero(-falling)),
        means.shape[1],
    )
