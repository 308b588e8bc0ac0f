"""Runs of a plan as local processes: one forked process per run, or block of runs, as many at once as there are slots.

A run that is killed, hangs, runs out of memory or crashes is tried again, from its last checkpoint, behind those that
wait. It is given up, recorded and shown when it has failed `executor.retries` times more than once without getting
further: an attempt that leaves a newer checkpoint than all before it begins the count anew, so that a run may be
interrupted as often as it likes as long as it advances. What would only happen again, bad input and learning that
diverges, is not tried again. A run that another process holds is waited for. No run stops another.

Time is a clock of this process that stands still while it is suspended itself, never that of the wall.
"""

import contextlib
import sys
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from signal import SIGABRT, SIGKILL, SIGTERM
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import causes, checkpoint
from bench.check_config import ExecutorConfig
from bench.compose import quoted
from bench.config import LoggerConfig
from bench.errors import UserError
from bench.plan import PlannedRun
from bench.record import mark_failed, read_status
from bench.slots import Place, slots
from bench.worker import CRASHED, Forked, Limits, context, launch

POLL_SECONDS = 0.05  # a twentieth of the shortest runs
LISTEN_SECONDS = 1.0  # between two looks at what runs say of themselves, which they say once a second
LINE_SECONDS = 30.0  # between two progress lines where there is no terminal
BUSY = 75  # exit status of a run that another process holds
RETRY_SECONDS = 5.0  # before such a run is tried again
STOP_SECONDS = 60.0  # that a run has to save and end when it is told to
ABORT_SECONDS = 5.0  # that one which hangs has to write its stack


def execute(
    runs: list[PlannedRun], store: Path, executor: ExecutorConfig, logger: LoggerConfig, checkpoint_minutes: float
) -> list[PlannedRun]:
    """Make all runs. Returns those that failed. An exception, a KeyboardInterrupt say, asks all runs to save and end.

    Args:
        runs: those that are not done.
        checkpoint_minutes: between two checkpoints of a run.
    Errors: `UserError` where the store cannot be written or there is no GPU for runs that need one.
    """
    overrides = (
        f"store={quoted(str(store))}",
        f"checkpoint_minutes={checkpoint_minutes}",
        f"logger={logger.name}",
        f"logger.mode={logger.mode}",
        f"logger.project={quoted(logger.project)}",
        f"logger.entity={'null' if logger.entity is None else quoted(logger.entity)}",
    )
    return _Pool(runs, store, executor, overrides).work()


@dataclass(eq=False)
class _Job:
    """A run on its way to the end."""

    run: PlannedRun
    run_dir: Path
    not_before: float = 0.0  # on the pool's clock
    attempts: int = 0
    vain: int = 0  # attempts since one got further
    saved: int = 0  # step of its newest checkpoint
    given: int = 0  # and what that was before the first attempt

    def look(self) -> bool:
        """True if it has got further than it ever had, as its checkpoints tell."""
        found = checkpoint.found(self.run_dir)
        before, self.saved = self.saved, max(self.saved, checkpoint.step_of(found[0]) if found else 0)
        return self.saved > before


