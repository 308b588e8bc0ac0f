"""Stores made by bench.record, small enough to compare as a whole."""

import json
from pathlib import Path

from bench.compose import configuration_hash
from bench.episodes import Episode
from bench.files import write_atomically
from bench.identity import identity, run_name
from bench.plan import PlannedRun
from bench.record import RunRecord, read_manifest

MANIFEST = {"started": "2026-01-01T00:00:00Z", "hardware": {"host": "here"}}
CLAIM = {"id": "faster", "margin": 0.05}


def config(seed, clip=0.2):
    return {
        "algo": {"name": "dapo", "clip": clip},
        "env": {"suite": "classic", "task": "CartPole-v1"},
        "logger": {"name": "none"},
        "steps": 64,
        "seed": seed,
    }


def planned(seed, clip=0.2, arm="a"):
    container = config(seed, clip)
    return PlannedRun(
        arm,
        "CartPole-v1",
        seed,
        64,
        identity(container),
        configuration_hash(container),
        f"runs/{run_name(container)}",
        "cpu",
        (),
    )


def make(store, seed, clip=0.2, *, saved=None, wall=2.0, score=1.5, sha="ab"):
    """A run. Args: saved: steps at which it was saved before it was interrupted; None finishes it."""
    container = config(seed, clip)
    path = store / "runs" / run_name(container)
    record = RunRecord(path, container)
    try:
        with record:
            record.begin(MANIFEST)
            record.episode(Episode(8, score, 8, 0, 0))
            record.metrics({"step": 8, "wall_s": wall, "version": 1})
            for step in saved or ():
                record.resumable(step, {"step": step})
            if saved is not None:
                record.status(force=True, state="running", step=max(saved, default=3), steps=64, wall_s=wall)
                raise KeyboardInterrupt
            record.result({"step": 64})
            record.finish(step=64, steps=64, wall_s=wall, rate=64 / wall, params_sha256=sha)
    except KeyboardInterrupt:
        pass
    return path


def freeze(store, runs, check="multi", scale="smoke", claims=(CLAIM,), **others):
    """A plan file of these runs."""
    content = {
        "check": {
            "name": check,
            "arms": {run.arm: {"label": run.arm} for run in runs},
            "tasks": {run.task: {"env": "classic"} for run in runs},
            "claims": list(claims),
            "tuning_seeds": 0,
            "reference": None,
            **others,
        },
        "scale": scale,
        "scientific": False,
        "runs": [
            {key: getattr(run, key) for key in ("arm", "task", "seed", "steps", "hash", "configuration", "run_dir")}
            for run in runs
        ],
        "reference_config": {},
    }
    return write_atomically(store / "checks" / check / f"{scale}.json", json.dumps(content))


def remake(path, **manifest):
    """Turn a run into one that other code or versions made. Returns its new directory."""
    held = {**read_manifest(path), **manifest}
    held["hash"] = manifest.get("hash", "0123456789abcdef" * 4)
    write_atomically(path / "manifest.json", json.dumps({key: value for key, value in held.items() if value != "-"}))
    return path.rename(path.with_name(f"{path.name.rpartition('-')[0]}-{held['hash'][:12]}"))


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """All that a folder holds but locks, which stay behind: bytes of files, targets of links."""

    def content(path):
        if path.is_symlink():
            return str(path.readlink())
        return path.read_bytes() if path.is_file() else None

    return {str(path.relative_to(folder)): content(path) for path in folder.rglob("*") if path.name != ".lock"}
