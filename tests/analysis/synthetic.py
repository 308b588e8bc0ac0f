"""Stores with a known truth, written file by file as `bench.record` does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

STEPS = 1000
ARMS = {
    "ppo": {"label": "PPO", "reported": "PPO", "overrides": ["algo=ppo"]},
    "da_1step": {
        "label": "PPO+DA (1-step)",
        "reported": "PPO+DA(1-step)",
        "overrides": ["algo=dapo", "algo.horizon=0"],
    },
    "da_full": {"label": "PPO+DA", "reported": "PPO+DA", "overrides": ["algo=dapo"]},
}
ALGO = {
    "ppo": {"name": "ppo", "inv_eta": 0.0, "horizon": None},
    "da_1step": {"name": "dapo", "inv_eta": 0.5, "horizon": 0},
    "da_full": {"name": "dapo", "inv_eta": 0.5, "horizon": None},
}
EXACT = ("proposition1", "exact_ascent")  # arms without games
CONTROL = {"dpo_ppo": "dpo", "sac": "sac"}  # algorithm of an arm on tasks of continuous control; else on_policy
PROTOCOL = {"name": "dapo2019", "repeat_action_probability": 0.0, "frame_skip": 4, "sign_rewards": True}


def claim(**changes: Any) -> dict[str, Any]:
    """A claim on the raw score of one task, that no budget stops."""
    return {
        "id": "full_over_ppo",
        "statement": "full beats PPO",
        "source": "here",
        "contrast": ["da_full", "ppo"],
        "tasks": None,
        "metric": "score",
        "direction": "greater",
        "margin": 0.5,
        "alpha": 0.05,
        "min_budget": 0.0,
        "normalise": "none",
    } | changes


def env_of(task: str) -> str:
    """The preset that a task of these tests comes from."""
    if task.endswith(("-v0", "-v1")):
        return "classic"
    if task.endswith("-v5"):
        return "mujoco"
    if task == "cartpole-swingup":
        return "dmc"
    return "tabular" if task in ("chain", "garnet_small", "river_swim") else "atari"


def config(arm: str, task: str, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """The resolved configuration of a run, on Atari at the paper's protocol."""
    if env_of(task) in ("mujoco", "dmc"):
        env = {"suite": env_of(task), "task": task, "num_envs": 1, "reward": "dense", "reward_delay": 20}
        algo = {"name": CONTROL.get(arm, "on_policy"), "lam": 0.95, "hidden": [256, 256]}
        algo |= {"baseline_samples": 30} if arm == "dpo_ppo" else {}
        env |= {"reward_quantum": 1.0, "evaluation": {"every": 100, "episodes": 10}}
        return {"algo": algo, "env": env, "seed": seed, "steps": steps, "store": "/somewhere", "run_dir": None}
    if env_of(task) != "atari":
        exact = arm in EXACT
        env = {"suite": env_of(task), "task": task, "num_envs": 1 if exact else 4}
        env |= {"max_steps": 100} if env_of(task) == "tabular" else {}
        algo = {"name": arm} if exact else ALGO.get(arm, ALGO["ppo"]) | {"name": "dapo"}
        return {"algo": algo, "env": env, "seed": seed, "steps": steps, "store": "/somewhere", "run_dir": None}
    return {
        "algo": ALGO.get(arm, ALGO["ppo"]) | {"clip": 0.2, "batch_size": 1024, "diagnostics_every": 10},
        "env": {"suite": "atari", "task": task, "num_envs": 16, "protocol": dict(PROTOCOL)},
        "seed": seed,
        "steps": steps,
        "store": "/somewhere",
        "run_dir": None,
    }


def reference_config() -> dict[str, Any]:
    """The paper's setting of every arm."""
    return {arm: {key: config(arm, "Qbert", 0)[key] for key in ("algo", "env")} for arm in ALGO}


def make_plan(
    arms: list[str],
    tasks: list[str],
    seeds: int,
    claims: list[dict[str, Any]],
    *,
    steps: int = STEPS,
    scale: str = "gpu",
    reference: dict[str, Any] | None = None,
    tuning_seeds: int = 0,
    name: str = "multi_step",
) -> dict[str, Any]:
    """A plan file's content; the reported runs are as long as ours unless `reference` says otherwise."""
    runs = [
        {
            "arm": arm,
            "task": task,
            "seed": seed,
            "steps": steps,
            "hash": f"{arm}{task}{seed}",
            "run_dir": f"runs/{arm}-{task}-s{seed}",
        }
        for arm in arms
        for task in tasks
        for seed in range(seeds)
    ]
    return {
        "check": {
            "name": name,
            "question": "Is it?",
            "source": "here",
            "arms": {arm: ARMS.get(arm, {"label": arm, "reported": None, "overrides": []}) for arm in arms},
            "tasks": {task: {"tag": "easy", "env": env_of(task)} for task in tasks},
            "claims": claims,
            "reference": reference or {"paper": "dapo", "figure": 2, "hours": 1.0, "steps_per_hour": steps, "runs": 5},
            "tuning_seeds": tuning_seeds,
        },
        "scale": scale,
        "scientific": scale != "smoke",
        "runs": runs,
        "reference_config": reference_config(),
    }


