"""Runs that faults are tried on, and what must be the same after any of them."""

import csv
import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from bench import worker
from bench.worker import Forked, Limits

# One algorithm and suite each: about ten seconds on one core.
CASES = {
    "ppo on CartPole": "algo=ppo env=classic steps=32768",
    "dapo with LSTM on CartPole": "algo=dapo env=classic algo.recurrent=true steps=6144",
    "dapo, exact, on a finite MDP": "algo=dapo env=tabular env.task=four_rooms algo.estimator=exact steps=8192",
    "ppo on Hopper": "algo=on_policy learner=ppo hparams=on_policy_cpu env=mujoco env.task=Hopper-v5 steps=12288",
    "dpo on Hopper": "algo=dpo learner=ppo hparams=dpo_cpu env=mujoco env.task=Hopper-v5 steps=2560",
    "dpo (TRPO) on CartPole": "algo=dpo learner=trpo hparams=dpo_cpu_discrete env=classic steps=3072",
    "ppo on Breakout": "algo=ppo hparams=dapo_cpu env=atari env.task=Breakout algo.diagnostics_every=0 steps=2048",
    "dapo with LSTM on DoubleDunk": "algo=dapo hparams=dapo_cpu env=atari env.task=DoubleDunk steps=1024",
}
OFTEN = 0.005  # checkpoint_minutes: as often as the time they take allows
START_SECONDS = 120.0  # that a start may take on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What two runs of one configuration and seed must agree in, however they came to their end."""

    params_sha256: str
    episodes: bytes
    metrics: list[dict[str, str]]


def outcome(run_dir: Path) -> Outcome | str:
    """Of a run that is done; else its state and error."""
    status = json.loads((run_dir / "status.json").read_text())
    if status["state"] != "done":
        return f"{status['state']}: {status.get('error')}"
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "wall_s"} for row in csv.DictReader(file)]
    return Outcome(status["params_sha256"], (run_dir / "episodes.csv").read_bytes(), rows)


def launch(case: str, run_dir: Path, *more: str) -> Forked:
    """Start a run in a process of its own, which may be killed."""
    words = [*CASES[case].split(), "logger=none", f"run_dir='{run_dir}'", f"checkpoint_minutes={OFTEN}", *more]
    run_dir.mkdir(parents=True, exist_ok=True)
    return worker.launch(worker.context(), words, run_dir / "log.txt", Limits())


def finish(case: str, run_dir: Path, *more: str) -> Outcome | str:
    """Make the run, or what is left of it, to its end."""
    wait(launch(case, run_dir, *more))
    return outcome(run_dir)


def wait(process: Forked) -> int:
    """Wait for the end. Returns the exit status."""
    while process.exitcode is None:
        time.sleep(0.005)
    return process.exitcode


def kill(process: Forked, by: signal.Signals) -> None:
    """Send a signal, if there is still somebody to hear it, and wait for the end."""
    process.send(by)
    wait(process)


def step(run_dir: Path) -> int:
    """Steps that the status tells of."""
    try:
        return int(json.loads((run_dir / "status.json").read_text()).get("step", 0))
    except (OSError, ValueError):
        return 0


def resumable(run_dir: Path) -> list[Path]:
    """Checkpoints that are there."""
    return sorted(run_dir.glob("resume-*.pt"))


def wait_for_checkpoints(process: Forked, run_dir: Path, count: int) -> bool:
    """Wait until so many are there. False if the run ended before."""
    end = time.monotonic() + START_SECONDS
    while process.exitcode is None and time.monotonic() < end:
        if len(resumable(run_dir)) >= count:
            return True
        time.sleep(0.01)
    return False
