"""The command why: every run, configuration, commit and library behind a figure, from the record beside it."""

import hashlib
import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from analysis import provenance
from analysis.archive import numbers_of, ranges_text
from analysis.call import RESULTS, STORE, Call, refusal
from analysis.plan import is_archive
from analysis.study import REPORTS
from bench.errors import UserError

Rows = list[dict[str, str]]
WIDTH = 118
VERSIONS = ("versions", "identity_versions", "simulators")  # of an origin: library -> version
SHOWN = 3  # runs that are named one by one where something is wrong


def stem_of(text: str) -> str:
    """A figure's path without the suffix of any file that belongs to it."""
    suffix = next((s for s in (provenance.SUFFIX, *provenance.FORMATS) if text.endswith(f".{s}")), None)
    return text if suffix is None else text[: -len(suffix) - 1]


def find(figure: str, folders: list[Path]) -> Path:
    """The record of a figure. Args: figure: a path of one of its files, or its stem; folders: where stems are sought.

    UserError where there is none, or several of one stem.
    """
    stem = stem_of(figure)
    beside = Path(f"{stem}.{provenance.SUFFIX}")
    if beside.is_file():
        return beside
    if any(Path(f"{stem}.{suffix}").is_file() for suffix in provenance.FORMATS):
        raise UserError(
            f"{figure} has no {beside.name} beside it, so nothing says what it was drawn from; draw it again with "
            "python -m analysis figures check=CHECK and the store or the results of its runs"
        )
    found = sorted({path for folder in folders for path in folder.rglob(beside.name)})
    if len(found) > 1:
        raise UserError(f"{figure} is the name of several figures: {', '.join(map(str, found))}; name one by its path")
    if not found:
        sought = f" or in {', '.join(map(str, folders))}" if folders else ""
        raise UserError(f"{figure} is no figure with a record, here{sought}; python -m analysis figures draws them")
    return found[0]


def in_words(rows: Rows) -> list[str]:
    """The runs in groups: arms and tasks of which the same seeds became the same."""
    cells: dict[tuple[str, str], dict[str, list[int]]] = {}
    for row in rows:
        state = row["state"] if row["state"] != "done" or row["in_figure"] == "yes" else "done, without a number here"
        cells.setdefault((row["arm"], row["task"]), {}).setdefault(state, []).append(int(row["seed"]))
    tasks: dict[tuple[str, str], list[str]] = {}
    for (arm, task), states in cells.items():
        said = "; ".join(f"{ranges_text(seeds)} {state}" for state, seeds in states.items())
        tasks.setdefault((arm, said), []).append(task)
    arms: dict[tuple[str, str], list[str]] = {}
    for (arm, said), names in tasks.items():
        arms.setdefault((", ".join(names), said), []).append(arm)
    return [f"{', '.join(names)} on {where}: seeds {said}" for (where, said), names in arms.items()]


def _share(item: dict[str, Any], total: int) -> str:
    count = len(numbers_of(item["runs"]))
    return "all runs" if count == total else f"{count} of {total} runs"


def origins_in_words(part: dict[str, Any]) -> list[str]:
    """Commits, sources, versions and machines, each with how many runs have it."""
    fields, total = part["origins"], len(part["runs"])
    lines = []
    for name in ("commit", "dirty_sha256", "sources", "rom_sha256", "threads", "tf32", "determinism"):
        for item in fields.get(name, ()):
            if item["value"] is not None:
                value = item["value"] if isinstance(item["value"], str) else json.dumps(item["value"], sort_keys=True)
                lines.append(f"{name} {value}: {_share(item, total)}")
    libraries: dict[tuple[str, str], Counter[int]] = {}
    for name in VERSIONS:
        for item in fields.get(name, ()):
            for library, version in (item["value"] or {}).items():
                libraries.setdefault((library, str(version)), Counter()).update(numbers_of(item["runs"]))
    for (library, version), runs in sorted(libraries.items()):
        lines.append(f"library {library} {version}: {_share({'runs': ranges_text(list(runs))}, total)}")
    for item in fields.get("hardware", ()):
        about = ", ".join(f"{name} {value}" for name, value in item["value"].items() if value is not None)
        lines.append(f"hardware {about}: {_share(item, total)}")
    return lines


def _settings(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in fields.items())


def configurations_in_words(part: dict[str, Any]) -> list[str]:
    """What all configurations share, then what differs, groups of the same fields together."""
    packed = part["configurations"]
    alike: dict[str, dict[tuple[str, str], list[str]]] = {}
    for group in packed["groups"]:
        own = {name: value for name, value in group["differs"].items() if name != "env.task"}
        runs = alike.setdefault(_settings(own), {})
        runs.setdefault((group["arm"], group["seeds"]), []).append(group["task"])
    lines = [f"common to all: {_settings(packed['common'])}"] if packed["groups"] else ["no run has a configuration"]
    for fields, groups in alike.items():
        said = "; ".join(f"{arm} on {', '.join(tasks)}, seeds {seeds}" for (arm, seeds), tasks in groups.items())
        lines.append(f"{said}: {fields or 'nothing else'}")
    return lines


