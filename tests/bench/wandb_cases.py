"""Runs with a planted fault of W&B, each in a process forked from a server as the suite's runs are."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from command_line import wait_until

from bench import loggers, wandb_mirror, worker
from bench.compose import quoted
from bench.record import RunRecord

TINY = ["env=classic", "steps=1024", "algo.updates_per_version=7", "algo.burn_in=128"]  # four rows of metrics


class Ended(NamedTuple):
    """A run that has ended."""

    run_dir: Path
    exit_code: int | None
    said: str
    services: list[int]  # of W&B's, left behind for seconds
    home: list[str]  # what was written to the user's home


def services(pid: int) -> list[int]:
    """Process ids of the services of W&B that a process has started (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[0].endswith("wandb-core") and words[words.index("--pid") + 1] == str(pid):
            found.append(int(folder.name))
    return found


# --- faults: each is planted in the process of the run, before it begins ---------------------------------------------


def nothing() -> None:
    """No fault."""


def _before(method: str, call: int, act: Callable[[RunRecord], None]) -> None:
    original, calls = getattr(RunRecord, method), [0]

    def replaced(record: RunRecord, *positional: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            act(record)
        return original(record, *positional, **named)

    setattr(RunRecord, method, replaced)


def _signal_service(number: signal.Signals) -> None:
    found = services(os.getpid())
    assert found
    for pid in found:
        os.kill(pid, number)


def service_killed_in_the_middle() -> None:
    _before("metrics", 1, lambda _: _signal_service(signal.SIGKILL))


def service_stopped_in_the_middle() -> None:
    _before("metrics", 1, lambda _: _signal_service(signal.SIGSTOP))


def service_killed_at_the_end() -> None:
    _before("finish", 1, lambda _: _signal_service(signal.SIGKILL))


def service_stopped_at_the_end() -> None:
    _before("finish", 1, lambda _: _signal_service(signal.SIGSTOP))


def interrupted() -> None:
    _before("metrics", 2, lambda _: os.kill(os.getpid(), signal.SIGTERM))


def killed() -> None:
    _before("metrics", 2, lambda _: os.kill(os.getpid(), signal.SIGKILL))


def service_lost_then_interrupted() -> None:
    service_killed_in_the_middle()
    interrupted()


def full_disk() -> None:
    """A tmpfs of 64 KiB, filled, under W&B's folder; the caller unmounts it."""
    original = loggers.mirror

    def mirror(config: Any, run_dir: Path, *others: Any) -> Any:
        folder = run_dir / "wandb"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
        try:
            (folder / "fill").write_bytes(bytes(2**17))
        except OSError as error:
            print(f"planted: {error.strerror}", file=sys.stderr)
        return original(config, run_dir, *others)

    loggers.mirror = mirror


# --- runs -----------------------------------------------------------------------------------------------------------


def _child(fault: Callable[[], None], arguments: list[str], log: Path, given: dict[str, Any]) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        del os.environ[name]
    for name, value in given.items():
        if name.endswith("_SECONDS"):
            setattr(wandb_mirror, name, value)
        elif value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    fault()
    worker._work(arguments, str(log), worker.Limits())


def make(run_dir: Path, fault: Callable[[], None], *overrides: str, **given: Any) -> Ended:
    """Make a tiny run. Args: given: environment variables (None unsets), and limits of bench.wandb_mirror."""
    base = run_dir.parent
    base.mkdir(parents=True, exist_ok=True)
    home = base / f"home of {run_dir.name}"
    home.mkdir(exist_ok=True)
    held = {path.name for path in home.iterdir()}
    arguments = [*TINY, f"run_dir={quoted(str(run_dir))}", f"store={quoted(str(base / 'store'))}", *overrides]
    log = base / f"{run_dir.name}.log"
    log.write_bytes(b"")
    process = worker.context().Process(
        target=_child, args=(fault, arguments, log, {"HOME": str(home), **given}), daemon=True
    )
    process.start()
    process.join(timeout=120)
    code = process.exitcode
    if code is None:
        process.kill()
    with suppress(AssertionError):
        wait_until(lambda: not services(process.pid), seconds=5)
    left = services(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    written = sorted(str(path) for path in home.rglob("*") if path.name not in held)
    return Ended(run_dir, code, log.read_text(), left, written)
