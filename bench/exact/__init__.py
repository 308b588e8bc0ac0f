"""What finite MDPs allow to compute instead of to sample: gradients, the bias of an algorithm, its bound."""

import math
from collections.abc import Callable, Iterator
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from bench.errors import DivergedError

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


def rows(config: "RunConfig") -> Iterator[dict[str, float]]:
    """The rows of a run's program. Raises: DivergedError: one cannot be computed, or holds what is no number."""
    try:
        for row in program(config.algo.name)(config):
            for name, value in row.items():
                if not math.isfinite(value):
                    raise DivergedError(f"{name} is {value} at step {row['step']:g}")
            yield row
    except ArithmeticError as error:  # by the spread of a policy that has none, of numbers that 64 bits do not hold
        raise DivergedError(f"the configuration of algo={config.algo.name} leads out of 64 bits: {error}") from None
