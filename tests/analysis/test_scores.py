import math

import numpy as np

from analysis import scores


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
