"""One run, from its configuration to its directory."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import algos, envs, exact, loggers, manifest, seeding
from bench.algos.dapo import Dapo
from bench.compose import run_name
from bench.config import DapoConfig, RunConfig
from bench.coverage import Coverage
from bench.env_config import ContinuousConfig
from bench.envs.base import VecEnv
from bench.envs.tabular import TabularVecEnv
from bench.episodes import EpisodeCounter
from bench.errors import UserError
from bench.evaluate import Evaluator
from bench.loop import Agent, interact
from bench.record import RunRecord
from bench.worker import require_parent


def run_directory(config: RunConfig, container: dict[str, Any]) -> Path:
    """Where a run is kept."""
    return Path(config.run_dir) if config.run_dir else Path(config.store) / "runs" / run_name(container)


def require_device(device: str) -> None:
    """Refuse a device that this machine does not have."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', and PyTorch sees no CUDA device here; allowed: cpu")


def run(config: RunConfig, container: dict[str, Any]) -> tuple[Path, bool]:
    """Make the run, unless the store has it. Returns its directory, and whether it was there already.

    Args:
        config: typed, checked.
        container: the same, resolved, as plain data.
    """
    require_device(config.device)
    path = run_directory(config, container)
    record = RunRecord(path, container)
    if record.found_finished():
        return path, True
    with record:
        if record.finished:  # by another process, meanwhile
            return path, True
        torch.set_num_threads(config.threads)
        torch.backends.cudnn.allow_tf32 = False  # else a batch of actors and a batch of roll-outs would disagree
        record.start(manifest.collect(config))
        with loggers.mirror(config.logger, path, container) as mirror:
            (_compute if config.algo.name in exact.PROGRAMS else _train)(config, record, mirror)
    return path, False


def _train(config: RunConfig, record: RunRecord, mirror: loggers.Mirror) -> None:
    env = envs.make(config.env, config.threads)
    agent = algos.make(config, env)
    games, coverage, trace = EpisodeCounter(env.num_envs), Coverage(), _trace(config, env, agent)
    evaluator = _evaluator(config)
    began = time.monotonic()
    steps = config.steps
    count = 0
    learnt = False
    with loggers.Display(record.path.name.rsplit("-", 1)[0], steps) as display:
        for event in interact(env, agent, seeding.env_seeds(config.seed, env.num_envs), steps):
            count = event.generated
            coverage.add(event.obs)
            episodes = games.add(count, event.step)
            for episode in episodes:
                record.episode(episode)
                mirror.episode(episode)
            if event.metrics or (evaluator and evaluator.ends(count)):
                row = {"step": count, "wall_s": time.monotonic() - began, **event.metrics, "coverage": coverage.count()}
                row |= trace() if trace else {}
                row |= evaluator(count, agent) if evaluator else {}
                record.metrics(row)
                mirror.metrics(row)
                learnt |= bool(event.metrics)
            display.show(count, episodes)
            record.status(state="running", step=count, steps=steps, wall_s=time.monotonic() - began)
            require_parent()
    env.close()
    if evaluator:
        evaluator.close()
    if not learnt:
        print(
            f"note: {count:,} steps are too few for a single update",
            file=sys.stderr,
        )
    wall = time.monotonic() - began
    record.checkpoint({"agent": agent.state_dict(), "step": count})
    record.finish(step=count, steps=steps, wall_s=wall, rate=count / wall, params_sha256=agent.parameters_sha256())


def _trace(config: RunConfig, env: VecEnv, agent: Agent) -> Callable[[], dict[str, float]] | None:
    """On a finite MDP: what measures each published policy exactly; else nothing."""
    if not isinstance(env, TabularVecEnv) or not isinstance(agent, Dapo) or agent.config.recurrent:
        return None
    assert isinstance(config.algo, DapoConfig)
    algo, states = config.algo, np.eye(env.mdp.num_states, dtype=np.float32)
    mdp = replace(env.mdp, gamma=algo.gamma)
    held = algo.replay_capacity // algo.collect_per_env(env.num_envs)
    lag = held if algo.sampling == "uniform" else 1  # versions whose data an update may see
    trace = exact.Trace(mdp, agent.policy(states), lag)
    return lambda: trace.add(agent.policy(states))


def _evaluator(config: RunConfig) -> Evaluator | None:
    """What scores the deterministic policy from time to time, where the environment's configuration asks for it."""
    if not isinstance(config.env, ContinuousConfig) or not config.env.evaluation.every:
        return None
    return Evaluator(config, config.env.evaluation.every, config.env.evaluation.episodes)


def _compute(config: RunConfig, record: RunRecord, mirror: loggers.Mirror) -> None:
    """A run without interaction: the rows of an exact program."""
    began, digest, count = time.monotonic(), hashlib.sha256(), 0
    with loggers.Display(record.path.name.rsplit("-", 1)[0], config.steps) as display:
        for row in exact.PROGRAMS[config.algo.name](config):
            count = int(row["step"])
            digest.update(json.dumps(row, sort_keys=True).encode())
            row = {**row, "wall_s": time.monotonic() - began}
            record.metrics(row)
            mirror.metrics(row)
            display.show(count, [])
            record.status(state="running", step=count, steps=config.steps, wall_s=row["wall_s"])
            require_parent()
    wall = time.monotonic() - began
    record.finish(step=count, steps=config.steps, wall_s=wall, rate=count / wall, params_sha256=digest.hexdigest())
