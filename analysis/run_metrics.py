"""One run's metrics.csv -> one number per metric. Rows are those up to the matched steps; a blank was not measured."""

import math
from collections.abc import Callable

import numpy as np
from scipy import stats as sp

Rows = dict[str, np.ndarray]  # column of metrics.csv -> `[V]`, one number per policy version or instance

RANK_FROM = 5  # rows that a rank correlation needs
REGRET_BINS = 10  # per decade of 1 - exact_return, within which two arms count as equally good
ROUNDING = 1e-20  # of a squared bias that is 0
LAST = 0.2  # share of a run's evaluations that its final evaluation is the mean of
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


def late_mean_of(name: str) -> Callable[[Rows], float]:
    """Mean over the second half of the rows that have one."""

    def late(rows: Rows) -> float:
        (values,) = measured(rows, name)
        return _mean(values[len(values) // 2 :])

    return late


def eval_score(rows: Rows) -> float:
    """Mean of the last fifth of a run's evaluations, of two at least where there are two."""
    (values,) = measured(rows, "eval_return")
    return _mean(values[-max(2, math.ceil(LAST * len(values))) :])


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


def at_lambda(name: str, decay: float = 0.95) -> Callable[[Rows], float]:
    """Value in the row of this lambda, the paper's."""

    def value(rows: Rows) -> float:
        lambdas, values = measured(rows, "trace_decay", name)
        found = values[np.isclose(lambdas, decay)]
        return float(found[-1]) if len(found) else math.nan

    return value


def extreme_of(name: str, over: Callable[[np.ndarray], float]) -> Callable[[Rows], float]:
    """Smallest (`over=np.min`) or largest value of the rows."""

    def extreme(rows: Rows) -> float:
        (values,) = measured(rows, name)
        return float(over(values)) if len(values) else math.nan

    return extreme


def log_of(metric: Callable[[Rows], float]) -> Callable[[Rows], float]:
    """log10 of a metric; one of 0 has none."""
    return lambda rows: _log10(metric(rows))


VERSION_METRICS: dict[str, Callable[[Rows], float]] = {
    "d_variance": log_of_mean("d_var"),
    "pg_variance": log_of_mean("pg_var"),
    "d_variance_ratio": mean_log_ratio("d_var_full", "d_var_1step"),
    "pg_variance_ratio": mean_log_ratio("pg_var_full", "pg_var_1step"),
    "uae_variance_ratio": mean_log_ratio("pg_var_uae", "pg_var_gae"),
    "eval_score": eval_score,
    "calibration": late_mean_of("critic_calibration"),
    "critic_loss": late_mean_of("loss_critic"),
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
    "advantage_variance": log_of(at_lambda("advantage_variance")),
    "advantage_mse": log_of(at_lambda("advantage_mse")),
    "gradient_bias2": at_lambda("gradient_bias2"),
    "gradient_error": log_of(at_lambda("gradient_error")),
    "gradient_error_best": log_of(extreme_of("gradient_error", np.min)),
    "gradient_shift": extreme_of("gradient_shift", np.max),
    "heldout_residual": log_of(last_of("heldout_residual")),
    "heldout_variance": log_of(last_of("heldout_variance")),
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


def eval_area(rows: Rows, start: float, end: float) -> float:
    """Mean over start..end of the evaluation return, linear between evaluations; NaN beyond the run's own evaluations.

    Args: start, end: agent steps.
    """
    steps, values = measured(rows, "step", "eval_return")
    if len(steps) < 2 or not steps[0] <= start < end <= steps[-1]:
        return math.nan
    inside = steps[(steps > start) & (steps < end)]
    grid = np.array([start, *inside, end])
    return float(np.trapezoid(np.interp(grid, steps, values), grid) / (end - start))


def eval_windows(runs: dict[tuple[str, str, int], Rows]) -> dict[str, tuple[float, float]]:
    """Task -> the agent steps between which all of its runs, in any arm, have evaluations (two and more).

    Args: runs: rows by (arm, task, seed).
    """
    windows: dict[str, tuple[float, float]] = {}
    for (_, task, _), rows in runs.items():
        steps, _ = measured(rows, "step", "eval_return")
        if len(steps) >= 2:
            low, high = windows.get(task, (-math.inf, math.inf))
            windows[task] = max(low, float(steps[0])), min(high, float(steps[-1]))
    return windows


def steps_to(rows: Rows, threshold: float, end: float) -> float:
    """log10(agent steps until the first evaluation at or above the threshold / end); 0 if there is none up to `end`.

    NaN without evaluations or threshold. Args: threshold: raw return; end: the budget, agent steps.
    """
    steps, values = measured(rows, "step", "eval_return")
    if not len(steps) or math.isnan(threshold):
        return math.nan
    reached = steps[values >= threshold]
    return min(0.0, math.log10(max(float(reached[0]), 1.0) / end)) if len(reached) else 0.0


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
