"""Sampled copies of one finite MDP, as a batch of environments with one-hot observations."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.env_config import TabularConfig
from bench.envs import landscapes
from bench.envs import mdp_builders as builders
from bench.envs.base import Step, check_actions, fingerprint, require_own, require_same, to_tensor
from bench.envs.mdp import MDP
from bench.envs.tape import random_state, set_random_state
from bench.errors import UserError

TASKS: dict[str, Callable[[], MDP]] = {
    "chain": partial(builders.chain, 5),
    "chain_10": partial(builders.chain, 10),
    **{f"deep_sea_{n}": partial(builders.deep_sea, n) for n in (5, 6, 8, 10, 12, 15, 20)},
    "four_rooms": builders.four_rooms,
    "garnet": partial(builders.garnet, 20, 4, 3, seed=0),
    "garnet_mixing": partial(builders.garnet_mixing, 20, 4, 3, seed=0),
    "garnet_small": partial(builders.garnet, 5, 2, 2, seed=0),
    "river_swim": partial(builders.river_swim, 6),
    "smooth": lambda: landscapes.smooth(np.random.default_rng(0), 0.99).mdp,
}

BLOCK = 256  # steps of uniform numbers drawn at once per sub-environment


class TabularVecEnv:
    """B copies of an MDP. Nothing terminates; every episode is cut after `max_steps` and bootstraps.

    Each copy has a generator of its own: what it does depends on its seed and its actions, on nothing else.
    Every step uses two uniform numbers, one for the transition and one for a restart, needed or not.
    """

    def __init__(self, mdp: MDP, num_envs: int, max_steps: int) -> None:
        """Set up; `reset` starts it.

        Args:
            mdp: the process.
            num_envs: B, at least 1.
            max_steps: length of every episode, at least 1.
        Raises:
            UserError: a number below 1.
        """
        for name, number in (("num_envs", num_envs), ("max_steps", max_steps)):
            if number < 1:
                raise UserError(f"env.{name} is {number}, expected at least 1")
        self.mdp = mdp
        self.num_envs = num_envs
        self.max_steps = max_steps
        self.obs_shape: tuple[int, ...] = (mdp.num_states,)
        self.obs_dtype: np.dtype = np.dtype(np.float32)
        self.num_actions = mdp.num_actions
        self.action_range: tuple[np.ndarray, np.ndarray] | None = None
        self._next_cdf = _cumulative(mdp.P)
        self._start_cdf = _cumulative(mdp.d0)
        self._one_hot = np.eye(mdp.num_states, dtype=np.float32)
        self._generators: list[np.random.Generator] = []
        self._uniforms = np.empty((num_envs, 0, 2))
        self._cursor = 0
        self._elapsed = 0
        self.states = np.zeros(num_envs, dtype=np.int64)

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all copies from d0. Args: seeds: `[B]` integers in [0, 2**31). Returns `[B, S]`."""
        seeds = np.asarray(seeds)
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu":
            raise ValueError(f"seeds must be {self.num_envs} integers, got {seeds.dtype} {list(seeds.shape)}")
        if seeds.min() < 0 or seeds.max() >= 2**31:
            raise ValueError(f"seeds must lie in [0, 2**31), got {seeds.min()} to {seeds.max()}")
        self._generators = [np.random.default_rng(int(seed)) for seed in seeds]
        self._uniforms = np.empty((self.num_envs, 0, 2))
        self._cursor = 0
        self._elapsed = 0
        self.states = _sample(self._start_cdf[None], self._draw()[:, 1])
        return self._one_hot[self.states]

    def step(self, actions: np.ndarray) -> Step:
        """Take one action per copy. Args: actions: `[B]` integers in [0, A)."""
        if not self._generators:
            raise ValueError("step before reset")
        actions = check_actions(actions, self.num_envs, self.num_actions)
        uniforms = self._draw()
        reward = self.mdp.R[self.states, actions]
        reached = _sample(self._next_cdf[self.states, actions], uniforms[:, 0])
        self._elapsed += 1
        cut = self._elapsed == self.max_steps
        self.states = reached
        if cut:
            self._elapsed = 0
            self.states = _sample(self._start_cdf[None], uniforms[:, 1])
        truncated = np.full(self.num_envs, cut)
        return Step(
            obs=self._one_hot[self.states],
            reward=reward.astype(np.float32),
            terminated=np.zeros(self.num_envs, dtype=bool),
            truncated=truncated,
            final_obs=self._one_hot[reached],
            acted=np.ones(self.num_envs, dtype=bool),
            raw_reward=reward,
            game_over=truncated.copy(),
            game_cut=truncated.copy(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain state. Raises ValueError before the first reset."""
        if not self._generators:
            raise ValueError("state_dict before reset")
        return {
            "of": self._of(),
            "obs": fingerprint(self._one_hot[self.states]),
            "generators": [random_state(rng) for rng in self._generators],
            "uniforms": to_tensor(self._uniforms),
            "cursor": self._cursor,
            "elapsed": self._elapsed,
            "states": to_tensor(self.states),
        }

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from such a state. See `VecEnv`."""
        require_own(state, self._of())
        self._generators = [np.random.default_rng() for _ in range(self.num_envs)]
        for rng, saved in zip(self._generators, state["generators"], strict=True):
            set_random_state(rng, saved)
        self._uniforms = state["uniforms"].numpy().copy()
        self._cursor, self._elapsed = state["cursor"], state["elapsed"]
        self.states = state["states"].numpy().copy()
        obs: np.ndarray = self._one_hot[self.states]
        require_same(obs, state)
        return obs

    def close(self) -> None:
        """Nothing is held."""

    def _of(self) -> dict[str, Any]:
        mdp = hashlib.sha256(b"".join(x.tobytes() for x in (self.mdp.P, self.mdp.R, self.mdp.d0))).hexdigest()
        return {"mdp": mdp, "num_envs": self.num_envs, "max_steps": self.max_steps}

    def _draw(self) -> np.ndarray:
        if self._cursor == self._uniforms.shape[1]:
            self._uniforms = np.stack([rng.random((BLOCK, 2)) for rng in self._generators])
            self._cursor = 0
        self._cursor += 1
        drawn: np.ndarray = self._uniforms[:, self._cursor - 1]
        return drawn


def _cumulative(p: np.ndarray) -> np.ndarray:
    """Cumulative sums that reach exactly 1 at the last possible outcome, not after it."""
    cdf: np.ndarray = np.cumsum(p, axis=-1)
    cdf[cdf >= cdf[..., -1:]] = 1.0
    return cdf


def _sample(cdf: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    sampled: np.ndarray = (cdf <= uniforms[:, None]).sum(-1)
    return sampled


def task_names() -> list[str]:
    """Names that `make` knows, sorted."""
    return sorted(TASKS)


def make(cfg: TabularConfig, threads: int) -> TabularVecEnv:
    """Build the environments of a configuration.

    Args:
        cfg: task, num_envs, max_steps.
        threads: not used, there is nothing to run side by side.
    Raises:
        UserError: an unknown task, or a number below 1.
    """
    if cfg.task not in TASKS:
        raise UserError(f"env.task is {cfg.task!r}, expected one of {', '.join(task_names())}")
    return TabularVecEnv(TASKS[cfg.task](), cfg.num_envs, cfg.max_steps)
