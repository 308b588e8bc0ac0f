"""Weights & Biases as a mirror that may break in any way and cannot hurt a run.

W&B's work is done by a service, a process of its own. All that its client ever waits for is an answer of that process,
so a watchdog that kills it bounds every wait: the call that waited fails, this is said once, and the run goes on
without the mirror.

One row of a table is one record of W&B's history, at a step that counts the rows of the run: a row that is mirrored
twice is the same record twice. W&B writes with a delay of seconds and loses what it has not written when the run is
killed; so an attempt that goes on mirrors once more, from the tables, all that W&B may not have.
"""

import contextlib
import csv
import errno
import heapq
import logging
import math
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.compose import configuration_hash
from bench.config import LoggerConfig
from bench.episodes import Episode
from bench.metrics import EPISODES, METRICS

INIT_SECONDS = 20.0  # to log in and to announce the run
ANSWER_SECONDS = 10.0  # to take a row, or to show any sign of life
FINISH_SECONDS = 30.0  # to upload what is left; by default W&B waits for a dead network for days
BROKEN_SECONDS = 15.0  # to end the mirror of a run that failed or was interrupted, all uploaded or not
GRACE_SECONDS = 5.0  # after W&B's own limits, before the service is killed
SETTLE_SECONDS = 60.0  # after which a row is written; measured: 15
TICK_SECONDS = 0.25  # of the watchdog
ROOM = 2**20  # bytes on its disk, below which it is taken for full


class WandbMirror:
    """The mirror of one run. Any failure is said once on stderr and ends the mirror, never the run.

    Args:
        run_dir: whose tables hold the rows of earlier attempts, down to the checkpoint that this one goes on from.
        position: what `position()` was at that checkpoint; empty at the start of a run.
    """

    def __init__(self, config: LoggerConfig, run_dir: Path, container: Mapping[str, Any], position: Mapping[str, Any]):
        self.id = str(position.get("run_id") or _earlier_id(run_dir) or secrets.token_hex(8))
        self.rows = 0  # of the run, while it has a mirror
        self.written = int(position.get("rows", 0))  # those that W&B has for certain
        self.run: Any = None
        self.folder = run_dir / "wandb"
        self.watchdog = Watchdog()
        with self._guard(INIT_SECONDS + GRACE_SECONDS), _environment(run_dir):
            self.run = _begin(config, run_dir, container, self.id)
        if not self.run:
            return
        # Online the server knows best, and takes nothing before its last row.
        self.first = self.run.starting_step if config.mode == "online" else self.written
        self.given, self.given_at = self.written, time.monotonic()
        with self._guard(math.inf):
            for row in _rows(run_dir):
                self._log(row)

    def position(self) -> dict[str, Any]:
        """The W&B run and the number of rows that it has for certain, as plain data for a checkpoint."""
        return {"run_id": self.id, "rows": self.written}

    def metrics(self, row: Mapping[str, float]) -> None:
        """Mirror a row of metrics.csv under the same names."""
        self._log(_metrics(row))

    def episode(self, episode: Episode) -> None:
        """Mirror a row of episodes.csv under `episode/`."""
        self._log(_episode(dict(zip(EPISODES, episode, strict=True))))

    def _log(self, row: Mapping[str, float]) -> None:
        if not self.run:
            return
        with self._guard(ANSWER_SECONDS):
            if self.rows >= self.first:
                self.run.log(dict(row), step=self.rows, commit=True)
            self.rows += 1
            if time.monotonic() - self.given_at >= SETTLE_SECONDS:
                self._settle()

    def _settle(self) -> None:
        # What was given to W&B a while ago has been written if all is well now.
        self.run.status()
        _require_room(self.folder)
        self.written, self.given, self.given_at = self.given, self.rows, time.monotonic()

    def close(self, exit_code: int) -> None:
        """End the mirrored run, and W&B's service with it."""
        if self.run:
            with self._guard(ANSWER_SECONDS):  # the end may take long with a dead network, not with a hung service
                self.run.status()
        if self.run:
            with self._guard(BROKEN_SECONDS if exit_code else FINISH_SECONDS + GRACE_SECONDS):
                self.run.finish(exit_code=exit_code)
                _end_service()
                _require_room(self.folder)
        self.watchdog.end()

    @contextlib.contextmanager
    def _guard(self, seconds: float) -> Iterator[None]:
        # The one place that catches everything: a mirror that breaks in any way must not end a training run.
        try:
            with self.watchdog.limit(seconds):
                yield
        except Exception as error:
            said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            reason = f"no answer for {seconds:.0f} s" if self.watchdog.has_killed else said
            print(f"warning: Weights & Biases failed ({reason}); the run goes on without it", file=sys.stderr)
            self._give_up()
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self.run = None
        _kill_service()
        with contextlib.suppress(Exception):
            _end_service()


