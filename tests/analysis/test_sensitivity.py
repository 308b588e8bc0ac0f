"""Sensitivity to hyperparameters: numbers by hand, and what noise alone must not show."""

import numpy as np
import pytest

from analysis import sensitivity as s

# [arms, tasks, runs]: arm 0 good everywhere, arm 1 best on task 0, arm 2 best on task 1.
MEANS = np.array([[8.0, 8.0], [10.0, 2.0], [2.0, 12.0]])
TUNING = np.repeat(MEANS[:, :, None], 2, axis=2)
TEST = np.stack([MEANS - 1, MEANS + 1], axis=2)


def test_the_fixed_arm_has_the_best_mean_over_tasks_and_each_task_its_own() -> None:
    assert s.fixed_best(TUNING) == 0
    assert s.tuned_best(TUNING) == [1, 2]


def test_sensitivity_is_the_mean_gain_of_tuning_on_test_runs() -> None:
    found = s.sensitivity(TUNING, TEST)
    assert found.value == 3.0  # (10 - 8 + 12 - 8) / 2
    assert list(found.gain) == [2.0, 4.0]
    assert (found.low, found.high) == (3.0, 3.0)  # the runs differ, their differences do not


def test_choice_and_score_use_different_runs() -> None:
    shuffled = TEST[::-1]
    found = s.sensitivity(TUNING, shuffled)
    assert found.tuned == [1, 2]
    assert found.value == ((10 - 2) + (8 - 12)) / 2  # what tuning chose, scored where arms 0 and 2 changed places


def test_one_run_gives_no_interval_and_a_lost_run_is_left_out() -> None:
    assert s.sensitivity(TUNING, TEST[:, :, :1]).low is None
    lost = TEST.copy()
    lost[0, 0, 0] = np.nan
    assert s.sensitivity(TUNING, lost).value == 3.0


def test_an_arm_without_any_number_is_never_chosen() -> None:
    lost = TUNING.copy()
    lost[2] = np.nan
    assert s.tuned_best(lost) == [1, 0]
    assert s.fixed_best(lost) == 0


def test_noise_alone_shows_no_sensitivity_on_test_runs_and_much_on_the_runs_it_was_chosen_on() -> None:
    rng = np.random.default_rng(0)
    apart, same, covered = [], [], 0
    for _ in range(200):
        x = rng.normal(size=(20, 4, 10))
        found = s.sensitivity(x[..., :4], x[..., 4:])
        apart.append(found.value)
        covered += found.low <= 0 <= found.high
        same.append(s.sensitivity(x, x).value)
    assert abs(np.mean(apart)) < 0.04  # standard error 0.02
    assert np.mean(same) > 0.3  # the planted fault: a maximum over noise
    assert covered >= 0.91 * 200  # 95 % but for chance


def test_the_effective_dimension_counts_what_must_be_tuned() -> None:
    # two hyperparameters, 2 x 2; only the first matters, and differently per task
    places = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
    means = np.array([[10.0, 4.0], [10.0, 4.0], [4.0, 9.0], [4.0, 9.0]])
    x = np.repeat(means[:, :, None], 2, axis=2)
    assert s.subset_scores(places, x, x) == {(): 7.0, (0,): 9.5, (1,): 7.0, (0, 1): 9.5}
    assert s.effective_dimension(places, x, x) == 1
    assert s.effective_dimension(places, x, x, reach=0.7) == 0
    assert s.effective_dimension(places, -x, -x) is None


def test_two_hyperparameters_that_matter_together_need_both() -> None:
    places = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
    means = np.array([[10.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 10.0]])
    x = np.repeat(means[:, :, None], 2, axis=2)
    assert s.effective_dimension(places, x, x) == 2


