"""One run, from its configuration to its directory."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench import algos, envs, loggers, manifest, seeding
from bench.compose import run_name
from bench.config import RunConfig
from bench.coverage import Coverage
from bench.episodes import EpisodeCounter
from bench.errors import UserError
from bench.loop import Event, interact
from bench.record import RunRecord

PARENT = "BENCH_PARENT"  # process id of the suite that started this run; the run ends with it


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
            _train(config, record, mirror)
    return path, False


def _train(config: RunConfig, record: RunRecord, mirror: loggers.Mirror) -> None:
    env = envs.make(config.env, config.threads)
    agent = algos.make(config, env)
    games, coverage = EpisodeCounter(env.num_envs), Coverage()
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
            if event.metrics:
                row = _row(event, time.monotonic() - began, coverage)
                record.metrics(row)
                mirror.metrics(row)
                learnt = True
            display.show(count, episodes)
            record.status(state="running", step=count, steps=steps, wall_s=time.monotonic() - began)
            _require_parent()
    env.close()
    if not learnt:
        print(
            f"note: {count:,} steps are too few for a single update (algo.burn_in, algo.rollout_length)",
            file=sys.stderr,
        )
    wall = time.monotonic() - began
    record.checkpoint({"agent": agent.state_dict(), "step": count})
    record.finish(step=count, steps=steps, wall_s=wall, rate=count / wall, params_sha256=agent.parameters_sha256())


def _row(event: Event, wall: float, coverage: Coverage) -> dict[str, float]:
    return {"step": event.generated, "wall_s": wall, **event.metrics, "coverage": coverage.count()}


def _require_parent() -> None:
    if (parent := os.environ.get(PARENT)) and os.getppid() != int(parent):
        raise SystemExit("the suite that started this run is gone")
