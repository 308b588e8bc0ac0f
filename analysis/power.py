"""What the planned seeds can decide, claim by claim, before a run exists. Pure: a plan and numbers in, rows out.

The spread of a claim is that of its contrast, paired by seed and task, in runs that exist (of the store, or of a
pilot), with the statistic that will judge it (`analysis.stats.difference`). Alpha is the claim's over the number of
claims that Holm's procedure adjusts together, which is the procedure at its worst (as in `analysis.verdicts`).

A claim is decidable when its seeds find, with 80 % power, a difference as large as that between the known runs'
estimate and the margin, whichever way the verdict goes. An equivalence needs 90 % at either end of its margin, so that
both hold with 80 %. Where no run is known, differences are in standard deviations (sd) of a seed's contrast, and a
claim counts as decidable when its seeds find one of ASSUMED_SD of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import claim_cells, claim_tasks, entries, named_arms
from analysis.measure import is_planned
from analysis.plan import Claim, Plan
from analysis.selection import chooses
from analysis.words import percent

ASSUMED_SD = 1.0
REPS = 2000  # of the bootstrap: a spread to plan with, not an interval
OUTCOMES = ("decidable", "more seeds", "undecidable", "not run")


@dataclass(frozen=True)
class Spread:
    """What known runs say of a claim's contrast, in the claim's units."""

    value: float
    sd: float  # of one seed, as the interval's width stands for it
    n: int  # seeds
    source: str


@dataclass(frozen=True)
class Design:
    """What is planned: the claims, and how many seeds every arm has on every task."""

    plan: Plan  # of its runs one per arm and task is enough
    seeds: Mapping[tuple[str, str], int]  # (arm, task) -> planned seeds

    @property
    def family(self) -> int:
        """Claims that are Holm-adjusted together."""
        claims = self.plan.claims
        return sum(claim.direction != "every_below" and is_planned(claim, self.plan) for claim in claims)


@dataclass(frozen=True)
class Power:
    """What a claim can expect of its planned seeds."""

    claim: Claim
    outcome: str  # one of OUTCOMES
    seeds: int = 0  # that judge it, those that choose arms left out
    detectable: float | None = None  # smallest difference from the margin found with 80 % power
    needed: int | None = None  # seeds for 80 % power
    spread: Spread | None = None  # None: detectable is in standard deviations
    note: str = ""


def spread(claim: Claim, tasks: list[str], scored: pd.DataFrame, plan: Plan, source: str) -> Spread | None:
    """The claim's spread over the seeds whose runs all have their number; None below two, or without one of the tasks.

    Args: tasks: on which the claim is planned; scored: as from `analysis.scores.score_runs`; plan: theirs; source:
    where they are, for the reader.
    """
    claim = replace(claim, tasks=tasks)
    if claim.metric not in scored.columns or not is_planned(claim, plan) or claim_tasks(claim, plan) != tasks:
        return None
    cells = claim_cells(scored, claim, plan)
    if cells.problem or not cells.seeds:
        return None
    whole = cells.d[np.isfinite(cells.d).all(axis=1)]
    if len(whole) < 2 or (cells.censored is not None and cells.beyond()[2]):
        return None
    if cells.binary:
        judged = stats.binary_difference(whole, len(cells.terms), claim.alpha)
    else:
        judged = stats.difference(whole, claim.alpha, REPS)
    return Spread(judged.value, judged.sd, len(whole), source)


def seeds_of(claim: Claim, design: Design) -> int:
    """Seeds that are planned for all of the claim's arms and tasks and choose none of its arms."""
    plan, tasks = design.plan, claim_tasks(claim, design.plan)
    cells = [(arm, task) for arm in named_arms(claim, plan) for task in tasks]
    planned = min((design.seeds[cell] for cell in cells if cell in design.seeds), default=0)
    return max(planned - (plan.tuning_seeds if any(map(chooses, entries(claim, plan))) else 0), 0)


def distance(claim: Claim, value: float) -> float:
    """How far an estimate is from the end of the margin that decides the claim, in the claim's units."""
    if claim.direction == "equal":
        return abs(claim.margin - abs(value))
    return abs(value - (claim.margin if claim.direction == "greater" else -claim.margin))