def _fingerprints(root: Path, part: dict[str, Any]) -> dict[tuple[str, str, str], str] | None:
    """(arm, task, seed) -> params_sha256 there now; None where the root does not hold the check."""
    from analysis.archive import read_json, read_runs
    from analysis.plan import archive_folder, planned, read_plan

    check, scale = part["check"], part["scale"]
    if scale not in planned(root).get(check, ()):
        return None
    if is_archive(root):
        plan = read_plan(root, check, scale)
        runs = read_runs(archive_folder(root, check, scale), plan)
        keys = zip(runs["arm"], runs["task"], runs["seed"].astype(str), strict=True)
        return dict(zip(keys, runs["params_sha256"], strict=True))
    found = {}
    for row in part["runs"]:
        status = root / row["run_dir"] / "status.json"
        held = read_json(status).get("params_sha256") if status.is_file() else ""
        found[row["arm"], row["task"], row["seed"]] = str(held or "")
    return found


def verification(root: Path, part: dict[str, Any]) -> list[str]:
    """Whether the runs there still have the parameters that the figure was drawn from, in sentences."""
    now = _fingerprints(root, part)
    if now is None:
        return [f"{root} does not hold {part['check']} at scale {part['scale']}: not verified"]
    made = [row for row in part["runs"] if row["params_sha256"]]
    differ: dict[str, list[str]] = {}
    for row in made:
        held = now.get((row["arm"], row["task"], row["seed"]))
        if held != row["params_sha256"]:
            what = "are gone" if not held else "have OTHER params_sha256: they are not the runs of this figure"
            differ.setdefault(what, []).append(f"{row['arm']}, {row['task']}, seed {row['seed']}")
    if not differ:
        return [f"{root}: all {len(made)} runs that ended still have the params_sha256 of the figure"]
    return [
        f"{root}: {len(runs)} of {len(made)} runs {what}: {'; '.join(runs[:SHOWN])}"
        + (f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else "")
        for what, runs in differ.items()
    ]


def _csv_sentence(sidecar: Path, content: dict[str, Any]) -> str:
    path = sidecar.with_name(f"{content['figure']}.csv")
    if not path.is_file():
        return f"{path.name} is no longer beside it"
    same = hashlib.sha256(path.read_bytes()).hexdigest() == content["csv_sha256"]
    return f"{path.name} is as it was drawn" if same else f"{path.name} WAS EDITED after the figure was drawn"


def _wrapped(title: str, lines: list[str]) -> list[str]:
    wrap = textwrap.TextWrapper(WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    wrap.break_long_words = False
    return [title, *(piece for line in lines for piece in wrap.wrap(line))]


def text(sidecar: Path, content: dict[str, Any], root: Path | None) -> str:
    """What the command prints. Args: root: a store or results to compare with, None: there is none."""
    drawn = content["drawn_by"]
    commit = (drawn["commit"] or "unknown") + (" with uncommitted changes" if drawn["dirty_sha256"] else "")
    versions = ", ".join(f"{name} {version}" for name, version in drawn["versions"].items())
    lines = _wrapped(
        content["figure"],
        [
            content.get("caption", ""),
            f"drawn from {content['root'] or 'published numbers alone'} by commit {commit}",
            versions,
            _csv_sentence(sidecar, content),
        ],
    )
    for part in content["checks"]:
        rows = part["runs"]
        counts = Counter(row["state"] for row in rows)
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
        lines += ["", f"{part['check']}, scale {part['scale']}: {part['question']}"]
        lines += _wrapped(f"{len(rows)} runs ({said})", in_words(rows))
        lines += _wrapped("origins", origins_in_words(part))
        lines += _wrapped("configurations", configurations_in_words(part))
        lines += verification(root, part) if root else ["no store and no results at hand: not verified"]
    return "\n".join([*lines, "", f"every run with its directory and hashes: {sidecar}"])


def _root(call: Call) -> Path | None:
    """The root that was named, else the default ones where they are there."""
    if call.get("store") and call.get("results"):
        raise refusal("why takes store or results, not both")
    if call.root is not None:
        if not call.root.is_dir():
            raise UserError(f"{call.root} is no folder with runs")
        return call.root
    return next((path for path in (STORE, RESULTS) if path.is_dir()), None)


def run(call: Call) -> int:
    """Print what is behind a figure. Returns the exit status."""
    (figure,) = call.words
    root = _root(call)
    stores = [path / "analysis" for path in (root, STORE) if path is not None]
    folders = [path for path in dict.fromkeys([*stores, REPORTS]) if path.is_dir()]
    sidecar = find(figure, folders)
    print(text(sidecar, provenance.read(sidecar), root))
    return 0
