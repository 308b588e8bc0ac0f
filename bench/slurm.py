"""Runs of a plan as jobs of a Slurm cluster whose nodes share the store.

A submission is one array of jobs. Each makes its pack of runs as `executor=local` would; near the time limit, and when
it is preempted, its runs save, it queues itself again, and later goes on with them. What became of a run is read in
its directory. Slurm is only asked which jobs are still there, so no accounting is needed.
"""

import contextlib
import json
import math
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from bench.check_config import SlurmConfig, SuiteConfig
from bench.config import LoggerConfig
from bench.errors import UserError
from bench.execute import execute
from bench.files import write_atomically
from bench.plan import Plan, PlannedRun
from bench.record import read_status

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

JOBS = "jobs"  # folder in the store: one folder per submission
NOTE = "jobs.json"  # in a submission's folder: which runs are in which of its jobs
# Slurm sends SIGUSR2 before a time limit, as submitit asks it to, and SIGTERM before it kills or preempts.
SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
SHARED_GB = 1.0  # of the processes of a job that are no run: PyTorch, loaded once to be forked
ASK_SECONDS = 60.0  # that Slurm has to answer
UNDER_WAY = 3  # exit status of `collect` while jobs are left


# --- in a job -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What one job does: it makes those of its runs that are not done."""

    runs: list[PlannedRun]
    store: Path
    executor: SlurmConfig
    logger: LoggerConfig
    checkpoint_minutes: float

    def __call__(self) -> None:
        """Make the runs; when the job is to end before them, stop them and queue it again."""
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's: it keeps checkpoint() and has the job queued again
        for number in SIGNALS:
            signal.signal(number, _end)
        with contextlib.suppress(KeyboardInterrupt):
            return self._make()
        # A job that Slurm no longer counts as running it queues again by itself, or a person has cancelled it.
        if callable(requeue) and _state(os.environ["SLURM_JOB_ID"]) == "RUNNING":
            requeue(signal.SIGUSR2, None)
        raise SystemExit(128 + signal.SIGTERM)

    def _make(self) -> None:
        todo = [run for run in self.runs if run.state(self.store) != "done"]
        print(f"{len(todo)} of {len(self.runs)} runs to make", flush=True)
        failed = execute(todo, self.store, self.executor, self.logger, self.checkpoint_minutes) if todo else []
        print(f"{len(todo) - len(failed)} runs done, {len(failed)} failed", flush=True)

    def checkpoint(self) -> "DelayedSubmission":
        """What submitit is to run when the job starts again: the same, since every run goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _end(_number: int, _frame: FrameType | None) -> None:
    for number in SIGNALS:  # one is enough: stopping takes its time
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


# --- what Slurm says ------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a run is in Slurm."""

    job: str  # of the array, as Slurm writes it: 12_3
    state: str  # PENDING, RUNNING and others


def _squeue(*arguments: str) -> list[str]:
    """Lines of squeue. Errors: `UserError`."""
    words = ["squeue", "--noheader", *arguments]
    try:
        done = subprocess.run(words, text=True, capture_output=True, timeout=ASK_SECONDS, check=False)
    except FileNotFoundError:
        raise UserError("there is no squeue on this machine to ask which jobs are left") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"squeue did not say within {ASK_SECONDS:.0f} s which jobs are left; try again") from None
    if done.returncode:
        raise UserError(f"squeue cannot say which jobs are left ({_last_line(done.stderr)}); try again") from None
    return done.stdout.splitlines()


def _state(job: str) -> str:
    """State of a job, empty when it is gone or nobody can tell."""
    try:
        return "".join(_squeue(f"--jobs={job}", "--format=%T")).strip()
    except UserError:
        return ""


