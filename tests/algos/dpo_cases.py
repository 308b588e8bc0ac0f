"""Small runs of DPO and its baselines, and a scripted environment with continuous actions."""

from typing import Any

import numpy as np
import torch

from bench import algos, compose, envs, seeding
from bench.config import RunConfig
from bench.envs.base import Step
from bench.loop import interact

PENDULUM = ["env=mujoco", "env.task=InvertedPendulum-v5", "env.evaluation.every=0", "logger=none"]
SMALL = {
    "on_policy": ["algo.hidden=[16]", "algo.learner.steps=32"],
    "dpo": [
        "algo.hidden=[16]",
        "algo.learner.steps=32",
        "algo.learner.baseline_updates=2",
        "algo.batch_size=8",
        "algo.baseline_samples=4",
        "algo.critic_samples=3",
    ],
    "sac": ["algo.hidden=[16]", "algo.batch_size=8", "algo.random_steps=16", "algo.report_every=32"],
}
LEARNERS = {
    "a2c": ["learner=a2c"],
    "ppo": ["learner=ppo", "algo.learner.epochs=2", "algo.learner.minibatches=2"],
    "trpo": ["learner=trpo", "algo.learner.value_updates=2", "algo.learner.value_batch=8"],
}
RAW = ["algo.normalise.observations=false", "algo.normalise.rewards=false"]


def overrides_of(algo: str, *overrides: str, learner: str = "ppo", steps: int = 96) -> list[str]:
    chosen = [] if algo == "sac" else LEARNERS[learner]
    return [*PENDULUM, f"algo={algo}", *chosen, *SMALL[algo], f"steps={steps}", *overrides]


def configured(algo: str, *overrides: str, learner: str = "ppo", steps: int = 96) -> RunConfig:
    return compose.to_run_config(compose.compose(overrides_of(algo, *overrides, learner=learner, steps=steps)))


def play(agent: Any, env: Any, steps: int, seed: int = 0) -> list[dict[str, float]]:
    seeds = seeding.env_seeds(seed, env.num_envs)
    return [event.metrics for event in interact(env, agent, seeds, steps) if event.metrics]


def trained(config: RunConfig) -> tuple[Any, list[dict[str, float]]]:
    """An agent after its whole run on the real environment, and its rows."""
    env = envs.make(config.env, 1)
    agent = algos.make(config, env)
    rows = play(agent, env, config.steps, config.seed)
    env.close()
    return agent, rows


class Scripted:
    """Reward 1; `period` steps after its start an episode is cut, or (the planted fault) reported as terminated.

    The observation counts the steps of the episode, or is always 1 (`one_state`).
    """

    obs_dtype = np.dtype(np.float32)
    obs_shape = (1,)
    num_actions = 1
    action_range = (np.array([-2.0], np.float32), np.array([6.0], np.float32))

    def __init__(self, period: int, *, num_envs: int = 1, terminates: bool = False, one_state: bool = False):
        self.period, self.num_envs, self.terminates, self.one_state = period, num_envs, terminates, one_state

    def _obs(self, t: int) -> np.ndarray:
        return np.full((self.num_envs, 1), 1 if self.one_state else t, np.float32)

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        self.t = 0
        return self._obs(0)

    def step(self, actions: np.ndarray) -> Step:
        assert actions.shape == (self.num_envs, 1)
        self.t += 1
        end, no = np.full(self.num_envs, self.t == self.period), np.zeros(self.num_envs, bool)
        final_obs = self._obs(self.t)
        self.t %= self.period
        terminated, truncated = (end, no) if self.terminates else (no, end)
        reward = np.ones(self.num_envs, np.float32)
        return Step(
            self._obs(self.t), reward, terminated, truncated, final_obs, ~no, reward.astype(np.float64), end, truncated
        )

    def close(self) -> None:
        pass


def scripted(algo: str, env: Any, *overrides: str, learner: str = "ppo", steps: int = 96) -> Any:
    """An agent for a scripted environment, normalising nothing."""
    return algos.make(
        configured(algo, f"env.num_envs={env.num_envs}", *RAW, *overrides, learner=learner, steps=steps), env
    )


def make_constant(net: torch.nn.Module, *outputs: float) -> None:
    """Let a network give these numbers, whatever it sees."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.body.layers[-1].bias.copy_(torch.tensor(outputs))


def parameters_of(*nets: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for net in nets for parameter in net.parameters()]


def equal(xs: list[torch.Tensor], ys: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(xs, ys, strict=True))
