"""All of a run that computes: environments, agent, and what watches them. It keeps no file and shows nothing."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from bench import algos, envs, exact, memory, seeding
from bench.config import DapoConfig, RunConfig
from bench.coverage import Coverage
from bench.env_config import ContinuousConfig
from bench.envs.base import VecEnv
from bench.envs.tabular import TabularVecEnv
from bench.episodes import Episode, EpisodeCounter
from bench.errors import DivergedError
from bench.evaluate import Evaluator
from bench.exact.trace import Trace
from bench.loop import Agent, Position, interact


class Progress(NamedTuple):
    """What one step of a session has brought."""

    done: int  # agent steps so far; instances, updates or lambdas of a program
    episodes: list[Episode]
    row: dict[str, float]  # of metrics.csv, without wall_s; empty unless something was learnt or scored


class Session(Protocol):
    """A run to be followed to its end, once."""

    learnt: bool  # an update was made

    def __iter__(self) -> Iterator[Progress]:
        """Go on to the end, from the beginning or from the state that was loaded."""

    def state_dict(self) -> dict[str, Any] | None:
        """Plain state from which a new session goes on, bit for bit; None if it can only begin anew."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up such a state. Errors: `ValueError` where it does not lead back to where it was taken."""

    def result(self) -> dict[str, Any] | None:
        """What was learnt, small; None of a program, which learns nothing."""

    def params_sha256(self) -> str:
        """Hash of the result."""

    def close(self) -> None:
        """Release the environments."""


def make(config: RunConfig) -> Session:
    """The session of a run, for whose threads it settles the process."""
    torch.set_num_threads(config.threads)
    memory.keep_freed()
    torch.backends.cudnn.allow_tf32 = False  # else a batch of actors and a batch of roll-outs would disagree
    return Computation(config) if config.algo.name in exact.PROGRAMS else Training(config)


@runtime_checkable
class Closing(Protocol):
    """An agent that has something to end with its session."""

    def close(self) -> None:
        """End it."""


class Training:
    """An agent in its environments."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.env = envs.make(config.env, config.threads)
        self.agent: Agent = algos.make(config, self.env)
        self.games, self.coverage = EpisodeCounter(self.env.num_envs), Coverage()
        self.trace = _trace(config, self.env, self.agent)
        self.evaluator = _evaluator(config)
        self.position: Position | None = None
        self.learnt = False

    def __iter__(self) -> Iterator[Progress]:
        """See `Session`."""
        try:
            yield from self._steps()
        except FloatingPointError as error:
            raise DivergedError(str(error)) from None

    def _steps(self) -> Iterator[Progress]:
        seeds = seeding.env_seeds(self.config.seed, self.env.num_envs)
        for event in interact(self.env, self.agent, seeds, self.config.steps, self.position):
            count = event.generated
            self.position = event.position
            self.coverage.add(event.obs)
            episodes = self.games.add(count, event.step)
            row: dict[str, float] = {}
            if event.metrics or (self.evaluator and self.evaluator.ends(count)):
                row = {"step": count, **event.metrics, "coverage": self.coverage.count()}
                row |= self.trace.add(self._policy()) if self.trace else {}
                row |= self.evaluator(count, self.agent) if self.evaluator else {}
                self.learnt |= bool(event.metrics)
            yield Progress(count, episodes, row)

    def _policy(self) -> np.ndarray:
        return _policy(self.agent, self.env)

    def state_dict(self) -> dict[str, Any] | None:
        """See `Session`."""
        assert self.position is not None
        return {
            "agent": self.agent.state_dict(),
            "env": self.env.state_dict(),
            "games": self.games.state_dict(),
            "coverage": self.coverage.state_dict(),
            "trace": self.trace.state_dict() if self.trace else None,
            "evaluator": self.evaluator.state_dict() if self.evaluator else None,
            "generated": self.position.generated,
            "start": torch.from_numpy(self.position.start.copy()),
            "learnt": self.learnt,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Session`."""
        obs = self.env.load_state_dict(state["env"])  # which refuses to come back to another observation
        self.agent.load_state_dict(state["agent"])
        self.games.load_state_dict(state["games"])
        self.coverage.load_state_dict(state["coverage"])
        if self.trace:
            self.trace.load_state_dict(state["trace"])
        if self.evaluator:
            self.evaluator.load_state_dict(state["evaluator"])
        self.position = Position(state["generated"], obs, state["start"].numpy())
        self.learnt = state["learnt"]

    def result(self) -> dict[str, Any] | None:
        """See `Session`."""
        return self.agent.learnt()

    def params_sha256(self) -> str:
        """See `Session`."""
        return self.agent.parameters_sha256()

    def close(self) -> None:
        """See `Session`."""
        if isinstance(self.agent, Closing):
            self.agent.close()
        self.env.close()
        if self.evaluator:
            self.evaluator.close()


class Computation:
    """A run without interaction: the rows of an exact program, which begins anew each time."""

    learnt = True

    def __init__(self, config: RunConfig):
        self.config, self.digest = config, hashlib.sha256()

    def __iter__(self) -> Iterator[Progress]:
        """See `Session`."""
        for row in exact.rows(self.config):
            self.digest.update(json.dumps(row, sort_keys=True).encode())
            yield Progress(int(row["step"]), [], row)

    def state_dict(self) -> dict[str, Any] | None:
        """See `Session`."""
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Session`."""
        raise ValueError("an exact program keeps no state")

    def result(self) -> dict[str, Any] | None:
        """See `Session`."""
        return None

    def params_sha256(self) -> str:
        """Of the rows."""
        return self.digest.hexdigest()

    def close(self) -> None:
        """Nothing is held."""


def _policy(agent: Any, env: VecEnv) -> np.ndarray:
    """Action probabilities in every state of a finite MDP, `[S, A]`."""
    policy: np.ndarray = agent.policy(np.eye(env.obs_shape[0], dtype=np.float32))
    return policy


def _trace(config: RunConfig, env: VecEnv, agent: Agent) -> Trace | None:
    """On a finite MDP: what measures each published policy exactly; else nothing."""
    algo = config.algo
    if not isinstance(env, TabularVecEnv) or not isinstance(algo, DapoConfig) or algo.recurrent:
        return None
    held = algo.replay_capacity // algo.collect_per_env(env.num_envs)
    lag = held if algo.sampling == "uniform" else 1  # versions whose data an update may see
    return Trace(replace(env.mdp, gamma=algo.gamma), _policy(agent, env), lag)


def _evaluator(config: RunConfig) -> Evaluator | None:
    """What scores the deterministic policy from time to time, where the environment's configuration asks for it."""
    if not isinstance(config.env, ContinuousConfig) or not config.env.evaluation.every:
        return None
    return Evaluator(config, config.env.evaluation.every, config.env.evaluation.episodes)
