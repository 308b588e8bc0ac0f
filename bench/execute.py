"""Runs of a plan as local processes: one fresh process per run, as many at once as there are slots.

A run that fails, or whose process dies, is recorded, shown, and stops nobody else. A run that another process
holds is waited for. Every run is its own `python -m bench`, so it can be repeated by hand from its manifest.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.compose import quoted
from bench.config import LoggerConfig
from bench.errors import UserError
from bench.plan import PlannedRun
from bench.record import mark_failed, read_status
from bench.run import PARENT

POLL_SECONDS = 0.2
LINE_SECONDS = 30.0  # between two progress lines where there is no terminal
BUSY = 75  # exit status of a run that another process holds
RETRY_SECONDS = 5.0
FULL_ERROR = {"HYDRA_FULL_ERROR": "1"}  # so that the last line of a log names the error


@dataclass
class _Job:
    run: PlannedRun
    not_before: float = 0.0
    process: subprocess.Popen[bytes] | None = None


@dataclass
class Progressing:
    """What the display shows: counts of runs, agent steps, and the time that the rest will take."""

    total: int
    steps_total: int
    slots: int
    done: int = 0
    steps_done: int = 0
    failed: list[PlannedRun] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def line(self, running: list[PlannedRun], store: Path) -> str:
        """One line for a person."""
        partial = sum(int(read_status(store / run.run_dir).get("step", 0)) for run in running)
        steps = self.steps_done + partial
        elapsed = time.monotonic() - self.began
        left = f"{_duration(elapsed * (self.steps_total - steps) / steps)} left" if steps else "measuring the rate"
        return (
            f"{steps / max(self.steps_total, 1):.0%} of {self.steps_total:,} agent steps, {len(running)} running, "
            f"{len(self.failed)} failed, {left}"
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def execute(runs: list[PlannedRun], store: Path, slots: int | None, logger: LoggerConfig) -> list[PlannedRun]:
    """Make all runs. Returns those that failed.

    Args:
        runs: those that are not done.
        slots: how many at once; None is one per core.
    """
    count = slots or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else slots or os.cpu_count() or 1
    waiting = deque(_Job(run) for run in runs)
    running: list[_Job] = []
    progress = Progressing(len(runs), sum(run.steps for run in runs), count)
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("runs", total=len(runs), text="")
        last_line = 0.0
        try:
            while waiting or running:
                _start(waiting, running, count, store, logger)
                _collect(waiting, running, progress, store, console)
                text = progress.line([job.run for job in running], store)
                bar.update(task, completed=progress.done + len(progress.failed), text=text)
                if not console.is_terminal and time.monotonic() - last_line > LINE_SECONDS:
                    last_line = time.monotonic()
                    print(f"{progress.done} of {progress.total} runs done, {text}", file=sys.stderr, flush=True)
                time.sleep(POLL_SECONDS)
        finally:
            _stop(running)
    return progress.failed


def _start(waiting: deque[_Job], running: list[_Job], slots: int, store: Path, logger: LoggerConfig) -> None:
    for _ in range(len(waiting)):
        if len(running) >= slots:
            return
        job = waiting.popleft()
        if time.monotonic() < job.not_before:
            waiting.append(job)
            continue
        run_dir = store / job.run.run_dir
        entity = "null" if logger.entity is None else quoted(logger.entity)
        command = [
            sys.executable,
            "-m",
            "bench",
            *job.run.overrides,
            f"store={quoted(str(store))}",
            f"logger={logger.name}",
            f"logger.mode={logger.mode}",
            f"logger.project={quoted(logger.project)}",
            f"logger.entity={entity}",
        ]
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            log = (run_dir / "log.txt").open("ab")
        except OSError as error:
            raise UserError(f"the run directory {run_dir} cannot be written: {error.strerror}") from None
        with log:
            job.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, PARENT: str(os.getpid()), **FULL_ERROR},
            )
        running.append(job)


def _collect(waiting: deque[_Job], running: list[_Job], progress: Progressing, store: Path, console: Console) -> None:
    for job in list(running):
        assert job.process is not None
        code = job.process.poll()
        if code is None:
            continue
        running.remove(job)
        run_dir = store / job.run.run_dir
        if code == 0:
            progress.done += 1
            progress.steps_done += job.run.steps
        elif code == BUSY:
            job.not_before = time.monotonic() + RETRY_SECONDS
            waiting.append(job)
        else:
            if code < 0 or read_status(run_dir)["state"] != "failed":  # a signal: what stands there is of old
                mark_failed(run_dir, _cause(code, run_dir))
            progress.failed.append(job.run)
            progress.steps_total -= job.run.steps
            console.print(
                f"failed: {job.run.arm}, {job.run.task}, seed {job.run.seed}: "
                f"{read_status(run_dir)['error']} (log: {run_dir / 'log.txt'})",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


def _cause(code: int, run_dir: Path) -> str:
    """What ended a process that recorded nothing itself: a signal, or the last line of its log."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = (run_dir / "log.txt").read_text(errors="replace").splitlines()
    return lines[-1] if lines else f"exit status {code}"


def _stop(running: list[_Job]) -> None:
    for job in running:
        assert job.process is not None
        job.process.terminate()
    for job in running:
        assert job.process is not None
        try:
            job.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            job.process.kill()
