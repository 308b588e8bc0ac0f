"""Faults that real runs meet: killed, stopped, short of memory, without their server; what is around them goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from command_line import block, is_alive, parent_of, status, tiny_suite, wait_until

from bench import checkpoint
from bench.check_config import ExecutorConfig
from bench.compose import compose, to_suite_config
from bench.config import LoggerConfig
from bench.execute import execute
from bench.plan import PlannedRun, expand

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc"),
]

NO_LOGGER = LoggerConfig(name="none", mode="offline", project="p", entity=None)
SHORT = block("ppo,da_1step,da_full", "CartPole-v1", 8192)
LONG = block("da_full", "CartPole-v1", 10_000_000)
DIVERGES = 'check.arms.da_1step.overrides=["algo=dapo","algo.horizon=0","algo.learning_rate=1e30"]'
HUNGRY = block("ppo", "CartPole-v1", 100_000_000, "algo.replay_capacity=12_500_000")  # 1.6 GB of observations


def planned(*overrides: str, blocks: tuple[str, ...] = (SHORT,)) -> dict[str, PlannedRun]:
    suite = compose([*tiny_suite(*blocks), *overrides], "suite")
    return {run.arm: run for run in expand(to_suite_config(suite)).runs}


def make(store: Path, runs: Iterable[PlannedRun], checkpoint_minutes: float = 5.0, **changed) -> list[str]:
    """Arms that failed. Args: changed: of the executor."""
    keys = {"name": "local", "slots": 3, "runs_per_gpu": 1, "retries": 2, "hang_minutes": 5.0, "memory_gb": None}
    made = execute(list(runs), store, ExecutorConfig(**{**keys, **changed}), NO_LOGGER, checkpoint_minutes)
    return [run.arm for run in made]


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    """Do something while the suite, which needs the main thread, goes on."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def process_of(run_dir: Path, other_than: Iterable[int] = ()) -> int:
    """Wait for the run and return its process."""

    def going() -> int | None:
        said = status(run_dir)
        pid = said.get("pid", 0)
        return pid if said.get("state") == "running" and pid not in other_than and is_alive(pid) else None

    wait_until(going, 120)
    return int(status(run_dir)["pid"])


def signalled(run_dir: Path, by: signal.Signals, times: int = 1) -> Callable[[], None]:
    """What sends a signal to each of the first processes of a run."""

    def act() -> None:
        pids: list[int] = []
        for _ in range(times):
            pids.append(process_of(run_dir, pids))
            os.kill(pids[-1], by)

    return act


def log_of(run_dir: Path) -> str:
    return (run_dir / "log.txt").read_text()


