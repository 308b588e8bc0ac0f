"""Environments of continuous control as the tests build and play them."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from bench import envs
from bench.envs.base import Step
from bench.envs.continuous import ContinuousVecEnv

SEEDS = np.array([7, 123456789, 2**31 - 1], dtype=np.int64)


def build(suite: str, task: str, num_envs: int = 3, **changes: Any) -> ContinuousVecEnv:
    setting = {"reward": "dense", "reward_delay": 20, "reward_quantum": 1.0, **changes}
    env = envs.make(SimpleNamespace(suite=suite, task=task, num_envs=num_envs, **setting), threads=1)
    assert isinstance(env, ContinuousVecEnv)
    return env


def actions_for(env: ContinuousVecEnv, steps: int) -> np.ndarray:
    """A fixed sequence of actions within the range, `[steps, d]`."""
    low, high = env.action_range
    return np.random.default_rng(0).uniform(low, high, (steps, env.num_actions)).astype(np.float32)


def play(env: ContinuousVecEnv, seeds: np.ndarray, steps: int) -> tuple[np.ndarray, list[Step]]:
    """The first observation, and the steps of that sequence, the same in all copies."""
    return env.reset(seeds), [env.step(np.tile(a, (env.num_envs, 1))) for a in actions_for(env, steps)]


def zeros(env: ContinuousVecEnv) -> np.ndarray:
    return np.zeros((env.num_envs, env.num_actions), dtype=np.float32)


def require_contract(env: ContinuousVecEnv) -> None:
    """Types and shapes of what an environment gives."""
    batch = (env.num_envs, *env.obs_shape)
    low, high = env.action_range
    assert (low.shape, low.dtype, high.shape, high.dtype) == ((env.num_actions,), np.float32) * 2
    assert np.isfinite([low, high]).all()
    assert (low < high).all()
    obs = env.reset(np.arange(env.num_envs))
    step = env.step((low + (high - low) / 2 * np.ones((env.num_envs, 1))).astype(np.float32))
    assert all((x.shape, x.dtype) == (batch, np.float32) for x in (obs, step.obs, step.final_obs))
    assert (step.reward.dtype, step.raw_reward.dtype) == (np.float32, np.float64)
    flags = step[2:4] + step[5:6] + step[7:9]
    assert all((flag.shape, flag.dtype) == ((env.num_envs,), bool) for flag in flags)
    assert step.acted.all()
