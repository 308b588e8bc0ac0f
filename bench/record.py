"""The run directory: claimed by one process, written so that a kill at any moment leaves it completable.

Files appear whole (written aside, then renamed) or grow by whole rows. The state `done` is written last; a directory in
any other state that nobody holds is completed by the next run of the same identity, from its newest whole checkpoint.
"""

import contextlib
import csv
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from bench import checkpoint
from bench.compose import configuration_hash
from bench.episodes import Episode
from bench.errors import RunError, UserError
from bench.files import write_atomically
from bench.identity import identity, provenance
from bench.lease import LOCK, NAME, BusyError, Lease, is_held
from bench.metrics import EPISODES, METRICS

__all__ = ["BusyError", "RunRecord", "is_held", "mark_failed", "read_status"]

# What a directory may hold before its configuration is written; the status is the suite's, of a run that died early.
EARLY = {LOCK, "log.txt", "status.json"}
STATUS_SECONDS = 1.0  # at most one status write per second
TABLES = {"episodes.csv": EPISODES, "metrics.csv": METRICS}


def read_status(run_dir: Path) -> dict[str, Any]:
    """The run's status.json; state `missing` where there is none, `failed` where it cannot be read."""
    try:
        status: dict[str, Any] = json.loads((run_dir / "status.json").read_text())
        return status
    except (FileNotFoundError, NotADirectoryError):
        return {"state": "missing"}
    except OSError as error:  # a name that is too long, a link to itself, a folder that may not be read
        return {"state": "failed", "error": f"{run_dir / 'status.json'} cannot be read: {error.strerror}"}
    except ValueError:
        return {"state": "failed", "error": f"{run_dir / 'status.json'} is not valid JSON"}


