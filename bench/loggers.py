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

from bench.compose import identity
from bench.config import LoggerConfig
from bench.episodes import Episode
from bench.metrics import METRICS

RECENT_GAMES = 20
FINISH_SECONDS = 60.0  # for what is not uploaded when the run ends; by default W&B waits for a dead network for days
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


class NoMirror:
    """logger=none."""

    def metrics(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def episode(self, episode: Episode) -> None:
        """Nothing."""


class WandbMirror:
    """Weights & Biases. Any failure of it is said once on stderr and ends the mirror, never the run."""

    def __init__(self, config: LoggerConfig, run_dir: Path, container: Mapping[str, Any]):
        self.run: Any = None
        with self._guard():
            import wandb

            configuration = {key: value for key, value in container.items() if key != "seed"}
            self.run = wandb.init(
                project=config.project,
                entity=config.entity,
                dir=str(run_dir),
                mode="online" if config.mode == "online" else "offline",
                group=f"{container['algo']['name']}-{container['env']['task']}-{identity(configuration)[:8]}",
                name=f"{container['env']['task']}-s{container['seed']}",
                job_type="train",
                config=dict(container),
                reinit="create_new",
                settings=wandb.Settings(
                    console="off", silent=True, x_disable_stats=True, init_timeout=30, finish_timeout=FINISH_SECONDS
                ),
            )
            # Its own step must not go backwards; ours is a metric like the others, and their axis.
            self.run.define_metric("*", step_metric="step")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        # The one place that catches everything: a mirror that breaks in any way must not end a training run.
        try:
            yield
        except Exception as error:
            said = next(iter(str(error).splitlines()), "")
            print(
                f"warning: Weights & Biases failed ({type(error).__name__}: {said}); the run goes on without it",
                file=sys.stderr,
            )
            self.run = None

    def metrics(self, row: Mapping[str, float]) -> None:
        """Mirror a row of metrics.csv under the same names."""
        if self.run:
            with self._guard():
                self.run.log({name: row[name] for name in METRICS if name in row})

    def episode(self, episode: Episode) -> None:
        """Mirror a row of episodes.csv under `episode/`."""
        if self.run:
            with self._guard():
                self.run.log(
                    {
                        "step": episode.step,
                        "episode/return": episode.score,
                        "episode/length": episode.length,
                        "episode/env": episode.env,
                        "episode/truncated": episode.truncated,
                    }
                )

    def close(self, exit_code: int) -> None:
        """End the mirrored run."""
        if self.run:
            with self._guard():
                self.run.finish(exit_code=exit_code)


@contextlib.contextmanager
def mirror(config: LoggerConfig, run_dir: Path, container: Mapping[str, Any]) -> Iterator[Mirror]:
    """The mirror that the configuration asks for, ended with the run."""
    if config.name == "none":
        yield NoMirror()
        return
    wandb_mirror = WandbMirror(config, run_dir, container)
    try:
        yield wandb_mirror
    except BaseException:
        wandb_mirror.close(1)
        raise
    wandb_mirror.close(0)
