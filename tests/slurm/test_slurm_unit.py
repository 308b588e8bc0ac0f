"""Jobs of Slurm without a Slurm: its commands are scripts that write down what they are told (test_cluster has it)."""

import json
import os
import pickle
import signal
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import slurm
from bench.check_config import SuiteConfig
from bench.compose import compose, to_suite_config
from bench.errors import UserError
from bench.plan import PlannedRun, expand
from bench.slurm import Job, collect, describe, pack, submit

SBATCH = """#!/bin/sh
cp "$1" {place}/script
cp {place}/store/jobs/*/jobs.json {place}/heard
if [ -e {place}/refuse ]; then cat {place}/refuse >&2; exit 1; fi
echo Submitted batch job 12
"""
SQUEUE = """#!/bin/sh
echo "$*" >> {place}/asked
if [ -e {place}/silent ]; then echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; fi
cat {place}/queue 2>/dev/null || true
"""
BLOCK = "{arms:[ppo,da_full],tasks:[CartPole-v1],seeds:2,steps:128,overrides:[]}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which the commands of Slurm are the scripts above."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", "#!/bin/sh\n")):
        (commands / name).write_text(text.format(place=tmp_path))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    return tmp_path


@cache
def composed():
    """The plan of four runs that all tests are about."""
    words = ["check=multi_step", "scale=smoke", "executor=slurm", "logger=none", f"check.scales.smoke.blocks=[{BLOCK}]"]
    return expand(to_suite_config(compose(words, "suite")))


def suite_of(place: Path, **executor) -> SuiteConfig:
    suite = composed().suite
    return replace(suite, store=str(place / "store"), executor=replace(suite.executor, **executor))


def run_dirs() -> list[str]:
    return [run.run_dir for run in composed().runs]


def send(place: Path, runs: list[PlannedRun] | None = None, **executor) -> int:
    """Submit all runs, or these."""
    return submit(runs or list(composed().runs), place / "store", suite_of(place, **executor))


def submitted(place: Path, **executor) -> dict:
    """Submit all runs. Returns the note."""
    assert send(place, **executor) == 0
    return note(place)


def note(place: Path) -> dict:
    [path] = (place / "store/jobs").glob("*/jobs.json")
    return json.loads(path.read_text())


def queue(place: Path, *lines: str) -> None:
    """What squeue says from now on: index and state of jobs of the one submission."""
    name = note(place)["name"]
    (place / "queue").write_text("".join(f"{name}|12|{line}\n" for line in lines))


def write_status(place: Path, run: PlannedRun, **fields) -> None:
    (place / "store" / run.run_dir).mkdir(parents=True)
    (place / "store" / run.run_dir / "status.json").write_text(json.dumps(fields))


# --- packing --------------------------------------------------------------------------------------------------------


def planned(arm: str, seed: int, steps: int = 8) -> PlannedRun:
    return PlannedRun(arm, "T", seed, steps, "", "", f"runs/{arm}-{seed}", "cpu", ())


def test_a_pack_has_as_much_of_every_arm_as_any_other():
    runs = [planned(arm, seed) for seed in range(6) for arm in "abc"]
    for one in pack(runs, 6):
        assert Counter(run.arm for run in one) == {"a": 2, "b": 2, "c": 2}


def test_long_runs_are_dealt_out_like_short_ones():
    runs = [planned("a", seed, steps=10**6 if seed < 3 else 1) for seed in range(9)]
    assert [[run.seed < 3 for run in one] for one in pack(runs, 3)] == [[True, False, False]] * 3


