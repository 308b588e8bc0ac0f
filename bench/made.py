"""Two directories of one run: which is further, and whether they say the same."""

import csv
import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

from bench import checkpoint
from bench.errors import UserError
from bench.record import read_manifest

WALL_CLOCK = {"wall_s"}  # columns of metrics.csv in which no two makings of a run agree


class Made(NamedTuple):
    """A run directory as it was found."""

    path: Path
    status: dict[str, Any]

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return bool(self.status.get("state") == "done")

    def progress(self) -> tuple[int, int]:
        """Steps from which it would go on, then steps that it had come to."""
        saved = next((path for path in checkpoint.found(self.path) if _is_whole(path)), None)
        return checkpoint.step_of(saved) if saved else 0, int(self.status.get("step") or 0)


def better(first: Made, second: Made) -> Made:
    """The one to keep: done before not done, then further on; the first of two equal ones.

    Errors: `UserError` naming both, where they are different runs, or both done with different results.
    """
    _require_same_run(first, second)
    if first.done and second.done:
        if differ := _differences(first, second):
            raise UserError(
                f"{first.path} and {second.path} are one run with two results: {', '.join(differ)} differ; find out "
                "which is to be trusted, and remove the other"
            )
        return first
    if first.done or second.done:
        return first if first.done else second
    return second if second.progress() > first.progress() else first


def _require_same_run(first: Made, second: Made) -> None:
    hashes = [read_manifest(one.path).get("hash") for one in (first, second)]
    if None not in hashes and hashes[0] != hashes[1]:
        raise UserError(
            f"{first.path} and {second.path} are different runs of one name (hashes {str(hashes[0])[:16]} and "
            f"{str(hashes[1])[:16]}); rename or remove one"
        )


def _differences(first: Made, second: Made) -> list[str]:
    """Of two finished runs of one identity: what is not the same in both."""
    found = ["params_sha256"] if first.status.get("params_sha256") != second.status.get("params_sha256") else []
    one, other = (made.path / "episodes.csv" for made in (first, second))
    found += ["episodes.csv"] if _content(one) != _content(other) else []
    one, other = (made.path / "metrics.csv" for made in (first, second))
    if _content(one) != _content(other) and _rows(one) != _rows(other):
        found.append("metrics.csv")
    return found


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _rows(path: Path) -> list[list[str]]:
    """The cells of a table without its columns of wall-clock times."""
    rows = list(csv.reader(io.StringIO(_content(path).decode(errors="replace"))))
    names = rows[0] if rows else []
    kept = [place for place, name in enumerate(names) if name not in WALL_CLOCK]
    return [[row[place] for place in kept if place < len(row)] for row in rows]


def _is_whole(saved: Path) -> bool:
    """Whether a checkpoint is what its name says."""
    match = checkpoint.NAME.fullmatch(saved.name)
    with saved.open("rb") as file:
        return bool(match and hashlib.file_digest(file, "sha256").hexdigest().startswith(match[2]))
