"""Stores with one arm on a game or a task, and what `compare` writes of them."""

import csv
from pathlib import Path
from typing import Any

import synthetic as synth

from analysis.comparing import compare

TEN_M = 10_000_000  # agent steps: 40M frames
FULL = {
    "env.protocol.noop_max": 30,
    "env.protocol.life_loss_terminates": True,
    "env.protocol.full_action_space": False,
    "env.protocol.no_reward_limit": 0,
    "env.protocol.max_frames": 400_000,
}
REFERENCE = {"paper": "dapo", "figure": 2, "hours": 4.6, "steps_per_hour": 12_600_000, "runs": 5, "bin_steps": 420_000}


def atari(
    root: Path,
    returns: list[int],
    *,
    steps: int = TEN_M,
    name: str = "multi_step",
    changes: dict[str, Any] | None = None,
    arm: str = "ppo",
    games: list[tuple[int, float]] | None = None,
    task: str = "Breakout",
    scale: str = "gpu",
    protocol: dict[str, Any] = FULL,
) -> dict[str, Any]:
    """A store with one arm on a game; every run ends with 100 games of its return, after one of 0."""
    content = synth.make_plan([arm], [task], len(returns), [], steps=steps, name=name, reference=REFERENCE, scale=scale)
    for run in content["runs"]:
        run["run_dir"] = f"runs/{name}-{run['arm']}-{run['task']}-{run['seed']}"
    synth.write_plan(root, content)
    for run in content["runs"]:
        played = games or [(1000, 0), *((steps // 2 + 1000 * i, returns[run["seed"]]) for i in range(100))]
        synth.write_run(root, run, played, config_changes=protocol | (changes or {}))
    return content


def lines(root: Path, paper: str, out: Path | None = None) -> list[dict[str, str]]:
    """The rows that `compare` writes for every plan of a store."""
    pairs = [(path.parent.name, path.stem) for path in sorted(root.glob("checks/*/*.json"))]
    _, paths = compare(paper, root, pairs, out or root / "out")
    with paths[0].open() as file:
        return list(csv.DictReader(file))


def breakout(root: Path, paper: str = "ppo2017") -> dict[str, str]:
    """The one line of Breakout that a run of ours stands beside."""
    (row,) = [row for row in lines(root, paper) if row["task"] == "Breakout" and row["arm"]]
    return row


def hopper(root: Path, evaluations: list[float], steps: int = 1_000_000) -> None:
    """A store with two runs of SAC on Hopper; the second evaluates one higher. Args: evaluations: evenly spread."""
    content = synth.make_plan(["sac"], ["Hopper-v5"], 2, [], steps=steps, name="sample_efficiency")
    synth.write_plan(root, content)
    for run in content["runs"]:
        metrics: dict[str, list[float | None]] = {"eval_return": [x + run["seed"] for x in evaluations]}
        synth.write_run(root, run, [(steps - 500, 2.0)], metrics=metrics)
