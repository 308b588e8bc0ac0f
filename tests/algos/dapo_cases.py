"""Small runs of the shipped class, and a scripted environment."""

import numpy as np

from bench import compose, envs, seeding
from bench.algos.dapo import Dapo
from bench.config import RunConfig
from bench.envs.base import Step
from bench.loop import interact

SMALL = [
    "env=classic",
    "env.num_envs=4",
    "algo.batch_size=32",
    "algo.rollout_length=8",
    "algo.updates_per_version=7",
    "algo.burn_in=0",
    "algo.replay_capacity=64",
]  # 8 steps per actor and version: 32 generated, 224 trained


def configured(*overrides: str, steps: int = 320) -> RunConfig:
    return compose.to_run_config(compose.compose([*SMALL, f"steps={steps}", *overrides]))


def trained(config: RunConfig, agent_class: type[Dapo] = Dapo) -> tuple[Dapo, list[dict[str, float]]]:
    env = envs.make(config.env, 1)
    agent = agent_class(config, env)
    seeds = seeding.env_seeds(config.seed, env.num_envs)
    rows = [event.metrics for event in interact(env, agent, seeds, config.steps) if event.metrics]
    env.close()
    return agent, rows


class Scripted:
    """Observations and rewards are given; the last step of every `period` ends an episode."""

    obs_dtype = np.dtype(np.float32)
    num_actions = 2

    def __init__(
        self,
        num_envs: int,
        period: int,
        *,
        truncates: bool,
        reward: float = 1.0,
        forced: int = 0,
        forced_reward: float = 0.0,
    ):
        self.num_envs, self.obs_shape = num_envs, (1,)
        self.period, self.truncates, self.reward = period, truncates, reward
        self.forced, self.forced_reward = forced, forced_reward

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        self.t = 0
        return np.ones((self.num_envs, 1), np.float32)

    def step(self, actions: np.ndarray) -> Step:
        n = self.num_envs
        acted = self.t % self.period >= self.forced
        self.t += 1
        end = np.full(n, self.t % self.period == 0)
        obs = np.ones((n, 1), np.float32)
        reward = np.full(n, self.reward if acted else self.forced_reward, np.float32)
        no = np.zeros(n, bool)
        return Step(
            obs,
            reward,
            no if self.truncates else end,
            end if self.truncates else no,
            obs,
            np.full(n, acted),
            reward.astype(np.float64),
            end,
            end,
        )

    def close(self) -> None:
        pass


def train_scripted(env: Scripted, config: RunConfig, agent_class: type[Dapo] = Dapo) -> Dapo:
    agent = agent_class(config, env)
    for _ in interact(env, agent, np.arange(env.num_envs), config.steps):
        pass
    return agent
