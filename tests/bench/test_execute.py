"""How runs are queued, retried and given up, with small processes in place of runs; test_retries has real ones."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ADDED, CHILD, Child, executor, planned

from bench import execute as executing
from bench.config import LoggerConfig
from bench.errors import UserError
from bench.execute import execute
from bench.files import write_atomically
from bench.plan import PlannedRun
from bench.record import mark_failed, read_status
from bench.slots import Slots
from bench.worker import Limits

STORE = Path("store")
NO_LOGGER = LoggerConfig(name="none", mode="offline", project="p", entity=None)


def make(*runs: PlannedRun, **changed) -> list[PlannedRun]:
    """Runs that failed. Args: changed: of the executor."""
    return execute(list(runs), STORE, executor(**changed), NO_LOGGER, 2.5)


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Replaces what a run is; returns the processes that were started, with their limits."""
    monkeypatch.chdir(tmp_path)
    processes = []

    def launch(_server, arguments, log, limits):
        assert arguments[2:] == ADDED
        with log.open("ab") as file:
            words = [sys.executable, "-c", CHILD, *arguments[:2]]
            processes.append((Child(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file), limits))
        return processes[-1][0]

    monkeypatch.setattr(executing, "launch", launch)
    for name, value in {
        "POLL_SECONDS": 0.01,
        "LISTEN_SECONDS": 0.05,
        "RETRY_SECONDS": 0.05,
        "STOP_SECONDS": 0.5,
    }.items():
        monkeypatch.setattr(executing, name, value)
    monkeypatch.setattr(executing, "ABORT_SECONDS", 0.2)
    return processes


def state(run: PlannedRun) -> dict:
    return read_status(STORE / run.run_dir)


def tries(run: PlannedRun) -> int:
    return len((STORE / run.run_dir / "tries").read_text())


# --- what becomes of a run ------------------------------------------------------------------------------------------


def test_a_killed_and_a_crashed_run_are_recorded_shown_and_stop_nobody(started, capsys):
    runs = [planned("kill"), planned("crash"), planned("fine", 0), planned("fine", 1)]
    assert make(*runs, slots=1) == runs[:2]
    assert [state(run)["state"] for run in runs] == ["failed", "failed", "done", "done"]
    assert state(runs[0])["error"] == "killed by SIGKILL"
    assert state(runs[1])["error"] == "ValueError: the planted one"
    assert state(runs[1])["log"] == ["some words", "ValueError: the planted one"]
    said = capsys.readouterr().err.splitlines()
    assert "failed: kill, T, seed 0: killed by SIGKILL (log: store/runs/kill0/log.txt)" in said
    assert "failed: crash, T, seed 0: ValueError: the planted one (log: store/runs/crash0/log.txt)" in said


def test_when_none_fails_none_is_returned(started):
    assert make(planned("fine", 0), planned("fine", 1)) == []


def test_a_run_that_is_killed_once_is_made_at_the_second_attempt(started):
    run = planned("once")
    assert make(run, retries=1) == []
    assert (tries(run), state(run)["state"]) == (2, "done")
    assert "attempt 1: killed by SIGKILL; trying again\n" in (STORE / run.run_dir / "log.txt").read_text()


def test_a_run_that_always_crashes_is_given_up_after_its_retries(started, capsys):
    runs = [planned("kill"), planned("crash")]
    assert set(make(*runs, retries=2)) == set(runs)
    assert [tries(run) for run in runs] == [3, 3]
    assert state(runs[0])["error"] == "killed by SIGKILL (attempt 3)"
    assert state(runs[1])["log"] == ["some words", "ValueError: the planted one"]  # of the last attempt alone
    assert capsys.readouterr().err.count("failed: crash") == 1


def test_a_retry_waits_behind_the_others(started):
    once, fine = planned("once"), planned("fine")
    make(once, fine, retries=1, slots=1)
    assert [process.args[-1] for process, _ in started] == ["once", "fine", "once"]


@pytest.mark.parametrize("mode", ["diverge", "refused"])
def test_what_would_only_happen_again_is_not_tried_again(started, mode):
    run = planned(mode)
    assert make(run, retries=5) == [run]
    assert tries(run) == 1
    expected = {"diverge": "DivergedError: the run's word", "refused": "error: steps is 0"}
    assert state(run)["error"] == expected[mode]
    assert state(run)["log"][-1].startswith("error: ")


def test_a_run_that_advances_may_be_interrupted_more_often_than_it_may_be_retried(started):
    run = planned("advance")
    assert make(run, retries=1) == []
    assert tries(run) == 10