def test_the_stable_region_holds_what_is_shown_to_be_within_a_tenth() -> None:
    level = np.array([1.0, 0.97, 0.85])
    noise = np.array([-0.01, 0.0, 0.01])
    x = level[:, None, None] + noise[None, None, :]
    assert list(s.stable_region(x, 0)) == [True, True, False]
    loud = level[:, None, None] + np.array([[[-0.5, 0.0, 0.5]], [[0.5, 0.0, -0.5]], [[0.0, 0.0, 0.0]]])
    assert not s.stable_region(loud, 0).any()  # not shown: noise shrinks the region, never widens it


def test_a_region_relative_to_a_score_below_zero_is_empty() -> None:
    assert not s.stable_region(np.full((2, 1, 3), -1.0) + np.arange(3) / 100, 0).any()


def test_an_arm_at_the_edge_is_rarely_called_stable() -> None:
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(1000):
        x = np.array([1.0, 0.9])[:, None, None] + rng.normal(0, 0.05, size=(2, 3, 6))
        called += s.stable_region(x, 0)[1]
    assert called <= 45  # 2.5 % of 1000 and three standard errors


def humped(peak: float, runs: int, seed: int = 0) -> np.ndarray:
    """Scores over five settings, higher by `peak` in the middle, noise 1."""
    return peak * np.array([0, 0.5, 1, 0.5, 0])[:, None, None] + np.random.default_rng(seed).normal(size=(5, 1, runs))


X = np.log([0.01, 0.05, 0.1, 0.5, 1.0])


def test_a_hump_is_found_and_its_height_over_both_ends_measured() -> None:
    exact = humped(4.0, 6, 0) * 0 + 4.0 * np.array([0, 0.5, 1, 0.25, 0])[:, None, None] + np.arange(6) / 8
    found = s.hump(X, exact, exact)
    assert found is not None
    assert (found.best, found.left, found.right, found.n) == (2, 4.0, 4.0, 6)
    assert found.p_ends == 0.0
    noisy = s.hump(X, humped(4.0, 5, 1), humped(4.0, 10, 2))
    assert noisy is not None
    assert noisy.p_ends < 0.01
    assert noisy.p_lines < 0.01


def test_a_rising_line_is_no_hump() -> None:
    rising = np.arange(5.0)[:, None, None] + np.random.default_rng(3).normal(0, 0.1, size=(5, 1, 10))
    found = s.hump(X, rising, rising)
    assert found is not None
    assert found.best == 3  # the best of the inside
    assert found.p_ends > 0.99
    assert found.p_lines > 0.99


def test_noise_is_called_a_hump_at_most_as_often_as_alpha_says() -> None:
    rng = np.random.default_rng(4)
    ends, lines, flat_end = 0, 0, 0
    for _ in range(500):
        flat = s.hump(X, rng.normal(size=(5, 1, 4)), rng.normal(size=(5, 1, 10)))
        # the hardest case of the null: as high at one end as inside, far lower at the other
        plateau = np.array([-9.0, 0, 0, 0, 0])[:, None, None]
        edge = s.hump(X, plateau + rng.normal(size=(5, 1, 4)), plateau + rng.normal(size=(5, 1, 10)))
        assert flat is not None
        assert edge is not None
        ends += flat.p_ends <= 0.05
        lines += flat.p_lines <= 0.05
        flat_end += edge.p_ends <= 0.05
    assert ends <= 15
    assert lines <= 15
    assert flat_end <= 40  # 5 % of 500 and three standard errors


def test_choosing_on_the_test_runs_would_break_the_level() -> None:
    rng = np.random.default_rng(5)
    called = 0
    for _ in range(500):
        x = np.array([-9.0, 0, 0, 0, 0])[:, None, None] + rng.normal(size=(5, 1, 10))
        found = s.hump(X, x, x)
        assert found is not None
        called += found.p_ends <= 0.05
    assert called > 45  # the planted fault


@pytest.mark.parametrize("x", [X[:2], X[[0, 1, 1, 3, 4]]])
def test_there_is_no_hump_of_two_settings_or_of_equal_ones(x: np.ndarray) -> None:
    data = humped(1.0, 4)[: len(x)]
    assert s.hump(x, data, data) is None
