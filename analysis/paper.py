"""What the paper's own digitised curves say about a claim: the claim's statistic, computed from them."""

import numpy as np

from analysis import reported, stats
from analysis.cells import scaled, units
from analysis.plan import Claim, Plan
from analysis.scores import GRID


def paper_estimate(claim: Claim, plan: Plan, tasks: list[str]) -> float | None:
    """metric(A) - metric(B) of the reported median curves at the plan's steps, aggregated as ours is.

    It shows whether a perfect reproduction could be `supported` at this budget. One curve per arm and task stands
    for all reported runs, so it has no interval.
    Args: tasks: of the claim. None for metrics that the paper does not report, and where a curve is missing.
    """
    if claim.metric not in ("score", "auc") or plan.reference is None or len(claim.contrast) != 2:
        return None
    methods = [plan.arms[arm].reported for arm in claim.contrast if arm in plan.arms]
    differences = []
    for task in tasks:
        values = [_number(claim.metric, task, method, plan) for method in methods if method]
        if len(values) != 2 or values[0] is None or values[1] is None:
            return None
        a, b = np.array([values[0]]), np.array([values[1]])
        ours, theirs = scaled(a, b, task, units(claim)), scaled(b, b, task, units(claim))
        if ours is None or theirs is None:
            return None
        differences.append(float(ours[0] - theirs[0]))
    return stats.iqm(np.array(differences)) if differences else None


def _number(metric: str, task: str, method: str, plan: Plan) -> float | None:
    """Score or area of one reported median curve up to the plan's steps, or to the curve's end."""
    assert plan.reference is not None
    curve = reported.dapo_curve(task, method, plan.reference.steps_per_hour)
    if curve is None:
        return None
    first, last = float(curve["step"].iloc[0]), float(curve["step"].iloc[-1])
    end = min(float(plan.steps), last)
    if end < first:
        return None
    if metric == "score":
        return reported.value_at(curve, end)
    grid = np.linspace(first, end, GRID)
    return float(np.interp(grid, curve["step"], curve["median"]).mean())
