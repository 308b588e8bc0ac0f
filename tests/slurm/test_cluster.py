"""`executor=slurm` on a Slurm of one node that is set up for these tests: time limit, node failure, preemption, cancel.

python -m pytest -m slurm tests/slurm: as root, with Debian's packages (cluster.py); about ten minutes.
"""

import hashlib
import json
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from cluster import GRACE_SECONDS, Cluster, cluster, missing
from command_line import block, call, command, environment, status, tiny_suite, wait_until

from bench.compose import compose, to_suite_config
from bench.plan import expand

pytestmark = pytest.mark.slurm

STEPS = 98_304  # seconds, so that something can happen to the run meanwhile
WAIT_SECONDS = 1800  # for jobs that take their time on a busy machine


@pytest.fixture(scope="module")
def slurm():
    if why := missing():
        pytest.fail(why)
    with cluster() as made:
        yield made


class Suite:
    """A suite of small runs: its words, what they lead to on the cluster, and what they lead to without it."""

    def __init__(self, slurm: Cluster, unbroken: Path, place: Path, runs: str, *words: str, **executor):
        self.slurm, self.unbroken, self.place, self.store = slurm, unbroken, place, place / "store"
        self.local = [*tiny_suite(runs), "store=store"]
        settings = [f"executor.{key}={value}" for key, value in executor.items()]
        self.words = [*self.local, "executor=slurm", *words, *settings]
        self.runs = list(expand(to_suite_config(compose(self.words, "suite"))).runs)

    def say(self, action: str):
        return call(self.place, "bench.suite", action, *self.words, **self.slurm.environment)

    def submit(self) -> None:
        done = self.say("run")
        assert done.returncode == 0, done.stderr
        assert "submitted" in done.stdout

    def collect(self):
        """What `collect` says once nothing is under way."""
        end = time.monotonic() + WAIT_SECONDS
        while (done := self.say("collect")).returncode == 3:
            assert time.monotonic() < end, f"{done.stdout}\n{self.log()}"
            time.sleep(2)
        return done

    def status(self) -> dict:
        """Of the first run."""
        return status(self.store / self.runs[0].run_dir)

    def wait_until_under_way(self) -> None:
        """Wait until the first run is. It has not saved then: it does so every five minutes, or when it has to end."""
        wait_until(lambda: self.status().get("step", 0) > self.runs[0].steps / 10, WAIT_SECONDS)

    def running(self) -> int:
        """How many jobs of submissions run."""
        lines = self.slurm.ask("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%j").splitlines()
        return sum(line.startswith("bench-") for line in lines)

    def log(self) -> str:
        """What the jobs have said."""
        return "\n".join(path.read_text() for path in sorted(self.store.glob("jobs/*/*_log.*")))

    def starts(self) -> int:
        """How often jobs were started."""
        return self.log().count("Starting with JobEnvironment")

    def resumed(self) -> bool:
        """Whether the last attempt of the first run went on from a checkpoint."""
        manifest = json.loads((self.store / self.runs[0].run_dir / "manifest.json").read_text())
        return manifest["attempts"][-1]["from_step"] > 0

    def make_unbroken(self) -> Path:
        """Make the same runs here, with nothing happening to them; those that are there are not made again."""
        place = self.unbroken / hashlib.sha256(" ".join(self.local).encode()).hexdigest()[:8]
        place.mkdir(exist_ok=True)
        words = command("bench.suite", "run", *self.local)
        done = subprocess.run(words, cwd=place, env=environment(), capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert done.returncode == 0, done.stderr
        return place / "store"

    def require_done(self) -> None:
        """The end is that of runs which nothing has happened to."""
        done = self.collect()
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.log()}"
        unbroken = self.make_unbroken()
        for run in self.runs:
            expected, made = unbroken / run.run_dir, self.store / run.run_dir
            assert status(made)["params_sha256"] == status(expected)["params_sha256"]
            assert (made / "episodes.csv").read_bytes() == (expected / "episodes.csv").read_bytes()


@pytest.fixture(scope="module")
def made(slurm, tmp_path_factory):
    """Makes suites. Args: place; block of its runs; more words; settings of the executor."""
    return partial(Suite, slurm, tmp_path_factory.mktemp("unbroken"))


@pytest.fixture
def suite(made, tmp_path):
    """A suite of one run in one job."""
    return made(tmp_path, block("ppo", "CartPole-v1", STEPS), minutes=30, grace_seconds=20)


@pytest.fixture(scope="module")
def long_run(made, tmp_path_factory):
    """A block of one run that a job of a minute cannot make.

    Slurm looks every 30 seconds which jobs are near their limit, so such a job has about half a minute.
    """
    trial = made(tmp_path_factory.mktemp("trial"), block("ppo", "CartPole-v1", STEPS))
    rate = status(trial.make_unbroken() / trial.runs[0].run_dir)["rate"]
    return block("ppo", "CartPole-v1", round(60 * rate))