def write_plan(root: Path, plan: dict[str, Any]) -> Path:
    """Write the plan into the store."""
    path = root / "checks" / plan["check"]["name"] / f"{plan['scale']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan))
    return root


def write_run(
    root: Path,
    run: dict[str, Any],
    games: list[tuple[int, float]],
    *,
    d_var: float = 1.0,
    state: str = "done",
    error: str | None = None,
    config_changes: dict[str, Any] | None = None,
    metrics: dict[str, list[float | None]] | None = None,
) -> Path:
    """One run directory.

    Args: games: (agent step of the end, raw return); metrics: columns of metrics.csv beside step, None for a blank.
    """
    folder = root / run["run_dir"]
    folder.mkdir(parents=True)
    content = config(run["arm"], run["task"], run["seed"], run["steps"])
    for key, value in (config_changes or {}).items():
        *path, last = key.split(".")
        target = content
        for name in path:
            target = target[name]
        target[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    (folder / "manifest.json").write_text(
        json.dumps(
            {
                "hash": run["hash"],
                "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
                "hardware": {"cpu": "a CPU"},
                "threads": 1,
                "commit": "c0ffee",
                "command": f"python -m bench algo={run['arm']} seed={run['seed']} store=/somewhere/else",
                "started": f"2026-01-01T00:00:{run['seed']:02d}Z",
            }
        )
    )
    status = {
        "state": state,
        "step": run["steps"] if state == "done" else 10,
        "steps": run["steps"],
        "wall_s": 1.0,
        "rate": 100.0,
        "params_sha256": f"{run['arm']}{run['task']}{run['seed']}",
    }
    (folder / "status.json").write_text(json.dumps(status | ({"error": error} if error else {})))
    lines = [
        "step,return,length,env,truncated,lives",
        *(f"{step},{value},1,{i},0,0" for i, (step, value) in enumerate(games)),
    ]
    (folder / "episodes.csv").write_text("\n".join(lines) + "\n")
    rows = [
        "step,wall_s,version,entropy,d_var,pg_var,coverage,d_var_full,d_var_1step",
        *(
            f"{run['steps'] * (i + 1) // 4},0.5,{i},1.5,{d_var},{'' if i % 2 else 0.01},{10 * i},"
            f"{d_var if i % 2 else ''},{0.01 if i % 2 else ''}"
            for i in range(4)
        ),
    ]
    if metrics is not None:
        count = len(next(iter(metrics.values())))
        rows = [",".join(["step", *metrics])]
        for i in range(count):
            values = ["" if column[i] is None else repr(column[i]) for column in metrics.values()]
            rows.append(",".join([str(run["steps"] * (i + 1) // count), *values]))
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_constant_runs(
    root: Path,
    plan: dict[str, Any],
    values: dict[tuple[str, int], float],
    skip: tuple[tuple[str, int], ...] = (),
) -> None:
    """Every planned run plays games of one return, `values[arm, seed]`. Args: skip: left out."""
    for run in plan["runs"]:
        key = (run["arm"], run["seed"])
        if key not in skip:
            games = [(step, values[key]) for step in range(50, run["steps"] + 1, 50)]
            write_run(root, run, games, d_var=0.1 if run["arm"] == "ppo" else 1.0)


def rising_store(
    root: Path, arms: list[str], tasks: list[str], seeds: int, claims: list[dict[str, Any]], **plan: Any
) -> dict[str, Any]:
    """A store with noisy rising curves, for pictures and speed. The same seed gives the same store."""
    content = make_plan(arms, tasks, seeds, claims, **plan)
    write_plan(root, content)
    rng = np.random.default_rng(0)
    for run in content["runs"]:
        count = 400
        steps = np.sort(rng.integers(run["steps"] // 100, run["steps"], count))
        top = {"ppo": 300.0, "da_1step": 600.0}.get(run["arm"], 900.0) * rng.uniform(0.6, 1.4)
        values = 50 + top * steps / run["steps"] + rng.normal(0, 80, count)
        write_run(
            root,
            run,
            [(int(s), round(float(v), 1)) for s, v in zip(steps, values, strict=True)],
            d_var=float(rng.uniform(0.5, 2) * {"ppo": 0.1, "da_1step": 0.3}.get(run["arm"], 1.0)),
        )
    return content
