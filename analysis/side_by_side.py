"""A published number and ours beside it: one line of `python -m analysis compare`.

A line is `not run` (no run of ours is done), or `not comparable` (a field of the protocol differs, the way in which a
run becomes a number, or the budget), else labelled as in `analysis.compare`: by a prediction interval for the mean of
their runs given our spread, and a margin that is fixed beforehand, `REPORTED_MARGIN` of the task's range. What a source
does not state is named and stops nothing, except its kind of score and its budget.

Of several settings of ours the one with the fewest differing fields stands, then the longest, then the one with most
runs; scores play no part.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis import stats
from analysis.compare import ALPHA, label_runs
from analysis.ours import Setting
from analysis.protocol import Difference
from analysis.ranges import task_range

SHORT = 0.01  # by this fraction budgets may differ and be the same: ours are rounded to whole policy versions


@dataclass(kw_only=True)
class Line:
    """One number of theirs and what we have beside it. Scores raw, steps in agent steps, relative scores in percent."""

    task: str
    method: str  # theirs
    arm: str = ""  # ours
    ours: float | None = None
    ours_low: float | None = None  # of the mean of our runs, Student's t
    ours_high: float | None = None
    n_ours: int = 0
    planned: int = 0
    steps: float | None = None  # at which ours is read
    frames: float | None = None
    theirs: float | None = None
    n_theirs: int | None = None  # None: not stated, taken as 1
    their_steps: float | None = None  # at which theirs is read
    budget: float | None = None  # of a run of theirs
    difference: float | None = None
    low: float | None = None  # of the difference, prediction interval
    high: float | None = None
    margin: float | None = None
    normalised_ours: float | None = None  # 0 random, 1 human; MuJoCo: 1 the published PPO
    normalised_theirs: float | None = None
    relative_ours: float | None = None
    relative_theirs: float | None = None
    score: str = ""  # how a run became one number, on our side
    label: str = "not run"
    reason: str = ""
    implementation: str = ""
    source: str = ""
    others: str = ""  # further numbers of the source on the task, that nothing of ours stands beside
    fields: list[Difference] = field(default_factory=list)

    @property
    def covered(self) -> float:
        """Fraction of the budget of a run of theirs that ours covers."""
        return 0.0 if self.steps is None or not self.budget or not self.n_ours else self.steps / self.budget


def normalise(value: float | None, task: str) -> float | None:
    """A raw score in units of the task's range; None without one."""
    low, high = task_range(task)
    return None if value is None or math.isnan(low) else (value - low) / (high - low)


def fill_ours(line: Line, setting: Setting, values: np.ndarray, end: float) -> None:
    """Fill in our side. Args: values: `[planned]`, NaN where a run has no number; end: agent steps."""
    present = values[np.isfinite(values)]
    line.arm, line.planned, line.n_ours, line.steps = setting.arm.name, len(values), len(present), end
    if setting.frames_per_step:
        line.frames = end * setting.frames_per_step
    if len(present):
        line.ours = stats.mean(present)
    if len(present) > 1:
        interval = stats.student_t(present, ALPHA)
        line.ours_low, line.ours_high = interval.low, interval.high
    line.normalised_ours = normalise(line.ours, setting.task)


def judge_final(line: Line, setting: Setting, values: np.ndarray, pool: np.ndarray, unstated: list[str]) -> None:
    """Label of a final number whose fields are compared already."""
    said = [f"Not stated by them: {', '.join(unstated)}."] if unstated else []
    if not any(run.state == "done" for run in setting.runs):
        line.label, said = "not run", [f"{len(setting.runs)} runs planned, none done."]
    elif line.fields:
        line.label = "not comparable"
        said = [f"Differing: {'; '.join(map(_spoken, line.fields))}.", *said]
    elif not setting.plan.scientific:
        line.label, said = "underpowered", [f"Scale {setting.plan.scale} says nothing scientific."]
    else:
        assert line.theirs is not None
        assert line.margin is not None
        line.difference = None if line.ours is None else line.ours - line.theirs
        line.label, reason, interval = label_runs(values, pool, line.theirs, line.n_theirs or 1, line.margin)
        line.low, line.high = interval or (None, None)
        said = [reason, *([] if line.n_theirs else ["Their runs are not stated: taken as 1."]), *said]
    line.reason = " ".join([*said, *without_number(setting, values)])


def without_number(setting: Setting, values: np.ndarray) -> list[str]:
    """How many runs are done and yet have no number. Args: values: `[planned]`."""
    count = sum(run.state == "done" and math.isnan(value) for run, value in zip(setting.runs, values, strict=True))
    return [f"{count} of {len(values)} runs are done without such a number."] if count else []


def _spoken(item: Difference) -> str:
    """A difference for reading: steps as numbers with commas."""
    ours, theirs = (f"{x:,.0f}" if isinstance(x, float) and x >= 1000 else str(x) for x in (item.ours, item.theirs))
    return f"{item.field} {ours} (theirs {theirs})"


def budget_difference(steps: float, theirs: float | None, *, longer: bool = False) -> list[Difference]:
    """The budget as a difference: ours is another, or theirs is not stated.

    Args: longer: ours may be larger, as the first part of a longer run is a run of theirs (equal schedules).
    """
    if theirs is None:
        return [Difference("budget", float(steps), "not stated")]
    fits = steps >= (1 - SHORT) * theirs and (longer or steps <= (1 + SHORT) * theirs)
    return [] if fits else [Difference("budget", float(steps), theirs)]


def best_setting(settings: list[Setting], fields: dict[int, list[Difference]]) -> Setting:
    """The setting that stands. Args: fields: by id of a setting."""
    return min(settings, key=lambda item: (len(fields[id(item)]), -item.steps, -len(item.runs)))


def on_task(settings: list[Setting], task: str) -> list[Setting]:
    """The settings on a task."""
    return [setting for setting in settings if setting.task == task]


def row(line: Line) -> dict[str, Any]:
    """A line as plain values, for a table."""
    shown = {name: value for name, value in vars(line).items() if name != "fields"}
    return shown | {"differing": ", ".join(item.field for item in line.fields)}
