"""The command line of a check: python -m bench.suite plan|run|status check=multi_step scale=smoke store=DIR."""

import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.compose import compose, to_suite_config
from bench.errors import UserError
from bench.plan import STATES, Plan, PlannedRun, expand
from bench.record import read_status

ACTIONS = ("plan", "run", "status")
USAGE = "usage: python -m bench.suite plan|run|status [check=multi_step] [scale=quick] [store=DIR] [key=value ...]"


def _states(plan: Plan) -> dict[PlannedRun, str]:
    return {run: run.state(Path(plan.suite.store)) for run in plan.runs}


def _summary(plan: Plan, states: dict[PlannedRun, str]) -> str:
    counts = Counter(states.values())
    shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{plan.suite.check.name} at scale {plan.suite.scale.name}: {len(plan.runs)} runs: {shown}"


def _hours_left(plan: Plan, states: dict[PlannedRun, str]) -> str:
    """Time for the rest on one core per run, at the rate of the runs of this plan that are done."""
    store = Path(plan.suite.store)
    rates = [float(read_status(store / run.run_dir)["rate"]) for run, state in states.items() if state == "done"]
    steps = sum(run.steps for run, state in states.items() if state != "done")
    if not steps:
        return "nothing left to run"
    if not rates:
        return f"{steps:,} agent steps left; the time they take is measured when the first run is done"
    hours = steps / (sum(rates) / len(rates)) / 3600
    return f"{steps:,} agent steps left, about {hours:.2g} core hours at the {len(rates)} finished runs' rate"


def _power(plan: Plan) -> str:
    """What the planned seeds can detect, per task, in standard deviations of the paired difference."""
    from statsmodels.stats.power import TTestPower

    if plan.budget.seeds < 2:
        return "one seed per arm: no interval, no claim can be decided"
    effect = TTestPower().solve_power(nobs=plan.budget.seeds, alpha=0.05, power=0.8)
    return (
        f"{plan.budget.seeds} seeds per arm and task: 80 % power to detect {effect:.1f} standard deviations of a "
        f"paired difference on one task"
    )


def _plan(plan: Plan) -> int:
    states = _states(plan)
    budget, check = plan.budget, plan.suite.check
    reference = check.reference.hours * check.reference.steps_per_hour
    print(check.question)
    print(f"arms: {', '.join(budget.arms)}\ntasks: {', '.join(budget.tasks)}\nseeds: {budget.seeds}")
    print(f"agent steps per run: {budget.steps:,}, {budget.steps / reference:.2%} of the paper's {reference:,.0f}")
    print(_power(plan))
    print(_summary(plan, states))
    print(_hours_left(plan, states))
    return 0


def _status(plan: Plan) -> int:
    states = _states(plan)
    for run, state in states.items():
        status = read_status(Path(plan.suite.store) / run.run_dir)
        detail = status.get("error") or (f"step {status['step']:,} of {run.steps:,}" if state == "running" else "")
        print(f"{state:12} {run.arm:14} {run.task:20} seed {run.seed}  {run.run_dir}  {detail}".rstrip())
    print(_summary(plan, states))
    print(_hours_left(plan, states))
    return 0


def _run(plan: Plan) -> int:
    if "cuda" in {run.device for run in plan.runs}:
        from bench.run import require_device

        require_device("cuda")
    plan.freeze()
    states = _states(plan)
    todo = [run for run, state in states.items() if state != "done"]
    print(f"{_summary(plan, states)}; store {plan.suite.store}", file=sys.stderr)
    if not todo:
        return 0
    from bench.execute import execute  # PyTorch and what else a run needs

    failed = execute(todo, Path(plan.suite.store), plan.suite.executor.slots, plan.suite.logger)
    print(_summary(plan, _states(plan)), file=sys.stderr)
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
        plan = expand(to_suite_config(compose(arguments[1:], "suite")))
        return {"plan": _plan, "run": _run, "status": _status}[arguments[0]](plan)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is left", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
