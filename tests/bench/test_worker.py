"""Forked runs against `python -m bench`: a process that shares its imports with others computes the same bits."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import block, call, is_alive, parent_of, start, status, tiny_suite, wait_until

from bench import run as running
from bench import session, worker
from bench.compose import compose, to_container, to_run_config, to_suite_config
from bench.metrics import METRICS
from bench.plan import expand

pytestmark = pytest.mark.integration
linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")

FREE = worker.Limits()
SUITE = tiny_suite(
    block("instances", "garnet", 50, "hparams=default_exact"),
    block("da_full", "chain,CartPole-v1", 4096),
    check="bias_bound",
)
RUNS = {run.task: run for run in expand(to_suite_config(compose(SUITE, "suite"))).runs}

BY_HAND = ("garnet", "chain")  # CartPole by hand: test_suite_cli


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("worker")


@pytest.fixture(scope="module")
def forked(place):
    """Task -> directory of its run by the suite."""
    result = call(place, "bench.suite", "run", *SUITE, "store=forked", "executor.slots=2")
    assert result.returncode == 0, result.stderr
    return {task: place / "forked" / run.run_dir for task, run in RUNS.items()}


@pytest.fixture(scope="module")
def by_hand(place, forked):
    """Task -> directory of the run that the command of its manifest makes in another store."""
    started = {}
    for task in BY_HAND:
        run_dir = forked[task]
        words = shlex.split(json.loads((run_dir / "manifest.json").read_text())["command"])
        assert words[1:3] == ["-m", "bench"]
        assert "store=forked" in words
        started[task] = start(place, "bench", *words[3:], "store=hand")
    found = {task: place / process.communicate(timeout=120)[0].splitlines()[-1] for task, process in started.items()}
    assert {path.parent for path in found.values()} == {place / "hand/runs"}
    return found


@pytest.mark.parametrize("task", BY_HAND)
def test_a_forked_run_and_its_command_by_hand_give_the_same_bits(forked, by_hand, task):
    one, other = forked[task], by_hand[task]
    assert one.name == other.name
    assert status(one)["params_sha256"] == status(other)["params_sha256"]
    assert (one / "episodes.csv").read_bytes() == (other / "episodes.csv").read_bytes()
    assert measured(one) == measured(other)


def test_runs_of_different_tasks_differ(forked):
    assert len({status(run_dir)["params_sha256"] for run_dir in forked.values()}) == len(forked) == 3


def measured(run_dir: Path) -> list[dict[str, str]]:
    """metrics.csv without the clock."""
    with (run_dir / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "wall_s"} for row in csv.DictReader(file)]


def test_training_on_a_finite_mdp_is_measured_exactly_at_every_version(forked):
    rows = measured(forked["chain"])
    assert [int(row["step"]) for row in rows] == [1024, 2048, 3072, 4096]
    for row in rows:
        assert 0 <= float(row["delta2"]) <= float(row["bound"])
        assert float(row["exact_return"]) <= 1
        assert all(row[name] for name in ("shift", "kl_exact", "zeta_1", "zeta_2", "delta2_stale", "bound_stale"))
    assert not any(row["exact_return"] for row in measured(forked["CartPole-v1"]))


def test_measuring_a_run_exactly_does_not_change_it(forked, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_trace", lambda *_: None)
    composed = compose([*RUNS["chain"].overrides, "logger=none", f"store={tmp_path}"])
    run_dir, _ = running.run(to_run_config(composed), to_container(composed))
    assert not any(row["exact_return"] for row in measured(run_dir))
    assert status(run_dir)["params_sha256"] == status(forked["chain"])["params_sha256"]
    assert (run_dir / "episodes.csv").read_bytes() == (forked["chain"] / "episodes.csv").read_bytes()


# --- one process ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    return worker.context()


def launched(server, log: Path, *arguments: str, limits: worker.Limits = FREE) -> worker.Forked:
    return worker.launch(server, ["env=classic", "logger=none", *arguments], log, limits)


def ended(process: worker.Forked) -> int:
    wait_until(lambda: process.exitcode is not None, 120)
    return process.exitcode


def going(store: Path) -> Path:
    """The only run of a store, once it goes."""
    wait_until(lambda: [status(path).get("state") for path in (store / "runs").glob("*")] == ["running"])
    return next((store / "runs").iterdir())


def test_a_run_that_diverges_says_so_in_its_log_and_its_status_and_exits_with_1(server, tmp_path):
    log = tmp_path / "log.txt"
    assert ended(launched(server, log, f"store={tmp_path}", "algo.learning_rate=1e30")) == 1
    (line,) = log.read_text().splitlines()
    assert line.startswith("error: grad_norm is nan")
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert status(run_dir)["error"] == line.replace("error", "DivergedError", 1)


@linux
def test_a_run_that_raises_what_nobody_meant_leaves_its_traceback_and_exits_with_another_status(server, tmp_path):
    log = tmp_path / "log.txt"
    hungry = (f"store={tmp_path}", "steps=100_000_000", "algo.replay_capacity=12_500_000")
    assert ended(launched(server, log, *hungry, limits=worker.Limits(memory_gb=1.5))) == worker.CRASHED
    lines = log.read_text().splitlines()
    assert "Traceback (most recent call last):" in lines
    assert "DefaultCPUAllocator" in lines[-1]
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert status(run_dir)["error"] == lines[-1]


def test_a_refused_run_says_so_in_its_log_and_exits_with_2(server, tmp_path):
    log = tmp_path / "log.txt"
    assert ended(launched(server, log, "steps=0")) == 2
    assert log.read_text() == "error: steps is 0; allowed: 1 agent step and more\n"


def test_a_run_that_is_aborted_leaves_its_stack(server, tmp_path):
    log = tmp_path / "log.txt"
    process = launched(server, log, "steps=100_000_000", f"store={tmp_path}")
    going(tmp_path)
    process.send(signal.SIGABRT)
    assert ended(process) == -signal.SIGABRT
    said = log.read_text()
    assert "Fatal Python error: Aborted" in said
    assert "in _work" in said


@linux
def test_a_run_goes_within_its_limits_and_before_others_when_memory_runs_out(server, tmp_path):
    limits = worker.Limits(threads=3, gpu="GPU-5", memory_gb=3.0)
    process = launched(server, tmp_path / "log.txt", "steps=100_000_000", f"store={tmp_path}", limits=limits)
    going(tmp_path)
    proc = Path(f"/proc/{process.pid}")
    assert (
        int((proc / "oom_score_adj").read_text())
        >= worker.OOM_SCORE
        > int(Path("/proc/self/oom_score_adj").read_text())
    )
    (data,) = [line for line in (proc / "limits").read_text().splitlines() if line.startswith("Max data size")]
    assert data.split()[3] == "3000000000"
    assert os.getpgid(process.pid) == process.pid
    process.send(signal.SIGKILL)
    assert ended(process) == -signal.SIGKILL


def test_limits_reach_what_is_loaded_and_started_in_the_run(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr(Path, "write_text", lambda *_: None)
    worker._keep_to(worker.Limits(threads=3))
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("3", "3")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "before"
    worker._keep_to(worker.Limits(gpu="1"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


@linux
def test_a_run_ends_with_the_server_that_forked_it_and_the_next_one_gets_another(server, tmp_path):
    process = launched(server, tmp_path / "log.txt", "steps=100_000_000", f"store={tmp_path}")
    run_dir = going(tmp_path)
    os.kill(parent_of(process.pid), signal.SIGKILL)
    assert ended(process) == worker.SERVER_GONE
    assert not is_alive(process.pid)
    assert status(run_dir)["state"] == "interrupted"
    assert ended(launched(server, tmp_path / "again.txt", "steps=0")) == 2


class Orphan(NamedTuple):
    """A process whose server has ended before it."""

    pid: int
    exitcode: int = worker.SERVER_GONE


@linux
def test_a_run_that_outlives_its_server_is_not_taken_for_ended():
    with subprocess.Popen(["sleep", "600"]) as sleeping:
        process = worker.Forked(Orphan(sleeping.pid))
        assert process.orphaned
        assert process.exitcode is None
        process.send(signal.SIGTERM)
        assert sleeping.wait(60) == -signal.SIGTERM
    assert not process.orphaned
    assert process.exitcode == worker.SERVER_GONE


@linux
def test_a_process_that_got_the_number_of_a_run_is_not_taken_for_it(monkeypatch):
    process = worker.Forked(Orphan(os.getpid()))
    assert process.orphaned
    monkeypatch.setattr(process, "_birth", "another time")
    assert not process.orphaned


def test_a_signal_to_a_run_that_has_ended_reaches_no_other_process(server, tmp_path, monkeypatch):
    process = launched(server, tmp_path / "log.txt", "steps=0")
    ended(process)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("somebody was killed"))
    process.send(signal.SIGKILL)


def test_a_run_by_hand_has_no_parent_to_wait_for(monkeypatch):
    monkeypatch.setenv(worker.SERVER, "1")
    worker.require_parent()


# --- exact programs, in this process --------------------------------------------------------------------------------


def compute(store: Path, *overrides: str) -> Path:
    composed = compose(["env=exact", "env.task=garnet", "logger=none", f"store={store}", *overrides])
    return running.run(to_run_config(composed), to_container(composed))[0]


@pytest.mark.parametrize(("algo", "rows"), [("proposition1", 20), ("exact_ascent", 2)])
def test_an_exact_program_is_a_run_like_any_other(tmp_path, algo, rows):
    steps = 20 if algo == "proposition1" else 200
    first = compute(tmp_path / "a", f"algo={algo}", f"steps={steps}")
    again = compute(tmp_path / "b", f"algo={algo}", f"steps={steps}")
    other = compute(tmp_path / "a", f"algo={algo}", f"steps={steps}", "seed=1")
    assert status(first)["params_sha256"] == status(again)["params_sha256"] != status(other)["params_sha256"]
    assert measured(first) == measured(again) != measured(other)
    assert (status(first)["state"], status(first)["step"]) == ("done", steps)
    found = measured(first)
    assert len(found) == rows
    assert {"wall_s", *found[0]} == METRICS.keys()
    assert all(float(row["delta2"]) <= float(row["bound"]) for row in found)
    assert {path.name for path in first.iterdir()} == {
        "config.yaml",
        "manifest.json",
        "status.json",
        "episodes.csv",
        "metrics.csv",
        ".lock",
    }
    assert (first / "episodes.csv").read_text().count("\n") == 1
