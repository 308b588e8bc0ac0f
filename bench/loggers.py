"""What shows a run while it goes: a progress display, and a mirror of the run directory in Weights & Biases.

Neither is ever read back. The mirror may fail; the run goes on without it.
"""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench.config import LoggerConfig
from bench.episodes import Episode
from bench.wandb_mirror import WandbMirror

RECENT_GAMES = 20
LINE_SECONDS = 30.0  # between two lines where there is no terminal to draw a bar on


class Display:
    """Rate, mean return of the last games and time left: a bar on a terminal, else a line now and then."""

    def __init__(self, label: str, steps: int):
        self.label, self.steps = label, steps
        self.returns: deque[float] = deque(maxlen=RECENT_GAMES)
        self.began = self.last_line = time.monotonic()
        console = Console(stderr=True)
        self.bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.percentage:.0f} %"),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(),
                console=console,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Display":
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(self.label, total=self.steps, text="")
        return self

    def show(self, step: int, episodes: list[Episode]) -> None:
        """Take in the present step and the games that ended with it."""
        self.returns.extend(e.score for e in episodes)
        now = time.monotonic()
        rate = step / max(now - self.began, 1e-9)
        score = f"return {sum(self.returns) / len(self.returns):.1f}" if self.returns else "no game finished yet"
        if self.bar:
            self.bar.update(self.task, completed=step, text=f"{rate:,.0f} steps/s, {score}")
        elif now - self.last_line > LINE_SECONDS:
            self.last_line = now
            print(
                f"{self.label}: step {step:,} of {self.steps:,}, {rate:,.0f} steps/s, {score}, "
                f"{(self.steps - step) / rate:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()


class Mirror(Protocol):
    """A copy of the run directory somewhere else."""

    def metrics(self, row: Mapping[str, float]) -> None:
        """Mirror a row of metrics.csv."""

    def episode(self, episode: Episode) -> None:
        """Mirror a row of episodes.csv."""

    def position(self) -> dict[str, Any]:
        """What a resumed run hands back to go on in the same mirror, as plain state; empty without a mirror."""


class NoMirror:
    """logger=none."""

    def metrics(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def episode(self, episode: Episode) -> None:
        """Nothing."""

    def position(self) -> dict[str, Any]:
        """Nothing."""
        return {}


@contextlib.contextmanager
def mirror(
    config: LoggerConfig, run_dir: Path, container: Mapping[str, Any], position: Mapping[str, Any] | None = None
) -> Iterator[Mirror]:
    """The mirror that the configuration asks for, ended with the run.

    Args:
        position: what `Mirror.position()` was when the checkpoint that the run goes on from was taken; None or empty
            at the start of a run, and where that attempt had no mirror.
    """
    if config.name == "none":
        yield NoMirror()
        return
    wandb_mirror = WandbMirror(config, run_dir, container, position or {})
    try:
        yield wandb_mirror
    except BaseException:
        wandb_mirror.close(1)
        raise
    wandb_mirror.close(0)
