"""How fast planned runs are on this machine: what finished runs took, and short measurements where none has finished.

Runs share a rate when their command lines differ in nothing that changes the speed (`signature`). A measurement starts
a planned run in a store of its own that is thrown away, as many at once as the real thing would, and ends it after a
row of metrics: between two rows a run collects fast or learns slowly, and only at a row has it done its share of both.
"""

import contextlib
import csv
import re
import signal
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.compose import quoted
from bench.plan import PlannedRun
from bench.record import read_status
from bench.slots import cores
from bench.worker import Forked, Limits, context, launch

NOT_SPEED = ("seed", "steps", "store", "run_dir", "checkpoint_minutes")
FASTER = ("algo.reuse", "algo.utd")  # fractions that change how much is computed
ENOUGH_SECONDS = 3.0  # of a run that has rows: its rate is known
PATIENCE_SECONDS = 20.0  # for the first row, while others wait
POLL_SECONDS = 0.05
MOST_CROWDED = 0.95  # nothing can be said of a run that hardly ran
KILL_SECONDS = 5.0  # that the system may take to end a process


@dataclass(frozen=True)
class Rate:
    """How fast runs are, on a machine that does nothing else."""

    per_second: float  # steps
    startup: float | None = None  # seconds before the first step; None: not known
    is_bound: bool = False  # no row of metrics was reached, and the truth is slower
    crowded: float = 0.0  # share of its time that the measured run waited for other work, which is taken out


def signature(overrides: Iterable[str]) -> str:
    """What the speed of a run depends on, from its command line, the last word on each key counting.

    A fraction changes the speed only by being 0 or 1, which switch parts of an algorithm off (and those of FASTER).
    """
    found: dict[str, str] = {}
    for word in overrides:
        key, _, value = word.partition("=")
        if key in NOT_SPEED or key.partition(".")[0] == "logger":
            continue
        is_fraction = re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+|\d+(\.\d*)?e[-+]?\d+)", value)
        if is_fraction and key not in FASTER:
            value = {0.0: "0", 1.0: "1"}.get(float(value), "~")
        found[key] = value
    return " ".join(f"{key}={value}" for key, value in sorted(found.items()))


def learnt_rate(metrics: Path) -> tuple[float, int] | None:
    """(steps per second, rows it rests on) from the rows after which something had been learnt; None without one.

    Between the first and the last of them where there are two: what comes before is slower (imports, first kernels) or
    faster (random steps of SAC). A row that only evaluates lies between two updates, where collecting makes the rate
    look too high. Rows of exact programs count no version.
    """
    try:
        text = metrics.read_text()
    except OSError:
        return None
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    is_program = not any(row["version"] or row["eval_return"] for row in rows)
    learnt = [(float(row["step"]), float(row["wall_s"])) for row in rows if is_program or float(row["updates"] or 0)]
    if not learnt:
        return None
    (first, began), (last, ended) = learnt[0] if len(learnt) > 1 else (0.0, 0.0), learnt[-1]
    return ((last - first) / (ended - began), len(learnt)) if ended > began else None


class _Moment(NamedTuple):
    when: float
    waited: float  # seconds that the run was ready and others had the cores, by then


@dataclass
class _Trial:
    """A run while it is measured. Args: fair: share of a core that it gets when nothing else goes on."""

    run: PlannedRun
    run_dir: Path
    process: Forked
    fair: float
    launched: _Moment
    began: _Moment | None = None  # when it had a status
    first: _Moment | None = None  # when it had rows
    row: _Moment | None = None  # when it had the last one
    last: _Moment | None = None  # when it was looked at
    rows: int = 0

    def look(self) -> None:
        """Note how far it is, and how long it has waited for a core by now (Linux)."""
        before = self.last or self.launched
        waited = before.waited
        with contextlib.suppress(OSError, IndexError):
            waited = int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
        now = self.last = _Moment(time.monotonic(), waited)
        if self.began is None and read_status(self.run_dir)["state"] != "missing":
            self.began = now
        found = learnt_rate(self.run_dir / "metrics.csv")
        if found and found[1] > self.rows:
            self.rows, self.row = found[1], now
            self.first = self.first or now

    def rate(self) -> Rate | None:
        """What is known by now, as if nothing else had gone on."""
        status, found = read_status(self.run_dir), learnt_rate(self.run_dir / "metrics.csv")
        start = self.began and (self.began.when - self.launched.when) * self._ran(self.launched, self.began)
        step, wall = float(status.get("step", 0)), float(status.get("wall_s", 0))
        if status["state"] == "done":
            ran = self._ran(self.launched, self.last)
            return Rate(float(status["rate"]) / ran, start, crowded=1 - ran)
        if found and self.first and self.row:
            apart = self.row.when - self.first.when > ENOUGH_SECONDS / 4
            ran = self._ran(self.first if apart else self.launched, self.row)
            return Rate(found[0] / ran, start, crowded=1 - ran)
        ran = self._ran(self.launched, self.last)
        return Rate(step / wall / ran, start, is_bound=True, crowded=1 - ran) if step > 0 and wall > 0 else None

    def _ran(self, since: _Moment, until: _Moment | None) -> float:
        """Share of the time in which it had what is fair."""
        if until is None or until.when <= since.when:
            return 1.0
        crowded = min((until.waited - since.waited) / (until.when - since.when), MOST_CROWDED)
        return min(1.0, (1 - crowded) / self.fair)

    def is_enough(self, others_wait: bool) -> bool:
        """Whether it has said what it can in the time that it may take."""
        if self.process.exitcode is not None:
            return True
        took = time.monotonic() - self.launched.when - (self.last.waited if self.last else 0.0)
        return took >= ENOUGH_SECONDS if self.rows > 1 else others_wait and took >= PATIENCE_SECONDS


