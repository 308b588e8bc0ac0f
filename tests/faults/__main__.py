"""The fault campaign: python -m tests.faults [--kills 104] [--seed 0] [--out FILE]. Exit status 1: a loss."""

import argparse
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import worker
from tests.faults import damage, kills, suites
from tests.faults.cases import CASES, finish
from tests.faults.table import Row, markdown


def _kills(place: Path, total: int, seed: int) -> Iterator[Row]:
    each = -(-total // len(CASES))
    worker.context()
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(
            lambda item: kills.random_kills(place / f"kills-{item[0]}", item[1], each, random.Random(seed + item[0])),
            enumerate(CASES),
        )


def _rows(place: Path, total: int, seed: int) -> Iterator[Row]:
    yield kills.comparison(place / "comparison", damage.CASE)
    yield from _kills(place, total, seed)
    expected = finish(damage.CASE, place / "expected")
    assert not isinstance(expected, str), expected
    yield from damage.damaged_files(place, expected)
    yield damage.jumping_clock(place, expected)
    yield from damage.disks(place, expected)
    hashes = suites.unbroken(place)
    yield suites.struck(place, hashes, "a run segfaults", signal.SIGSEGV)
    yield suites.struck(place, hashes, "a run is killed as for memory", signal.SIGKILL)
    yield suites.struck(place, hashes, "a run is told to end", signal.SIGUSR1)
    yield suites.struck(place, hashes, "a run hangs", signal.SIGSTOP, "executor.hang_minutes=0.1")
    yield suites.out_of_memory(place)
    yield suites.suite_killed(place, hashes)
    yield suites.fork_server_killed(place, hashes)
    yield suites.two_suites(place, hashes)
    yield suites.torn_plan(place, hashes)


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=104, help="at random moments, over all algorithms and suites")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="file for the table")
    asked = parser.parse_args()
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        for row in _rows(Path(place), asked.kills, asked.seed):
            rows.append(row)
            print(f"{row.survived} of {row.tried} survived: {row.fault}. {row.note}", file=sys.stderr, flush=True)
    machine = f"{platform.processor() or platform.machine()}, Python {platform.python_version()}"
    minutes = (time.monotonic() - began) / 60
    said = (
        f"# Faults tried\n\n`make faults`: {asked.kills} kills at random moments (seed {asked.seed}), then one fault "
        f"at a time; {machine}; {minutes:.0f} minutes. Survived: parameters, episodes.csv and metrics.csv (without "
        "wall_s) are those of the unbroken run, or the fault was refused in one sentence and nothing was lost.\n\n"
    )
    table = said + markdown(rows)
    print(table)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(table)
    return int(any(row.lost for row in rows))


if __name__ == "__main__":
    sys.exit(main())
