"""Statistics on matrices of one number per training run. Pure: arrays in, numbers out, no files, no plotting.

Rows are runs (seeds), columns are tasks: `[R, T]`. The run is the only unit of replication. SciPy and
statsmodels do what they can; ours are the IQM's interval (its resampling: `analysis.bootstrap`), the prediction
interval and the worst-case imputation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats as sp
from scipy.optimize import brentq
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from analysis.bootstrap import joint_iqm_error

JUDGED_REPS = 100_000  # resamples of an interval that decides a claim
MAX_SEEDS = 8192  # power analyses stop here: nobody trains more


@dataclass(frozen=True)
class Estimate:
    """A point and what is known about it. `p_value(margin)` is two-sided against that margin; 1 without any spread."""

    value: float
    low: float
    high: float
    n: int  # runs per task
    sd: float  # per-run standard deviation that the interval's width stands for
    kind: str
    p_value: Callable[[float], float]

    def equivalence_p(self, margin: float) -> float:
        """p of "the value lies outside +- margin": two tests, each at alpha / 2, as the (1 - alpha) interval reads.

        Source: Schuirmann 1987 (two one-sided tests; there each at alpha).
        """
        return max(self.p_value(margin), self.p_value(-margin))


def _checked(x: np.ndarray, least: int = 2) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if len(x) < least:
        raise ValueError(f"n = {len(x)}: no interval below n = {least}")
    if not np.isfinite(x).all():
        raise ValueError("NaN or infinity among the runs: count them as missing, do not average over them")
    return x


def _is_alike(x: np.ndarray, spread: float) -> bool:
    """True where all runs agree but for rounding."""
    return spread <= 1e-12 * float(np.abs(x).max())


def iqm(x: np.ndarray) -> float:
    """Interquartile mean over all entries: the mean of the middle half. Source: Agarwal et al. 2021."""
    return float(sp.trim_mean(np.ravel(x), 0.25))


def mean(x: np.ndarray) -> float:
    """Mean over all entries."""
    return float(np.mean(x))


def median(x: np.ndarray) -> float:
    """Median over all entries."""
    return float(np.median(x))


def _by_t(centre: float, error: float, freedom: int, alpha: float) -> tuple[float, float, Callable[[float], float]]:
    """centre +- t error, and the two-sided p value against a margin: 1 without any error, which tells nothing apart."""
    half = float(sp.t.ppf(1 - alpha / 2, freedom)) * error

    def p_value(margin: float) -> float:
        return 1.0 if error == 0 else float(2 * sp.t.sf(abs(centre - margin) / error, freedom))

    return centre - half, centre + half, p_value


def student_t(x: np.ndarray, alpha: float = 0.05) -> Estimate:
    """Mean of one task's runs (or paired differences) with Student's t: mean +- t s / sqrt(n).

    Args: x: `[R]`, R >= 2, finite; alpha: 1 - nominal coverage.
    """
    x = _checked(x)
    value, sd, n = float(x.mean()), float(x.std(ddof=1)), len(x)
    sd = 0.0 if _is_alike(x, sd) else sd
    low, high, p_value = _by_t(value, sd / math.sqrt(n), n - 1, alpha)
    return Estimate(value, low, high, n, sd, "Student-t", p_value)


def paired(a: np.ndarray, b: np.ndarray, alpha: float = 0.05) -> Estimate:
    """Mean of A - B over pairs with Student's t. Args: a, b: `[R]`, row i of both is the same seed."""
    return student_t(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), alpha)