def mark_failed(run_dir: Path, error: str, log: Sequence[str] = ()) -> None:
    """Record the end of a run whose process could not do it itself. Args: log: the last lines of what it printed."""
    status = {**read_status(run_dir), "state": "failed", "error": error, "log": list(log), "updated": time.time()}
    write_atomically(run_dir / "status.json", json.dumps(status))


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """The run's manifest.json, empty where there is none that can be read."""
    try:
        manifest = json.loads((run_dir / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _configuration_in(config: Path) -> str:
    try:
        return configuration_hash(dict(yaml.safe_load(config.read_text())))
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
        UserError: the directory belongs to another run, is no run directory or cannot be written.
        BusyError: another process holds it.
    """

    def __init__(self, run_dir: Path, container: Mapping[str, Any]):
        self.path = run_dir
        self.container = dict(container)
        self.provenance = provenance(container)
        self.hash = identity(container)
        self._tables: dict[str, tuple[IO[str], csv.DictWriter[str]]] = {}
        self._last_status = 0.0
        self._step = 0

    def found_finished(self) -> bool:
        """True when the run is done here; nothing is written, so that a store may be read-only."""
        try:
            self._require_ours()
        except OSError as error:
            raise UserError(f"the run directory {self.path} cannot be read: {error.strerror}") from None
        return self.finished

    def __enter__(self) -> "RunRecord":
        self._require_ours()
        self._exits = contextlib.ExitStack()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lease = self._exits.enter_context(Lease(self.path).held())
        except OSError as error:
            raise UserError(f"the run directory {self.path} cannot be written: {error.strerror}") from None
        try:
            self._require_ours()
        except UserError:
            self._exits.close()
            raise
        return self

    def _require_ours(self) -> None:
        if self.path.is_symlink() and not self.path.exists():
            raise UserError(f"the run directory {self.path} cannot be written: it is a link that leads nowhere")
        config = self.path / "config.yaml"
        if config.exists():
            found = _configuration_in(config)
            if found != self.provenance["configuration"]:
                raise UserError(
                    f"{self.path} holds a run of another configuration (hash {found[:12]}, this one is "
                    f"{self.provenance['configuration'][:12]}); choose another run_dir or remove it"
                )
            made_as = str(read_manifest(self.path).get("hash", self.hash))
            if made_as != self.hash:
                raise UserError(
                    f"{self.path} holds this run as other sources or versions make it (identity {made_as[:12]}, now "
                    f"{self.hash[:12]}); choose another run_dir or remove it"
                )
        elif self.path.exists():
            if not self.path.is_dir():
                raise UserError(f"{self.path} is a file; a run needs a directory")
            held = {p.name for p in self.path.iterdir() if not (p.name.endswith(".tmp") or NAME.fullmatch(p.name))}
            if strangers := held - EARLY:
                raise UserError(
                    f"{self.path} is not a run directory (it holds {min(strangers)}); choose another run_dir"
                )

    @property
    def finished(self) -> bool:
        """True when the same run has been made to its end here."""
        return bool(read_status(self.path)["state"] == "done")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Say what a full or lost disk means, in place of where it was noticed."""
        self._lease.require()
        try:
            yield
        except OSError as error:
            saved = checkpoint.found(self.path)
            said = f"step {checkpoint.step_of(saved[0]):,}" if saved else "the beginning"
            raise RunError(
                f"{self.path} cannot be written any more: {error.strerror}; mend that and give the same command "
                f"again, which goes on from {said}"
            ) from None

    def begin(self, manifest: Mapping[str, Any], step: int = 0, sizes: Mapping[str, int] | None = None) -> None:
        """Begin the tables, or go on where they were; what was written after that, torn or whole, is dropped.

        Args:
            manifest: of this attempt.
            step: agent steps made before; 0 begins from nothing.
            sizes: bytes of each table at that step; None begins from nothing.
        Raises:
            ValueError: a table is shorter than it was: the state of that step is of no use.
        """
        before = read_manifest(self.path).get("attempts", [])
        if sizes is None:
            for name in ("status.json", "checkpoint.pt", *TABLES):
                (self.path / name).unlink(missing_ok=True)
            checkpoint.clear(self.path)
        else:
            for name, size in sizes.items():
                held = (self.path / name).stat().st_size if (self.path / name).exists() else 0
                if held < size:
                    raise ValueError(f"{name} has lost rows: it had {size} bytes, now {held}")
            for path in checkpoint.found(self.path):  # passed over; the tables it belongs to go now
                if checkpoint.step_of(path) > step:
                    path.unlink(missing_ok=True)
        attempt = {"started": manifest["started"], "host": manifest["hardware"]["host"], "from_step": step}
        with self._writing():
            self.manifest = {"hash": self.hash, **self.provenance, **manifest, "attempts": [*before, attempt]}
            write_atomically(self.path / "config.yaml", yaml.safe_dump(self.container, sort_keys=True))
            write_atomically(self.path / "manifest.json", json.dumps(self.manifest, indent=2))
            for name, columns in TABLES.items():
                self._open(name, columns, None if sizes is None else sizes[name])
        self.status(force=True, state="running", step=step, steps=self.container["steps"])

    def _open(self, name: str, columns: Iterable[str], size: int | None) -> None:
        if size is not None:
            os.truncate(self.path / name, size)
        file = (self.path / name).open("w" if size is None else "a", newline="")
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        self._tables[name] = file, writer
        if not size:
            writer.writeheader()
            file.flush()

    def episode(self, episode: Episode) -> None:
        """Append a finished game."""
        self._append("episodes.csv", dict(zip(EPISODES, episode, strict=True)))

    def metrics(self, row: Mapping[str, float]) -> None:
        """Append a row of metrics; names outside bench.metrics.METRICS are an error."""
        self._append("metrics.csv", row)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        file, writer = self._tables[name]
        with self._writing():
            writer.writerow(row)
            file.flush()

    def sizes(self) -> dict[str, int]:
        """Bytes of each table, all of them on the disk."""
        with self._writing():
            for file, _ in self._tables.values():
                file.flush()
                os.fsync(file.fileno())
        return {name: os.fstat(file.fileno()).st_size for name, (file, _) in self._tables.items()}

    def status(self, force: bool = False, **fields: Any) -> None:
        """Write status.json, at most once a second unless forced."""
        now = time.monotonic()
        if force or now - self._last_status >= STATUS_SECONDS:
            self._last_status = now
            content = {**fields, "pid": os.getpid(), "host": platform.node(), "updated": time.time()}
            with self._writing():
                write_atomically(self.path / "status.json", json.dumps(content))

    def restoring(self, step: int) -> None:
        """Say that a checkpoint is being taken up, which may take long where games are played again."""
        self.status(force=True, state="running", restoring=True, step=step, steps=self.container["steps"])

    def resumable(self, step: int, state: dict[str, Any]) -> None:
        """Save what the run can go on from."""
        with self._writing():
            checkpoint.save(self.path, step, state)

    def result(self, state: Mapping[str, Any]) -> None:
        """Save what was learnt as checkpoint.pt, loadable with weights_only=True."""
        import torch  # here, because plans and reports read records without it

        aside = self.path / ".checkpoint.pt.tmp"
        with self._writing():
            with aside.open("wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path / "checkpoint.pt")

    def finish(self, **fields: Any) -> None:
        """Complete the manifest, then declare the run done: the very last write. Its checkpoints go after that."""
        self.sizes()
        self.manifest["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._writing():
            write_atomically(self.path / "manifest.json", json.dumps(self.manifest, indent=2))
        self.status(force=True, state="done", **fields)
        with contextlib.suppress(OSError):
            checkpoint.clear(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for file, _ in self._tables.values():
            with contextlib.suppress(OSError):  # what could not be written was said when it was
                file.close()
        # What goes wrong after the end (in the mirror, a kill) does not undo the run; what is not ours is left alone.
        ours = error is not None and not isinstance(error, BusyError)
        if ours and (self.path / "config.yaml").exists() and not self.finished:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            before = read_status(self.path)
            with contextlib.suppress(UserError):
                self.status(force=True, **{**before, "state": state, "error": f"{type(error).__name__}: {error}"})
        self._exits.close()
