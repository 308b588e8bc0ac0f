"""What a store holds, looked at once per command, and how to have it to oneself while it is changed."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.identity import provenance
from bench.lease import LOCK, BusyError, is_held
from bench.lease import NAME as LEASE
from bench.record import EARLY, read_manifest, read_status

if TYPE_CHECKING:
    from bench.plan import PlannedRun

PLANNED = ("arm", "task", "seed", "hash", "run_dir")  # what a frozen plan says of every run
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Index:
    """The run directories of a store by name, listed when it is made. Args: store: need not exist."""

    def __init__(self, store: Path):
        self.store = store
        self._names: dict[str, list[str]] = {}  # what a person reads of a name -> directories
        self._manifests: dict[str, dict[str, Any]] = {}
        self._now: dict[str, dict[str, Any]] = {}
        for name in run_names(store):
            self._names.setdefault(name.rpartition("-")[0], []).append(name)

    def stale(self, run: "PlannedRun") -> str | None:
        """`run_dir` of the newest finished run of the same configuration that other code or versions made."""
        own = Path(run.run_dir).name
        of_name = [name for name in self._names.get(own.rpartition("-")[0], ()) if name != own]
        of_configuration = [name for name in of_name if configuration_of(self._manifest(name)) == run.configuration]
        finished = [name for name in of_configuration if read_status(self.store / "runs" / name).get("state") == "done"]
        newest = max(finished, key=lambda name: str(self._manifest(name).get("finished")), default=None)
        return newest and f"runs/{newest}"

    def differs(self, run_dir: str) -> str:
        """In what the maker of this directory differs from what would make its run now. Args: run_dir: of `stale`."""
        made = self._manifest(Path(run_dir).name)
        if "configuration" not in made:
            return "made before code and versions told runs apart"
        cell = Path(run_dir).name.rpartition("-")[0].rpartition("-s")[0]  # algorithm and task decide both
        if cell not in self._now:
            self._now[cell] = _provenance_now(self.store / run_dir)
        return difference(made, self._now[cell])

    def _manifest(self, name: str) -> dict[str, Any]:
        if name not in self._manifests:
            self._manifests[name] = read_manifest(self.store / "runs" / name)
        return self._manifests[name]


def run_names(store: Path) -> list[str]:
    """Names of the directories under runs/, without those that a gc or a merge is working on."""
    if not (store / "runs").is_dir():
        return []
    with os.scandir(store / "runs") as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def strangers(run_dir: Path) -> set[str]:
    """Names in a directory without config.yaml that show it to be no run that is yet to begin; else empty."""
    names = {
        path.name for path in run_dir.iterdir() if not path.name.endswith(".tmp") and not LEASE.fullmatch(path.name)
    }
    return set() if "config.yaml" in names else names - EARLY


def configuration_of(manifest: dict[str, Any]) -> str:
    """The hash of a run's configuration alone, which once was all of its identity; empty without a manifest."""
    return str(manifest.get("configuration", manifest.get("hash", "")))


def difference(made: dict[str, Any], other: dict[str, Any]) -> str:
    """What of code and versions two provenances disagree in. Args: made, other: manifests, or bench.identity's."""
    said = ["the code"] if made.get("sources") != other.get("sources") else []
    before, now = made.get("identity_versions", {}), other.get("identity_versions", {})
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            said.append(f"{name} {before.get(name, 'none')} (here {now.get(name, 'none')})")
    return f"made with other versions of {', '.join(said)}"


def _provenance_now(run_dir: Path) -> dict[str, Any]:
    try:
        return provenance(yaml.load((run_dir / "config.yaml").read_text(), Loader=_YAML_LOADER))
    except (OSError, yaml.YAMLError, LookupError, TypeError):  # the numbers are there, what they are of is not
        return {}


def frozen_plans(store: Path) -> dict[Path, dict[str, Any]]:
    """Plan file inside the store (checks/<check>/<scale>.json) -> its content. Errors: `UserError` naming a file."""
    found = {}
    for path in sorted(store.glob("checks/*/*.json")):
        try:
            content = json.loads(path.read_text())
            parts = {key for run in content["runs"] for key in PLANNED if key not in run}
            parts |= {key for key in ("claims", "arms", "tasks") if key not in content["check"]}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path} is not the frozen plan of a check ({' '.join(str(error).split())})") from None
        if parts:
            raise UserError(f"{path} is not the frozen plan of a check: it lacks {', '.join(sorted(parts))}")
        found[path.relative_to(store)] = content
    return found


def require_store(store: Path) -> None:
    """Refuse what is no store. Errors: `UserError`."""
    if not (store / "runs").is_dir() and not (store / "checks").is_dir():
        raise UserError(f"{store} is no store; allowed: a folder with runs/ or checks/ in it")


@contextlib.contextmanager
def exclusive(store: Path) -> Iterator[None]:
    """One command at a time that moves runs of a store, on this host. Leaves no file. Errors: `BusyError`."""
    handle = os.open(store, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{store} is being changed by another gc or merge; wait for its end") from None
        except OSError as error:  # a network file system that locks no folders
            print(f"note: {store} cannot be locked ({error.strerror}): run one gc or merge at a time", file=sys.stderr)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def claimed(run_dir: Path) -> Iterator[bool]:
    """Keep a run from being begun meanwhile; yields False where a process makes it now."""
    lock = FileLock(run_dir / LOCK)
    try:
        ours = not is_held(run_dir)
        if ours:
            lock.acquire(timeout=0)
    except Timeout:
        ours = False
    try:
        yield ours
    finally:
        lock.release()


def delete(path: Path) -> None:
    """Remove a file, a link (not what it leads to) or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
