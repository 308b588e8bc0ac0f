"""Kills at random moments: what is started again must end as if nothing had happened."""

import random
import signal
import time
from pathlib import Path

from tests.faults.cases import Outcome, finish, kill, launch
from tests.faults.table import Row

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGSEGV)
LIVES_SECONDS = 3.0  # that an attempt lives at most


def random_kills(place: Path, case: str, kills: int, dice: random.Random) -> Row:
    """Kill the run so many times, beginning another when it ends before; every end must be that of the unbroken run."""
    expected = finish(case, place / "unbroken")
    assert isinstance(expected, Outcome), expected
    survived = lost = rounds = 0
    said = ""
    while survived + lost < kills:
        run_dir = place / f"killed-{rounds}"
        rounds += 1
        tried = _kill_until_done(case, run_dir, kills - survived - lost, dice)
        found = finish(case, run_dir)
        if found == expected:
            survived += tried
        else:
            lost += tried
            said = found if isinstance(found, str) else f"{run_dir} has another result"
    return Row(f"killed at random: {case}", kills, survived, lost, said or f"{rounds} runs of {_steps(expected)} rows")


def _steps(expected: Outcome) -> int:
    return len(expected.metrics)


def _kill_until_done(case: str, run_dir: Path, most: int, dice: random.Random) -> int:
    """Start and kill, at most so many times. Returns how many it were."""
    for killed in range(most):
        process = launch(case, run_dir)
        end = time.monotonic() + dice.uniform(0, LIVES_SECONDS)
        while process.exitcode is None and time.monotonic() < end:
            time.sleep(0.005)
        if process.exitcode is not None:
            return killed
        kill(process, dice.choice(SIGNALS))
    return most


def comparison(place: Path, case: str) -> Row:
    """The planted twin: without a fault two runs agree, and that of another seed does not."""
    first, again, other = finish(case, place / "a"), finish(case, place / "b"), finish(case, place / "c", "seed=1")
    told = isinstance(first, Outcome) and first == again and first != other
    return Row.of(f"no fault: {case}", [told], "twice the same; another seed is told apart")
