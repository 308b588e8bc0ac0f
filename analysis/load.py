"""Run directories -> tidy frames. One row per planned run, whatever became of it; nothing is dropped
silently.

State of a run: `done` (its numbers count), `failed` (it raised, was interrupted, its files contradict the plan, or
they hold a fault of `analysis.integrity`: `error` says which), `running` (not finished), `missing` (no directory or no
status).
"""

import io
import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.integrity import Twins, found_of, run_fault
from analysis.plan import Plan, PlannedRun
from analysis.reading import NUMBERS, read_alike
from bench.errors import UserError

STATES = ("done", "failed", "running", "missing")
EPISODE_COLUMNS = ("step", "return", "length", "env", "truncated", "lives")
KEY = ("arm", "task", "seed")  # one planned run
# What the steps of a run count, by algorithm; all others count agent steps.
CLOCKS = {
    "baseline_fit": "updates",
    "exact_ascent": "updates",
    "proposition1": "instances",
    "uae_variance": "lambdas",
}
AGENT_STEPS = "agent steps"
TABLES = ("episodes.csv", "metrics.csv")
RunKey = tuple[str, str, int]
Tables = Mapping[Path, pd.DataFrame]

# libyaml is ten times as fast; a store holds thousands of configurations.
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SEED = re.compile(r"^seed: (0|[1-9]\d*)$", re.MULTILINE)


@dataclass(frozen=True)
class Store:
    """What the planned runs of one check left behind.

    `runs` has one row per planned run (KEY, steps, hash, run_dir, state, error, step, wall_s, rate, params_sha256, and
    `clock`: what its steps count, one of CLOCKS);
    `cut_games` in `runs` counts the games that a limit cut while lives were left: no full games, so not in `episodes`
    (the reported curves leave them out too). `episodes` and `metrics` are long frames of all runs with files,
    keyed by KEY; `configs` and `manifests` are per run.
    """

    runs: pd.DataFrame
    episodes: pd.DataFrame
    metrics: pd.DataFrame
    configs: dict[RunKey, dict[str, Any]]
    manifests: dict[RunKey, dict[str, Any]]


@dataclass
class Run:
    """One run directory while it is read."""

    state: str = "missing"
    error: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    episodes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(EPISODE_COLUMNS)))
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["step"]))
    fingerprint: str = ""  # of the final parameters: two seeds that share it are one training run


def read_table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """A CSV that a process may have been killed while writing: a last line without newline is dropped.

    Only a blank or `nan` is a missing value, so that the strings None, NA and null stay what they are.
    Args: path: the file, absent = no rows; required: columns that it must have (UserError naming them).
    """
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        return pd.DataFrame(columns=list(required))
    try:
        frame: pd.DataFrame = pd.read_csv(io.BytesIO(whole), **NUMBERS)
    except ValueError as error:  # pandas' parser errors too: a row that is no row, bytes that are no text
        raise UserError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first column for a name of the row
        raise UserError(f"{path.name} has rows with more values than columns")
    absent = [column for column in required if column not in frame.columns]
    if absent:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}; it has {', '.join(frame.columns)}")
    return frame


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:  # no JSON, or no text
        raise UserError(f"{path.name} is not valid JSON ({error})") from error
    return _mapping(content, path.name)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = _parse_yaml(path.read_text())
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path.name} is not valid YAML ({error})") from error
    return _mapping({} if content is None else content, path.name)


def _parse_yaml(text: str) -> Any:
    """Configurations of one arm and task differ in the line of the seed alone, and are parsed once."""
    seeds = _SEED.findall(text)
    if len(seeds) != 1:
        return yaml.load(text, Loader=_YAML_LOADER)
    content = _parse_without_seed(_SEED.sub("seed: 0", text))
    return {**content, "seed": int(seeds[0])} if isinstance(content, dict) else content


@lru_cache(maxsize=256)
def _parse_without_seed(text: str) -> Any:
    return yaml.load(text, Loader=_YAML_LOADER)


