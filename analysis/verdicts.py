"""Claims -> verdicts: supported | refuted | inconclusive | not run | not comparable.

A claim is about D = metric(A), or metric(A) - metric(B), or (A - B) - (C - D), paired by task and seed
(analysis.cells); arms that it chooses are chosen on other seeds (analysis.selection). With the (1 - alpha) interval
[low, high] of D:

* greater: supported when low > margin, refuted when high < margin;
* less: supported when high < -margin, refuted when low > -margin;
* equal: supported when -margin < low and high < margin, and no task's own interval lies outside the margin; refuted
  when low > margin or high < -margin;

and in each case only if the Holm-adjusted two-sided p value against that margin is below alpha. The family are the
claims of the check that are planned at this scale (all their arms, and a task that all of them play) and that a p value
decides; a planned claim without runs enters with p = 1. Otherwise inconclusive.

* every_below is a universal statement over runs: supported when D < margin in every planned run, refuted by a single
  run with D >= margin. Its p is 0 when decided and 1 when not, by this rule, and it is no member of the family.

The interval of several tasks is that of the IQM with the seed as the unit (analysis.stats.iqm_estimate).

A claim that was edited or added after runs existed is exploratory: it is judged and says so, and its p is adjusted over
all claims, while those of registered claims are adjusted over registered ones alone.

With seeds=auto (plan.looks) a claim is looked at whenever a batch of seeds is complete, at the level that its share of
alpha, alpha / claims, has left there (analysis.sequential); the first look that decides it stands, whatever later seeds
of other claims say. The interval printed is that of the look, at its level.

Lost runs are imputed at their worst (analysis.cells). Where a metric can be censored (steps_to) D is restricted to the
budget; on a task where no run got there within it, it says nothing, and the claim stays inconclusive.
"""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import claim_tasks, entries, named_arms
from analysis.load import RunKey
from analysis.measure import Measured, Verdict, is_planned, measure
from analysis.plan import Claim, Plan
from analysis.protocol import Config
from analysis.reasons import apart_of, facts, gates_of
from analysis.selection import chooses
from analysis.sequential import levels
from analysis.words import loss_sentence, percent


def p_against(estimate: stats.Estimate, claim: Claim) -> float:
    """Two-sided p against the claim's margin; for an equivalence the larger of its two bounds (TOST)."""
    if claim.direction == "equal":
        return estimate.equivalence_p(claim.margin)
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


def _power(verdict: Verdict, estimate: stats.Estimate, claim: Claim, alpha: float) -> None:
    """Seeds per arm that 80 % power would need if the true difference were the estimated one."""
    if claim.direction == "equal":
        distance = claim.margin - abs(estimate.value)
    else:
        distance = estimate.value - (claim.margin if claim.direction == "greater" else -claim.margin)
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


def _detectable(verdict: Verdict, estimate: stats.Estimate, claim: Claim, alpha: float) -> None:
    """The smallest difference from the margin that these seeds find with 80 % power.

    Of an equivalence: the smallest margin within which equal arms are found equal with 80 % power (90 % on each side).
    """
    if estimate.sd > 0:
        power = 0.9 if claim.direction == "equal" else 0.8
        verdict.detectable = stats.detectable_effect(estimate.n, alpha, power) * estimate.sd
        verdict.powered = verdict.detectable <= claim.margin if claim.margin > 0 else None


def _universal(measured: Measured, plan: Plan) -> None:
    """Judge a statement about every run: one counterexample refutes it, only all runs support it."""
    claim, cells, verdict = measured.claim, measured.cells, measured.verdict
    present = cells.d[~np.isnan(cells.d)]  # an infinite value is a counterexample like any other
    gates, loss = gates_of(claim, plan, verdict, cells), loss_sentence(verdict.runs)
    above, n = int((present >= claim.margin).sum()), len(present)
    lost = n < cells.d.size  # also a difference of two infinities
    verdict.estimate = float(present.max()) if n else None
    sentences = [*gates, *facts(cells, verdict), *([loss] if loss else [])]
    if n:
        bound = stats.share_bound(above, n)
        counted = f"All {n} runs lie" if not above else f"{above} of {n} runs are not"
        sentences.append(
            f"{counted} below {claim.margin:g}: the share of those that do not is at most {percent(bound)} (exact, "
            "95 %). The estimate is the largest value."
        )
    decided = "refuted" if above else "supported" if n and not lost and not loss else "inconclusive"
    verdict.verdict = "inconclusive" if gates else decided
    verdict.p = verdict.p_holm = 1.0 if verdict.verdict == "inconclusive" else 0.0
    verdict.reason = " ".join(sentences)


def _p_of(item: Measured, plan: Plan) -> float:
    """p against the claim's margin; 1 where it cannot be decided here, which must not ease the others' adjustment."""
    assert item.estimate is not None
    gated = gates_of(item.claim, plan, item.verdict, item.cells, item.estimate)
    return 1.0 if gated else p_against(item.estimate, item.claim)


