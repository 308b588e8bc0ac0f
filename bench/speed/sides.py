"""The sides of a contest that run in our own environment, each in a process of its own.

    python -m bench.speed.sides run|seeds|env|raw|eager|unchecked|learn warm=N [key=value of a run ...]

The clock runs from step N to the end, or, with window=N-M in the place of warm=N, to step M.
`run` makes a run as a user does, record and all, into a store that is thrown away; `seeds` makes one whose program
holds several, and reads the time from its record; `env` steps its environments alone with random actions, `raw` the
emulator beneath them; `eager` trains `eager_dpo`, `unchecked` too, without PyTorch's checks; `learn` makes a run for
its games. The last line printed is JSON: a `Measured`, or the finished games.
"""

import csv
import importlib.metadata
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import compose, envs, measure, session
from bench.config import RunConfig
from bench.errors import UserError, require
from bench.record import read_status
from bench.run import run as make_run
from bench.session import Session, Training
from bench.speed.clock import Measured, Window

PACKAGES = ("torch", "numpy", "gymnasium", "ale-py", "mujoco")
PARTS = (
    ("env", "step", "emulate"),
    ("agent", "act", "act"),
    ("agent", "observe", "train"),
    ("agent", "finish", "train"),
)


class Watched:
    """A session whose steps and parts are timed; all else is the session's own."""

    def __init__(self, made: Session, window: Window):
        self.made, self.window = made, window
        if isinstance(made, Training):
            for owner, method, part in PARTS:
                window.watch(getattr(made, owner), method, part)

    def __iter__(self) -> Iterator[session.Progress]:
        """As the session, looking at the clock after each step."""
        for progress in self.made:
            self.window.see(progress.done)
            yield progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)


def configured(words: list[str]) -> tuple[RunConfig, dict[str, Any]]:
    """A run's configuration, typed and plain."""
    composed = compose.compose(words)
    return compose.to_run_config(composed), compose.to_container(composed)


def timed_run(window: Window, words: list[str]) -> Measured:
    """Make a run as `python -m bench` does, looking at the clock from outside."""
    make = session.make
    session.make = lambda config: Watched(make(config), window)  # type: ignore[assignment, return-value]
    try:
        with tempfile.TemporaryDirectory(prefix="bench-speed-") as store:
            make_run(*configured([*words, "logger=none", f"store={compose.quoted(store)}"]))
    finally:
        session.make = make
    return window.measured()


def timed_seeds(window: Window, words: list[str]) -> Measured:
    """Make a run whose program holds the runs of several seeds; the record of the slowest tells the time.

    The window is what lies between the first and the last row of metrics.
    """
    from bench.__main__ import make
    from bench.speed.clock import peak_mb

    with tempfile.TemporaryDirectory(prefix="bench-speed-") as store:
        status = make([*words, "logger=none", f"store={compose.quoted(store)}"])
        require(status == 0, "the run's exit status", status, "0")
        made = sorted(path.parent for path in Path(store).glob("runs/*/metrics.csv"))
        rates = [found[0] for path in made if (found := measure.learnt_rate(path / "metrics.csv"))]
        steps = [int(read_status(path)["step"]) - window.first for path in made]
    require(
        len(rates) == len(made) > 0, "the number of runs with a rate", len(rates), f"{len(made)}, all that were made"
    )
    return Measured(sum(steps), steps[0] / min(rates), 0.0, peak_mb())


def timed_env(window: Window, words: list[str]) -> Measured:
    """Step our environments with random actions and nothing else."""
    config, _ = configured([*words, "logger=none"])
    env = envs.make(config.env, config.threads)
    env.reset(np.arange(env.num_envs))
    return _stepped(env.step, env.num_envs, env.num_actions, config.steps, window)


def timed_raw(window: Window, words: list[str]) -> Measured:
    """Step the vector emulator with random actions: what no run on it can exceed."""
    from ale_py.vector_env import AtariVectorEnv

    from bench.env_config import AtariConfig
    from bench.envs.atari import SCREEN, rom_ids

    config, _ = configured([*words, "logger=none"])
    assert isinstance(config.env, AtariConfig)
    emulator = AtariVectorEnv(
        rom_ids()[config.env.task],
        config.env.num_envs,
        num_threads=config.threads,
        img_height=SCREEN,
        img_width=SCREEN,
        stack_num=config.env.frame_stack,
        frameskip=config.env.protocol.frame_skip,
        noop_max=config.env.protocol.noop_max,
    )
    emulator.reset(seed=np.arange(config.env.num_envs))
    actions = int(emulator.single_action_space.n)
    return _stepped(emulator.step, config.env.num_envs, actions, config.steps, window)


def _stepped(step: Callable[[np.ndarray], object], count: int, actions: int, steps: int, window: Window) -> Measured:
    """Args: step: of count environments; actions: to choose from; steps: agent steps, all environments together."""
    chosen = np.random.default_rng(0).integers(actions, size=(steps // count, count))
    for done, row in enumerate(chosen, 1):
        step(row)
        window.see(done * count)
    return window.measured()


def timed_eager(window: Window, words: list[str]) -> Measured:
    """Train the straightforward implementation."""
    from bench.speed import eager_dpo

    config, _ = configured([*words, "logger=none"])
    torch.set_num_threads(config.threads)
    for done in eager_dpo.train(config):
        window.see(done)
    return window.measured()


def learned(_: Window, words: list[str]) -> list[list[float]]:
    """(agent steps so far, raw score) of every full game that a run finishes."""
    with tempfile.TemporaryDirectory(prefix="bench-speed-") as store:
        path = make_run(*configured([*words, "logger=none", f"store={compose.quoted(store)}"]))[0]
        with (path / "episodes.csv").open() as file:
            return [[int(row["step"]), float(row["return"])] for row in csv.DictReader(file)]


def timed_unchecked(window: Window, words: list[str]) -> Measured:
    """The same with distributions that do not look for invalid arguments, which PyTorch's do unless told otherwise."""
    torch.distributions.Distribution.set_default_validate_args(False)  # type: ignore[no-untyped-call]
    return timed_eager(window, words)


SIDES: dict[str, Callable[[Window, list[str]], Measured | list[list[float]]]] = {
    "run": timed_run,
    "seeds": timed_seeds,
    "env": timed_env,
    "raw": timed_raw,
    "eager": timed_eager,
    "unchecked": timed_unchecked,
    "learn": learned,
}


def window_of(word: str) -> Window:
    """The window of `warm=N` or `window=N-M`. Errors: `UserError`."""
    ends = re.fullmatch(r"warm=(\d+)|window=(\d+)-(\d+)", word)
    if ends is None:
        raise UserError(
            f"the second word is {word!r}; allowed: warm=N or window=N-M, the steps that the clock runs over"
        )
    return Window(int(ends[1])) if ends[1] else Window(int(ends[2]), int(ends[3]))


def main(arguments: list[str]) -> int:
    """Exit status: 0 measured, 2 bad input."""
    try:
        kind, clock, *words = [*arguments, "", ""][: max(2, len(arguments))]
        require(kind in SIDES, "the side", kind, ", ".join(SIDES))
        found = SIDES[kind](window_of(clock), words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    plain = found.plain() if isinstance(found, Measured) else {"games": found}
    print(json.dumps(plain | {"versions": versions}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
