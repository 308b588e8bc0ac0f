"""A command line in a forked process of its own, and whether it did what the project promises of every input.

Forked, because importing PyTorch takes three seconds; what is called is the same `main` as `python -m` calls.
"""

import csv
import importlib
import json
import math
import os
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from tests.faults import values

PRELOAD = ("bench.__main__", "bench.suite", "bench.run", "torch._dynamo", "torch.distributed.tensor")
ENVIRONMENTS = ("bench.envs.atari", "bench.envs.classic", "bench.envs.dmc", "bench.envs.mujoco", "bench.envs.tabular")
VERDICTS = ("ran", "refused", "failed")  # failed: begun, and ended by a sentence, as when learning diverges
WORKERS = 2
# What has begun has shown that it runs, and is asked to save and end, then to end at once, then killed.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
SECONDS = {True: (5, 20, 60), False: (60, 70, 80)}  # of age, for what has begun and for what has not
MEMORY = 4 << 30  # bytes of data of a case
INFORMS = re.compile(r"--?(cfg|c|help|h|hydra-help|version|info|i|shell-completion|sc)\b")


class Case(NamedTuple):
    """A command line, and the names of which a refusal must hold one."""

    number: int
    module: str  # bench | bench.suite
    words: tuple[str, ...]
    names: frozenset[str]

    @property
    def command(self) -> str:
        """What repeats it by hand."""
        return shlex.join(["python", "-m", self.module, *self.words])


class Outcome(NamedTuple):
    """What came of a case."""

    verdict: str  # one of VERDICTS
    said: str  # on stderr
    faults: list[str]  # promises that were broken


class _Child(NamedTuple):
    case: Case
    pid: int
    room: Path  # holds cwd/, out, err
    before: set[str]
    began: float
    sent: list[int]  # signals


def judge_all(cases: Iterable[Case], workers: int = WORKERS) -> Iterator[tuple[Case, Outcome]]:
    """Run cases side by side; each is judged as it ends."""
    for module in (*PRELOAD, *ENVIRONMENTS):
        importlib.import_module(module)
    todo, running = iter(cases), list[_Child]()
    while True:
        while len(running) < workers and (case := next(todo, None)):
            running.append(_start(case))
        if not running:
            return
        for child in running:
            ended = _poll(child)
            if ended is not None:
                running.remove(child)
                yield child.case, _judge(child, ended)
                shutil.rmtree(child.room)
                break
        else:
            time.sleep(0.005)


def _files(room: Path) -> set[str]:
    return {str(path.relative_to(room)) for path in room.rglob("*")} - {"out", "err"}


def _start(case: Case) -> _Child:
    room = Path(tempfile.mkdtemp(prefix="mutation-"))
    values.prepare(room / "cwd")
    before = _files(room)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _work(case, room)
    return _Child(case, pid, room, before, time.monotonic(), [])


def _work(case: Case, room: Path) -> NoReturn:
    """The forked process: as `python -m` would, to the end."""
    code: object = 70
    try:
        os.setsid()
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(room / name, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))  # not pytest's
        os.chdir(room / "cwd")
        os.environ["HOME"] = str(room / "cwd/home")
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        sys.argv = [f"{case.module}", *case.words]
        sys.orig_argv = [sys.executable, "-m", case.module, *case.words]
        if case.module == "bench":
            code = importlib.import_module("bench.__main__").main()
        else:
            code = importlib.import_module("bench.suite").main(list(case.words))
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _statuses(room: Path) -> list[dict]:
    """Of the runs in a room, all of which have begun."""
    return [json.loads(path.read_text()) for path in room.rglob("status.json")]


def _poll(child: _Child) -> int | None:
    """Its exit status once it has ended, negative for a signal; ends what has begun, or does not in a long time."""
    pid, status = os.waitpid(child.pid, os.WNOHANG)
    if pid:
        return os.waitstatus_to_exitcode(status)
    age, sent = time.monotonic() - child.began, len(child.sent)
    if age > SECONDS[True][0] and sent < len(SIGNALS) and age > SECONDS[bool(_statuses(child.room))][sent]:
        child.sent.append(SIGNALS[sent])
        os.kill(child.pid, SIGNALS[sent])
    return None


def _judge(child: _Child, code: int) -> Outcome:
    said = (child.room / "err").read_text(errors="replace")
    after = _files(child.room)
    written = after - child.before
    gone = [f"gone: {sorted(child.before - after)}"] if child.before - after else []
    if code in (2, 75):
        return Outcome("refused", said, gone + _refusal_faults(child.case, said, written))
    if code == 1:
        return Outcome("failed", said, gone + _failure_faults(child, said, written))
    return Outcome("ran", said, gone + _run_faults(child, code, said, written))


def _sentence_faults(said: str) -> list[str]:
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (["a traceback"] if "Traceback" in said else []) + (
        [] if len(errors) == 1 and lines[-1] == errors[0] else ["not one sentence that begins with error:"]
    )


def _refusal_faults(case: Case, said: str, written: set[str]) -> list[str]:
    faults = _sentence_faults(said)
    if len(said.splitlines()) != 1:
        faults.append("more than one line")
    known = {
        part for name in case.names for part in (name, name.rpartition(".")[2])
    }  # OmegaConf has the last part alone
    named = [name for name in known if name and re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", said)]
    if not named and not any(word in said or repr(word)[1:-1] in said for word in case.words if "=" in word):
        faults.append(f"names none of {sorted(case.names)[:12]}")
    return faults + ([f"written: {sorted(written)[:5]}"] if written else [])


def _failure_faults(child: _Child, said: str, written: set[str]) -> list[str]:
    faults = _sentence_faults(said)
    if not any(found["state"] == "failed" for found in _statuses(child.room)):
        faults.append(f"no run is recorded as failed; written: {sorted(written)[:5]}")
    return faults


def _run_faults(child: _Child, code: int, said: str, written: set[str]) -> list[str]:
    faults = ["a traceback"] if "Traceback" in said else []
    if code not in (0, 130):
        return [*faults, f"exit status {code}"]
    if child.case.module == "bench.suite" or any(INFORMS.match(word) for word in child.case.words):
        return faults + ([f"written: {sorted(written)[:5]}"] if written else [])
    states = {found["state"] for found in _statuses(child.room)}
    if states not in ([{"done"}] if code == 0 else [{"interrupted"}, {"done"}]):
        faults.append(f"exit status {code}, states {sorted(states)}")
    return faults + [f"{name} in {path.name}" for path in child.room.rglob("*.csv") for name in _not_finite(path)]


def _not_finite(table: Path) -> list[str]:
    """Columns that hold what is no number."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    return sorted({k for row in rows for k, v in row.items() if v and not math.isfinite(float(v))}) if rows else []
