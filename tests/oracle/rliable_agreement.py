"""Our aggregates beside those of rliable 1.2.0, in an environment of its own: `make rliable`.

rliable does not work with the pandas of this project (3), so it is no dependency and this is no pytest module. Points
must agree to rounding; percentile intervals and bands within Monte-Carlo error, of which rliable cannot be seeded but
through NumPy's global generator. Our own intervals are t intervals from the same draws (analysis/bootstrap.py): they
are shown beside, and are wider where runs are few.
"""

import sys
from collections.abc import Callable

import numpy as np
from rliable import library, metrics

from analysis import bootstrap

REPS = 20_000
SIZES = ((3, 5), (5, 26), (10, 57))
THEIRS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "iqm": metrics.aggregate_iqm,
    "optimality_gap": metrics.aggregate_optimality_gap,
}
failures: list[str] = []


def compare(name: str, ours: float, theirs: float, tolerance: float) -> None:
    agrees = abs(ours - theirs) <= tolerance
    print(f"  {name:28}{ours:12.6f}{theirs:12.6f}   within {tolerance:.1e}: {'yes' if agrees else 'NO'}")
    if not agrees:
        failures.append(name)


def aggregates(x: np.ndarray) -> None:
    for name, theirs in THEIRS.items():
        compare(name, bootstrap.point(x, name), float(theirs(x)), 1e-12)
        np.random.seed(0)
        _, interval = library.get_interval_estimates({"a": x}, lambda y, f=theirs: np.array([f(y)]), reps=REPS)
        drawn = bootstrap.draws(x, name, REPS)
        low, high = bootstrap.percentiles(drawn)
        near = 0.05 * (high - low)  # of a quantile of 20 000 draws, some five standard errors
        compare(f"{name}: percentile, low", low, float(interval["a"][0, 0]), near)
        compare(f"{name}: percentile, high", high, float(interval["a"][1, 0]), near)
        own = bootstrap.aggregate(x, name, reps=REPS)
        print(f"  {name + ': ours, t':28}{own.low:12.6f}{own.high:12.6f}")


def improvement(x: np.ndarray, y: np.ndarray) -> None:
    compare("improvement", bootstrap.improvement(x, y).value, float(metrics.probability_of_improvement(x, y)), 1e-12)
    tied = np.round(x), np.round(y)
    theirs = float(metrics.probability_of_improvement(*tied))
    compare("improvement with ties", bootstrap.improvement(*tied).value, theirs, 1e-12)


def profile(x: np.ndarray) -> None:
    thresholds = np.linspace(0, 3, 13)
    theirs, _ = library.create_performance_profile({"a": x}, thresholds, reps=100)
    ours, _, _ = bootstrap.performance_profile(x, thresholds, reps=100)
    compare("profile, largest difference", float(np.abs(ours - theirs["a"]).max()), 0.0, 1e-6)


def main() -> int:
    for runs, tasks in SIZES:
        rng = np.random.default_rng(runs)
        x, y = (rng.gamma(2.0, 0.5, size=(runs, tasks)) + rng.normal(size=tasks) for _ in range(2))
        print(f"{runs} runs x {tasks} tasks{'ours':>24}{'rliable':>12}")
        aggregates(x)
        improvement(x, y)
        profile(x)
    print(f"{len(failures)} disagreements{': ' + ', '.join(failures) if failures else ''}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
