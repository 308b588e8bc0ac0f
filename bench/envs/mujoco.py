"""Gymnasium's MuJoCo tasks, with the numbers of the plain environment of the same seed.

Version 5 is the present one; version 4 on request, with another observation or reward in Ant, Humanoid and Walker2d.
Pusher-v4 needs a MuJoCo before 3.
"""

import sys
from functools import cache

import numpy as np

from bench.env_config import ContinuousConfig
from bench.envs.continuous import ContinuousVecEnv, no_rendering

BODIES = (
    "Ant",
    "HalfCheetah",
    "Hopper",
    "Humanoid",
    "HumanoidStandup",
    "InvertedDoublePendulum",
    "InvertedPendulum",
    "Pusher",
    "Reacher",
    "Swimmer",
    "Walker2d",
)
TASKS = tuple(sorted([f"{body}-v5" for body in BODIES] + [f"{body}-v4" for body in BODIES if body != "Pusher"]))


@cache
def _say(message: str) -> None:
    """Show a warning of MuJoCo once: by itself it would write all of them into a file of the working directory."""
    print(f"MuJoCo: {message}", file=sys.stderr)


class _Simulator:
    """One Gymnasium environment, with its time limit."""

    def __init__(self, task: str):
        with no_rendering():
            import gymnasium  # here, because plans name tasks without it
            import mujoco

            mujoco.set_mju_user_warning(_say)
            self.env = gymnasium.make(task, disable_env_checker=True)
            # MuJoCo answers a state out of all bounds by a silent reset to the initial one, and counts a warning.
            self._warnings = self.env.unwrapped.data.warning.number[mujoco.mjtWarning.mjWARN_BADQPOS :]

    @property
    def random(self) -> np.random.Generator:
        generator: np.random.Generator = self.env.unwrapped.np_random
        return generator

    def reset(self, seed: int | None) -> np.ndarray:
        obs: np.ndarray = self.env.reset(seed=seed)[0]
        return obs

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        obs, reward, terminated, truncated, _ = self.env.step(action)
        if np.count_nonzero(self._warnings):
            raise FloatingPointError("the simulation is unstable, MuJoCo has put it back to its initial state")
        return obs, float(reward), terminated, truncated

    def close(self) -> None:
        self.env.close()


def task_names() -> list[str]:
    """Names that `make` knows, sorted."""
    return list(TASKS)


def make(config: ContinuousConfig, threads: int) -> ContinuousVecEnv:
    """Build the environments of a configuration.

    Args:
        config: task, num_envs, reward scheme.
        threads: not used, the simulators run in this thread.
    """
    simulators = [_Simulator(config.task) for _ in range(config.num_envs)]
    env = simulators[0].env
    box = env.action_space
    return ContinuousVecEnv(config, simulators, int(np.prod(env.observation_space.shape)), box.low, box.high)
