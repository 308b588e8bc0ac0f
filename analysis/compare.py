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
from analysis.plan import Arm, Plan, Reference
from analysis.protocol import Difference, differing
from analysis.scores import WINDOW, final_score, matched_steps

LABELS = ("compatible", "higher", "lower", "not comparable", "underpowered")
ALPHA = 0.05


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


def _our_scores(store: Store, games: dict[RunKey, pd.DataFrame], task: str, start: float, end: float) -> pd.DataFrame:
    """Arm, seed, value of every planned run of a task; NaN where it is not done or finished no game."""
    rows = []
    for key, run in run_records(store.runs[store.runs["task"] == task]):
        part = games.get(key)
        value = math.nan
        if run["state"] == "done" and part is not None:
            value, _ = final_score(part["step"].to_numpy(float), part["return"].to_numpy(float), start, end)
        rows.append({"arm": run["arm"], "seed": run["seed"], "value": value})
    return pd.DataFrame(rows)


def _protocol(store: Store, plan: Plan, arm: Arm, task: str) -> list[Difference]:
    """Fields in which any of the arm's runs on the task differs from the reported setting."""
    found: dict[str, Difference] = {}
    for (name, of_task, _), config in store.configs.items():
        if (name, of_task) == (arm.name, task):
            for item in differing(config, plan.reference_config[arm.name]):
                found.setdefault(item.field, item)
    return [found[name] for name in sorted(found)]


def _label(values: np.ndarray, pool: np.ndarray, result: Comparison, reference: Reference) -> None:
    """Fill in interval and label. Args: values: `[planned]`, NaN where lost; pool: all of the task."""
    assert result.theirs is not None
    assert result.margin is not None
    present = values[np.isfinite(values)]
    if len(values) < 2 or len(present) == 0:
        result.label = "underpowered"
        result.reason = f"n = {len(present)}: no interval."
        return
    whole = len(present) == len(values)
    fills = [present] if whole else [np.where(np.isnan(values), fill, values) for fill in (pool.min(), pool.max())]
    estimates = [stats.prediction_interval(x, result.theirs, reference.runs, ALPHA) for x in fills]
    result.interval = [min(e.low for e in estimates), max(e.high for e in estimates)]
    labels = {label_of(e.low, e.high, result.margin) for e in estimates}
    result.label = labels.pop() if len(labels) == 1 else "underpowered"
    lost = "" if whole else f" {len(values) - len(present)} of {len(values)} runs lost: imputed at their worst."
    result.reason = {
        "higher": "The prediction interval lies above the margin.",
        "lower": "The prediction interval lies below the margin.",
        "compatible": "The prediction interval lies within the margin.",
        "underpowered": "The prediction interval is too wide for the margin.",
    }[result.label] + lost


def _compare(
    store: Store, games: dict[RunKey, pd.DataFrame], plan: Plan, arm: Arm, task: str, end: float
) -> Comparison:
    reference = plan.reference
    assert reference is not None
    assert arm.reported is not None
    result = Comparison(
        task=task,
        arm=arm.name,
        arm_label=arm.label,
        method=arm.reported,
        label="not comparable",
        reason="",
        at_step=end,
        n_theirs=reference.runs,
    )
    curve = reported.dapo_curve(task, arm.reported, reference.steps_per_hour)
    if curve is not None:
        result.at_step = min(end, float(curve["step"].iloc[-1]))
        result.theirs = reported.value_at(curve, result.at_step)
        result.margin = margin_of(task, result.theirs, reference.margin)
    width = reference.bin_steps or WINDOW * result.at_step
    scores = _our_scores(store, games, task, result.at_step - width, result.at_step)
    values = scores.loc[scores["arm"] == arm.name, "value"].to_numpy(float)
    present = values[np.isfinite(values)]
    result.planned, result.n_ours = len(values), len(present)
    if len(present):
        result.ours, result.ours_median = stats.mean(present), stats.median(present)
    fields = _protocol(store, plan, arm, task) if plan.reference_config else []
    result.differing = [{"field": f.field, "ours": f.ours, "theirs": f.theirs} for f in fields]
    if curve is None:
        result.reason = f"No reported curve of {arm.reported} on {task}."
    elif not plan.reference_config:
        result.reason = "The plan names no configuration of the reported runs, so protocols cannot be compared."
    elif fields:
        result.reason = "Protocols differ: " + "; ".join(map(str, fields)) + "."
    elif not plan.scientific:
        result.label, result.reason = "underpowered", f"Scale {plan.scale} says nothing scientific."
    else:
        if result.ours is not None and result.theirs is not None:
            result.difference = result.ours - result.theirs
        _label(values, scores["value"].dropna().to_numpy(float), result, reference)
    return result


def compare_reported(store: Store, plan: Plan) -> list[Comparison]:
    """Every Atari game and arm that has a reported curve, sorted by task and arm."""
    if plan.reference is None:
        return []
    ends, games = matched_steps(store.runs), by_run(store.episodes)
    present = set(zip(store.runs["task"], store.runs["arm"], strict=True))
    return [
        _compare(store, games, plan, plan.arms[arm], task, ends[task])
        for task in sorted(ends)
        for arm in sorted(plan.arms)
        if plan.tasks[task].env == "atari" and plan.arms[arm].reported is not None and (task, arm) in present
    ]
