"""The speed of every planned run, from the best that is known of it: finished runs of the store on this machine, short
measurements (`bench.measure`, kept in the store), a pilot's finished runs at this machine's speed, or runs like it.
"""

import contextlib
import csv
import json
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.check_config import SlurmConfig, SuiteConfig
from bench.files import write_atomically
from bench.machine import machine
from bench.measure import Rate, measure, signature
from bench.plan import PlannedRun
from bench.record import read_manifest, read_status
from bench.slots import cores

FILE = "rates.json"  # in the store
SAMPLE = 3  # finished runs whose rate is read, of those that share one
STARTUP_SECONDS = 0.5  # of a run, where none was measured
# Where a speed comes from, from the best to the worst.
ORIGINS = ("finished", "measured", "pilot", "alike", "at most", "unknown")


@dataclass(frozen=True)
class Speed:
    """How long runs take."""

    per_second: float  # steps; 0: unknown
    startup: float  # seconds
    origin: str  # one of ORIGINS

    def hours(self, steps: int) -> float:
        """Of one run, at least; infinite where nothing is known of the speed."""
        return (self.startup + steps / self.per_second) / 3600 if self.per_second else float("inf")

    def most_hours(self, steps: int) -> float:
        """Of one run, which a budget can count on; infinite where only the least is known."""
        return float("inf") if self.origin == "at most" else self.hours(steps)


def finished_rates(runs: Iterable[PlannedRun], store: Path) -> dict[str, Rate]:
    """Rates of runs that are done, made on this machine. Args: runs: done ones of the store."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(signature(run.overrides), []).append(run)
    found = {}
    for name, members in groups.items():
        rates = [rate for run in members[-SAMPLE:] if (rate := _made_here(store / run.run_dir))]
        if rates:
            found[name] = Rate(statistics.median(rates))
    return found


def _made_here(run_dir: Path) -> float | None:
    hardware = read_manifest(run_dir).get("hardware") or {}
    if (hardware.get("cpu"), hardware.get("host")) != machine():
        return None
    rate = read_status(run_dir).get("rate")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


@dataclass
class Kept:
    """The rates that earlier plans measured on this machine with as many runs at once, in the store."""

    path: Path
    slots: Mapping[str, int]
    rates: dict[str, Rate] = field(default_factory=dict)
    tried: dict[str, float] = field(default_factory=dict)  # signature -> seconds that a measurement was given

    @property
    def _machine(self) -> str:
        return " | ".join([*machine(), *(f"{count} {device}" for device, count in sorted(self.slots.items()))])

    def read(self) -> "Kept":
        """What the file says; nothing where there is none, or none that can be read."""
        mine = self._content().get(self._machine)
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            self.tried = {name: float(seconds) for name, seconds in mine["tried"].items()} if mine else {}
            self.rates = {name: Rate(**rate) for name, rate in mine["rates"].items()} if mine else {}
        return self

    def write(self) -> None:
        """Keep them, where the store exists and may be written."""
        mine = {"tried": self.tried, "rates": {name: asdict(rate) for name, rate in self.rates.items()}}
        if self.path.parent.is_dir():
            with contextlib.suppress(OSError):
                write_atomically(self.path, json.dumps(self._content() | {self._machine: mine}, indent=1))

    def _content(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def pilot_rates(results: Path) -> dict[str, float]:
    """Steps per second by signature, of packed results: the median of the runs that share it."""
    found: dict[str, list[float]] = {}
    for folder in sorted(path.parent for path in results.glob("*/runs.csv")):
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError, TypeError):
            rates = _column(folder / "runs.csv", "rate")
            for item in json.loads((folder / "manifests.json").read_text())["fields"]["command"]:
                words = shlex.split(item["value"])
                name = signature(word for word in words if "=" in word)
                found.setdefault(name, []).extend(float(rates[i]) for i in _numbers(item["runs"]) if rates[i])
    return {name: statistics.median(rates) for name, rates in found.items() if rates}


def _column(path: Path, name: str) -> list[str]:
    with path.open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def _numbers(text: str) -> list[int]:
    """0, 1, 2, 5 of 0-2,5."""
    ends = [part.partition("-") for part in text.split(",") if part]
    return [n for first, dash, last in ends for n in range(int(first), int(last if dash else first) + 1)]


def _group(name: str) -> tuple[str, ...]:
    """What runs must share to be alike at all: algorithm, environments, learner, device."""
    words = dict(word.split("=", 1) for word in name.split(" "))
    return tuple(words.get(key, "") for key in ("algo", "env", "learner", "device"))


def _nearest(name: str, known: Mapping[str, float]) -> float | None:
    """The rate of the run of its group that differs in the fewest words, the slower of two; None without one."""
    words = set(name.split(" "))
    alike = [
        (len(words ^ set(other.split(" "))), rate) for other, rate in known.items() if _group(other) == _group(name)
    ]
    return min(alike)[1] if alike else None


def resolve(
    names: Iterable[str], finished: Mapping[str, Rate], measured: Mapping[str, Rate], pilot: Mapping[str, float]
) -> dict[str, Speed]:
    """A speed for every signature. What is known from both here and the pilot says how much faster this machine is.

    Args: finished, measured: rates here; pilot: steps per second elsewhere.
    """
    startups = [rate.startup for rate in measured.values() if rate.startup]
    startup = statistics.median(startups) if startups else STARTUP_SECONDS
    here = {name: rate.per_second for name, rate in {**measured, **finished}.items() if not rate.is_bound}
    ratios: dict[tuple[str, ...], list[float]] = {}
    for name in here.keys() & pilot.keys():
        for group in (_group(name), ()):
            ratios.setdefault(group, []).append(here[name] / pilot[name])
    scale = {group: statistics.median(found) for group, found in ratios.items()}
    scaled = {name: rate * scale.get(_group(name), scale.get((), 1.0)) for name, rate in pilot.items()}
    known = scaled | here

    def best(name: str) -> tuple[float, str]:
        if name in here:
            return here[name], "finished" if name in finished else "measured"
        if name in scaled:
            return scaled[name], "pilot"
        if near := _nearest(name, known):
            return near, "alike"
        return (measured[name].per_second, "at most") if name in measured else (0.0, "unknown")

    return {name: Speed(rate, startup, origin) for name in names for rate, origin in [best(name)]}


@dataclass(frozen=True)
class Speeds:
    """The speed of every planned run, and what a reader should know of the measurement."""

    of: Mapping[str, Speed]  # by signature
    crowded: float  # share of their time that measured runs waited for other work, at the median
    is_scaled: bool  # the pilot's rates were brought to this machine's speed

    def speed(self, run: PlannedRun) -> Speed:
        """Of a planned run, as the check says it whose run was asked about."""
        return self.of[signature(run.overrides)]

    def hours(self, run: PlannedRun) -> Callable[[int], float]:
        """What a budget counts for such a run, by its steps; infinite where it is another machine's to make."""
        return self.of.get(signature(run.overrides), Speed(0.0, 0.0, "unknown")).most_hours


