"""Claims -> verdicts: supported | refuted | inconclusive | not run | not comparable.

A claim is about D = metric(A) - metric(B), paired by task and seed. With the (1 - alpha) interval [low, high]
of D:

* greater: supported when low > margin, refuted when high < margin;
* less: supported when high < -margin, refuted when low > -margin;
* equal: supported when -margin < low and high < margin, refuted when low > margin or high < -margin;

and in each case only if the Holm-adjusted two-sided p value against that margin is below alpha (all claims of
the check are the family; a claim without runs enters with p = 1). Otherwise inconclusive.

Lost runs are imputed at their worst (analysis.cells).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import Cells, claim_cells, claim_estimate
from analysis.load import RunKey
from analysis.paper import paper_estimate
from analysis.plan import Claim, Plan
from analysis.protocol import Config, env_differing
from bench.errors import UserError

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
    power_note: str = ""
    runs: dict[str, int] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)


def p_against(estimate: stats.Estimate, claim: Claim) -> float:
    """Two-sided p against the claim's margin; for an equivalence the larger of its two bounds (TOST)."""
    if claim.direction == "equal":
        return max(estimate.p_value(claim.margin), estimate.p_value(-claim.margin))
    return estimate.p_value(claim.margin if claim.direction == "greater" else -claim.margin)


def position(low: float, high: float, claim: Claim) -> str:
    """Where the interval lies against the margin: supported, refuted or inconclusive."""
    m = claim.margin
    supported, refuted = {
        "greater": (low > m, high < m),
        "less": (high < -m, low > -m),
        "equal": (-m < low and high < m, low > m or high < -m),
    }[claim.direction]
    return "supported" if supported else "refuted" if refuted else "inconclusive"


def _run_counts(scored: pd.DataFrame, claim: Claim, cells: Cells) -> dict[str, int]:
    rows = scored[scored["arm"].isin(claim.contrast) & scored["task"].isin(cells.tasks)]
    counts = {state: int((rows["state"] == state).sum()) for state in ("failed", "running", "missing")}
    unscored = int(((rows["state"] == "done") & rows[claim.metric].isna()).sum())
    unplanned = cells.planned - len(rows)
    return {
        "planned": cells.planned,
        "used": cells.used,
        **counts,
        "unscored": unscored,
        "unpaired": unplanned,
    }


def _task_rows(cells: Cells, alpha: float) -> list[dict[str, Any]]:
    """What each task says on its own: means, difference, Student-t interval (n >= 2)."""
    rows = []
    for j, task in enumerate(cells.tasks):
        a, b = cells.a[:, j], cells.b[:, j]
        both = np.isfinite(a) & np.isfinite(b)
        d = (a - b)[both]
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


def _power(verdict: Verdict, estimate: stats.Estimate, claim: Claim, family: int) -> None:
    """Seeds per arm that 80 % power would need if the true difference were the estimated one."""
    if claim.direction == "equal":
        distance = claim.margin - abs(estimate.value)
    else:
        distance = estimate.value - (claim.margin if claim.direction == "greater" else -claim.margin)
    alpha = claim.alpha / family
    if estimate.sd == 0 or not math.isfinite(distance):
        verdict.power_note = "Seeds for 80 % power unknown: no spread to reckon with."
        return
    effect = distance / estimate.sd
    verdict.seeds_for_80_power = stats.seeds_for_power(effect, alpha, is_paired=True)
    needed = verdict.seeds_for_80_power
    verdict.power_note = (
        f"80 % power would need {needed or f'more than {stats.MAX_SEEDS}'} seeds per arm (paired t, "
        f"alpha {alpha:.3g}, if the true difference is the estimated one, "
        f"{abs(effect):.2g} sd from the margin at this budget)."
    )


def _blank(claim: Claim, plan: Plan, unit: str) -> Verdict:
    return Verdict(
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
        contrast=list(claim.contrast),
        metric=claim.metric,
        unit=unit,
        direction=claim.direction,
        margin=claim.margin,
        alpha=claim.alpha,
        min_budget=claim.min_budget,
        budget_fraction=plan.budget_fraction,
    )


def _unjudgeable(claim: Claim, plan: Plan, cells: Cells, configs: dict[RunKey, Config]) -> tuple[str, str]:
    """(verdict, reason) when no statistic could answer, else two empty strings."""
    absent = [arm for arm in claim.contrast if arm not in plan.arms]
    if absent:
        return "not run", f"Arm {' and '.join(absent)} is not planned at scale {plan.scale}."
    if not cells.tasks:
        return "not run", f"None of its tasks ({', '.join(claim.tasks or ())}) is planned at scale {plan.scale}."
    if cells.problem:
        return "not comparable", f"{cells.problem}."
    for task in cells.tasks:
        first = [
            next((c for (arm, t, _), c in configs.items() if arm == side and t == task), None)
            for side in (claim.contrast[0], claim.contrast[-1])
        ]
        if first[0] is not None and first[1] is not None:
            fields = env_differing(first[0], first[1])
            if fields:
                return "not comparable", (
                    "The arms are played under different protocols on "
                    f"{task}: {'; '.join(f'{f.field} {f.ours} and {f.theirs}' for f in fields)}."
                )
    return "", ""


