"""What finite MDPs allow to compute instead of to sample: gradients, the bias of an algorithm, its bound."""

from collections.abc import Callable, Iterator
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.config import RunConfig

# Algorithms without interaction: each takes (config) and yields the rows of metrics.csv.
PROGRAMS = {
    "baseline_fit": "bench.exact.baseline_fit:fit",
    "exact_ascent": "bench.exact.ascent:ascend",
    "proposition1": "bench.exact.proposition1:sweep",
    "uae_variance": "bench.exact.advantages:sweep_lambdas",
}


def program(name: str) -> "Callable[[RunConfig], Iterator[dict[str, float]]]":
    """The program of this name."""
    found: Callable[[RunConfig], Iterator[dict[str, float]]] = resolve_name(PROGRAMS[name])
    return found
