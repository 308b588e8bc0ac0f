"""Published numbers beside ours: those of a check's view (`published_rows`), and whole sources (`published_lines`).

`published_rows`: MuJoCo returns for context: which numbers, and in which fields their protocols differ.

Of each task and algorithm the row at the paper's budget of PUBLISHED_STEPS with the newest version of the environment,
among those the one with the most runs (analysis/reported/mujoco_published.csv). Nothing is judged by them: no source
scores as we do (mean of the last fifth of deterministic evaluations), so every row is `not comparable` in that field
at least, and says in which others.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis import checks, reported
from analysis.compare import margin_of
from analysis.ours import ALGORITHMS, Setting, rule_for
from analysis.plan import REPORTED_MARGIN
from analysis.protocol import Difference, measured, stated_differing
from analysis.ranges import task_range
from analysis.reported.sources import Published
from analysis.side_by_side import Line, best_setting, budget_difference, fill_ours, judge_final, normalise, on_task
from analysis.study import Study

PUBLISHED_STEPS = 1_000_000
OUR_KIND = "mean of the last fifth of deterministic evaluations"
COLUMNS = ("task", "method", "return", "spread", "n", "env_version", "steps", "score_kind", "source", "comparable")


def _split(task: str) -> tuple[str, str]:
    """Name and version of an environment: Hopper, v5."""
    name, _, version = task.rpartition("-")
    return name, version


def chosen_row(table: pd.DataFrame, env: str, algorithm: str) -> dict[Any, Any] | None:
    """The published row of an environment and algorithm; None where there is none at this budget.

    Args: table: mujoco_published.csv; env: name without version.
    """
    rows = table[(table["env"] == env) & (table["algorithm"] == algorithm) & (table["steps"] == PUBLISHED_STEPS)]
    rows = rows[rows["env_version"].str.fullmatch(r"v\d+", na=False) & rows["score"].notna()]
    ordered = rows.sort_values(["env_version", "seeds"], ascending=False, kind="stable", na_position="last")
    return None if ordered.empty else ordered.iloc[0].to_dict()


def differing_fields(row: dict[Any, Any], version: str, steps: int) -> str:
    """Why a published row is not comparable with ours. Args: version, steps: ours."""
    pairs = (("environment", version, row["env_version"]), ("agent steps", steps, int(row["steps"])))
    named = [f"{name} {ours} (theirs {theirs})" for name, ours, theirs in pairs if ours != theirs]
    return "not comparable: " + "; ".join([*named, f"score {OUR_KIND} (theirs {row['score_kind']})"])


def published_rows(study: Study) -> list[dict[str, Any]]:
    """Ours by arm, then the published algorithms that the check shows, task by task; empty where it shows none."""
    algorithms = checks.view(study.plan.name).published if study.plan.name in checks.names() else ()
    table = reported.read("mujoco_published.csv")
    found: list[dict[str, Any]] = []
    for task in study.plan.tasks:
        name, version = _split(task)
        theirs = {algorithm: chosen_row(table, name, algorithm) for algorithm in algorithms}
        if not any(theirs.values()):
            continue
        runs = study.scored[study.scored["task"] == task]
        steps = int(runs["end"].iloc[0])
        for arm, part in runs.groupby("arm", sort=False):
            values = part["eval_score"].dropna()
            ours = (
                f"ours: {study.plan.arms[str(arm)].label}",
                values.mean(),
                values.std(),
                len(values),
                version,
                steps,
            )
            found.append(dict(zip(COLUMNS, (task, *ours, OUR_KIND, "these runs", ""), strict=True)))
        for row in filter(None, theirs.values()):
            said = (row["score"], row["std"], row["seeds"], row["env_version"], int(row["steps"]), row["score_kind"])
            why = differing_fields(row, version, steps)
            found.append(dict(zip(COLUMNS, (task, row["implementation"], *said, row["source"], why), strict=True)))
    return [{key: None if pd.isna(value) else value for key, value in row.items()} for row in found]


def _row_fields(row: Published, setting: Setting) -> list[Difference]:
    """In which fields our setting and a published row differ."""
    found = [
        item
        for config in [run.config for run in setting.runs if run.config]
        for item in stated_differing(measured(config), row.protocol)
    ]
    phase, statistic = rule_for(row.phase, row.statistic, setting.config)
    if (phase, statistic) != (row.phase, row.statistic):
        theirs = f"{row.phase or 'training or evaluation not stated'}: {row.statistic or row.kind}"
        found.append(Difference("score", f"{phase}: {statistic}", theirs))
    unique = {item.field: item for item in reversed([*found, *budget_difference(setting.steps, row.steps)])}
    return [unique[name] for name in reversed(unique)]


def _row_line(row: Published, task: str) -> Line:
    """A published row with nothing beside it yet. Args: task: ours."""
    return Line(
        task=task,
        method=row.algorithm,
        theirs=row.value,
        n_theirs=row.runs,
        their_steps=row.steps,
        budget=row.steps,
        normalised_theirs=normalise(row.value, task),
        implementation=row.implementation,
        source=row.source,
    )


def _margin(row: Published, task: str) -> float:
    """REPORTED_MARGIN of the task's range, of |theirs| where it has none."""
    if row.is_atari:
        return margin_of(task, row.value, REPORTED_MARGIN)
    low, high = task_range(task)
    return REPORTED_MARGIN * (abs(row.value) if math.isnan(low) else high - low)


