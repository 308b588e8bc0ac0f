"""Slurm's commands for the tests without it; what the tests of command lines share lies beside them."""

import os
import sys
from pathlib import Path

import pytest
from fake_slurm import SBATCH, SQUEUE

sys.path.append(str(Path(__file__).parents[1] / "bench"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which the commands of Slurm are the scripts of fake_slurm."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", "#!/bin/sh\n")):
        (commands / name).write_text(text.format(place=tmp_path))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    return tmp_path
