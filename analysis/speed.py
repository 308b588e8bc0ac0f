"""How long the statistics take: python -m analysis speed [runs=5000] [reps=50000] [seed=0].

Synthetic normalised scores of eight arms on 57 tasks, as many seeds as give the asked number of runs. Every interval
that the suite prints is made once, with `reps` resamples each: aggregates, performance profiles and bands of learning
curves of every arm; probability of improvement and the judged difference of every pair; Student-t intervals of every
task and pair. The bands are of means: an interquartile mean at 100 points costs a hundred aggregates, and the suite
draws it with its default of 2 000. Last, the same IQM interval as plain NumPy writes it (gather, then
`scipy.stats.trim_mean`), in turn with ours, as a ratio that does not depend on the machine.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats as sp

from analysis import bootstrap, stats
from analysis.call import Call

ARMS, TASKS, POINTS = 8, 57, 100
THRESHOLDS = np.linspace(-1, 4, 101)
PEER_REPS, TURNS = 2000, 3


def parts(x: np.ndarray, curves: np.ndarray, reps: int, seed: int) -> Iterator[tuple[str, int, Callable[[], object]]]:
    """What is timed: name, number of intervals, and the call.

    Args: x: `[arms, R, T]`; curves: `[arms, R, T, C]`.
    """
    pairs = list(itertools.combinations(range(len(x)), 2))
    for name in bootstrap.AGGREGATES:
        make = functools.partial(bootstrap.aggregate, statistic=name, reps=reps, seed=seed)
        yield f"{name} of an arm", len(x), functools.partial(list, map(make, x))
    profile = len(THRESHOLDS) * len(x)
    yield "profile", profile, lambda: [bootstrap.performance_profile(a, THRESHOLDS, 0.05, reps, seed) for a in x]
    yield "improvement", len(pairs), lambda: [bootstrap.improvement(x[i], x[j], 0.05, reps, seed) for i, j in pairs]
    yield "judged difference", len(pairs), lambda: [stats.difference(x[i] - x[j], 0.05, reps, seed) for i, j in pairs]
    tasks = range(x.shape[2])
    of_tasks = [(i, j, task) for i, j in pairs for task in tasks]
    yield (
        "difference on a task",
        len(of_tasks),
        lambda: [stats.student_t((x[i] - x[j])[:, task]) for i, j, task in of_tasks],
    )
    points = len(x) * curves.shape[3]
    yield "learning curve", points, lambda: [bootstrap.curve_band(c, "mean", 0.05, reps, seed) for c in curves]


def plain_iqm(x: np.ndarray, reps: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the IQM as it is usually written. Args: x: `[R, T]`."""
    rng, (runs, tasks) = np.random.default_rng(seed), x.shape
    drawn = [
        float(sp.trim_mean(x[rng.integers(runs, size=(runs, tasks)), np.arange(tasks)].ravel(), 0.25))
        for _ in range(reps)
    ]
    return bootstrap.percentiles(np.array(drawn))


def ratios(x: np.ndarray, seed: int) -> list[float]:
    """Time of the plain interval over ours, in turns. Args: x: `[R, T]`."""
    found = []
    for turn in range(TURNS):
        began = time.perf_counter()
        plain_iqm(x, PEER_REPS, seed + turn)
        between = time.perf_counter()
        bootstrap.aggregate(x, "iqm", 0.05, PEER_REPS, seed + turn)
        found.append((between - began) / (time.perf_counter() - between))
    return found


def run(call: Call) -> int:
    """Time and print."""
    runs, reps, seed = call.whole("runs", 5000), call.whole("reps", 50_000, least=100), call.whole("seed", 0, least=0)
    seeds = max(2, round(runs / (ARMS * TASKS)))
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 0.5, size=(ARMS, seeds, TASKS))
    curves = np.cumsum(rng.gamma(2.0, 0.5 / POINTS, size=(ARMS, seeds, TASKS, POINTS)), axis=3)
    print(f"{ARMS} arms x {TASKS} tasks x {seeds} seeds = {x.size} runs; {reps} resamples; {os.cpu_count()} cores\n")
    print(f"{'interval':24}{'number':>8}{'seconds':>10}")
    total = 0.0
    for name, number, make in parts(x, curves, reps, seed):
        began = time.perf_counter()
        make()
        spent = time.perf_counter() - began
        total += spent
        print(f"{name:24}{number:8}{spent:10.2f}", flush=True)
    print(f"{'all':32}{total:10.2f}")
    found = ratios(x[0], seed)
    spread = f"{min(found):.1f} to {max(found):.1f} in {TURNS} turns"
    print(
        f"\nplain NumPy and SciPy over ours, IQM of an arm, {PEER_REPS} resamples: {np.median(found):.1f} x ({spread})"
    )
    return 0
