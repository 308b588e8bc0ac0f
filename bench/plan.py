"""From a check at a scale to the list of its runs, and the plan file that freezes them. Nothing is started here."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import envs
from bench.check_config import BudgetConfig, SuiteConfig
from bench.compose import compose, identity, run_name, to_container, to_run_config
from bench.errors import UserError
from bench.files import write_atomically
from bench.record import is_locked, read_status

# What a planned run can be, in the order in which it is shown.
STATES = ("done", "running", "failed", "interrupted", "missing")


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a check."""

    arm: str
    task: str
    seed: int
    steps: int
    hash: str
    run_dir: str  # inside the store
    device: str
    overrides: tuple[str, ...]  # of `python -m bench`, without store and logger

    def state(self, store: Path) -> str:
        """One of STATES. A run that says `running` and is held by no process was killed: `interrupted`."""
        path = store / self.run_dir
        state = str(read_status(path)["state"])
        return "interrupted" if state == "running" and not is_locked(path) else state


@dataclass(frozen=True)
class Plan:
    """All runs of a check at a scale, and what their analysis needs."""

    suite: SuiteConfig
    budget: BudgetConfig
    runs: tuple[PlannedRun, ...]
    reference_config: dict[str, Any]  # arm -> the reported experiment's algo and env

    @property
    def path(self) -> Path:
        """The plan file inside the store."""
        return Path(self.suite.store) / "checks" / self.suite.check.name / f"{self.suite.scale.name}.json"

    def content(self) -> dict[str, Any]:
        """What the plan file holds."""
        check = {key: value for key, value in asdict(self.suite.check).items() if key not in ("scales", "base")}
        check["arms"] = {arm: check["arms"][arm] for arm in self.budget.arms}
        check["tasks"] = {task: check["tasks"][task] for task in self.budget.tasks}
        runs = [
            {key: value for key, value in asdict(run).items() if key not in ("device", "overrides")}
            for run in self.runs
        ]
        return {
            "check": check,
            "scale": self.suite.scale.name,
            "scientific": self.suite.scale.scientific,
            "steps": self.budget.steps,
            "runs": runs,
            "reference_config": self.reference_config,
        }

    def freeze(self) -> None:
        """Write the plan file that analysis reads. Once a planned run exists, its claims and runs stand.

        Errors: `UserError` where the claims changed or planned runs were taken out after runs of them were made.
        """
        content = self.content()
        if self.path.exists():
            self._require_unchanged(json.loads(self.path.read_text()), content)
        try:
            write_atomically(self.path, json.dumps(content, indent=1))
        except OSError as error:
            raise UserError(f"the store {self.suite.store} cannot be written: {error.strerror}") from None

    def _require_unchanged(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        made = sum((Path(self.suite.store) / run["run_dir"] / "config.yaml").exists() for run in before["runs"])
        if not made:
            return
        name = f"{self.suite.check.name} at scale {self.suite.scale.name}"
        if before["check"]["claims"] != json.loads(json.dumps(now["check"]["claims"])):
            raise UserError(
                f"the claims of {name} differ from those frozen in {self.path} before its {made} runs were made; "
                "restore them, or use another store"
            )
        planned = {(run["arm"], run["task"], run["seed"]): run["hash"] for run in now["runs"]}
        lost = 0
        for run in before["runs"]:
            hash_now = planned.get((run["arm"], run["task"], run["seed"]))
            done = read_status(Path(self.suite.store) / run["run_dir"])["state"] == "done"
            # A run that never ended may be mended, its place in the comparison may not be given up.
            lost += hash_now is None or (done and hash_now != run["hash"])
        if lost:
            raise UserError(
                f"{lost} of the runs that {self.path} plans are no longer in {name}, of which {made} runs were made; "
                "restore the check, or use another store"
            )


def expand(suite: SuiteConfig) -> Plan:
    """Expand arms x tasks x seeds. Errors: `UserError` naming the arm, task or key that is not valid.

    Each arm is composed once; tasks and seeds change single values of it, which changes nothing else.
    """
    check = suite.check
    if suite.scale.name not in check.scales:
        raise UserError(f"check={check.name} has no scale {suite.scale.name!r}; it has: {', '.join(check.scales)}")
    budget = check.scales[suite.scale.name]
    _require_known("arm", budget.arms, check.arms, check.name)
    _require_known("task", budget.tasks, check.tasks, check.name)
    for claim in check.claims:
        _require_known("arm", claim.contrast, check.arms, f"{check.name}, claim {claim.id}")
        _require_known("task", claim.tasks or [], check.tasks, f"{check.name}, claim {claim.id}")
    runs, reference = [], {}
    for arm in budget.arms:
        overrides = [*check.base, *budget.overrides, *check.arms[arm].overrides, f"steps={budget.steps}"]
        runs += _runs_of(arm, budget, overrides)
        theirs = to_container(compose([*check.base, *check.arms[arm].overrides, *check.reference.overrides]))
        reference[arm] = {key: theirs[key] for key in ("algo", "env")}
    # Seeds first, then tasks, then arms: whatever has been run when time is up is a fair comparison.
    order = {task: i for i, task in enumerate(budget.tasks)}
    runs.sort(key=lambda run: (run.seed, order[run.task]))
    return Plan(suite, budget, tuple(runs), reference)


def _runs_of(arm: str, budget: BudgetConfig, overrides: list[str]) -> list[PlannedRun]:
    composed = compose(overrides)
    container = to_container(composed)
    to_run_config(composed)
    runs = []
    for task in budget.tasks:
        envs.check_task(container["env"]["suite"], task)
        for seed in range(budget.seeds):
            one = {**container, "env": {**container["env"], "task": task}, "seed": seed}
            runs.append(
                PlannedRun(
                    arm,
                    task,
                    seed,
                    budget.steps,
                    identity(one),
                    f"runs/{run_name(one)}",
                    container["device"],
                    (*overrides, f"env.task={task}", f"seed={seed}"),
                )
            )
    return runs


def _require_known(kind: str, names: list[str], known: dict[str, Any], where: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"check {where} names the {kind} {name!r}; it has: {', '.join(known)}")
