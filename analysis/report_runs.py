"""Runs on the report page: a table by arm, those that are lost, what they were configured with, and their origins."""

import json
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import archive
from analysis.load import AGENT_STEPS, RunKey, run_records
from analysis.plan import archive_folder, is_archive
from analysis.report_claims import anchor
from analysis.report_deviations import as_text
from analysis.study import Study
from analysis.words import number
from bench.causes import tail

SINGLE_ROWS = 400  # runs of a check that are listed one by one; of more only those that are lost
LOG_LINES = 8
UNSCORED = "done without a score"
# Fields of a manifest that belong to a run, not to where it comes from.
OF_A_RUN = ("command", "rom_sha256", "attempts", "sources", "identity_versions")


@dataclass(frozen=True)
class Row:
    """One run, or all finished ones of an arm on a task."""

    task: str
    seeds: str
    state: str
    name: str  # of the run's directory; blank for several
    step: str
    wall: str
    values: list[str]
    origins: list[str]  # keys of origins
    settings: list[str]  # anchors
    lost: str = ""  # anchor of what is said about a run that is not done


@dataclass(frozen=True)
class ArmRuns:
    """The runs of an arm."""

    arm: str
    anchor: str
    rows: list[Row]


@dataclass(frozen=True)
class Setting:
    """What the runs of an arm on a task were configured with, beyond what is said above it."""

    anchor: str
    arm: str
    task: str
    seeds: str
    differs: dict[str, str]
    command: str
    rom: str


@dataclass(frozen=True)
class Settings:
    """Configurations of a check, every value once: of all runs, of all runs on a task, of an arm on a task."""

    common: dict[str, str]
    of_task: dict[str, dict[str, str]]
    groups: list[Setting]
    of_run: dict[RunKey, str]  # anchors


def manifests_of(study: Study) -> dict[RunKey, dict[str, Any]]:
    """Manifests without what differs in every run: times, seeds, places."""
    keys = archive.run_keys(study.plan)
    return archive.unpack_manifests(archive.pack_manifests(study.store.manifests, keys), keys)


def times(study: Study) -> tuple[str | None, str | None]:
    """When the first run started and when the last one ended; None where no manifest says so."""
    packed = archive_folder(study.root, study.plan.name, study.plan.scale) / "manifests.json"
    if is_archive(study.root):
        content = archive.read_json(packed)
    else:
        content = archive.pack_manifests(study.store.manifests, archive.run_keys(study.plan))
    return content.get("first_started"), content.get("last_finished")


def origin_of(manifest: dict[str, Any]) -> str:
    """The part of a manifest that runs share, as text that is equal for equal origins."""
    return json.dumps({name: value for name, value in manifest.items() if name not in OF_A_RUN}, sort_keys=True)


def _texts(fields: dict[str, Any]) -> dict[str, str]:
    return {name: as_text(value) for name, value in fields.items()}


def settings(study: Study, manifests: dict[RunKey, dict[str, Any]]) -> Settings:
    """Configurations as they differ. Args: manifests: as from `manifests_of`."""
    packed = archive.pack_configs(study.store.configs)
    of_task: dict[str, dict[str, str]] = {}
    for task in study.plan.tasks:
        fields = [set(_texts(group["differs"]).items()) for group in packed["groups"] if group["task"] == task]
        of_task[task] = dict(sorted(set.intersection(*fields))) if len(fields) > 1 else {}
    groups: list[Setting] = []
    of_run: dict[RunKey, str] = {}
    for i, group in enumerate(packed["groups"]):
        arm, task, seeds = group["arm"], group["task"], archive.numbers_of(group["seeds"])
        made = manifests.get((arm, task, seeds[0]), {})
        own = {name: text for name, text in _texts(group["differs"]).items() if name not in of_task[task]}
        name = anchor("setting", study.plan.name, i)
        said = (str(made.get("command") or ""), str(made.get("rom_sha256") or ""))
        groups.append(Setting(name, arm, task, group["seeds"], own, *said))
        of_run |= {(arm, task, seed): name for seed in seeds}
    return Settings(_texts(packed["common"]), of_task, groups, of_run)


