"""What a run of the benchmark leaves: tables for readers, and everything that was measured as JSON."""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.checkout import git
from bench.errors import RunError, UserError
from bench.machine import cpu
from bench.speed.contests import Contest
from bench.speed.turns import BUSY, Ratio, Turn, crowded

LARGE = 100  # a rate, not a ratio
PART_ORDER = ("emulate", "act", "train", "record")


def origin(threads: int, rounds: int) -> dict[str, Any]:
    """When, of which sources, on what, and how. Args: threads: of each side; rounds: that were asked for."""
    commit, diff = git("rev-parse", "HEAD"), git("diff", "HEAD")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.decode().strip() if commit else None,
        "dirty": bool(diff),
        "hardware": {"cpu": cpu(), "cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
        "threads": threads,
        "rounds": rounds,
    }


def sources(of: dict[str, Any]) -> str:
    """The commit of an origin, and whether files differed from it."""
    return f"{of['commit'] or 'unknown'}{', with changes' if of['dirty'] else ''}"


def head(title: str, of: dict[str, Any]) -> str:
    """The headline of what was measured. Args: of: its origin."""
    hardware = of["hardware"]
    where = f"{of['date']}, {hardware['cpu']}, {hardware['cores']} cores, commit {sources(of)}"
    return f"# {title}, {where}, threads={of['threads']}, rounds={of['rounds']}"


def stem(of: dict[str, Any]) -> str:
    """What the files of this measurement are called, without their endings."""
    return str(of["date"]).replace(":", "")


def require_room(folder: Path) -> None:
    """Make the folder of the results, before anything is measured for it. Errors: `UserError`: nothing can be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise UserError(f"out is '{folder}' ({why}); allowed: a folder that can be made and written to") from None


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
        idle = _waited([turn.waited for turn in made if (turn.contest, turn.side) == (contest, side)])
        memory = f"{max(one.peak_mb for one in found):,.0f} MB"
        rows.append((contest, side, *middle, clocks[contest], idle, memory))
    return table(("contest", "side", "steps per second", "spread", "time", "waited", "memory"), rows)


def _waited(shares: Sequence[float | None]) -> str:
    measured = [share for share in shares if share is not None]
    return f"{100 * max(measured):.0f} %" if measured else "-"


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
    lines = [head("Speed", of), ""]
    lines += [f"* {contest.name}: {contest.about}" for contest in contests] + [""]
    lines += [f"Versions of {who}." for who in _versions(made)] + [""]
    lines += [ratios_table(found), "", rates_table(contests, made, clock), ""]
    if any(turn.measured.parts for turn in made):
        lines += ["Where the time goes, wall time of our own sides:", "", parts_table(made), ""]
    lines += _notes(made)
    return "\n".join(lines) + "\n"


def _versions(made: Sequence[Turn]) -> list[str]:
    """What our sides and the peers ran with; twice, were it to change in between."""
    found = dict.fromkeys(tuple(turn.measured.versions.items()) for turn in made if turn.measured.versions)
    return [
        f"{'the peers' if 'stable-baselines3' in dict(each) else 'ours'}: "
        + ", ".join(f"{name} {version}" for name, version in each)
        for each in found
    ]


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
    """Keep a run of the benchmark as DATE.json and DATE.md in a folder that is there. Returns the second."""
    name = stem(of)
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


def status_of(work: Callable[[], int]) -> int:
    """Exit status of a command: its own, 1 after a failure, 2 after bad input, 130 after Ctrl-C, each said."""
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, RunError) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
