"""Packing and submitting, without a Slurm (test_cluster has one)."""

import json
import pickle
import sys
from collections import Counter
from dataclasses import replace

import pytest
from fake_slurm import composed, note, queue, run_dirs, send, submitted
from hypothesis import given
from hypothesis import strategies as st

from bench import slurm
from bench.errors import UserError
from bench.plan import PlannedRun
from bench.slurm import pack

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
