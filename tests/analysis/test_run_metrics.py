"""Metrics of metrics.csv and of learning curves, by hand."""

import math

import numpy as np
import pytest

from analysis import run_metrics as rm
from analysis.scores import METRICS

NAN = math.nan


def rows(**columns: list[float]) -> rm.Rows:
    return {name: np.array(values, dtype=float) for name, values in columns.items()}


def test_variances_are_the_log_of_the_mean_over_measured_versions() -> None:
    numbers = rm.version_metrics(rows(d_var=[1, NAN, 199], pg_var=[0, 0, 0], coverage=[5, 7, NAN]))
    assert numbers["d_variance"] == 2.0
    assert math.isnan(numbers["pg_variance"])  # no logarithm of 0
    assert numbers["coverage"] == 7.0
    assert math.isnan(numbers["entropy"])  # no such column


def test_the_ratio_of_variances_is_taken_row_by_row_where_both_are_measured() -> None:
    numbers = rm.version_metrics(rows(d_var_full=[1, 10, NAN], d_var_1step=[1, 1, 1]))
    assert numbers["d_variance_ratio"] == 0.5


def test_the_exact_return_is_the_last_and_its_area_the_mean() -> None:
    numbers = rm.version_metrics(rows(exact_return=[0.25, 0.5, 0.75], shift=[1, 2, 3]))
    assert (numbers["exact_return"], numbers["exact_auc"], numbers["shift"]) == (0.75, 0.5, 2.0)


def test_the_bias_is_the_mean_log_of_the_rows_that_have_one() -> None:
    assert rm.version_metrics(rows(delta2=[0.1, 0, 0.001]))["bias"] == -2.0


def test_the_bound_ratio_is_the_largest_and_skips_rows_without_bound_or_bias() -> None:
    numbers = rm.version_metrics(rows(delta2=[1, 2, 8, 0, 1e-30], bound=[10, 200, 80, 1, 0]))
    assert numbers["bound_ratio"] == pytest.approx(-1.0)
    assert numbers["bound_ratio_median"] == pytest.approx(-1.0)  # of 0.1, 0.01, 0.1
    assert math.isnan(rm.version_metrics(rows(delta2=[0, 0], bound=[1, 1]))["bound_ratio"])


def test_a_violated_bound_has_a_ratio_above_0_however_rare_it_is() -> None:
    numbers = rm.version_metrics(rows(delta2=[1] * 999 + [1.01], bound=[10] * 999 + [1]))
    assert numbers["bound_ratio"] > 0 > numbers["bound_ratio_median"]


def test_every_metric_comes_from_somewhere() -> None:
    """A name in the table without a rule would leave every run without a number."""
    from_games = {"score", "auc", "worst_drop", "collapsed"}
    across_runs = {"bias_matched", "eval_auc", "steps_to"}
    assert set(METRICS) == from_games | across_runs | set(rm.VERSION_METRICS)


def test_the_rank_correlation_is_spearmans_with_ties() -> None:
    numbers = rm.version_metrics(rows(kl_exact=[1, 2, 3, 4, 5], delta2=[1, 4, 9, 9, 100]))
    assert numbers["bias_rank"] == pytest.approx(0.9746794344808963)  # scipy.stats.spearmanr
    assert math.isnan(rm.version_metrics(rows(kl_exact=[1, 2, 3, 4], delta2=[1, 2, 3, 4]))["bias_rank"])
    assert math.isnan(rm.version_metrics(rows(kl_exact=[1] * 6, delta2=[1, 2, 3, 4, 5, 6]))["bias_rank"])


def test_mass_without_a_bound_is_a_violation() -> None:
    assert rm.version_metrics(rows(delta2=[1, 1], bound=[10, 0]))["bound_ratio"] == math.inf
    assert math.isnan(rm.version_metrics(rows(delta2=[1, math.inf], bound=[10, 1]))["bound_ratio"])


def test_the_relative_bias_keeps_its_sign() -> None:
    assert rm.version_metrics(rows(fresh_bias2=[30, -10], fresh_grad2=[10, 30]))["fresh_bias_ratio"] == 0.5
    assert rm.version_metrics(rows(fresh_bias2=[1, -10], fresh_grad2=[10, 8]))["fresh_bias_ratio"] == -0.5
    assert math.isnan(rm.version_metrics(rows(fresh_bias2=[1], fresh_grad2=[-1]))["fresh_bias_ratio"])


def test_bias_at_matched_return_uses_only_the_heights_that_all_arms_reached() -> None:
    slow = rows(exact_return=[0.05, 0.05, 0.25], delta2=[0.1, 0.001, 0.01])
    fast = rows(exact_return=[0.05, 0.95], delta2=[1, 1e-9])
    # Common: a regret of 0.95 alone. The fast arm's tiny bias near the optimum does not count for it.
    assert rm.matched_bias({"slow": slow, "fast": fast}) == {"slow": -2.0, "fast": 0.0}


def test_near_the_optimum_decades_of_regret_are_kept_apart() -> None:
    early, late = rows(exact_return=[0.91, 0.9999], delta2=[1, 1e-8]), rows(exact_return=[0.91], delta2=[1])
    assert rm.matched_bias({"converged": early, "not": late}) == {"converged": 0.0, "not": 0.0}


