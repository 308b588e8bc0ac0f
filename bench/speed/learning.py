"""Whether the same hyperparameters learn the same: PPO on Breakout, Stable-Baselines3 beside ours in fp32 and bf16.

A run leaves one file of its finished games and their origin, so that seeds can be added at any time, and by several
processes at once.
Compared is the mean score of the games that ended in the last quarter of the steps, a number per seed; seeds of
different programs have nothing in common, so intervals are Welch's.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bench.errors import UserError, require
from bench.speed import report
from bench.speed.contests import ATARI, BF16, Side
from bench.speed.turns import answer, command

PEER, FP32, BF16_SIDE = "sb3", "fp32", "bf16"
SIDES = {
    PEER: Side(PEER, "learn", ("Breakout",), is_peer=True),
    FP32: Side(FP32, "learn", ("warm=0", *ATARI)),
    BF16_SIDE: Side(BF16_SIDE, "learn", ("warm=0", *ATARI, BF16)),
}
PAIRS = ((FP32, PEER), (BF16_SIDE, PEER), (BF16_SIDE, FP32))
QUARTERS = 4
MARGIN = 0.1  # of the other side's score, within which two sides are called equal (unsourced)
ALPHA = 0.05
LEAST = 2  # seeds of each side


def sides(names: str) -> list[Side]:
    """Sides by name, `all` or separated by commas. Errors: `UserError`."""
    found = list(SIDES) if names == "all" else list(dict.fromkeys(names.split(",")))
    for name in found:
        require(name in SIDES, "side", name, f"all, {', '.join(SIDES)}")
    return [SIDES[name] for name in found]


def seeds(text: str) -> list[int]:
    """`0,3,5-8` as numbers. Errors: `UserError`."""
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise UserError(f"seeds is {text!r}; allowed: numbers and ranges separated by commas, as 0,2,4-7")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return sorted(set(found))


def place(folder: Path, steps: int) -> Path:
    """Where runs of so many steps are kept: only they are compared."""
    return folder / f"{steps}-steps"


def make(folder: Path, chosen: list[Side], numbers: list[int], steps: int, peers: Path) -> None:
    """Make the runs whose files are not in the folder, one after another, each in a process of its own."""
    for number in numbers:
        for side in chosen:
            path = folder / f"{side.name}-s{number}.json"
            if path.exists():
                continue
            of = report.origin(threads=1, rounds=1)  # before the run: sources may change meanwhile
            words = (*side.words, f"seed={number}", f"steps={steps}")
            found = answer(command(Side(side.name, side.kind, words, side.is_peer), 1, peers), 1)
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(found | {"origin": of}) + "\n")
            part.replace(path)
            print(f"{path.name}: {len(found['games'])} games", file=sys.stderr)


def quarters(games: list[list[float]], steps: int) -> list[float]:
    """Mean score of the games that ended in each quarter of the steps; nan where none did. Args: games: step, score."""
    ended: list[list[float]] = [[] for _ in range(QUARTERS)]
    for step, score in games:
        ended[min(QUARTERS - 1, int((step - 1) * QUARTERS // steps))].append(score)
    return [float(np.mean(scores)) if scores else float("nan") for scores in ended]


def _kept(folder: Path) -> dict[str, dict[str, Any]]:
    """What the runs left, by the names of their files."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*-s*.json"))}


def commits(folder: Path) -> list[str]:
    """The sources that the runs were made of; `unknown` of those that do not say."""
    found = (kept.get("origin") for kept in _kept(folder).values())
    return sorted({report.sources(of) if of else "unknown" for of in found})


def scores(folder: Path, steps: int) -> dict[str, np.ndarray]:
    """`[seeds, quarters]` of every side that has runs, in the order of the seeds."""
    found: dict[str, dict[int, list[float]]] = {}
    for name, kept in _kept(folder).items():
        side, _, seed = name.rpartition("-s")
        found.setdefault(side, {})[int(seed)] = quarters(kept["games"], steps)
    return {side: np.array([found[side][seed] for seed in sorted(found[side])]) for side in SIDES if side in found}


def markdown(found: dict[str, np.ndarray], steps: int, of: Sequence[str]) -> str:
    """Scores of the sides and differences of the pairs. Args: of: commits of the runs."""
    header = ("side", "seeds", *(f"to {steps * (quarter + 1) // QUARTERS:,}" for quarter in range(QUARTERS)))
    rows = [(side, str(len(x)), *map(_mean, x.T)) for side, x in found.items()]
    lines = [
        f"# What PPO learns on Breakout in {steps:,} agent steps",
        "",
        "Mean score of the games that ended up to the step, since the step before it:",
        "",
        report.table(header, rows),
        "",
        f"Differences in the last quarter with {100 * (1 - ALPHA):.0f} % intervals by Welch's t over seeds, beside",
        f"{100 * MARGIN:.0f} % of the second side's score, within which two sides are called equal:",
        "",
        report.table(("difference", "value", "interval", "margin", "verdict"), [_pair(found, *pair) for pair in PAIRS]),
        "",
        *(f"Commit {commit}." for commit in of),
    ]
    if len(of) > 1:
        lines.append("Warning: the runs are of several sources, and differences may be theirs.")
    return "\n".join(lines) + "\n"


def _ended(x: np.ndarray) -> np.ndarray:
    """The scores of seeds of which a game ended."""
    kept: np.ndarray = x[np.isfinite(x)]
    return kept


def _mean(x: np.ndarray) -> str:
    return f"{_ended(x).mean():.2f}" if len(_ended(x)) else "no game"


def _pair(found: dict[str, np.ndarray], one: str, other: str) -> tuple[str, str, str, str, str]:
    name = f"{one} - {other}"
    a, b = (_ended(found[side][:, -1]) if side in found else np.empty(0) for side in (one, other))
    if min(len(a), len(b)) < LEAST:
        return name, "", "", "", f"needs {LEAST} seeds of both"
    value, margin = float(a.mean() - b.mean()), MARGIN * float(b.mean())
    low, high = welch(a, b)
    return name, f"{value:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{margin:.2f}", verdict(low, high, margin)


def welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The interval of mean(a) - mean(b) of independent groups. Args: a: `[R]`; b: `[Q]`; R, Q >= 2."""
    if a.std() == 0 and b.std() == 0:
        return float(a.mean() - b.mean()), float(a.mean() - b.mean())
    ends = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - ALPHA)
    return float(ends.low), float(ends.high)


def verdict(low: float, high: float, margin: float) -> str:
    """What an interval of a difference says: it lies within the margin, without 0, or neither (margin above 0)."""
    if -margin < low and high < margin:
        return "equal"
    return "differ" if low > 0 or high < 0 else "open"


def write(folder: Path, steps: int) -> Path:
    """Keep the table of all runs that are in the folder. Returns its file."""
    path = folder / "learning.md"
    path.write_text(markdown(scores(folder, steps), steps, commits(folder)))
    return path
