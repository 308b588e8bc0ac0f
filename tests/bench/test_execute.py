import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from bench import execute as executing
from bench.config import LoggerConfig
from bench.execute import execute
from bench.files import write_atomically
from bench.plan import PlannedRun
from bench.record import mark_failed, read_status

ENTITY = "logger.entity=null"
NO_LOGGER = LoggerConfig(name="none", mode="offline", project="p", entity=None)

# What stands for a forked run here: its last words say what it does in the run directory (test_worker has real ones).
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
name, mode = sys.argv[1:]
run_dir = Path("store/runs") / name
tries = run_dir / "tries"
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if mode == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "crash":
    print("some words\\nValueError: the planted one"); sys.exit(1)
if mode == "busy" and len(tries.read_text()) == 1:
    sys.exit(75)
if mode == "said":
    said = {"state": "failed", "error": "the run's word", "updated": time.time()}
    (run_dir / "status.json").write_text(json.dumps(said))
    sys.exit(1)
if mode == "slow":
    time.sleep(60)
aside = run_dir / "aside.tmp"  # as whole as a real run writes it
aside.write_text(json.dumps({"state": "done", "step": 8}))
aside.replace(run_dir / "status.json")
if mode == "late":
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def planned(mode: str, number: int = 0) -> PlannedRun:
    return PlannedRun(
        arm=mode,
        task="T",
        seed=number,
        steps=8,
        hash="",
        run_dir=f"runs/{mode}{number}",
        device="cpu",
        overrides=(f"{mode}{number}", mode),
    )


class Child(subprocess.Popen):
    """What the executor asks of a process of multiprocessing."""

    @property
    def exitcode(self):
        return self.poll()

    def join(self, timeout=None):
        self.wait(timeout)


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Replaces what a run is; returns the list of processes that were started."""
    monkeypatch.chdir(tmp_path)
    processes = []

    def launch(_server, arguments, log):
        assert arguments[2:] == ["store=store", "logger=none", "logger.mode=offline", "logger.project=p", ENTITY]
        with log.open("ab") as file:
            words = [sys.executable, "-c", CHILD, *arguments[:2]]
            processes.append(Child(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file))
        return processes[-1]

    monkeypatch.setattr(executing, "launch", launch)
    monkeypatch.setattr(executing, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(executing, "RETRY_SECONDS", 0.05)
    return processes


def state(run: PlannedRun) -> dict:
    return read_status(Path("store") / run.run_dir)


def test_a_killed_and_a_crashed_run_are_recorded_shown_and_stop_nobody(started, capsys):
    runs = [planned("kill"), planned("crash"), planned("fine", 0), planned("fine", 1)]
    assert execute(runs, Path("store"), 1, NO_LOGGER) == runs[:2]
    assert [state(run)["state"] for run in runs] == ["failed", "failed", "done", "done"]
    assert state(runs[0])["error"] == "killed by SIGKILL"
    assert state(runs[1])["error"] == "ValueError: the planted one"
    said = capsys.readouterr().err.splitlines()
    assert "failed: kill, T, seed 0: killed by SIGKILL (log: store/runs/kill0/log.txt)" in said
    assert "failed: crash, T, seed 0: ValueError: the planted one (log: store/runs/crash0/log.txt)" in said


def test_when_every_run_fails_all_are_tried_and_returned(started):
    runs = [planned("crash", i) for i in range(3)]
    assert set(execute(runs, Path("store"), 2, NO_LOGGER)) == set(runs)  # two at once end in either order
    assert len(started) == 3


def test_when_none_fails_none_is_returned(started):
    assert execute([planned("fine", i) for i in range(2)], Path("store"), 2, NO_LOGGER) == []


def test_a_run_that_another_process_holds_is_tried_again(started):
    run = planned("busy")
    assert execute([run], Path("store"), 1, NO_LOGGER) == []
    assert len(started) == 2
    assert state(run)["state"] == "done"


def test_no_more_runs_than_slots_go_at_once(started, monkeypatch):
    most = 0
    original = executing._Pool._collect

    def collect(self):
        nonlocal most
        most = max(most, len(self.running))
        original(self)

    monkeypatch.setattr(executing._Pool, "_collect", collect)
    execute([planned("fine", i) for i in range(5)], Path("store"), 2, NO_LOGGER)
    assert most == 2


def test_without_a_number_of_slots_there_is_one_per_core(started, monkeypatch):
    seen = []
    original = executing._Pool.__init__
    monkeypatch.setattr(
        executing._Pool,
        "__init__",
        lambda self, runs, store, slots, logger: (seen.append(slots), original(self, runs, store, slots, logger))[1],
    )
    execute([planned("fine")], Path("store"), None, NO_LOGGER)
    assert seen == [len(os.sched_getaffinity(0))]


def test_an_interrupt_ends_the_runs_that_go_on(started, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(executing._Pool, "_collect", interrupt)
    with pytest.raises(KeyboardInterrupt):
        execute([planned("slow", i) for i in range(2)], Path("store"), 2, NO_LOGGER)
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2


def test_a_death_by_signal_replaces_what_an_earlier_try_recorded(started):
    run = planned("kill")
    (Path("store") / run.run_dir).mkdir(parents=True)
    mark_failed(Path("store") / run.run_dir, "an older error")
    execute([run], Path("store"), 1, NO_LOGGER)
    assert state(run)["error"] == "killed by SIGKILL"


def test_what_a_run_recorded_itself_is_kept(started, monkeypatch):
    run = planned("said")
    monkeypatch.setattr(executing, "_cause", lambda *_: pytest.fail("the run said it itself"))
    execute([run], Path("store"), 1, NO_LOGGER)
    assert state(run)["error"] == "the run's word"


def test_an_error_of_an_earlier_attempt_is_not_taken_for_this_one(started):
    run = planned("crash")
    mark_failed(Path("store") / run.run_dir, "last week's")
    execute([run], Path("store"), 1, NO_LOGGER)
    assert state(run)["error"] == "ValueError: the planted one"


def test_a_run_whose_process_dies_after_the_end_is_done(started):
    run = planned("late")
    assert execute([run], Path("store"), 1, NO_LOGGER) == []
    assert state(run)["state"] == "done"


def test_steps_of_an_earlier_attempt_do_not_count(tmp_path):
    run = planned("half")
    pool = executing._Pool([run], tmp_path, 1, NO_LOGGER)
    pool.waiting.clear()
    pool.running[run], pool.launched[run] = None, 1000.0
    for updated, said in ((999.0, "measuring the rate"), (1001.0, "50%")):
        status = f'{{"state": "running", "step": {run.steps // 2}, "updated": {updated}}}'
        write_atomically(tmp_path / run.run_dir / "status.json", status)
        assert said in pool.line()


def test_the_line_for_a_person_tells_share_and_time_left(tmp_path):
    half, done, *others = [planned("half", i) for i in range(4)]
    steps = half.steps
    pool = executing._Pool([half, done, *others], tmp_path, 2, NO_LOGGER)
    assert pool.line().endswith("0 failed, measuring the rate")
    pool.began -= 100.0
    pool.waiting = deque((run, 0.0) for run in others)
    pool.done.append(done)
    pool.running[half] = None
    (tmp_path / half.run_dir).mkdir(parents=True)
    write_atomically(tmp_path / half.run_dir / "status.json", f'{{"state": "running", "step": {steps}}}')
    assert pool.line() == f"50% of {4 * steps:,} steps, 1 running, 0 failed, 1 min 40 s left"
    pool.began -= 7200.0
    assert pool.line().endswith("2 h 01 min left")
