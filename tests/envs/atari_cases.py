"""The real emulator in tests: configurations, recorded play, planted faults, and a bare emulator to compare with."""

from dataclasses import fields, replace
from functools import cache
from typing import Any

import ale_py
import numpy as np
import pytest
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv

from bench import compose, seeding
from bench.env_config import AtariConfig, AtariProtocol
from bench.envs import atari
from bench.envs.atari import AtariEnv
from bench.envs.base import Step

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
# Nothing of the protocol that the emulator and Gymnasium's wrappers do not share.
PLAIN = {"noop_max": 0, "fire_sequence": False, "life_loss_terminates": False, "no_reward_limit": 0}


@cache
def preset(protocol: str) -> AtariConfig:
    config = compose.to_run_config(
        compose.compose(["env=atari", "env.task=Breakout", "hparams=dapo_cpu", f"env/protocol={protocol}"])
    ).env
    assert isinstance(config, AtariConfig)
    return config


def config(protocol: str = "dapo2019", **changes: Any) -> AtariConfig:
    """A preset with changes, each to the protocol's key or the environment's, whichever has it."""
    base = preset(protocol)
    keys = {field.name for field in fields(AtariProtocol)}
    inner = replace(base.protocol, **{key: value for key, value in changes.items() if key in keys})
    return replace(base, protocol=inner, **{key: value for key, value in changes.items() if key not in keys})


def build(threads: int = 1, **changes: Any) -> AtariEnv:
    return atari.make(config(**{"num_envs": 1, **changes}), threads)


def plant(monkeypatch: pytest.MonkeyPatch, **wrong: Any) -> None:
    """Build emulators with these arguments, whatever the protocol says."""

    def broken(*args: Any, **kwargs: Any) -> AtariVectorEnv:
        return AtariVectorEnv(*args, **{**kwargs, **wrong})

    monkeypatch.setattr(atari, "AtariVectorEnv", broken)


def spy(env: AtariEnv) -> list[np.ndarray]:
    """The actions that reach the emulator, growing as it is stepped."""
    sent: list[np.ndarray] = []
    step = env._ale.step

    def recording(actions: np.ndarray) -> Any:
        sent.append(actions)
        return step(actions)

    env._ale.step = recording
    return sent


def play(env: AtariEnv, steps: int, seed: int = 0) -> tuple[np.ndarray, list[Step]]:
    """First frames and the steps of random actions that depend on the seed alone."""
    rng = np.random.default_rng(seed)
    first = env.reset(seeding.env_seeds(seed, env.num_envs))
    return first, [env.step(rng.integers(env.num_actions, size=env.num_envs)) for _ in range(steps)]


def same(one: list[Step], two: list[Step]) -> bool:
    """Equal in every field, bit for bit."""
    return all(np.array_equal(x, y) for a, b in zip(one, two, strict=True) for x, y in zip(a, b, strict=True))


def replay(task: str, actions: list[int], skip: int = 4) -> list[tuple[float, bool, bool]]:
    """What a bare emulator makes of the actions: (reward, a life lost or game over, game over) per step."""
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(roms.get_rom_path(atari.rom_ids()[task]))
    ale.reset_game()
    meanings, trace, lives = ale.getMinimalActionSet(), [], ale.lives()
    for action in actions:
        reward = 0.0
        for _ in range(skip):
            reward += ale.act(meanings[action])
            if ale.game_over():
                break
        over = ale.game_over()
        trace.append((reward, over or ale.lives() < lives, over))
        if over:
            ale.reset_game()
        lives = ale.lives()
    return trace
