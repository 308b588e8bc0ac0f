"""Finite MDPs of a hundred states and more whose states have features, so that a network can generalise over them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.envs import mdp_builders as builders
from bench.envs.mdp import MDP, Array


@dataclass(frozen=True)
class Landscape:
    """A process and what a network sees of its states: features `[S, d]` in [-1, 1]."""

    mdp: MDP
    features: Array


STATES, ACTIONS, DIMS = 200, 4, 3
STRIDE, BLUR = 0.8, 0.25  # how far an action leads, and how widely it scatters, in units of a feature
WAVES = 6  # terms of a reward function


def smooth(rng: np.random.Generator, gamma: float) -> Landscape:
    """Points in a cube; an action leads near the point at its own displacement and pays a random smooth function.

        P(s'|s, a) proportional to exp( -| x_s + d_a - x_s' |^2 / (2 BLUR^2) ),   |d_a| = STRIDE
        R(s, a) = sum of WAVES plane waves of normal frequency and amplitude, another sum for each action

    The start is uniform. Source: ours: a Garnet's transitions and rewards carry no information from state to state.
    """
    x = rng.uniform(-1, 1, (STATES, DIMS))
    directions = rng.standard_normal((ACTIONS, DIMS))
    displaced = x[:, None] + STRIDE * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    distance2 = ((displaced[:, :, None] - x) ** 2).sum(-1)
    # The nearest point's share is exp(0): no row underflows where displacements leave the cube.
    weight = np.exp(-(distance2 - distance2.min(-1, keepdims=True)) / (2 * BLUR**2))
    frequency, phase = rng.standard_normal((ACTIONS, WAVES, DIMS)), rng.uniform(0, 2 * np.pi, (ACTIONS, WAVES))
    amplitude = rng.standard_normal((ACTIONS, WAVES)) / WAVES**0.5
    rewards = (amplitude * np.sin(2 * np.einsum("awd,sd->saw", frequency, x) + phase)).sum(-1)
    start = np.full(STATES, 1 / STATES)
    return Landscape(MDP(P=weight / weight.sum(-1, keepdims=True), R=rewards, d0=start, gamma=gamma), x)


def four_rooms(rng: np.random.Generator, gamma: float) -> Landscape:
    """The four rooms, nothing drawn; a network sees row and column, from -1 to 1, and no walls."""
    rows = builders.ROOMS
    cells = np.array([(y, x) for y, row in enumerate(rows) for x, mark in enumerate(row) if mark == "."], dtype=float)
    return Landscape(builders.four_rooms(gamma=gamma), 2 * cells / (len(rows) - 1) - 1)


LANDSCAPES: dict[str, Callable[[np.random.Generator, float], Landscape]] = {
    "four_rooms": four_rooms,
    "smooth": smooth,
}
