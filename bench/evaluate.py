"""Scores of a policy as it is, apart from its training: own environments, deterministic actions, raw rewards."""

import math
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from bench import envs, seeding
from bench.config import RunConfig
from bench.errors import RunError
from bench.keeping import Kept


@runtime_checkable
class Deterministic(Protocol):
    """An agent that can be asked for its best guess instead of a sample."""

    def mode(self, obs: np.ndarray) -> np.ndarray:
        """Deterministic actions on raw observations. Args: obs: `[N, ...]`. Changes nothing in the agent."""


class Evaluator(Kept):
    """Plays whole episodes side by side, one per environment, whenever the training has gone `every` steps further.

    Source: Ma 2023, released code: a separate environment, the training's observation statistics, ten episodes of the
    policy's mean. Every evaluation starts from seeds of its own, so that none depends on those before it.
    """

    KEPT = ("count",)

    def __init__(self, run: RunConfig, every: int, episodes: int):
        self.seed, self.every, self.count = run.seed, every, 0
        self.end = run.steps // run.env.num_envs * run.env.num_envs
        self.env = envs.make(replace(run.env, num_envs=episodes), run.threads)

    def ends(self, generated: int) -> bool:
        """True at the end of the run, whose policy is always scored."""
        return generated >= self.end

    def __call__(self, generated: int, agent: object) -> dict[str, float]:
        """`eval_return`, the mean over the episodes, if one is due after so many generated steps; else nothing."""
        assert isinstance(agent, Deterministic)
        if generated // self.every <= self.count and not self.ends(generated):
            return {}
        self.count = math.ceil(generated / self.every) if self.ends(generated) else generated // self.every
        return {"eval_return": self.play(agent)}

    def play(self, agent: Deterministic) -> float:
        """Mean raw return of one episode in every environment."""
        env = self.env
        obs = env.reset(seeding.env_seeds(self.seed, env.num_envs, f"evaluate {self.count}"))
        returns, playing = np.zeros(env.num_envs), np.ones(env.num_envs, dtype=bool)
        while playing.any():  # who has finished plays on, unrecorded, until the last has
            try:
                step = env.step(agent.mode(obs))
            except RunError as error:
                raise RunError(f"in an evaluation: {error}") from None
            returns += step.raw_reward * playing
            playing &= ~step.game_over
            obs = step.obs
        return float(returns.mean())

    def close(self) -> None:
        """Release the environments."""
        self.env.close()
