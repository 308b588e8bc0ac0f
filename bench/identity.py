"""What a run is: its configuration, the sources that its result depends on, and the versions under which they run.

Two runs of one identity give the same numbers, so a store keeps one of them. The directory is named after it.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bench.compose import configuration_hash
from bench.sources import digest

# Libraries that change trajectories, of every run and by suite. Python itself changes none.
LIBRARIES = ("gymnasium", "numpy", "torch")
OF_SUITE = {"atari": ("ale-py",), "dmc": ("dm-control", "mujoco"), "mujoco": ("mujoco",)}


@cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package).partition("+")[0]  # one release is built for several devices
    except importlib.metadata.PackageNotFoundError:
        return "none"  # the run itself says what to install


@cache
def rom_sha256(task: str) -> str:
    """Hash of a game's ROM."""
    from bench.envs import atari

    return hashlib.sha256(Path(atari.rom_path(task)).read_bytes()).hexdigest()


def versions(suite: str, task: str) -> dict[str, str]:
    """Of the libraries, and of a game's ROM, that decide the numbers of a run."""
    found = {package: _version(package) for package in sorted((*LIBRARIES, *OF_SUITE.get(suite, ())))}
    return found | ({"rom": rom_sha256(task)[:16]} if suite == "atari" else {})


def provenance(container: Mapping[str, Any]) -> dict[str, Any]:
    """The three parts of a run's identity. Args: container: the resolved configuration, its task one that exists."""
    suite, task = container["env"]["suite"], container["env"]["task"]
    return {
        "configuration": configuration_hash(container),
        "sources": digest(container["algo"]["name"], suite, container.get("seeds_per_process", 1) > 1),
        "identity_versions": versions(suite, task),
    }


class Named(NamedTuple):
    """What tells a run from others."""

    identity: str  # 64 hexadecimal digits (SHA-256) of the provenance
    configuration: str  # hash of the configuration alone
    name: str  # of its directory: readable, and unique by the first digits of the identity


def named(container: Mapping[str, Any]) -> Named:
    """All names of a run at once, for plans of thousands. Args: container: like that of `provenance`."""
    parts = provenance(container)
    found = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Named(found, parts["configuration"], f"{readable_name(container)}-{found[:12]}")


def identity(container: Mapping[str, Any]) -> str:
    """64 hexadecimal digits (SHA-256) of the provenance."""
    return named(container).identity


def run_name(container: Mapping[str, Any]) -> str:
    """Name of the run's directory."""
    return named(container).name


def run_directory(container: Mapping[str, Any]) -> Path:
    """Where a run is kept."""
    return Path(container["run_dir"] or Path(container["store"]) / "runs" / run_name(container))


def readable_name(container: Mapping[str, Any]) -> str:
    """Its part that a person reads, the same under all versions of the sources."""
    task = re.sub(r"[^A-Za-z0-9]+", "_", str(container["env"]["task"]))
    return f"{container['algo']['name']}-{task}-s{container['seed']}"
