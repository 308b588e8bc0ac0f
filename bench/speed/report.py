"""What a run of the benchmark leaves: tables for readers, and everything that was measured as JSON."""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.checkout import git
from bench.machine import cpu
from bench.speed.contests import Contest
from bench.speed.turns import BUSY, Ratio, Turn, crowded

LARGE = 100  # a rate, not a ratio
PART_ORDER = ("emulate", "act", "train", "record")


def origin() -> dict[str, Any]:
    """When, of which sources, and on what."""
    commit, diff = git("rev-parse", "HEAD"), git("diff", "HEAD")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.decode().strip() if commit else None,
        "dirty": bool(diff),
        "hardware": {"cpu": cpu(), "cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, which reads well as plain text too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rates_table(contests: Sequence[Contest], made: Sequence[Turn], clock: str) -> str:
    """Rate, its spread, crowding and memory of every side."""
    rows, clocks = [], {contest.name: contest.clock(clock) for contest in contests}
    for contest, side in dict.fromkeys((turn.contest, turn.side) for turn in made):
        found = [turn.measured for turn in made if (turn.contest, turn.side) == (contest, side)]
        rates = [one.rate(clocks[contest]) for one in found]
        middle = f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f} to {max(rates):,.0f}"
        idle = f"{100 * max(one.crowded for one in found):.0f} %"
        memory = f"{max(one.peak_mb for one in found):,.0f} MB"
        rows.append((contest, side, *middle, clocks[contest], idle, memory))
    return table(("contest", "side", "steps per second", "spread", "time", "waited", "memory"), rows)


def ratios_table(found: Sequence[Ratio]) -> str:
    """Ratios and their targets."""
    rows = [
        (
            ratio.contest,
            ratio.goal.name,
            _short(ratio.median),
            f"{_short(min(ratio.values))} to {_short(max(ratio.values))}",
            "" if ratio.goal.target is None else f"{ratio.goal.target:,g}",
            ratio.verdict,
        )
        for ratio in found
    ]
    return table(("contest", "ratio", "median", "spread", "target", "verdict"), rows)


def _short(value: float) -> str:
    return f"{value:.2f}" if value < LARGE else f"{value:,.0f}"


def parts_table(made: Sequence[Turn]) -> str:
    """Where the time of our own sides goes: milliseconds per agent step, and shares."""
    rows = []
    for contest, side in dict.fromkeys((turn.contest, turn.side) for turn in made if turn.measured.parts):
        found = [turn.measured for turn in made if (turn.contest, turn.side) == (contest, side)]
        steps, wall = sum(one.steps for one in found), sum(one.wall_s for one in found)
        parts = {part: sum(one.parts[part] for one in found) for part in PART_ORDER}
        cells = [f"{1000 * parts[part] / steps:.3f} ({100 * parts[part] / wall:.0f} %)" for part in PART_ORDER]
        rows.append((contest, side, *cells))
    return table(("contest", "side", *(f"{part}, ms per step" for part in PART_ORDER)), rows)


def markdown(
    of: dict[str, Any], contests: Sequence[Contest], made: Sequence[Turn], found: Sequence[Ratio], clock: str
) -> str:
    """The report."""
    hardware = of["hardware"]
    head = f"{of['date']}, {hardware['cpu']}, {hardware['cores']} cores, commit {of['commit']}"
    head += ", with changes" if of["dirty"] else ""
    lines = [f"# Speed, {head}", ""]
    lines += [f"* {contest.name}: {contest.about}" for contest in contests] + [""]
    lines += [ratios_table(found), "", rates_table(contests, made, clock), ""]
    if any(turn.measured.parts for turn in made):
        lines += ["Where the time goes, wall time of our own sides:", "", parts_table(made), ""]
    lines += _notes(made)
    return "\n".join(lines) + "\n"


def _notes(made: Sequence[Turn]) -> list[str]:
    busy = crowded(list(made))
    if busy <= BUSY:
        return []
    return [f"A side waited up to {100 * busy:.0f} % of its time for other work: wall times are not to be trusted.", ""]


def write(
    folder: Path,
    of: dict[str, Any],
    contests: Sequence[Contest],
    made: Sequence[Turn],
    found: Sequence[Ratio],
    clock: str,
) -> Path:
    """Keep a run of the benchmark as DATE.json and DATE.md. Returns the second."""
    folder.mkdir(parents=True, exist_ok=True)
    name = of["date"].replace(":", "")
    plain = {
        **of,
        "clock": clock,
        "ratios": [
            {
                "contest": ratio.contest,
                "side": ratio.goal.side,
                "over": ratio.goal.over,
                "values": ratio.values,
                "median": ratio.median,
                "target": ratio.goal.target,
                "verdict": ratio.verdict,
            }
            for ratio in found
        ],
        "turns": [
            {"contest": turn.contest, "side": turn.side, "round": turn.round, **turn.measured.plain()} for turn in made
        ],
    }
    (folder / f"{name}.json").write_text(json.dumps(plain, indent=1) + "\n")
    path = folder / f"{name}.md"
    path.write_text(markdown(of, contests, made, found, clock))
    return path
