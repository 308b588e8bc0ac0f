"""Faults in the runs of a suite: the suite tries again, leaves the others alone, and says what could not be mended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.faults.table import Row

STEPS = 16384  # about five seconds
SETTINGS = ["check=multi_step", "scale=smoke", "logger=none", "checkpoint_minutes=0.005", "executor.slots=2"]


def _words(store: Path, *more: str, arms: str = "ppo,da_1step", steps: int = STEPS) -> list[str]:
    block = f"{{arms:[{arms}],tasks:[CartPole-v1],seeds:2,steps:{steps},overrides:[]}}"
    return [*SETTINGS, f"check.scales.smoke.blocks=[{block}]", f"store={store}", *more]


def _start(action: str, words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.suite", action, *words]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def _call(action: str, words: list[str]) -> tuple[int, str]:
    with _start(action, words) as process:
        out, err = process.communicate()
    return process.returncode, out + err


def _statuses(store: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(store.glob("runs/*/status.json")):
        try:
            found[path.parent.name] = json.loads(path.read_text())
        except ValueError:
            continue
    return found


def results(store: Path) -> dict[str, str]:
    """Run -> hash of its parameters, or its state."""
    return {name: str(status.get("params_sha256", status["state"])) for name, status in _statuses(store).items()}


def _victim(store: Path, suite: subprocess.Popen[str]) -> int | None:
    """Process number of a run that has gone a quarter of its way."""
    while suite.poll() is None:
        for status in _statuses(store).values():
            if status["state"] == "running" and status["step"] > STEPS / 4:
                return int(status["pid"])
        time.sleep(0.01)
    return None


def unbroken(place: Path) -> dict[str, str]:
    """What the suite gives when nothing happens."""
    code, said = _call("run", _words(place / "unbroken"))
    assert code == 0, said
    return results(place / "unbroken")


def struck(place: Path, expected: dict[str, str], name: str, number: signal.Signals, *more: str) -> Row:
    """A signal to one run in the middle of its way."""
    store = place / name.replace(" ", "-")
    with _start("run", _words(store, *more)) as suite:
        victim = _victim(store, suite)
        if victim:
            os.kill(victim, number)
        suite.communicate()
    return Row.of(name, [bool(victim) and suite.returncode == 0 and results(store) == expected])


def out_of_memory(place: Path) -> Row:
    """A run that wants more memory than it may have ends with a sentence; the runs beside it end well."""
    store, blocks = place / "memory", []
    for arm, more in (("a0", ""), ("a0.03", ",'algo.hidden=[20000,20000]'")):
        overrides = f"['hparams=dpo_cpu_discrete'{more}]"
        blocks.append(f"{{arms:[{arm}],tasks:[CartPole-v1],seeds:2,steps:2048,overrides:{overrides}}}")
    words = [*SETTINGS[1:], "check=alpha", f"check.scales.smoke.blocks=[{','.join(blocks)}]", f"store={store}"]
    code, said = _call("run", [*words, "executor.memory_gb=1.5", "executor.retries=1"])
    states = [status["state"] for status in _statuses(store).values()]
    errors = [status["error"] for status in _statuses(store).values() if status["state"] == "failed"]
    good = code == 1 and sorted(states) == ["done", "done", "failed", "failed"] and "memory" in errors[0]
    return Row.of("out of memory in one run", [good], errors[0] if errors else said[-200:])


def suite_killed(place: Path, expected: dict[str, str]) -> Row:
    """kill -9 of the suite, twice; its runs end by themselves, and the next suite goes on."""
    store = place / "suite-killed"
    orphans = []
    for _ in range(2):
        with _start("run", _words(store)) as suite:
            victim = _victim(store, suite)
            os.kill(suite.pid, signal.SIGKILL)
            suite.communicate()
            orphans += [victim] if victim else []
    end = time.monotonic() + 30
    while time.monotonic() < end and any(map(psutil.pid_exists, orphans)):
        time.sleep(0.1)
    left = [pid for pid in orphans if psutil.pid_exists(pid)]
    code, said = _call("run", _words(store))
    good = code == 0 and not left and results(store) == expected
    return Row.of("the suite killed", [good], "" if good else f"left {left}, {said[-200:]}")


def fork_server_killed(place: Path, expected: dict[str, str]) -> Row:
    """kill -9 of the process that forks the runs."""
    store = place / "server"
    with _start("run", _words(store)) as suite:
        victim = _victim(store, suite)
        if victim:
            os.kill(psutil.Process(victim).ppid(), signal.SIGKILL)
        _, said = suite.communicate()
    good = bool(victim) and suite.returncode == 0 and results(store) == expected
    return Row.of("the fork server killed", [good], "" if good else said[-200:])


def two_suites(place: Path, expected: dict[str, str]) -> Row:
    """Two suites on one store at once: every run is made once, by one of them."""
    store = place / "two"
    suites = [_start("run", _words(store)) for _ in range(2)]
    codes = [suite.communicate() and suite.returncode for suite in suites]
    attempts = [len(json.loads(path.read_text())["attempts"]) for path in store.glob("runs/*/manifest.json")]
    good = codes == [0, 0] and results(store) == expected and set(attempts) == {1}
    return Row.of("two suites on one store", [good], f"exit {codes}, attempts {attempts}")


def torn_plan(place: Path, expected: dict[str, str]) -> Row:
    """A plan file that a broken file system has cut short is said in one sentence, and nothing is touched."""
    store = place / "plan"
    _call("run", _words(store))
    plan = next(store.glob("checks/*/*.json"))
    plan.write_text(plan.read_text()[:100])
    code, said = _call("run", _words(store))
    good = code == 2 and said.startswith("error: ") and str(plan) in said and "Traceback" not in said
    return Row.of("plan file torn", [good and results(store) == expected], said.strip()[-150:])
