"""Distinct coarse observations are counted, frames by the mean of their cells."""

import numpy as np

from bench.coverage import CELLS, LEVELS, Coverage


def frames(count, seed=0):
    return np.random.default_rng(seed).integers(256, size=(count, 2, 84, 84), dtype=np.uint8)


def test_frames_are_told_apart_by_the_grey_levels_of_their_cells():
    coverage, obs = Coverage(), frames(5)
    coverage.add(obs)
    coverage.add(obs)
    means = obs[:, -1].reshape(5, 12, CELLS, 12, CELLS).mean((2, 4))
    distinct = {tuple(np.floor(mean * LEVELS / 256).astype(int).ravel()) for mean in means}
    assert coverage.count() == coverage.filled == len(distinct)


def test_a_level_more_in_one_cell_is_another_observation():
    one = np.full((1, 1, 84, 84), 256 // LEVELS - 1, dtype=np.uint8)
    brighter = one.copy()
    brighter[..., :CELLS, :CELLS] += 1  # the whole cell reaches the next level
    nearly = brighter.copy()
    nearly[..., 0, 0] -= 1  # its mean does not
    coverage = Coverage()
    for obs, expected in ((one, 1), (brighter, 2), (nearly, 2), (one, 2)):
        coverage.add(obs)
        assert coverage.count() == expected


def test_only_the_newest_frame_counts():
    coverage, obs = Coverage(), frames(1)
    coverage.add(obs)
    obs[:, 0] = 0
    coverage.add(obs)
    assert coverage.count() == 1


def test_vectors_are_rounded():
    coverage = Coverage()
    coverage.add(np.array([[0.01, 1.0], [-0.04, 1.04], [0.06, 1.0]], dtype=np.float32))
    assert coverage.count() == 2


def test_many_are_estimated_to_a_thousandth():
    coverage = Coverage()
    coverage.add(np.arange(200_000, dtype=np.float64)[:, None])
    assert abs(coverage.count() - 200_000) < 200
