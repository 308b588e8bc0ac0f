"""The numbers that a claim is about: a matrix `[seeds, tasks]` in the claim's units for each side of its contrast, and
the interval of D: A, or A - B, or (A - B) - (C - D), paired by seed and task. A side is an arm or the mean of several,
each seed's own: of a factorial, two sides give a main effect and four an interaction.

A claim is about the tasks on which all its arms are planned, and about the seeds that are planned for all of them.

Runs that are planned and have no number (failed, running, missing, no finished game, not measured) are imputed twice:
all against the claim (sides that count positive the lowest, the others the highest value seen on the task in any arm)
and all in its favour; of a mean only its lost members. The interval printed spans both intervals and p is the larger
one, so a verdict stands only if the worst case gives the same. A random agent (0 where scores are normalised) is a
value that any lost run could have had; so are the ends of a metric that has them. An arm without any number on a task
has nothing to be imputed from.
"""

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis import reported, stats
from analysis.plan import Claim, Plan
from analysis.ranges import unit_of
from analysis.scores import METRICS
from analysis.selection import Choice, Entry, choose, chooses, parse_entry

SIGNS = {1: (1,), 2: (1, -1), 4: (1, -1, -1, 1)}  # of the sides of a contrast of that many


@dataclass(frozen=True)
class Cells:
    """A claim's numbers in its own units; NaN where a planned run has none."""

    tasks: list[str]
    seeds: list[int]
    terms: list[np.ndarray]  # per entry of the contrast `[arms, seeds, tasks]`: one arm, or the members of a mean
    lowest: list[np.ndarray]  # per entry `[tasks]`: smallest value seen in any arm, for the worst case
    highest: list[np.ndarray]
    unit: str
    rows: pd.DataFrame  # of `scored`: the runs behind it, each once
    choices: list[Choice] = field(default_factory=list)
    left_out: int = 0  # planned runs whose seed is not planned for all arms and tasks of the claim
    unplanned: list[str] = field(default_factory=list)  # tasks that the claim names and not all of its arms play
    binary: bool = False
    censored: float | None = None  # value of runs that did not get there within their budget
    problem: str = ""  # why the tasks have no common unit

    @property
    def sides(self) -> list[np.ndarray]:
        """Per entry of the contrast `[seeds, tasks]`; NaN where one of its arms has no number."""
        return [term.mean(axis=0) for term in self.terms]

    @property
    def signs(self) -> tuple[int, ...]:
        """+1 or -1 per side."""
        return SIGNS[len(self.terms)]

    @property
    def d(self) -> np.ndarray:
        """`[seeds, tasks]` what the claim is about; NaN where a side has no number."""
        return self.combined(self.sides)

    def combined(self, sides: list[np.ndarray]) -> np.ndarray:
        """Sum of the sides with their signs."""
        with np.errstate(invalid="ignore"):  # a difference of infinities is no number, as a lost one
            total: np.ndarray = sum(
                (sign * side for sign, side in zip(self.signs, sides, strict=True)), np.zeros(sides[0].shape)
            )
        return total

    def beyond(self) -> tuple[int, int, list[str]]:
        """Runs that did not get there within their budget, runs with a number, and the tasks where none of them did."""
        numbers = np.concatenate(self.terms)
        late = numbers == self.censored
        known = np.isfinite(numbers)
        none = known.any((0, 1)) & (late | ~known).all((0, 1))
        return int(late.sum()), int(known.sum()), [task for task, no in zip(self.tasks, none, strict=True) if no]

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """What D is the difference of: (A, 0), (A, B) or (A - B, C - D), `[seeds, tasks]` each."""
        sides = self.sides
        if len(sides) == 4:
            return sides[0] - sides[1], sides[2] - sides[3]
        return sides[0], sides[1] if len(sides) == 2 else np.zeros(sides[0].shape)

    def imputed(self, favour: bool) -> np.ndarray:
        """D with every lost number at its worst against the claim, or in its favour."""
        filled = [
            stats.impute_worst(term, high if (sign > 0) == favour else low).mean(axis=0)
            for sign, term, low, high in zip(self.signs, self.terms, self.lowest, self.highest, strict=True)
        ]
        return self.combined(filled)


