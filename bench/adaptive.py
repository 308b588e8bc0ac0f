"""seeds=auto: runs in batches of seeds, until every claim is decided or more seeds would hardly decide it.

After a quarter, half, three quarters and all of the seeds that a check plans, tuning seeds not counted, its claims are
looked at. The levels that they are judged by (`analysis.sequential`) allow for the looks, which the plan file fixes
before the first run. It lists the seeds made so far, so that what is not needed is not missing. A suite that was killed
goes on from it: the runs of the last look are completed and looked at again.
"""

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import execute
from bench.errors import UserError
from bench.plan import Plan, PlannedRun

if TYPE_CHECKING:
    from analysis.measure import Verdict
    from analysis.plan import Claim
    from analysis.study import Study

LEAST = 3  # judged seeds at the first look: fewer have hardly a spread
PARTS = 4  # looks
# What can be said of a claim at a look. Beyond this scale: whatever the seeds, it lacks arms, tasks, steps or science.
STATES = ("decided", "futile", "open", "undecided with all their seeds", "beyond this scale", "exploratory")
ALWAYS = STATES[:3]  # said also where there are none


def looks(judged: int) -> tuple[int, ...]:
    """Seeds at each look, rising, equal ones once. Args: judged: all of them, 1 or more."""
    return tuple(sorted({min(judged, max(LEAST, -(-judged * part // PARTS))) for part in range(1, PARTS + 1)}))


@dataclass
class Course:
    """A check on its way from look to look."""

    plan: Plan  # with all seeds
    place: int = 0  # of the look whose runs are made now

    @classmethod
    def of(cls, plan: Plan) -> "Course":
        """Where the store says it is. Errors: `UserError` where all seeds are tuning seeds."""
        tuning, most = plan.suite.check.tuning_seeds, max(block.seeds for block in plan.blocks)
        if most <= tuning:
            raise UserError(
                f"seeds is auto, and the {most} seeds of {plan.suite.check.name} at scale {plan.suite.scale.name} are "
                f"all among its {tuning} tuning seeds; allowed: seeds=auto where there are more, or a number"
            )
        course = cls(replace(plan, looks=looks(most - tuning)))
        if (frozen := plan.frozen()) and frozen.get("looks"):
            made = max(run["seed"] for run in frozen["runs"]) + 1 - tuning
            course.place = next((k for k, look in enumerate(course.looks) if look >= made), len(course.looks) - 1)
        return course

    @property
    def looks(self) -> tuple[int, ...]:
        """Judged seeds at each."""
        return self.plan.looks

    def batch(self) -> Plan:
        """The plan up to the present look, of which some runs may be made."""
        seeds = self.plan.suite.check.tuning_seeds + self.looks[self.place]
        return replace(self.plan, runs=tuple(run for run in self.plan.runs if run.seed < seeds))

    def goes_on(self) -> bool:
        """Look at the claims, say what is found, and move to the next look if one of them needs it."""
        from analysis.measure import is_planned  # the referee's statistics, which take a second to import
        from analysis.study import analyse

        suite = self.plan.suite
        study = analyse(Path(suite.store), suite.check.name, suite.scale.name)
        claims = {claim.id: claim for claim in study.plan.claims}
        # Of the same alpha as in analysis.verdicts.
        family = sum(
            claim.direction != "every_below" and is_planned(claim, study.plan) and not exploratory(study, claim)
            for claim in claims.values()
        )
        found = [state(claims[verdict.id], verdict, study, family) for verdict in study.verdicts]
        then = self.looks[self.place + 1] if "open" in found and self.place + 1 < len(self.looks) else None
        counts = ", ".join(f"{found.count(name)} {name}" for name in STATES if name in ALWAYS or name in found)
        print(
            f"{suite.check.name}: look {self.place + 1} of {len(self.looks)}, {self.looks[self.place]} of "
            f"{self.looks[-1]} seeds: claims {counts}; {f'goes on to {then} seeds' if then else 'needs no more'}",
            file=sys.stderr,
            flush=True,
        )
        self.place += then is not None
        return then is not None


def so_far(plan: Plan) -> tuple[Plan, str]:
    """A plan with the seeds that its looks have asked for, and a sentence on them; as it is where it has no looks.

    What no look has asked for yet is not missing.
    """
    frozen = plan.frozen() or {}
    if not (numbers := frozen.get("looks")):
        return plan, ""
    asked = {(run["arm"], run["task"], run["seed"]) for run in frozen["runs"]}
    kept = tuple(run for run in plan.runs if (run.arm, run.task, run.seed) in asked)
    made = max(run.seed for run in kept) + 1 - plan.suite.check.tuning_seeds
    said = f"{plan.suite.check.name}: seeds=auto, {made} of at most {numbers[-1]} seeds asked for so far, looks at "
    return replace(plan, runs=kept), said + ", ".join(map(str, numbers))


def exploratory(study: "Study", claim: "Claim") -> bool:
    """Was the claim stated or edited after runs existed? No seeds are made for such a one."""
    return bool(study.plan.registrations.get(claim.id) == "exploratory")


def state(claim: "Claim", verdict: "Verdict", study: "Study", family: int) -> str:
    """What more seeds can do for a claim: one of STATES. Args: family: claims that share its alpha.

    A statement about every run is supported by all planned seeds alone, and refuted by one.
    """
    from analysis.cells import claim_tasks, entries, named_arms
    from analysis.measure import is_planned, measure
    from analysis.selection import chooses
    from analysis.sequential import futile, levels

    plan, fraction, universal = study.plan, verdict.budget_fraction, claim.direction == "every_below"
    if exploratory(study, claim):
        return "exploratory"
    short = claim.min_budget > 0 and (fraction is None or fraction < claim.min_budget)
    if short or not plan.scientific or not is_planned(claim, plan) or verdict.verdict == "not comparable":
        return "beyond this scale"
    cells = [(arm, task) for arm in named_arms(claim, plan) for task in claim_tasks(claim, plan)]
    first = plan.tuning_seeds if any(map(chooses, entries(claim, plan))) else 0
    seeds, planned = plan.looks_at(cells, first), Counter((run.arm, run.task) for run in plan.runs)
    complete = not seeds or min(planned[cell] for cell in cells if cell in plan.most_seeds) - first >= seeds[-1]
    if verdict.verdict == "refuted" or (verdict.verdict == "supported" and (complete or not universal)):
        return "decided"
    if complete:
        return "undecided with all their seeds"
    estimate = None if universal else measure(claim, plan, study.scored, study.store.configs).estimate
    if estimate is None:
        return "open"
    level = levels(seeds, claim.alpha / family)[-1]
    hopeless = futile(estimate.value, estimate.sd, estimate.n, seeds[-1], claim.direction, claim.margin, level)
    return "futile" if hopeless else "open"


def run(plans: list[Plan]) -> int:
    """Make as many seeds of these checks as it takes. Returns the exit status: 1 if runs failed.

    All checks that go on make their next batch together, and runs that they share once.
    """
    courses, failed = [Course.of(plan) for plan in plans], set[str]()
    suite = plans[0].suite
    store = Path(suite.store)
    while courses:
        batches = [course.batch() for course in courses]
        for batch in batches:
            batch.freeze()
        runs: dict[str, PlannedRun] = {run.run_dir: run for batch in batches for run in batch.runs}
        todo = [run for run in runs.values() if run.state(store) != "done" and run.run_dir not in failed]
        if todo:
            lost = execute.execute(todo, store, suite.executor, suite.logger, suite.checkpoint_minutes)
            failed |= {run.run_dir for run in lost}
        courses = [course for course in courses if course.goes_on()]
    return 1 if failed else 0
