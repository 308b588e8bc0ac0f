"""The tasks of DeepMind's control suite (dm_control), named domain-task.

Source: Tassa et al. 2018. Observations are laid end to end in the order of the task's own specification. All tasks
but two kinds: `lqr` draws its model anew for every seed and has no range of actions, `quadruped-escape` draws its
terrain with a renderer.
"""

from types import ModuleType
from typing import Any

import numpy as np

from bench.env_config import ContinuousConfig
from bench.envs.continuous import ContinuousVecEnv, no_rendering
from bench.errors import UserError

# Written out, because plans name tasks without the second that an import takes.
TASKS = {
    "acrobot": "swingup swingup_sparse",
    "ball_in_cup": "catch",
    "cartpole": "balance balance_sparse swingup swingup_sparse three_poles two_poles",
    "cheetah": "run",
    "dog": "fetch run stand trot walk",
    "finger": "spin turn_easy turn_hard",
    "fish": "swim upright",
    "hopper": "hop stand",
    "humanoid": "run run_pure_state stand walk",
    "humanoid_CMU": "run stand walk",
    "manipulator": "bring_ball bring_peg insert_ball insert_peg",
    "pendulum": "swingup",
    "point_mass": "easy hard",
    "quadruped": "fetch run walk",
    "reacher": "easy hard",
    "stacker": "stack_2 stack_4",
    "swimmer": "swimmer15 swimmer6",
    "walker": "run stand walk",
}


class _Simulator:
    """One environment of the suite."""

    def __init__(self, suite: ModuleType, errors: type[Exception], task: str):
        domain, _, name = task.partition("-")
        self.env: Any = suite.load(domain, name)
        self._errors = errors
        self._names = list(self.env.observation_spec())

    @property
    def random(self) -> np.random.RandomState:
        generator: np.random.RandomState = self.env.task.random
        return generator

    def reset(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self.random.seed(seed)
        return self._flat(self.env.reset().observation)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        try:
            found = self.env.step(action)
        except self._errors as error:
            raise FloatingPointError(f"the simulation is unstable, {str(error).splitlines()[0]}") from None
        # A discount of 0 says that nothing follows; a last step with another one was the time limit's.
        ends = found.last() and found.discount == 0
        return self._flat(found.observation), float(found.reward), ends, found.last() and not ends

    def close(self) -> None:
        self.env.close()

    def _flat(self, observation: dict[str, Any]) -> np.ndarray:
        return np.concatenate([np.ravel(observation[name]) for name in self._names])


def task_names() -> list[str]:
    """Names that `make` knows, sorted."""
    return sorted(f"{domain}-{name}" for domain, names in TASKS.items() for name in names.split())


def make(config: ContinuousConfig, threads: int) -> ContinuousVecEnv:
    """Build the environments of a configuration.

    Args:
        config: task, num_envs, reward scheme.
        threads: not used, the simulators run in this thread.
    Raises:
        UserError: dm_control is not installed.
    """
    try:
        with no_rendering():
            from dm_control import suite
            from dm_control.rl.control import PhysicsError
    except ModuleNotFoundError as error:
        if error.name != "dm_control":
            raise
        raise UserError("env=dmc needs dm_control, which is not installed: pip install -e '.[dmc]'") from None
    simulators = [_Simulator(suite, PhysicsError, config.task) for _ in range(config.num_envs)]
    env = simulators[0].env
    size = sum(int(np.prod(spec.shape)) for spec in env.observation_spec().values())
    actions = env.action_spec()
    return ContinuousVecEnv(config, simulators, size, actions.minimum, actions.maximum)