def units(claim: Claim) -> str:
    """task, human, range, relative or none: the claim's own, else its metric's."""
    return claim.normalise or METRICS[claim.metric].normalise


def entries(claim: Claim, plan: Plan) -> list[Entry]:
    """The sides of the claim's contrast."""
    return [parse_entry(text, list(plan.arms)) for text in claim.contrast]


def named_arms(claim: Claim, plan: Plan) -> list[str]:
    """Every arm that the claim names, candidates included, each once."""
    return list(dict.fromkeys(arm for entry in entries(claim, plan) for arm in entry.arms))


def claim_tasks(claim: Claim, plan: Plan) -> list[str]:
    """The claim's tasks on which each of its sides is planned (of a choice one candidate, of a mean every member), in
    the check's order.
    """
    planned = {(run.arm, run.task) for run in plan.runs}
    sides = entries(claim, plan)
    return [
        task
        for task in plan.tasks
        if (claim.tasks is None or task in claim.tasks)
        and all((any if chooses(side) else all)((arm, task) in planned for arm in side.arms) for side in sides)
    ]


def unit_name(how: str, tasks: list[str], metric_unit: str) -> str:
    """What a number on these tasks is in. Args: how: as from `units`; metric_unit: of the raw metric."""
    games = [task in reported.human_random() for task in tasks]
    task = (
        "human-normalised"
        if games and all(games)
        else "task-normalised"
        if any(games) or not games
        else "range-normalised"
    )
    return {
        "task": task,
        "human": "human-normalised",
        "range": "range-normalised",
        "relative": "relative to the baseline",
    }.get(how, metric_unit)


@dataclass(frozen=True)
class _Raw:
    """The raw numbers of a claim: per side `[arms, seeds, tasks]`, and which runs they are."""

    terms: list[np.ndarray]
    seeds: list[int]
    rows: pd.DataFrame
    left_out: int


def _raw(scored: pd.DataFrame, metric: str, sides: list[list[dict[str, str]]], tasks: list[str], first: int) -> _Raw:
    """Numbers of the sides' arms on the seeds, from `first` on, that all of them have planned on all tasks.

    Args: sides: per entry of the contrast its arms, each as task -> arm.
    """
    keys = list(scored[["arm", "task", "seed"]].itertuples(index=False, name=None))
    value = {key: number for key, number in zip(keys, scored[metric], strict=True) if key[2] >= first}
    cells = {(arms[task], task) for side in sides for arms in side for task in tasks}
    planned = {cell: {seed for arm, task, seed in value if (arm, task) == cell} for cell in cells}
    seeds = sorted(set.intersection(*planned.values())) if planned else []
    terms = [
        np.array([[[value[arms[task], task, seed] for task in tasks] for seed in seeds] for arms in side], dtype=float)
        for side in sides
    ]
    inside = [key in value and key[:2] in cells and key[2] in seeds for key in keys]
    left_out = sum(map(len, planned.values())) - len(planned) * len(seeds)
    shaped = [term.reshape(len(side), len(seeds), len(tasks)) for side, term in zip(sides, terms, strict=True)]
    return _Raw(shaped, seeds, scored[inside], left_out)


