"""Published MuJoCo returns beside ours, for context: which numbers, and in which fields their protocols differ.

Of each task and algorithm the row at the paper's budget of PUBLISHED_STEPS with the newest version of the environment,
among those the one with the most runs (analysis/reported/mujoco_published.csv). Nothing is judged by them: no source
scores as we do (mean of the last fifth of deterministic evaluations), so every row is `not comparable` in that field
at least, and says in which others.
"""

from typing import Any

import pandas as pd

from analysis import checks, reported
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
