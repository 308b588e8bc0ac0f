"""Where a run comes from: code, versions, hardware, and how repeatable it is."""

import hashlib
import importlib.metadata
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench.checkout import git_once
from bench.config import RunConfig
from bench.identity import rom_sha256
from bench.machine import cpu

PACKAGES = ("torch", "numpy", "gymnasium", "ale-py", "mujoco", "hydra-core", "omegaconf", "pandas")
# What decides what a score means beside the configuration: another version of these is another protocol.
SIMULATORS = {"dmc": ("dm-control", "mujoco"), "mujoco": ("gymnasium", "mujoco")}


def _simulators(config: RunConfig) -> dict[str, dict[str, str]]:
    """The versions of what simulates the task, where they are part of the protocol; else nothing."""
    names = SIMULATORS.get(config.env.suite)
    return {"simulators": {name: importlib.metadata.version(name) for name in names}} if names else {}


def determinism(config: RunConfig) -> str:
    """The level of repeatability of this run, in words."""
    if config.device != "cpu":
        return "statistical: GPU kernels may differ from run to run"
    if config.threads > 1:
        return "statistical: convolutions on several CPU threads differ from run to run"
    return "bitwise: same seed, machine type and versions give the same parameters, also after interruptions"


def collect(config: RunConfig) -> dict[str, Any]:
    """The manifest at the start of a run. Commit and diff are null outside a git checkout."""
    commit, diff = git_once("rev-parse", "HEAD"), git_once("diff", "HEAD")
    return {
        "commit": commit.decode().strip() if commit else None,
        "dirty_sha256": hashlib.sha256(diff).hexdigest() if diff else None,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "rom_sha256": rom_sha256(config.env.task) if config.env.suite == "atari" else None,
        **_simulators(config),
        "hardware": {
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "gpu": torch.cuda.get_device_name() if config.device == "cuda" else None,
            "host": platform.node(),
            "system": platform.platform(),
        },
        "threads": config.threads,
        "determinism": determinism(config),
        "tf32": torch.backends.cudnn.allow_tf32 if config.device == "cuda" else None,
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
