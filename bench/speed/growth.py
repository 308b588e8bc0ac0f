"""What costs grow with: python -m bench.speed.growth [axis=NAME,...] [rounds=2] [clock=cpu|wall] [out=DIR].

Each axis makes one thing larger and leaves the rest as it is; every size is measured in a process of its own, one after
the other, `rounds` times through all of them, and the least time of a size counts. `exponent` is the slope of time over
size on logarithmic axes, by least squares; `at the end` that between the two largest sizes, where fixed costs such as
imports weigh least: 1 is linear, and what lies above MOST is told. Into DIR go DATE.csv, DATE.md and DATE.png, after an
interruption or a failure of what had been measured until then.

Exit status: 0 measured, 1 a measurement failed, 2 bad input, 130 interrupted.
"""

import csv
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.checkout import ROOT
from bench.composed import suite_config
from bench.errors import RunError, require
from bench.plan import expand
from bench.speed import report
from bench.speed.synthetic import fill
from bench.speed.turns import answer

OUT = ROOT / "results" / "speed" / "growth"
MOST = 1.15  # exponent at the end that still passes for linear: times of one size scatter by some percent
KEYS = {"axis": "all", "rounds": "2", "clock": "cpu", "out": str(OUT)}
CARTPOLE = ("env=classic", "env.task=CartPole-v1")
ON_POLICY = ("algo=on_policy", *CARTPOLE, "hparams=on_policy_cpu_discrete", "algo.learner.steps=128")
DPO = ("algo=dpo", *CARTPOLE, "hparams=dpo_cpu_discrete")
DAPO = ("algo=dapo", *CARTPOLE, "algo.diagnostics_every=0")
CHECK = "ablation"  # whose store is filled: 21 arms on tasks at scale=cpu
CELLS = 21

Cost = Callable[[int, str], float]  # a size and a clock -> seconds


@dataclass(frozen=True)
class Axis:
    """One thing that is made larger."""

    name: str
    about: str  # what is counted, and what stays as it is
    sizes: tuple[int, ...]
    cost: Cost


def _run(first: int, last: int, *words: str) -> Callable[[str], float]:
    """Seconds of a run between two counts of its steps, the second its end."""

    def seconds(clock: str) -> float:
        command = [sys.executable, "-m", "bench.speed.sides", "run", f"window={first}-{last}", *words, f"steps={last}"]
        made = answer(command, 1)
        return float(made["cpu_s"] if clock == "cpu" else made["wall_s"])

    return seconds


def _environments(size: int, clock: str) -> float:
    return _run(128 * size, 1152 * size, *ON_POLICY, f"env.num_envs={size}")(clock)


def _steps(size: int, clock: str) -> float:
    return _run(2048, 2048 + size, *DAPO)(clock)


def _replayed_steps(size: int, clock: str) -> float:
    return _run(512, 512 + size, *DPO)(clock)


def _batch(size: int, clock: str) -> float:
    return _run(1536, 2048, *DPO, f"algo.batch_size={size}")(clock)


def _rollout(size: int, clock: str) -> float:
    return _run(2048, 18_432, *DAPO, f"algo.rollout_length={size}")(clock)


def _seeds(size: int, clock: str) -> float:
    """Of a whole program, less that of one that only starts."""
    words = (*DPO, "logger=none", f"seeds_per_process={size}")
    whole, short = (_command(clock, "bench", *words, f"steps={steps}") for steps in (2560, 512))
    return whole - short


