"""The command line of checks: python -m bench.suite plan|run|status|collect|gc|merge key=value ..."""

import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.check_config import AUTO, SuiteConfig, shard
from bench.compose import CONF_DIR
from bench.composed import keep, suite_config
from bench.errors import UserError
from bench.plan import STATES, Plan, PlannedRun, expand
from bench.stop import SIGNALS

USAGE = """usage:
  python -m bench.suite plan    [check=NAME|NAME,NAME|all] [scale=quick] [store=DIR] [budget=8h] [key=value ...]
  python -m bench.suite run     the same, [executor=local|slurm] [--shard i/n] [seeds=N|auto]
  python -m bench.suite status  the same: what is done, running, failed, interrupted, stale, missing; time left
  python -m bench.suite collect the same: what the jobs of executor=slurm have left
  python -m bench.suite gc      [store=DIR] [remove=true]: runs that no check refers to
  python -m bench.suite merge   DIR [DIR ...] store=DIR: the union of stores from several machines"""

Runs = dict[str, tuple[PlannedRun, str]]  # run directory -> run and its state; checks may share runs


def check_names() -> list[str]:
    """All checks of conf/check."""
    return sorted(path.stem for path in (CONF_DIR / "check").glob("*.yaml"))


def _plans(arguments: list[str]) -> list[Plan]:
    """One plan per check that is asked for. Errors: `UserError`."""
    asked = [word.partition("=")[2] for word in arguments if word.startswith("check=")]
    rest = [word for word in arguments if not word.startswith("check=")]
    names = check_names() if asked[-1:] == ["all"] else asked[-1].split(",") if asked else []
    each = [[*rest, f"check={name}"] for name in names] or [rest]
    plans = [expand(suite_config(words)) for words in each]
    keep()
    return plans


def _fitted(plans: list[Plan]) -> list[Plan]:
    """The plans, reduced to the budget where one is given."""
    if plans[0].suite.budget is None:
        return plans
    from bench.planning import fit  # the referee's statistics, which take a second to import

    return fit(plans, plans[0].suite)


def _runs(plans: list[Plan]) -> Runs:
    """Every run once: several checks may ask for the same."""
    from bench.store import Index

    store = Path(plans[0].suite.store)
    index = Index(store)

    def state(run: PlannedRun) -> str:
        found = run.state(store)
        return "stale" if found == "missing" and index.stale(run) else found

    return {run.run_dir: (run, state(run)) for plan in plans for run in plan.runs}


def _part(runs: Runs, suite: SuiteConfig) -> Runs:
    """This machine's part, the same for every store: each n-th run, or block of them, in the order of the hashes."""
    part, parts = shard(suite.shard)
    first: dict[object, str] = {}  # of a block of runs, which one process makes, the lowest hash
    for run, _ in runs.values():
        unit = run.block or run.hash
        first[unit] = min(run.hash, first.get(unit, run.hash))
    ordered = sorted(first, key=first.__getitem__)  # which mixes arms
    mine = {unit for place, unit in enumerate(ordered) if place % parts == part - 1}
    return {run_dir: found for run_dir, found in runs.items() if (found[0].block or found[0].hash) in mine}


def _summary(plans: list[Plan], runs: Runs) -> str:
    counts = Counter(state for _, state in runs.values())
    shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    suite = plans[0].suite
    names = suite.check.name if len(plans) == 1 else f"{len(plans)} checks"
    part = f", part {suite.shard}" if suite.shard else ""
    return f"{names} at scale {suite.scale.name}{part}: {len(runs)} runs: {shown or 'none'}"


def _plan(plans: list[Plan], runs: Runs) -> int:
    from bench.planning import report

    return report(plans, runs, plans[0].suite)


