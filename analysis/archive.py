"""Packed results: what the planned runs of a check left, small enough to be committed, whole enough to be judged alone.

A folder `<check>-<scale>` holds

* plan.json: the frozen plan;
* runs.csv: every planned run: state, parameters' hash, speed, and every number that a verdict is made of;
* episodes.csv.gz, metrics.csv.gz: full games, and rows of metrics (without the optimiser's own); `run` is the line of
  runs.csv, counted from 0;
* configs.json: what all runs share, and per arm and task what differs; seed, logger and paths left out;
* manifests.json: distinct origins (commit, versions, hardware, commands), each with the runs that share it;
* verdicts.json, table.md: computed from the files above, so that they can be computed from them again.

Numbers of games have 7 significant digits, metrics 5. Equal content gives equal bytes.
"""

import gzip
import io
import json
import re
import shlex
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.integrity import Twins, found_of, named, run_fault
from analysis.load import EPISODE_COLUMNS, KEY, RunKey, Store, by_run, run_records
from analysis.plan import Plan
from analysis.protocol import flatten
from bench.errors import UserError
from bench.files import write_atomically

TABLES = {"episodes": EPISODE_COLUMNS, "metrics": ("step",)}
# Of metrics: clocks that follow from `step`, and the optimiser's health, which no verdict and no figure is made of and
# which would be half of the bytes. They stay in the store.
CLOCKS = ("wall_s", "version", "updates", "trained", "reuse", "lr")
HEALTH = (
    *("loss_policy", "loss_value", "loss_off", "loss_return", "loss_baseline", "ratio", "clipped", "advantage_rms"),
    *("grad_norm", "d_mean", "staleness", "positive", "line_search"),
)
LEFT_OUT = CLOCKS + HEALTH
# Of configurations: the seed is the run's own; the rest says where files went.
NOT_CONFIG = ("seed", "store", "run_dir", "logger", "checkpoint_minutes")
NOT_MANIFEST = ("hash", "configuration")  # the one stands in runs.csv, the other follows from configs.json
TEXT = dict.fromkeys(("arm", "task", "clock", "hash", "run_dir", "state", "error", "params_sha256", "score_rule"), str)
RUN_COLUMNS = (
    "steps",
    "clock",
    "hash",
    "run_dir",
    "state",
    "error",
    "step",
    "wall_s",
    "rate",
    "params_sha256",
    "cut_games",
)


def _as_integers(column: pd.Series) -> pd.Series:
    """Whole numbers as integers, so that large ones keep all their digits; blanks stay blank."""
    if not pd.api.types.is_float_dtype(column):
        return column
    present = column.dropna()
    whole = np.isfinite(present).all() and (present % 1 == 0).all() and (present.abs() < 2**53).all()
    return column.astype("Int64") if whole else column


def pack_table(frame: pd.DataFrame, keys: list[RunKey], digits: int) -> bytes:
    """A long frame as gzipped CSV, its runs numbered, without columns that are blank throughout.

    Args: keys: the runs in the order of runs.csv; digits: significant ones of what is no whole number.
    """
    number = {key: i for i, key in enumerate(keys)}
    rows = frame.drop(columns=[*KEY, *LEFT_OUT], errors="ignore").dropna(axis=1, how="all").apply(_as_integers)
    runs = [number[arm, task, int(seed)] for arm, task, seed in zip(*(frame[name] for name in KEY), strict=True)]
    rows.insert(0, "run", np.array(runs, dtype=int))
    text = rows.to_csv(index=False, lineterminator="\n", float_format=f"%.{digits}g")
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, packed, mtime=0) as file:
        file.write(text.encode())
    return packed.getvalue()


def _read_csv(path: Path, **options: Any) -> pd.DataFrame:
    options |= {"keep_default_na": False, "na_values": ["", "nan"]}
    try:
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except (OSError, EOFError, zlib.error, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} cannot be read: {error}") from error
    return frame


def unpack_table(path: Path, keys: list[RunKey], required: tuple[str, ...]) -> pd.DataFrame:
    """What `pack_table` packed, keyed by arm, task and seed again."""
    rows = _read_csv(path)
    if "run" not in rows.columns or not rows["run"].isin(range(len(keys))).all():
        raise UserError(f"{path} holds rows of runs that runs.csv does not have")
    for column in set(required) - set(rows.columns):  # blank throughout, or no row at all
        rows[column] = np.nan
    table = pd.DataFrame(keys, columns=list(KEY)).iloc[rows["run"].to_numpy(int)].reset_index(drop=True)
    return pd.concat([table, rows.drop(columns="run")], axis=1)