class _Trials:
    """Runs that are measured, as many at once as there are slots, in a folder that is thrown away."""

    def __init__(self, folder: Path, slots: Mapping[str, int]):
        self.folder, self.slots, self.server = folder, slots, context()
        self.fair = min(1.0, cores() / max(slots.get("cpu", 0), 1))
        self.measured: list[_Trial] = []
        self.companions: list[_Trial] = []  # keep the machine as busy as it will be, and measure nothing
        self.count = 0

    def fill(self, todo: deque[PlannedRun]) -> None:
        """Start what has a place; where nothing waits, companions of what is still measured."""
        for _ in range(len(todo)):
            run = todo.popleft()
            if self._free(run.device) > 0:
                self.measured.append(self._start(run))
            else:
                todo.append(run)
        for trial in self.measured:
            while self._free(trial.run.device) > 0:
                self.companions.append(self._start(trial.run))

    def collect(self, others_wait: bool) -> dict[str, Rate]:
        """Rates of the trials that are ended now."""
        found: dict[str, Rate] = {}
        self.companions = [trial for trial in self.companions if trial.process.exitcode is None]
        for trial in list(self.measured):
            trial.look()
            if trial.is_enough(others_wait):
                found |= self._end(trial)
                self.measured.remove(trial)
        return found

    def stop(self) -> dict[str, Rate]:
        """End all, and say what is known by now."""
        found: dict[str, Rate] = {}
        for trial in self.measured:
            found |= self._end(trial)
        for trial in self.companions:
            self._end(trial)
        return found

    def _free(self, device: str) -> int:
        held = sum(trial.run.device == device for trial in (*self.measured, *self.companions))
        return self.slots.get(device, 0) - held

    def _start(self, run: PlannedRun) -> _Trial:
        self.count += 1
        run_dir = self.folder / str(self.count)
        run_dir.mkdir()
        log = run_dir / "log.txt"
        log.touch()
        arguments = [*run.overrides, f"run_dir={quoted(str(run_dir))}", "logger=none"]
        return _Trial(
            run, run_dir, launch(self.server, arguments, log, Limits()), self.fair, _Moment(time.monotonic(), 0.0)
        )

    def _end(self, trial: _Trial) -> dict[str, Rate]:
        rate = trial.rate()
        trial.process.send(signal.SIGKILL)  # its folder goes with it: nothing of it is to be saved
        patience = time.monotonic() + KILL_SECONDS
        while trial.process.exitcode is None and time.monotonic() < patience:
            time.sleep(POLL_SECONDS / 5)
        return {signature(trial.run.overrides): rate} if rate else {}


def measure(runs: list[PlannedRun], slots: Mapping[str, int], seconds: float) -> dict[str, Rate]:
    """Rates of planned runs by signature, within so many seconds; a run that fails or gets nowhere has none.

    Args:
        runs: one per signature, those that matter most first.
        slots: runs at once by device; runs on others are left out.
    """
    todo = deque(run for run in runs if slots.get(run.device, 0) > 0)
    found: dict[str, Rate] = {}
    if not todo or seconds <= 0:
        return found
    with tempfile.TemporaryDirectory(prefix="bench-measure-", ignore_cleanup_errors=True) as folder:
        trials, end = _Trials(Path(folder), slots), time.monotonic() + seconds
        try:
            while (todo or trials.measured) and time.monotonic() < end:
                trials.fill(todo)
                time.sleep(POLL_SECONDS)
                found |= trials.collect(bool(todo))
        finally:
            found |= trials.stop()
    return found
