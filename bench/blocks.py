"""Blocks of seeds that learn in one process (`seeds_per_process`): which seeds, and what can be made so."""

from typing import TYPE_CHECKING

from bench.dpo_config import DpoConfig
from bench.errors import require

if TYPE_CHECKING:
    from bench.config import RunConfig

MOST_SEEDS = 256  # of a process, which holds the replay of each


def seeds_of_block(seed: int, count: int) -> range:
    """The seeds that learn with this one. Args: count: seeds per process."""
    first = seed // count * count
    return range(first, first + count)


def require_block(run: "RunConfig") -> None:
    """Refuse a run that several seeds cannot make together.

    Raises:
        UserError: naming the key.
    """
    count, key = run.seeds_per_process, "seeds_per_process"
    require(0 < count <= MOST_SEEDS, key, count, f"1 to {MOST_SEEDS}")
    if count == 1:
        return
    fused = isinstance(run.algo, DpoConfig) and run.algo.learner.name in ("a2c", "ppo")
    require(fused, key, count, "1, or more with algo=dpo and learner=ppo or learner=a2c")
    require(run.env.suite != "atari", key, count, "1 with env=atari")
    last = seeds_of_block(run.seed, count)[-1]
    require(last < 2**31, "seed", run.seed, f"one whose block of {count} seeds ends below 2^31")
    require(run.run_dir is None, "run_dir", run.run_dir, f"null with {key} above 1: each seed has its own")