def pack_configs(configs: dict[RunKey, dict[str, Any]]) -> dict[str, Any]:
    """{common: fields that all share, groups: [{arm, task, seeds, differs}]}; fields are named algo.clip and so on."""
    flat = {key: flatten({k: v for k, v in config.items() if k not in NOT_CONFIG}) for key, config in configs.items()}
    texts = {key: {name: json.dumps(value) for name, value in fields.items()} for key, fields in flat.items()}
    shared = set.intersection(*(set(fields.items()) for fields in texts.values())) if texts else set()
    groups: dict[tuple[str, str, str], list[int]] = {}
    for (arm, task, seed), fields in flat.items():
        own = {name: fields[name] for name in sorted(fields) if (name, texts[arm, task, seed][name]) not in shared}
        groups.setdefault((arm, task, json.dumps(own)), []).append(seed)
    return {
        "common": {name: json.loads(value) for name, value in sorted(shared)},
        "groups": [
            {"arm": arm, "task": task, "seeds": ranges_text(seeds), "differs": json.loads(own)}
            for (arm, task, own), seeds in groups.items()
        ],
    }


def unpack_configs(packed: dict[str, Any]) -> dict[RunKey, dict[str, Any]]:
    """What `pack_configs` packed, as nested configurations with their seeds."""
    configs: dict[RunKey, dict[str, Any]] = {}
    for group in packed["groups"]:
        for seed in numbers_of(group["seeds"]):
            nested: dict[str, Any] = {"seed": seed}
            for name, value in (packed["common"] | group["differs"]).items():
                *path, last = name.split(".")
                target = nested
                for part in path:
                    target = target.setdefault(part, {})
                target[last] = value
            configs[group["arm"], group["task"], seed] = nested
    return configs


def command_pattern(command: str) -> str:
    """A run's command without its seed and without where files went."""
    words = [re.sub(r"^seed=\d+$", "seed=SEED", word) for word in shlex.split(command)]
    words = [Path(word).name if word.startswith("/") else word for word in words]
    return shlex.join(
        word for word in words if not re.match(r"(store|run_dir|checkpoint_minutes|logger(\.\w+)?)=", word)
    )


def _origin(manifest: dict[str, Any]) -> dict[str, Any]:
    origin = {name: value for name, value in manifest.items() if name not in NOT_MANIFEST}
    if "attempts" in origin:
        origin["attempts"] = len(origin["attempts"])
    if isinstance(origin.get("hardware"), dict):
        hardware = {name: value for name, value in origin["hardware"].items() if name not in ("host", "system")}
        origin["hardware"] = hardware
    if "command" in origin:
        origin["command"] = command_pattern(str(origin["command"]))
    return origin


def pack_manifests(manifests: dict[RunKey, dict[str, Any]], keys: list[RunKey]) -> dict[str, Any]:
    """Field -> [{value, runs}], every distinct value once; of the times only the first start and the last end."""
    fields: dict[str, dict[str, list[int]]] = {}
    times: dict[str, list[str]] = {}
    for i, key in enumerate(keys):
        for name, value in _origin(manifests.get(key, {})).items():
            if name in ("started", "finished"):
                times.setdefault(name, []).append(str(value))
            else:
                fields.setdefault(name, {}).setdefault(json.dumps(value, sort_keys=True), []).append(i)
    return {
        "first_started": min(times.get("started", []), default=None),
        "last_finished": max(times.get("finished", []), default=None),
        "fields": {
            name: [{"value": json.loads(value), "runs": ranges_text(runs)} for value, runs in values.items()]
            for name, values in sorted(fields.items())
        },
    }


def unpack_manifests(packed: dict[str, Any], keys: list[RunKey]) -> dict[RunKey, dict[str, Any]]:
    """What `pack_manifests` packed, by run."""
    manifests: dict[RunKey, dict[str, Any]] = {}
    for name, values in packed["fields"].items():
        for item in values:
            for i in numbers_of(item["runs"]):
                manifests.setdefault(keys[i], {})[name] = item["value"]
    return manifests


def ranges_text(numbers: list[int]) -> str:
    """0-2,5 for 0, 1, 2, 5."""
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def numbers_of(text: str) -> list[int]:
    """What `ranges_text` wrote."""
    ends = [part.partition("-") for part in text.split(",") if part]
    return [n for first, dash, last in ends for n in range(int(first), int(last if dash else first) + 1)]


def run_keys(plan: Plan) -> list[RunKey]:
    """The planned runs, in the order of runs.csv."""
    return [(run.arm, run.task, run.seed) for run in plan.runs]


