"""A store for tests of the report page: two checks, every kind of run, claims of both papers, hostile text.

The claims of the second are registered, and are about one of its two tasks.
"""

from pathlib import Path
from typing import Any

import synthetic as synth

from bench import registration

REFERENCE = {"paper": "dapo", "figure": 2, "hours": 4.6, "steps_per_hour": 12_600_000, "runs": 5}
HOSTILE = "<script>document.title = 'taken'</script> \"quoted\" & 'single' full beats PPO"
BOOM = "<b>boom</b> & bust"
LOG = "Traceback\n<img src=x onerror=alert(1)>\nlast line of the log"
DOOMED, ABSENT = 4, 5  # runs of the first check: one failed, one that was never made

GAMES = [
    synth.claim(statement=HOSTILE, source="Wang et al. 2019, Figure 2"),
    synth.claim(id="auc", metric="auc", normalise=None, margin=0.01, source="Wang et al. 2019, Figure 2"),
    synth.claim(id="not_planned", statement="An arm that has no runs wins.", tasks=["Gravitar"], source="here"),
]
SMALL = [
    synth.claim(id=name, tasks=["CartPole-v1"], **says)
    for name, says in {
        "wins": {"statement": "The divergence wins on CartPole.", "margin": 1.0, "source": "Ma 2023, abstract"},
        "loses": {"statement": "PPO wins on CartPole.", "contrast": ["ppo", "da_full"], "margin": 1.0},
        "alike": {
            "statement": "Both are alike on CartPole.",
            **{"direction": "equal", "margin": 30.0, "source": "Ma 2023"},
            **{"paper": "dpo", "section": "Section 5.1", "pairing": "task_and_seed", "protocol": "training_games"},
        },
    }.items()
]
REGISTERED_AT = "2026-01-01T00:00:00Z"
SILENT = "river_swim"  # a run on it of the second check has finished no game


def write_games(root: Path) -> dict[str, Any]:
    """Check multi_step at scale gpu: one game, a failed run with its log, a missing run."""
    plan = synth.make_plan(["ppo", "da_full"], ["Qbert"], 3, GAMES, steps=10_000, reference=REFERENCE)
    synth.write_plan(root, plan)
    for i, run in enumerate(plan["runs"][:ABSENT]):
        games = [(step, step / 10 + i) for step in range(200, 10_001, 200)]
        failed = {"state": "failed", "error": BOOM} if i == DOOMED else {}
        folder = synth.write_run(root, run, games, **failed)
        if failed:
            (folder / "log.txt").write_text(LOG)
    return plan


def write_small(root: Path) -> dict[str, Any]:
    """Check eta_curve at scale cpu: CartPole and the silent task, all runs done, da_full about 40 above ppo."""
    plan = synth.make_plan(["ppo", "da_full"], ["CartPole-v1", SILENT], 5, SMALL, name="eta_curve", scale="cpu")
    plan["check"]["reference"] = None
    for run in plan["runs"]:
        run["run_dir"] += "-eta"
        lift = 40.0 if run["arm"] == "da_full" else 0.0
        games = [(step, 20.0 + step / 10 + run["seed"] * (1.1 if lift else 1.0) + lift) for step in range(50, 1001, 50)]
        synth.write_run(root, run, [] if (run["task"], run["seed"]) == (SILENT, 4) else games)
    claims = {
        claim["id"]: {"sha256": registration.sha256(claim), "claim": claim, "at": REGISTERED_AT} for claim in SMALL
    }
    plan["registered"] = {"at": REGISTERED_AT, "commit": None, "dirty": None, "claims": claims}
    plan["registered"]["seeds"] = registration.seeds_of(plan["runs"])
    synth.write_plan(root, plan)
    return plan


def write_store(root: Path) -> Path:
    """Both checks."""
    write_games(root)
    write_small(root)
    return root