def welch(a: np.ndarray, b: np.ndarray, alpha: float = 0.05) -> Estimate:
    """Mean difference of two independent groups, unequal variances. Args: a: `[R]`; b: `[Q]`; R, Q >= 2."""
    a, b = _checked(a), _checked(b)
    value = float(a.mean() - b.mean())
    if a.std() == 0 and b.std() == 0:
        return Estimate(
            value,
            value,
            value,
            min(len(a), len(b)),
            0.0,
            "Welch-t",
            lambda _: 1.0,
        )
    ci = sp.ttest_ind(a, b, equal_var=False).confidence_interval(1 - alpha)
    sd = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    return Estimate(
        value,
        float(ci.low),
        float(ci.high),
        min(len(a), len(b)),
        sd,
        "Welch-t",
        lambda margin: float(sp.ttest_ind(a - margin, b, equal_var=False).pvalue),
    )


def iqm_estimate(x: np.ndarray, alpha: float = 0.05, reps: int = JUDGED_REPS, seed: int = 0) -> Estimate:
    """IQM over runs and tasks: IQM +- t SE, t of Student with R - 1 degrees of freedom, SE of resampled whole rows.

    SE is taken two of its own Monte-Carlo errors larger, 1 + 2 / sqrt(2 reps), so that what it decides does not hang on
    the seed of the resampling. The row, one seed's runs on all tasks, is the unit: where tasks are dependent within a
    seed, resampling them apart would call the same evidence several times. For a mean in place of the IQM this is
    Student's t.
    Source: Agarwal et al. 2021, section 4.2 for the IQM; `analysis.bootstrap` for SE; measured by
    `python -m analysis selftest`, as are the percentiles that it replaces.
    Args: x: `[R, T]`, R >= 2, finite; reps: resamples; seed: of the resampling.
    """
    x = _checked(x)
    error, freedom = joint_iqm_error(x, reps, seed) * (1 + 2 / math.sqrt(2 * reps)), len(x) - 1
    error, value = 0.0 if _is_alike(x, error) else error, iqm(x)
    low, high, p_value = _by_t(value, error, freedom, alpha)
    kind = "Student-t of the IQM, bootstrap of whole seeds"
    return Estimate(value, low, high, len(x), error * math.sqrt(len(x)), kind, p_value)


def binary_difference(d: np.ndarray, arms: int, alpha: float) -> Estimate:
    """Difference of shares, paired by seed, with two runs' worth of evidence on either side added before Student's t.

    Without it, arms that never (or always) fail would have an interval of no width. One arm: two ones and two zeros
    (Agresti and Coull 1998); two arms: half a +1, half a -1 and a 0 (Agresti and Min 2005); four: the same at +-2.
    Args: d: `[R, T]` of 0 and 1 and their differences, R >= 2; one number per seed is taken, its mean over tasks.
    """
    per_seed = _checked(d).mean(1)
    extra, weight = ([0.0, 1.0], [2.0, 2.0]) if arms == 1 else ([-arms / 2, 0.0, arms / 2], [0.5, 1.0, 0.5])
    values, weights = np.append(per_seed, extra), np.append(np.ones(len(per_seed)), weight)
    total = weights.sum()
    centre = float((weights * values).sum() / total)
    sd = math.sqrt(float((weights * (values - centre) ** 2).sum() / total))
    low, high, p_value = _by_t(centre, sd / math.sqrt(total), len(per_seed) - 1, alpha)
    return Estimate(mean(per_seed), low, high, len(per_seed), sd, "adjusted Student-t of a share", p_value)


def difference(d: np.ndarray, alpha: float, reps: int = JUDGED_REPS, seed: int = 0) -> Estimate:
    """Differences of a contrast, a row per seed: one task by Student's t, several by `iqm_estimate`.

    Args: d: `[R, T]`, R >= 2, finite.
    """
    return student_t(d[:, 0], alpha) if d.shape[1] == 1 else iqm_estimate(d, alpha, reps, seed)


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> float:
    """P(A > B) of two random runs of a task, ties half, mean over tasks: the Mann-Whitney U over R Q.

    Args: a: `[R, T]`; b: `[Q, T]`, finite.
    """
    a, b = _checked(a, least=1), _checked(b, least=1)
    u = sp.mannwhitneyu(a, b, axis=0, method="asymptotic").statistic
    return float(np.mean(u / (len(a) * len(b))))


