"""What a plan costs and what it can decide, and what of it fits a budget. Nothing of a plan is started.

The statistics are the referee's (`analysis`), imported where they are needed: bench runs without them.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.budget import Cell, Choice, Choices, Chooser, Offer
from bench.check_config import SuiteConfig, hours
from bench.compose import quoted
from bench.errors import UserError
from bench.plan import Plan, PlannedRun, expand
from bench.plan_text import duration, show_budget, show_checks, show_claims, terminal
from bench.rates import Speeds, places, speeds
from bench.scored import Knowledge, referee

if TYPE_CHECKING:
    from analysis.power import Design, Power

Runs = Mapping[str, tuple[PlannedRun, str]]  # run directory -> run and its state


@dataclass(frozen=True)
class Prospect:
    """A check, what its runs take, and what is known of its claims."""

    plan: Plan
    design: "Design"
    known: Knowledge
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """Of the check."""
        return self.plan.suite.check.name

    def powers(self, choice: Choice | None = None) -> "list[Power]":
        """Every claim with what its seeds can decide. Args: choice: None: as planned."""
        from analysis.cells import claim_tasks
        from analysis.power import power, reduced

        choice = choice or Choice()
        design = reduced(self.design, choice.seeds, choice.tasks, choice.steps)
        found = {claim.id: self.known.spread(claim, claim_tasks(claim, design.plan)) for claim in design.plan.claims}
        return power(design, {name: spread for name, spread in found.items() if spread})

    def decides(self, choice: Choice) -> frozenset[str]:
        """Claims that stay decidable: none with other steps, which ask another question, and none without its tasks."""
        from analysis.cells import claim_tasks

        if choice.steps is not None:
            return frozenset()
        kept = set(choice.tasks or self.plan.tasks)
        return frozenset(
            power.claim.id
            for power in self.powers(choice)
            if power.outcome == "decidable"
            and (power.claim.tasks is None or kept >= set(claim_tasks(power.claim, self.design.plan)))
        )


@dataclass(frozen=True)
class Outlook:
    """All checks that are asked for."""

    prospects: list[Prospect]
    runs: Runs
    speeds: Speeds
    slots: dict[str, int]  # runs at once by device

    @cached_property
    def offers(self) -> list[Offer]:
        """The checks as a budget sees them."""
        return [_offer(prospect) for prospect in self.prospects]


def look_ahead(plans: Sequence[Plan], runs: Runs, suite: SuiteConfig) -> Outlook:
    """Speeds, by measurement where there is none, and spreads. Args: runs: all or a part of those of the plans."""
    slots = places(suite, {run.device for run, _ in runs.values()})
    found = speeds(runs, suite, slots)
    return Outlook([_prospect(plan, runs, found, suite) for plan in plans], runs, found, slots)


def _prospect(plan: Plan, runs: Runs, found: Speeds, suite: SuiteConfig) -> Prospect:
    from analysis.plan import parse_plan
    from analysis.power import Design

    groups: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in plan.runs:
        groups.setdefault((run.arm, run.task), []).append(run)
    frozen = parse_plan(plan.content(), plan.suite.check.name)
    seeds = {(arm, task): block.seeds for block in plan.blocks for arm in block.arms for task in block.tasks}
    design = Design(replace(frozen, runs=tuple(run for run in frozen.runs if run.seed == 0)), seeds)
    done = frozenset(run.run_dir for run in plan.runs if run.run_dir in runs and runs[run.run_dir][1] == "done")
    known = Knowledge(Path(suite.store), Path(suite.pilot), frozen, done, referee())
    cells = tuple(_cell(group, runs, found) for group in groups.values())
    return Prospect(plan, design, known, cells)


def _cell(group: list[PlannedRun], runs: Runs, found: Speeds) -> Cell:
    names, first = tuple(run.run_dir for run in group), group[0]
    settled = frozenset(name for name in names if name not in runs or runs[name][1] == "done")  # or another machine's
    mine = next((runs[name][0] for name in names if name in runs), first)  # as the check says it that was measured
    return Cell(first.arm, first.task, first.device, first.steps, names, settled, found.hours(mine))


def _offer(prospect: Prospect) -> Offer:
    suite = prospect.plan.suite

    def accepts(steps: int) -> bool:
        try:
            expand(replace(suite, steps=steps))
        except UserError:
            return False
        return True

    made = _made(prospect.plan)
    return Offer(
        prospect.name,
        prospect.cells,
        2 + suite.check.tuning_seeds,
        prospect.decides,
        accepts,
        made is not None,
        made or Choice(),
    )


def _made(plan: Plan) -> Choice | None:
    """What the frozen plan of a check asks for, of which runs were made; None where there is none.

    Such a plan may wait and not be made smaller (`Plan.freeze`); a budget that chose it goes on with it, unless seeds,
    tasks or steps are asked for.
    """
    try:
        frozen = json.loads(plan.path.read_text())["runs"]
        was = {(run["arm"], run["task"], run["seed"], run["steps"]) for run in frozen}
        if not any((Path(plan.suite.store) / run["run_dir"] / "config.yaml").exists() for run in frozen):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if (plan.suite.seeds, plan.suite.tasks, plan.suite.steps) != (None, None, None):
        return Choice()
    tasks = {task for _, task, _, _ in was}
    seeds = {1 + max(run[2] for run in was if run[:2] == cell) for cell in {run[:2] for run in was}}
    steps = {run[3] for run in was}
    now = {(run.arm, run.task, run.seed, run.steps) for run in plan.runs if run.task in tasks}
    return Choice(
        None if {run[:3] for run in was} == {run[:3] for run in now} or len(seeds) > 1 else seeds.pop(),
        None if tasks == set(plan.tasks) else tuple(task for task in plan.tasks if task in tasks),
        None if steps == {run[3] for run in now} or len(steps) > 1 else steps.pop(),
    )


def chosen(outlook: Outlook, budget: str) -> Chooser:
    """What fits the budget. Errors: `UserError` where nothing does, and where machines would choose differently."""
    if part := outlook.prospects[0].plan.suite.shard:
        raise UserError(
            f"budget is {budget} with shard {part}, and each machine would choose for itself; allowed: the seeds, "
            "tasks and steps that a plan with a budget names, given to all of them"
        )
    chooser = Chooser(outlook.offers, outlook.slots)
    if not any(chooser.fit(hours(budget)).values()):
        least = f"at least {duration(chooser.least)}" if chooser.least else "a time that is not known"
        raise UserError(f"budget is {budget}, and even the smallest plan of these checks takes {least} here")
    return chooser


def fit(plans: Sequence[Plan], suite: SuiteConfig) -> list[Plan]:
    """The plans that fit `suite.budget` on this machine, with fewer seeds, tasks or steps where they must; says which.

    Errors: `UserError` where nothing fits.
    """
    assert suite.budget is not None
    store = Path(suite.store)
    outlook = look_ahead(plans, {run.run_dir: (run, run.state(store)) for plan in plans for run in plan.runs}, suite)
    chooser = chosen(outlook, suite.budget)
    for line in chooser.explain():
        print(f"budget {suite.budget}: {line}", file=sys.stderr)
    return [reduced for plan in plans if (reduced := applied(plan, chooser.choices)) is not None]


def applied(plan: Plan, choices: Choices) -> Plan | None:
    """The plan as it was chosen; None where it is left out."""
    choice = choices[plan.suite.check.name]
    if choice is None or choice == Choice():
        return None if choice is None else plan
    suite = plan.suite
    tasks = suite.tasks if choice.tasks is None else list(choice.tasks)
    return expand(replace(suite, seeds=choice.seeds or suite.seeds, tasks=tasks, steps=choice.steps or suite.steps))


def commands(plans: Sequence[Plan], choices: Choices) -> list[str]:
    """What runs the choices: one for all checks that are run alike."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for plan in plans:
        if (choice := choices[plan.suite.check.name]) is not None:
            alike.setdefault(_words(plan.suite, choice), []).append(plan.suite.check.name)
    start = ["python", "-m", "bench.suite", "run"]
    return [shlex.join([*start, f"check={','.join(checks)}", *words]) for words, checks in alike.items()]


def _words(suite: SuiteConfig, choice: Choice) -> tuple[str, ...]:
    tasks = choice.tasks or suite.tasks
    words = {
        "scale": suite.scale.name,
        "store": quoted(suite.store) if suite.store != "store" else None,
        "seeds": choice.seeds or suite.seeds,
        "tasks": f"[{','.join(map(quoted, tasks))}]" if tasks else None,
        "steps": choice.steps or suite.steps,
        "executor.slots": suite.executor.slots if suite.executor.name == "local" else None,
    }
    return tuple(f"{key}={value}" for key, value in words.items() if value is not None)


def report(plans: Sequence[Plan], runs: Runs, suite: SuiteConfig) -> int:
    """Print what the plans cost and decide, and what fits the budget where one is given. Returns the exit status."""
    outlook, console = look_ahead(plans, runs, suite), terminal()
    show_checks(console, outlook)
    show_claims(console, outlook)
    for prospect in outlook.prospects:
        prospect.known.keep()
    if suite.budget is not None:
        chooser = chosen(outlook, suite.budget)
        show_budget(console, outlook, chooser, suite.budget, commands(plans, chooser.choices))
    return 0
