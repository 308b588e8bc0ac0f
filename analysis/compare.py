"""Ours against the paper's digitised curve, per task and arm, at matched samples.

Protocol first: any scientific field of config.yaml that differs from the reported setting makes the two not
comparable, and the fields are named. Else both sides are read at M = the smaller of our matched steps and the
end of their curve (generated agent steps): theirs is their median curve at M, ours the mean return of the
full games that finished in the last `bin_steps` (the width of a point of their curve; a tenth of M when it is
not given) before M.

With diff = mean(ours) - theirs and half = t s sqrt(1/n_ours + 1/n_theirs), label on [diff - half, diff +
half]: higher when it lies above +margin, lower when below -margin, compatible when inside, else underpowered.
The margin is fixed beforehand: reference.margin x (human - random); games without a human score use |theirs|
instead. Lost runs are imputed with the lowest and with the highest of our numbers on the task; labels that
disagree are underpowered.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis import reported, stats
from analysis.load import RunKey, Store, by_run, run_records
from analysis.plan import Arm, Plan
from analysis.protocol import Config, Difference, differing
from analysis.scores import WINDOW, final_score, matched_steps

LABELS = ("compatible", "higher", "lower", "not comparable", "underpowered")
ALPHA = 0.05
INTERVAL_SAYS = {
    "higher": "The prediction interval lies above the margin.",
    "lower": "The prediction interval lies below the margin.",
    "compatible": "The prediction interval lies within the margin.",
    "underpowered": "The prediction interval is too wide for the margin.",
}
NO_SETTING = "The plan names no configuration of the reported runs, so protocols cannot be compared."


@dataclass(kw_only=True)
class Comparison:
    """One task and arm against its reported curve."""

    task: str
    arm: str
    arm_label: str
    method: str
    label: str
    reason: str
    at_step: float
    ours: float | None = None  # mean over runs
    ours_median: float | None = None
    n_ours: int = 0
    planned: int = 0
    theirs: float | None = None
    n_theirs: int = 0
    difference: float | None = None
    interval: list[float] | None = None  # of the difference
    margin: float | None = None
    differing: list[dict[str, Any]] = field(default_factory=list)


def label_of(low: float, high: float, margin: float) -> str:
    """The label. Args: low, high: interval of ours - theirs, raw score; margin: raw score, >= 0."""
    if low > margin:
        return "higher"
    if high < -margin:
        return "lower"
    return "compatible" if -margin <= low and high <= margin else "underpowered"


def margin_of(task: str, theirs: float, fraction: float) -> float:
    """The smallest difference that matters, in raw score."""
    known = reported.human_random().get(task)
    return fraction * (abs(known[0] - known[1]) if known else abs(theirs))


def label_runs(
    values: np.ndarray, pool: np.ndarray, theirs: float, n_theirs: int, margin: float
) -> tuple[str, str, list[float] | None]:
    """Label, reason and prediction interval of ours - theirs, whose protocols agree.

    Args: values: `[planned]` one number per run, NaN where lost; pool: numbers of all our runs on the task, whose ends
    stand for lost ones; theirs: mean of n_theirs runs; margin: raw score.
    """
    present = values[np.isfinite(values)]
    if len(values) < 2 or len(present) == 0:
        return "underpowered", f"n = {len(present)}: no interval.", None
    whole = len(present) == len(values)
    fills = [present] if whole else [np.where(np.isnan(values), fill, values) for fill in (pool.min(), pool.max())]
    estimates = [stats.prediction_interval(x, theirs, n_theirs, ALPHA) for x in fills]
    labels = {label_of(e.low, e.high, margin) for e in estimates}
    label = labels.pop() if len(labels) == 1 else "underpowered"
    lost = "" if whole else f" {len(values) - len(present)} of {len(values)} runs lost: imputed at their worst."
    return label, INTERVAL_SAYS[label] + lost, [min(e.low for e in estimates), max(e.high for e in estimates)]


@dataclass(frozen=True)
class ArmRuns:
    """All planned runs of an arm on a task, each once."""

    task: str
    arm: Arm
    games: list[pd.DataFrame | None]  # step, return of each; None where the run is lost
    configs: list[Config]
    pool: list[pd.DataFrame | None]  # likewise of every arm on the task

    def scores(self, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean return of the full games in (start, end], by run `[planned]`, and of the pool without its losses."""
        values, pool = (np.array([_score(part, start, end) for part in parts]) for parts in (self.games, self.pool))
        return values, pool[np.isfinite(pool)]

    def differing(self, theirs: Config) -> list[Difference]:
        """Fields in which any of the runs differs from the reported setting."""
        found = {item.field: item for config in reversed(self.configs) for item in differing(config, theirs)}
        return [found[name] for name in sorted(found)]


