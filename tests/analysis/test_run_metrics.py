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
    across_runs = {"bias_matched"}
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
