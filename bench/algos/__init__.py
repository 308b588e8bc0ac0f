"""The algorithms by name; PyTorch and an algorithm's module are imported when it is first asked for."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.config import RunConfig
    from bench.envs.base import VecEnv
    from bench.loop import Agent

# Each is a class that takes (config, env) and is an Agent, its update rule whole in one file.
# PPO with V-trace advantages, IMPALA and A2C are DAPO with 1/eta = 0 and other losses: same file, other YAML.
ALGOS = {
    "a2c": "bench.algos.dapo:Dapo",
    "dapo": "bench.algos.dapo:Dapo",
    "dpo": "bench.algos.dpo:Dpo",
    "impala": "bench.algos.dapo:Dapo",
    "on_policy": "bench.algos.on_policy:OnPolicy",
    "ppo": "bench.algos.dapo:Dapo",
    "sac": "bench.algos.sac:Sac",
}


def make(config: "RunConfig", env: "VecEnv") -> "Agent":
    """Build the algorithm of a run for its environments."""
    agent: Agent = resolve_name(ALGOS[config.algo.name])(config, env)
    return agent
