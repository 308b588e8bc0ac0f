"""Running normalisation of observations and rewards, part of an agent and of its checkpoint.

Source: VecNormalize of Stable-Baselines3 1.8, the released code's; moments after Chan, Golub, LeVeque 1979.
"""

import numpy as np

from bench.dpo_config import NormaliseConfig
from bench.envs.base import Step
from bench.keeping import Kept

EPSILON = 1e-8  # added to the variance


class Moments(Kept):
    """Running mean and variance of a stream of batches, begun with a count of 1e-4 at mean 0 and variance 1."""

    KEPT = ("mean", "var", "count")

    def __init__(self, shape: tuple[int, ...]):
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def add(self, x: np.ndarray) -> None:
        """Take in a batch. Args: x: `[B, *shape]`."""
        size = len(x)
        mean = x.mean(0, dtype=np.float64)
        delta, total = mean - self.mean, self.count + size
        # x - mean before the square: two passes, no cancellation
        squares = self.var * self.count + np.square(x - mean).sum(0) + delta**2 * (self.count * size / total)
        self.mean = self.mean + delta * (size / total)
        self.var, self.count = squares / total, total


class Normaliser(Kept):
    """Normalises what an agent sees of B environments.

    Args:
        config: what is normalised.
        obs_shape: of one observation; frames are left alone.
        num_envs: B.
        gamma: discount of the return whose standard deviation divides the rewards.
    """

    KEPT = ("obs", "ret", "returns")

    def __init__(self, config: NormaliseConfig, obs_shape: tuple[int, ...], num_envs: int, gamma: float):
        self.config, self.gamma = config, gamma
        self.obs = Moments(obs_shape) if config.observations and len(obs_shape) == 1 else None
        self.ret = Moments(()) if config.rewards else None
        self.returns = np.zeros(num_envs)

    def see(self, obs: np.ndarray) -> None:
        """Take observations into the statistics. Args: obs: `[B, ...]` what is acted on next."""
        if self.obs:
            self.obs.add(obs)

    def observations(self, obs: np.ndarray) -> np.ndarray:
        """Normalised with the present statistics. `[N, ...]`, float32 for vectors."""
        if not self.obs:
            return obs
        scaled = (obs - self.obs.mean) / np.sqrt(self.obs.var + EPSILON)
        return scaled.clip(-self.config.clip, self.config.clip).astype(np.float32)

    def rewards(self, step: Step) -> np.ndarray:
        """The step's rewards over the running standard deviation of the discounted return. `[B]` float32."""
        if not self.ret:
            return step.reward
        self.returns = self.returns * self.gamma + step.reward
        self.ret.add(self.returns)
        self.returns[step.terminated | step.truncated] = 0.0
        scaled = step.reward / np.sqrt(self.ret.var + EPSILON)
        return scaled.clip(-self.config.clip, self.config.clip).astype(np.float32)

    def transition(self, step: Step) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take in a step. Returns, normalised, its own next observation, what is acted on next, and its rewards."""
        self.see(step.obs)
        following = self.observations(step.obs)
        ended = (step.terminated | step.truncated).any()
        return self.observations(step.final_obs) if ended else following, following, self.rewards(step)