class _Attempt:
    """The process that makes a run now, and what it has said of itself."""

    def __init__(
        self,
        server: ForkServerContext,
        job: _Job,
        arguments: list[str],
        place: Place,
        limits: Limits,
        others: list[Path],
    ):
        self.run_dir, self.log, self.place, self.limits = job.run_dir, job.run_dir / "log.txt", place, limits
        self.before, self.kills = read_status(job.run_dir), causes.oom_kills()
        self.log_begins = self.log.stat().st_size
        self.status: dict[str, Any] = {}
        self.others = {path: read_status(path) for path in others}  # made by the same process; it may outlive this run
        self.silent = 0.0  # seconds
        self.patience: float | None = None  # seconds that it still has to end; None if it may go on
        self.hung = False
        self.process: Forked = launch(server, arguments, self.log, limits)

    def listen(self) -> None:
        """Take in its status, unless that is of an earlier attempt."""
        status = read_status(self.run_dir)
        if status not in (self.before, self.status):
            self.status, self.silent = status, 0.0
        for path, before in self.others.items():
            if (status := read_status(path)) != before:
                self.others[path], self.silent = status, 0.0

    def watch(self, seconds: float, most: float) -> None:
        """End it if it has said nothing for too long. Args: seconds: since the last call; most: of silence."""
        self.silent += seconds
        if self.patience is not None:
            self.patience -= seconds
            if self.patience < 0:
                self.process.send(SIGKILL)  # SIGABRT does not reach a process that is stopped
        elif self.process.orphaned:
            self.patience = STOP_SECONDS  # it notices by itself, and saves
        elif self.silent > most and not self.status.get("restoring"):  # as long as the games before took
            self.hung, self.patience = True, ABORT_SECONDS
            self.process.send(SIGABRT)

    def cause(self, code: int, hang_minutes: float) -> str:
        """Why it ended, in one sentence."""
        if self.hung:
            return f"hung: it said nothing for executor.hang_minutes={hang_minutes:g}"
        oom = causes.oom_kills() > self.kills
        return causes.cause(code, self.status, self.last_lines(), oom, self.limits.memory_gb)

    def last_lines(self) -> list[str]:
        """The end of its log."""
        return causes.tail(self.log, self.log_begins)