def _score(games: pd.DataFrame | None, start: float, end: float) -> float:
    if games is None:
        return math.nan
    return final_score(games["step"].to_numpy(float), games["return"].to_numpy(float), start, end)[0]


def compare_curve(runs: ArmRuns, plan: Plan, end: float) -> tuple[Comparison, np.ndarray]:
    """An arm on a task beside the paper's curve, and our number of each planned run, NaN where it has none.

    Args: plan: has a reference, with the reported setting of the arm; end: our matched steps.
    """
    arm, reference = runs.arm, plan.reference
    assert reference is not None
    assert arm.reported is not None
    result = Comparison(
        task=runs.task,
        arm=arm.name,
        arm_label=arm.label,
        method=arm.reported,
        label="not comparable",
        reason="",
        at_step=end,
        n_theirs=reference.runs,
    )
    curve = reported.dapo_curve(runs.task, arm.reported, reference.steps_per_hour)
    if curve is not None:
        result.at_step = min(end, float(curve["step"].iloc[-1]))
        result.theirs = reported.value_at(curve, result.at_step)
        result.margin = margin_of(runs.task, result.theirs, reference.margin)
    width = reference.bin_steps or WINDOW * result.at_step
    values, pool = runs.scores(result.at_step - width, result.at_step)
    present = values[np.isfinite(values)]
    result.planned, result.n_ours = len(values), len(present)
    if len(present):
        result.ours, result.ours_median = stats.mean(present), stats.median(present)
    fields = runs.differing(plan.reference_config[arm.name]) if plan.reference_config else []
    result.differing = [{"field": f.field, "ours": f.ours, "theirs": f.theirs} for f in fields]
    if result.theirs is None or result.margin is None:
        result.reason = f"No reported curve of {arm.reported} on {runs.task}."
    elif not plan.reference_config:
        result.reason = NO_SETTING
    elif fields:
        result.reason = "Protocols differ: " + "; ".join(map(str, fields)) + "."
    elif not plan.scientific:
        result.label, result.reason = "underpowered", f"Scale {plan.scale} says nothing scientific."
    else:
        result.difference = None if result.ours is None else result.ours - result.theirs
        result.label, result.reason, result.interval = label_runs(
            values, pool, result.theirs, reference.runs, result.margin
        )
    return result, values


def _arm_runs(store: Store, games: dict[RunKey, pd.DataFrame], arm: Arm, task: str) -> ArmRuns:
    """The planned runs of an arm on a task in one store."""
    records = run_records(store.runs[store.runs["task"] == task])
    done = {key: games.get(key) if run["state"] == "done" else None for key, run in records}
    configs = [config for (name, of_task, _), config in store.configs.items() if (name, of_task) == (arm.name, task)]
    own = [part for (name, _, _), part in done.items() if name == arm.name]
    return ArmRuns(task, arm, own, configs, list(done.values()))


def compare_reported(store: Store, plan: Plan) -> list[Comparison]:
    """Every Atari game and arm that has a reported curve, sorted by task and arm."""
    if plan.reference is None:
        return []
    ends, games = matched_steps(store.runs), by_run(store.episodes)
    present = set(zip(store.runs["task"], store.runs["arm"], strict=True))
    return [
        compare_curve(_arm_runs(store, games, plan.arms[arm], task), plan, ends[task])[0]
        for task in sorted(ends)
        for arm in sorted(plan.arms)
        if plan.tasks[task].env == "atari" and plan.arms[arm].reported is not None and (task, arm) in present
    ]
