"""What the paper's own digitised curves say about a claim: the claim's statistic, computed from them."""

import numpy as np

from analysis import reported, stats
from analysis.cells import units
from analysis.plan import Claim, Plan
from analysis.ranges import task_range, unit_of
from analysis.scores import GRID


def paper_estimate(claim: Claim, plan: Plan, tasks: list[str]) -> float | None:
    """metric(A) - metric(B) of the reported median curves at the plan's steps, aggregated as ours is.

    It shows whether a perfect reproduction could be `supported` at this budget. One curve per arm and task stands
    for all reported runs, so it has no interval.
    Args: tasks: of the claim. None for metrics that the paper does not report, and where a curve is missing.
    """
    arms = [plan.arms[arm] for arm in claim.contrast if arm in plan.arms]
    methods = [arm.reported for arm in arms if arm.reported]
    if claim.metric not in ("score", "auc") or plan.reference is None or len(claim.contrast) != 2 or len(methods) != 2:
        return None
    differences = []
    for task in tasks:
        steps = plan.steps([arm.name for arm in arms], [task])
        a, b = (_number(claim.metric, task, method, plan, steps[0] if steps else 0) for method in methods)
        unit = None if a is None or b is None else unit_of(units(claim), task, task_range(task), b)
        if a is None or b is None or unit is None:
            return None
        differences.append((a - b) / unit[1])
    return stats.iqm(np.array(differences)) if differences else None


def _number(metric: str, task: str, method: str, plan: Plan, steps: int) -> float | None:
    """Score or area of one reported median curve up to `steps`, or to the curve's end."""
    assert plan.reference is not None
    curve = reported.dapo_curve(task, method, plan.reference.steps_per_hour)
    if curve is None:
        return None
    first, last = float(curve["step"].iloc[0]), float(curve["step"].iloc[-1])
    end = min(float(steps), last)
    if end < first:
        return None
    if metric == "score":
        return reported.value_at(curve, end)
    grid = np.linspace(first, end, GRID)
    return float(np.interp(grid, curve["step"], curve["median"]).mean())
