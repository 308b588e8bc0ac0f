"""Studies with known numbers for the figures: built in memory, so that a figure's test needs no run directories."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import AGENT_STEPS, Store
from analysis.plan import Arm, Plan, PlannedRun, Task
from analysis.scores import METRICS
from analysis.study import Study

Cell = tuple[str, str, int]


def make_study(
    root: Path,
    arms: list[str] | dict[str, str],
    tasks: dict[str, str],
    seeds: int,
    numbers: Callable[[Cell], dict[str, float]] = lambda _: {},
    *,
    algo: Callable[[str], dict[str, Any]] = lambda _: {},
    rows: Callable[[Cell], pd.DataFrame | None] = lambda _: None,
    missing: tuple[Cell, ...] = (),
    tuning_seeds: int = 0,
    name: str = "multi_step",
) -> Study:
    """A study of arms x tasks x seeds.

    Args: tasks: task -> preset; numbers: metrics of a run; algo: an arm's configuration; rows: a run's metrics.csv;
    missing: runs that left nothing.
    """
    labels = arms if isinstance(arms, dict) else {arm: arm for arm in arms}
    cells = [(arm, task, seed) for arm in labels for task in tasks for seed in range(seeds)]
    planned = [
        PlannedRun(arm=a, task=t, seed=s, steps=1000, hash=f"{a}{t}{s}", run_dir=f"runs/{a}-{t}-s{s}")
        for a, t, s in cells
    ]
    plan = Plan(
        name=name,
        question="Is it?",
        source="here",
        scale="cpu",
        scientific=True,
        arms={arm: Arm(name=arm, label=label, reported=None, overrides=()) for arm, label in labels.items()},
        tasks={task: Task(tag="", env=env) for task, env in tasks.items()},
        claims=(),
        reference=None,
        runs=tuple(planned),
        reference_config={},
        tuning_seeds=tuning_seeds,
    )
    runs = pd.DataFrame([vars_of(run) | {"state": "missing" if key_of(run) in missing else "done"} for run in planned])
    runs = runs.assign(error="", step=1000, wall_s=1.0, rate=1.0, cut_games=0, clock=AGENT_STEPS)
    scored = runs.assign(end=1000, games=1, score_rule="window", auc_from=0.0, **dict.fromkeys(METRICS, math.nan))
    frames, configs = [], {}
    for i, cell in enumerate(cells):
        if cell in missing:
            continue
        for metric, value in numbers(cell).items():
            scored.loc[i, metric] = value
        env = {"suite": "atari" if tasks[cell[1]] == "atari" else "classic", "task": cell[1], "num_envs": 1}
        if tasks[cell[1]] in ("tabular", "exact"):
            env |= {"suite": "tabular", "max_steps": 100}
        configs[cell] = {"algo": {"name": cell[0]} | algo(cell[0]), "env": env, "seed": cell[2], "steps": 1000}
        part = rows(cell)
        if part is not None:
            frames.append(part.assign(arm=cell[0], task=cell[1], seed=cell[2]))
    metrics = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["arm", "task", "seed", "step"])
    episodes = pd.DataFrame(columns=["arm", "task", "seed", "step", "return"])
    return Study(root, plan, Store(runs, episodes, metrics, configs, {}), {}, scored, [], [])


def vars_of(run: PlannedRun) -> dict[str, Any]:
    """A planned run as a row."""
    return {name: getattr(run, name) for name in ("arm", "task", "seed", "steps", "hash", "run_dir")}


def key_of(run: PlannedRun) -> Cell:
    """Arm, task, seed."""
    return run.arm, run.task, run.seed


def noise(cell: Cell, sd: float = 1.0) -> float:
    """A number that depends on the run alone."""
    return float(np.random.default_rng(sum(map(ord, f"{cell}")) * 1000 + cell[2]).normal(0, sd))