def _conclude(measured: Measured, plan: Plan, family: int) -> None:
    """Turn the interval and the adjusted p into a verdict and say why."""
    claim, cells, verdict, estimate = measured.claim, measured.cells, measured.verdict, measured.estimate
    gates, loss = gates_of(claim, plan, verdict, cells, estimate), loss_sentence(verdict.runs)
    sentences = [*gates, *facts(cells, verdict)]
    if loss:
        sentences += [loss, f"The estimate is that of the {verdict.pairs} pairs with both numbers."]
    verdict.verdict = "inconclusive"
    if estimate is None:
        sentences.append(
            f"n = {verdict.n}: no interval."
            if verdict.n < 2
            else "An arm has no number on a task: nothing to impute from, no interval."
        )
        verdict.power_note = "Seeds for 80 % power unknown: no spread to reckon with."
    else:
        where = position(estimate.low, estimate.high, claim)
        adjusted = verdict.p_holm is not None and verdict.p_holm < claim.alpha
        sentences.append(
            {
                "supported": "The interval lies within the margin.",
                "refuted": "The interval lies outside the margin.",
                "inconclusive": "The interval reaches over an end of the margin.",
            }[where]
            if claim.direction == "equal"
            else {
                "supported": "The interval lies beyond the margin.",
                "refuted": "The interval lies on the other side of the margin.",
                "inconclusive": "The interval contains the margin.",
            }[where]
        )
        if where != "inconclusive" and not adjusted:
            how = f"Adjusted for {len(plan.looks)} looks and" if plan.looks else "After Holm over"
            sentences.append(f"{how} {family} claims p = {verdict.p_holm:.3g} is not below {claim.alpha}.")
        elif where != "inconclusive" and loss:
            sentences.append("The worst-case imputation gives the same verdict.")
        apart = apart_of(verdict, claim) if where == "supported" or claim.direction == "equal" else []
        sentences += apart
        _detectable(verdict, estimate, claim, claim.alpha / family)
        unlike = bool(apart) and where == "supported" and claim.direction == "equal"
        if where != "inconclusive" and adjusted and not gates and not unlike:
            verdict.verdict = where
        else:
            _power(verdict, estimate, claim, claim.alpha / family)
    verdict.reason = " ".join(sentences)


def _family(items: list[Measured], plan: Plan, *, registered: bool) -> list[Measured]:
    """Claims that a p value decides; of registered ones without those that are exploratory."""
    return [
        item
        for item in items
        if item.claim.direction != "every_below"
        and is_planned(item.claim, plan)
        and not (registered and item.verdict.registration == "exploratory")
    ]


def _adjust(items: list[Measured], plan: Plan, chosen: list[Measured]) -> None:
    """Holm over `items`, and the verdict of those of them that are `chosen`."""
    adjusted = stats.holm([1.0 if item.verdict.p is None else item.verdict.p for item in items])
    for item, p_holm in zip(items, adjusted, strict=True):
        if item in chosen and not item.verdict.verdict:
            item.verdict.p_holm = p_holm if item.estimate else None
            _conclude(item, plan, len(items))


def judge(
    plan: Plan, scored: pd.DataFrame, configs: dict[RunKey, Config], reps: int = stats.JUDGED_REPS
) -> list[Verdict]:
    """All claims of a plan, adjusted together, sorted by id.

    Args: scored: as from `analysis.scores.score_runs`; configs: resolved configurations by (arm, task, seed); reps:
    resamples of an IQM's interval.
    """
    measured = [measure(claim, plan, scored, configs, reps=reps) for claim in plan.claims]
    for item in measured:
        if item.claim.direction == "every_below" and not item.verdict.verdict:
            _universal(item, plan)
        if item.estimate:
            item.verdict.p = _p_of(item, plan)
    family = _family(measured, plan, registered=False)
    confirmatory = _family(measured, plan, registered=True)
    if plan.looks:
        for item in family:
            if not item.verdict.verdict:
                shares = len(confirmatory if item in confirmatory else family)
                item.verdict = _looked(item, plan, scored, configs, shares, reps)
    else:
        _adjust(confirmatory, plan, confirmatory)
        if len(confirmatory) < len(family):
            _adjust(family, plan, [item for item in family if item not in confirmatory])
    for item in measured:
        if item.verdict.registration == "exploratory":
            item.verdict.reason += " Exploratory: stated or edited when runs of it existed."
    return sorted((item.verdict for item in measured), key=lambda verdict: verdict.id)


def _looked(
    item: Measured, plan: Plan, scored: pd.DataFrame, configs: dict[RunKey, Config], family: int, reps: int
) -> Verdict:
    """The verdict of the first look that decides the claim, else of the last that was reached."""
    claim = item.claim
    first = plan.tuning_seeds if any(map(chooses, entries(claim, plan))) else 0
    cells = {(arm, task) for arm in named_arms(claim, plan) for task in claim_tasks(claim, plan)}
    planned = [(run.arm, run.task) for run in plan.runs if (run.arm, run.task) in cells]
    numbers, reached = plan.looks_at(cells, first), min(Counter(planned).values()) - first
    if not numbers or reached < numbers[0]:
        item.verdict.p_holm = 1.0
        _conclude(item, plan, family)
        item.verdict.reason += " Before its first look."
        return item.verdict
    found = item
    for look, (seeds, level) in enumerate(zip(numbers, levels(numbers, claim.alpha / family), strict=True), start=1):
        if seeds > reached:
            break
        part = replace(plan, runs=tuple(run for run in plan.runs if run.seed < first + seeds))
        found = measure(claim, part, scored[scored["seed"] < first + seeds], configs, level, reps)
        if found.estimate:
            found.verdict.p = _p_of(found, part)
            # In units of the claim's own alpha, so that below alpha means below the look's level.
            found.verdict.p_holm = min(1.0, found.verdict.p * claim.alpha / level)
        if not found.verdict.verdict:
            _conclude(found, part, family)
            found.verdict.reason += f" Look {look} of {len(numbers)}, after {seeds} seeds, at level {level:.2g}."
        if found.verdict.verdict in ("supported", "refuted"):
            break
    return found.verdict
