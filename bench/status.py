"""What `status` says of planned runs: how each stands, and how long the rest will take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench import checkpoint
from bench.plan import PlannedRun
from bench.record import read_status
from bench.slots import cores
from bench.store import Index

Runs = Mapping[str, tuple[PlannedRun, str]]  # run directory -> run and its state
Cell = tuple[str, str]  # arm and task


class Seen(NamedTuple):
    """A planned run as it stands."""

    run: PlannedRun
    state: str
    status: dict[str, Any]  # content of its status.json
    reached: int  # steps that need not be made again

    @property
    def left(self) -> int:
        """Steps still to be made."""
        return max(self.run.steps - self.reached, 0)

    @property
    def rate(self) -> float:
        """Steps per second that it makes or made; 0 where it has not said."""
        if self.state == "done":
            return float(self.status.get("rate") or 0)
        seconds = float(self.status.get("wall_s") or 0)
        return self.reached / seconds if seconds > 0 else 0.0


def status_lines(runs: Runs, store: Path) -> list[str]:
    """A line per run: state, arm, task, seed, directory, and what there is to know about it."""
    index = Index(store)
    return [
        f"{seen.state:12} {seen.run.arm:14} {seen.run.task:20} seed {seen.run.seed}  {seen.run.run_dir}  "
        f"{_detail(seen, index)}".rstrip()
        for seen in _look(runs, store)
    ]


def time_left(runs: Runs, store: Path, slots: int | None = None) -> str:
    """Steps and time until all runs are done, at the mean rate of the finished ones of the same arm and task.

    An arm and task of which none is finished goes at the mean of the others. As long as none at all is finished, the
    rates of the running ones are taken.

    Args:
        slots: runs at once; None is one per core of this machine.
    """
    seen = _look(runs, store)
    left = [one for one in seen if one.state != "done"]
    if not left:
        return "nothing left to run"
    steps = sum(one.left for one in left)
    measured = next((found for state in ("done", "running") if (found := _measured(seen, state))), [])
    if not measured:
        return f"{steps:,} steps left; the time they take is measured when the first run is done"
    rates = _rates(measured)
    mean = sum(rates.values()) / len(rates)
    hours = [one.left / rates.get(_cell(one), mean) / 3600 for one in left]
    at_once = min(slots or cores(), len(left))
    wall = max(max(hours), sum(hours) / at_once)
    kind = "finished" if measured[0].state == "done" else "running"
    return (
        f"{steps:,} steps left, about {sum(hours):.2g} core hours at the {len(measured):,} {kind} runs' rates: "
        f"{_span(wall)} with {at_once} at once"
    )


def _look(runs: Runs, store: Path) -> list[Seen]:
    found = []
    for run, state in runs.values():
        path = store / run.run_dir
        status = {} if state in ("missing", "stale") else read_status(path)
        found.append(Seen(run, state, status, _reached(path, state, status)))
    return found


def _reached(run_dir: Path, state: str, status: dict[str, Any]) -> int:
    if state in ("done", "running"):
        return int(status.get("step") or 0)
    saved = checkpoint.found(run_dir) if state in ("failed", "interrupted") else []
    return checkpoint.step_of(saved[0]) if saved else 0


def _detail(seen: Seen, index: Index) -> str:
    if seen.state == "running":
        left = f", {_span(seen.left / seen.rate / 3600)} left" if seen.rate else ""
        return f"step {seen.reached:,} of {seen.run.steps:,} on {seen.status.get('host', 'this host')}{left}"
    if seen.state == "stale":
        there = index.stale(seen.run)
        return f"{there} was {index.differs(there)}" if there else ""
    if seen.state not in ("failed", "interrupted"):
        return ""
    again = f"goes on from step {seen.reached:,}" if seen.reached else "begins again"
    error = str(seen.status.get("error") or "").partition("\n")[0]
    return f"{error}; {again}" if seen.state == "failed" and error else again


def _measured(seen: list[Seen], state: str) -> list[Seen]:
    return [one for one in seen if one.state == state and one.rate > 0]


def _cell(seen: Seen) -> Cell:
    return seen.run.arm, seen.run.task


def _rates(measured: list[Seen]) -> dict[Cell, float]:
    """Mean steps per second by arm and task."""
    by_cell: dict[Cell, list[float]] = {}
    for one in measured:
        by_cell.setdefault(_cell(one), []).append(one.rate)
    return {cell: sum(rates) / len(rates) for cell, rates in by_cell.items()}


def _span(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
