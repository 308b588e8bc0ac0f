"""Who makes a run: one process on one host at a time, known to all that share the store.

On one host a lock of the operating system decides, which ends with its process however that ends. Between hosts, where
such locks may not reach, a lease does: a numbered file that names its holder and whose beat grows while it lives. It is
taken over by creating the next number, which only one can, after its beat has stood still for EXPIRY_SECONDS on the
watcher's own monotonic clock. So neither a wrong clock nor a reused process number makes a run held or free.
"""

import contextlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.files import write_atomically

LOCK = ".lock"
LOCK_SECONDS = 1.0  # longer than somebody's look at whether the run is held
BEAT_SECONDS = 10.0
EXPIRY_SECONDS = 60.0  # without a beat
NAME = re.compile(r"lease-(\d+)\.json")


class BusyError(UserError):
    """The run is being made by another process."""


def host() -> dict[str, str]:
    """This machine since it was started: name, and what tells it from others of that name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {"host": platform.node(), "boot": boot.read_text().strip() if boot.exists() else ""}


def newest(run_dir: Path) -> tuple[int, dict[str, Any]]:
    """Number and content of the lease that counts; (0, {}) where there is none, no content while it is being made."""
    numbers = [int(found[1]) for path in run_dir.glob("lease-*.json") if (found := NAME.fullmatch(path.name))]
    if not numbers:
        return 0, {}
    try:
        content = json.loads((run_dir / f"lease-{max(numbers)}.json").read_text())
    except (OSError, ValueError):
        return max(numbers), {}
    return max(numbers), content if isinstance(content, dict) else {}


def is_held(run_dir: Path) -> bool:
    """True while a process makes the run, of another host as far as its last beat tells."""
    number, content = newest(run_dir)
    if number and {key: content.get(key) for key in ("host", "boot")} != host():
        with contextlib.suppress(OSError):
            return time.time() - (run_dir / f"lease-{number}.json").stat().st_mtime < EXPIRY_SECONDS
    return _is_locked(run_dir / LOCK)


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a store that may only be read, in which this user makes no run
        return False


def _clock() -> float:
    """Seconds that go on while the machine sleeps, and never jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """The right to make a run. Args: run_dir: a folder that exists."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.me = {**host(), "pid": os.getpid()}
        self.number = self.beats = 0
        self._lock = FileLock(run_dir / LOCK)
        self._ended = threading.Event()
        self._last_beat = 0.0

    @property
    def path(self) -> Path:
        """The file that says so."""
        return self.run_dir / f"lease-{self.number}.json"

    @contextlib.contextmanager
    def held(self) -> Iterator["Lease"]:
        """Hold it. Raises: BusyError: another process does."""
        try:
            self._lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            pid = newest(self.run_dir)[1].get("pid", "unknown")
            raise BusyError(f"{self.run_dir} is being written by another process (pid {pid})") from None
        try:
            self._take()
            beating = threading.Thread(target=self._keep_beating, name="lease", daemon=True)
            beating.start()
            try:
                yield self
            finally:
                self._ended.set()
                beating.join()
                with contextlib.suppress(OSError):  # a disk that is lost was said where something was lost by it
                    self.path.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _take(self) -> None:
        number, content = newest(self.run_dir)
        if number and {key: content.get(key) for key in ("host", "boot")} != {key: self.me[key] for key in host()}:
            self._watch(number, content)
        self.number = number + 1
        try:
            with self.path.open("x") as file:
                file.write(self._content())
        except FileExistsError:
            raise BusyError(f"{self.run_dir} has just been taken by another process") from None
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        self._last_beat = _clock()
        for path in self.run_dir.glob("lease-*.json"):
            if (found := NAME.fullmatch(path.name)) and int(found[1]) < self.number:
                path.unlink(missing_ok=True)

    def _watch(self, number: int, content: dict[str, Any]) -> None:
        """Wait until the lease of another host has expired. Raises: BusyError: it lives."""
        end = _clock() + EXPIRY_SECONDS
        while _clock() < end:
            time.sleep(min(1.0, EXPIRY_SECONDS / 10))
            if newest(self.run_dir) != (number, content):
                holder = f"pid {content.get('pid', 'unknown')} on {content.get('host', 'another host')}"
                raise BusyError(f"{self.run_dir} is being written by another process ({holder})")

    def _content(self) -> str:
        return json.dumps({**self.me, "beat": self.beats})

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            if self.is_lost():
                return
            self.beats += 1
            with contextlib.suppress(OSError):  # a full disk is said where something is lost by it
                write_atomically(self.path, self._content())
                self._last_beat = _clock()

    def is_lost(self) -> bool:
        """True when somebody else has taken over, because this process did not beat for too long."""
        return newest(self.run_dir)[0] != self.number

    def require(self) -> None:
        """Refuse to write what is no longer ours. Raises: BusyError."""
        if _clock() - self._last_beat > EXPIRY_SECONDS / 2 and self.is_lost():
            raise BusyError(f"{self.run_dir} was taken over by another process while this one did not run")
