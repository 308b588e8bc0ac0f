"""The sides of a contest that are Stable-Baselines3's: run by the interpreter of the peers' own environment.

    .venv-peers/bin/python bench/speed/sb3.py atari|mujoco|env TASK warm=N steps=N [threads=1]
    .venv-peers/bin/python bench/speed/sb3.py learn TASK seed=N steps=N [threads=1]

It imports nothing of this project but `clock`, which lies beside it. The last line printed is JSON: a `Measured`, or
the finished games of a run. Hyperparameters of `atari` and `learn` are those of conf/hparams/ppo_sb3_atari.yaml, those
of `mujoco` the library's defaults.
"""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from typing import Any

import cv2
import gymnasium
import numpy as np
import torch
from clock import Measured, Window  # type: ignore[import-not-found]
from stable_baselines3 import PPO  # type: ignore[import-not-found]
from stable_baselines3.common.env_util import make_atari_env  # type: ignore[import-not-found]
from stable_baselines3.common.vec_env import VecFrameStack  # type: ignore[import-not-found]

PACKAGES = ("stable-baselines3", "torch", "numpy", "gymnasium", "ale-py", "mujoco", "opencv-python-headless")
NUM_ENVS, STACK, LEARNING_RATE, LR_STEPS = 8, 4, 2.5e-4, 10_000_000


def atari_env(task: str, seed: int) -> Any:
    """Eight games in one process, frames stacked."""
    import ale_py

    gymnasium.register_envs(ale_py)
    return VecFrameStack(make_atari_env(f"{task}NoFrameskip-v4", n_envs=NUM_ENVS, seed=seed), n_stack=STACK)


def atari_ppo(task: str, seed: int, steps: int) -> Any:
    """PPO with a learning rate that falls linearly to 0 over LR_STEPS, of which the run makes the first `steps`."""
    share = steps / LR_STEPS
    return PPO(
        "CnnPolicy",
        atari_env(task, seed),
        n_steps=128,
        batch_size=256,
        n_epochs=4,
        learning_rate=lambda left: LEARNING_RATE * (1 - share * (1 - left)),
        clip_range=0.1,
        vf_coef=0.5,
        ent_coef=0.01,
        max_grad_norm=0.5,
        device="cpu",
        seed=seed,
    )


def timed_training(model: Any, warm: int, steps: int) -> Any:
    """Train for `warm` steps, then look at the clock before and after the rest."""
    window = Window(warm)
    model.learn(warm)
    window.see(model.num_timesteps)
    model.learn(steps - warm, reset_num_timesteps=False)
    window.see(model.num_timesteps)
    return window.measured()


def atari(task: str, warm: int, steps: int, seed: int) -> Any:
    """PPO on frames."""
    return timed_training(atari_ppo(task, seed, steps), warm, steps)


def mujoco(task: str, warm: int, steps: int, seed: int) -> Any:
    """PPO at the library's defaults on one environment."""
    return timed_training(PPO("MlpPolicy", gymnasium.make(task), device="cpu", seed=seed), warm, steps)


def env(task: str, warm: int, steps: int, seed: int) -> Any:
    """The library's environments alone, with random actions."""
    games, window = atari_env(task, seed), Window(warm)
    games.reset()
    chosen = np.random.default_rng(seed).integers(games.action_space.n, size=(steps // NUM_ENVS, NUM_ENVS))
    for done, row in enumerate(chosen, 1):
        games.step(row)
        window.see(done * NUM_ENVS)
    return window.measured()


def learn(task: str, warm: int, steps: int, seed: int) -> list[list[float]]:
    """(agent steps so far, raw score) of every full game that a run finishes."""
    games: list[list[float]] = []

    def note(locals_: dict[str, Any], _: dict[str, Any]) -> bool:
        finished = [info["episode"]["r"] for info in locals_["infos"] if "episode" in info]
        games.extend([locals_["self"].num_timesteps, float(score)] for score in finished)
        return True

    atari_ppo(task, seed, steps).learn(steps, callback=note)
    return games


SIDES: dict[str, Callable[..., Any]] = {"atari": atari, "mujoco": mujoco, "env": env, "learn": learn}


def main(kind: str, task: str, *pairs: str) -> None:
    """Measure, and print."""
    given = {"warm": 0, "seed": 0, "threads": 1} | {
        key: int(value) for key, value in (pair.split("=") for pair in pairs)
    }
    threads = given.pop("threads")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    found = SIDES[kind](task, **given)
    plain = found.plain() if isinstance(found, Measured) else {"games": found}
    print(json.dumps(plain | {"versions": {name: importlib.metadata.version(name) for name in PACKAGES}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
