"""Slurm's commands as scripts that write down what they are told, and four runs to tell them of."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from bench.check_config import SuiteConfig
from bench.compose import compose, to_suite_config
from bench.plan import Plan, PlannedRun, expand
from bench.slurm import submit

SBATCH = """#!/bin/sh
cp "$1" {place}/script
cp {place}/store/jobs/*/jobs.json {place}/heard
if [ -e {place}/refuse ]; then cat {place}/refuse >&2; exit 1; fi
echo Submitted batch job 12
"""
SQUEUE = """#!/bin/sh
echo "$*" >> {place}/asked
if [ -e {place}/silent ]; then echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; fi
cat {place}/queue 2>/dev/null || true
"""
BLOCK = "{arms:[ppo,da_full],tasks:[CartPole-v1],seeds:2,steps:128,overrides:[]}"


@cache
def composed() -> Plan:
    """The plan of four runs that all tests are about."""
    words = ["check=multi_step", "scale=smoke", "executor=slurm", "logger=none", f"check.scales.smoke.blocks=[{BLOCK}]"]
    return expand(to_suite_config(compose(words, "suite")))


def suite_of(place: Path, **executor) -> SuiteConfig:
    suite = composed().suite
    return replace(suite, store=str(place / "store"), executor=replace(suite.executor, **executor))


def run_dirs() -> list[str]:
    return [run.run_dir for run in composed().runs]


def send(place: Path, runs: list[PlannedRun] | None = None, **executor) -> int:
    """Submit all runs, or these."""
    return submit(runs or list(composed().runs), place / "store", suite_of(place, **executor))


def submitted(place: Path, **executor) -> dict:
    """Submit all runs. Returns the note."""
    assert send(place, **executor) == 0
    return note(place)


def note(place: Path) -> dict:
    [path] = (place / "store/jobs").glob("*/jobs.json")
    return json.loads(path.read_text())


def queue(place: Path, *lines: str) -> None:
    """What squeue says from now on: index and state of jobs of the one submission."""
    name = note(place)["name"]
    (place / "queue").write_text("".join(f"{name}|12|{line}\n" for line in lines))


def write_status(place: Path, run: PlannedRun, **fields) -> None:
    (place / "store" / run.run_dir).mkdir(parents=True)
    (place / "store" / run.run_dir / "status.json").write_text(json.dumps(fields))
