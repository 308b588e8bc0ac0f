"""Numbers that several figures draw: one per planned run, the configuration behind it, means with their intervals."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as sp

from analysis import cells, ranges, stats
from analysis.load import KEY
from analysis.scores import METRICS
from analysis.study import Study

SHARES = tuple(name for name, metric in METRICS.items() if metric.binary)  # 0 or 1 per run


@dataclass(frozen=True)
class Mean:
    """A mean over runs and its 95 % interval (NaN below two runs), of `planned` runs that it should hold."""

    value: float
    low: float
    high: float
    n: int
    planned: int


def wilson(hits: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's score interval of a share: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).

    Source: Wilson 1927. Args: hits of n, n >= 1.
    """
    z, p = float(sp.norm.ppf(1 - alpha / 2)), hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean(values: np.ndarray, metric: str) -> Mean:
    """Mean of the runs that have a number. Args: values: `[R]`, NaN where a planned run has none."""
    present = values[np.isfinite(values)]
    n, nan = len(present), math.nan
    if n == 0:
        return Mean(nan, nan, nan, 0, len(values))
    value = float(present.mean())
    if metric in SHARES:
        return Mean(value, *wilson(round(float(present.sum())), n), n, len(values))
    if n < 2:
        return Mean(value, nan, nan, n, len(values))
    estimate = stats.student_t(present)
    return Mean(value, estimate.low, estimate.high, n, len(values))


def judged(d: np.ndarray) -> Mean:
    """Differences as a verdict estimates them: the mean on one task, the IQM of all entries on several.

    Args: d: `[seeds, tasks]`; a seed counts where every task has its number. No interval below two seeds.
    """
    whole = d[np.isfinite(d).all(axis=1)]
    n, nan = len(whole), math.nan
    if n < 2:
        return Mean(stats.iqm(whole) if n else nan, nan, nan, n, len(d))
    estimate = stats.difference(whole, 0.05)
    return Mean(estimate.value, estimate.low, estimate.high, n, len(d))


def interval_kind(metric: str) -> str:
    """What the intervals of `mean` are, for captions."""
    return "Wilson's score interval" if metric in SHARES else "Student-t interval over runs (none for n = 1)"


def how(metric: str, normalise: str | None) -> str:
    """The normalisation of a metric: the figure's own, else the metric's."""
    return normalise or METRICS[metric].normalise


def unit(metric: str, normalise: str | None, tasks: Iterable[str]) -> str:
    """The unit of a metric on these tasks, in the words of a verdict card."""
    return cells.unit_name(how(metric, normalise), list(dict.fromkeys(tasks)), METRICS[metric].unit)


def axis_label(metric: str, normalise: str | None, tasks: Iterable[str]) -> str:
    """Metric and unit, for an axis. Args: tasks: that are drawn."""
    label = METRICS[metric].label
    return f"share of runs that\n{label}" if metric in SHARES else f"{label}\n({unit(metric, normalise, tasks)})"


def plain(text: str) -> str:
    """An axis label as words of a caption: one line, without the marks of mathematics."""
    return text.replace("\n", " ").replace("$", "").replace("\\delta", "delta").replace("\\,", " ")


def matching(arms: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The arms that one of the patterns fits, in their order. Args: patterns: names, or such as `lam_*`."""
    patterns = tuple(patterns)
    return [arm for arm in arms if any(fnmatchcase(arm, pattern) for pattern in patterns)]


def numbers(study: Study, metric: str, normalise: str | None = None, arms: Iterable[str] | None = None) -> pd.DataFrame:
    """One row per planned run: KEY, state and `value`, NaN where the run or its task has no such number.

    Args: metric: key of analysis.scores.METRICS; normalise: as in a claim; arms: those wanted, names or patterns as of
    `matching`, all if None.
    """
    wanted = list(study.plan.arms) if arms is None else matching(study.plan.arms, arms)
    rows = study.scored.loc[study.scored["arm"].isin(wanted), [*KEY, "state", metric]].rename(columns={metric: "value"})
    values = rows["value"].to_numpy(float, copy=True)
    for task in study.plan.tasks:
        here = (rows["task"] == task).to_numpy()
        values[here] = in_units(study, values[here], task, how(metric, normalise))
    return rows.assign(value=values).reset_index(drop=True)


def rows_with(study: Study, task: str, column: str) -> pd.DataFrame:
    """The rows of metrics.csv of the task's finished runs that have a value in the column, up to the matched steps."""
    rows, runs = study.store.metrics, study.scored
    if column not in rows:
        return pd.DataFrame(columns=[*KEY, "step", column])
    runs = runs[(runs["task"] == task) & (runs["state"] == "done")]
    rows = rows[(rows["task"] == task) & rows[column].notna()].merge(runs[[*KEY, "end"]], on=list(KEY))
    return rows[rows["step"] <= rows["end"]]


def in_units(study: Study, values: np.ndarray, task: str, how: str) -> np.ndarray:
    """Raw numbers of a task under a normalisation of analysis.ranges; NaN where the task has none."""
    env = next((config["env"] for (_, where, _), config in sorted(study.store.configs.items()) if where == task), None)
    unit = ranges.unit_of(how, task, ranges.task_range(task, env))
    return np.full_like(values, math.nan) if unit is None else (values - unit[0]) / unit[1]


def setting(study: Study, key: str) -> dict[tuple[str, str], Any]:
    """(arm, task) -> the value of a configuration key such as `algo.inv_eta` in the runs' resolved configurations.

    An arm of which no run has begun has no configuration and is absent.
    """
    found: dict[tuple[str, str], Any] = {}
    for (arm, task, _), config in sorted(study.store.configs.items()):
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found.setdefault((arm, task), value)
    return found


def lost_sentence(rows: pd.DataFrame) -> str:
    """What a figure does not show, for its caption; empty when every planned run has a number.

    Args: rows: with `state` and `value`.
    """
    lost = rows[~np.isfinite(rows["value"].to_numpy(float))]
    if lost.empty:
        return f"All {len(rows)} planned runs of these arms and tasks are in it."
    why = lost["state"].replace({"done": "done without this number"}).value_counts().sort_index()
    named = ", ".join(f"{count} {state}" for state, count in why.items())
    return f"{len(lost)} of {len(rows)} planned runs have no number and are not in it: {named}."


def measured(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the tasks that have this number at all, and sentences that name the others: those where runs are done
    and none has the number, and those where no run is done.
    """
    some = rows.assign(has=np.isfinite(rows["value"].to_numpy(float)), done=rows["state"] == "done")
    by_task = some.groupby("task", sort=False)[["has", "done"]].any()
    without = list(map(str, by_task.index[by_task["done"] & ~by_task["has"]]))
    waiting = list(map(str, by_task.index[~by_task["done"] & ~by_task["has"]]))
    kept = rows[~rows["task"].isin([*without, *waiting])].reset_index(drop=True)
    words = [f"Not measured on {', '.join(without)}." if without else ""]
    words.append(f"No run is done on {', '.join(waiting)}." if waiting else "")
    return kept, " ".join(word for word in words if word)
