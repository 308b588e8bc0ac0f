"""The union of stores that were copied from several machines.

All is compared before anything is written. A run is copied aside, put on the disk and renamed into its place, so that
whatever moment a merge is killed at, each run is there as it was or as it shall be; the next merge goes on. The stores
that are merged are only read. Left behind are machine-local files: who makes a run, half-written files, checkpoints of
runs that are done, job logs, measured rates. Links among a run's own files are refused; those in folders, which W&B
makes, are copied as links.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import NamedTuple

from bench import checkpoint
from bench.errors import UserError
from bench.files import write_atomically
from bench.lease import LOCK, NAME, is_held
from bench.made import Made, better
from bench.merge_plans import encoded, united
from bench.record import read_status
from bench.store import claimed, delete, exclusive, require_store, run_names, strangers

# In runs/: what is to be deleted, as a copy that is not whole; a whole copy; and the directory whose place it takes.
COPYING, INCOMING, REPLACED = ".copying-", ".incoming-", ".replaced-"


class Copy(NamedTuple):
    """A run to be copied into the target."""

    made: Made
    replaces: bool  # what the target has of it

    @property
    def name(self) -> str:
        """Of its directory."""
        return self.made.path.name


def merge(sources: list[Path], target: Path) -> int:
    """Copy into the target what it lacks: runs, frozen plans, planned runs of plans that it has.

    A finished run wins over one that is not; of two unfinished ones, the one that would go on from the later step.

    Args:
        sources: stores; never written to.
        target: a store, or a folder that is empty or not there yet.
    Raises:
        UserError: two finished runs of one identity, or two plans of one check, contradict each other; somebody makes
            one of the runs now; or a store cannot be read or written.
    """
    for store in sources:
        require_store(store)
        if target.exists() and store.samefile(target):
            raise UserError(f"{store} is to be merged into itself; give the folder of another store")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        require_store(target)
    try:
        with exclusive(target) if target.exists() else contextlib.nullcontext():
            _merge(sources, target)
    except OSError as error:
        raise UserError(
            f"the merge into {target} broke off: {error.strerror} ({error.filename}); what has been copied is whole, "
            "and the same command goes on"
        ) from None
    return 0


def _merge(sources: list[Path], target: Path) -> None:
    recover(target)
    copies, there = _compared(sources, target)
    finished = {copy.name for copy in copies if copy.made.done}

    def done(run_dir: str) -> bool:
        return Path(run_dir).name in finished or read_status(target / run_dir).get("state") == "done"

    plans = united(sources, target, done)
    for copy in copies:
        _files(copy.made)  # refuses what cannot be copied
    for copy in copies:
        _take(copy, target / "runs")
    for path, content in plans.changed.items():
        write_atomically(target / path, encoded(content))
    replaced = sum(copy.replaces for copy in copies)
    added = sum(not existed for existed in plans.existed.values())
    print(
        f"{target}: {len(copies) - replaced:,} runs copied, {replaced:,} replaced by ones that are further, {there:,} "
        f"already there; {added} plans added, {len(plans.changed) - added} extended"
    )
    for note in plans.notes:
        print(f"note: {note}")


def _compared(sources: list[Path], target: Path) -> tuple[list[Copy], int]:
    """What is to be copied, and how many runs of the sources the target has as they shall be. Errors: `UserError`."""
    copies, there = [], 0
    for name in sorted({name for store in sources for name in run_names(store)}):
        found = [store / "runs" / name for store in (target, *sources) if (store / "runs" / name).is_dir()]
        if odd := next((path for path in found if strangers(path)), None):
            raise UserError(f"{odd} is no run (it holds {min(strangers(odd))}); move it out of runs/")
        made = [Made(path, read_status(path)) for path in found]
        if busy := next((one for one in made if not one.done and is_held(one.path)), None):
            raise UserError(f"{busy.path} is being made by a process now; merge when it has ended")
        best, ours = reduce(better, made), found[0] == target / "runs" / name
        if best.path == target / "runs" / name:
            there += 1
        else:
            copies.append(Copy(best, ours))
    return copies, there


def _files(made: Made) -> list[Path]:
    """Folders, files and links of a run that are copied, relative to it. Errors: `UserError` naming any other."""
    found = []
    for root, folders, names in os.walk(made.path):
        own = Path(root) == made.path
        for path in (Path(root, name) for name in [*folders, *names]):
            mode = path.lstat().st_mode
            link = stat.S_ISLNK(mode)
            if (link and own) or not (link or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(f"{path} is {'a link' if link else 'no plain file'}; allowed among a run's own: files")
            if not (own and _is_left_behind(path.name, made.done)):
                found.append(path.relative_to(made.path))
    return found


def _is_left_behind(name: str, done: bool) -> bool:
    local = name == LOCK or name.endswith(".tmp") or NAME.fullmatch(name)
    return bool(local or (done and checkpoint.NAME.fullmatch(name)))


def _take(copy: Copy, runs: Path) -> None:
    """Put a run in its place. Errors: `UserError` where it is not what was compared any more."""
    aside, incoming, final = (runs / f"{prefix}{copy.name}" for prefix in (COPYING, INCOMING, ""))
    try:
        _copy(copy.made, aside)
    except BaseException:
        with contextlib.suppress(OSError):  # on a full disk, room for whoever else needs it
            delete(aside)
        raise
    if not copy.made.done and is_held(copy.made.path):
        delete(aside)
        raise UserError(f"{copy.made.path} has been begun meanwhile; merge when it has ended")
    aside.rename(incoming)
    with claimed(final) if copy.replaces else contextlib.nullcontext(True) as free:
        if not free or final.exists() != copy.replaces or read_status(final).get("state") == "done":
            raise UserError(f"{final} has been begun or ended meanwhile; the same command goes on")
        if copy.replaces:
            final.rename(runs / f"{REPLACED}{copy.name}")
        incoming.rename(final)
        _sync(runs)
        _settle(runs, copy.name)


def _copy(made: Made, aside: Path) -> None:
    aside.mkdir(parents=True)
    for inside in _files(made):
        source, copy = made.path / inside, aside / inside
        if source.is_symlink():
            copy.symlink_to(source.readlink())
        elif source.is_dir():
            copy.mkdir()
        else:
            shutil.copy2(source, copy)
            _sync(copy)
    for root, _, _ in os.walk(aside):
        _sync(Path(root))


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unfinished(store: Path) -> Iterator[Path]:
    """What a merge that was broken off has left in a store."""
    for prefix in (COPYING, INCOMING, REPLACED):
        yield from sorted((store / "runs").glob(f"{prefix}*"))


def recover(store: Path) -> None:
    """Bring a store whose merge was broken off into order: every run in its place, nothing beside it."""
    for name in sorted({path.name.partition("-")[2] for path in unfinished(store)}):
        _settle(store / "runs", name)


def _settle(runs: Path, name: str) -> None:
    aside, incoming, replaced, final = (runs / f"{prefix}{name}" for prefix in (COPYING, INCOMING, REPLACED, ""))
    delete(aside)
    if replaced.exists():
        if not final.exists():
            (incoming if incoming.exists() else replaced).rename(final)
        if replaced.exists():
            delete(replaced.rename(aside))  # half of it is never taken for the run again
    delete(incoming)
