"""The run directory: claimed by one process, written so that a kill at any moment leaves it completable.

Files appear whole (written aside, then renamed) or grow by whole rows. The state `done` is written last; a
directory in any other state whose lock is free is started afresh by the next run of the same configuration.
"""

import csv
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from bench.compose import identity
from bench.episodes import Episode
from bench.errors import UserError
from bench.files import write_atomically
from bench.metrics import EPISODES, METRICS

LOCK = ".lock"
# What a directory may hold before its configuration is written; the status is the suite's, of a run that died early.
EARLY = {LOCK, "log.txt", "status.json"}
LOCK_SECONDS = 1.0  # longer than somebody's look at whether the run is held (is_locked)
STATUS_SECONDS = 1.0  # at most one status write per second


class BusyError(UserError):
    """The run is being made by another process."""


def read_status(run_dir: Path) -> dict[str, Any]:
    """The run's status.json; state `missing` where there is none, `failed` where it cannot be read."""
    try:
        status: dict[str, Any] = json.loads((run_dir / "status.json").read_text())
        return status
    except (FileNotFoundError, NotADirectoryError):
        return {"state": "missing"}
    except json.JSONDecodeError:
        return {"state": "failed", "error": f"{run_dir / 'status.json'} is not valid JSON"}


def is_locked(run_dir: Path) -> bool:
    """True while a process on this machine makes the run."""
    if not (run_dir / LOCK).exists():
        return False
    lock = FileLock(run_dir / LOCK)
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except PermissionError:  # a store that may only be read, in which this user makes no run
        return False


def mark_failed(run_dir: Path, error: str) -> None:
    """Record the end of a run whose process could not do it itself."""
    write_atomically(
        run_dir / "status.json",
        json.dumps({**read_status(run_dir), "state": "failed", "error": error, "updated": time.time()}),
    )


def _identity_in(config: Path) -> str:
    try:
        return identity(dict(yaml.safe_load(config.read_text())))
    except (yaml.YAMLError, ValueError, TypeError):
        raise UserError(
            f"{config.parent} is not a run directory (its config.yaml is none of a run); choose another run_dir"
        ) from None


class RunRecord:
    """A claimed run directory. Use as a context manager; `finished` tells that there is nothing left to do.

    Args:
        run_dir: created if it does not exist.
        container: the resolved configuration of the run.
    Raises:
        UserError: the directory belongs to another configuration, is no run directory or cannot be written.
        BusyError: another process holds it.
    """

    def __init__(self, run_dir: Path, container: Mapping[str, Any]):
        self.path = run_dir
        self.container = dict(container)
        self.hash = identity(container)
        self._open: list[IO[str]] = []
        self._last_status = 0.0

    def found_finished(self) -> bool:
        """True when the run is done here; nothing is written, so that a store may be read-only."""
        self._require_ours()
        return self.finished

    def __enter__(self) -> "RunRecord":
        self._require_ours()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / LOCK)
            self._lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise BusyError(f"{self.path} is being written by another process") from None
        except OSError as error:
            raise UserError(f"the run directory {self.path} cannot be written: {error.strerror}") from None
        self._require_ours()
        return self

    def _require_ours(self) -> None:
        config = self.path / "config.yaml"
        if config.exists():
            found = _identity_in(config)
            if found != self.hash:
                raise UserError(
                    f"{self.path} holds a run of another configuration (hash {found[:12]}, this one is "
                    f"{self.hash[:12]}); choose another run_dir or remove it"
                )
        elif self.path.exists():
            if not self.path.is_dir():
                raise UserError(f"{self.path} is a file; a run needs a directory")
            strangers = {p.name for p in self.path.iterdir() if not p.name.endswith(".tmp")} - EARLY
            if strangers:
                raise UserError(
                    f"{self.path} is not a run directory (it holds {min(strangers)}); choose another run_dir"
                )

    @property
    def finished(self) -> bool:
        """True when the same configuration has been run to its end here."""
        return bool(read_status(self.path)["state"] == "done")

    def start(self, manifest: Mapping[str, Any]) -> None:
        """Begin from nothing: configuration, manifest, status, empty tables. What a broken run left is removed."""
        for name in ("status.json", "checkpoint.pt", "episodes.csv", "metrics.csv"):
            (self.path / name).unlink(missing_ok=True)
        write_atomically(self.path / "config.yaml", yaml.safe_dump(self.container, sort_keys=True))
        self.manifest = {"hash": self.hash, **manifest}
        write_atomically(self.path / "manifest.json", json.dumps(self.manifest, indent=2))
        self._episodes = self._table("episodes.csv", EPISODES)
        self._metrics = self._table("metrics.csv", METRICS)
        self.status(force=True, state="running", step=0, steps=self.container["steps"])

    def _table(self, name: str, columns: Iterable[str]) -> Any:
        file = (self.path / name).open("w", newline="")
        self._open.append(file)
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        file.flush()
        return writer

    def episode(self, episode: Episode) -> None:
        """Append a finished game."""
        self._episodes.writerow(dict(zip(EPISODES, episode, strict=True)))
        self._open[0].flush()

    def metrics(self, row: Mapping[str, float]) -> None:
        """Append a row of metrics; names outside bench.metrics.METRICS are an error."""
        self._metrics.writerow(row)
        self._open[1].flush()

    def status(self, force: bool = False, **fields: Any) -> None:
        """Write status.json, at most once a second unless forced."""
        now = time.time()
        if force or now - self._last_status >= STATUS_SECONDS:
            self._last_status = now
            write_atomically(self.path / "status.json", json.dumps({**fields, "pid": os.getpid(), "updated": now}))

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Save tensors and plain data whole, loadable with weights_only=True."""
        import torch  # here, because plans and reports read records without it

        aside = self.path / ".checkpoint.pt.tmp"
        torch.save(dict(state), aside)
        aside.replace(self.path / "checkpoint.pt")

    def finish(self, **fields: Any) -> None:
        """Complete the manifest, then declare the run done: the very last write."""
        for file in self._open:
            os.fsync(file.fileno())
        self.manifest["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write_atomically(self.path / "manifest.json", json.dumps(self.manifest, indent=2))
        self.status(force=True, state="done", **fields)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for file in self._open:
            file.close()
        # What goes wrong after the end (in the mirror, a kill) does not undo the run.
        if error is not None and (self.path / "config.yaml").exists() and not self.finished:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            before = read_status(self.path)
            self.status(force=True, **{**before, "state": state, "error": f"{type(error).__name__}: {error}"})
        self._lock.release()
