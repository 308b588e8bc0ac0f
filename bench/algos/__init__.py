"""The algorithms by name. An algorithm is one file: its class takes (config, env) and is an Agent."""

from bench.algos.dapo import Dapo
from bench.config import RunConfig
from bench.envs.base import VecEnv
from bench.loop import Agent

# PPO with V-trace advantages, IMPALA and A2C are DAPO with 1/eta = 0 and other losses: same file, other YAML.
ALGOS = {"a2c": Dapo, "dapo": Dapo, "impala": Dapo, "ppo": Dapo}


def make(config: RunConfig, env: VecEnv) -> Agent:
    """Build the algorithm of a run for its environments."""
    return ALGOS[config.algo.name](config, env)
