"""One run's metrics.csv -> one number per metric. Rows are those up to the matched steps; a blank was not measured."""

import math
from collections.abc import Callable

import numpy as np
from scipy import stats as sp

Rows = dict[str, np.ndarray]  # column of metrics.csv -> `[V]`, one number per policy version or instance

RANK_FROM = 5  # rows that a rank correlation needs
REGRET_BINS = 10  # per decade of 1 - exact_return, within which two arms count as equally good
ROUNDING = 1e-20  # of a squared bias that is 0
LEAST_REGRET = 1e-9  # rounding of a linear solve


def measured(rows: Rows, *names: str) -> list[np.ndarray]:
    """These columns in the rows that have all of them; empty where one is absent. Infinite counts as not measured."""
    if any(name not in rows for name in names):
        return [np.empty(0) for _ in names]
    table = np.stack([rows[name] for name in names])
    return list(table[:, np.isfinite(table).all(0)])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan


def mean_of(name: str) -> Callable[[Rows], float]:
    """Mean over rows."""
    return lambda rows: _mean(*measured(rows, name))


def last_of(name: str) -> Callable[[Rows], float]:
    """Last value."""

    def last(rows: Rows) -> float:
        (values,) = measured(rows, name)
        return float(values[-1]) if len(values) else math.nan

    return last


def first_of(name: str) -> Callable[[Rows], float]:
    """First value."""

    def first(rows: Rows) -> float:
        (values,) = measured(rows, name)
        return float(values[0]) if len(values) else math.nan

    return first


def log_of_mean(name: str) -> Callable[[Rows], float]:
    """log10 of the mean over rows; a mean of 0 has none."""
    return lambda rows: _log10(_mean(*measured(rows, name)))


def mean_log_ratio(above: str, below: str) -> Callable[[Rows], float]:
    """Mean over rows of log10(above / below); NaN where one of them is 0."""

    def ratio(rows: Rows) -> float:
        x, y = measured(rows, above, below)
        return _mean(np.log10(x / y)) if (x > 0).all() and (y > 0).all() else math.nan

    return ratio


def mean_log(name: str) -> Callable[[Rows], float]:
    """Mean over rows of log10, of the rows above 0."""

    def log(rows: Rows) -> float:
        (values,) = measured(rows, name)
        return _mean(np.log10(values[values > 0]))

    return log


def rank_of(first: str, second: str) -> Callable[[Rows], float]:
    """Spearman's rank correlation over rows; NaN below RANK_FROM rows or where one side never changes."""

    def rank(rows: Rows) -> float:
        x, y = measured(rows, first, second)
        if len(x) < RANK_FROM or np.ptp(x) == 0 or np.ptp(y) == 0:
            return math.nan
        return float(np.corrcoef(sp.rankdata(x), sp.rankdata(y))[0, 1])

    return rank


def log_ratio(above: str, below: str, over: Callable[[np.ndarray], float]) -> Callable[[Rows], float]:
    """log10 of the largest (`over=np.max`) or median above / below; infinite where below is 0 and above is not.

    Rows where above is 0 have no logarithm and do not count, nor do those where below is 0 and above is rounding. A row
    with an infinite number leaves the run without a ratio: nothing is known about it.
    """

    def ratio(rows: Rows) -> float:
        if any(np.isinf(rows.get(name, np.empty(0))).any() for name in (above, below)):
            return math.nan
        x, y = measured(rows, above, below)
        counts = (x > 0) & ((y > 0) | (x > ROUNDING))
        x, y = x[counts], y[counts]
        if not len(x):
            return math.nan
        value = float(over(np.divide(x, y, out=np.full(len(x), math.inf), where=y > 0)))
        return math.log10(value)

    return ratio


def ratio_of_means(above: str, below: str) -> Callable[[Rows], float]:
    """mean(above) / mean(below), of either sign; NaN where the lower mean is not above 0."""

    def ratio(rows: Rows) -> float:
        x, y = (_mean(values) for values in measured(rows, above, below))
        return x / y if y > 0 else math.nan

    return ratio


VERSION_METRICS: dict[str, Callable[[Rows], float]] = {
    "d_variance": log_of_mean("d_var"),
    "pg_variance": log_of_mean("pg_var"),
    "d_variance_ratio": mean_log_ratio("d_var_full", "d_var_1step"),
    "pg_variance_ratio": mean_log_ratio("pg_var_full", "pg_var_1step"),
    "entropy": mean_of("entropy"),
    "coverage": last_of("coverage"),
    "coverage_mean": mean_of("coverage"),
    "exact_return": last_of("exact_return"),
    "exact_auc": mean_of("exact_return"),
    "shift": mean_of("shift"),
    "first_shift": first_of("shift"),
    "bias": mean_log("delta2"),
    "bias_rank": rank_of("kl_exact", "delta2"),
    "bound_ratio": log_ratio("delta2", "bound", np.max),
    "bound_ratio_median": log_ratio("delta2", "bound", np.median),
    "bound_ratio_stale": log_ratio("delta2_stale", "bound_stale", np.max),
    "fresh_bias_rank": rank_of("kl", "fresh_bias2"),
    "fresh_bias_ratio": ratio_of_means("fresh_bias2", "fresh_grad2"),
}


def version_metrics(rows: Rows) -> dict[str, float]:
    """Every metric that a run's rows give on their own."""
    return {name: metric(rows) for name, metric in VERSION_METRICS.items()}


def bias_by_regret(rows: Rows) -> dict[int, float]:
    """Bin of log10(1 - exact_return) -> mean log10 delta2 of its rows (those with delta2 above 0).

    Bins of regret, not of return: near the optimum the bias falls by decades within the last tenth of the return.
    """
    height, delta2 = measured(rows, "exact_return", "delta2")
    keep = delta2 > 0
    decades = np.log10(np.maximum(1 - height[keep], LEAST_REGRET))
    # Rounded first: a regret of 0.1 belongs to the bin that begins there, whatever its last binary digit.
    bins, logs = np.floor(np.round(REGRET_BINS * decades, 9)).astype(int), np.log10(delta2[keep])
    return {int(b): float(logs[bins == b].mean()) for b in np.unique(bins)}


def matched_bias(arms: dict[str, Rows]) -> dict[str, float]:
    """Arm -> mean log10 delta2 at matched regret: the mean over the bins that every arm has rows in, of the bin's mean.

    Arms without any measured row do not count. No common bin: NaN.
    Args: arms: the runs of one task and seed.
    """
    found = {arm: bins for arm, rows in arms.items() if (bins := bias_by_regret(rows))}
    common = set.intersection(*(set(bins) for bins in found.values())) if found else set()
    return {arm: _mean(np.array([bins[b] for b in sorted(common)])) for arm, bins in found.items()}


def worst_drop(curve: np.ndarray) -> float:
    """Largest fall of a learning curve below its running maximum. Args: curve: `[bins]`, NaN before its first game."""
    values = curve[np.isfinite(curve)]
    return float((np.maximum.accumulate(values) - values).max()) if len(values) else math.nan


def collapsed(final: float, curve: np.ndarray) -> float:
    """1 if the final score is below half of the curve's maximum, else 0; both counted from 0, a random agent.

    Args: final, curve `[bins]`: task-normalised.
    """
    values = curve[np.isfinite(curve)]
    if math.isnan(final) or not len(values):
        return math.nan
    return float(max(final, 0.0) < 0.5 * max(float(values.max()), 0.0))
