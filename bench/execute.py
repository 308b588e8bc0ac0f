"""Runs of a plan as local processes: one forked process per run, as many at once as there are slots.

A run that fails, or whose process dies, is recorded, shown, and stops nobody else. A run that another process
holds is waited for. Every run can be repeated by hand with the `python -m bench` of its manifest.
"""

import os
import signal
import sys
import time
from collections import deque
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.compose import quoted
from bench.config import LoggerConfig
from bench.errors import UserError
from bench.plan import PlannedRun
from bench.record import mark_failed, read_status
from bench.worker import context, launch

POLL_SECONDS = 0.05  # a twentieth of the shortest runs
LINE_SECONDS = 30.0  # between two progress lines where there is no terminal
BUSY = 75  # exit status of a run that another process holds
RETRY_SECONDS = 5.0  # before such a run is tried again
STOP_SECONDS = 20.0  # that a run has to end when it is told to


def execute(runs: list[PlannedRun], store: Path, slots: int | None, logger: LoggerConfig) -> list[PlannedRun]:
    """Make all runs. Returns those that failed.

    Args:
        runs: those that are not done.
        slots: how many at once; None is one per core.
    """
    return _Pool(runs, store, slots or _cores(), logger).work()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Pool:
    """Runs that wait, runs with their processes, and what became of the others."""

    def __init__(self, runs: list[PlannedRun], store: Path, slots: int, logger: LoggerConfig):
        self.store, self.slots, self.logger = store, slots, logger
        self.waiting = deque((run, 0.0) for run in runs)  # with the time before which not to try
        self.running: dict[PlannedRun, ForkServerProcess] = {}
        self.server = context()
        self.launched: dict[PlannedRun, float] = {}  # unix seconds; a status from before is of an earlier attempt
        self.done: list[PlannedRun] = []
        self.failed: list[PlannedRun] = []
        self.total = len(runs)
        self.began = time.monotonic()
        self.console = Console(stderr=True)

    def work(self) -> list[PlannedRun]:
        """Run until nothing waits; on an interrupt stop what runs."""
        columns = (TextColumn("runs"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
        hidden = not self.console.is_terminal
        with Progress(*columns, TimeElapsedColumn(), console=self.console, disable=hidden) as bar:
            task = bar.add_task("runs", total=self.total, text="")
            last_line = 0.0
            try:
                while self.waiting or self.running:
                    self._start()
                    self._collect()
                    if not hidden:
                        bar.update(task, completed=len(self.done) + len(self.failed), text=self.line())
                    elif time.monotonic() - last_line > LINE_SECONDS:
                        last_line = time.monotonic()
                        print(f"{len(self.done)} of {self.total} runs done, {self.line()}", file=sys.stderr, flush=True)
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop()
        return self.failed

    def line(self) -> str:
        """How far it is: steps of the runs that are done and of those that run, over all that can still succeed."""
        partial = sum(int(self._status(run).get("step", 0)) for run in self.running)
        steps = sum(run.steps for run in self.done) + partial
        total = steps - partial + sum(run.steps for run in self.running) + sum(run.steps for run, _ in self.waiting)
        elapsed = time.monotonic() - self.began
        left = f"{_duration(elapsed * (total - steps) / steps)} left" if steps else "measuring the rate"
        return (
            f"{steps / max(total, 1):.0%} of {total:,} steps, {len(self.running)} running, "
            f"{len(self.failed)} failed, {left}"
        )

    def _start(self) -> None:
        for _ in range(len(self.waiting)):
            if len(self.running) >= self.slots:
                return
            run, not_before = self.waiting.popleft()
            if time.monotonic() < not_before:
                self.waiting.append((run, not_before))
            else:
                self.launched[run] = time.time()
                self.running[run] = self._launch(run)

    def _status(self, run: PlannedRun) -> dict[str, Any]:
        """What the run's present process has said of itself, nothing if it has not yet."""
        status = read_status(self.store / run.run_dir)
        return status if float(status.get("updated", 0)) >= self.launched.get(run, 0.0) else {}

    def _launch(self, run: PlannedRun) -> ForkServerProcess:
        run_dir = self.store / run.run_dir
        log = run_dir / "log.txt"
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            log.touch()
        except OSError as error:
            raise UserError(f"the run directory {run_dir} cannot be written: {error.strerror}") from None
        return launch(self.server, self._arguments(run), log)

    def _arguments(self, run: PlannedRun) -> list[str]:
        logger = self.logger
        entity = "null" if logger.entity is None else quoted(logger.entity)
        where = [f"store={quoted(str(self.store))}", f"logger={logger.name}", f"logger.mode={logger.mode}"]
        whose = [f"logger.project={quoted(logger.project)}", f"logger.entity={entity}"]
        return [*run.overrides, *where, *whose]

    def _collect(self) -> None:
        ended = {run: code for run, process in self.running.items() if (code := process.exitcode) is not None}
        for run, code in ended.items():
            del self.running[run]
            # What goes wrong after the end, in the mirror or at exit, does not undo a run.
            if code == 0 or read_status(self.store / run.run_dir)["state"] == "done":
                self.done.append(run)
            elif code == BUSY:
                self.waiting.append((run, time.monotonic() + RETRY_SECONDS))
            else:
                self._fail(run, code)

    def _fail(self, run: PlannedRun, code: int) -> None:
        run_dir = self.store / run.run_dir
        if code < 0 or self._status(run).get("state") != "failed":
            mark_failed(run_dir, _cause(code, run_dir))
        self.failed.append(run)
        error = read_status(run_dir).get("error")
        said = f"failed: {run.arm}, {run.task}, seed {run.seed}: {error} (log: {run_dir / 'log.txt'})"
        self.console.print(said, highlight=False, markup=False, soft_wrap=True)

    def _stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.join(timeout=STOP_SECONDS)
            if process.exitcode is None:
                process.kill()
                process.join()


def _cause(code: int, run_dir: Path) -> str:
    """What ended a process that recorded nothing itself: a signal, or the last line of its log."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = (run_dir / "log.txt").read_text(errors="replace").splitlines()
    return lines[-1] if lines else f"exit status {code}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
