"""The benchmark of speed: python -m bench.speed [contest=NAME,...] [rounds=3] [key=value ...]. See docs/performance.md.

Exit status: 0 measured, whatever the ratios are, 1 a side failed, 2 bad input, 130 interrupted.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.checkout import ROOT
from bench.errors import RunError, UserError, require
from bench.speed import learning, report
from bench.speed.contests import CONTESTS, Contest, chosen
from bench.speed.turns import PEERS, Turn, ratios, require_peers, turns

USAGE = f"""usage:
  python -m bench.speed [contest=NAME,NAME|all] [rounds=3] [threads=1] [clock=wall|cpu] [peers=PYTHON] [out=DIR]
      sides of each contest in turn; contests: {", ".join(contest.name for contest in CONTESTS)}
  python -m bench.speed learning=true [seeds=0,1,2|0-7] [steps=200_000] [side=NAME,NAME|all] [peers=PYTHON] [out=DIR]
      what PPO learns on Breakout, beside Stable-Baselines3; runs that are in DIR already are not made again
  python -m bench.speed.growth
      what costs grow with"""
KEYS = {"contest": "all", "rounds": "3", "threads": "1", "clock": "wall", "peers": str(PEERS), "out": ""}
LEARNING_KEYS = {"learning": "true", "seeds": "0-4", "steps": "200_000", "side": "all", "peers": str(PEERS), "out": ""}
RESULTS = ROOT / "results" / "speed"


@dataclass(frozen=True)
class Asked:
    """The words of the command line, complete."""

    values: dict[str, str]

    def whole(self, key: str) -> int:
        """A count. Errors: `UserError`."""
        text = self.values[key].replace("_", "")
        require(text.isdecimal() and int(text) > 0, key, self.values[key], "a whole number from 1 on")
        return int(text)

    def out(self, default: Path) -> Path:
        """Where results go."""
        return Path(self.values["out"] or default)

    def peers(self) -> Path:
        """The peers' interpreter; not resolved, which would leave their environment."""
        return Path(self.values["peers"]).absolute()


def parse(words: list[str]) -> Asked:
    """The command line as data. Errors: `UserError`."""
    pairs = [word.partition("=") for word in words]
    keys = LEARNING_KEYS if "learning" in {key for key, _, _ in pairs} else KEYS
    given: dict[str, str] = {}
    for key, sign, value in pairs:
        if key not in keys:
            raise UserError(f"there is no key {key!r}; allowed: {', '.join(keys)}")
        require(bool(sign and value), key, value, "a value: key=value")
        require(key not in given, key, value, "one value, it is given twice")
        given[key] = value
    require(given.get("learning", "true") == "true", "learning", given.get("learning"), "true, or leave it out")
    return Asked(keys | given)


def measure(asked: Asked) -> int:
    """Run contests, print and keep what they show."""
    contests, rounds, threads = chosen(asked.values["contest"]), asked.whole("rounds"), asked.whole("threads")
    clock, peers = asked.values["clock"], asked.peers()
    require(clock in ("wall", "cpu"), "clock", clock, "wall, cpu (on a machine that does other work too)")
    require_peers([side for contest in contests for side in contest.sides], peers)
    folder = asked.out(RESULTS)
    report.require_room(folder)
    of = report.origin(threads, rounds)
    made: list[Turn] = []
    failed = 0
    try:
        for contest in contests:
            try:
                for turn in turns(contest, rounds, threads, peers):
                    made.append(turn)
                    rate = turn.measured.rate(contest.clock(clock))
                    print(f"{contest.name}, round {turn.round + 1}, {turn.side}: {rate:,.0f} steps/s", file=sys.stderr)
            except RunError as error:  # the other contests are worth their minutes
                failed = 1
                print(f"error: {contest.name}: {error}", file=sys.stderr)
    finally:  # what was measured is worth keeping after Ctrl-C too
        keep(folder, of, contests, made, clock)
    return failed


def keep(folder: Path, of: dict[str, Any], contests: list[Contest], made: list[Turn], clock: str) -> None:
    """Print and write what was measured, if anything was. Args: of: its origin."""
    seen = [contest for contest in contests if contest.name in {turn.contest for turn in made}]
    found = [ratio for contest in seen for ratio in ratios(contest, made, clock)]
    if made:
        path = report.write(folder, of, seen, made, found, clock)
        print(report.markdown(of, seen, made, found, clock))
        print(path, file=sys.stderr)


def learn(asked: Asked) -> int:
    """Make what is missing of the comparison of learning, print and keep what all of it shows."""
    folder = asked.out(RESULTS / "learning")
    sides, seeds = learning.sides(asked.values["side"]), learning.seeds(asked.values["seeds"])
    steps, peers = asked.whole("steps"), asked.peers()
    require_peers(sides, peers)
    place = learning.place(folder, steps)
    report.require_room(place)
    try:
        learning.make(place, sides, seeds, steps, peers)
    finally:
        print(learning.write(place, steps).read_text())
    return 0


def main(words: list[str]) -> int:
    """See the head of this file."""
    if {"-h", "--help"} & set(words):
        print(USAGE)
        return 0
    return report.status_of(lambda: _run(parse(words)))


def _run(asked: Asked) -> int:
    return learn(asked) if "learning" in asked.values else measure(asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