# --- killed once, killed always, diverged, left alone -----------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Arm -> its run directory, nothing having happened."""
    store, runs = tmp_path_factory.mktemp("unbroken"), planned()
    assert make(store, runs.values()) == []
    return {arm: store / run.run_dir for arm, run in runs.items()}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The same, ppo killed once, da_full each time, da_1step diverging; and the arms that failed."""
    store, runs = tmp_path_factory.mktemp("killed"), planned(DIVERGES)
    dirs = {arm: store / run.run_dir for arm, run in runs.items()}
    meanwhile(signalled(dirs["ppo"], signal.SIGKILL))
    meanwhile(signalled(dirs["da_full"], signal.SIGKILL, times=3))
    return dirs, make(store, runs.values())


def test_a_run_that_is_killed_once_is_made_with_the_same_bits(killed, unbroken):
    dirs, failed = killed
    assert "ppo" not in failed
    assert "attempt 1: killed by SIGKILL; trying again" in log_of(dirs["ppo"])
    assert status(dirs["ppo"])["params_sha256"] == status(unbroken["ppo"])["params_sha256"]
    assert (dirs["ppo"] / "episodes.csv").read_bytes() == (unbroken["ppo"] / "episodes.csv").read_bytes()


def test_a_run_that_is_killed_at_every_attempt_is_given_up_with_the_end_of_its_log(killed):
    dirs, failed = killed
    assert "da_full" in failed
    assert status(dirs["da_full"])["state"] == "failed"
    assert status(dirs["da_full"])["error"] == "killed by SIGKILL (attempt 3)"
    assert log_of(dirs["da_full"]).count("trying again") == 2


def test_a_run_that_diverges_is_not_tried_again(killed):
    dirs, failed = killed
    assert "da_1step" in failed
    said = status(dirs["da_1step"])
    assert said["error"].startswith("DivergedError: grad_norm is nan")
    assert said["log"][-1].startswith("error: grad_norm is nan")
    assert "trying again" not in log_of(dirs["da_1step"])


# --- asked to end, stopped -----------------------------------------------------------------------------------------


def test_a_run_that_is_interrupted_from_outside_goes_on_where_it_was(tmp_path, unbroken):
    run = planned()["da_full"]
    run_dir = tmp_path / run.run_dir
    meanwhile(signalled(run_dir, signal.SIGTERM, times=3))
    assert make(tmp_path, [run], retries=3) == []
    assert status(run_dir)["params_sha256"] == status(unbroken["da_full"])["params_sha256"]
    attempts = [attempt["from_step"] for attempt in json.loads((run_dir / "manifest.json").read_text())["attempts"]]
    assert 2 <= len(attempts) <= 4  # a run of half a minute may end before the second or third signal reaches it
    assert attempts == sorted(attempts)
    assert attempts[-1] > 0


def test_a_run_that_stands_still_is_killed_and_made(tmp_path):
    run = planned()["da_full"]
    run_dir = tmp_path / run.run_dir
    meanwhile(signalled(run_dir, signal.SIGSTOP))
    assert make(tmp_path, [run], retries=9, hang_minutes=0.1) == []
    assert "hung: it said nothing for executor.hang_minutes=0.1; trying again" in log_of(run_dir)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_run_without_memory_fails_by_itself_and_harms_nobody(tmp_path, capsys):
    runs = planned(blocks=(HUNGRY, SHORT.replace("ppo,", "")))
    hungry = tmp_path / runs["ppo"].run_dir
    assert make(tmp_path, [runs["ppo"], runs["da_full"]], memory_gb=1.5, retries=1) == ["ppo"]
    said = "out of memory: executor.memory_gb=1.5 is too little for it; raise that key (attempt 2)"
    assert status(hungry)["error"] == said
    assert "DefaultCPUAllocator" in status(hungry)["log"][-1]
    assert f"failed: ppo, CartPole-v1, seed 0: {said} (log: {hungry / 'log.txt'})" in capsys.readouterr().err
    assert status(tmp_path / runs["da_full"].run_dir)["state"] == "done"


# --- the server, the suite --------------------------------------------------------------------------------------------


def test_runs_whose_server_is_killed_are_made_by_another(tmp_path, unbroken):
    runs = [run for run in planned().values() if run.arm != "da_1step"]
    dirs = [tmp_path / run.run_dir for run in runs]
    servers = []

    def act() -> None:
        servers.append(parent_of(process_of(dirs[0])))
        os.kill(servers[0], signal.SIGKILL)

    meanwhile(act)
    assert make(tmp_path, runs) == []
    assert not is_alive(servers[0])
    assert "the process that starts the runs has ended; trying again" in log_of(dirs[0])
    for run, run_dir in zip(runs, dirs, strict=True):
        assert status(run_dir)["params_sha256"] == status(unbroken[run.arm])["params_sha256"]


def test_a_stopped_run_whose_server_is_killed_does_not_stay(tmp_path):
    run = planned()["da_full"]
    run_dir = tmp_path / run.run_dir
    pids = []

    def act() -> None:
        pids.append(process_of(run_dir))
        server = parent_of(pids[0])
        os.kill(pids[0], signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)

    meanwhile(act)
    assert make(tmp_path, [run]) == []
    assert not is_alive(pids[0])


SUITE = """
import signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_retries import LONG, make, planned
for number in (signal.SIGTERM, signal.SIGINT):  # which is ignored in a shell's background
    signal.signal(number, signal.default_int_handler)
make(Path("store"), [planned(blocks=(LONG,))["da_full"]])
"""


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_runs_save_when_their_suite_ends_however_that_ends(tmp_path, by):
    run_dir = tmp_path / "store" / planned(blocks=(LONG,))["da_full"].run_dir
    script = SUITE.format(here=str(Path(__file__).parent))
    suite = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
    )
    pid = process_of(run_dir)
    wait_until(lambda: status(run_dir).get("step", 0) > 0)
    if by == signal.SIGINT:  # as Ctrl-C, which reaches every process of the group
        os.killpg(suite.pid, by)
    else:
        suite.send_signal(by)
    suite.communicate(timeout=90)
    wait_until(lambda: not is_alive(pid))
    assert status(run_dir)["state"] == "interrupted"
    assert checkpoint.found(run_dir)


def test_a_cluster_that_tells_every_process_of_a_job_to_end_does_not_end_the_server(tmp_path):
    run = planned()["da_full"]
    run_dir = tmp_path / run.run_dir
    servers = []

    def act() -> None:
        servers.append(parent_of(process_of(run_dir)))
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(servers[0], number)
        wait_until(lambda: status(run_dir).get("step", 0) > 1000 or status(run_dir)["state"] == "done")
        servers.append(is_alive(servers[0]))

    thread = meanwhile(act)
    assert make(tmp_path, [run]) == []
    thread.join()
    assert servers[1]
    assert "trying again" not in log_of(run_dir)
    shutil.rmtree(tmp_path)
