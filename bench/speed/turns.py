"""Sides measured in turn, A B A B ..., each in a fresh process, one at a time; and the ratios of their rates.

What slows a machine for a while slows both sides of a round: rates are compared within a round, and it is the ratios
whose median and spread are told.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.checkout import ROOT
from bench.errors import RunError, UserError
from bench.speed.clock import Measured
from bench.speed.contests import Contest, Goal, Side

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PEERS = ROOT / ".venv-peers" / "bin" / "python"
BUSY = 0.1  # share of its time that a side waited for others, from which a warning is due


@dataclass(frozen=True)
class Turn:
    """One side of one round."""

    contest: str
    side: str
    round: int
    measured: Measured
    is_alone: bool = True  # its process works in one thread, whose time says how long it waited

    @property
    def waited(self) -> float | None:
        """Share of the window in which the process did not run; None: nobody measured it."""
        return self.measured.crowded if self.is_alone and self.measured.cpu_s else None


@dataclass(frozen=True)
class Ratio:
    """Of two sides' rates, or a rate, over the rounds."""

    contest: str
    goal: Goal
    values: tuple[float, ...]  # one per round

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Whether the target is met, by the median."""
        if self.goal.target is None:
            return "no target"
        return "met" if self.median >= self.goal.target else "missed"


def command(side: Side, threads: int, peers: Path) -> list[str]:
    """How a side is started."""
    if side.is_peer:
        script = ROOT / "bench" / "speed" / "sb3.py"
        return [str(peers), str(script), side.kind, *side.words, f"threads={threads}"]
    return [sys.executable, "-m", "bench.speed.sides", side.kind, *side.words, f"threads={threads}"]


def require_peers(sides: Iterable[Side], peers: Path) -> None:
    """Refuse sides that are peers where these are not installed."""
    if not any(side.is_peer for side in sides):
        return
    if not os.path.lexists(peers):
        raise UserError(f"peers is '{peers}', which is not there; `make speed` installs the peers into .venv-peers")
    if not (peers.is_file() and os.access(peers, os.X_OK)):
        raise UserError(f"peers is '{peers}', which is no program; allowed: the Python of the peers' environment")


def answer(words: list[str], threads: int, variables: Sequence[tuple[str, str]] = ()) -> Any:
    """What a process prints last, from JSON. Errors: `RunError`: it failed. Args: variables: of its environment."""
    environment = os.environ | dict.fromkeys(THREADS, str(threads)) | dict(variables)
    try:
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise RunError(f"{words[0]} does not start: {error.strerror}") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = next(reversed(done.stderr.strip().splitlines()), "nothing")
        raise RunError(f"{' '.join(words[1:])} failed with exit status {done.returncode}, saying: {said}")
    return json.loads(lines[-1])


def turns(
    contest: Contest, rounds: int, threads: int, peers: Path, start: Callable[..., Any] = answer
) -> Iterator[Turn]:
    """Measure a contest. Args: start: as `answer`, runs a command and gives what it printed."""
    for number in range(rounds):
        for side in contest.sides:
            own = contest.threads or threads
            found = start(command(side, own, peers), own, side.environment)
            yield Turn(contest.name, side.name, number, Measured(**found), own == 1 and not contest.by_wall)


def ratios(contest: Contest, made: list[Turn], clock: str) -> list[Ratio]:
    """Of the contest's goals, over the rounds that are complete.

    Args: clock: `wall` or `cpu`, by which rates are taken unless the contest is one of wall time.
    """
    by = contest.clock(clock)
    rates = {(turn.side, turn.round): turn.measured.rate(by) for turn in made if turn.contest == contest.name}
    found = []
    for goal in contest.goals:
        over = {number: rates.get((goal.over, number)) if goal.over else 1.0 for _, number in rates}
        rounds = sorted(number for side, number in rates if side == goal.side)
        values = tuple(rates[goal.side, number] / base for number in rounds if (base := over[number]))
        if values:
            found.append(Ratio(contest.name, goal, values))
    return found


def crowded(made: list[Turn]) -> float:
    """The largest share of its time that a side waited for other work, where that was measured."""
    return max((turn.waited or 0.0 for turn in made), default=0.0)
