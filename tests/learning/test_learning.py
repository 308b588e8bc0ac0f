"""Learning to a known optimum, through the command line as a user would. `make test-slow`."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def last_returns(tmp_path: Path, *overrides: str, games: int = 20) -> list[float]:
    command = [sys.executable, "-m", "bench", *overrides, f"store={tmp_path}", "logger=none"]
    run_dir = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    with (Path(run_dir) / "episodes.csv").open() as file:
        return [float(row["return"]) for row in csv.DictReader(file)][-games:]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("algo", ["ppo", "dapo"])
def test_cartpole_is_solved(tmp_path, algo, seed):
    returns = last_returns(tmp_path, f"algo={algo}", "env=classic", f"seed={seed}", "steps=150_000")
    assert len(returns) == 20
    assert sum(returns) / 20 >= 475  # of 500


@pytest.mark.parametrize("algo", ["impala", "a2c"])
def test_the_actor_critics_learn_cartpole(tmp_path, algo):
    returns = last_returns(tmp_path, f"algo={algo}", "env=classic", "seed=0", "steps=100_000")
    assert sum(returns) / 20 >= 150  # random play scores about 20


@pytest.mark.parametrize("algo", ["ppo", "dapo"])
def test_breakout_improves_clearly_on_random_play(tmp_path, algo):
    returns = last_returns(
        tmp_path, f"algo={algo}", "env=atari", "env.task=Breakout", "hparams=dapo_cpu", "seed=0", "steps=120_000"
    )
    assert sum(returns) / 20 >= 5.0  # random play scores 1.7 (Wang et al. 2015)
