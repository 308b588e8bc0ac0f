"""What of a store no check refers to, and what commands that were killed left: listed, and removed when asked to."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import checkpoint
from bench.errors import UserError
from bench.merge import recover, unfinished
from bench.record import is_held, read_manifest, read_status
from bench.store import (
    claimed,
    configuration_of,
    delete,
    difference,
    exclusive,
    frozen_plans,
    require_store,
    run_names,
    strangers,
)

TRASH = ".trash-"
STRAY_SECONDS = 60.0  # after which a temporary file is nobody's: where no run is made they live for milliseconds

UNITS = ("B", "kB", "MB", "GB", "TB")


class Item(NamedTuple):
    """Something that nobody refers to."""

    path: Path
    kind: str  # run | in_run | merge | trash | stray
    state: str
    why: str
    size: int  # bytes
    when: float  # unix seconds of its last change
    kept: bool = False  # stays even when all is removed


def gc(store: Path, remove: bool) -> int:
    """List the runs that no frozen plan refers to, newest first, and leftovers; remove them where asked to.

    What somebody makes now, or what is no run, stays. A directory is renamed away before it is deleted, so that no
    part of it is ever taken for a run. Errors: `UserError` where this is no store, or one that cannot be written.
    """
    require_store(store)
    if not remove:
        found = _found(store)
        _show(store, found, f"give remove=true to remove {'it' if len(found) == 1 else 'them'}")
        return 0
    try:
        with exclusive(store):
            gone = _removed(store, _found(store))
    except OSError as error:
        raise UserError(f"the store {store} cannot be written: {error.strerror} ({error.filename})") from None
    _show(store, gone, "removed")
    return 0


def _found(store: Path) -> list[Item]:
    runs = sorted(_runs(store), key=lambda item: -item.when)
    whole = {item.path for item in runs}
    return [*runs, *(item for item in _leftovers(store) if item.path.parent not in whole)]


def _runs(store: Path) -> Iterator[Item]:
    plans = {f"{path.parent.name} at {path.stem}": plan for path, plan in frozen_plans(store).items()}
    planned = {str(run["run_dir"]): (name, run) for name, plan in plans.items() for run in plan["runs"]}
    same = {run.get("configuration", run["hash"]): (name, run) for name, run in planned.values()}
    for name in run_names(store):
        if f"runs/{name}" in planned:
            continue
        path = store / "runs" / name
        status, manifest = read_status(path), read_manifest(path)
        why, kept = "of no check", True
        if path.is_symlink():
            why = "a link, to be removed by hand"
        elif held := strangers(path):
            why = f"no run, it holds {min(held)}"
        elif is_held(path):
            why = "somebody makes it now"
        else:
            kept = False
            if not (path / "config.yaml").exists():
                why = "half-written: no config.yaml"
            elif twin := same.get(configuration_of(manifest)):
                check, run = twin
                made = read_manifest(store / run["run_dir"])
                how = difference(manifest, made) if made else "of other code or versions"
                why = f"stale: {how}; {check} has {run['run_dir']}"
        when = float(status.get("updated") or path.stat().st_mtime)
        yield Item(path, "run", str(status.get("state")), why, _size(path), when, kept)


def _leftovers(store: Path) -> Iterator[Item]:
    for name in run_names(store):
        path = store / "runs" / name
        saved = checkpoint.found(path)
        over = saved if saved and read_status(path).get("state") == "done" else []
        stray = _stray(path)
        if (over or stray) and not is_held(path):
            yield from (_leftover(file, "in_run", "checkpoint of a run that is done") for file in over)
            yield from (_leftover(file, "in_run", "half-written file") for file in stray)
    for folder in (store, store / "checks", *store.glob("checks/*")):
        yield from (_leftover(file, "stray", "half-written file") for file in _stray(folder))
    yield from (_leftover(path, "merge", "of a merge that was broken off") for path in unfinished(store))
    yield from (_leftover(path, "trash", "of a gc that was broken off") for path in sorted(store.glob(f"{TRASH}*")))


def _stray(folder: Path) -> list[Path]:
    old = time.time() - STRAY_SECONDS
    return sorted(path for path in folder.glob(".*.tmp") if path.lstat().st_mtime < old)


def _leftover(path: Path, kind: str, why: str) -> Item:
    return Item(path, kind, "leftover", why, _size(path), path.lstat().st_mtime)


def _removed(store: Path, found: list[Item]) -> list[Item]:
    """Remove them. Returns those that are gone."""
    wanted = [item for item in found if not item.kept]
    if not wanted:
        return []
    trash = store / f"{TRASH}{os.getpid()}"
    for old in store.glob(f"{TRASH}*"):
        delete(old)
    recover(store)
    trash.mkdir()
    gone = [item for item in wanted if _remove(item, trash)]
    trash.rmdir()
    return gone


def _remove(item: Item, trash: Path) -> bool:
    """Remove one, unless somebody has begun to make the run. Returns whether it is gone."""
    if item.kind not in ("run", "in_run"):
        if item.kind == "stray":
            delete(item.path)
        return True
    with claimed(item.path if item.kind == "run" else item.path.parent) as free:
        if free:
            delete(item.path.rename(trash / item.path.name))
        return free


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links count for themselves."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # of a run that somebody makes now
                total += Path(root, name).lstat().st_size
    return total


def _show(store: Path, items: list[Item], what: str) -> None:
    for item in items:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.when))
        print(f"{item.state:12} {_readable(item.size):>9}  {when}  {item.path.relative_to(store)}  {item.why}")
    runs = [item for item in items if item.kind == "run" and not item.kept]
    rest = [item for item in items if item.kind != "run"]
    kept = sum(item.kept for item in items)
    if not runs and not rest:
        print(f"{store}: nothing that could be removed" + (f"; {kept} stay" if kept else ""))
        return
    total = _readable(sum(item.size for item in (*runs, *rest)))
    stay = f" ({kept} more stay)" if kept else ""
    print(f"{store}: {len(runs):,} runs of no check{stay} and {len(rest):,} leftovers, {total}: {what}")


def _readable(size: int) -> str:
    power = min(len(str(size)) - 1, 12) // 3
    return f"{size / 1000**power:,.{min(power, 1)}f} {UNITS[power]}"