def _command(clock: str, module: str, *words: str) -> float:
    """Seconds of a command, which works in a store of its own where it is given none."""
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as store:
        given = words if any(word.startswith("store=") for word in words) else (*words, f"store={store}")
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run([sys.executable, "-m", module, *given], cwd=ROOT, capture_output=True, text=True)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        said = next(reversed(done.stderr.strip().splitlines()), "nothing")
        raise RunError(f"{module} {' '.join(given)} ended with status {done.returncode}, saying: {said}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu if clock == "cpu" else wall


def _with_store(module: str, *words: str, again: bool = False, games: bool = False) -> Cost:
    """A command on a store of a size: runs, or games of each of its runs. Args: again: a second time."""

    def cost(size: int, clock: str) -> float:
        with tempfile.TemporaryDirectory(prefix="bench-growth-") as store:
            seeds = 2 if games else math.ceil(size / CELLS)
            asked = [f"check={CHECK}", "scale=cpu", f"store={store}", f"seeds={seeds}"]
            asked += ["steps=100_000"] if games else []
            fill(Path(store), [expand(suite_config(asked))], games=size if games else 20)
            shared = [word for word in asked if module == "bench.suite" or not word.startswith(("seeds=", "steps="))]
            call = [*words, *shared, *(["pilot=nothing"] if module == "bench.suite" else [f"out={store}/out"])]
            first = _command(clock, module, *call)
            return _command(clock, module, *call) if again else first

    return cost


RUNS, GAMES = (63, 252, 1008, 5040), (10, 100, 1000, 10_000)
AXES = (
    Axis("environments", "environments; 8 iterations of PPO, 128 steps of each", (1, 4, 16, 64, 256), _environments),
    Axis("steps", "agent steps of DAPO", (4096, 16_384, 65_536), _steps),
    Axis("replayed_steps", "agent steps of DPO, all held by its replay", (512, 1024, 2048, 4096), _replayed_steps),
    Axis("batch", "steps of a batch of DPO; 512 steps", (64, 128, 256, 512, 1024), _batch),
    Axis("roll_out", "steps of a roll-out of DAPO; 16 384 steps", (4, 8, 16, 32, 64, 128), _rollout),
    Axis("seeds", "seeds in one program; 2 048 steps of DPO each", (1, 2, 4, 8), _seeds),
    Axis("games", f"games of each of {2 * CELLS} runs; judged", GAMES, _with_store("analysis", "verdict", games=True)),
    Axis("runs_verdict", "runs in the store; judged", RUNS, _with_store("analysis", "verdict")),
    Axis("runs_status", "runs in the store; what is done", RUNS, _with_store("bench.suite", "status")),
    Axis("runs_plan", "runs in the store; a plan, once their numbers are kept", RUNS,
         _with_store("bench.suite", "plan", again=True)),
    Axis("runs_first_plan", "runs in the store; a plan that reads them all", RUNS, _with_store("bench.suite", "plan")),
)  # fmt: skip


@dataclass(frozen=True)
class Grown:
    """An axis with the least seconds of each size, of the first sizes where the measurement was interrupted."""

    axis: Axis
    seconds: tuple[float, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Those that were measured."""
        return self.axis.sizes[: len(self.seconds)]

    @property
    def exponent(self) -> float:
        """Slope of all sizes; nan of a single one."""
        if len(self.sizes) < 2:
            return math.nan
        return float(np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)[0])

    @property
    def at_the_end(self) -> float:
        """Slope between the two largest; nan unless the last was measured."""
        if self.sizes != self.axis.sizes or len(self.sizes) < 2:
            return math.nan
        (x, y), (further, more) = list(zip(self.sizes, self.seconds, strict=True))[-2:]
        return math.log(more / y) / math.log(further / x)


def chosen(names: str) -> list[Axis]:
    """Axes by name, each once. Errors: `UserError`."""
    there = {axis.name: axis for axis in AXES}
    asked = list(there) if names == "all" else list(dict.fromkeys(names.split(",")))
    for name in asked:
        require(name in there, "axis", name, f"all, {', '.join(there)}")
    return [there[name] for name in asked]


def measure(axes: Sequence[Axis], rounds: int, clock: str) -> Iterator[tuple[Axis, int, float]]:
    """Axis, size and seconds of every measurement as it is made."""
    for _ in range(rounds):
        for axis in axes:
            for size in axis.sizes:
                yield axis, size, axis.cost(size, clock)


def grown(made: Sequence[tuple[Axis, int, float]]) -> list[Grown]:
    """The least of each size."""
    found = []
    for axis in dict.fromkeys(axis for axis, _, _ in made):
        of_size = [[spent for other, at, spent in made if (other, at) == (axis, size)] for size in axis.sizes]
        found.append(Grown(axis, tuple(min(times) for times in of_size if times)))
    return found


def table(found: Sequence[Grown]) -> str:
    """What a reader wants to know of each axis."""
    rows = []
    for one in found:
        each = ", ".join(f"{size:,}: {spent:.3g} s" for size, spent in zip(one.sizes, one.seconds, strict=True))
        verdict = "-" if math.isnan(one.at_the_end) else "no" if one.at_the_end <= MOST else "YES"
        rows.append((one.axis.name, one.axis.about, each, _slope(one.exponent), _slope(one.at_the_end), verdict))
    return report.table(("axis", "size", "time", "exponent", "at the end", "above linear"), rows)


def _slope(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def draw(found: Sequence[Grown], path: Path) -> None:
    """One panel for each axis, with a straight line as the eye's measure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    columns = min(4, len(found))
    lines = math.ceil(len(found) / columns)
    figure, panels = plt.subplots(lines, columns, figsize=(3.4 * columns, 2.8 * lines), squeeze=False)
    for panel in panels.flat[len(found) :]:
        panel.set_visible(False)
    for one, panel in zip(found, panels.flat, strict=False):
        sizes, last = np.array(one.sizes, float), one.seconds[-1]
        panel.loglog(sizes, last * sizes / sizes[-1], color="0.7", linestyle="--", label="linear")
        panel.loglog(sizes, one.seconds, color="C0", marker="o", label="measured")
        panel.set_title(f"{one.axis.name} ({_slope(one.at_the_end)} at the end)", fontsize=9)
        panel.set_ylabel("seconds", fontsize=8)
        panel.set_xlabel(one.axis.about.partition(";")[0], fontsize=8)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.tick_params(which="both", labelsize=7)
    panels.flat[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(folder: Path, of: dict[str, Any], made: Sequence[tuple[Axis, int, float]], clock: str) -> str:
    """Table, plot and numbers, into a folder that is there. Returns the text of the table. Args: of: their origin."""
    name, found = report.stem(of), grown(made)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("axis", "size", "seconds"))
        rows.writerows((axis.name, size, f"{spent:.4f}") for axis, size, spent in made)
    text = "\n".join([f"{report.head('What costs grow with', of)}, {clock} time", "", table(found), ""])
    (folder / f"{name}.md").write_text(text)
    draw(found, folder / f"{name}.png")
    return text


def keep(folder: Path, axes: Sequence[Axis], rounds: int, clock: str) -> None:
    """Measure, and print and write what was measured, however it ended."""
    of = report.origin(threads=1, rounds=rounds)
    made: list[tuple[Axis, int, float]] = []
    try:
        for axis, size, seconds in measure(axes, rounds, clock):
            made.append((axis, size, seconds))
            print(f"{axis.name} {size}: {seconds:.3g} s", file=sys.stderr, flush=True)
    finally:  # after Ctrl-C too
        if made:
            print(write(folder, of, made, clock))


def main(words: list[str]) -> int:
    """See the head of this file."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    return report.status_of(lambda: _asked(words))


def _asked(words: list[str]) -> int:
    asked = dict(KEYS)
    for key, sign, value in (word.partition("=") for word in words):
        allowed = ", ".join(f"{name}=..." for name in KEYS)
        require(key in KEYS and bool(sign and value), "the word", f"{key}{sign}{value}", allowed)
        asked[key] = value
    rounds, clock = asked["rounds"], asked["clock"]
    require(rounds.isdecimal() and int(rounds) > 0, "rounds", rounds, "a whole number from 1 on")
    require(clock in ("cpu", "wall"), "clock", clock, "cpu, wall")
    axes, folder = chosen(asked["axis"]), Path(asked["out"])
    report.require_room(folder)
    keep(folder, axes, int(rounds), clock)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
