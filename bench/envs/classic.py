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
from bench.envs.base import Step, check_actions, fingerprint, require_own, require_same
from bench.envs.tape import Tape, random_state
from bench.errors import UserError

TASKS = ("Acrobot-v1", "CartPole-v1", "MountainCar-v0")
CONTINUOUS = ("MountainCarContinuous-v0", "Pendulum-v1")


class _Simulator:
    """One of the environments, as a tape plays it."""

    def __init__(self, env: gymnasium.Env[Any, Any]):
        self._env, self._plain = env, env.unwrapped

    @property
    def random(self) -> np.random.Generator:
        generator: np.random.Generator = self._plain.np_random
        return generator

    def reset(self, seed: int | None) -> np.ndarray:
        obs: np.ndarray = self._env.reset(seed=seed)[0]
        return obs

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        obs, reward, terminated, truncated, _ = self._env.step(action)
        return obs, float(reward), terminated, truncated


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
        self._of = {"task": task, "num_envs": num_envs}
        self._simulators = [_Simulator(env) for env in self._envs.envs]
        self._tape = Tape(num_envs)
        # Generators just before the resets to come: steps of these tasks draw nothing.
        self._before: list[dict[str, Any]] = []
        self._obs: np.ndarray = np.empty(0)  # the present one

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all copies. Args: seeds: `[B]` integers in [0, 2**31). Returns `[B, *obs_shape]`."""
        # Python integers in a list: Gymnasium refuses NumPy's, and would spread one integer over seed + i.
        obs, _ = self._envs.reset(seed=[int(seed) for seed in seeds])
        for i, seed in enumerate(seeds):
            self._tape.begin(i, int(seed))
        self._before = [random_state(simulator.random) for simulator in self._simulators]
        self._obs = self._finite(obs).astype(np.float32)
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """Take one action per copy. Args: actions: `[B]` integers in [0, num_actions)."""
        actions = check_actions(actions, self.num_envs, self.num_actions)
        obs, reward, terminated, cut, info = self._envs.step(actions)
        self._tape.add(actions.copy())
        game_over = terminated | cut
        # The limit may fall on the very step that ends the episode by its own rules: then nothing was cut.
        truncated = cut & ~terminated
        final_obs = obs.copy()
        for i in np.flatnonzero(game_over).tolist():
            final_obs[i] = info["final_obs"][i]
            self._tape.begin(i, self._before[i])
            self._before[i] = random_state(self._simulators[i].random)
        self._finite(final_obs)
        self._finite(reward)
        self._obs = self._finite(obs).astype(np.float32)
        return Step(
            obs=self._obs,
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            final_obs=final_obs.astype(np.float32),
            acted=np.ones(self.num_envs, dtype=bool),
            raw_reward=reward.astype(np.float64),
            game_over=game_over,
            game_cut=truncated.copy(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain state. Raises ValueError before the first reset."""
        if not self._before:
            raise ValueError("state_dict before reset")
        return {"of": self._of, "obs": fingerprint(self._obs), "tape": self._tape.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from such a state: every copy's present episode is played again. See `VecEnv`."""
        require_own(state, self._of)
        self._tape.load_state_dict(state["tape"])
        # Of its own Gymnasium's vector keeps nothing from one step to the next.
        obs = [self._tape.replay(i, simulator) for i, simulator in enumerate(self._simulators)]
        self._before = [random_state(simulator.random) for simulator in self._simulators]
        self._obs = np.stack(obs).astype(np.float32)
        require_same(self._obs, state)
        return self._obs

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