def test_a_run_that_gets_no_further_may_not(started):
    run = planned("stand")
    assert make(run, retries=2) == [run]
    assert tries(run) == 3
    assert state(run)["error"] == "KeyboardInterrupt: SIGTERM (attempt 3)"


def test_a_run_that_another_process_holds_is_waited_for_and_that_is_no_retry(started):
    run = planned("busy")
    assert make(run) == []
    assert (tries(run), state(run)["state"]) == (2, "done")


def test_a_run_whose_process_dies_after_the_end_is_done(started):
    run = planned("late")
    assert make(run) == []
    assert state(run)["state"] == "done"


def test_a_run_that_ends_well_and_elsewhere_is_not_done(started):
    run = planned("half")
    assert make(run, retries=2) == [run]
    assert tries(run) == 1
    assert state(run)["error"].startswith("its result is not where it was planned: sources or versions have changed")


def test_an_error_of_an_earlier_attempt_is_not_taken_for_this_one(started):
    runs = [planned("crash"), planned("kill")]
    for run in runs:
        mark_failed(STORE / run.run_dir, "last week's")
    make(*runs)
    assert [state(run)["error"] for run in runs] == ["ValueError: the planted one", "killed by SIGKILL"]


def test_a_run_that_cannot_be_started_is_tried_again_and_stops_nobody(started, monkeypatch):
    def launch(_server, arguments, log, limits):
        if arguments[1] == "never":
            raise EOFError("unexpected EOF")
        return real(_server, arguments, log, limits)

    real = executing.launch
    monkeypatch.setattr(executing, "launch", launch)
    runs = [planned("never"), planned("fine")]
    assert make(*runs, retries=1, slots=1) == runs[:1]
    assert state(runs[0])["error"] == "its process could not be started: unexpected EOF (attempt 2)"


