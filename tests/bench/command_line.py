"""Calls of the command lines as a user makes them: fresh processes, somewhere else than in the checkout."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def block(arms: str, tasks: str, steps: int, *overrides: str, seeds: int = 1) -> str:
    """A block of a check as Hydra's command line reads it; arms and tasks are comma-separated."""
    quoted = ",".join(f"'{override}'" for override in overrides)
    return f"{{arms:[{arms}],tasks:[{tasks}],seeds:{seeds},steps:{steps},overrides:[{quoted}]}}"


def tiny_suite(*blocks: str, check: str = "multi_step") -> list[str]:
    """The smoke scale of a real check, made of other blocks."""
    return [f"check={check}", "scale=smoke", "logger=none", f"check.scales.smoke.blocks=[{','.join(blocks)}]"]


def command(module: str, *arguments: str) -> list[str]:
    """The words of `python -m module arguments`."""
    return [sys.executable, "-m", module, *arguments]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would change how W&B or Hydra behave."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "HYDRA", "BENCH"))}
    return {**clean, **variables}


def call(cwd: Path, module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        command(module, *arguments),
        cwd=cwd,
        env=environment(**variables),
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def start(cwd: Path, module: str, *arguments: str, group: bool = False) -> subprocess.Popen[str]:
    """Start, to be killed. Args: group: as the first of a process group, as a shell starts it."""
    return subprocess.Popen(
        command(module, *arguments),
        cwd=cwd,
        env=environment(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=group,
    )


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def kill(process: subprocess.Popen[str], by: signal.Signals) -> int:
    """Send a signal and wait for the end. Returns the exit status."""
    process.send_signal(by)
    process.communicate(timeout=60)
    return process.returncode


def parent_of(pid: int) -> int:
    """The process that forked this one (Linux)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def is_alive(pid: int) -> bool:
    """Whether there is such a process, ended ones that nobody has waited for not counted (Linux)."""
    path = Path(f"/proc/{pid}/stat")
    try:
        return path.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def status(run_dir: Path) -> dict[str, Any]:
    """status.json of a run, empty where there is none."""
    path = run_dir / "status.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def one_sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What a refused command said, after checking that it said it in one line and trained nothing."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")
