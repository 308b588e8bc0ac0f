"""Gymnasium's classic control tasks with discrete actions, through its synchronous vector environment.

It restarts an ended copy in the same step (SAME_STEP), so that every step is a transition: the default mode
spends a step on each restart, in which the action is ignored.
"""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bench.env_config import EnvConfig
from bench.envs.base import Step, check_actions
from bench.errors import UserError

TASKS = ("Acrobot-v1", "CartPole-v1", "MountainCar-v0")
CONTINUOUS = ("MountainCarContinuous-v0", "Pendulum-v1")


class ClassicVecEnv:
    """B copies of one task, one after another in this process: they are too cheap for anything else."""

    def __init__(self, task: str, num_envs: int) -> None:
        """Build the simulators; `reset` seeds and starts them.

        Args:
            task: a Gymnasium name with discrete actions.
            num_envs: B, at least 1.
        Raises:
            UserError: num_envs below 1.
        """
        if num_envs < 1:
            raise UserError(f"env.num_envs is {num_envs}, expected at least 1")
        self.task = task
        self.num_envs = num_envs
        one = partial(gymnasium.make, task, disable_env_checker=True)
        self._envs: SyncVectorEnv[Any] = SyncVectorEnv([one] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
        space, actions = self._envs.single_observation_space, self._envs.single_action_space
        assert isinstance(actions, Discrete)
        assert actions.start == 0
        self.obs_shape: tuple[int, ...] = space.shape
        self.obs_dtype: np.dtype = np.dtype(np.float32)
        self.num_actions = int(actions.n)
        self.action_range: tuple[np.ndarray, np.ndarray] | None = None

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all copies. Args: seeds: `[B]` integers in [0, 2**31). Returns `[B, *obs_shape]`."""
        # Python integers in a list: Gymnasium refuses NumPy's, and would spread one integer over seed + i.
        obs, _ = self._envs.reset(seed=[int(seed) for seed in seeds])
        return self._finite(obs).astype(np.float32)

    def step(self, actions: np.ndarray) -> Step:
        """Take one action per copy. Args: actions: `[B]` integers in [0, num_actions)."""
        actions = check_actions(actions, self.num_envs, self.num_actions)
        obs, reward, terminated, cut, info = self._envs.step(actions)
        game_over = terminated | cut
        # The limit may fall on the very step that ends the episode by its own rules: then nothing was cut.
        truncated = cut & ~terminated
        final_obs = obs.copy()
        for i in np.flatnonzero(game_over):
            final_obs[i] = info["final_obs"][i]
        self._finite(final_obs)
        self._finite(reward)
        return Step(
            obs=self._finite(obs).astype(np.float32),
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            final_obs=final_obs.astype(np.float32),
            acted=np.ones(self.num_envs, dtype=bool),
            raw_reward=reward.astype(np.float64),
            game_over=game_over,
            game_cut=truncated.copy(),
        )

    def close(self) -> None:
        """Release the simulators."""
        self._envs.close()

    def _finite(self, x: np.ndarray) -> np.ndarray:
        bad = np.flatnonzero(~np.isfinite(x).reshape(self.num_envs, -1).all(1))
        if bad.size:
            raise RuntimeError(f"{self.task} returned a number that is not finite, in copies {bad.tolist()}")
        return x


def task_names() -> list[str]:
    """Names that `make` knows, sorted."""
    return list(TASKS)


def make(cfg: EnvConfig, threads: int) -> ClassicVecEnv:
    """Build the environments of a configuration.

    Args:
        cfg: task, num_envs.
        threads: not used, the simulators run in this thread.
    Raises:
        UserError: an unknown task, one with continuous actions, or num_envs below 1.
    """
    if cfg.task in CONTINUOUS:
        raise UserError(f"env.task is {cfg.task!r}, which has continuous actions; expected one of {', '.join(TASKS)}")
    if cfg.task not in TASKS:
        raise UserError(f"env.task is {cfg.task!r}, expected one of {', '.join(TASKS)}")
    return ClassicVecEnv(cfg.task, cfg.num_envs)
