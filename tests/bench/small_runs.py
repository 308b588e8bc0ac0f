"""Small processes in place of runs, for the tests of what executes them."""

import subprocess

from bench.check_config import ExecutorConfig
from bench.plan import PlannedRun

# What the executor adds to the words of a run.
ADDED = [
    "store=store",
    "checkpoint_minutes=2.5",
    "logger=none",
    "logger.mode=offline",
    "logger.project=p",
    "logger.entity=null",
]

# What stands for a run here: its last words say what it does in the run directory.
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
name, mode = sys.argv[1:]
run_dir = Path("store/runs") / name
tries = run_dir / "tries"
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
tried = len(tries.read_text())
def say(**status):
    aside = run_dir / "aside.tmp"  # as whole as a real run writes it
    aside.write_text(json.dumps({**status, "tried": tried}))
    aside.replace(run_dir / "status.json")
if mode == "kill" or mode == "once" and tried == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "crash":
    print("some words\\nValueError: the planted one"); sys.exit(70)
if mode == "busy" and tried == 1:
    sys.exit(75)
if mode == "diverge":
    say(state="failed", error="DivergedError: the run's word"); print("error: the run's word"); sys.exit(1)
if mode == "refused":
    print("error: steps is 0"); sys.exit(2)
if mode == "advance" and tried <= 9:
    (run_dir / f"resume-{tried:012d}-0123456789abcdef.pt").touch()
    say(state="interrupted", error="KeyboardInterrupt: SIGTERM", step=tried); sys.exit(130)
if mode == "stand":
    (run_dir / "resume-000000000004-0123456789abcdef.pt").touch()
    say(state="interrupted", error="KeyboardInterrupt: SIGTERM", step=4); sys.exit(130)
if mode == "slow":
    say(state="running", step=4); time.sleep(60)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN); say(state="running", step=4); time.sleep(60)
if mode == "talk":
    for i in range(20):
        say(state="running", step=i); time.sleep(0.1)
if mode == "half":
    sys.exit(0)
say(state="done", step=8)
if mode == "late":
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def planned(mode: str, number: int = 0, **changed) -> PlannedRun:
    return PlannedRun(
        **{
            "arm": mode,
            "task": "T",
            "seed": number,
            "steps": 8,
            "hash": "",
            "configuration": "",
            "run_dir": f"runs/{mode}{number}",
            "device": "cpu",
            "overrides": (f"{mode}{number}", mode),
            **changed,
        }
    )


def executor(**changed) -> ExecutorConfig:
    keys = {"name": "local", "slots": 2, "runs_per_gpu": 1, "retries": 0, "hang_minutes": 1.0, "memory_gb": None}
    return ExecutorConfig(**{**keys, **changed})


class Child(subprocess.Popen):
    """What the executor asks of a forked process."""

    orphaned = False

    @property
    def exitcode(self):
        return self.poll()

    def send(self, number):
        self.send_signal(number)