def places(suite: SuiteConfig, devices: Iterable[str]) -> dict[str, int]:
    """Runs at once by device; none on a GPU that is not there."""
    jobs = suite.executor.array_parallelism if isinstance(suite.executor, SlurmConfig) else 1
    found = {"cpu": jobs * (suite.executor.slots or cores())}
    if "cuda" in devices:
        import torch  # here, because most plans need no GPU

        found["cuda"] = torch.cuda.device_count() * suite.executor.runs_per_gpu
    return found


def speeds(runs: Mapping[str, tuple[PlannedRun, str]], suite: SuiteConfig, slots: Mapping[str, int]) -> Speeds:
    """What is known of the speed of the runs that are not done, after measuring for `suite.measure_seconds` at most.

    Args: runs: by directory, each with its state.
    """
    store = Path(suite.store)
    todo: dict[str, list[PlannedRun]] = {}
    for run, state in runs.values():
        if state != "done":
            todo.setdefault(signature(run.overrides), []).append(run)
    finished = finished_rates((run for run, state in runs.values() if state == "done"), store)
    pilot = pilot_rates(Path(suite.pilot))
    kept = Kept(store / FILE, slots).read()
    before = resolve(todo, finished, kept.rates, pilot)
    wanted = [name for name in todo if name not in finished and kept.tried.get(name, 0.0) < suite.measure_seconds]
    order = _order({name: [run.steps for run in todo[name]] for name in wanted}, before)
    here = {
        "cpu": min(slots["cpu"], suite.executor.slots or cores()),  # not what a cluster makes at once
        "cuda": min(slots.get("cuda", 0), suite.executor.runs_per_gpu),  # all on the first GPU
    }
    if chosen := [todo[name][0] for name in order if here.get(todo[name][0].device)]:
        said = f"measuring the speed of {len(chosen)} kinds of runs, for {suite.measure_seconds:g} s at most"
        print(said, file=sys.stderr, flush=True)
        kept.rates |= measure(chosen, here, suite.measure_seconds)
        kept.tried |= {signature(run.overrides): suite.measure_seconds for run in chosen}
        kept.write()
    waits = [rate.crowded for name, rate in kept.rates.items() if name in todo]
    return Speeds(
        resolve({signature(run.overrides) for run, _ in runs.values()}, finished, kept.rates, pilot),
        statistics.median(waits) if waits else 0.0,
        bool(pilot.keys() & (kept.rates.keys() | finished.keys())),
    )


def _order(steps: Mapping[str, list[int]], prior: Mapping[str, Speed]) -> list[str]:
    """The most worth knowing first: one of each kind that nothing is known of, then the others of these; then of each
    kind the shortest run, which soonest says how fast this machine is; then by hours.

    Args: steps: of the runs of each signature.
    """
    total = {name: sum(each) for name, each in steps.items()}
    unknown = sorted((name for name in steps if not prior[name].per_second), key=lambda name: -total[name])
    known = [name for name in steps if prior[name].per_second]
    by_run = sorted(known, key=lambda name: steps[name][0] / prior[name].per_second)
    by_hours = sorted(known, key=lambda name: -total[name] / prior[name].per_second)
    return list(dict.fromkeys([*_one_of_each(unknown), *unknown, *_one_of_each(by_run), *by_hours]))


def _one_of_each(names: list[str]) -> list[str]:
    """The first of every group."""
    return list({_group(name): name for name in reversed(names)}.values())