def _begin(config: LoggerConfig, run_dir: Path, container: Mapping[str, Any], run_id: str) -> Any:
    """Begin the run in W&B, or go on with it."""
    import wandb

    logging.raiseExceptions = False  # on a full disk, a traceback for each line of W&B's log, whenever it writes one
    configuration = {key: value for key, value in container.items() if key != "seed"}
    run = wandb.init(
        project=config.project,
        entity=config.entity,
        dir=str(run_dir),
        mode="online" if config.mode == "online" else "offline",
        id=run_id,
        resume="allow",
        group=f"{container['algo']['name']}-{container['env']['task']}-{configuration_hash(configuration)[:8]}",
        name=f"{container['env']['task']}-s{container['seed']}",
        job_type="train",
        config=dict(container),
        reinit="create_new",
        settings=wandb.Settings(
            console="off",
            silent=True,
            x_disable_stats=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
        ),
    )
    # Its own step counts rows; ours is a metric like the others, and their axis.
    run.define_metric("*", step_metric="step")
    return run


def _earlier_id(run_dir: Path) -> str | None:
    """The W&B run of an attempt that left no checkpoint."""
    folders = sorted(run_dir.glob("wandb/*run-*-*"), key=lambda path: path.name.split("-")[-2])
    return folders[-1].name.split("-")[-1] if folders else None


def _metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in METRICS if name in row}


def _episode(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name if name == "step" else f"episode/{name}": value for name, value in row.items()}


def _rows(run_dir: Path) -> Iterator[dict[str, float]]:
    """The rows of both tables in the order in which a run makes them: games that end, then what was learnt."""
    episodes, metrics = (_table(run_dir / name) for name in ("episodes.csv", "metrics.csv"))
    return heapq.merge(map(_episode, episodes), map(_metrics, metrics), key=lambda row: row["step"])


def _table(path: Path) -> Iterator[dict[str, float]]:
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                yield {name: float(cell) for name, cell in row.items() if cell}


def _require_room(folder: Path) -> None:
    # W&B keeps silent about what it cannot write.
    if shutil.disk_usage(folder).free < ROOM:
        raise OSError(errno.ENOSPC, "no space left for its files")


class Watchdog:
    """Kills W&B's service when a call of it takes longer than it may.

    It counts its own ticks, not a clock: a run that is suspended for an hour does not find its service killed.
    """

    def __init__(self) -> None:
        self.has_killed = False
        self._call = [math.inf]  # seconds left to the present call
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="wandb watchdog", daemon=True).start()

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Give what runs inside this many seconds."""
        around, self._call = self._call, [seconds]
        try:
            yield
        finally:
            self._call = around

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            call = self._call
            call[0] -= TICK_SECONDS
            if call[0] <= 0:
                self.has_killed |= _kill_service()


@contextlib.contextmanager
def _environment(run_dir: Path) -> Iterator[None]:
    """What W&B's service starts with; the user's own variables are left as they are.

    Its log goes to the run directory, and W&B's reports about itself go nowhere: they are sent also when offline, from
    this process, and a dead network would hold up its end.
    """
    ours = {"WANDB_CACHE_DIR": str(run_dir / "wandb" / "cache"), "WANDB_ERROR_REPORTING": "false"}
    try:
        Path.home()
    except RuntimeError:  # a user without a home, for whom W&B looks there all the same
        ours["HOME"] = str(run_dir)
    ours = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(ours)
    os.environ.pop("WANDB_SERVICE", None)  # of another program, whose service is not ours to kill
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _kill_service() -> bool:
    """End W&B's service at once, whatever state it is in. Returns whether there was one."""
    # W&B has no public name for the process; the tests with a stopped one find it when a version moves it.
    setup = sys.modules.get("wandb.sdk.wandb_setup")
    process = getattr(getattr(getattr(setup, "_singleton", None), "_connection", None), "_proc", None)
    if process is None:
        return False
    process._process.kill()
    return True


def _end_service() -> None:
    """Wait for the end of W&B's service, instead of at the exit of Python, where nothing bounds the wait."""
    import wandb

    with contextlib.suppress(SystemExit):  # of a service that ended badly
        wandb.teardown()