def _mapping(content: Any, name: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(f"{name} is no mapping")
    return content


def _read_config(path: Path) -> dict[str, Any]:
    config = _read_yaml(path)
    for group in ("algo", "env"):
        _mapping(config.get(group, {}), f"{path.name}: {group}")
    return config


def _read_status(path: Path) -> dict[str, Any]:
    status = _read_json(path)
    for name in ("step", "wall_s", "rate"):
        if not isinstance(status.get(name), int | float | None):
            raise UserError(f"{path.name}: {name} {status[name]!r} is no number")
    return status


def _read_numbers(path: Path, required: tuple[str, ...], read: Tables) -> pd.DataFrame:
    """`read_table` of a file that holds numbers alone (UserError naming a column that does not)."""
    if (found := read.get(path)) is not None and set(required) <= set(found.columns):
        return found
    frame = read_table(path, required)
    for name in frame.columns if len(frame) else ():
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise UserError(f"{path.name} holds a {name} that is not a number")
    return frame


def _read_files(folder: Path, run: Run, read: Tables) -> None:
    run.status = _read_status(folder / "status.json")
    run.manifest = _read_json(folder / "manifest.json")
    run.config = _read_config(folder / "config.yaml")
    run.episodes = _read_numbers(folder / "episodes.csv", EPISODE_COLUMNS, read)
    run.metrics = _read_numbers(folder / "metrics.csv", ("step",), read)


def contradiction(planned: PlannedRun, run: Run) -> str:
    """Why the directory is not the planned run, or its numbers cannot be true; empty when all is well."""
    found = {
        "seed": run.config.get("seed"),
        "steps": run.config.get("steps"),
        "task": run.config.get("env", {}).get("task"),
    }
    for name, value in found.items():
        if value != getattr(planned, name):
            return f"config.yaml says {name} {value}, the plan says {getattr(planned, name)}"
    held = str(run.manifest.get("hash", planned.hash))
    if not held.startswith(planned.hash) and not planned.hash.startswith(held):
        return f"the directory holds run {held}, the plan asks for {planned.hash}"
    reached = run.status.get("step")
    together = run.config.get("env", {}).get("num_envs", 1)  # a run ends on a whole step of all its actors
    if reached is None or reached <= planned.steps - together:
        return f"done, but only at step {reached} of {planned.steps}"
    games = run.episodes
    if games["return"].isna().any():
        return "episodes.csv holds a return that is not a number"
    if not games["step"].is_monotonic_increasing or games.duplicated(["step", "env"]).any():
        return "episodes.csv is out of order or repeats a game: a resumed run wrote over its own past"
    return run_fault(found_of(planned, run.config, run.fingerprint, reached, games, run.metrics))


def load_run(store: Path, planned: PlannedRun, read: Tables) -> Run:
    """Read one run directory and judge its state. Args: read: tables that are in memory already."""
    folder, run = store / planned.run_dir, Run()
    if not folder.is_dir():
        return run
    try:
        _read_files(folder, run, read)
    except UserError as error:
        run.state, run.error = "failed", str(error)
        return run
    run.state = run.status.get("state", "missing")
    run.error = str(run.status.get("error") or "")
    if run.state == "interrupted":
        run.state, run.error = (
            "failed",
            f"interrupted at step {run.status.get('step')}; {run.error}".rstrip("; "),
        )
    elif run.state not in STATES:
        run.state, run.error = "failed", f"status.json says state {run.state!r}; known: {', '.join(STATES)}"
    elif run.state == "missing":
        run.error = "the directory has no status.json"
    elif run.state == "running":
        run.error = f"not finished: step {run.status.get('step')} of {planned.steps}"
    elif run.state == "done":
        run.fingerprint = str(run.status.get("params_sha256") or "")
        if problem := contradiction(planned, run):
            run.state, run.error = "failed", problem
    return run


def _clocks(plan: Plan, runs: list[Run]) -> dict[str, str]:
    """Arm -> what its steps count, from the algorithm of its runs, before any run exists from its overrides."""
    named = {f"algo={name}": clock for name, clock in CLOCKS.items()}
    clocks = {
        name: next((named[word] for word in arm.overrides if word in named), AGENT_STEPS)
        for name, arm in plan.arms.items()
    }
    for planned, run in zip(plan.runs, runs, strict=True):
        if algo := run.config.get("algo"):
            clocks[planned.arm] = CLOCKS.get(algo.get("name"), AGENT_STEPS)
    return clocks


def settle(plan: Plan, runs: list[Run]) -> Store:
    """One table of all planned runs, their games and versions; a run under two seeds counts once.

    Args: runs: one for each of `plan.runs`, in that order.
    """
    rows: list[dict[str, Any]] = []
    frames: dict[str, list[pd.DataFrame]] = {"episodes": [], "metrics": []}
    configs, manifests = {}, {}
    twins, clocks = Twins(), _clocks(plan, runs)
    for planned, run in zip(plan.runs, runs, strict=True):
        key = (planned.arm, planned.task, planned.seed)
        if run.state == "done" and (twin := twins.fault(*key, run.fingerprint, run.episodes, run.metrics)):
            run.state, run.error = "failed", twin
        cut = (run.episodes["truncated"] == 1) & (run.episodes["lives"] > 0)
        rows.append(
            dict(zip(KEY, key, strict=True))
            | {
                "steps": planned.steps,
                "clock": clocks[planned.arm],
                "hash": planned.hash,
                "run_dir": planned.run_dir,
                "state": run.state,
                "error": run.error,
                "step": run.status.get("step"),
                "wall_s": run.status.get("wall_s"),
                "rate": run.status.get("rate"),
                "params_sha256": run.fingerprint,
                "cut_games": int(cut.sum()),
            }
        )
        if run.config:
            configs[key] = run.config
        if run.manifest:
            manifests[key] = run.manifest
        for name, frame in (("episodes", run.episodes[~cut]), ("metrics", run.metrics)):
            if len(frame):
                frames[name].append(frame.assign(arm=planned.arm, task=planned.task, seed=planned.seed))
    empty = {"episodes": [*KEY, *EPISODE_COLUMNS], "metrics": [*KEY, "step"]}
    tidy = {
        name: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=empty[name])
        for name, parts in frames.items()
    }
    return Store(pd.DataFrame(rows), tidy["episodes"], tidy["metrics"], configs, manifests)


def load_store(store: Path, plan: Plan) -> Store:
    """Everything that the planned runs left in the store."""
    read = read_alike(store / planned.run_dir / name for planned in plan.runs for name in TABLES)
    return settle(plan, [load_run(store, planned, read) for planned in plan.runs])


def count_states(runs: pd.DataFrame) -> dict[str, int]:
    """Planned runs by state, all states named."""
    counts = runs["state"].value_counts()
    return {"planned": len(runs), **{state: int(counts.get(state, 0)) for state in STATES}}


def run_records(runs: pd.DataFrame) -> list[tuple[RunKey, dict[Hashable, Any]]]:
    """The rows of a frame of runs, each with its key."""
    return [((str(row["arm"]), str(row["task"]), int(row["seed"])), row) for row in runs.to_dict("records")]


def by_run(frame: pd.DataFrame) -> dict[RunKey, pd.DataFrame]:
    """The rows of a long frame (episodes, metrics) by run."""
    groups: Any = frame.groupby(list(KEY))
    return {(str(arm), str(task), int(seed)): part for (arm, task, seed), part in groups}
