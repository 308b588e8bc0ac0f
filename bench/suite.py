"""The command line of checks: python -m bench.suite plan|run|status check=multi_step scale=smoke store=DIR."""

import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.compose import CONF_DIR, compose, to_suite_config
from bench.errors import UserError
from bench.plan import STATES, Plan, PlannedRun, expand
from bench.record import read_status

ACTIONS = ("plan", "run", "status")
USAGE = (
    "usage: python -m bench.suite plan|run|status [check=NAME|NAME,NAME|all] [scale=quick] [store=DIR] [key=value ...]"
)

Runs = dict[str, tuple[PlannedRun, str]]  # run directory -> run and its state; checks may share runs


def check_names() -> list[str]:
    """All checks of conf/check."""
    return sorted(path.stem for path in (CONF_DIR / "check").glob("*.yaml"))


def _plans(arguments: list[str]) -> list[Plan]:
    """One plan per check that is asked for. Errors: `UserError`."""
    asked = [word.partition("=")[2] for word in arguments if word.startswith("check=")]
    rest = [word for word in arguments if not word.startswith("check=")]
    if not asked:
        return [expand(to_suite_config(compose(rest, "suite")))]
    names = check_names() if asked[-1] == "all" else asked[-1].split(",")
    return [expand(to_suite_config(compose([*rest, f"check={name}"], "suite"))) for name in names]


def _runs(plans: list[Plan]) -> Runs:
    """Every run once: several checks may ask for the same."""
    return {run.run_dir: (run, run.state(Path(plan.suite.store))) for plan in plans for run in plan.runs}


def _summary(plans: list[Plan], runs: Runs) -> str:
    counts = Counter(state for _, state in runs.values())
    shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    names = plans[0].suite.check.name if len(plans) == 1 else f"{len(plans)} checks"
    return f"{names} at scale {plans[0].suite.scale.name}: {len(runs)} runs: {shown}"


def _hours_left(plans: list[Plan], runs: Runs) -> str:
    """Time for the rest on one core per run, at the rate of the runs that are done."""
    store = Path(plans[0].suite.store)
    rates: dict[tuple[str, str], list[float]] = {}
    for run, state in runs.values():
        if state == "done":
            rates.setdefault((run.arm, run.task), []).append(float(read_status(store / run.run_dir)["rate"]))
    left = [run for run, state in runs.values() if state != "done"]
    steps = sum(run.steps for run in left)
    if not left:
        return "nothing left to run"
    if not rates:
        return f"{steps:,} steps left; the time they take is measured when the first run is done"
    known = {cell: sum(of_cell) / len(of_cell) for cell, of_cell in rates.items()}
    mean = sum(known.values()) / len(known)
    hours = sum(run.steps / known.get((run.arm, run.task), mean) for run in left) / 3600
    done = sum(map(len, rates.values()))
    return f"{steps:,} steps left, about {hours:.2g} core hours at the {done} finished runs' rates"


def _power(seeds: int) -> str:
    """What the planned seeds can detect, per task, in standard deviations of the paired difference."""
    from statsmodels.stats.power import TTestPower

    if seeds < 2:
        return "at most one to judge by: no interval, no claim can be decided"
    effect = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8)
    return f"80 % power to detect {effect:.1f} standard deviations of a paired difference on one task"


def _plan(plans: list[Plan], runs: Runs) -> int:
    for plan in plans:
        check = plan.suite.check
        print(f"{check.name}: {check.question}")
        for block in plan.blocks:
            print(f"  arms: {', '.join(block.arms)}\n  tasks: {', '.join(block.tasks)}")
            tuning = f", {check.tuning_seeds} of them to choose arms on" if check.tuning_seeds else ""
            print(f"  seeds: {block.seeds}{tuning}: {_power(block.seeds - check.tuning_seeds)}")
            reference = check.reference if {check.tasks[task].env for task in block.tasks} == {"atari"} else None
            share = (
                f", {block.steps / reference.hours / reference.steps_per_hour:.2%} of the paper's" if reference else ""
            )
            print(f"  steps per run: {block.steps:,}{share}")
    print(_summary(plans, runs))
    print(_hours_left(plans, runs))
    return 0


def _status(plans: list[Plan], runs: Runs) -> int:
    store = Path(plans[0].suite.store)
    for run, state in runs.values():
        status = read_status(store / run.run_dir)
        detail = status.get("error") or (f"step {status['step']:,} of {run.steps:,}" if state == "running" else "")
        print(f"{state:12} {run.arm:14} {run.task:20} seed {run.seed}  {run.run_dir}  {detail}".rstrip())
    print(_summary(plans, runs))
    print(_hours_left(plans, runs))
    return 0


def _run(plans: list[Plan], runs: Runs) -> int:
    if "cuda" in {run.device for run, _ in runs.values()}:
        from bench.run import require_device

        require_device("cuda")
    for plan in plans:
        plan.freeze()
    suite = plans[0].suite
    todo = [run for run, state in runs.values() if state != "done"]
    print(f"{_summary(plans, runs)}; store {suite.store}", file=sys.stderr)
    if not todo:
        return 0
    from bench.execute import execute

    failed = execute(todo, Path(suite.store), suite.executor.slots, suite.logger)
    print(_summary(plans, _runs(plans)), file=sys.stderr)
    return 1 if failed else 0


def _interrupt(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Exit status: 0 all done, 1 a run failed, 2 bad input, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if {"-h", "--help"} & set(arguments):
            print(USAGE)
            return 0
        if not arguments or arguments[0] not in ACTIONS:
            raise UserError(f"the first word must be plan, run or status; {USAGE}")
        plans = _plans(arguments[1:])
        return {"plan": _plan, "run": _run, "status": _status}[arguments[0]](plans, _runs(plans))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is left", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