def _beside(row: Published, task: str, settings: list[Setting]) -> Line:
    """A published row and our runs of its algorithm. Args: settings: every one on the task."""
    line = _row_line(row, task)
    own = [setting for setting in settings if setting.algorithm == row.algorithm]
    if not own:
        line.reason = f"No run of {row.algorithm}."
        return line
    fields = {id(setting): _row_fields(row, setting) for setting in own}
    setting = best_setting(own, fields)
    end = float(setting.steps) if row.steps is None else min(float(setting.steps), row.steps)
    rule = rule_for(row.phase, row.statistic, setting.config)
    values = setting.numbers(*rule, end)
    pool = np.concatenate([other.numbers(*rule, end) for other in settings])
    fill_ours(line, setting, values, end)
    line.score, line.fields, line.margin = ": ".join(rule), fields[id(setting)], _margin(row, task)
    unstated = [name for name, value in row.protocol.items() if value is None]
    judge_final(line, setting, values, pool[np.isfinite(pool)], unstated)
    line.reason = f"{line.reason} {setting.short_of(*rule, end)}".strip()
    return line


def _rank(row: Published) -> int:
    """Algorithms that the project has come first."""
    known = list(ALGORITHMS.values())
    return known.index(row.algorithm) if row.algorithm in known else len(known)


def our_task(row: Published) -> str:
    """The name of the row's task in this project."""
    return row.task if row.is_atari else f"{row.task}-v5"


def published_lines(rows: list[Published], settings: list[Setting], *, every: bool = False) -> list[Line]:
    """Per task the rows that runs of ours stand beside; where there is none, one row alone.

    Args: every: all rows of algorithms that the project has, on tasks that it has any run on.
    """
    tasks: dict[str, list[Published]] = {}
    for row in rows:
        tasks.setdefault(our_task(row), []).append(row)
    lines = []
    for task in sorted(tasks):
        here = sorted(tasks[task], key=_rank)
        pool = on_task(settings, task)
        had = {setting.algorithm for setting in pool}
        chosen = [row for row in here if row.algorithm in (ALGORITHMS.values() if every and pool else had)]
        chosen = chosen or here[:1]
        others = "; ".join(f"{row.implementation} {row.value:g}" for row in here if row not in chosen)
        for row in chosen:
            line = _beside(row, task, pool)
            line.others = others
            lines.append(line)
    return lines
