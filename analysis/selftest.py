"""The referee judged: synthetic runs of known truth through the code that judges real ones (`analysis.verdicts.judge`).

python -m analysis selftest [reps=250] [seed=0] [out=DIR]

Of every rule (how a claim is judged), world (how runs scatter) and number of seeds it prints, over `reps` synthetic
checks, with exact 95 % intervals:

* false support, false refutation: the truth is the margin itself, where either is wrong and hardest to avoid; each at
  most half of alpha, one side of the interval (of a family of claims any of them, at most alpha);
* support of nothing: the truth is no effect at all; likewise;
* power: supported where the truth lies one standard deviation of a run beyond the margin (equality: in the middle);
* coverage: how often the printed interval holds the truth, beside what it claims.

A rate `holds` unless its interval, at a level shared by all rows, lies on the wrong side; the last lines pool the rows
of each rule. Rows marked `shown` claim nothing: what the referee does not do and why, and worlds that no rule can judge
from few runs. Exit status 1 when a rate that is claimed does not hold, or a planted fault is not caught.
"""

import gc
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats as sp

from analysis.call import Call
from analysis.selftest_rows import ROWS
from analysis.selftest_rules import Count, Row, count
from analysis.words import markdown
from bench.files import write_atomically

ALPHA = 0.05
COLUMNS = (
    "rule",
    "world",
    "n",
    "false support",
    "false refutation",
    "support of nothing",
    "power",
    "coverage",
    "claims",
    "holds",
)


HALF = "half as many for power and support of nothing"
LEGEND = (
    "False support and refutation: the truth is the margin itself. Support of nothing: there is no effect. Power: the "
    "truth lies a standard deviation beyond the margin. Rows marked `shown` claim nothing."
)


