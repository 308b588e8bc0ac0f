import math

import numpy as np
import pandas as pd
import pytest

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


def test_variances_are_the_log_of_the_mean_over_measured_versions() -> None:
    rows = pd.DataFrame(
        {
            "step": [1, 2, 3],
            "d_var": [1.0, math.nan, 199.0],
            "pg_var": [0.0, 0.0, 0.0],
            "coverage": [5.0, 7.0, math.nan],
        }
    )
    numbers = scores.version_metrics(rows, end=3)
    assert numbers["d_variance"] == 2.0
    assert math.isnan(numbers["pg_variance"])  # no logarithm of 0
    assert numbers["coverage"] == 7.0
    assert math.isnan(numbers["entropy"])  # no such column


def test_rows_after_the_matched_steps_are_left_out() -> None:
    rows = pd.DataFrame({"step": [1, 20], "d_var": [10.0, 1e9]})
    assert scores.version_metrics(rows, end=10)["d_variance"] == 1.0


def test_human_normalisation_is_0_for_random_and_1_for_human() -> None:
    assert scores.human_normalised(np.array([163.9, 13455.0]), "Qbert") == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("game", ["AirRaid", "Carnival", "JourneyEscape", "Pooyan", "CartPole-v1"])
def test_a_task_without_human_score_is_not_normalisable(game: str) -> None:
    assert scores.human_normalised(np.array([1.0]), game) is None


def test_the_papers_relative_score_by_hand() -> None:
    assert scores.relative_score(proposed=6.0, baseline=2.0, human=10.0, random=2.0) == 0.5
    assert scores.relative_score(proposed=20.0, baseline=12.0, human=10.0, random=4.0) == 1.0


def test_without_human_score_the_baseline_alone_is_the_denominator() -> None:
    assert scores.relative_score(proposed=6.0, baseline=4.0, human=None, random=2.0) == 1.0


def test_a_denominator_that_is_not_positive_gives_no_relative_score() -> None:
    assert scores.relative_score(proposed=6.0, baseline=1.0, human=1.5, random=2.0) is None
