"""What jobs do, and what is said of them, without a Slurm (test_cluster has one)."""

import os
import pickle
import signal
from pathlib import Path

import pytest
from fake_slurm import composed, queue, submitted, suite_of, write_status

from bench import slurm
from bench.errors import UserError
from bench.slurm import Job, collect, describe

# --- status and collect ---------------------------------------------------------------------------------------------


def collected(place: Path) -> int:
    store = place / "store"
    runs = {run.run_dir: (run, run.state(store)) for run in composed().runs}
    return collect([composed()], runs, suite_of(place))


def test_the_line_of_status_counts_jobs_and_runs(place):
    submitted(place, runs_per_job=2)
    queue(place, "0|RUNNING", "1|PENDING")
    assert describe(place / "store") == "Slurm jobs: 1 pending, 1 running, with 4 runs"
    queue(place)
    assert describe(place / "store") == ""


def test_the_line_of_status_says_when_slurm_does_not_answer(place):
    submitted(place)
    (place / "silent").touch()
    assert "Unable to contact slurm controller" in describe(place / "store")


def test_slurm_is_not_asked_about_a_store_that_knows_no_jobs(place):
    assert describe(place / "store") == ""
    assert not (place / "asked").exists()


def test_without_slurm_status_has_no_line(place, monkeypatch):
    submitted(place)
    monkeypatch.setenv("PATH", str(place))
    assert describe(place / "store") == ""


def test_when_all_is_done_slurm_is_not_asked(place, capsys):
    submitted(place)
    for run in composed().runs:
        write_status(place, run, state="done", step=128)
    assert collected(place) == 0
    assert capsys.readouterr().out.endswith("\nmulti_step: 4 runs: 4 done\n")
    assert not (place / "asked").exists()


def test_while_a_job_is_left_the_exit_status_is_3(place, capsys):
    first, second = submitted(place, runs_per_job=2)["packs"]
    queue(place, "1|PENDING")
    for run in composed().runs:
        if run.run_dir == first[0]:
            write_status(place, run, state="failed", step=4, error="the planted one")
        elif run.run_dir == first[1]:
            write_status(place, run, state="done", step=128)
    capsys.readouterr()
    assert collected(place) == 3
    said = capsys.readouterr().out
    assert said.count("job 12_1, pending") == len(second)
    assert "the planted one (log: " in said
    assert said.splitlines()[-1] == "multi_step: 4 runs: 1 done, 1 failed, 2 under way"


def test_a_run_that_failed_before_its_job_began_is_under_way(place):
    submitted(place, runs_per_job=4)
    for run in composed().runs:
        write_status(place, run, state="failed", step=4, error="the planted one")
    queue(place, "N/A|PENDING")
    assert collected(place) == 3
    queue(place)
    assert collected(place) == 1


def test_what_is_in_no_job_and_not_done_is_lost_and_its_job_has_the_last_word(place, capsys):
    found = submitted(place, runs_per_job=2)
    for run in composed().runs:
        if run.run_dir not in found["packs"][1]:
            write_status(place, run, state="done", step=128)
        elif run.arm == "ppo":
            write_status(place, run, state="interrupted", step=4)
    log = place / "store/jobs" / found["name"] / "12_1_0_log.err"
    log.write_text("Traceback\nslurmstepd: error: *** JOB 12 CANCELLED ***\nsrun: error: node: task 0: Killed\n")
    capsys.readouterr()
    assert collected(place) == 1
    said = capsys.readouterr().out
    assert "step 4 of 128" in said
    assert "not begun" in said
    assert f"job 12_1 ended with: slurmstepd: error: *** JOB 12 CANCELLED *** (log: {log})" in said
    assert "job 12_0" not in said
    assert said.endswith("2 done, 2 lost\nthe same command with `run` submits what is left\n")


def test_what_was_never_in_a_job_is_not_called_lost(place, capsys):
    assert collected(place) == 1
    assert "\nmulti_step: 4 runs: 4 not submitted\n" in capsys.readouterr().out


def test_a_job_that_left_no_log_did_not_start(place, capsys):
    submitted(place)
    assert collected(place) == 1
    assert "job 12_0 ended with: nothing, it did not start" in capsys.readouterr().out


def test_collect_is_refused_where_slurm_cannot_be_asked(place, monkeypatch):
    submitted(place)
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(UserError, match="there is no squeue on this machine"):
        collected(place)


# --- the job --------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(place, monkeypatch):
    """A job that is called in this process: it, what stands for its runs being made, and how often it was requeued."""
    suite = suite_of(place)
    made, requeued = [], []
    monkeypatch.setattr(slurm, "execute", lambda runs, *_: made.append(runs) or [])
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    kept = {number: signal.getsignal(number) for number in slurm.SIGNALS}
    signal.signal(signal.SIGUSR2, lambda number, _: requeued.append(number))
    yield Job(list(composed().runs), place / "store", suite.executor, suite.logger, 5), made, requeued
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_job_makes_those_of_its_runs_that_are_not_done(place, job):
    one, made, requeued = job
    write_status(place, one.runs[1], state="done", step=128)
    write_status(place, one.runs[2], state="failed", step=4)
    one()
    assert made == [[one.runs[0], one.runs[2], one.runs[3]]]
    assert requeued == []


def test_a_job_with_nothing_left_makes_nothing(place, job):
    one, made, _ = job
    for run in one.runs:
        write_status(place, run, state="done", step=128)
    one()
    assert made == []


@pytest.mark.parametrize("number", slurm.SIGNALS)
@pytest.mark.parametrize(("state", "requeues"), [("RUNNING", 1), ("COMPLETING", 0), ("", 0)])
def test_a_job_that_is_told_to_end_stops_its_runs_and_queues_again_unless_slurm_has_ended_it(
    place, job, monkeypatch, number, state, requeues
):
    one, _, requeued = job
    (place / "queue").write_text(f"{state}\n")
    stopped = []

    def make(*_):
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # while the runs are stopped: it changes nothing
            stopped.append(True)

    monkeypatch.setattr(slurm, "execute", make)
    with pytest.raises(SystemExit):
        one()
    assert stopped == [True]
    assert requeued == [signal.SIGUSR2] * requeues
    assert "--jobs=12" in (place / "asked").read_text()


def test_what_goes_wrong_in_a_job_is_no_reason_to_queue_it_again(job, monkeypatch):
    one, _, requeued = job

    def make(*_):
        raise UserError("the planted one")

    monkeypatch.setattr(slurm, "execute", make)
    with pytest.raises(UserError, match="the planted one"):
        one()
    assert requeued == []


def test_a_job_that_starts_again_is_the_same(job):
    one, _, _ = job
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.checkpoint().function == one
