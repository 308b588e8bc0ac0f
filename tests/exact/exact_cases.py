"""Finite MDPs and policies of the exact tests, and gradients by differences, which no shipped code uses."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np

from bench.config import ExactAscentConfig, Proposition1Config
from bench.envs import mdp_builders as builders
from bench.envs.mdp import MDP, Array

GAMMA = 0.9
FAMILIES: dict[str, MDP] = {
    "garnet": builders.garnet(5, 3, 2, seed=1, gamma=GAMMA),
    "garnet_mixing": builders.garnet_mixing(5, 3, 2, seed=1, gamma=GAMMA),
    "chain": builders.chain(5, gamma=GAMMA),
    "river_swim": builders.river_swim(6, gamma=GAMMA),
    "four_rooms": builders.four_rooms(gamma=GAMMA),
    "deep_sea": builders.deep_sea(4, gamma=GAMMA),
}


def parametrisations(mdp: MDP, seed: int) -> Iterator[tuple[Array | None, Array, Array]]:
    """(features, parameters, logits of a reference): the logits themselves where they are few, and 3 features."""
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal(mdp.R.shape)
    if mdp.R.size <= 30:
        yield None, rng.standard_normal(mdp.R.shape), reference
    yield rng.standard_normal((*mdp.R.shape, 3)), rng.standard_normal(3), reference


def policy(features: Array | None, parameters: Array) -> Array:
    logits = parameters if features is None else np.einsum("sad,d->sa", features, parameters)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def differences(value: Callable[[Array], float], at: Array, step: float = 4e-3) -> Array:
    """Gradient of value by central differences at 1, 2 and 3 steps, whose error is of order step^6."""
    found = np.empty_like(at)
    for index in np.ndindex(*at.shape):
        unit = np.zeros_like(at)
        unit[index] = step
        one, two, three = (value(at + k * unit) - value(at - k * unit) for k in (1, 2, 3))
        found[index] = (45 * one - 9 * two + three) / (60 * step)
    return found


def instances(task: str, steps: int, seed: int = 0) -> SimpleNamespace:
    """A configuration of algo=proposition1 from the same policy to two that are as good as deterministic."""
    algo = Proposition1Config(
        name="proposition1",
        gammas=[0.5, 0.9, 0.99],
        lambdas=[0.0, 0.5, 1.0],
        log10_distance=[-6.0, 1.5],
        log10_logits=[-1.0, 1.5],
        log10_rewards=[-1.0, 1.0],
        log10_features=[-0.5, 0.5],
    )
    return SimpleNamespace(algo=algo, env=SimpleNamespace(task=task), seed=seed, steps=steps)


def ascent(task: str, steps: int, **changed: float | bool | None) -> SimpleNamespace:
    """A configuration of algo=exact_ascent."""
    keys = {
        "state_ratio": True,
        "inv_eta": 0.0,
        "horizon": None,
        "gamma": 0.9,
        "learning_rate": 1.0,
        "updates_per_version": 10,
        "init_scale": 1.0,
    }
    algo = ExactAscentConfig(name="exact_ascent", **{**keys, **changed})
    return SimpleNamespace(algo=algo, env=SimpleNamespace(task=task), seed=0, steps=steps)
