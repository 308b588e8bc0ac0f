"""Statistics of a `[runs, tasks]` matrix by resampling whole runs. Pure: arrays in, numbers out, seeded.

A resample draws as many runs of each task as there are, with replacement: within each task on its own (stratified), or
whole rows, one seed's runs on all tasks together (joint). It is kept as counts, how often each run was drawn, so that
one set of draws serves every statistic, each a sum over counts. The same draws serve all checkpoints of a curve.

Intervals are value +- t SE: SE the standard deviation of the resamples times sqrt(n / (n - 1)), because drawing n runs
from n understates a variance by that much, t of Student with the degrees of freedom of the runs. Percentiles of the
same draws (`draws`, `percentiles`), the usual form, cover too rarely below some 20 runs; `python -m analysis selftest`
prints both.

Sources: Agarwal et al. 2021, section 4 (IQM, optimality gap, profiles, stratified bootstrap); Efron 1979; Hesterberg
2015, section 5 (the factor and t).
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats as sp

REPS = 10_000
THREADS = 2
_CHUNK = 2_000_000  # counts made at once by a thread, to bound memory
_BLOCK = 100_000  # counts summed at once, to stay in the cache

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]  # counts `[reps, R, T]`, x `[R, T]` -> `[reps]`


@dataclass(frozen=True)
class Interval:
    """A number and its interval; `n`: runs of the task that has fewest. Without an interval (n = 1) low, high: NaN."""

    value: float
    low: float
    high: float
    n: int


# --- draws -----------------------------------------------------------------------------------------------------------


def _sizes(x: np.ndarray, least: int) -> np.ndarray:
    """Runs per task, `[T]`. Errors: ValueError: a task has too few, or an infinity."""
    if x.ndim < 2 or np.isinf(x).any():
        raise ValueError(f"a matrix [runs, tasks] of finite numbers is needed, found shape {x.shape}")
    sizes: np.ndarray = np.isfinite(x).sum(axis=0)
    if (sizes < least).any():
        raise ValueError(f"n = {sizes.min()}: no interval below n = {least}")
    return sizes


def packed(x: np.ndarray) -> np.ndarray:
    """Each task's runs first, then NaN for those that it does not have; as many rows as the most runs of a task."""
    order = np.argsort(np.isnan(x), axis=0, kind="stable")
    return np.asarray(np.take_along_axis(x, order, axis=0))[: int(np.isfinite(x).sum(axis=0).max())]


def _counted(drawn: np.ndarray, runs: int) -> np.ndarray:
    """How often each run was drawn, `[reps, runs, T]`. Args: drawn: `[reps, draws, T]`; `runs` stands for none."""
    kind = np.uint8 if runs < 256 else np.int32
    return np.stack([(drawn == run).sum(axis=1, dtype=kind) for run in range(runs)], axis=1)


def stratified_counts(sizes: np.ndarray, reps: int, rng: np.random.Generator) -> np.ndarray:
    """Counts of resamples within each task. Args: sizes: `[T]` runs of each. Returns `[reps, R, T]`."""
    runs, shape = int(sizes.max()), (reps, int(sizes.max()), len(sizes))
    kind = np.uint8 if runs < 255 else np.int32
    if (sizes == runs).all():
        return _counted(rng.integers(0, runs, size=shape, dtype=kind), runs)
    drawn = rng.integers(0, sizes, size=shape, dtype=kind)
    drawn[:, np.arange(runs)[:, None] >= sizes] = runs  # a task with fewer runs draws fewer
    return _counted(drawn, runs)


@cache
def joint_counts(runs: int, reps: int, seed: int) -> np.ndarray:
    """Counts of resamples of whole rows, remembered: claims share sizes. Returns `[reps, runs]`, not to be written."""
    rng = np.random.default_rng(seed)
    counts = _counted(rng.integers(0, runs, size=(reps, runs, 1), dtype=np.int32), runs)[..., 0]
    counts.flags.writeable = False
    return counts


def _in_chunks(reps: int, size: int, seed: int, make: Callable[[int, np.random.Generator], np.ndarray]) -> np.ndarray:
    """`make(reps, generator)` for parts of the reps, on several threads, the same for any number of them."""
    parts = max(1, math.ceil(reps * size / _CHUNK))
    counts = [len(part) for part in np.array_split(np.arange(reps), parts)]
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(parts)]
    with ThreadPoolExecutor(THREADS) as pool:
        return np.concatenate(list(pool.map(make, counts, generators)))


# --- statistics of counts ---------------------------------------------------------------------------------------------


