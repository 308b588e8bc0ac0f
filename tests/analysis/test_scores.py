import math

import numpy as np

from analysis import scores
from analysis.run_metrics import collapsed


def arrays(*games: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    steps, returns = zip(*games, strict=True)
    return np.array(steps, dtype=float), np.array(returns, dtype=float)


def test_the_score_is_the_mean_of_the_games_in_the_last_tenth() -> None:
    assert scores.final_score(*arrays((50, 1), (900, 2), (901, 4), (1000, 8)), 900, 1000) == (6.0, "window")


def test_games_after_the_matched_steps_do_not_count() -> None:
    assert scores.final_score(*arrays((950, 4), (1001, 100)), 900, 1000)[0] == 4.0


def test_without_a_game_in_the_window_all_games_count_and_the_rule_says_so() -> None:
    assert scores.final_score(*arrays((10, 2), (800, 4)), 900, 1000) == (3.0, "all games")


def test_without_any_game_there_is_no_score() -> None:
    value, rule = scores.final_score(np.empty(0), np.empty(0), 900, 1000)
    assert math.isnan(value)
    assert rule == "no finished game"


def test_bins_are_closed_on_the_right_and_carry_the_last_value_forward() -> None:
    curve = scores.binned_curve(*arrays((250, 2), (251, 4), (500, 8)), end=1000, bins=4)
    assert curve.tolist() == [2.0, 6.0, 6.0, 6.0]


def test_before_the_first_finished_game_the_curve_has_no_value() -> None:
    curve = scores.binned_curve(*arrays((600, 2)), end=1000, bins=4)
    assert np.isnan(curve).tolist() == [True, True, False, False]


def stationary_run(
    mean_length: float, seed: int, steps: int = 24_576, actors: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Games of a policy that never changes: geometric lengths, return = length, actors side by side."""
    rng = np.random.default_rng(seed)
    ends, returns = [], []
    for _ in range(actors):
        lengths = np.minimum(rng.geometric(1 / mean_length, size=steps), 500)
        stops = np.cumsum(lengths) * actors
        keep = stops <= steps
        ends.append(stops[keep])
        returns.append(lengths[keep])
    order = np.argsort(np.concatenate(ends), kind="stable")
    return np.concatenate(ends)[order].astype(float), np.concatenate(returns)[order].astype(float)


def test_a_policy_that_never_changes_hardly_ever_counts_as_collapsed() -> None:
    """Bins of single games would: half of the highest of a hundred noisy bins is above the run's own mean."""
    share = {}
    for bins in (scores.STABILITY_BINS, scores.GRID):
        fell = []
        for seed in range(200):
            steps, returns = stationary_run(100.0, seed)
            curve = scores.binned_curve(steps, returns, 24_576, bins) / 500
            final, _ = scores.final_score(steps, returns, 0.9 * 24_576, 24_576)
            fell.append(collapsed(final / 500, curve))
        share[bins] = np.mean(fell)
    assert share[scores.STABILITY_BINS] < 0.1
    assert share[scores.GRID] > 0.5  # what the coarse bins are for
