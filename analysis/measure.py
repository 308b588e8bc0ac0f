"""One claim, measured: its numbers, what became of its runs, its interval. `analysis.verdicts` judges it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import Cells, centre, claim_cells, claim_estimate, claim_tasks, named_arms
from analysis.load import RunKey
from analysis.paper import paper_estimate
from analysis.plan import Claim, Plan
from analysis.protocol import Config, env_differing
from analysis.words import percent

VERDICTS = ("supported", "refuted", "inconclusive", "not run", "not comparable")


@dataclass(kw_only=True)
class Verdict:
    """A judged claim; every field is printed, `reason` in words."""

    id: str
    statement: str
    source: str
    contrast: list[str]
    metric: str
    unit: str
    direction: str
    margin: float
    alpha: float
    min_budget: float
    budget_fraction: float | None
    verdict: str = "not run"
    reason: str = ""
    registration: str = ""  # registered | exploratory; blank: frozen by its plan, without a hash
    estimate: float | None = None
    interval: list[float] | None = None
    interval_kind: str = ""
    n: int = 0  # seeds per task in the interval
    pairs: int = 0  # pairs (task, seed) with both numbers
    paper_estimate: float | None = None  # the same statistic of the paper's own curves at these steps
    p: float | None = None
    p_holm: float | None = None
    probability_of_improvement: float | None = None
    seeds_for_80_power: int | None = None
    detectable: float | None = None  # difference that these seeds with this spread find with 80 % power
    powered: bool | None = None  # detectable <= margin; None without a margin or a spread
    power_note: str = ""
    chosen: dict[str, dict[str, str]] = field(default_factory=dict)  # best(...), tuned(...) -> task -> arm
    runs: dict[str, int] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)


def _run_counts(cells: Cells, metric: str) -> dict[str, int]:
    """The claim's planned runs, those with a number, and what became of the others."""
    rows = cells.rows
    counts = {state: int((rows["state"] == state).sum()) for state in ("failed", "running", "missing")}
    unscored = int(((rows["state"] == "done") & rows[metric].isna()).sum())
    used = int(rows[metric].notna().sum())
    return {"planned": len(rows), "used": used, **counts, "unscored": unscored, "left_out": cells.left_out}


def _task_rows(cells: Cells, alpha: float) -> list[dict[str, Any]]:
    """What each task says on its own: means of both halves, difference, Student-t interval (n >= 2)."""
    rows = []
    for j, task in enumerate(cells.tasks):
        a, b = (half[:, j] for half in cells.halves())
        both = np.isfinite(a) & np.isfinite(b)
        d = a[both] - b[both]
        estimate = stats.student_t(d, alpha) if len(d) >= 2 else None
        rows.append(
            {
                "task": task,
                "n": len(d),
                "planned": len(cells.seeds),
                "mean_a": stats.mean(a[both]) if len(d) else None,
                "mean_b": stats.mean(b[both]) if len(d) else None,
                "difference": stats.mean(d) if len(d) else None,
                "interval": [estimate.low, estimate.high] if estimate else None,
            }
        )
    return rows


def is_planned(claim: Claim, plan: Plan) -> bool:
    """All arms of the claim have runs at this scale, and some task is played by all its sides."""
    return all(arm in plan.arms for arm in named_arms(claim, plan)) and bool(claim_tasks(claim, plan))


def _blank(claim: Claim, plan: Plan, cells: Cells) -> Verdict:
    return Verdict(
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
        contrast=list(claim.contrast),
        metric=claim.metric,
        unit=cells.unit,
        direction=claim.direction,
        margin=claim.margin,
        alpha=claim.alpha,
        min_budget=claim.min_budget,
        registration=plan.registrations.get(claim.id, ""),
        budget_fraction=plan.budget_fraction(named_arms(claim, plan), cells.tasks) if cells.tasks else None,
        chosen={
            text: choice.arms
            for text, choice in zip(claim.contrast, cells.choices, strict=True)
            if choice.sentence and choice.arms
        },
        runs=_run_counts(cells, claim.metric),
    )


def _unjudgeable(claim: Claim, plan: Plan, cells: Cells, configs: dict[RunKey, Config]) -> tuple[str, str]:
    """(verdict, reason) when no statistic could answer, else two empty strings."""
    if absent := [arm for arm in named_arms(claim, plan) if arm not in plan.arms]:
        return "not run", f"Arm {' and '.join(absent)} is not planned at scale {plan.scale}."
    if not cells.tasks:
        asked = f"None of its tasks ({', '.join(claim.tasks)})" if claim.tasks else "No task"
        return "not run", f"{asked} is planned for all of its arms at scale {plan.scale}."
    choosing = any(choice.problem for choice in cells.choices)
    if cells.problem:
        return ("not run" if choosing else "not comparable"), cells.problem
    if not cells.seeds:
        beyond = (
            f" beyond the {plan.tuning_seeds} tuning seeds" if any(choice.sentence for choice in cells.choices) else ""
        )
        return "not run", f"No seed{beyond} is planned for all of its arms and tasks at scale {plan.scale}."
    keys = list(cells.rows[["arm", "task", "seed"]].itertuples(index=False, name=None))
    for task in cells.tasks:
        found = [configs[key] for key in keys if key[1] == task and key in configs]
        for other in found[1:]:
            if fields := env_differing(found[0], other):
                text = "; ".join(f"{f.field} {f.ours} and {f.theirs}" for f in fields)
                return "not comparable", f"On {task} its arms ran under different protocols: {text}."
    return "", ""


@dataclass
class Measured:
    """A claim with everything about it that does not need the other claims."""

    claim: Claim
    cells: Cells
    verdict: Verdict
    estimate: stats.Estimate | None = None


def measure(
    claim: Claim,
    plan: Plan,
    scored: pd.DataFrame,
    configs: dict[RunKey, Config],
    level: float | None = None,
    reps: int = stats.JUDGED_REPS,
) -> Measured:
    """Numbers and interval of one claim; its verdict where no statistic could answer.

    Args: level: 1 - coverage of the interval; None: the claim's alpha; reps: resamples of an IQM's interval.
    """
    level = claim.alpha if level is None else level
    cells = claim_cells(scored, claim, plan)
    verdict = _blank(claim, plan, cells)
    measured = Measured(claim, cells, verdict)
    verdict.verdict, verdict.reason = _unjudgeable(claim, plan, cells, configs)
    if verdict.verdict:
        return measured
    verdict.tasks = _task_rows(cells, claim.alpha)
    verdict.paper_estimate = paper_estimate(claim, plan, cells.tasks)
    if verdict.runs["missing"] == verdict.runs["planned"]:
        verdict.verdict, verdict.reason = "not run", "None of the planned runs exists."
        return measured
    d = cells.d
    present = d[np.isfinite(d)]
    verdict.n, verdict.pairs = len(cells.seeds), len(present)
    if len(present):
        verdict.estimate = centre(cells, present)
    if claim.direction == "every_below":
        return measured
    if len(present) == d.size and verdict.n >= 2 and len(cells.sides) == 2:
        verdict.probability_of_improvement = stats.probability_of_improvement(*cells.sides)
    if estimate := claim_estimate(cells, level, reps):
        paired = ", paired by task and seed" if len(cells.sides) > 1 else ""
        verdict.interval = [estimate.low, estimate.high]
        verdict.interval_kind = f"{percent(1 - level)} {estimate.kind}{paired}"
        measured.estimate = estimate
    return measured
