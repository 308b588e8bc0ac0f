"""The algorithms by name: each a class that takes (config, env) and is an Agent, its update rule whole in one file."""

from collections.abc import Callable

from bench.algos.dapo import Dapo
from bench.algos.dpo import Dpo
from bench.algos.on_policy import OnPolicy
from bench.algos.sac import Sac
from bench.config import RunConfig
from bench.envs.base import VecEnv
from bench.loop import Agent

# PPO with V-trace advantages, IMPALA and A2C are DAPO with 1/eta = 0 and other losses: same file, other YAML.
ALGOS: dict[str, Callable[[RunConfig, VecEnv], Agent]] = {
    "a2c": Dapo,
    "dapo": Dapo,
    "dpo": Dpo,
    "impala": Dapo,
    "on_policy": OnPolicy,
    "ppo": Dapo,
    "sac": Sac,
}


def make(config: RunConfig, env: VecEnv) -> Agent:
    """Build the algorithm of a run for its environments."""
    return ALGOS[config.algo.name](config, env)
