import math

import numpy as np
import pytest

from analysis import stats


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert stats.iqm(np.array([0.0, 1.0, 2.0, 3.0, 100.0, -50.0, 1.0, 2.0])) == 1.5


def test_student_t_by_hand() -> None:
    e = stats.student_t(np.array([1.0, 2.0, 3.0]))
    half = 4.302652729749464 / math.sqrt(3)  # t(0.975, 2) s / sqrt(n), s = 1
    assert (e.value, e.n, e.sd) == (2.0, 3, 1.0)
    assert e.low == pytest.approx(2 - half)
    assert e.high == pytest.approx(2 + half)


def test_the_interval_excludes_a_margin_exactly_when_its_p_value_is_below_alpha() -> None:
    e = stats.student_t(np.array([1.0, 2.0, 3.0, 2.5]))
    assert e.p_value(e.low) == pytest.approx(0.05)
    assert e.p_value(e.low - 0.1) < 0.05 < e.p_value(e.low + 0.1)


@pytest.mark.parametrize("x", [2.0, 0.1])  # the mean of three 0.1 is not 0.1 to the last bit
def test_equal_runs_give_a_point_and_decide_nothing(x: float) -> None:
    e = stats.student_t(np.full(3, x))
    assert (e.sd, e.low, e.high) == (0.0, e.value, e.value)
    assert e.value == pytest.approx(x)
    assert (e.p_value(x), e.p_value(x - 1)) == (1.0, 1.0)


@pytest.mark.parametrize("call", [stats.student_t, stats.iqm_estimate])
def test_one_run_has_no_interval(call) -> None:
    with pytest.raises(ValueError, match="n = 1"):
        call(np.ones((1, 3)))


@pytest.mark.parametrize("call", [stats.student_t, stats.iqm_estimate])
def test_nan_is_refused_not_averaged_over(call) -> None:
    x = np.ones((3, 2))
    x[1, 1] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        call(x)


def test_the_iqm_interval_repeats_with_its_seed_and_differs_with_another() -> None:
    x = np.random.default_rng(1).normal(size=(5, 4))
    a, b, c = (stats.iqm_estimate(x, seed=s, reps=2000) for s in (3, 3, 4))
    assert (a.low, a.high) == (b.low, b.high)
    assert (a.low, a.high) != (c.low, c.high)


def test_equal_rows_have_an_iqm_without_width() -> None:
    e = stats.iqm_estimate(np.tile([0.0, 1.0, 2.0, 3.0], (5, 1)), reps=500)
    assert e.low == e.high == e.value == 1.5
    assert (e.p_value(1.5), e.p_value(1.0)) == (1.0, 1.0)


def test_tasks_that_move_together_are_one_piece_of_evidence() -> None:
    one = np.random.default_rng(1).normal(size=(8, 1))
    alone, five = stats.student_t(one[:, 0]), stats.iqm_estimate(np.tile(one, (1, 8)))
    assert five.high - five.low > 0.9 * (alone.high - alone.low)  # eight copies say no more than one


def test_the_iqm_interval_and_its_p_value_agree() -> None:
    e = stats.iqm_estimate(np.random.default_rng(1).normal(size=(6, 4)))
    assert e.p_value(e.low) == pytest.approx(0.05)
    assert e.sd / math.sqrt(6) * 2.5705818366147395 == pytest.approx(e.high - e.value)  # t of 5 degrees of freedom


def test_equivalence_is_two_one_sided_tests() -> None:
    from statsmodels.stats.weightstats import DescrStatsW

    x = np.array([0.1, -0.2, 0.3, 0.05, -0.1])
    p, _, _ = DescrStatsW(x).ttost_mean(-0.4, 0.4)
    assert stats.student_t(x).equivalence_p(0.4) == pytest.approx(2 * p)  # each at alpha / 2


def test_ties_count_half_in_the_probability_of_improvement() -> None:
    a, b = np.array([[1.0], [2.0]]), np.array([[1.0], [0.0]])
    assert stats.probability_of_improvement(a, b) == (0.5 + 1 + 1 + 1) / 4


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_welch_power_has_the_textbook_numbers() -> None:
    assert stats.seeds_for_power(1.0) == 17
    assert stats.seeds_for_power(2.03) == 5


def test_no_number_of_seeds_finds_a_zero_effect_and_few_find_a_huge_one() -> None:
    assert stats.seeds_for_power(0.0) is None
    assert stats.seeds_for_power(1e6, is_paired=True) <= 3


def test_more_effect_never_needs_more_seeds() -> None:
    needed = [stats.seeds_for_power(d, 0.0125, is_paired=True) for d in (0.1, 0.3, 1.0, 1.9, 3.0, 8.0)]
    assert needed == sorted(needed, reverse=True)


def test_prediction_interval_by_hand() -> None:
    e = stats.prediction_interval(np.array([1.0, 2.0, 3.0]), theirs=1.0, n_theirs=5)
    half = 4.302652729749464 * math.sqrt(1 / 3 + 1 / 5)
    assert (e.value, e.low, e.high) == (1.0, pytest.approx(1 - half), pytest.approx(1 + half))


def test_prediction_interval_widens_when_they_ran_once() -> None:
    x = np.array([1.0, 2.0, 3.0])
    assert stats.prediction_interval(x, 0.0, 1).high > stats.prediction_interval(x, 0.0, 5).high


def test_welch_equals_scipys_p_at_zero() -> None:
    from scipy.stats import ttest_ind

    a, b = np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.5, 0.25, 1.0])
    assert stats.welch(a, b).p_value(0.0) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue)


def test_the_small_n_sentence_ends_at_ten_runs() -> None:
    assert "75 %" in stats.small_n_sentence(3)
    assert stats.small_n_sentence(10) == ""


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (5, 0.05), (20, 0.005)])
def test_the_detectable_effect_is_found_with_the_stated_power(n: int, alpha: float) -> None:
    from statsmodels.stats.power import TTestPower

    effect = stats.detectable_effect(n, alpha)
    assert TTestPower().power(effect, n, alpha / 2, alternative="larger") == pytest.approx(0.8, abs=1e-4)


def test_a_difference_of_shares_is_adjusted_by_two_runs_by_hand() -> None:
    # 4 pairs of difference 0, with half a +1, half a -1 and a 0 added: variance 1 / 6 over 6.
    estimate = stats.binary_difference(np.zeros((4, 1)), 2, 0.05)
    half = 3.182446305284263 * math.sqrt(1 / 6 / 6)  # t of 3 degrees of freedom
    assert (estimate.value, estimate.low, estimate.high) == (0.0, pytest.approx(-half), pytest.approx(half))


def test_a_share_of_one_arm_is_pulled_towards_a_half() -> None:
    estimate = stats.binary_difference(np.ones((6, 1)), 1, 0.05)
    assert estimate.value == 1.0
    assert (estimate.low + estimate.high) / 2 == pytest.approx(8 / 10)  # two ones and two zeros added


def test_one_task_has_the_mean_and_several_the_iqm() -> None:
    d = np.array([[0.0, 2.0, 9.0, 1.0], [2.0, 4.0, 9.0, 1.0], [4.0, 3.0, 9.0, 1.0]])
    assert stats.difference(d[:, :1], 0.05).kind == "Student-t"
    assert stats.difference(d, 0.05).value == stats.iqm(d)
