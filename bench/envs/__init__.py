"""The suites of environments by name; a suite's module is imported when it is first asked for."""

import difflib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from bench.envs.base import VecEnv
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.env_config import EnvConfig

# Each module offers make(config, threads) -> VecEnv and task_names() -> list of valid tasks.
SUITES = {
    "atari": "bench.envs.atari",
    "classic": "bench.envs.classic",
    "dmc": "bench.envs.dmc",
    "mujoco": "bench.envs.mujoco",
    "tabular": "bench.envs.tabular",
}


def _suite(name: str) -> ModuleType:
    if name not in SUITES:
        raise UserError(f"env.suite is {name!r}; allowed: {', '.join(sorted(SUITES))}")
    return importlib.import_module(SUITES[name])


def make(config: "EnvConfig", threads: int) -> VecEnv:
    """Build the environments of a run; they start at their first `reset`."""
    env: VecEnv = _suite(config.suite).make(config, threads)
    return env


def check_task(suite: str, task: str) -> None:
    """Refuse a task that the suite does not have, naming the nearest that it has."""
    names = _suite(suite).task_names()
    if task in names:
        return
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(task.casefold(), folded, n=1, cutoff=0.0)
    raise UserError(
        f"env.task is {task!r}, which env={suite} does not have; the nearest is "
        f"{folded[near[0]]!r} ({len(names)} tasks in all)"
    )