def test_heights_weigh_alike_however_many_rows_they_have() -> None:
    one = rows(exact_return=[0.05, 0.05, 0.05, 0.25], delta2=[1, 1, 1, 100])
    assert rm.matched_bias({"one": one}) == {"one": 1.0}


def test_the_end_of_a_bin_belongs_to_the_next_whatever_its_last_digit() -> None:
    assert set(rm.bias_by_regret(rows(exact_return=[0.9, 0.6 + 0.3, 1.2 - 0.3], delta2=[1, 1, 1]))) == {-10}


def test_arms_that_share_no_height_have_no_matched_bias_and_unmeasured_arms_do_not_count() -> None:
    low, high = rows(exact_return=[0.05], delta2=[1]), rows(exact_return=[0.95], delta2=[1])
    assert all(math.isnan(value) for value in rm.matched_bias({"low": low, "high": high}).values())
    assert rm.matched_bias({"low": low, "none": rows(exact_return=[NAN], delta2=[NAN])}) == {"low": 0.0}


def test_the_worst_drop_is_measured_from_the_running_maximum() -> None:
    assert rm.worst_drop(np.array([NAN, 0.25, 1.0, 0.5, 0.75, 0.25, 2.0, 1.5])) == 0.75
    assert rm.worst_drop(np.array([0.0, 0.5, 1.0])) == 0.0


@pytest.mark.parametrize(
    ("final", "peak", "expected"), [(0.49, 1.0, 1.0), (0.5, 1.0, 0.0), (-0.5, -0.1, 0.0), (-0.5, 0.25, 1.0)]
)
def test_a_run_has_collapsed_below_half_of_its_best_counted_from_random(
    final: float, peak: float, expected: float
) -> None:
    assert rm.collapsed(final, np.array([NAN, peak / 2, peak, final])) == expected


def test_without_a_score_or_a_range_nothing_is_known_about_a_collapse() -> None:
    assert math.isnan(rm.collapsed(NAN, np.array([1.0])))
    assert math.isnan(rm.collapsed(1.0, np.array([NAN])))


def test_the_final_evaluation_is_the_mean_of_the_last_fifth_and_of_two_at_least() -> None:
    assert rm.eval_score(rows(eval_return=[9, 9, 9, 9, 9, 9, 9, 9, 9, 1, NAN, 2])) == 4.0  # 11 of them, so the last 3
    assert rm.eval_score(rows(eval_return=[9, 1, 3, NAN])) == 2.0
    assert rm.eval_score(rows(eval_return=[NAN, 3])) == 3.0
    assert math.isnan(rm.eval_score(rows(eval_return=[NAN])))


def test_the_critics_calibration_and_loss_are_those_of_the_second_half() -> None:
    numbers = rm.version_metrics(rows(critic_calibration=[9, NAN, 9, 0.25, 0.75], loss_critic=[9, -2, -4, NAN, NAN]))
    assert (numbers["calibration"], numbers["critic_loss"]) == (0.5, -3.0)


def test_the_area_of_evaluations_is_a_mean_over_steps_not_over_rows() -> None:
    uneven = rows(step=[100, 200, 300, 700], eval_return=[0, 4, NAN, 4])
    assert rm.eval_area(uneven, 100, 700) == (100 * 2 + 500 * 4) / 600
    assert rm.eval_area(uneven, 150, 200) == 3.0  # 2 at step 150
    assert math.isnan(rm.eval_area(uneven, 50, 700))  # no extrapolation
    assert math.isnan(rm.eval_area(rows(step=[100], eval_return=[1]), 100, 100))


def test_areas_are_taken_over_the_steps_that_all_runs_of_a_task_have() -> None:
    runs = {
        ("a", "Hopper-v5", 0): rows(step=[100, 200, 900], eval_return=[1, 1, 1]),
        ("b", "Hopper-v5", 0): rows(step=[50, 800, 950], eval_return=[1, 1, NAN]),
        ("b", "Hopper-v5", 1): rows(step=[700], eval_return=[1]),
        ("b", "Ant-v5", 1): rows(step=[1, 2], eval_return=[1, 2]),
    }
    assert rm.eval_windows(runs) == {"Hopper-v5": (100.0, 800.0), "Ant-v5": (1.0, 2.0)}


def test_steps_to_a_threshold_are_a_share_of_the_budget_and_runs_that_never_reach_it_count_as_if_at_its_end() -> None:
    run = rows(step=[10, 100, 500, 1000], eval_return=[0, 5, NAN, 9])
    assert rm.steps_to(run, 5.0, 1000) == -1.0  # at the threshold is there
    assert rm.steps_to(run, 5.5, 1000) == 0.0  # at the very end
    assert rm.steps_to(run, 10.0, 1000) == 0.0  # never
    assert math.isnan(rm.steps_to(run, NAN, 1000))
    assert math.isnan(rm.steps_to(rows(eval_return=[NAN], step=[1]), 5.0, 1000))
