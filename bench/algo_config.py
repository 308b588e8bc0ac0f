"""What every algorithm's configuration begins with."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class AlgoConfig:
    """An algorithm; the name is its key in bench.algos.ALGOS or bench.exact.PROGRAMS."""

    name: str