def _status(plans: list[Plan], runs: Runs) -> int:
    from bench.adaptive import so_far
    from bench.slurm import describe
    from bench.status import status_lines, time_left

    suite, told = plans[0].suite, [so_far(plan) for plan in plans]
    asked = {run.run_dir for plan, _ in told for run in plan.runs}
    runs = {run_dir: found for run_dir, found in runs.items() if run_dir in asked}
    print("\n".join(status_lines(runs, Path(suite.store))))
    print(_summary(plans, runs))
    print(time_left(runs, Path(suite.store), suite.executor.slots))
    for said in filter(None, (said for _, said in told)):
        print(said)
    if queued := describe(Path(suite.store)):
        print(queued)
    return 0


def _collect(plans: list[Plan], runs: Runs) -> int:
    from bench.slurm import collect

    return collect(plans, runs, plans[0].suite)


def _run(plans: list[Plan], runs: Runs) -> int:
    suite = plans[0].suite
    local = suite.executor.name == "local"
    if local and "cuda" in {run.device for run, _ in runs.values()}:
        from bench.run import require_device

        require_device("cuda")
    if suite.seeds == AUTO:
        from bench.adaptive import run

        return run(plans)
    for plan in plans:
        plan.freeze()
    todo = [run for run, state in runs.values() if state != "done"]
    print(f"{_summary(plans, runs)}; store {suite.store}", file=sys.stderr)
    if not todo:
        return 0
    if not local:
        from bench.slurm import submit

        return submit(todo, Path(suite.store), suite)
    from bench.execute import execute

    failed = execute(todo, Path(suite.store), suite.executor, suite.logger, suite.checkpoint_minutes)
    print(_summary(plans, _part(_runs(plans), suite)), file=sys.stderr)
    return 1 if failed else 0


def _gc(words: list[str]) -> int:
    from bench.garbage import gc

    found = dict(word.split("=", 1) for word in words if "=" in word)
    if strangers := [word for word in words if word.split("=")[0] not in ("store", "remove") or "=" not in word]:
        raise UserError(f"gc does not take {strangers[0]!r}; allowed: store=DIR, remove=true")
    if found.get("remove", "false") not in ("true", "false"):
        raise UserError(f"remove is {found['remove']!r}; allowed: true, false")
    return gc(Path(found.get("store", "store")), found.get("remove") == "true")


def _merge(words: list[str]) -> int:
    from bench.merge import merge

    targets = [word.partition("=")[2] for word in words if word.startswith("store=")]
    sources = [word for word in words if not word.startswith("store=")]
    if not sources or len(targets) != 1 or not targets[0]:
        raise UserError("merge takes the folders of other stores, and store=DIR that receives them")
    return merge([Path(source) for source in sources], Path(targets[0]))


PLANNED: dict[str, Callable[[list[Plan], Runs], int]] = {
    "plan": _plan,
    "run": _run,
    "status": _status,
    "collect": _collect,
}
STORED: dict[str, Callable[[list[str]], int]] = {"gc": _gc, "merge": _merge}


def _words(arguments: list[str]) -> list[str]:
    """`--shard i/n` and `--shard=i/n` as the key that they are."""
    words: list[str] = []
    rest = iter(arguments)
    for word in rest:
        flag, _, value = word.partition("=")
        words.append(f"shard={value or next(rest, '')}" if flag == "--shard" else word)
    return words


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Exit status: 0 all done, 1 a run failed, 2 bad input, 3 (collect) jobs are under way, 130 interrupted."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        if {"-h", "--help"} & set(arguments):
            print(USAGE)
            return 0
        action, words = (arguments or [""])[0], _words(arguments[1:])
        if action in STORED:
            return STORED[action](words)
        if action not in PLANNED:
            raise UserError(f"the first word is {action!r}; allowed: {', '.join((*PLANNED, *STORED))}; see --help")
        asked = _plans(words)
        plans = asked if action == "plan" else _fitted(asked)  # a plan shows both
        return PLANNED[action](plans, _part(_runs(plans), plans[0].suite))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is left", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
