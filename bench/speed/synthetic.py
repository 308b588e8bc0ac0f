"""Stores of finished runs that nobody made: files as `bench.record` leaves them, with random numbers in them."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench.composed import run_container
from bench.identity import provenance
from bench.machine import cpu, machine
from bench.metrics import EPISODES, METRICS
from bench.plan import Plan, PlannedRun

STEPS_PER_SECOND = 500.0  # that they say they made
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def fill(store: Path, plans: Iterable[Plan], games: int = 20, rows: int = 10) -> int:
    """Make every run of the plans, as if it were done, and their plan files. Returns how many.

    Args:
        games: of each run that plays at all, of equal numbers of steps on average.
        rows: of metrics.csv.
    """
    made: set[str] = set()
    for plan in plans:
        for run in plan.runs:
            if run.run_dir not in made:
                _run(store / run.run_dir, run, games, rows)
                made.add(run.run_dir)
        plan.freeze()
    return len(made)


def _run(folder: Path, run: PlannedRun, games: int, rows: int) -> None:
    container = _container(run)
    rng = np.random.default_rng(int(run.hash[:16], 16))
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "config.yaml").write_text(yaml.dump(container, Dumper=_DUMPER, sort_keys=True))
    (folder / "manifest.json").write_text(json.dumps(_manifest(run, container), indent=2))
    (folder / "episodes.csv").write_text(_episodes(rng, run, container, games))
    (folder / "metrics.csv").write_text(_metrics(rng, run, rows))
    wall = run.steps / STEPS_PER_SECOND
    status = {"state": "done", "step": run.steps, "steps": run.steps, "wall_s": wall, "rate": STEPS_PER_SECOND}
    status |= {"params_sha256": run.hash[::-1], "pid": 1, "host": machine()[1], "updated": time.time()}
    (folder / "status.json").write_text(json.dumps(status))


def _container(run: PlannedRun) -> dict[str, Any]:
    at_seed = [word for word in run.overrides if not word.startswith("seed=")]
    return run_container(at_seed) | {"seed": run.seed}


def _manifest(run: PlannedRun, container: dict[str, Any]) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        "hash": run.hash,
        **provenance(container),
        "commit": None,
        "dirty_sha256": None,
        "versions": {},
        "rom_sha256": None,
        "hardware": {"cpu": cpu(), "host": machine()[1]},
        "threads": run.threads,
        "determinism": "none: a run that nobody made",
        "command": " ".join(["python", "-m", "bench", *run.overrides]),
        "started": now,
        "attempts": [{"started": now, "host": machine()[1], "from_step": 0}],
        "finished": now,
    }


def _episodes(rng: np.random.Generator, run: PlannedRun, container: dict[str, Any], games: int) -> str:
    lines = [",".join(EPISODES)]
    if container["env"]["suite"] != "exact" and run.steps >= 4 * games:
        whole = run.steps // games
        lengths = rng.integers(whole // 2, whole, games)
        returns = 10 * rng.integers(0, 3, games) * (-1 if run.task == "Skiing" else 1)  # what every game can give
        for i, (length, score) in enumerate(zip(lengths, returns, strict=True)):
            lines.append(f"{(i + 1) * whole},{float(score)},{length},0,0,0")
    return "\n".join(lines) + "\n"


def _metrics(rng: np.random.Generator, run: PlannedRun, rows: int) -> str:
    rows = min(rows, run.steps)
    steps = np.arange(1, rows + 1) * (run.steps // rows)
    values = rng.random((rows, len(METRICS)))
    lines = [",".join(METRICS)]
    for step, numbers in zip(steps, values, strict=True):
        row = dict(zip(METRICS, map("{:.6g}".format, numbers), strict=True))
        row |= {"step": str(step), "wall_s": f"{step / STEPS_PER_SECOND:.3f}"}
        row |= dict.fromkeys(("version", "updates", "trained"), str(step))
        lines.append(",".join(row.values()))
    return "\n".join(lines) + "\n"
