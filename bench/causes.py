"""What ended a run that did not end well, in one sentence, from what is left of it."""

import signal
from pathlib import Path
from typing import Any

from bench.worker import CRASHED, SERVER_GONE

LINES = 20  # of a log that are kept with a failure
TAIL_BYTES = 20_000  # in which they are looked for
DONE, FAILED, BAD_INPUT = 0, 1, 2  # exit statuses of `python -m bench`
FINAL = (DONE, FAILED, BAD_INPUT)  # that would only come again
OF_GPU = ("CUDA out of memory", "CUDA error: out of memory")
OF_MEMORY = ("MemoryError", "DefaultCPUAllocator", "bad_alloc", "Cannot allocate memory", "not enough memory")


def tail(log: Path, begin: int) -> list[str]:
    """The last lines of a log, at most LINES. Args: begin: bytes that it had before."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-LINES:]
    except OSError:
        return []


def oom_kills() -> int:
    """Processes that Linux has killed for want of memory since it started; 0 where that is not known."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))


def cause(code: int, said: dict[str, Any], log: list[str], oom: bool, memory_gb: float | None) -> str:
    """One sentence.

    Args:
        code: exit status of a run that is not done, negative for a signal.
        said: what this attempt has written into status.json.
        log: its last lines.
        oom: Linux has killed something for want of memory while it went.
        memory_gb: the cap that it had.
    """
    if code == DONE:
        return "its result is not where it was planned: sources or versions have changed since; give the command again"
    error = str(said["error"]) if said.get("state") in ("failed", "interrupted") and said.get("error") else ""
    if code in (CRASHED, -signal.SIGABRT, -signal.SIGSEGV) and (found := _memory([error, *log], memory_gb)):
        return found
    if code == -signal.SIGKILL and oom:
        return "out of memory, killed by Linux; lower executor.slots"
    if code == SERVER_GONE:
        return "the process that starts the runs has ended"
    if code < 0:
        return f"killed by {_name(-code)}"
    return error or (log[-1] if log else f"exit status {code}")


def _memory(words: list[str], memory_gb: float | None) -> str:
    """What to say when memory ran out; empty if it did not."""
    if any(sign in line for line in words for sign in OF_GPU):
        return "out of memory on the GPU; lower executor.runs_per_gpu"
    if not any(sign in line for line in words for sign in OF_MEMORY):
        return ""
    if memory_gb is None:
        return "out of memory; lower executor.slots"
    return f"out of memory: executor.memory_gb={memory_gb:g} is too little for it; raise that key"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