def holm(p: list[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the given order."""
    return [float(value) for value in multipletests(p, method="holm")[1]] if len(p) > 1 else list(p)


def share_bound(found: int, n: int, level: float = 0.95) -> float:
    """Upper bound of a share of which `found` of `n` independent runs were seen, exact (Clopper and Pearson 1934)."""
    return 1.0 if found == n else float(sp.beta.ppf(level, found + 1, n - found))


def seeds_for_power(effect: float, alpha: float = 0.05, power: float = 0.8, *, is_paired: bool = False) -> int | None:
    """Seeds per arm with which a two-sided t test finds the effect with that power; None above MAX_SEEDS.

    Args: effect: true difference in standard deviations (of the differences when paired, else of one arm).
    """
    test = TTestPower() if is_paired else TTestIndPower()
    size = min(abs(effect), 10.0)  # beyond, SciPy's non-central t overflows, and a handful of seeds does anyway

    def reached(n: int) -> bool:
        # The tail on the other side adds nothing at any power of interest and overflows to NaN.
        return bool(test.power(size, n, alpha / 2, alternative="larger") >= power)

    high = 2
    while not reached(high):
        high *= 2
        if high > MAX_SEEDS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


@cache
def detectable_effect(n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest difference, in standard deviations of the pairs, that a two-sided paired t test of n seeds finds.

    Found where P(T > t_crit) = power for T non-central t with n - 1 degrees of freedom, non-centrality d sqrt(n).
    Args: n: 2 or more; alpha: two-sided.
    """
    freedom = n - 1
    critical = float(sp.t.ppf(1 - alpha / 2, freedom))
    # P(Z + d sqrt(n) > t_crit chi / sqrt(df)), averaged over chi: SciPy's non-central t overflows at few seeds.
    chi = np.sqrt(sp.chi2.ppf((np.arange(2000) + 0.5) / 2000, freedom) / freedom)

    def missing(delta: float) -> float:
        return float(sp.norm.cdf(delta - critical * chi).mean()) - power

    return float(brentq(missing, 0, 2 * critical + 10)) / math.sqrt(n)


def prediction_interval(ours: np.ndarray, theirs: float, n_theirs: int, alpha: float = 0.05) -> Estimate:
    """Ours minus a reported mean of n runs, given only our spread: diff +- t s sqrt(1/n_ours + 1/n_theirs).

    Args: ours: `[R]`, R >= 2; theirs: the reported number; n_theirs: its runs (1 where unknown).
    """
    ours = _checked(ours)
    value, sd, n = float(ours.mean()) - theirs, float(ours.std(ddof=1)), len(ours)
    scale = sd * math.sqrt(1 / n + 1 / n_theirs)
    low, high, p_value = _by_t(value, scale, n - 1, alpha)
    return Estimate(value, low, high, n, sd, "prediction interval", p_value)


def impute_worst(x: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Missing runs replaced by the given value of their task. Args: x: `[R, T]` with NaN; fill: `[T]`."""
    return np.where(np.isnan(x), fill, x)


def small_n_sentence(n: int) -> str:
    """What an interval of so few runs is really worth; empty from 10 runs on.

    Source: the project's simulations (Gaussian runs, heterogeneous tasks, 600-2000 trials, +-2 points).
    """
    if n >= 10:
        return ""
    return (
        "Few runs: the real coverage of a nominal 95 % percentile bootstrap of one task's mean is about 75 % "
        "at n = 3, 83-85 % at n = 5 and 90 % at n = 10, that of the IQM over five tasks 68 % at n = 2, 84 % at "
        "n = 3 and 89 % at n = 5 (simulated). So intervals here are Student-t's with the seed as the unit, which hold "
        "95 % (`python -m analysis selftest`) and are wide: 5 seeds per arm detect only a difference of 2.0 standard "
        "deviations with 80 % power (17 seeds for 1.0; Welch, two-sided)."
    )
