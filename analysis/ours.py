"""Our runs over several checks, each once, by the setting that they share: what is set beside published numbers."""

import json
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import archive
from analysis.compare import ArmRuns
from analysis.load import Store, by_run, load_store, run_records
from analysis.plan import Arm, Plan, archive_folder, is_archive, read_plan
from analysis.protocol import Config, scientific

SUITES = ("atari", "mujoco")  # of the tasks that anything is published of
# Algorithms under the names of the published tables; `on_policy` goes by its learner.
ALGORITHMS = {"ppo": "PPO", "a2c": "A2C", "trpo": "TRPO", "impala": "IMPALA", "sac": "SAC"}


@dataclass(frozen=True)
class OurRun:
    """One planned run."""

    run_dir: str
    seed: int
    state: str
    fingerprint: str  # of its last parameters; blank where it has none
    config: Config
    games: pd.DataFrame | None  # step, return of full games, raw; None where it is not done or finished none
    evaluations: pd.DataFrame | None  # step, eval_return; None where it is not done or has none


@dataclass
class Setting:
    """The runs of one configuration on one task, whichever checks planned them."""

    task: str
    suite: str
    steps: int  # planned agent steps of each run
    plan: Plan  # the first that has it
    arm: Arm  # its arm there
    runs: list[OurRun] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """Of the first run that has one; empty where nothing was run."""
        return next((run.config for run in self.runs if run.config), {})

    @property
    def algorithm(self) -> str | None:
        """What it trains, under the name of the published tables; None for what nobody published."""
        algo = self.config.get("algo") or {}
        name = algo.get("name")
        if name == "on_policy":
            name = (algo.get("learner") or {}).get("name")
        if name == "dapo" and algo.get("inv_eta") == 0:
            name = "ppo"
        return ALGORITHMS.get(str(name))

    @property
    def frames_per_step(self) -> int | None:
        """Frames of an agent step; None where a task has no frames."""
        protocol = (self.config.get("env") or {}).get("protocol") or {}
        return protocol.get("frame_skip")

    def add(self, run: OurRun) -> None:
        """Take in a run, unless it is there: the same directory, the same seed, or the same parameters at the end."""
        for i, known in enumerate(self.runs):
            same = run.fingerprint and run.fingerprint == known.fingerprint
            if run.run_dir == known.run_dir or run.seed == known.seed or same:
                if run.state == "done" and known.state != "done":
                    self.runs[i] = run
                return
        self.runs.append(run)

    def numbers(self, phase: str, statistic: str, end: float) -> np.ndarray:
        """One number per planned run, NaN where it has none. Args: as of `run_number`. Returns `[planned]`."""
        return np.array([run_number(run, phase, statistic, end) for run in self.runs])

    def short_of(self, phase: str, statistic: str, end: float) -> str:
        """How many runs have fewer games or evaluations than the statistic is made of; empty for none."""
        asked = re.fullmatch(r"last (\d+) (games|evaluations)", statistic)
        if asked is None:
            return ""
        tables = [run.games if phase == "training" else run.evaluations for run in self.runs]
        counts = [0 if table is None else int((table["step"] <= end).sum()) for table in tables]
        short = sum(0 < count < int(asked[1]) for count in counts)
        return f"{short} of {len(self.runs)} runs have fewer than {asked[1]} {asked[2]}." if short else ""

    def arm_runs(self, pool: "list[Setting]") -> ArmRuns:
        """For a comparison with a curve. Args: pool: every setting on the task."""
        configs = [run.config for run in self.runs if run.config]
        games = [run.games for run in self.runs]
        return ArmRuns(self.task, self.arm, games, configs, [run.games for other in pool for run in other.runs])


RULES = {
    "training": (r"last (\d+) games", r"last (\d+) % of steps", r"last (\d+) steps"),
    "evaluation": (r"last (\d+) evaluations", r"last evaluation", r"best evaluation"),
}
OWN = {"training": "last 10 % of steps", "evaluation": "last fifth of evaluations"}  # where theirs cannot be followed