def test_a_failure_that_cannot_be_recorded_is_said_and_stops_nobody(started, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(executing, "mark_failed", full)
    runs = [planned("crash"), planned("fine")]
    assert make(*runs) == runs[:1]
    assert "this could not be recorded: No space left on device" in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_refused(started):
    STORE.write_text("a file")
    with pytest.raises(UserError, match="the run directory store/runs/fine0 cannot be written: Not a directory"):
        make(planned("fine"))


# --- hangs and interrupts -------------------------------------------------------------------------------------------


def test_a_run_that_says_nothing_is_ended_and_tried_again(started):
    run = planned("slow")
    assert make(run, hang_minutes=0.02, retries=1) == [run]
    assert [process.returncode for process, _ in started] == [-signal.SIGABRT] * 2
    assert state(run)["error"] == "hung: it said nothing for executor.hang_minutes=0.02 (attempt 2)"


def test_a_stopped_run_that_takes_no_signal_is_killed(started, monkeypatch):
    monkeypatch.setattr(executing, "SIGABRT", signal.SIGSTOP)  # a signal that does not end it
    assert make(planned("slow"), hang_minutes=0.02)
    assert [process.returncode for process, _ in started] == [-signal.SIGKILL]


def test_a_run_without_a_server_has_time_to_save_and_is_killed_if_it_does_not_end(started, monkeypatch):
    monkeypatch.setattr(Child, "orphaned", True)
    runs = [planned("talk"), planned("slow")]
    monkeypatch.setattr(executing, "STOP_SECONDS", 8.0)
    assert make(*runs) == runs[1:]
    assert [process.returncode for process, _ in started] == [0, -signal.SIGKILL]


def test_a_slow_run_that_speaks_is_left_alone(started):
    assert make(planned("talk"), hang_minutes=0.015) == []
    assert len(started) == 1


def test_the_time_in_which_the_suite_itself_stood_still_is_no_silence(started, monkeypatch):
    real, jumped = executing.time.monotonic, []

    def monotonic():
        jumped.append(3600.0)
        return real() + sum(jumped)  # an hour at each look

    monkeypatch.setattr(executing.time, "monotonic", monotonic)
    assert make(planned("talk"), hang_minutes=0.2) == []
    assert len(started) == 1


def interrupted_when(started, monkeypatch, *runs: PlannedRun) -> list[int]:
    """Exit statuses after an interrupt that came when all of them went."""

    def interrupt(*_):
        if [state(run)["state"] for run in runs] == ["running"] * len(runs):
            raise KeyboardInterrupt

    monkeypatch.setattr(executing._Pool, "_watch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(*runs)
    return [process.wait() for process, _ in started]


def test_an_interrupt_ends_the_runs_that_go_on(started, monkeypatch):
    assert interrupted_when(started, monkeypatch, planned("slow", 0), planned("slow", 1)) == [-signal.SIGTERM] * 2


def test_a_run_that_does_not_listen_to_an_interrupt_is_killed(started, monkeypatch):
    assert interrupted_when(started, monkeypatch, planned("deaf")) == [-signal.SIGKILL]


# --- slots ----------------------------------------------------------------------------------------------------------


def most_at_once(monkeypatch, *runs: PlannedRun, **changed) -> int:
    """Of all runs that ended, how many went at once."""
    most = 0
    original = executing._Pool._collect

    def collect(self):
        nonlocal most
        most = max(most, len(self.running))
        original(self)

    monkeypatch.setattr(executing._Pool, "_collect", collect)
    assert make(*runs, **changed) == []
    return most


def test_no_more_runs_than_slots_go_at_once(started, monkeypatch):
    assert most_at_once(monkeypatch, *[planned("fine", i) for i in range(5)], slots=2) == 2


def test_a_run_of_several_threads_takes_as_many_cores(started, monkeypatch):
    monkeypatch.setattr(executing, "slots", lambda *_: Slots(4, per_thread=True))
    assert most_at_once(monkeypatch, *[planned("fine", i, threads=2) for i in range(4)]) == 2
    assert [limits for _, limits in started] == [Limits(threads=2)] * 4


def test_small_runs_do_not_overtake_a_large_one(started, monkeypatch):
    monkeypatch.setattr(executing, "slots", lambda *_: Slots(2, True, ["0"]))
    make(planned("talk"), planned("fine", 0, threads=2), planned("fine", 1), planned("fine", 2, device="cuda"))
    assert [process.args[-2] for process, _ in started] == ["talk0", "fine2", "fine0", "fine1"]


def test_each_run_on_a_gpu_is_given_one_and_those_on_the_cpu_go_beside_them(started, monkeypatch):
    monkeypatch.setattr(executing, "slots", lambda *_: Slots(1, True, ["3", "5"]))
    runs = [*(planned("fine", i, device="cuda") for i in range(4)), planned("fine", 4)]
    assert most_at_once(monkeypatch, *runs, memory_gb=8.0) == 3
    given = {process.args[-2]: limits for process, limits in started}
    assert sorted(str(limits.gpu) for limits in given.values()) == ["3", "3", "5", "5", "None"]
    assert given["fine4"] == Limits(1, None, 8.0)


# --- what a person is told ------------------------------------------------------------------------------------------


def pool_of(store: Path, *runs: PlannedRun) -> executing._Pool:
    return executing._Pool(list(runs), store, executor(), ())


class Going:
    """A process that goes on."""

    exitcode = None
    orphaned = False


@pytest.fixture
def going(monkeypatch):
    monkeypatch.setattr(executing, "launch", lambda *_: Going())


def test_steps_of_an_earlier_attempt_do_not_count(tmp_path, going):
    run = planned("half")
    pool = pool_of(tmp_path, run)
    status = tmp_path / run.run_dir / "status.json"
    write_atomically(status, json.dumps({"state": "running", "step": 4, "updated": 9e9}))  # by a clock that went wrong
    pool._start()
    (attempt,) = pool.running.values()
    pool.clock = 60.0
    attempt.listen()
    assert "measuring the rate" in pool.line()
    write_atomically(status, json.dumps({"state": "running", "step": 4, "updated": 1.0}))
    attempt.listen()
    assert "50% of 8 steps, 1 running, 0 failed, 0 retried, 1 min 00 s left" in pool.line()


def test_the_line_for_a_person_tells_share_and_time_left(tmp_path, going):
    pool = pool_of(tmp_path, *[planned("half", i) for i in range(4)])
    assert pool.line() == "0% of 32 steps, 0 running, 0 failed, 0 retried, measuring the rate"
    pool._start()
    first, second = pool.running
    pool.done.append(first)
    del pool.running[first]
    pool.running[second].status, pool.clock, pool.retried = {"step": 8}, 100.0, 3
    assert pool.line() == "50% of 32 steps, 1 running, 0 failed, 3 retried, 1 min 40 s left"
    pool.clock += 7200.0
    assert pool.line().endswith("2 h 01 min left")


def test_what_was_there_before_counts_as_done_and_not_for_the_rate(tmp_path, going):
    run = planned("half")
    (tmp_path / run.run_dir).mkdir(parents=True)
    (tmp_path / run.run_dir / "resume-000000000006-0123456789abcdef.pt").touch()
    pool = pool_of(tmp_path, run)
    pool.clock = 60.0
    assert pool.line() == "75% of 8 steps, 0 running, 0 failed, 0 retried, measuring the rate"
    pool._start()
    (attempt,) = pool.running.values()
    attempt.status = {"step": 7}
    assert pool.line().endswith("1 min 00 s left")