def test_packs_of_one_are_the_plan():
    runs = [planned(arm, seed) for seed in range(3) for arm in "ba"]
    assert pack(runs, 1) == [[run] for run in runs]


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5))
def test_every_run_is_in_one_pack_and_packs_are_filled(number, size, arms):
    runs = [planned("abcde"[i % arms], i, steps=i % 3 + 1) for i in range(number)]
    packs = pack(runs, size)
    assert Counter(run for one in packs for run in one) == Counter(runs)
    assert len(packs) == -(-number // size)
    assert all(0 < len(one) <= size for one in packs)
    assert max(map(len, packs), default=0) - min(map(len, packs), default=0) <= 1


# --- submitting -----------------------------------------------------------------------------------------------------


def test_runs_are_submitted_as_one_array_and_noted(place, capsys):
    found = submitted(place, runs_per_job=2)
    assert found["array"] == "12"
    assert sorted(run_dir for one in found["packs"] for run_dir in one) == sorted(run_dirs())
    assert "submitted 4 runs in 2 jobs of Slurm: 12\n" in capsys.readouterr().out
    folder = place / "store/jobs" / found["name"]
    for index, packed in enumerate(found["packs"]):
        job = pickle.loads((folder / f"12_{index}_submitted.pkl").read_bytes()).function
        assert [run.run_dir for run in job.runs] == packed
        assert (job.store, job.checkpoint_minutes) == (place / "store", 5)


def test_which_runs_are_in_which_job_is_noted_before_slurm_hears_of_it(place):
    found = submitted(place)
    assert json.loads((place / "heard").read_text()) == {key: found[key] for key in ("name", "packs")}


def test_slurm_is_asked_for_what_the_configuration_says(place):
    submitted(
        place,
        runs_per_job=1,
        array_parallelism=3,
        minutes=90,
        grace_seconds=77,
        slots=2,
        memory_gb=1.5,
        gpus=1,
        partition="some",
        account="mine",
        setup=["module load python"],
    )
    script = (place / "script").read_text()
    flags = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH --")]
    asked = dict(flag.partition("=")[::2] for flag in flags)
    assert asked["array"] == "0-3%3"
    assert (asked["time"], asked["signal"]) == ("90", "USR2@77")
    assert (asked["cpus-per-task"], asked["mem"], asked["gpus-per-node"]) == ("2", "4GB", "1")
    assert (asked["partition"], asked["account"]) == ("some", "mine")
    assert asked["requeue"] == ""
    assert "\nmodule load python\n" in script
    assert " --cpus-per-task=2 " in script[script.index("srun ") :]


def test_what_is_not_configured_is_left_to_the_cluster(place):
    submitted(place)
    script = (place / "script").read_text()
    for word in ("--mem", "--gpus", "--partition", "--account", "# setup"):
        assert word not in script
    assert "#SBATCH --cpus-per-task=1\n" in script


def test_a_run_has_its_threads_on_every_slot(place):
    send(place, [replace(run, threads=3) for run in composed().runs], slots=2)
    assert "#SBATCH --cpus-per-task=6\n" in (place / "script").read_text()


def test_runs_in_jobs_that_wait_or_run_are_not_submitted_twice(place, capsys):
    found = submitted(place, runs_per_job=2)
    queue(place, "0|RUNNING", "1|PENDING")
    (place / "script").unlink()
    assert send(place) == 0
    assert not (place / "script").exists()
    assert note(place) == found
    assert "4 runs are in jobs already" in capsys.readouterr().out


def test_runs_whose_job_is_gone_are_submitted_again(place):
    first = submitted(place, runs_per_job=2)
    queue(place, "1|PENDING")
    assert send(place, runs_per_job=2) == 0
    notes = [json.loads(path.read_text()) for path in (place / "store/jobs").glob("*/jobs.json")]
    [second] = [found for found in notes if found["name"] != first["name"]]
    assert second["packs"] == [first["packs"][0]]


def test_jobs_of_a_submission_that_was_killed_before_it_heard_their_number_are_known(place):
    submitted(place)
    [path] = (place / "store/jobs").glob("*/jobs.json")
    path.write_text((place / "heard").read_text())
    queue(place, *(f"{index}|PENDING" for index in range(4)))
    (place / "script").unlink()
    assert send(place) == 0
    assert not (place / "script").exists()


def test_a_single_job_which_slurm_gives_no_index_is_known(place):
    submitted(place, runs_per_job=4)
    assert "--array" not in (place / "script").read_text()
    queue(place, "N/A|RUNNING")
    assert slurm.places(place / "store") == dict.fromkeys(run_dirs(), ("12", "RUNNING"))


def test_nothing_is_submitted_while_slurm_does_not_say_which_jobs_it_has(place):
    submitted(place)
    (place / "script").unlink()
    (place / "silent").touch()
    with pytest.raises(UserError, match=r"squeue cannot say .* \(slurm_load_jobs error: Unable to contact slurm"):
        send(place)
    assert not (place / "script").exists()


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("Invalid partition name specified", ""),
        ("Invalid job array specification", "; a larger executor.runs_per_job makes them fewer"),
    ],
)
def test_what_slurm_refuses_is_said_and_leaves_nothing(place, reason, hint):
    (place / "refuse").write_text(f"sbatch: error: Batch job submission failed: {reason}\n")
    with pytest.raises(UserError, match=rf"^sbatch refused 4 jobs: .*{reason}{hint}$"):
        send(place)
    assert [path.name for path in (place / "store/jobs").iterdir()] == [".lock"]


def test_without_sbatch_it_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no sbatch on this machine; allowed: local$"):
        send(tmp_path)
    assert not (tmp_path / "store").exists()


def test_without_submitit_it_is_said_how_to_get_it(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"install policy-reproduction\[slurm\]$"):
        send(place)
    assert not (place / "script").exists()


def test_runs_on_a_gpu_need_jobs_that_have_one(place):
    runs = [replace(run, device="cuda") for run in composed().runs]
    with pytest.raises(UserError, match=r"executor\.gpus is 0"):
        send(place, runs)
    assert send(place, runs, gpus=1) == 0


def test_a_store_that_cannot_be_written_is_refused(place):
    (place / "store").touch()
    with pytest.raises(UserError, match="cannot be written"):
        send(place)


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