def _side(
    raw: np.ndarray, baseline: np.ndarray, how: str, tasks: dict[str, pd.DataFrame], metric: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """A side in the claim's units, its bounds `[tasks]`, and the tasks that have no such unit.

    Args: raw: `[arms, seeds, tasks]`; baseline: `[seeds, tasks]`, of the side that a relative score starts from; tasks:
    the rows of `scored` of every task of the claim.
    """
    side, low, high = np.full(raw.shape, math.nan), np.full(len(tasks), math.nan), np.full(len(tasks), math.nan)
    natural = METRICS[metric].ends or ((0.0,) if how in ("task", "human", "range") else ())
    without = []
    for j, (task, rows) in enumerate(tasks.items()):
        base = baseline[:, j][np.isfinite(baseline[:, j])]
        ends = float(rows["range_low"].iloc[0]), float(rows["range_high"].iloc[0])
        unit = unit_of(how, task, ends, float(base.mean()) if len(base) else math.nan)
        if unit is None:
            without.append(task)
            continue
        side[..., j] = (raw[..., j] - unit[0]) / unit[1]
        pool = (rows[metric].dropna().to_numpy(float) - unit[0]) / unit[1]
        if len(pool):
            low[j], high[j] = min(pool.min(), *natural, math.inf), max(pool.max(), *natural, -math.inf)
    return side, low, high, without


def claim_cells(scored: pd.DataFrame, claim: Claim, plan: Plan) -> Cells:
    """The numbers that a claim is about.

    Args: scored: as from `analysis.scores.score_runs`.
    """
    metric, how = METRICS[claim.metric], units(claim)
    tasks, sides = claim_tasks(claim, plan), entries(claim, plan)
    if (
        claim.direction != "every_below" and np.isinf(scored[claim.metric]).any()
    ):  # there a counterexample, of a mean none
        scored = scored.assign(**{claim.metric: scored[claim.metric].replace([np.inf, -np.inf], np.nan)})
    narrow = scored[["task", claim.metric, "range_low", "range_high"]]
    by_task = {task: narrow[narrow["task"] == task] for task in tasks}
    tuning = plan.tuning_seeds if any(map(chooses, sides)) else 0
    choices = [choose(entry, scored, tasks, tuning, claim.metric) for entry in sides]
    members = [
        [dict.fromkeys(tasks, arm) for arm in entry.arms] if entry.how == "mean" else [choice.arms]
        for entry, choice in zip(sides, choices, strict=True)
    ]
    problem = " ".join(choice.problem for choice in choices if choice.problem)
    raw = _raw(scored, claim.metric, members, [] if problem else tasks, tuning)
    found = []
    if not problem:
        # A relative score starts from the other arm of its pair: B for A and B, D for C and D.
        means = [term.mean(axis=0) for term in raw.terms]
        pairs = [means[i - i % 2 + 1] if len(sides) > 1 else one * math.nan for i, one in enumerate(means)]
        found = [_side(one, base, how, by_task, claim.metric) for one, base in zip(raw.terms, pairs, strict=True)]
    unit = unit_name(how, tasks, metric.unit)
    if without := list(dict.fromkeys(task for *_, tasks_without in found for task in tasks_without)):
        problem = f"No {unit} score for {', '.join(without)}: give the claim normalise: none or leave the tasks out."
    return Cells(
        tasks=tasks,
        seeds=raw.seeds,
        terms=[side for side, *_ in found],
        lowest=[low for _, low, _, _ in found],
        highest=[high for _, _, high, _ in found],
        unit=unit,
        rows=raw.rows,
        choices=choices,
        left_out=raw.left_out,
        unplanned=[task for task in claim.tasks or [] if task not in tasks],
        binary=metric.binary,
        censored=metric.censored,
        problem=problem,
    )


def _estimate(cells: Cells, d: np.ndarray, alpha: float, reps: int) -> stats.Estimate:
    return stats.binary_difference(d, len(cells.terms), alpha) if cells.binary else stats.difference(d, alpha, reps)


def centre(cells: Cells, d: np.ndarray) -> float:
    """What the interval is about: the mean of one task and of shares, else the IQM."""
    return stats.mean(d) if len(cells.tasks) == 1 or cells.binary else stats.iqm(d)


def claim_estimate(cells: Cells, alpha: float, reps: int = stats.JUDGED_REPS) -> stats.Estimate | None:
    """D with its interval; None below two seeds or when an arm has no number at all on a task."""
    if len(cells.seeds) < 2:
        return None
    d = cells.d
    if np.isfinite(d).all():
        return _estimate(cells, d, alpha, reps)
    if not all(np.isfinite(term).any(axis=1).all() for term in cells.terms):
        return None
    against, favour = (_estimate(cells, cells.imputed(good), alpha, reps) for good in (False, True))
    present = d[np.isfinite(d)]
    return dataclasses.replace(
        against,
        value=centre(cells, present) if len(present) else math.nan,
        low=min(against.low, favour.low),
        high=max(against.high, favour.high),
        sd=max(against.sd, favour.sd),
        kind=f"{against.kind}, lost runs imputed at their worst both ways",
        p_value=lambda margin: max(against.p_value(margin), favour.p_value(margin)),
    )
