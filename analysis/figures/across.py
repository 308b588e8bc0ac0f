"""What the figures across tasks share: each arm's matrix of runs and tasks, and the sentences about it.

Tasks: those with such a number on which two arms or more are planned; the others are named.
Arms: those planned on all of these tasks, and
with a number on each. Runs without a number are NaN: they are in no statistic, and the caption counts them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.figures import frames
from analysis.study import Study

CSV = ["kind", "arm", "task", "seed", "value", "low", "high", "n"]
INTERVAL = "95 % interval: value +- t standard errors of the stratified bootstrap (whole runs drawn within each task)"


@dataclass(frozen=True)
class Across:
    """Scores of arms over the same tasks. `rows`: one per planned run of them, with `value`."""

    tasks: list[str]
    scores: dict[str, np.ndarray]  # arm -> [runs, tasks], NaN where a planned run has no number
    rows: pd.DataFrame
    unit: str
    notes: str  # sentences on tasks and arms that are not in it, and on lost runs

    def n(self, arm: str) -> str:
        """Runs with a number per task, as text."""
        return span(np.isfinite(self.scores[arm]).sum(axis=0))

    def runs_csv(self) -> pd.DataFrame:
        """The runs that are in it, as rows of the CSV."""
        rows = self.rows[self.rows["value"].notna()]
        return rows.assign(kind="run", low=np.nan, high=np.nan, n=1)[CSV]


def span(counts: Any) -> str:
    """One number, or the least to the largest of several; 0 of none."""
    if not len(counts):
        return "0"
    low, high = int(np.min(counts)), int(np.max(counts))
    return f"{low}" if low == high else f"{low} to {high}"


def _matrix(rows: pd.DataFrame, arm: str, tasks: list[str]) -> np.ndarray:
    """`[runs, tasks]`, a row per seed; NaN also where a task is planned with fewer seeds."""
    table = rows[rows["arm"] == arm].pivot(index="seed", columns="task", values="value")
    return table.reindex(columns=tasks).to_numpy(float)


def across(study: Study, options: dict[str, Any], least_tasks: int = 1) -> Across | None:
    """The arms that can be compared over tasks; None below two arms, or below so many tasks.

    Options: metric; optional: normalise, arms (names or patterns).
    """
    metric, normalise = options["metric"], options.get("normalise")
    every = frames.numbers(study, metric, normalise, options.get("arms"))
    planned = every.groupby("task", sort=False)["arm"].nunique()
    alone = [task for task in study.plan.tasks if planned.get(task, 0) == 1]
    rows, absent = frames.measured(every[~every["task"].isin(alone)])
    tasks = [task for task in study.plan.tasks if (rows["task"] == task).any()]
    if len(tasks) < least_tasks or not tasks:
        return None
    scores, without = {}, []
    for arm in [arm for arm in study.plan.arms if arm in set(rows["arm"])]:
        matrix = _matrix(rows, arm, tasks)
        if np.isfinite(matrix).any(axis=0).all():
            scores[arm] = matrix
        else:
            without.append(study.plan.arms[arm].label)
    if len(scores) < 2:
        return None
    rows = rows[rows["task"].isin(tasks) & rows["arm"].isin(scores)].reset_index(drop=True)
    notes = [f"Left out, not all arms planned: {', '.join(alone)}." if alone else "", absent]
    notes += [f"Not on all of these tasks and left out: {', '.join(without)}." if without else ""]
    notes.append(frames.lost_sentence(rows))
    unit = frames.axis_label(metric, normalise, tasks)
    return Across(tasks, scores, rows, unit, " ".join(note for note in notes if note))


def tasks_text(found: Across) -> str:
    """Over which tasks, for captions."""
    some = f"{len(found.tasks)} tasks ({', '.join(found.tasks)})" if len(found.tasks) > 1 else found.tasks[0]
    counts = [np.isfinite(matrix).sum(axis=0) for matrix in found.scores.values()]
    return f"{some}, n = {span(np.concatenate(counts))} runs (one seed each) per arm and task"


def interval_row(found: Across, kind: str, arm: str, got: bootstrap.Interval) -> dict[str, Any]:
    """A statistic of an arm over all tasks as a row of the CSV."""
    return {
        "kind": kind,
        "arm": arm,
        "task": "",
        "seed": "",
        "value": got.value,
        "low": got.low,
        "high": got.high,
        "n": got.n,
    }
