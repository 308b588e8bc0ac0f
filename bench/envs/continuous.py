"""What the suites of continuous control share: B copies of one simulator, stepped one after another.

One process: a step of a simulator takes tens of microseconds, a message to another process more. For the same reason
nothing here asks NumPy more often than it must: a call on a few numbers takes half a microsecond to one.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from bench.env_config import ContinuousConfig
from bench.envs.base import Step, fingerprint, require_own, require_same
from bench.envs.tape import Player, Tape, random_state
from bench.errors import RunError

TOLERANCE = 1e-5  # how far outside its range rounding may carry an action


class SimulatorError(RunError):
    """A simulator has left what its numbers can express; nothing that it says from here on is a measurement."""


class Simulator(Player, Protocol):
    """One copy of a task, which holds something until it is closed."""

    def close(self) -> None:
        """Release it."""


@contextmanager
def no_rendering() -> Iterator[None]:
    """Import simulators without a display: nothing here renders, and their backends fail where there is none."""
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        yield
    finally:
        del os.environ["MUJOCO_GL"]
        if before is not None:
            os.environ["MUJOCO_GL"] = before


class ContinuousVecEnv:
    """B copies of one task with actions in a box. A copy that ends is restarted in the same step."""

    def __init__(
        self,
        config: ContinuousConfig,
        simulators: Sequence[Simulator],
        obs_size: int,
        low: np.ndarray,
        high: np.ndarray,
    ):
        """Set up; `reset` seeds and starts it.

        Args:
            config: task and reward scheme.
            simulators: B of them.
            obs_size: n, numbers per observation.
            low, high: `[d]`, finite range of the actions.
        """
        from bench.envs import rewards  # here, because it imports PyTorch, and plans name tasks without it

        self.task = config.task
        self.num_envs = len(simulators)
        self._of = {
            "task": config.task,
            "num_envs": self.num_envs,
            "reward": config.reward,
            "reward_delay": config.reward_delay,
            "reward_quantum": config.reward_quantum,
        }
        self.obs_shape: tuple[int, ...] = (obs_size,)
        self.obs_dtype: np.dtype = np.dtype(np.float32)
        self.num_actions = len(low)
        self._low, self._high = low.astype(np.float32), high.astype(np.float32)
        self.action_range: tuple[np.ndarray, np.ndarray] | None = (self._low, self._high)
        self.simulators = simulators
        self._scheme = rewards.make(
            config.reward, self.num_envs, delay=config.reward_delay, quantum=config.reward_quantum
        )
        self._acted = np.ones(self.num_envs, dtype=bool)
        self._steps = -1  # that every copy has made since `reset`; -1: not started
        self._tape = Tape(self.num_envs)
        self._obs: np.ndarray = np.empty(0)  # the present one

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all copies. Args: seeds: `[B]` integers in [0, 2**31). Returns `[B, n]` float32."""
        seeds = np.asarray(seeds)
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu" or seeds.min() < 0 or seeds.max() >= 2**31:
            raise ValueError(f"seeds must be {self.num_envs} integers in [0, 2**31), got {seeds}")
        self._steps = 0
        self._scheme.start()
        obs = np.empty((self.num_envs, *self.obs_shape), dtype=np.float32)
        for i, (simulator, seed) in enumerate(zip(self.simulators, seeds.tolist(), strict=True)):
            self._tape.begin(i, seed)
            obs[i] = simulator.reset(seed)
        self._require_finite(obs, "a first observation")
        self._obs = obs
        return obs

    def step(self, actions: np.ndarray) -> Step:
        """Take one action per copy. Args: actions: `[B, d]` floats within `action_range`.

        Raises:
            ValueError: a wrong shape, type or range, or no reset before.
            SimulatorError: a number that is not finite, or an unstable simulation.
        """
        if self._steps < 0:
            raise ValueError("step before reset")
        actions = self._checked(actions)
        self._tape.add(actions)
        self._steps += 1
        count = self.num_envs
        final_obs = np.empty((count, *self.obs_shape), dtype=np.float32)
        raw = np.empty(count)
        terminated, truncated = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        for i, simulator in enumerate(self.simulators):
            try:
                final_obs[i], raw[i], ends, cut = simulator.step(actions[i])
            except FloatingPointError as error:
                raise self._error(i, str(error)) from None
            # The limit may fall on the very step that ends the episode by its own rules: then nothing was cut.
            terminated[i], truncated[i] = ends, cut and not ends
        self._require_finite(final_obs, "an observation")
        self._require_finite(raw, "a reward")
        game_over = terminated | truncated
        obs = final_obs
        if np.count_nonzero(game_over):
            obs = final_obs.copy()
            for ended in np.flatnonzero(game_over).tolist():
                simulator = self.simulators[ended]
                self._tape.begin(ended, random_state(simulator.random))
                obs[ended] = simulator.reset(None)
            self._require_finite(obs, "a first observation")
        self._obs = obs
        return Step(
            obs=obs,
            reward=self._scheme.pay(raw, game_over).astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            final_obs=final_obs,
            acted=self._acted.copy(),
            raw_reward=raw,
            game_over=game_over,
            game_cut=truncated.copy(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain state. Raises ValueError before the first reset."""
        if self._steps < 0:
            raise ValueError("state_dict before reset")
        return {
            "of": self._of,
            "obs": fingerprint(self._obs),
            "tape": self._tape.state_dict(),
            "scheme": self._scheme.state_dict(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from such a state: every copy's present episode is played again. See `VecEnv`."""
        require_own(state, self._of)
        self._tape.load_state_dict(state["tape"])
        self._scheme.load_state_dict(state["scheme"])
        self._steps = state["steps"]
        self._obs = np.empty((self.num_envs, *self.obs_shape), dtype=np.float32)
        for i, simulator in enumerate(self.simulators):
            self._obs[i] = self._tape.replay(i, simulator)
        require_same(self._obs, state)
        return self._obs

    def close(self) -> None:
        """Release the simulators."""
        for simulator in self.simulators:
            simulator.close()

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        """The actions, moved into the range by at most TOLERANCE; others are refused."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs, self.num_actions) or actions.dtype.kind != "f":
            allowed = f"[{self.num_envs}, {self.num_actions}] floats"
            raise ValueError(f"actions must be {allowed}, got {actions.dtype} {list(actions.shape)}")
        within: np.ndarray = np.fmin(np.fmax(actions, self._low), self._high)  # a number even where the action is none
        if within.tobytes() != actions.tobytes():  # seldom
            outside = np.argwhere(~(np.abs(actions - within) <= TOLERANCE))
            if len(outside):
                i, j = outside[0]
                raise ValueError(
                    f"actions must lie in their range, got {actions[i, j]} in copy {i}, dimension {j}, "
                    f"whose range is {self._low[j]} to {self._high[j]}"
                )
        return within

    def _require_finite(self, x: np.ndarray, what: str) -> None:
        finite = np.isfinite(x)
        if np.count_nonzero(finite) < x.size:
            raise self._error(int(np.argwhere(~finite)[0, 0]), f"{what} is not finite")

    def _error(self, copy: int, what: str) -> SimulatorError:
        return SimulatorError(
            f"the simulator of {self.task} failed in copy {copy} after {self._steps:,} steps of that copy: {what}"
        )
