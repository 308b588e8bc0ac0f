"""What finite MDPs allow to compute instead of to sample: gradients, the bias of an algorithm, its bound."""

from collections.abc import Callable, Iterator

from bench.config import RunConfig
from bench.exact.advantages import sweep_lambdas
from bench.exact.ascent import ascend
from bench.exact.baseline_fit import fit
from bench.exact.proposition1 import sweep
from bench.exact.trace import Trace

# Algorithms without interaction: each yields the rows of metrics.csv.
PROGRAMS: dict[str, Callable[[RunConfig], Iterator[dict[str, float]]]] = {
    "baseline_fit": fit,
    "exact_ascent": ascend,
    "proposition1": sweep,
    "uae_variance": sweep_lambdas,
}

__all__ = ["PROGRAMS", "Trace"]
