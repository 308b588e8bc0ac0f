"""Levels against published numbers and simulated motions; the whole rule, with Student's t, on simulated runs."""

import math

import numpy as np
import pytest
from scipy import stats as sp

from analysis.sequential import FUTILE, conditional_power, futile, level, levels, repeated_p, spent

FOUR = (5, 10, 15, 20)


def z_values(looks: tuple[int, ...], alpha: float = 0.05) -> list[float]:
    return [float(sp.norm.isf(value / 2)) for value in levels(looks, alpha)]


@pytest.mark.parametrize(
    ("looks", "z"),
    [  # Lan and DeMets 1983; Jennison and Turnbull 2000, table 7.2 and its program: alpha 0.05, two-sided
        (FOUR, [4.333, 2.963, 2.359, 2.014]),
        ((1, 2, 3, 4, 5), [4.877, 3.357, 2.680, 2.290, 2.031]),
        ((10, 20, 30), [3.710, 2.511, 1.993]),
        ((1, 2), [2.963, 1.969]),
        ((7,), [1.960]),
    ],
)
def test_levels_of_equally_spaced_looks_are_the_published_ones(looks: tuple[int, ...], z: list[float]) -> None:
    assert z_values(looks) == pytest.approx(z, abs=6e-4)


def crossed(looks: tuple[int, ...], bounds: list[float], reps: int = 400_000) -> np.ndarray:
    """Share of simulated Brownian motions that have crossed by each look."""
    rng = np.random.default_rng(0)
    steps = np.diff(np.array(looks) / looks[-1], prepend=0.0)
    motion, over, shares, time = np.zeros(reps), np.zeros(reps, bool), [], 0.0
    for step, bound in zip(steps, bounds, strict=True):
        motion, time = motion + rng.normal(0, math.sqrt(step), reps), time + step
        over |= np.abs(motion) / math.sqrt(time) > bound
        shares.append(over.mean())
    return np.array(shares)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("looks", [FOUR, (3, 4, 6, 8), (3, 19, 20)])
def test_a_motion_crosses_as_often_as_alpha_says_at_every_look(looks: tuple[int, ...], alpha: float) -> None:
    shares = crossed(looks, z_values(looks, alpha))
    due = np.array([spent(look / looks[-1], alpha) for look in looks])
    assert np.abs(shares - due) == pytest.approx(0, abs=4 * math.sqrt(alpha / 400_000))
    # The planted fault: looking at each as if it were the only one.
    assert crossed(looks, [float(sp.norm.isf(alpha / 2))] * len(looks))[-1] > 1.2 * alpha


def test_all_of_alpha_is_spent_and_no_more() -> None:
    """By SciPy's own normal distribution of two looks: P(no crossing) is that of a rectangle."""
    early, late = z_values((1, 2))
    inside = sp.multivariate_normal([0, 0], [[1, math.sqrt(0.5)], [math.sqrt(0.5), 1]]).cdf(
        [early, late], lower_limit=[-early, -late]
    )
    assert 1 - inside == pytest.approx(0.05, abs=1e-4)
    assert spent(1.0, 0.05) == pytest.approx(0.05)


def rejected(looks: tuple[int, ...], shift: float = 0.0, *, naive: bool = False, reps: int = 60_000) -> np.ndarray:
    """-1, 0 or 1 per simulated claim: decided below, not, or above 0 at the first look whose t test says so."""
    x = np.random.default_rng(1).normal(shift, 1.0, (reps, looks[-1]))
    found = np.zeros(reps)
    for n in looks:
        test = sp.ttest_1samp(x[:, :n], 0.0, axis=1)
        now = test.pvalue < (0.05 if naive else level(looks, n, 0.05))
        found = np.where((found == 0) & now, np.sign(test.statistic), found)
    return found