def _gates(claim: Claim, plan: Plan) -> list[str]:
    """Sentences that forbid a scientific verdict, whatever the numbers say."""
    sentences = [] if plan.scientific else [unscientific(plan)]
    if claim.min_budget > 0 and plan.budget_fraction is None:
        raise UserError(f"claim {claim.id} has min_budget {claim.min_budget}, but the check names no reference")
    if plan.budget_fraction is not None and plan.budget_fraction < claim.min_budget:
        sentences.append(
            f"The runs cover {percent(plan.budget_fraction)} of the paper's budget; "
            f"the claim needs {percent(claim.min_budget)}."
        )
    return sentences


def unscientific(plan: Plan) -> str:
    """What stands beside every number of a scale that decides nothing."""
    return f"Scale {plan.scale} says nothing scientific: it only shows that everything runs."


def percent(fraction: float) -> str:
    """A fraction for reading: enough digits to be no zero."""
    return f"{100 * fraction:.3g} %"


def _loss_sentence(runs: dict[str, int]) -> str:
    words = {
        "failed": "failed",
        "missing": "missing",
        "running": "not finished",
        "unscored": "without a number",
        "unpaired": "not planned in one of the arms",
    }
    parts = [f"{runs[key]} {word}" for key, word in words.items() if runs[key]]
    return (
        f"{runs['planned'] - runs['used']} of {runs['planned']} runs lack a number ({', '.join(parts)})."
        if parts
        else ""
    )


def measure(
    claim: Claim, plan: Plan, scored: pd.DataFrame, configs: dict[RunKey, Config]
) -> tuple[Verdict, stats.Estimate | None]:
    """Everything about one claim that does not need the other claims."""
    cells = claim_cells(scored, claim)
    verdict = _blank(claim, plan, cells.unit)
    verdict.runs = _run_counts(scored, claim, cells)
    verdict.verdict, verdict.reason = _unjudgeable(claim, plan, cells, configs)
    if verdict.verdict:
        return verdict, None
    verdict.tasks = _task_rows(cells, claim.alpha)
    verdict.paper_estimate = paper_estimate(claim, plan, cells.tasks)
    if verdict.runs["missing"] == verdict.runs["planned"]:
        verdict.verdict, verdict.reason = "not run", "None of the planned runs exists."
        return verdict, None
    both = np.isfinite(cells.a) & np.isfinite(cells.b)
    verdict.n, verdict.pairs = len(cells.seeds), int(both.sum())
    if both.all() and verdict.n >= 2 and len(claim.contrast) == 2:
        verdict.probability_of_improvement = stats.probability_of_improvement(cells.a, cells.b)
    estimate = claim_estimate(cells, claim.alpha)
    if estimate is None:
        d = (cells.a - cells.b)[both]
        if len(d):
            verdict.estimate = stats.mean(d) if len(cells.tasks) == 1 else stats.iqm(d)
        return verdict, None
    verdict.estimate = None if math.isnan(estimate.value) else estimate.value
    verdict.interval = [estimate.low, estimate.high]
    verdict.interval_kind = f"{percent(1 - claim.alpha)} {estimate.kind}, paired by task and seed"
    verdict.p = p_against(estimate, claim)
    return verdict, estimate


def _conclude(verdict: Verdict, estimate: stats.Estimate | None, claim: Claim, plan: Plan, family: int) -> None:
    """Turn the interval and the adjusted p into a verdict and say why."""
    sentences, loss = _gates(claim, plan), _loss_sentence(verdict.runs)
    gated = bool(sentences)
    if verdict.paper_estimate is not None:
        sentences.append(f"The paper's own curves give {verdict.paper_estimate:.3g} at these steps.")
    if loss:
        sentences += [loss, f"The estimate is that of the {verdict.pairs} pairs with both numbers."]
    verdict.verdict = "inconclusive"
    if estimate is None:
        sentences.append(
            f"n = {verdict.n}: no interval."
            if verdict.n < 2
            else "A task has no number in any arm: nothing to impute from, no interval."
        )
        verdict.power_note = "Seeds for 80 % power unknown: no spread to reckon with."
    else:
        where = position(estimate.low, estimate.high, claim)
        adjusted = verdict.p_holm is not None and verdict.p_holm < claim.alpha
        sentences.append(
            {
                "supported": "The interval lies beyond the margin.",
                "refuted": "The interval lies on the other side of the margin.",
                "inconclusive": "The interval contains the margin.",
            }[where]
        )
        if where != "inconclusive" and not adjusted:
            sentences.append(f"After Holm over {family} claims p = {verdict.p_holm:.3g} is not below {claim.alpha}.")
        elif where != "inconclusive" and loss:
            sentences.append("The worst-case imputation gives the same verdict.")
        if where != "inconclusive" and adjusted and not gated:
            verdict.verdict = where
        else:
            _power(verdict, estimate, claim, family)
    verdict.reason = " ".join(sentences)


def judge(plan: Plan, scored: pd.DataFrame, configs: dict[RunKey, Config]) -> list[Verdict]:
    """All claims of a plan, Holm-adjusted together, sorted by id.

    Args: scored: as from `analysis.scores.score_runs`; configs: resolved configurations by (arm, task, seed).
    """
    measured = [(claim, *measure(claim, plan, scored, configs)) for claim in plan.claims]
    adjusted = stats.holm([1.0 if verdict.p is None else verdict.p for _, verdict, _ in measured])
    for (claim, verdict, estimate), p_holm in zip(measured, adjusted, strict=True):
        if not verdict.verdict:
            verdict.p_holm = p_holm if estimate else None
            _conclude(verdict, estimate, claim, plan, len(measured))
    return sorted((verdict for _, verdict, _ in measured), key=lambda verdict: verdict.id)