def _notes(store: Path) -> dict[str, Any]:
    """Submission -> its note."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted((store / JOBS).glob(f"*/{NOTE}"))}


def places(store: Path) -> dict[str, Place]:
    """Run directory -> where it is, of all runs in jobs that wait or run. Errors: `UserError`: Slurm does not answer.

    A job is known by the name of its submission and its index, which are noted before Slurm hears of it: so none is
    forgotten, whenever a submission is killed.
    """
    notes = _notes(store)
    if not notes:
        return {}
    found = {}
    for line in _squeue("--array", f"--name={','.join(notes)}", "--format=%j|%F|%K|%T"):
        name, array, index, state = line.strip().split("|")
        packs = notes[name]["packs"]
        job = f"{array}_{index}" if index.isdigit() else array  # a single job is no array
        for run_dir in packs[int(index) if index.isdigit() else 0]:
            found[run_dir] = Place(job, state)
    return found


def describe(store: Path) -> str:
    """A line on the jobs that wait or run; empty where there are none, or no Slurm to ask."""
    if not shutil.which("squeue"):
        return ""
    try:
        found = places(store)
    except UserError as error:
        return str(error)
    jobs = Counter(state.lower() for _, state in set(found.values()))
    shown = ", ".join(f"{count} {state}" for state, count in sorted(jobs.items()))
    return f"Slurm jobs: {shown}, with {len(found)} runs" if found else ""


# --- submitting -----------------------------------------------------------------------------------------------------


def pack(runs: list[PlannedRun], size: int) -> list[list[PlannedRun]]:
    """Packs of at most `size` runs that take about equally long, in the order of the plan.

    The runs of an arm on a task differ in their seeds only: they are dealt out to different packs.
    """
    place = {run: i for i, run in enumerate(runs)}
    count = math.ceil(len(runs) / size)
    alike = sorted(runs, key=lambda run: (-run.steps, run.task, run.arm, place[run]))
    packs = [sorted(alike[i::count], key=place.__getitem__) for i in range(count)]
    return sorted(packs, key=lambda one: place[one[0]])


def submit(runs: list[PlannedRun], store: Path, suite: SuiteConfig) -> int:
    """Submit the runs that are in no job yet, and return at once. Returns the exit status, 0.

    Args: runs: those that are not done.
    Errors: `UserError`: no Slurm, no submitit, a request that Slurm refuses, or no word on the jobs that it has.
    """
    executor = suite.executor
    assert isinstance(executor, SlurmConfig)
    _require_possible(runs, executor)
    store = store.resolve()  # a job may start elsewhere
    try:
        (store / JOBS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the store {store} cannot be written: {error.strerror}") from None
    with FileLock(store / JOBS / ".lock"):  # two submissions at once would not see each other's jobs
        known = places(store)
        todo = [run for run in runs if run.run_dir not in known]
        if len(todo) < len(runs):
            print(f"{len(runs) - len(todo)} runs are in jobs already and not submitted again")
        if todo:
            array, count = _submit(todo, store, suite, executor)
            print(
                f"submitted {len(todo)} runs in {count} jobs of Slurm: {array}\n"
                "the same command with `status` shows them, with `collect` says how they ended"
            )
    return 0


def _require_possible(runs: list[PlannedRun], executor: SlurmConfig) -> None:
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError("executor is 'slurm' and there is no sbatch on this machine; allowed: local")
    if not executor.gpus and any(run.device == "cuda" for run in runs):
        raise UserError("executor.gpus is 0 and there are runs with device=cuda; allowed: 1 and more")
    if fused := next((run for run in runs if run.block), None):
        raise UserError(f"executor is 'slurm' and {fused.arm} has several seeds_per_process; allowed: local")


def _submit(runs: list[PlannedRun], store: Path, suite: SuiteConfig, executor: SlurmConfig) -> tuple[str, int]:
    """Submit one array. Returns its id, and of how many jobs it is."""
    try:
        from submitit import AutoExecutor
    except ImportError:
        raise UserError("executor=slurm needs submitit; install policy-reproduction[slurm]") from None

    packs = pack(runs, executor.runs_per_job)
    name = f"bench-{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}"
    folder = store / JOBS / name
    note = {"name": name, "packs": [[run.run_dir for run in one] for one in packs]}
    write_atomically(folder / NOTE, json.dumps(note, indent=1))
    cluster = AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=executor.requeues)
    threads = max(run.threads for run in runs)
    cluster.update_parameters(**_parameters(executor, name, threads))
    jobs = [Job(one, store, executor, suite.logger, suite.checkpoint_minutes) for one in packs]
    try:
        array = cluster.submit_array(jobs)[0].job_id.partition("_")[0]
    except RuntimeError as error:  # submitit's, of a command that fails
        shutil.rmtree(folder)
        reason = _last_line(str(error))
        hint = "; a larger executor.runs_per_job makes them fewer" if "array" in reason else ""  # MaxArraySize
        raise UserError(f"sbatch refused {len(packs)} jobs: {reason}{hint}") from None
    write_atomically(folder / NOTE, json.dumps({**note, "array": array}, indent=1))
    return array, len(packs)


def _parameters(executor: SlurmConfig, name: str, threads: int) -> dict[str, Any]:
    """What submitit asks of Slurm for each job; it leaves out what is None. Args: threads: of a run."""
    slots = executor.slots or 1
    cpus = executor.cpus or slots * threads
    return {
        "name": name,
        "timeout_min": executor.minutes,
        "cpus_per_task": cpus,
        "mem_gb": None if executor.memory_gb is None else executor.memory_gb * slots + SHARED_GB,
        "gpus_per_node": executor.gpus or None,
        "slurm_partition": executor.partition,
        "slurm_account": executor.account,
        "slurm_setup": list(executor.setup) or None,
        "slurm_array_parallelism": executor.array_parallelism,
        "slurm_signal_delay_s": executor.grace_seconds,
        # Since Slurm 22.05 srun no longer takes the number of cores over from sbatch.
        "slurm_srun_args": [f"--cpus-per-task={cpus}"],
        # Queued again after a failure of its node, also where that is not the cluster's default.
        "slurm_additional_parameters": {"requeue": True},
    }


# --- collecting -----------------------------------------------------------------------------------------------------


def collect(plans: list[Plan], runs: dict[str, tuple[PlannedRun, str]], suite: SuiteConfig) -> int:
    """Say what jobs have left: which runs are done, failed, still in a job, or lost.

    Args:
        plans: of the checks asked for, whose names are shown.
        runs: run directory -> run and its state.
    Returns:
        The exit status: 0 all done, 3 some still in a job, else 1: some failed, or are in no job and not done.
    Errors: `UserError`: something is not done and Slurm does not answer.
    """
    store = Path(suite.store)
    left = [(run, state) for run, state in runs.values() if state != "done"]
    known = places(store) if left else {}
    last = _last_jobs(store)
    became: dict[str, list[PlannedRun]] = {"done": [run for run, state in runs.values() if state == "done"]}
    for run, state in left:
        if run.run_dir in known or state == "running":
            what = "under way"
        else:
            what = "failed" if state == "failed" else "lost" if run.run_dir in last else "not submitted"
        became.setdefault(what, []).append(run)
        print(f"{what:14} {run.arm:14} {run.task:20} seed {run.seed}  {_detail(run, store, known)}".rstrip())
    for job, log in dict(last[run.run_dir] for run in became.get("lost", [])).items():
        print(f"job {job} ended with: {_last_words(log)} (log: {log})")
    names = ", ".join(plan.suite.check.name for plan in plans)
    print(f"{names}: {len(runs)} runs: " + ", ".join(f"{len(found)} {what}" for what, found in became.items() if found))
    if "under way" in became:
        return UNDER_WAY
    if len(became) > 1:
        print("the same command with `run` submits what is left")
    return 1 if len(became) > 1 else 0


def _detail(run: PlannedRun, store: Path, known: dict[str, Place]) -> str:
    """Where a run is, why it failed, or how far it came."""
    if run.run_dir in known:
        job, state = known[run.run_dir]
        return f"job {job}, {state.lower()}"
    status = read_status(store / run.run_dir)
    if status["state"] == "failed":
        return f"{status.get('error')} (log: {store / run.run_dir / 'log.txt'})"
    return f"step {status['step']:,} of {run.steps:,}" if "step" in status else "not begun"


def _last_jobs(store: Path) -> dict[str, tuple[str, Path]]:
    """Run directory -> the last job that it was in, and the log of that."""
    last = {}
    for name, note in _notes(store).items():  # by time
        array, packs = note.get("array", "?"), note["packs"]
        for index, one in enumerate(packs):
            job = f"{array}_{index}" if len(packs) > 1 else array
            last.update(dict.fromkeys(one, (job, store / JOBS / name / f"{job}_0_log.err")))
    return last


def _last_words(log: Path) -> str:
    """Of a job outside its runs: an exception, or what Slurm says of its end."""
    try:
        return _last_line(log.read_text(errors="replace"))
    except OSError:
        return "nothing, it did not start"


def _last_line(text: str) -> str:
    """The last line that is not srun's, which only repeats that there was an error."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("srun: ")]
    return lines[-1].strip() if lines else "nothing"
