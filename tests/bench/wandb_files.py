"""What W&B has of a run, read back from the files that its service writes, and how it differs from the local tables."""

import csv
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32768  # W&B keeps its records in LevelDB's log format: 7 bytes of header, then blocks that no part crosses
PART = struct.Struct("<IHB")  # checksum, length, kind
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file; what a kill has torn off at its end is left out."""
    data = path.read_bytes()
    assert data[:4] == b":W&B" or not data
    at, record = 7, b""
    while at + PART.size <= len(data):
        if BLOCK - at % BLOCK < PART.size:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = PART.unpack_from(data, at)
        at += PART.size + length
        if at > len(data) or not kind:
            return
        record += data[at - length : at]
        if kind in (FULL, LAST):
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def folders(run_dir: Path) -> list[Path]:
    """One .wandb file per attempt, oldest first."""
    return sorted(run_dir.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.parent.name.split("-")[-2])


def history(path: Path) -> dict[int, dict[str, float]]:
    """Step -> row, without what W&B adds of its own."""
    found = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json, parse_int=float)
                for item in record.history.item
            }
            assert record.history.step.num not in found
            found[record.history.step.num] = {name: items[name] for name in items if not name.startswith("_")}
    return found


def united(run_dir: Path) -> dict[int, dict[str, float]]:
    """The histories of all attempts; where several have a step, the last one's."""
    found: dict[int, dict[str, float]] = {}
    for path in folders(run_dir):
        found |= history(path)
    return found


def table(path: Path) -> list[dict[str, float]]:
    """A local table without its blank cells."""
    with path.open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def differences(run_dir: Path, mirrored: dict[int, dict[str, float]]) -> list[str]:
    """Every step and cell in which a mirrored history is not the local tables, in the last binary digit."""
    found = [] if sorted(mirrored) == list(range(len(mirrored))) else [f"steps {sorted(mirrored)}"]
    rows = [row for _, row in sorted(mirrored.items())]
    games = [{name.removeprefix("episode/"): x for name, x in row.items()} for row in rows if "episode/return" in row]
    learnt = [row for row in rows if "episode/return" not in row]
    for name, ours in (("episodes.csv", games), ("metrics.csv", learnt)):
        local = table(run_dir / name)
        if len(ours) != len(local):
            found.append(f"{name} has {len(local)} rows, {len(ours)} are mirrored")
        for number, (one, other) in enumerate(zip(local, ours, strict=False)):
            found += [
                f"{name} row {number}, {key}: {one.get(key)} is mirrored as {other.get(key)}"
                for key in sorted({*one, *other})
                if repr(one.get(key)) != repr(other.get(key) if key not in other else float(other[key]))
            ]
    return found