def test_submitting_returns_before_the_runs_are_made_and_collect_tells_when_they_are(made, tmp_path):
    runs = block("ppo,da_full", "CartPole-v1", 16_384, seeds=3)
    suite = made(tmp_path, runs, runs_per_job=2, array_parallelism=1, minutes=30)
    suite.submit()
    assert suite.say("collect").returncode == 3
    assert "Slurm jobs: " in suite.say("status").stdout
    assert "runs are in jobs already and not submitted again" in suite.say("run").stdout
    at_once = set()
    while suite.say("collect").returncode == 3:
        at_once.add(suite.running())
    assert max(at_once) == 1
    suite.require_done()
    assert suite.starts() == 3
    assert "6 runs: 6 done\n" in suite.say("status").stdout
    report = call(tmp_path, "analysis", "report", "check=multi_step", "scale=smoke", "store=store")
    assert report.returncode == 0, report.stderr


def test_a_run_that_takes_longer_than_a_job_may_goes_on_in_the_next(made, tmp_path, long_run):
    suite = made(tmp_path, long_run, minutes=1, grace_seconds=20)
    suite.submit()
    suite.require_done()
    assert suite.starts() > 1
    assert suite.resumed()
    assert "this job is timed-out" in suite.log()


def test_a_run_whose_job_may_not_be_queued_again_is_lost_and_goes_on_when_submitted(made, tmp_path, long_run):
    suite = made(tmp_path, long_run, minutes=1, grace_seconds=20, requeues=0)
    suite.submit()
    said = suite.collect()
    assert said.returncode == 1
    assert "1 runs: 1 lost\n" in said.stdout
    assert "UncompletedJobError: Job not requeued because: timed-out too many times. (log: " in said.stdout
    assert suite.starts() == 1
    again = made(tmp_path, long_run, minutes=30)
    again.submit()
    again.require_done()
    assert again.resumed()


def test_a_run_on_a_node_that_fails_is_made_when_there_is_a_node_again(slurm, made, tmp_path):
    suite = made(tmp_path, block("ppo", "CartPole-v1", STEPS), "checkpoint_minutes=0.03", minutes=30)
    suite.submit()
    wait_until(lambda: any(suite.store.glob("runs/*/resume-*.pt")), WAIT_SECONDS)
    slurm.fail_node()
    wait_until(lambda: "down" in slurm.ask("sinfo", "--noheader", "--format=%T"), WAIT_SECONDS)
    assert suite.say("collect").returncode == 3
    slurm.start_node()
    suite.require_done()
    assert suite.starts() == 2
    assert suite.resumed()


@pytest.mark.parametrize("grace", [True, False], ids=["with", "without"])
def test_a_job_that_is_preempted_with_or_without_a_time_of_grace_goes_on_later(slurm, suite, grace):
    suite.submit()
    suite.wait_until_under_way()
    slurm.ask("scontrol", "update", "PartitionName=all", f"GraceTime={GRACE_SECONDS if grace else 0}")
    slurm.ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
    wait_until(lambda: not suite.running(), WAIT_SECONDS)
    assert suite.say("collect").returncode == 3
    suite.require_done()
    assert suite.starts() == 2
    assert suite.resumed()


def test_a_job_that_is_cancelled_is_not_queued_again_and_its_run_goes_on_when_submitted(slurm, suite):
    suite.submit()
    suite.wait_until_under_way()
    slurm.ask("scancel", "--user=root")
    said = suite.collect()
    assert said.returncode == 1
    assert "1 runs: 1 lost\n" in said.stdout
    assert "CANCELLED" in said.stdout
    assert suite.status()["state"] == "interrupted"
    suite.submit()
    suite.require_done()
    assert suite.starts() == 2
    assert suite.resumed()


def test_a_job_that_cannot_start_leaves_its_words(made, tmp_path):
    runs = block("ppo", "CartPole-v1", STEPS)
    suite = made(tmp_path, runs, setup="['echo no such module >&2; exit 1']", minutes=30)
    suite.submit()
    said = suite.collect()
    assert said.returncode == 1
    assert "ended with: no such module (log: " in said.stdout


def test_what_slurm_refuses_is_said_in_one_sentence(made, tmp_path):
    suite = made(tmp_path, block("ppo", "CartPole-v1", STEPS), partition="none")
    said = suite.say("run")
    assert said.returncode == 2
    assert "error: sbatch refused 1 jobs: " in said.stderr
    assert "nvalid partition" in said.stderr
    assert "Traceback" not in said.stderr