@cache
def needed_seeds(effect: float, alpha: float, power: float) -> int | None:
    """Seeds with which a paired t test finds an effect in standard deviations; None above `stats.MAX_SEEDS`."""
    return stats.seeds_for_power(effect, alpha, power, is_paired=True) if effect > 0 else None


def _share(claim: Claim, value: float | None) -> float:
    """Power that either end of the margin needs for 80 % in all."""
    return 0.9 if claim.direction == "equal" and (value is None or abs(value) < claim.margin) else 0.8


def _seeds_for(claim: Claim, known: Spread | None, alpha: float) -> int | None:
    """Seeds that decide the claim with 80 % power; None above `stats.MAX_SEEDS`."""
    if known is None:
        return needed_seeds(ASSUMED_SD, alpha, _share(claim, None))
    far = distance(claim, known.value)
    if known.sd == 0:
        return 2 if far > 0 else None
    return needed_seeds(far / known.sd, alpha, _share(claim, known.value))


def claim_power(claim: Claim, design: Design, known: Spread | None) -> Power:
    """What the planned seeds can detect, and what they would have to be."""
    plan = design.plan
    if not is_planned(claim, plan):
        return Power(claim, "not run", note=_absent(claim, plan))
    seeds = seeds_of(claim, design)
    if claim.direction == "every_below":
        return Power(claim, "decidable" if seeds and plan.scientific else "undecidable", seeds, needed=1)
    alpha = claim.alpha / max(design.family, 1)
    needed = _seeds_for(claim, known, alpha)
    value, sd = (known.value, known.sd) if known else (None, 1.0)
    far = distance(claim, value) if value is not None else ASSUMED_SD
    found = stats.detectable_effect(seeds, alpha, _share(claim, value)) * sd if seeds >= 2 else None
    reached = found is not None and (found <= far if sd > 0 else far > 0)
    note = "no interval" if seeds < 2 else "known runs show no spread" if sd == 0 else ""
    outcome = "decidable" if reached else "more seeds" if needed is not None else "undecidable"
    if gate := _gate(claim, plan):
        return Power(claim, "undecidable", seeds, found, None, known, gate)
    return Power(claim, outcome, seeds, found, needed, known, note)


def _gate(claim: Claim, plan: Plan) -> str:
    """Why no number of seeds decides the claim at these steps; empty when some would."""
    if not plan.scientific:
        return f"scale {plan.scale} decides nothing"
    fraction = plan.budget_fraction(named_arms(claim, plan), claim_tasks(claim, plan))
    if claim.min_budget > 0 and (fraction is None or fraction < claim.min_budget):
        return f"needs {percent(claim.min_budget)} of a reported run's steps"
    return ""


def _absent(claim: Claim, plan: Plan) -> str:
    if missing := [arm for arm in named_arms(claim, plan) if arm not in plan.arms]:
        return f"arm {missing[0]} is not planned"
    return f"not planned on {', '.join(claim.tasks or ['any task'])}"


def power(design: Design, spreads: Mapping[str, Spread]) -> list[Power]:
    """All claims of a plan. Args: spreads: by claim id, of those that known runs have."""
    return [claim_power(claim, design, spreads.get(claim.id)) for claim in design.plan.claims]


def reduced(design: Design, seeds: int | None, tasks: tuple[str, ...] | None, steps: int | None) -> Design:
    """The design with other seeds for every cell, fewer tasks, other steps; None leaves them as they are."""
    plan = design.plan
    kept = [run for run in plan.runs if tasks is None or run.task in tasks]
    runs = tuple(run if steps is None else replace(run, steps=steps) for run in kept)
    arms, played = {run.arm for run in runs}, {run.task for run in runs}
    smaller = replace(
        plan,
        runs=runs,
        arms={name: arm for name, arm in plan.arms.items() if name in arms},
        tasks={name: task for name, task in plan.tasks.items() if name in played},
    )
    return Design(smaller, {(run.arm, run.task): seeds or design.seeds[run.arm, run.task] for run in runs})
