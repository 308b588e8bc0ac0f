"""`python -m bench` as a user calls it. Processes are slow to start: several facts are read off the same ones."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from command_line import call, kill, one_sentence, start, status, wait_until
from filelock import FileLock

from bench import __main__ as command_line
from bench.compose import compose, to_container
from bench.identity import identity, run_name
from bench.metrics import EPISODES, METRICS

pytestmark = pytest.mark.integration

RUN = ["env=classic", "steps=4096"]
LONG = ["env=classic", "steps=8192", "logger=none"]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- a run with the default logger, and the same seed inside a multirun ---------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def single(place):
    result = call(place, "bench", *RUN, "seed=1", "store=my store/a", FORCE_COLOR="1", COLUMNS="200")
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def run_dir(place, single):
    return place / single.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def multirun(place):
    result = call(place, "bench", "-m", *RUN, "logger=none", "seed=range(0,2)", "algo=dapo,ppo", "store=swept")
    assert result.returncode == 0, result.stderr
    return result


def test_the_run_directory_is_printed_last_and_holds_the_run(run_dir):
    assert run_dir.name == run_name(to_container(compose([*RUN, "seed=1"])))
    assert files(run_dir) == {
        "config.yaml",
        "manifest.json",
        "status.json",
        "episodes.csv",
        "metrics.csv",
        "checkpoint.pt",
        ".lock",
        "wandb",
    }


def test_a_bar_shows_rate_return_and_time_left(single):
    assert "steps/s, return " in single.stderr
    assert "0:00:0" in single.stderr


def test_configuration_manifest_and_directory_agree_on_the_hash(run_dir):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["hash"] == identity(config) == identity(to_container(compose([*RUN, "seed=1"])))
    assert run_dir.name.endswith(manifest["hash"][:12])
    assert manifest["command"].endswith("-m bench env=classic steps=4096 seed=1 'store=my store/a'")
    assert manifest["threads"] == 1
    assert manifest["started"] <= manifest["finished"]


def test_the_status_is_done_with_the_hash_of_the_parameters(run_dir):
    found = status(run_dir)
    assert (found["state"], found["step"], found["steps"]) == ("done", 4096, 4096)
    assert len(found["params_sha256"]) == 64
    assert found["rate"] == pytest.approx(4096 / found["wall_s"])


def test_every_episode_is_a_full_game_with_its_raw_return(run_dir):
    rows = list(csv.DictReader((run_dir / "episodes.csv").open()))
    assert rows[0].keys() == EPISODES.keys()
    assert all(float(row["return"]) == int(row["length"]) for row in rows)  # CartPole pays 1 per step
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(steps)
    assert steps[-1] <= 4096
    assert {int(row["env"]) for row in rows} == set(range(8))
    assert sum(int(row["length"]) for row in rows) <= 4096


def test_there_is_a_row_of_metrics_per_version(run_dir):
    rows = list(csv.DictReader((run_dir / "metrics.csv").open()))
    assert rows[0].keys() == METRICS.keys()
    assert [int(row["step"]) for row in rows] == [1024 * version for version in range(1, 5)]
    assert [int(row["updates"]) for row in rows] == [28 * version for version in range(1, 5)]


def test_the_checkpoint_loads_with_weights_only(run_dir):
    loaded = torch.load(run_dir / "checkpoint.pt", weights_only=True)
    assert loaded["step"] == 4096
    assert {"net", "optimizer", "generators", "updates"} <= loaded["agent"].keys()
    assert "memory" not in loaded["agent"]


def test_the_mirror_is_kept_offline_under_the_run_directory_and_nowhere_else(place, run_dir):
    assert list(run_dir.glob("wandb/offline-run-*/run-*.wandb"))
    assert files(place) <= {"my store", "swept"}


def test_a_multirun_fills_the_store_with_every_combination(place, multirun):
    printed = multirun.stdout.splitlines()
    assert [Path(line).name.rsplit("-", 1)[0] for line in printed] == [
        f"{algo}-CartPole_v1-s{seed}" for seed in (0, 1) for algo in ("dapo", "ppo")
    ]
    assert all(status(place / line)["state"] == "done" for line in printed)
    assert {path.name for path in (place / "swept").iterdir()} == {"runs", "multirun"}


def test_the_same_seed_gives_the_same_parameters_alone_and_inside_a_multirun(place, run_dir, multirun):
    found = {path.name: status(path)["params_sha256"] for path in (place / "swept/runs").iterdir()}
    assert found[run_dir.name] == status(run_dir)["params_sha256"]
    assert len(set(found.values())) == 4  # and no other run gives them
    for name in ("episodes.csv", "config.yaml"):
        mine, other = ((root / name).read_text() for root in (run_dir, place / "swept/runs" / run_dir.name))
        assert (mine == other) == (name == "episodes.csv")  # the configurations differ in logger and store


def test_a_finished_run_is_skipped(place, run_dir, single):
    before = {path: path.stat().st_mtime_ns for path in run_dir.iterdir() if path.name != ".lock"}
    result = call(place, "bench", *RUN, "seed=1", "store=my store/a", "logger=none")
    assert (result.returncode, result.stdout) == (0, single.stdout)
    assert "already done" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in run_dir.iterdir() if path.name != ".lock"} == before


def test_another_configuration_in_the_same_directory_is_refused(place, run_dir):
    result = call(place, "bench", *RUN, "seed=2", f"run_dir='{run_dir}'", "logger=none")
    assert "holds a run of another configuration" in one_sentence(result)
    assert status(run_dir)["state"] == "done"


# --- killed, interrupted, held ------------------------------------------------------------------------------------


def test_a_run_killed_twice_ends_with_the_parameters_of_an_unbroken_one(place):
    unbroken = call(place, "bench", *LONG, "run_dir=unbroken")
    assert unbroken.returncode == 0
    broken = place / "broken"
    again = [*LONG, "run_dir=broken"]

    def running() -> bool:
        return status(broken).get("state") == "running" and (broken / "metrics.csv").read_text().count("\n") > 2

    process = start(place, "bench", *again)
    wait_until(running)
    assert kill(process, signal.SIGKILL) == -signal.SIGKILL
    assert status(broken)["state"] == "running"  # nobody could write otherwise; nobody holds the lock either

    (broken / "metrics.csv").unlink()
    process = start(place, "bench", *again)
    wait_until(lambda: (broken / "metrics.csv").exists() and running())
    assert kill(process, signal.SIGTERM) == 130
    assert status(broken)["state"] == "interrupted"

    # To the end, asking W&B to go online without a key: that ends no run and changes none.
    last = call(place, "bench", *LONG[:-1], "logger.mode=online", "run_dir=broken", HOME=str(place / "home"))
    assert last.returncode == 0, last.stderr
    assert "warning: Weights & Biases failed (UsageError" in last.stderr
    assert status(broken)["params_sha256"] == status(place / "unbroken")["params_sha256"]
    assert (broken / "episodes.csv").read_text() == (place / "unbroken/episodes.csv").read_text()


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["steps=1e6"], "steps is '1000000.0' (float); allowed: integer; write 1_000_000"),
        (["-m", "seed=0,bad,2"], "seed is 'bad'"),
        (["-m", "seed=0,1", "algo.rollout_length=16,30"], "algo.rollout_length is 30"),
        (["-m", "seed=range(0,0)"], "no values to run"),
        (["--cfg", "job", "-m", "seed=0,1"], "leave -m out"),
        (["seed=0", "-m"], "never between key=value"),
        (["--nonsense"], "'--nonsense'"),
        (["--config-name", "suite"], "conf/config.yaml"),
        (["--cfg", "job", "algo=foo"], "available in algo: a2c, baseline_fit, dapo, dpo"),
        (["algo=proposition1"], "proposition1 and uae_variance need env=exact"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["bench", *arguments, "env=classic", "logger=none"])
    with pytest.raises(SystemExit, match="2"):
        command_line.main()
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("error: ")
    assert says in said.err
    assert files(tmp_path) == set()


def test_bad_input_is_refused_by_the_command_too(tmp_path):
    assert "steps is '1000000.0'" in one_sentence(call(tmp_path, "bench", "steps=1e6", "env=classic", "logger=none"))
    assert files(tmp_path) == set()


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_there_is_refused_before_a_sweep_begins(tmp_path):
    assert "device is 'cuda'" in one_sentence(call(tmp_path, "bench", "-m", "env=classic", "seed=0,1", "device=cuda"))
    assert files(tmp_path) == set()


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for arguments in (["seed=0"], ["-m", "seed=0,1"]):
        result = call(tmp_path, "bench", *arguments, "env=classic", "logger=none", "store=file")
        assert "cannot be written" in one_sentence(result)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_directory_that_links_nowhere_is_refused_before_a_sweep_begins(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    result = call(tmp_path, "bench", "-m", "env=classic", "logger=none", "run_dir=loop", "store=swept")
    assert "a link that leads nowhere" in one_sentence(result)
    assert {path.name for path in tmp_path.iterdir()} == {"loop"}


def test_a_crash_inside_a_multirun_is_recorded_and_stops_no_other_run(tmp_path):
    result = call(tmp_path, "bench", "-m", "env=classic", "steps=2048", "logger=none", "algo.learning_rate=1e30,1e-3")
    assert result.returncode == 1
    found = {status(path)["state"]: path for path in (tmp_path / "store/runs").iterdir()}
    assert found.keys() == {"failed", "done"}
    assert "DivergedError" in status(found["failed"])["error"]
    assert result.stdout.splitlines() == [str(found["done"].relative_to(tmp_path))]
    assert "error: grad_norm is nan" in result.stderr


def test_the_joblib_launcher_makes_the_same_runs_and_its_exit_status_tells_of_a_failure(tmp_path):
    sweep = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "env=classic", "steps=2048", "logger=none"]
    result = call(tmp_path, "bench", *sweep, "algo.learning_rate=1e30,1e-3")
    assert result.returncode == 1
    found = {status(path)["state"]: path for path in (tmp_path / "store/runs").iterdir()}
    assert found.keys() == {"failed", "done"}
    again = call(tmp_path, "bench", "env=classic", "steps=2048", "logger=none", "algo.learning_rate=1e-3")
    assert again.returncode == 0
    assert "already done" in again.stderr


def test_a_refusal_inside_a_multirun_is_one_sentence_and_stops_no_other_run(tmp_path):
    sweep = ["-m", "env=classic", "steps=2048", "logger=none", "seed=0,1,2"]
    busy = tmp_path / "store/runs" / run_name(to_container(compose([*sweep[1:-1], "seed=1"])))
    busy.mkdir(parents=True)
    with FileLock(busy / ".lock"):
        result = call(tmp_path, "bench", *sweep)
    assert result.returncode == 75
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.splitlines() == [
        f"error: {busy.relative_to(tmp_path)} is being written by another process (pid unknown)"
    ]


def test_help_and_the_configuration_are_printed_without_a_run(tmp_path):
    assert "hparams: dapo_cpu" in call(tmp_path, "bench", "--help").stdout
    assert yaml.safe_load(call(tmp_path, "bench", "--cfg", "job", "seed=3").stdout)["seed"] == 3
    assert files(tmp_path) == set()


def test_what_only_plans_does_not_wait_for_pytorch(tmp_path):
    def loads_torch(*modules: str) -> bool:
        code = f"import {', '.join(modules)}, sys; print('torch' in sys.modules)"
        return (
            subprocess.run(
                [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
            ).stdout
            == "True\n"
        )

    assert not loads_torch("bench.__main__", "bench.suite", "bench.plan")
    assert loads_torch("bench.run")