@pytest.mark.parametrize("looks", [FOUR, (3, 4, 6, 8), (3, 6, 9, 12)])
def test_looking_and_stopping_with_student_t_errs_as_often_as_it_says(looks: tuple[int, ...]) -> None:
    """Levels are a normal theory's: with a handful of runs the rate is 5.2 to 5.6 %, at most 3 % on either side."""
    found = rejected(looks)
    assert (found != 0).mean() < 0.058
    assert max((found > 0).mean(), (found < 0).mean()) < 0.03
    assert (rejected(looks, naive=True) != 0).mean() > 0.1


def test_looks_cost_hardly_any_power() -> None:
    looked, once = (rejected(looks, shift=0.75) > 0 for looks in (FOUR, (20,)))
    assert looked.mean() > once.mean() - 0.02
    assert once.mean() == pytest.approx(0.885, abs=0.01)


def test_a_repeated_p_value_is_the_alpha_whose_level_it_meets() -> None:
    for n in FOUR:
        for alpha in (0.3, 0.05, 0.0125, 1e-4):
            assert repeated_p(level(FOUR, n, alpha), FOUR, n) == pytest.approx(alpha, rel=1e-3)
    assert repeated_p(0.03, (20,), 20) == 0.03
    assert repeated_p(1.0, FOUR, 5) == 1.0
    assert repeated_p(0.0, FOUR, 5) < 1e-9


def test_seeds_between_looks_are_judged_by_the_level_of_the_look_that_they_passed() -> None:
    assert level(FOUR, 10, 0.05) == levels(FOUR, 0.05)[1]
    assert level(FOUR, 8, 0.05) == levels(FOUR, 0.05)[0]
    assert level(FOUR, 30, 0.05) == levels(FOUR, 0.05)[-1]
    assert level((), 4, 0.05) == level((9,), 4, 0.05) == 0.05


@pytest.mark.parametrize("looks", [(), (0, 5), (5, 5), (5, 4)])
def test_looks_that_do_not_rise_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="allowed: rising numbers of seeds"):
        levels(looks, 0.05)


@pytest.mark.parametrize("direction", ["greater", "less", "equal"])
@pytest.mark.parametrize("estimate", [0.05, 0.4, 1.1])
def test_conditional_power_is_the_share_of_simulated_futures_that_decide(direction: str, estimate: float) -> None:
    n, most, sd, margin, nominal = 10, 40, 1.0, 0.5, 0.044
    rng = np.random.default_rng(2)
    later = (n * estimate + rng.normal(estimate, sd, (100_000, most - n)).sum(1)) / most
    half = sp.t.isf(nominal / 2, most - 1) * sd / math.sqrt(most)
    low, high = later - half, later + half
    if direction == "equal":
        decided = ((-margin < low) & (high < margin)) | (low > margin) | (high < -margin)
    else:
        end = margin if direction == "greater" else -margin
        decided = (low > end) | (high < end)
    found = conditional_power(estimate, sd, n, most, direction, margin, nominal)
    assert found == pytest.approx(decided.mean(), abs=0.006)
    assert futile(estimate, sd, n, most, direction, margin, nominal) == (found < FUTILE)


def test_what_is_at_the_margin_is_futile_and_what_is_far_from_it_is_not() -> None:
    assert futile(0.5, 1.0, 10, 20, "greater", 0.5, 0.05)
    assert futile(-0.5, 1.0, 10, 20, "less", 0.5, 0.05)
    assert futile(0.5, 1.0, 10, 20, "equal", 0.5, 0.05)
    assert not futile(2.0, 1.0, 10, 20, "greater", 0.5, 0.05)
    assert not futile(-1.0, 1.0, 10, 20, "greater", 0.5, 0.05)  # it will be refuted
    assert not futile(0.0, 1.0, 10, 40, "equal", 0.8, 0.05)
    assert futile(0.0, 1.0, 10, 40, "equal", 0.3, 0.05)  # no interval of 40 seeds fits into that margin


def test_with_all_seeds_made_there_is_no_chance_left() -> None:
    assert conditional_power(0.6, 1.0, 20, 20, "greater", 0.5, 0.05) == 0.0
    assert conditional_power(1.6, 1.0, 20, 20, "greater", 0.5, 0.05) == 1.0
