"""Processes whose states have features: what an action does, and that neighbours are alike."""

import numpy as np
import pytest

from bench.envs import landscapes
from bench.envs.landscapes import LANDSCAPES
from bench.envs.mdp import action_values
from bench.envs.mdp_builders import ROOMS


def test_every_landscape_has_features_of_all_states_between_minus_1_and_1() -> None:
    for build in LANDSCAPES.values():
        land = build(np.random.default_rng(0), 0.9)
        assert len(land.features) == land.mdp.num_states >= 100
        assert np.abs(land.features).max() <= 1
        assert len(np.unique(land.features, axis=0)) == land.mdp.num_states
        assert land.mdp.gamma == 0.9


def test_smooth_ones_repeat_by_generator_and_differ_between_generators() -> None:
    one, same, other = (landscapes.smooth(np.random.default_rng(seed), 0.9) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.mdp.P, same.mdp.P)
    assert np.abs(one.mdp.R - other.mdp.R).max() > 0.1


def test_an_action_leads_near_a_point_at_its_own_displacement() -> None:
    land = landscapes.smooth(np.random.default_rng(0), 0.9)
    x = land.features
    moved = land.mdp.P @ x - x[:, None]
    middle = np.abs(x).max(1) < 0.4  # nothing cut off by the walls of the cube
    direction = moved[middle].mean(0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    along = np.einsum("sad,ad->sa", moved[middle], direction)
    assert np.abs(along.mean(0) - landscapes.STRIDE).max() < 0.2
    assert (along > 0).all()


@pytest.mark.parametrize("name", sorted(LANDSCAPES))
def test_neighbours_have_like_values_and_shuffled_states_have_not(name: str) -> None:
    land = LANDSCAPES[name](np.random.default_rng(0), 0.9)
    mdp, x = land.mdp, land.features
    q = action_values(mdp, np.full(mdp.R.shape, 1 / mdp.num_actions))
    distance = np.linalg.norm(x[:, None] - x, axis=-1) + 9 * np.eye(len(x))

    def to_neighbour(order: np.ndarray) -> float:
        return float(((q[order] - q[order][distance.argmin(1)]) ** 2).mean())

    assert to_neighbour(np.arange(len(x))) < 0.6 * to_neighbour(np.random.default_rng(1).permutation(len(x)))


def test_rooms_are_seen_by_row_and_column() -> None:
    land = landscapes.four_rooms(np.random.default_rng(0), 0.9)
    assert land.features[0].tolist() == [-1, -1]
    assert land.features[-1].tolist() == [1, 1]
    cells = np.rint((land.features + 1) * 5).astype(int)
    assert all(ROOMS[y][x] == "." for y, x in cells)
    down = land.mdp.P[0, 1].argmax()
    np.testing.assert_allclose(land.features[down], [-0.8, -1])