def wall_text(seconds: float | None) -> str:
    """A duration for reading."""
    if seconds is None or pd.isna(seconds):
        return "–"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{number(seconds / size, 3)} {unit}"
    return f"{number(float(seconds), 2)} s"


def _distinct(names: list[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def lost_anchor(study: Study, run: dict[Hashable, Any]) -> str:
    """Where the page says what became of a run."""
    return anchor("run", study.plan.name, run["arm"], run["task"], run["seed"])


def _single(
    study: Study, run: dict[Hashable, Any], metrics: tuple[str, ...], origin: str | None, setting: str | None
) -> Row:
    return Row(
        task=run["task"],
        seeds=str(run["seed"]),
        state=run["state"],
        name=str(run["run_dir"]).rpartition("/")[2],
        step="–" if pd.isna(run["step"]) else f"{int(run['step']):,}",
        wall=wall_text(run["wall_s"]),
        values=[number(run[name]) for name in metrics],
        origins=_distinct([origin]),
        settings=_distinct([setting]),
        lost=lost_anchor(study, run) if run["state"] != "done" else "",
    )


def _several(part: pd.DataFrame, metrics: tuple[str, ...], origins: list[str], anchors: list[str]) -> Row:
    """Finished runs of an arm on a task in one line: means, and standard deviations of two and more."""
    values = []
    for name in metrics:
        numbers = pd.to_numeric(part[name]).dropna()
        spread = f" ± {number(numbers.std(), 2)}" if len(numbers) > 1 else ""
        values.append(f"{number(numbers.mean())}{spread}" if len(numbers) else "-")
    steps = sorted({int(step) for step in part["step"].dropna()})
    return Row(
        task=str(part["task"].iloc[0]),
        seeds=archive.ranges_text([int(seed) for seed in part["seed"]]).replace("-", "–").replace(",", ", "),
        state=f"{len(part)} done",
        name="",
        step=" to ".join(f"{step:,}" for step in dict.fromkeys((steps[0], steps[-1]))) if steps else "–",
        wall=wall_text(float(pd.to_numeric(part["wall_s"]).sum())),
        values=values,
        origins=origins,
        settings=anchors,
    )


def is_grouped(study: Study) -> bool:
    """Are there so many runs that finished ones share lines?"""
    return len(study.scored) > SINGLE_ROWS


def arm_runs(
    study: Study, metrics: tuple[str, ...], origins: dict[RunKey, str], of_run: dict[RunKey, str]
) -> list[ArmRuns]:
    """The run table: one by one, or by task where there are many.

    Args: metrics: its columns; origins: key of the origin of every run with a manifest; of_run: anchors of settings.
    """
    scored = study.scored
    grouped = (scored["state"] == "done") & is_grouped(study)
    tables = []
    for arm in study.plan.arms:
        rows = []
        of_arm = scored[scored["arm"] == arm]
        for task in study.plan.tasks:
            part = of_arm[of_arm["task"] == task]
            if len(many := part[grouped.loc[part.index]]):
                keys = [key for key, _ in run_records(many)]
                shared = [_distinct([found.get(key) for key in keys]) for found in (origins, of_run)]
                rows.append(_several(many, metrics, *shared))
            rows += [
                _single(study, run, metrics, origins.get(key), of_run.get(key))
                for key, run in run_records(part[~grouped.loc[part.index]])
            ]
        tables.append(ArmRuns(arm, anchor("runs", study.plan.name, arm), rows))
    return tables


def lost_runs(study: Study) -> list[dict[Hashable, Any]]:
    """Runs that are not done, or play games and have no score: the reason, and the last lines of their logs."""
    runs = study.scored
    lost = runs[(runs["state"] != "done") | (runs["score"].isna() & (runs["clock"] == AGENT_STEPS))]
    found = []
    for run in lost.to_dict("records"):
        log = tail(study.root / run["run_dir"] / "log.txt", 0)[-LOG_LINES:] if run["state"] != "done" else []
        done = run["state"] == "done"
        said = {"state": UNSCORED, "error": run["score_rule"]} if done else {}
        if run["state"] == "missing" and not run["error"]:
            said = {"error": "The store has no directory of this run."}
        found.append(run | {"anchor": lost_anchor(study, run), "log": "\n".join(log)} | said)
    return found