class _Pool:
    """Runs that wait, runs with their processes, and what became of the others."""

    def __init__(self, runs: list[PlannedRun], store: Path, executor: ExecutorConfig, overrides: tuple[str, ...]):
        self.executor, self.overrides = executor, overrides
        self.waiting = deque(_Job(run, store / run.run_dir) for run in runs)
        self.running: dict[_Job, _Attempt] = {}
        self.done: list[_Job] = []
        self.failed: list[PlannedRun] = []
        self.retried = 0
        self.devices = {run.device for run in runs}
        self.slots = slots(executor, self.devices)
        self.server = context()
        for job in self.waiting:
            job.look()
            job.given = job.saved
        self.total = len(runs)
        self.clock = self.watched = 0.0  # seconds that this process has been at work, now and at its last look
        self.console = Console(stderr=True)

    def work(self) -> list[PlannedRun]:
        """Run until nothing waits; on an interrupt stop what runs."""
        columns = (TextColumn("runs"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
        hidden = not self.console.is_terminal
        with Progress(*columns, TimeElapsedColumn(), console=self.console, disable=hidden) as bar:
            task, next_line = bar.add_task("runs", total=self.total, text=""), 0.0
            try:
                while self.waiting or self.running:
                    began = time.monotonic()
                    self._start()
                    self._collect()
                    self._watch()
                    bar.update(task, completed=len(self.done) + len(self.failed), text=self.line())
                    if hidden and self.clock >= next_line:
                        next_line = self.clock + LINE_SECONDS
                        print(f"{len(self.done)} of {self.total} runs done, {self.line()}", file=sys.stderr, flush=True)
                    time.sleep(POLL_SECONDS)
                    self.clock += min(time.monotonic() - began, LISTEN_SECONDS)
            finally:
                self._stop()
        return self.failed

    def line(self) -> str:
        """How far it is: steps of the runs that are done and of those that are not, over all that can still succeed."""
        now = {job: int(attempt.status.get("step", job.saved)) for job, attempt in self.running.items()}
        now |= {job: job.saved for job in self.waiting}
        now |= {job: job.run.steps for job in self.done}
        steps, total = sum(now.values()), sum(job.run.steps for job in now)
        made = steps - sum(job.given for job in now)
        left = f"{_duration(self.clock * (total - steps) / made)} left" if made > 0 else "measuring the rate"
        return (
            f"{steps / max(total, 1):.0%} of {total:,} steps, {len(self.running)} running, "
            f"{len(self.failed)} failed, {self.retried} retried, {left}"
        )

    def _start(self) -> None:
        full: set[str] = set()
        for job in list(self.waiting):
            device = job.run.device
            if device in full or self.clock < job.not_before or self._made_by_another(job):
                continue
            if (place := self.slots.take(device, job.run.threads)) is None:
                full.add(device)  # smaller runs do not overtake: a large one would wait for ever
                if full == self.devices:
                    return
                continue
            self.waiting.remove(job)
            self._launch(job, place)

    def _made_by_another(self, job: _Job) -> bool:
        """True if the process of another run of its block makes it now, or has made it."""
        if job.run.block is None or any(other.run.block == job.run.block for other in self.running):
            return job.run.block is not None
        made = bool(read_status(job.run_dir)["state"] == "done")
        if made:
            self.waiting.remove(job)
            self.done.append(job)
        return made

    def _launch(self, job: _Job, place: Place) -> None:
        try:
            job.run_dir.mkdir(parents=True, exist_ok=True)
            (job.run_dir / "log.txt").touch()
        except OSError as error:
            raise UserError(f"the run directory {job.run_dir} cannot be written: {error.strerror}") from None
        limits = Limits(job.run.threads, place.gpu, self.executor.memory_gb)
        words = [*job.run.overrides, *self.overrides]
        others = [other.run_dir for other in self.waiting if job.run.block and other.run.block == job.run.block]
        try:
            self.running[job] = _Attempt(self.server, job, words, place, limits, others)
        except (OSError, EOFError) as error:  # the server ended meanwhile, or it cannot fork
            self.slots.give(place)
            self._again(job, CRASHED, f"its process could not be started: {error}", [])

    def _watch(self) -> None:
        seconds = self.clock - self.watched
        if seconds < LISTEN_SECONDS:
            return
        self.watched = self.clock
        for attempt in self.running.values():
            attempt.listen()
            attempt.watch(seconds, 60 * self.executor.hang_minutes)

    def _collect(self) -> None:
        ended = {job: code for job, attempt in self.running.items() if (code := attempt.process.exitcode) is not None}
        for job, code in ended.items():
            attempt = self.running.pop(job)
            self.slots.give(attempt.place)
            attempt.listen()
            # What goes wrong after the end, in the mirror or at exit, does not undo a run.
            if read_status(job.run_dir)["state"] == "done":
                self.done.append(job)
            elif code == BUSY:
                job.not_before = self.clock + RETRY_SECONDS
                self.waiting.append(job)
            else:
                self._again(job, code, attempt.cause(code, self.executor.hang_minutes), attempt.last_lines())

    def _again(self, job: _Job, code: int, cause: str, log: list[str]) -> None:
        """Try a run again that has ended without success, or give it up."""
        job.attempts += 1
        job.vain = 1 if job.look() else job.vain + 1
        if code in causes.FINAL or job.vain > self.executor.retries:
            self._fail(job, cause if job.attempts == 1 else f"{cause} (attempt {job.attempts})", log)
            return
        self.retried += 1
        self.waiting.append(job)
        with contextlib.suppress(OSError), (job.run_dir / "log.txt").open("a") as file:
            file.write(f"attempt {job.attempts}: {cause}; trying again\n")

    def _fail(self, job: _Job, cause: str, log: list[str]) -> None:
        run = job.run
        self.failed.append(run)
        said = f"failed: {run.arm}, {run.task}, seed {run.seed}: {cause} (log: {job.run_dir / 'log.txt'})"
        try:
            mark_failed(job.run_dir, cause, log)
        except OSError as error:  # a full disk, say; the other runs go on
            said += f"; this could not be recorded: {error.strerror}"
        self.console.print(said, highlight=False, markup=False, soft_wrap=True)

    def _stop(self) -> None:
        attempts = [*self.running.values()]
        for attempt in attempts:
            attempt.process.send(SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        try:
            while time.monotonic() < end and any(attempt.process.exitcode is None for attempt in attempts):
                time.sleep(POLL_SECONDS)
        finally:  # also where somebody does not want to wait
            for attempt in attempts:
                attempt.process.send(SIGKILL)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
