"""`python -m bench.suite` as a user calls it, on a small check made of the real one by overrides."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import (
    block,
    call,
    is_alive,
    kill,
    one_sentence,
    parent_of,
    start,
    status,
    tiny_suite,
    wait_until,
)
from filelock import FileLock
from test_compose import presets

from bench import checkpoint, suite
from bench import execute as executing
from bench.compose import compose, to_suite_config
from bench.plan import expand

pytestmark = pytest.mark.integration

STORE = "a store, with 'odd' characters"
# Arms: ppo is to be killed from outside, da_1step crashes by itself, da_full is left in peace.
SUITE = [
    *tiny_suite(block("ppo,da_1step,da_full", "CartPole-v1", 8192)),
    'check.arms.da_1step.overrides=["algo=dapo","algo.horizon=0","algo.learning_rate=1e30"]',
]
MENDED = [*SUITE[:-1], 'check.arms.da_1step.overrides=["algo=dapo","algo.horizon=0"]']
QUOTED = "store='" + STORE.replace("'", "\\'") + "'"


def planned(overrides):
    return {run.arm: run for run in expand(to_suite_config(compose(overrides, "suite"))).runs}


def planned_all(overrides):
    return {run.hash for run in expand(to_suite_config(compose(overrides, "suite"))).runs}


RUNS = planned(SUITE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def store(place):
    return place / STORE


@pytest.fixture
def say(place, monkeypatch, capsys):
    """`python -m bench.suite` without the start of a process; returns what it printed."""

    def said(*arguments):
        assert suite.main(list(arguments)) == 0
        return capsys.readouterr().out

    monkeypatch.chdir(place)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return said


def states(store: Path) -> dict[str, str]:
    return {arm: status(store / run.run_dir).get("state", "missing") for arm, run in RUNS.items()}


@pytest.fixture(scope="module")
def first(place, store):
    """The suite, while one of its runs is killed. Returns its exit status and what it said."""
    process = start(place, "bench.suite", "run", *SUITE, QUOTED, "executor.retries=0")
    victim = store / RUNS["ppo"].run_dir
    wait_until(lambda: status(victim).get("state") == "running")
    os.kill(status(victim)["pid"], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def test_a_killed_and_a_crashed_run_are_recorded_and_the_others_done(store, first):
    assert states(store) == {"ppo": "failed", "da_1step": "failed", "da_full": "done"}
    assert status(store / RUNS["ppo"].run_dir)["error"] == "killed by SIGKILL"
    assert status(store / RUNS["da_1step"].run_dir)["error"].startswith("DivergedError: grad_norm is nan")


def test_the_exit_status_and_the_words_say_that_runs_failed(first):
    code, said = first
    assert code == 1
    assert "failed: ppo, CartPole-v1, seed 0: killed by SIGKILL (log: " in said
    assert "failed: da_1step, CartPole-v1, seed 0: DivergedError" in said
    assert said.splitlines()[-1] == "multi_step at scale smoke: 3 runs: 1 done, 2 failed"
    assert "Traceback" not in said


def test_the_output_of_a_run_is_in_its_log(store, first):
    assert "error: grad_norm is nan" in (store / RUNS["da_1step"].run_dir / "log.txt").read_text()


def test_every_run_computed_the_hash_that_was_planned(store, first):
    plan = json.loads((store / "checks/multi_step/smoke.json").read_text())
    assert {run["run_dir"] for run in plan["runs"]} == {f"runs/{path.name}" for path in (store / "runs").iterdir()}
    for run in plan["runs"]:
        assert json.loads((store / run["run_dir"] / "manifest.json").read_text())["hash"] == run["hash"]


def test_status_names_every_run_and_changes_nothing(say, store, first):
    before = states(store)
    shown = say("status", *SUITE, QUOTED)
    assert [line.split()[:2] for line in shown.splitlines()[:3]] == [
        ["failed", "ppo"],
        ["failed", "da_1step"],
        ["done", "da_full"],
    ]
    assert "killed by SIGKILL" in shown
    assert "3 runs: 1 done, 2 failed" in shown
    assert states(store) == before


@pytest.fixture(scope="module")
def second(place, store, first):
    """The same command again, with the arm mended that could not but crash."""
    kept = (store / RUNS["da_full"].run_dir / "status.json").read_bytes()
    result = call(place, "bench.suite", "run", *MENDED, QUOTED)
    assert (store / RUNS["da_full"].run_dir / "status.json").read_bytes() == kept  # what was done is not run again
    return result


def test_the_same_command_again_completes_the_rest(store, second):
    assert second.returncode == 0, second.stderr
    assert states(store) == {"ppo": "done", "da_1step": "failed", "da_full": "done"}
    assert second.stderr.splitlines()[-1] == "multi_step at scale smoke: 3 runs: 3 done"


def test_the_run_that_was_killed_ends_as_an_unbroken_one_by_hand(place, store, second):
    result = call(place, "bench", *RUNS["ppo"].overrides, "logger=none", "store=by hand")
    run_dir = place / result.stdout.splitlines()[-1]
    assert run_dir.name == Path(RUNS["ppo"].run_dir).name
    killed = store / RUNS["ppo"].run_dir
    assert status(run_dir)["params_sha256"] == status(killed)["params_sha256"]
    assert status(run_dir)["params_sha256"] != status(store / RUNS["da_full"].run_dir)["params_sha256"]
    assert (run_dir / "episodes.csv").read_bytes() == (killed / "episodes.csv").read_bytes()


def test_a_suite_with_everything_done_trains_nothing(place, store, second):
    before = {path: path.stat().st_mtime_ns for path in (store / "runs").rglob("*") if path.is_file()}
    result = call(place, "bench.suite", "run", *MENDED, QUOTED)
    assert result.returncode == 0
    assert "3 runs: 3 done" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in (store / "runs").rglob("*") if path.is_file()} == before


def test_the_plan_counts_what_is_done_and_estimates_the_rest(say, store, second):
    shown = say("plan", *SUITE, QUOTED, "measure_seconds=0")
    row = next(line for line in shown.splitlines() if line.strip().startswith("multi_step  "))
    assert "2 done, 1 failed" in row
    assert "8,192" in row
    assert "Scale smoke decides nothing" in shown


def test_a_run_that_another_process_holds_is_shown_as_running(say, store, second):
    run_dir = store / RUNS["da_1step"].run_dir
    text = (run_dir / "status.json").read_text()
    (run_dir / "status.json").write_text(json.dumps({"state": "running", "step": 4096}))
    try:
        assert "interrupted  da_1step" in say("status", *SUITE, QUOTED)
        with FileLock(run_dir / ".lock"):
            shown = say("status", *SUITE, QUOTED)
        assert "running      da_1step" in shown
        assert "step 4,096 of 8,192" in shown
    finally:
        (run_dir / "status.json").write_text(text)


# --- several checks -------------------------------------------------------------------------------------------------

SHARED = block("ppo,da_full", "CartPole-v1", 4096)


def test_a_run_that_two_checks_share_is_made_once(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(executing, "execute", lambda runs, *_: made.extend(runs) or [])
    arguments = [*tiny_suite(SHARED, check="multi_step,bias_bound"), f"store={tmp_path}"]
    assert suite.main(["run", *arguments]) == 0
    assert [(run.arm, run.task) for run in made] == [("ppo", "CartPole-v1"), ("da_full", "CartPole-v1")]
    assert "2 checks at scale smoke: 2 runs: 2 missing" in capsys.readouterr().err
    for check in ("multi_step", "bias_bound"):
        plan = json.loads((tmp_path / f"checks/{check}/smoke.json").read_text())
        assert {run["run_dir"] for run in plan["runs"]} == {run.run_dir for run in made}
    assert suite.main(["plan", *arguments, "measure_seconds=0"]) == 0
    said = capsys.readouterr().out
    assert "all, each run once     2" in said


def test_the_parts_of_a_plan_are_the_plan_each_run_in_one_of_them(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(executing, "execute", lambda runs, *_: made.append([run.hash for run in runs]) or [])
    arguments = [*tiny_suite(block("ppo,da_full", "CartPole-v1", 4096, seeds=5))]
    for part in ("1/3", "2/3", "3/3"):
        assert suite.main(["run", *arguments, f"store={tmp_path / part[0]}", "--shard", part]) == 0
    assert suite.main(["run", *arguments, f"store={tmp_path / 'all'}"]) == 0
    *parts, everything = made
    assert sorted(hash for part in parts for hash in part) == sorted(everything)
    assert sorted(map(len, parts)) == [3, 3, 4]


def test_the_runs_of_one_process_are_in_one_part():
    plan = expand(to_suite_config(compose(["check=faster_variants", "scale=cpu"], "suite")))
    runs = {run.run_dir: (run, "missing") for run in plan.runs if run.arm in ("dpo", "dpo_fused")}
    parts = [suite._part(runs, replace(plan.suite, shard=f"{i}/3")) for i in (1, 2, 3)]
    assert sorted(run_dir for part in parts for run_dir in part) == sorted(runs)
    blocks = [{run.block for run, _ in part.values() if run.block} for part in parts]
    assert sum(map(len, blocks)) == len(set.union(*blocks)) == 3  # 24 seeds, 8 a process
    assert all(len(part) for part in parts)


def test_more_seeds_are_new_runs_and_the_old_ones_stay():
    few, more = planned_all([*SUITE, "seeds=2"]), planned_all([*SUITE, "seeds=5"])
    assert few < more
    assert len(more) == 15


def test_all_means_every_check(monkeypatch):
    composed = []
    monkeypatch.setattr(suite, "suite_config", composed.append)
    monkeypatch.setattr(suite, "expand", lambda _: None)
    suite._plans(["scale=cpu", "check=all"])
    assert composed == [["scale=cpu", f"check={name}"] for name in presets("check")]


# --- killed ---------------------------------------------------------------------------------------------------------


def running(store: Path, process: subprocess.Popen) -> tuple[list[Path], list[int]]:
    """Runs of a suite of two, once both go, and all of its processes."""
    wait_until(lambda: [status(path).get("state") for path in (store / "runs").glob("*")] == ["running"] * 2)
    runs = list((store / "runs").iterdir())
    pids = [status(path)["pid"] for path in runs]
    assert parent_of(pids[0]) == parent_of(pids[1])  # the server that forked them
    assert parent_of(parent_of(pids[0])) == process.pid
    return runs, [process.pid, parent_of(pids[0]), *pids]


@pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
def test_killing_the_suite_ends_its_runs_and_the_same_command_completes_them(tmp_path):
    overrides = [*tiny_suite(SHARED.replace("4096", "8192")), "store=store", "executor.slots=2"]
    process = start(tmp_path, "bench.suite", "run", *overrides)
    runs, pids = running(tmp_path / "store", process)
    kill(process, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)), 10)
    for run_dir in runs:
        assert status(run_dir)["state"] == "interrupted"
        assert status(run_dir)["error"] == "SystemExit: the suite that started this run is gone"
    again = call(tmp_path, "bench.suite", "run", *overrides)
    assert again.returncode == 0, again.stderr
    assert [status(run_dir)["state"] for run_dir in runs] == ["done", "done"]


@pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_the_suite_its_runs_and_the_server(tmp_path, by):
    overrides = [*tiny_suite(SHARED.replace("4096", "1_000_000")), "store=store", "executor.slots=2"]
    process = start(tmp_path, "bench.suite", "run", *overrides, group=True)
    runs, pids = running(tmp_path / "store", process)
    if by == signal.SIGINT:  # as Ctrl-C, which reaches every process of the group
        os.killpg(process.pid, by)
    else:
        process.send_signal(by)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted; the same command goes on with what is left"
    assert "Traceback" not in said
    wait_until(lambda: not any(map(is_alive, pids)), 10)
    for run_dir in runs:
        assert status(run_dir)["state"] == "interrupted"
        names = {"config.yaml", "manifest.json", "status.json", "episodes.csv", "metrics.csv", "log.txt", ".lock"}
        held = {path.name for path in run_dir.iterdir()}
        assert held - names == {path.name for path in checkpoint.found(run_dir)}
        assert len(held - names) == 1


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the first word is ''; allowed: plan, run, status"),
        (["train"], "the first word is 'train'; allowed: plan, run, status"),
        (["gc", "keep=1"], "gc does not take 'keep=1'"),
        (["gc", "remove=yes"], "remove is 'yes'"),
        (["merge"], "merge takes the folders of other stores"),
        (["run", "scale=smoke", "--shard", "4/3"], "shard is '4/3'"),
        (["run", "scale=smoke", "seeds=0"], "seeds is 0"),
        (["run", "scale=smoke", "tasks=[Pong]"], "tasks names 'Pong'"),
        (["plan", "scale=smoke", "budget=soon"], "budget is 'soon'"),
        (["run", "check=foo"], "available in check: "),
        (["run", "scale=smoke", "check.scales.smoke.blocks.0.tasks=[Qbret]"], "'Qbret'"),
        (["run", "scale=quick", "check=multi_step,bias_bound"], "check=bias_bound has no scale 'quick'; it has: smoke"),
        (["run", "scale=smoke", "check=multi_step,foo"], "available in check: "),
        (["run", "scale=smoke", "check="], "check"),
        (["run", "scale=smoke", "seed=1"], "there is no key 'seed'"),
        (["run", "scale=smoke", "-m"], "cannot read '-m'"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert suite.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "the store file cannot be written" in one_sentence(
        call(tmp_path, "bench.suite", "run", "scale=smoke", "store=file")
    )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_scale_that_needs_a_gpu_is_refused_where_there_is_none(tmp_path):
    assert "device is 'cuda'" in one_sentence(call(tmp_path, "bench.suite", "run", "scale=gpu"))
    assert list(tmp_path.iterdir()) == []


def test_help_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert suite.main(["plan", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage:\n  python -m bench.suite plan ")


def test_a_failed_run_cannot_be_planned_away(place, store, first):
    result = call(place, "bench.suite", "run", *SUITE, "check.scales.smoke.blocks.0.arms=[ppo,da_full]", QUOTED)
    assert result.returncode == 2
    assert "1 of the runs that" in one_sentence(result)
