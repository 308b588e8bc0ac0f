"""What a figure was made of, written beside it as `<stem>.why.json`: runs, configurations, origins, the code that drew.

The file stands alone: `python -m analysis why` reads it when the store is gone. It holds no time and no path of a
machine, so that equal data, drawn by equal code, give equal bytes.
"""

import csv
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.archive import pack_configs, pack_manifests, read_json
from analysis.load import KEY, RunKey, run_records
from bench.checkout import git_once
from bench.errors import UserError
from bench.files import write_atomically

if TYPE_CHECKING:
    from analysis.figures import Drawn
    from analysis.study import Study

SUFFIX = "why.json"
FORMATS = ("png", "svg", "pdf", "csv", "md", "tex")  # what a figure or a table is written as
DRAWING = ("matplotlib", "numpy", "pandas", "scipy", "statsmodels")
COLUMNS = (*KEY, "state", "in_figure", "hash", "params_sha256", "run_dir")
HELD = ("figure", "drawn_by", "root", "csv_sha256", "checks")


def drawn_by() -> dict[str, Any]:
    """The project's commit, the hash of what was changed since, and the versions of the libraries that draw."""
    commit, changes = git_once("rev-parse", "HEAD"), git_once("diff", "HEAD", "--", "analysis", "bench")
    versions = {name: importlib.metadata.version(name) for name in DRAWING}
    return {
        "commit": commit.decode().strip() if commit else None,
        "dirty_sha256": hashlib.sha256(changes).hexdigest() if changes else None,
        "versions": {"python": platform.python_version(), **versions},
    }


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            yield from _strings(item)


def our_rows(data: pd.DataFrame) -> pd.DataFrame:
    """The rows of a figure's CSV that hold a number of ours. Args: data: all values as text."""
    if "source" in data:
        data = data[data["source"] != "paper"]
    return data[data["ours"] != ""] if "ours" in data else data


def figure_keys(study: "Study", data: pd.DataFrame, options: dict[str, Any]) -> list[RunKey]:
    """The planned runs behind a figure: of the arms and tasks that its CSV and its options name, lost ones too.

    Without such a column all arms, or tasks, of the check. Options name what the others are measured against.
    Args: data: the figure's CSV, all values as text.
    """
    from analysis import checks

    plan, ours = study.plan, our_rows(data)
    pairs = set(zip(ours["arm"], ours["task"], strict=True)) if {"arm", "task"} <= set(data.columns) else set()
    # Where none of ours is in it, those that would have been: all arms on its tasks.
    tasks = {task for task in (ours if len(ours) else data).get("task", []) if task in plan.tasks} or set(plan.tasks)
    arms = {arm for arm in ours.get("arm", []) if arm in plan.arms} or set(plan.arms)
    base = {text for text in _strings(options) if text in plan.arms}
    if plan.name in checks.names() and (baseline := checks.view(plan.name).baseline):
        base |= {baseline}
    return [
        (run.arm, run.task, run.seed)
        for run in plan.runs
        if ((run.arm, run.task) in pairs if pairs else run.arm in arms and run.task in tasks)
        or (run.arm in base and run.task in tasks)
    ]


def _single_runs(data: pd.DataFrame) -> dict[tuple[str, str], set[int]]:
    """(arm, task) -> the seeds whose own numbers are in the CSV; empty where it has no rows of single runs."""
    found: dict[tuple[str, str], set[int]] = {}
    if set(KEY) <= set(data.columns):
        for arm, task, seed in data[list(KEY)].drop_duplicates().itertuples(index=False, name=None):
            if seed:
                found.setdefault((arm, task), set()).add(int(float(seed)))
    return found


def _part(study: "Study", chosen: list[RunKey], data: pd.DataFrame) -> dict[str, Any]:
    """Everything about the runs of one check: a table of them, their configurations, their origins."""
    wanted, single, text, keys = set(chosen), _single_runs(data), io.StringIO(), []
    anything = len(our_rows(data)) > 0
    rows = csv.writer(text, lineterminator="\n")
    for key, run in run_records(study.store.runs):
        if key in wanted:
            used = anything and run["state"] == "done" and key[2] in single.get(key[:2], {key[2]})
            keys.append(key)
            rows.writerow([*key, run["state"], "yes" if used else "no", *(run[name] for name in COLUMNS[5:])])
    return {
        "check": study.plan.name,
        "scale": study.plan.scale,
        "question": study.plan.question,
        "runs": [",".join(COLUMNS), *text.getvalue().splitlines()],
        "configurations": pack_configs({key: value for key, value in study.store.configs.items() if key in wanted}),
        "origins": pack_manifests(study.store.manifests, keys)["fields"],
    }


def record(
    drawn: "Drawn",
    studies: "list[Study]",
    options: dict[str, Any] | None = None,
    keys: set[RunKey] | None = None,
) -> "Drawn":
    """Write the sidecar of a figure; returns the figure with its path.

    Args: studies: the checks that it shows, none for a figure of published numbers alone; options: what it was drawn
    with; keys: its runs, where the caller knows better than the CSV's columns say: checks without one are left out.
    """
    path = drawn.paths["csv"]
    content = path.read_bytes()
    data = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    parts = []
    for study in studies:
        chosen = figure_keys(study, data, options or {}) if keys is None else sorted(keys & study.store.configs.keys())
        parts += [_part(study, chosen, data)] if chosen else []
    sidecar = {
        "figure": drawn.stem,
        "caption": drawn.caption,
        "drawn_by": drawn_by(),
        "root": studies[0].root.resolve().name if parts else None,
        "csv_sha256": hashlib.sha256(content).hexdigest(),
        "checks": parts,
    }
    text = json.dumps(sidecar, indent=1) + "\n"
    written = write_atomically(path.with_name(f"{drawn.stem}.{SUFFIX}"), text)
    return dataclasses.replace(drawn, paths=drawn.paths | {SUFFIX: written})


def read(path: Path) -> dict[str, Any]:
    """A sidecar, the runs of its checks as lists of rows by COLUMNS (UserError where it is none)."""
    content = read_json(path, HELD)
    try:
        for part in content["checks"]:
            part["runs"] = list(csv.DictReader(part["runs"]))
            if any(set(row) != set(COLUMNS) for row in part["runs"]):
                raise KeyError("the columns of its runs")
            _ = part["check"], part["scale"], part["configurations"]["groups"], part["origins"]
    except (KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is no record of a figure's runs ({error}); draw the figure again") from error
    return content