def rule_for(phase: str | None, statistic: str | None, config: Config) -> tuple[str, str]:
    """(phase, statistic) that our number is made by: theirs where our runs allow it, else our own.

    Args: phase, statistic: theirs, None where they do not state it; config: of our run, which says whether it was
    evaluated.
    """
    evaluated = "evaluation" in (config.get("env") or {})
    if phase == "training" or (phase == "evaluation" and evaluated):
        if any(re.fullmatch(rule, statistic or "") for rule in RULES[phase]):
            return phase, str(statistic)
        return phase, OWN[phase]
    own = "evaluation" if evaluated else "training"
    return own, OWN[own]


def run_number(run: OurRun, phase: str, statistic: str, end: float) -> float:
    """The number of a run at `end`, raw return; NaN where it has none.

    Args: phase, statistic: as from `rule_for`; end: agent steps.
    """
    table, column = (run.games, "return") if phase == "training" else (run.evaluations, "eval_return")
    if table is None:
        return math.nan
    part = table[table["step"] <= end]
    steps, values = part["step"].to_numpy(float), part[column].to_numpy(float)
    if len(values) == 0:
        return math.nan
    if statistic == OWN["evaluation"]:
        return float(values[-max(2, math.ceil(len(values) / 5)) :].mean())
    if statistic == "best evaluation":
        return float(values.max())
    if statistic == "last evaluation":
        return float(values[-1])
    count, unit = re.fullmatch(r"last (\d+) (.*)", statistic).groups()  # type: ignore[union-attr]
    if unit in ("games", "evaluations"):
        return float(values[-int(count) :].mean())
    width = int(count) if unit == "steps" else int(count) / 100 * end
    inside = values[steps > end - width]
    return float(inside.mean()) if len(inside) else math.nan


def _read(root: Path, check: str, scale: str) -> tuple[Plan, Store] | None:
    """The planned runs of a check on tasks of SUITES; None where it plans none."""
    plan = read_plan(root, check, scale)
    tasks = {name for name, task in plan.tasks.items() if task.env in SUITES}
    if not tasks:
        return None
    if is_archive(root):
        folder = archive_folder(root, check, scale)
        store = archive.read_store(folder, plan, archive.read_runs(folder, plan))
        runs, episodes, metrics = (x[x["task"].isin(tasks)] for x in (store.runs, store.episodes, store.metrics))
        return plan, Store(runs, episodes, metrics, store.configs, store.manifests)
    return plan, load_store(root, replace(plan, runs=tuple(run for run in plan.runs if run.task in tasks)))


def _runs_of(store: Store) -> list[tuple[str, str, int, OurRun]]:
    """(arm, task, planned steps, run) of every planned run, in the order of the plan."""
    games, metrics, found = by_run(store.episodes), by_run(store.metrics), []
    for key, row in run_records(store.runs):
        played, rows = games.get(key), metrics.get(key)
        if rows is not None:
            rows = rows.dropna(subset=["eval_return"]) if "eval_return" in rows else None
        if row["state"] != "done":
            played = rows = None
        run = OurRun(
            run_dir=str(row["run_dir"]),
            seed=key[2],
            state=str(row["state"]),
            fingerprint="" if pd.isna(row["params_sha256"]) else str(row["params_sha256"]),
            config=store.configs.get(key, {}),
            games=played,
            evaluations=rows if rows is not None and len(rows) else None,
        )
        found.append((key[0], key[1], int(row["steps"]), run))
    return found


def gather(root: Path, pairs: list[tuple[str, str]]) -> list[Setting]:
    """Every planned run on a game or on a MuJoCo task, once, in settings of equal configuration and length.

    A run that was not started belongs to the setting of its arm. Args: root: a store or packed results; pairs: check
    and scale.
    """
    settings: dict[tuple[Any, ...], Setting] = {}
    for check, scale in pairs:
        read = _read(root, check, scale)
        if read is None:
            continue
        plan, store = read
        runs = _runs_of(store)
        known = {(arm, task): run.config for arm, task, _, run in reversed(runs) if run.config}
        for arm, task, steps, run in runs:
            config = known.get((arm, task))
            told = json.dumps(scientific(config), sort_keys=True) if config else (check, scale, arm)
            key = (task, plan.arms[arm].reported, steps, told, plan.scientific)
            if key not in settings:
                settings[key] = Setting(task, plan.tasks[task].env, steps, plan, plan.arms[arm])
            settings[key].add(run)
    return list(settings.values())