def _task_means(counts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`[reps, T]`: mean of each task's drawn runs."""
    sizes = np.isfinite(x).sum(axis=0)
    return np.asarray(np.einsum("krt,rt->kt", counts, np.nan_to_num(x), optimize=True) / sizes)


def of_mean(counts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Mean over tasks of the tasks' means."""
    return np.asarray(_task_means(counts, x).mean(axis=1))


def of_median(counts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Median over tasks of the tasks' means, as Agarwal et al. 2021 define it."""
    return np.asarray(np.median(_task_means(counts, x), axis=1))


def of_optimality_gap(counts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """1 minus the mean of scores cut off at 1 (Agarwal et al. 2021, gamma = 1)."""
    return 1.0 - of_mean(counts, np.minimum(x, 1.0))


def _middle_mean(counts: np.ndarray, pick: np.ndarray, values: np.ndarray, cut: int) -> np.ndarray:
    """Mean of what is left of resamples without the `cut` smallest and the `cut` largest.

    With c_i draws of the i smallest runs, cut to b_i = clip(c_i, cut, N - cut), the sum of the middle is
    b_N v_N - cut v_1 - sum_i b_i (v_{i+1} - v_i).
    Args: counts: `[reps, M]`; pick: `[N]` column of each run; values: `[N]` the runs, increasing. Returns `[reps]`.
    """
    total = len(values)
    steps, ends = np.diff(values), (total - cut) * values[-1] - cut * values[0]
    size = max(1, _BLOCK // total)
    sums = np.empty(len(counts))
    for start in range(0, len(counts), size):
        block = np.cumsum(counts[start : start + size][:, pick[:-1]], axis=1, dtype=np.int32)
        sums[start : start + size] = np.clip(block, cut, total - cut, out=block) @ steps
    return np.asarray((ends - sums) / (total - 2 * cut))


def of_iqm(counts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interquartile mean over runs and tasks: the mean of the middle half, cut as `scipy.stats.trim_mean` cuts.

    Where tasks have unequally many runs each task has the same weight, and the quarters are cut to the exact share.
    """
    sizes = np.isfinite(x).sum(axis=0)
    flat, total = x.ravel(), int(sizes.sum())
    order = np.argsort(flat, kind="stable")[:total]  # NaN last
    counts = counts.reshape(len(counts), -1)
    if (sizes == sizes[0]).all():
        return _middle_mean(counts, order, flat[order], int(0.25 * total))
    weight = np.tile(1 / sizes, len(x))[order]
    below = np.clip(np.cumsum(counts[:, order] * weight, axis=1), 0.25 * len(sizes), 0.75 * len(sizes))
    return np.asarray(np.diff(below, axis=1, prepend=0.25 * len(sizes)) @ flat[order] / (0.5 * len(sizes)))


AGGREGATES: dict[str, Statistic] = {
    "mean": of_mean,
    "median": of_median,
    "iqm": of_iqm,
    "optimality_gap": of_optimality_gap,
}


def point(x: np.ndarray, statistic: str) -> float:
    """The statistic of the runs themselves. Args: x: `[R, T]`, NaN: the task has fewer runs."""
    x = np.asarray(x, dtype=float)
    _sizes(x, 1)
    x = packed(x)
    return float(AGGREGATES[statistic](np.isfinite(x)[None].astype(np.uint8), x)[0])


# --- intervals --------------------------------------------------------------------------------------------------------


def draws(x: np.ndarray, statistic: str, reps: int = REPS, seed: int = 0) -> np.ndarray:
    """The statistic of stratified resamples, `[reps]`. Args: x: `[R, T]`, two runs and more of each task."""
    x = packed(np.asarray(x, dtype=float))
    sizes = _sizes(x, 2)
    of = AGGREGATES[statistic]
    return _in_chunks(reps, x.size, seed, lambda k, rng: of(stratified_counts(sizes, k, rng), x))


def percentiles(drawn: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """The percentile interval. Args: drawn: `[reps]`."""
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def _half_width(se: np.ndarray, sizes: np.ndarray, alpha: float) -> np.ndarray:
    """t SE. Args: se: of the resamples; sizes: runs of each independent stratum."""
    least = int(sizes.min())
    return np.asarray(sp.t.ppf(1 - alpha / 2, int((sizes - 1).sum())) * se * math.sqrt(least / (least - 1)))


def aggregate(x: np.ndarray, statistic: str, alpha: float = 0.05, reps: int = REPS, seed: int = 0) -> Interval:
    """A statistic over runs and tasks with its interval, tasks resampled independently.

    Args: x: `[R, T]`, NaN: the task has fewer runs; statistic: key of AGGREGATES.
    """
    x = np.asarray(x, dtype=float)
    value, sizes = point(x, statistic), _sizes(x, 1)
    if sizes.min() < 2:
        return Interval(value, math.nan, math.nan, int(sizes.min()))
    half = float(_half_width(draws(x, statistic, reps, seed).std(ddof=1), sizes, alpha))
    return Interval(value, value - half, value + half, int(sizes.min()))


def performance_profile(
    x: np.ndarray, thresholds: np.ndarray, alpha: float = 0.05, reps: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of runs above each threshold, tasks weighing the same, with a pointwise band cut to [0, 1].

    Args: x: `[R, T]`, NaN: fewer runs, two at least; thresholds: `[K]`. Returns value, low, high: `[K]` each.
    """
    x = packed(np.asarray(x, dtype=float))
    sizes = _sizes(x, 2)
    above = ((x[..., None] > thresholds) / (sizes[:, None] * len(sizes))).reshape(x.size, -1).astype(np.float32)

    def shares(k: int, rng: np.random.Generator) -> np.ndarray:
        return np.asarray(stratified_counts(sizes, k, rng).reshape(k, -1).astype(np.float32) @ above)

    half = _half_width(_in_chunks(reps, x.size, seed, shares).std(axis=0, ddof=1), sizes, alpha)
    value = above.sum(axis=0, dtype=np.float64)
    return value, np.clip(value - half, 0, 1), np.clip(value + half, 0, 1)


def _wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`[T, R, Q]`: 1 where run of A beats run of B on the task, ties half, 0 where one of them is not there."""
    difference = a.T[:, :, None] - b.T[:, None, :]
    return np.nan_to_num(np.where(np.isnan(difference), 0.0, (np.sign(difference) + 1) / 2))


def improvement(a: np.ndarray, b: np.ndarray, alpha: float = 0.05, reps: int = REPS, seed: int = 0) -> Interval:
    """P(A > B) of random runs of a task, ties half, mean over tasks, with an interval cut to [0, 1].

    Where all runs agree the interval ends at Clopper and Pearson's bound for as many pairs of runs.
    Args: a: `[R, T]`; b: `[Q, T]`; NaN: the task has fewer runs. Source: Agarwal et al. 2021, section 4.3.
    """
    a, b = packed(np.asarray(a, dtype=float)), packed(np.asarray(b, dtype=float))
    of_a, of_b = _sizes(a, 1), _sizes(b, 1)
    share = _wins(a, b) / (of_a * of_b * a.shape[1])[:, None, None]
    value, least = float(share.sum()), int(min(of_a.min(), of_b.min()))
    if least < 2:
        return Interval(value, math.nan, math.nan, least)

    of_task = np.ascontiguousarray(share, dtype=np.float32)

    def wins(k: int, rng: np.random.Generator) -> np.ndarray:
        drawn_a, drawn_b = (
            np.ascontiguousarray(stratified_counts(sizes, k, rng).transpose(2, 0, 1), dtype=np.float32)
            for sizes in (of_a, of_b)
        )
        return np.asarray((drawn_a @ of_task * drawn_b).sum(axis=(0, 2)))

    if value in (0.0, 1.0):  # no resample differs: what as many independent pairs that all agree still allow
        pairs = int(np.minimum(of_a, of_b).sum())
        inside = (alpha / 2) ** (1 / pairs)
        low, high = (0.0, 1 - inside) if value == 0 else (inside, 1.0)
        return Interval(value, low, high, least)
    se = _in_chunks(reps, a.size + b.size, seed, wins).std(ddof=1)
    half = float(_half_width(se, np.concatenate([of_a, of_b]), alpha))
    return Interval(value, max(0.0, value - half), min(1.0, value + half), least)


def curve_band(
    x: np.ndarray, statistic: str = "iqm", alpha: float = 0.05, reps: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic along training with a pointwise band; a resample draws whole runs, the same at every checkpoint.

    Args: x: `[R, T, C]` finite. Returns value, low, high: `[C]` each.
    """
    x = np.asarray(x, dtype=float)
    sizes, of = _sizes(x[..., 0], 2), AGGREGATES[statistic]

    def lines(k: int, rng: np.random.Generator) -> np.ndarray:
        counts = stratified_counts(sizes, k, rng)
        if statistic == "mean":  # of all checkpoints at once
            share = (x / sizes[:, None] / len(sizes)).reshape(-1, x.shape[2]).astype(np.float32)
            return np.asarray(counts.reshape(k, -1).astype(np.float32) @ share)
        return np.stack([of(counts, x[..., c]) for c in range(x.shape[2])], axis=1)

    drawn = _in_chunks(reps, x[..., 0].size, seed, lines)
    value = np.array([point(x[..., c], statistic) for c in range(x.shape[2])])
    half = _half_width(drawn.std(axis=0, ddof=1), sizes, alpha)
    return value, value - half, value + half


def joint_iqm_error(x: np.ndarray, reps: int = REPS, seed: int = 0) -> float:
    """Standard error of the IQM, whole rows drawn: also right where a seed's runs on several tasks resemble each other.

    Args: x: `[R, T]` finite, R >= 2.
    """
    runs, flat = len(x), x.ravel()
    rows, order = joint_counts(runs, reps, seed), np.argsort(flat, kind="stable")
    pick, values, cut = order // x.shape[1], flat[order], int(0.25 * len(flat))
    parts = max(1, reps * x.size // _CHUNK)
    if parts == 1:
        means = _middle_mean(rows, pick, values, cut)
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda part: _middle_mean(part, pick, values, cut), np.array_split(rows, parts))
            means = np.concatenate(list(found))
    return float(means.std(ddof=1)) * math.sqrt(runs / (runs - 1))