def write_data(folder: Path, raw_plan: dict[str, Any], plan: Plan, store: Store) -> list[Path]:
    """Write everything but runs.csv and the verdicts. Args: raw_plan: content of the plan file."""
    keys = run_keys(plan)
    head = {name: value for name, value in raw_plan.items() if name != "runs"}
    runs = ",\n".join("  " + json.dumps(run) for run in raw_plan["runs"])
    content: dict[str, str | bytes] = {
        "plan.json": json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n{runs}\n ]\n}}\n',
        "configs.json": json.dumps(pack_configs(store.configs), indent=1) + "\n",
        "manifests.json": json.dumps(pack_manifests(store.manifests, keys), indent=1) + "\n",
        "episodes.csv.gz": pack_table(store.episodes, keys, 7),
        "metrics.csv.gz": pack_table(store.metrics, keys, 5),
    }
    return [write_atomically(folder / name, data) for name, data in content.items()]


def write_runs(folder: Path, scored: pd.DataFrame) -> Path:
    """Write runs.csv. Args: scored: as from `analysis.scores.score_runs`, of what `write_data` wrote."""
    rows = scored.copy()
    for name in ("wall_s", "rate"):
        rows[name] = [None if value is None or pd.isna(value) else float(f"{value:.7g}") for value in rows[name]]
    text = rows.apply(_as_integers).to_csv(index=False, lineterminator="\n")
    return write_atomically(folder / "runs.csv", text)


def read_json(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON file as a mapping (UserError naming what is wrong with it). Args: keys: what it must hold."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no JSON, or no text
        raise UserError(f"{path} cannot be read: {error}") from error
    if absent := [key for key in keys if not isinstance(content, dict) or key not in content]:
        raise UserError(f"{path} lacks {', '.join(absent)}")
    if not isinstance(content, dict):
        raise UserError(f"{path} is no mapping")
    return content


def read_runs(folder: Path, plan: Plan) -> pd.DataFrame:
    """runs.csv as it stands (UserError unless it has exactly the planned runs, in their order)."""
    path = folder / "runs.csv"
    runs = _read_csv(path, dtype=TEXT)
    if absent := [name for name in (*KEY, *RUN_COLUMNS) if name not in runs.columns]:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}")
    runs[list(TEXT)] = runs[list(TEXT)].fillna("")
    found = list(runs[[*KEY, "steps", "hash"]].itertuples(index=False, name=None))
    if found != [(run.arm, run.task, run.seed, run.steps, run.hash) for run in plan.runs]:
        said = f"{path} does not hold the runs of {folder / 'plan.json'}, one line each in their order"
        gone = len(set(run_keys(plan)) - {row[:3] for row in found})
        raise UserError(named("survivors only", f"{said}: {gone} of them are not there") if gone else said)
    return runs


def read_store(folder: Path, plan: Plan, runs: pd.DataFrame) -> Store:
    """The packed runs as if they were read from their store. Args: runs: one row per planned run.

    UserError naming the fault (`analysis.integrity`) where a run that counts as done holds one.
    """
    keys = run_keys(plan)
    configs = unpack_configs(read_json(folder / "configs.json", ("common", "groups")))
    if unasked := sorted(configs.keys() - set(keys)):
        (arm, task, seed), said = unasked[0], f"{folder / 'configs.json'} holds {len(unasked)} runs that"
        detail = f"{said} plan.json and runs.csv lack, such as arm {arm}, task {task}, seed {seed}"
        raise UserError(named("survivors only", detail))
    tables = {name: unpack_table(folder / f"{name}.csv.gz", keys, columns) for name, columns in TABLES.items()}
    manifests = unpack_manifests(read_json(folder / "manifests.json", ("fields",)), keys)
    store = Store(runs[[*KEY, *RUN_COLUMNS]], tables["episodes"], tables["metrics"], configs, manifests)
    require_sound(folder, plan, store)
    return store


def require_sound(folder: Path, plan: Plan, store: Store) -> None:
    """Refuse a pack of which a done run holds a fault: `load` marked those failed, so the pack was edited since."""
    games, rows, twins = by_run(store.episodes), by_run(store.metrics), Twins()
    empty = store.episodes.iloc[:0], store.metrics.iloc[:0]
    for planned, (key, run) in zip(plan.runs, run_records(store.runs), strict=True):
        if run["state"] != "done":
            continue
        mine, sha = games.get(key, empty[0]), str(run["params_sha256"])
        found = found_of(planned, store.configs.get(key, {}), sha, float(run["step"]), mine, rows.get(key, empty[1]))
        if fault := run_fault(found) or twins.fault(*key, sha, mine, rows.get(key, empty[1])):
            raise UserError(f"{folder}: arm {key[0]}, task {key[1]}, seed {key[2]}: {fault}")
