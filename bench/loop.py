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
        """All of it as tensors and plain data; under `memory` what is only needed to go on, not to act."""

    def learnt(self) -> dict[str, Any]:
        """The same without `memory`."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up such a state, between two steps of the loop, and go on with the same bits."""

    def parameters_sha256(self) -> str:
        """Hash of all parameters, equal exactly when they are equal bit for bit."""


class Position(NamedTuple):
    """Where the loop is between two steps."""

    generated: int  # agent steps so far
    obs: np.ndarray  # [B, ...] what is acted on next
    start: np.ndarray  # [B] bool, an episode begins with it


class Event(NamedTuple):
    """One step of all environments and what the agent made of it."""

    generated: int  # agent steps so far, this one included
    obs: np.ndarray  # [B, ...] what the agent acted on
    step: Step
    metrics: dict[str, float]  # empty unless something was learnt

    @property
    def position(self) -> Position:
        """Where the loop is now."""
        return Position(self.generated, self.step.obs, is_boundary(self.step))


def interact(
    env: VecEnv, agent: Agent, seeds: np.ndarray, steps: int, position: Position | None = None
) -> Iterator[Event]:
    """Generate at most `steps` agent steps, in whole steps of all environments.

    Args:
        seeds: `[B]`, one per environment.
        steps: agent steps, all environments together.
        position: to go on from, with environments and agent as they were then; None begins with a reset.
    """
    now = position or Position(0, env.reset(seeds), np.ones(env.num_envs, dtype=bool))
    last = steps // env.num_envs * env.num_envs
    for generated in range(now.generated + env.num_envs, last + 1, env.num_envs):
        action = agent.act(now.obs, now.start)
        step = env.step(action)
        metrics = agent.observe(now.obs, action, now.start, step)
        if generated == last:
            metrics = {**metrics, **agent.finish()}
        event = Event(generated, now.obs, step, metrics)
        yield event
        now = event.position


def is_boundary(step: Step) -> np.ndarray:
    """True where what follows is no continuation for the learner: an end, or a step that was not the agent's."""
    boundary: np.ndarray = step.terminated | step.truncated | ~step.acted
    return boundary
