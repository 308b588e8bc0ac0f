"""Resampling of whole runs: against SciPy, against enumeration, by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as sp

from analysis import bootstrap, stats

X = np.random.default_rng(0).normal(size=(6, 5)) + np.arange(5)


def ragged(x: np.ndarray) -> np.ndarray:
    """The last task has two runs less."""
    y = x.copy()
    y[-2:, -1] = math.nan
    return y


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("mean", X.mean()),
        ("median", np.median(X.mean(axis=0))),
        ("iqm", sp.trim_mean(X.ravel(), 0.25)),
        ("optimality_gap", 1 - np.minimum(X, 1).mean()),
    ],
)
def test_points_are_the_textbook_ones(statistic, expected):
    assert bootstrap.point(X, statistic) == pytest.approx(expected)


@pytest.mark.parametrize("statistic", list(bootstrap.AGGREGATES))
def test_a_statistic_of_counts_is_that_of_the_runs_drawn(statistic):
    drawn = np.random.default_rng(1).integers(0, 6, size=(1, 6, 5))
    counts = bootstrap._counted(drawn, 6)
    resample = np.take_along_axis(X, drawn[0], axis=0)
    assert bootstrap.AGGREGATES[statistic](counts, X)[0] == pytest.approx(bootstrap.point(resample, statistic))


def test_two_runs_of_one_task_have_the_enumerated_distribution():
    draws = bootstrap.draws(np.array([[0.0], [1.0]]), "mean", reps=40_000)
    shares = [float((draws == value).mean()) for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.01)


def test_draws_of_one_task_agree_with_scipy():
    x = np.random.default_rng(2).normal(size=40)
    ours = bootstrap.percentiles(bootstrap.draws(x[:, None], "mean", 20_000))
    theirs = sp.bootstrap((x,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_strata_are_kept_apart():
    # Equal runs within each task: resampling within tasks changes nothing, across tasks it would.
    found = bootstrap.aggregate(np.tile([0.0, 1.0, 2.0, 3.0], (5, 1)), "iqm")
    assert found == bootstrap.Interval(1.5, 1.5, 1.5, 5)


def test_the_interval_of_the_mean_of_one_task_is_students():
    x = np.random.default_rng(3).normal(size=(9, 1))
    found, exact = bootstrap.aggregate(x, "mean", reps=50_000), stats.student_t(x[:, 0])
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), rel=0.02)


def test_results_do_not_depend_on_threads_and_do_on_the_seed(monkeypatch):
    monkeypatch.setattr(bootstrap, "_CHUNK", 3000)
    two = bootstrap.draws(X, "iqm", 1001, seed=5)
    monkeypatch.setattr(bootstrap, "THREADS", 1)
    assert len(two) == 1001
    assert (bootstrap.draws(X, "iqm", 1001, seed=5) == two).all()
    assert (bootstrap.draws(X, "iqm", 1001, seed=6) != two).any()


@pytest.mark.parametrize("statistic", list(bootstrap.AGGREGATES))
def test_tasks_with_fewer_runs_weigh_the_same(statistic):
    twice = np.concatenate([X, X])
    twice[6:, 0] = math.nan  # the first task has 6 runs, the others the same 6 twice
    cut = int(0.25 * X.size) / X.size  # SciPy cuts whole runs, the weighted quarters are exact
    near = 0.02 if statistic == "iqm" and cut != 0.25 else 1e-12
    assert bootstrap.point(twice, statistic) == pytest.approx(bootstrap.point(X, statistic), rel=near)


def test_where_the_missing_runs_stand_does_not_matter():
    first = np.roll(ragged(X), 2, axis=0)
    assert bootstrap.aggregate(first, "iqm", seed=1).low == pytest.approx(
        bootstrap.aggregate(bootstrap.packed(first), "iqm", seed=1).low
    )
    assert bootstrap.aggregate(first, "mean").n == 4


def test_a_seed_that_is_lost_on_every_task_changes_nothing():
    lost = np.concatenate([X, np.full((1, 5), math.nan)])
    assert bootstrap.aggregate(lost, "iqm") == bootstrap.aggregate(X, "iqm")
    assert bootstrap.improvement(lost, X) == bootstrap.improvement(X, X)
    thresholds = np.array([0.0, 1.0])
    assert (bootstrap.performance_profile(lost, thresholds)[0] == bootstrap.performance_profile(X, thresholds)[0]).all()


def test_a_task_of_one_run_has_no_interval_and_one_of_none_is_refused():
    alone = bootstrap.aggregate(X[:1], "mean")
    assert alone.value == pytest.approx(X[0].mean())
    assert math.isnan(alone.low)
    with pytest.raises(ValueError, match="n = 0"):
        bootstrap.aggregate(np.full((2, 2), math.nan), "mean")
    with pytest.raises(ValueError, match="finite"):
        bootstrap.aggregate(np.array([[1.0], [math.inf]]), "mean")


def test_the_profile_is_the_share_above_each_threshold():
    x = np.array([[0.0, 1.0], [2.0, 3.0]])
    value, low, high = bootstrap.performance_profile(x, np.array([-1.0, 0.5, 1.5, 9.0]))
    assert value == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert ((low >= 0) & (high <= 1) & (low <= value + 1e-9) & (value <= high + 1e-9)).all()
    assert (low[0], high[0]) == (1.0, 1.0)


def test_improvement_agrees_with_the_mann_whitney_u_and_counts_ties_half():
    a, b = X, X[:4] + 0.3
    assert bootstrap.improvement(a, b).value == pytest.approx(stats.probability_of_improvement(a, b))
    same = bootstrap.improvement(np.ones((3, 2)), np.ones((4, 2)))
    assert (same.value, same.low, same.high) == (0.5, 0.5, 0.5)


def test_improvement_and_its_reverse_add_up_to_one():
    there, back = bootstrap.improvement(ragged(X), X[:3]), bootstrap.improvement(X[:3], ragged(X))
    assert there.value + back.value == pytest.approx(1.0)
    assert there.n == 3


def test_runs_that_all_agree_do_not_make_improvement_certain():
    sure = bootstrap.improvement(np.ones((5, 1)), np.zeros((5, 1)))
    exact = sp.binomtest(5, 5).proportion_ci(0.95, method="exact")
    assert (sure.value, sure.low, sure.high) == (1.0, pytest.approx(exact.low), 1.0)
    never = bootstrap.improvement(np.zeros((5, 1)), np.ones((5, 1)))
    assert (never.low, never.high) == (0.0, pytest.approx(1 - exact.low))


def test_the_spread_of_improvement_is_that_of_resampled_runs():
    a, b = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])
    pairs = list(itertools.product([0.0, 2.0], repeat=2))
    others = list(itertools.product([1.0, 3.0], repeat=2))
    shares = [np.mean([x > y for x in p for y in q]) for p in pairs for q in others]
    found = bootstrap.improvement(a, b, reps=50_000)
    half = sp.t.ppf(0.975, 2) * np.std(shares) * math.sqrt(2)
    assert found.high - found.value == pytest.approx(min(half, 1 - found.value), rel=0.02)


def test_a_curve_is_resampled_by_whole_runs():
    run = np.random.default_rng(4).normal(size=(5, 3, 1))
    curve = run + np.zeros((1, 1, 4))  # every run is constant along training
    value, low, high = bootstrap.curve_band(curve, "mean")
    assert np.ptp(value) == pytest.approx(0)
    assert np.ptp(high - low) == pytest.approx(0)  # so its band is as wide everywhere
    noise = np.random.default_rng(5).normal(size=(5, 3, 400))
    _, low, high = bootstrap.curve_band(noise - noise.mean(axis=2, keepdims=True), "mean")
    assert np.mean(high - low) > 0  # and of runs that cancel along training the area has none: whole runs, not points


def test_rows_that_move_together_have_a_larger_joint_error():
    row = np.random.default_rng(6).normal(size=(10, 1))
    together, apart = np.tile(row, (1, 9)), np.random.default_rng(7).normal(size=(10, 9))
    assert bootstrap.joint_iqm_error(together) > 2 * bootstrap.joint_iqm_error(apart)
