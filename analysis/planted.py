"""Every fault of `analysis.integrity`, planted in a copy of a sound store and judged by the code that judges real runs.

`planted(folder)` says of each whether it was refused or caught by its name; the first row is the sound store itself.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis.evidence import pack
from analysis.measure import Verdict
from analysis.study import Study, analyse
from bench.errors import UserError
from bench.registration import seeds_of

CHECK, SCALE, STEPS, SEEDS, GAMES, LENGTH = "multi_step", "cpu", 1000, 6, 12, 70
ARMS, TASKS = ("ppo", "da_full"), ("Alien", "Pong")
CLAIM = {
    "id": "score",
    "statement": "da_full ends above ppo.",
    "source": "synthetic",
    "contrast": ["da_full", "ppo"],
    "tasks": ["Alien"],
    "metric": "score",
    "direction": "greater",
    "margin": 1.0,
    "alpha": 0.05,
    "min_budget": 0.0,
    "normalise": "none",
}
RUN = "runs/da_full-Alien-s3"  # the one that is spoilt
TWIN = "runs/da_full-Alien-s1"
Spoil = Callable[[Path], None]


def _plan() -> dict[str, Any]:
    runs = [
        {"arm": arm, "task": task, "seed": seed, "steps": STEPS, "hash": f"{arm}{task}{seed}"}
        | {"run_dir": f"runs/{arm}-{task}-s{seed}"}
        for arm in ARMS
        for task in TASKS
        for seed in range(SEEDS)
    ]
    check = {
        "name": CHECK,
        "question": "Is a planted fault found?",
        "source": "synthetic",
        "arms": {arm: {"label": arm, "overrides": []} for arm in ARMS},
        "tasks": {task: {"tag": "easy", "env": "atari"} for task in TASKS},
        "claims": [CLAIM],
    }
    registered = {"at": "", "commit": None, "dirty": None, "claims": {}, "seeds": seeds_of(runs)}
    return {"check": check, "scale": SCALE, "runs": runs, "registered": registered}


def _write_run(store: Path, run: dict[str, Any], rng: np.random.Generator) -> None:
    folder = store / run["run_dir"]
    folder.mkdir(parents=True)
    top = 15 if run["arm"] == "da_full" else 0
    returns = 10 * rng.integers(10 + top, 30 + top, GAMES) if run["task"] == "Alien" else rng.integers(-21, 22, GAMES)
    games = pd.DataFrame({"step": (np.arange(GAMES) + 1) * STEPS // GAMES, "return": returns})
    games = games.assign(length=rng.integers(40, LENGTH, GAMES), env=0, truncated=0, lives=0)
    games.to_csv(folder / "episodes.csv", index=False)
    rows = pd.DataFrame({"step": [STEPS // 2, STEPS], "entropy": rng.uniform(0, 1, 2)})
    rows.to_csv(folder / "metrics.csv", index=False)
    env = {"suite": "atari", "task": run["task"], "num_envs": 1}
    config = {"algo": {"name": "dapo", "arm": run["arm"]}, "env": env, "seed": run["seed"], "steps": STEPS}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "manifest.json").write_text(json.dumps({"hash": run["hash"], "commit": "synthetic"}))
    status = {"state": "done", "step": STEPS, "params_sha256": f"of {run['hash']}"}
    (folder / "status.json").write_text(json.dumps(status))


def write_store(store: Path) -> Path:
    """A sound store: two arms, two games, SEEDS seeds each, every run done."""
    plan, rng = _plan(), np.random.default_rng(0)
    path = store / "checks" / CHECK / f"{SCALE}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plan))
    for run in plan["runs"]:
        _write_run(store, run, rng)
    return store


def _edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def _edit_table(path: Path, **columns: Any) -> None:
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


def _twin(store: Path) -> None:
    for name in ("episodes.csv", "metrics.csv", "status.json"):
        shutil.copy(store / TWIN / name, store / RUN / name)


def _twin_games(store: Path) -> None:
    shutil.copy(store / TWIN / "episodes.csv", store / RUN / "episodes.csv")


def _without_hash(store: Path) -> None:
    _edit_json(store / RUN / "status.json", params_sha256=None)


def _stacked(store: Path) -> None:
    shutil.copy(store / TWIN / "status.json", store / RUN / "status.json")


def _own_evaluations(store: Path) -> None:
    returns = pd.read_csv(store / RUN / "episodes.csv")["return"].to_numpy(float).reshape(-1, 2).mean(axis=1)
    rows = pd.DataFrame({"step": (np.arange(len(returns)) + 1) * STEPS // len(returns), "eval_return": returns})
    rows.to_csv(store / RUN / "metrics.csv", index=False)


def _four_times(name: str) -> Spoil:
    def spoil(store: Path) -> None:
        path = store / RUN / name
        _edit_table(path, step=4 * pd.read_csv(path)["step"])

    return spoil


def _frames_in_all(store: Path) -> None:
    for name in ("episodes.csv", "metrics.csv"):
        _four_times(name)(store)
    _edit_json(store / RUN / "status.json", step=4 * STEPS)


def _clipped(store: Path) -> None:
    _edit_table(store / RUN / "episodes.csv", **{"return": np.arange(GAMES) + 11})


def _impossible(store: Path) -> None:
    _edit_table(store / "runs/da_full-Pong-s3" / "episodes.csv", **{"return": 30})


def _plan_of_survivors(store: Path) -> None:
    path = store / "checks" / CHECK / f"{SCALE}.json"
    runs = [run for run in json.loads(path.read_text())["runs"] if run["run_dir"] != RUN]
    _edit_json(path, runs=runs)


def _lines_of_survivors(pack_folder: Path) -> None:
    path = pack_folder / "runs.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if RUN not in line))


def _pack_of_survivors(pack_folder: Path) -> None:
    """The last run taken out of the plan, its registration and runs.csv alike."""
    plan = json.loads((pack_folder / "plan.json").read_text())
    _edit_json(pack_folder / "plan.json", runs=plan["runs"][:-1], registered=None)
    lines = (pack_folder / "runs.csv").read_text().splitlines(True)
    (pack_folder / "runs.csv").write_text("".join(lines[:-1]))


def _pong_pack(folder: Path) -> None:
    path = folder / "episodes.csv.gz"
    games = pd.read_csv(path)
    games.loc[games["run"] == 2 * SEEDS - 1, "return"] = 30  # the last seed of ppo on Pong
    games.to_csv(path, index=False)


# (name of the fault, what was planted, how). `RUNS` are planted in a store and fail one run; `PACKS` in a pack.
RUNS: tuple[tuple[str, str, Spoil], ...] = (
    ("seed counted twice", "a run copied under another seed", _twin),
    ("seed counted twice", "its games copied under another seed, with other parameters", _twin_games),
    ("no fingerprint", "a done run without params_sha256", _without_hash),
    ("frames taken for steps", "frames in episodes.csv", _four_times("episodes.csv")),
    ("frames taken for steps", "frames in metrics.csv", _four_times("metrics.csv")),
    ("frames taken for steps", "frames in all files, status.json too", _frames_in_all),
    ("clipped returns taken for scores", "sums of signs in a game that gives tens", _clipped),
    ("evaluations taken for runs", "evaluation episodes of one policy under another seed", _stacked),
    ("evaluations taken for runs", "the episodes of its own evaluations as training games", _own_evaluations),
    ("another game", "returns of 30 in Pong", _impossible),
)
PACKS: tuple[tuple[str, str, Spoil], ...] = (
    ("survivors only", "a run taken out of a pack's runs.csv", _lines_of_survivors),
    ("survivors only", "a run taken out of a pack's runs.csv and plan", _pack_of_survivors),
    ("another game", "a run that a pack calls done and whose games cannot be", _pong_pack),
)


def _of_run(name: str, study: Study) -> tuple[bool, str]:
    """Is one run failed by that name, counted as lost and imputed?"""
    runs = study.store.runs
    failed = runs[runs["state"] == "failed"]
    said = [f"arm {row['arm']}, task {row['task']}, seed {row['seed']}: {row['error']}" for _, row in failed.iterrows()]
    caught = len(failed) == 1 and failed["error"].iloc[0].startswith(f"{name}: ")
    about_alien = failed["task"].isin(["Alien"]).any()
    return bool(caught and (not about_alien or _imputed(study.verdicts[0], 1))), "; ".join(said) or "no run failed"


def _imputed(verdict: Verdict, lost: int) -> bool:
    """The lost runs are counted, and the interval is not that of the survivors."""
    counted = verdict.runs["planned"] - verdict.runs["used"] == lost
    return counted and (verdict.interval is None or "imputed" in verdict.interval_kind)


def _refusal(root: Path) -> str:
    try:
        analyse(root, CHECK, SCALE)
    except UserError as error:
        return str(error)
    return "nothing was said"


def _sound(store: Path) -> tuple[str, bool, str]:
    study = analyse(store, CHECK, SCALE)
    done = bool((study.store.runs["state"] == "done").all())
    return "no fault", done, "a sound store: every run counts" if done else "a sound store: a run was refused"


def _deleted(store: Path) -> tuple[str, bool, str]:
    for seed in (0, 4):
        shutil.rmtree(store / f"runs/da_full-Alien-s{seed}")
    (verdict,) = analyse(store, CHECK, SCALE).verdicts
    caught = verdict.runs["missing"] == 2 and _imputed(verdict, 2)
    return "survivors only", caught, f"two run directories deleted: {verdict.reason}"


def _planted_pack(folder: Path, name: str, what: str, spoil: Spoil) -> tuple[str, bool, str]:
    results = shutil.copytree(folder / "sound-pack", folder / "pack")
    spoil(results / f"{CHECK}-{SCALE}")
    said = _refusal(results).replace(f"{folder}/", "")
    shutil.rmtree(results)
    return name, f"{name}: " in said, f"{what}: {said}"


def planted(folder: Path) -> list[tuple[str, bool, str]]:
    """Plant every fault and look whether it is found. Args: folder: empty, to work in.

    Returns rows of name, whether it was refused or caught by that name, and a sentence with what was planted and said.
    """
    sound = write_store(folder / "sound")
    pack(sound, CHECK, SCALE, folder / "sound-pack")
    rows = [_sound(sound)]
    for name, what, spoil in RUNS:
        copy = shutil.copytree(sound, folder / "copy")
        spoil(copy)
        caught, said = _of_run(name, analyse(copy, CHECK, SCALE))
        rows.append((name, caught, f"{what}: {said}"))
        shutil.rmtree(copy)
    copy = shutil.copytree(sound, folder / "copy")
    _plan_of_survivors(copy)
    said = _refusal(copy).replace(f"{folder}/", "")
    rows.append(("survivors only", "survivors only" in said, f"a run taken out of the plan: {said}"))
    shutil.rmtree(copy)
    rows.append(_deleted(shutil.copytree(sound, folder / "copy")))
    shutil.rmtree(copy)
    return rows + [_planted_pack(folder, *item) for item in PACKS]