@dataclass(frozen=True)
class Rate:
    """A share of synthetic checks with its exact interval at a level; None where the row has no such rate."""

    hits: int
    of: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper and Pearson 1934."""
        found = sp.binomtest(self.hits, self.of).proportion_ci(level, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{100 * self.hits / self.of:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Result:
    """A row with its rates."""

    row: Row
    total: Count
    rates: dict[str, Rate]
    holds: bool

    def cells(self) -> dict[str, str]:
        """As printed."""
        rates = {name: str(self.rates[name]) if name in self.rates else "-" for name in COLUMNS[3:8]}
        said = ("yes" if self.holds else "NO") if self.row.claimed else "shown"
        claims = "-" if self.row.coverage is None else f"{100 * self.row.coverage:g}"
        head = {"rule": self.row.rule, "world": self.row.world, "n": str(self.row.seeds or "")}
        return head | rates | {"claims": claims, "holds": said}


def judged(row: Row, counts: Iterable[Count], rows: int) -> Result:
    """Add the counts of a row up. Args: rows: how many share the level at which rates are compared."""
    total = Count()
    for part in counts:
        total = total + part
    level = 1 - ALPHA / rows  # of all rows together, one rate in twenty may be called wrong by chance
    rates = {name: Rate(hits, of) for name, (hits, of) in total.pairs().items() if of}
    holds = True
    for name in ("false support", "false refutation", "support of nothing"):
        holds &= name not in rates or rates[name].interval(level)[0] <= row.limit
    if row.coverage is not None and "coverage" in rates:
        low, high = rates["coverage"].interval(level)
        holds &= high >= row.coverage and (not row.exact or low <= row.coverage)
    return Result(row, total, rates, holds)


def pooled(results: list[Result]) -> list[Result]:
    """Every rule that claims something over all its worlds and numbers of seeds: a small fault shows in many checks."""
    rules: dict[str, list[Result]] = {}
    for result in results:
        if result.row.claimed:
            rules.setdefault(result.row.rule, []).append(result)
    found = []
    for rule, rows in rules.items():
        first, limit = rows[0].row, max(result.row.limit for result in rows)
        whole = Row(rule, "all of its rows", 0, first.trial, first.coverage, verdicts=first.verdicts, limit=limit)
        found.append(judged(whole, [result.total for result in rows], len(rules)))
    return found


def _work(job: tuple[int, int, int]) -> tuple[int, Count]:
    index, reps, seed = job
    return index, count(ROWS[index], reps, np.random.default_rng([seed, index]))


def _quiet() -> None:
    gc.freeze()  # statsmodels collects garbage in every adjustment of p values


def measure(reps: int, seed: int) -> list[Result]:
    """All rows, on all cores."""
    chunk = max(25, reps // 8)
    jobs = [
        (index, min(chunk, reps - start), seed + 1000 * start)
        for start in range(0, reps, chunk)
        for index in range(len(ROWS))
    ]
    counts: dict[int, list[Count]] = {}
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, _quiet) as pool:
        for done, (index, found) in enumerate(pool.map(_work, jobs), start=1):
            counts.setdefault(index, []).append(found)
            if sys.stderr.isatty():
                print(f"\r{100 * done // len(jobs)} %", end="\r", file=sys.stderr)
    return [judged(row, counts[index], len(ROWS)) for index, row in enumerate(ROWS)]


def _printed(cells: list[dict[str, str]]) -> str:
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in COLUMNS}
    lines = [{name: name for name in COLUMNS}, *cells]
    return "\n".join("  ".join(line[name].ljust(widths[name]) for name in COLUMNS).rstrip() for line in lines)


def _faults() -> list[tuple[str, bool, str]]:
    from analysis.planted import planted

    with tempfile.TemporaryDirectory() as folder:
        return planted(Path(folder))


def _write(out: Path, results: list[Result], faults: list[tuple[str, bool, str]], reps: int, seed: int) -> list[Path]:
    rows = [
        {name: value for name, value in vars(result.row).items() if name != "trial"}
        | {
            f"{name.replace(' ', '_')}_{part}": value
            for name, rate in result.rates.items()
            for part, value in (("hits", rate.hits), ("of", rate.of))
        }
        | {"holds": result.holds}
        for result in results
    ]
    cells = [result.cells() for result in results]
    text = "\n\n".join(
        [
            "# The referee's rates",
            f"Made by `python -m analysis selftest reps={reps} seed={seed}`; percent of {reps} synthetic checks "
            f"({HALF}), with exact 95 % intervals. {LEGEND}",
            markdown(list(COLUMNS), [list(row.values()) for row in cells]),
            "## Planted faults",
            markdown(["fault", "caught", "what is said"], [[n, "yes" if c else "NO", s] for n, c, s in faults]),
        ]
    )
    return [
        write_atomically(out / "selftest.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")),
        write_atomically(out / "selftest.md", text + "\n"),
    ]


def run(call: Call) -> int:
    """Measure, print, and write where asked. Returns 1 where something does not hold."""
    reps, seed, out = call.whole("reps", 250, least=25), call.whole("seed", 0, least=0), call.path("out")
    if out:
        out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is said before the work
    results, faults = measure(reps, seed), _faults()
    print(f"percent of {reps} synthetic checks ({HALF}) [exact 95 % interval]; alpha {100 * ALPHA:g}")
    print(f"{LEGEND}\n")
    together = pooled(results)
    print(_printed([result.cells() for result in [*results, *together]]))
    print("\nplanted faults")
    for name, caught, sentence in faults:
        print(f"  {'as it should' if caught else 'NOT CAUGHT':12}  {name}: {sentence}")
    wrong = [result for result in [*results, *together] if result.row.claimed and not result.holds]
    missed = [name for name, caught, _ in faults if not caught]
    print(f"\n{len(results)} rows and {len(together)} rules: {len(wrong)} have a rate that does not hold")
    print(f"{len(faults)} faults: {len(missed)} not caught")
    if out:
        for path in _write(out, [*results, *together], faults, reps, seed):
            print(path)
    return 1 if wrong or missed else 0
