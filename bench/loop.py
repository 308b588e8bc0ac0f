"""The interaction of an agent with its environments: one generator, whose consumers record, show and stop."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from bench.envs.base import Step, VecEnv


class Agent(Protocol):
    """What the loop asks of an algorithm."""

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Choose an action per environment. Args: obs: `[B, ...]`; start: `[B]`, True where an episode begins."""

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        """Take in what the action led to and learn from it. Returns the metrics of what was learnt, or nothing."""

    def finish(self) -> dict[str, float]:
        """Learn from what is left when the last step has been generated. Returns metrics, or nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Everything learnt, as tensors and plain data."""

    def parameters_sha256(self) -> str:
        """Hash of all parameters, equal exactly when they are equal bit for bit."""


class Event(NamedTuple):
    """One step of all environments and what the agent made of it."""

    generated: int  # agent steps so far, this one included
    obs: np.ndarray  # [B, ...] what the agent acted on
    step: Step
    metrics: dict[str, float]  # empty unless something was learnt


def interact(env: VecEnv, agent: Agent, seeds: np.ndarray, steps: int) -> Iterator[Event]:
    """Generate at most `steps` agent steps, in whole steps of all environments.

    Args:
        seeds: `[B]`, one per environment.
        steps: agent steps, all environments together.
    """
    obs = env.reset(seeds)
    start = np.ones(env.num_envs, dtype=bool)
    last = steps // env.num_envs * env.num_envs
    for generated in range(env.num_envs, last + 1, env.num_envs):
        action = agent.act(obs, start)
        step = env.step(action)
        metrics = agent.observe(obs, action, start, step)
        if generated == last:
            metrics = {**metrics, **agent.finish()}
        yield Event(generated, obs, step, metrics)
        obs, start = step.obs, is_boundary(step)


def is_boundary(step: Step) -> np.ndarray:
    """True where what follows is no continuation for the learner: an end, or a step that was not the agent's."""
    boundary: np.ndarray = step.terminated | step.truncated | ~step.acted
    return boundary
