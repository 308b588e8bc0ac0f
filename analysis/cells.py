"""The numbers that a claim is about: two matrices `[seeds, tasks]` in the claim's units, and the interval of
A - B. A claim about one arm has B = 0.

Runs that are planned and have no number (failed, running, missing, no finished game, not measured) are
imputed twice: all against A (A the lowest, B the highest value seen on the task in any arm) and all in its
favour. The interval printed spans both intervals and p is the larger one, so a verdict stands only if the
worst case gives the same.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import reported, stats
from analysis.plan import Claim
from analysis.scores import METRICS, human_normalised
from bench.errors import UserError


@dataclass(frozen=True)
class Cells:
    """A claim's numbers in its own units; NaN where a planned run has none. Matrices are `[seeds, tasks]`."""

    tasks: list[str]
    seeds: list[int]
    a: np.ndarray
    b: np.ndarray
    unit: str
    lowest: np.ndarray  # [tasks] smallest value seen in any arm, for the worst case
    highest: np.ndarray  # [tasks]
    arms: int = 2
    problem: str = ""  # why the tasks have no common unit

    @property
    def planned(self) -> int:
        """Planned runs of the claim's arms."""
        return self.arms * self.a.size

    @property
    def used(self) -> int:
        """Runs with a number."""
        return int(np.isfinite(self.a).sum() + (np.isfinite(self.b).sum() if self.arms == 2 else 0))


def _matrix(scored: pd.DataFrame, arm: str, metric: str, seeds: list[int], tasks: list[str]) -> np.ndarray:
    """`[seeds, tasks]`, NaN where the plan has a run without a number or no such run; a duplicate raises."""
    rows = scored[scored["arm"] == arm]
    table = rows.pivot(index="seed", columns="task", values=metric)
    return np.array(table.reindex(index=seeds, columns=tasks), dtype=float)


def scaled(values: np.ndarray, b: np.ndarray, task: str, how: str) -> np.ndarray | None:
    """Raw numbers of a task in the claim's units; None if it has none. Args: b: raw numbers of arm B."""
    if how == "human":
        return human_normalised(values, task)
    if how == "relative":  # the paper's: (x - baseline) / (max(human, baseline) - random)
        known = reported.human_random().get(task)
        if known is None or not np.isfinite(b).any():
            return None
        human, random = known
        baseline = float(np.nanmean(b))
        scale = max(human, baseline) - random
        return (values - baseline) / scale if scale > 0 else None
    return values


def units(claim: Claim) -> str:
    """human, relative or none: the claim's own, else its metric's."""
    return claim.normalise or METRICS[claim.metric].normalise


def claim_cells(scored: pd.DataFrame, claim: Claim) -> Cells:
    """The numbers that a claim is about.

    Args: scored: as from `analysis.scores.score_runs`.
    """
    metric = METRICS.get(claim.metric)
    if metric is None:
        raise UserError(f"claim {claim.id} is about metric {claim.metric!r}; known: {', '.join(METRICS)}")
    if claim.tasks is not None:
        scored = scored[scored["task"].isin(claim.tasks)]
    how = units(claim)
    unit = {"human": "human-normalised", "relative": "relative to the baseline"}.get(how, metric.unit)
    sides = [scored[scored["arm"] == arm] for arm in claim.contrast]
    wanted = {task for side in sides for task in side["task"]}
    tasks = [task for task in dict.fromkeys(scored["task"]) if task in wanted]
    seeds = sorted({int(seed) for side in sides for seed in side["seed"]})
    sides_raw = [_matrix(scored, arm, claim.metric, seeds, tasks) for arm in claim.contrast]
    raw_a, raw_b = sides_raw if len(sides_raw) == 2 else (sides_raw[0], np.zeros_like(sides_raw[0]))
    shape = (len(seeds), len(tasks))
    a, b, bounds, without = np.full(shape, math.nan), np.full(shape, math.nan), np.zeros((2, len(tasks))), []
    for j, task in enumerate(tasks):
        everyone = scored.loc[scored["task"] == task, claim.metric].dropna().to_numpy(float)
        columns = [scaled(x, raw_b[:, j], task, how) for x in (raw_a[:, j], raw_b[:, j], everyone)]
        if columns[0] is None or columns[1] is None or columns[2] is None:
            without.append(task)
            continue
        a[:, j], b[:, j] = columns[0], columns[1]
        # A random agent (0 when human-normalised) is a value that any lost run could have had.
        pool = np.append(columns[2], 0.0) if how == "human" else columns[2]
        bounds[:, j] = (pool.min(), pool.max()) if len(columns[2]) else (math.nan, math.nan)
    problem = (
        f"No {unit} score for {', '.join(without)}: give the claim normalise: none or leave the tasks out"
        if without
        else ""
    )
    return Cells(tasks, seeds, a, b, unit, bounds[0], bounds[1], len(claim.contrast), problem)


def _pooled(estimates: list[stats.Estimate]) -> stats.Estimate:
    """Envelope of the imputations: the widest interval, the largest p."""
    against, favour = estimates
    return dataclasses.replace(
        against,
        low=min(against.low, favour.low),
        high=max(against.high, favour.high),
        kind=f"{against.kind}, lost runs imputed at their worst both ways",
        p_value=lambda margin: max(against.p_value(margin), favour.p_value(margin)),
    )


def claim_estimate(cells: Cells, alpha: float) -> stats.Estimate | None:
    """D = A - B with its interval; None below two seeds or when a task has no number at all."""
    if len(cells.seeds) < 2:
        return None
    d = cells.a - cells.b
    if np.isfinite(d).all():
        return stats.difference(d, alpha)
    if not np.isfinite(cells.lowest).all():
        return None
    low, high = cells.lowest, cells.highest
    against = stats.impute_worst(cells.a, low) - stats.impute_worst(cells.b, high)
    favour = stats.impute_worst(cells.a, high) - stats.impute_worst(cells.b, low)
    present = d[np.isfinite(d)]
    value = math.nan if len(present) == 0 else stats.mean(present) if d.shape[1] == 1 else stats.iqm(present)
    return dataclasses.replace(_pooled([stats.difference(x, alpha) for x in (against, favour)]), value=value)
