"""From a check at a scale to the list of its runs, and the plan file that freezes them. Nothing is started here."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench import envs, registration
from bench.check_config import AUTO, BlockConfig, CheckConfig, SuiteConfig, contrast_entry
from bench.composed import run_container
from bench.errors import UserError
from bench.files import write_atomically
from bench.identity import named
from bench.record import is_held, read_status

# What a planned run can be, in the order in which it is shown.
STATES = ("done", "running", "failed", "interrupted", "stale", "missing")


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a check."""

    arm: str
    task: str
    seed: int
    steps: int
    hash: str  # identity
    configuration: str  # hash of the configuration alone, the same under other sources and versions
    run_dir: str  # inside the store
    device: str
    overrides: tuple[str, ...]  # of `python -m bench`, without store and logger
    threads: int = 1

    @property
    def block(self) -> tuple[str, str, int, int] | None:
        """What is equal of the runs that one process makes (`seeds_per_process`); None of a run by itself."""
        words = [word.partition("=")[2] for word in self.overrides if word.startswith("seeds_per_process=")]
        count = int(words[-1].replace("_", "")) if words else 1
        return (self.arm, self.task, self.steps, self.seed // count) if count > 1 else None

    def state(self, store: Path) -> str:
        """One of STATES. A run that says `running` and is held by no process was killed: `interrupted`."""
        path = store / self.run_dir
        state = str(read_status(path)["state"])
        return "interrupted" if state == "running" and not is_held(path) else state


@dataclass(frozen=True)
class Plan:
    """All runs of a check at a scale, and what their analysis needs."""

    suite: SuiteConfig
    blocks: tuple[BlockConfig, ...]
    runs: tuple[PlannedRun, ...]
    reference_config: dict[str, Any]  # arm -> the reported experiment's algo and env
    looks: tuple[int, ...] = ()  # seeds=auto: judged seeds at which claims are looked at; () = once, at the end

    @property
    def path(self) -> Path:
        """The plan file inside the store."""
        return Path(self.suite.store) / "checks" / self.suite.check.name / f"{self.suite.scale.name}.json"

    @property
    def arms(self) -> list[str]:
        """Arms that have runs, in the check's order."""
        return [arm for arm in self.suite.check.arms if any(arm in block.arms for block in self.blocks)]

    @property
    def tasks(self) -> list[str]:
        """Tasks that have runs, in the check's order."""
        return [task for task in self.suite.check.tasks if any(task in block.tasks for block in self.blocks)]

    def content(self) -> dict[str, Any]:
        """What the plan file holds."""
        check = {key: value for key, value in asdict(self.suite.check).items() if key not in ("scales", "base")}
        check["arms"] = {arm: check["arms"][arm] for arm in self.arms}
        check["tasks"] = {task: check["tasks"][task] for task in self.tasks}
        kept = [one.name for one in fields(PlannedRun) if one.name not in ("device", "overrides", "threads")]
        runs = [{name: getattr(run, name) for name in kept} for run in self.runs]
        content = {
            "check": check,
            "scale": self.suite.scale.name,
            "scientific": self.suite.scale.scientific,
            "runs": runs,
            "reference_config": self.reference_config,
        }
        return content | ({"looks": self.looks, "most_seeds": self.most_seeds} if self.looks else {})

    @property
    def most_seeds(self) -> dict[str, int]:
        """Arm/task -> the seeds that its block plans, of which seeds=auto may make fewer."""
        return {
            registration.cell(arm, task): block.seeds
            for block in self.blocks
            for arm in block.arms
            for task in block.tasks
        }

    def freeze(self) -> dict[str, Any]:
        """Write the plan file that analysis reads, and return it. Once a planned run exists, its runs stand.

        Claims that are in it before that are registered (`bench.registration`); later edits are kept beside them.
        Errors: `UserError` where planned runs were taken out, or tuning seeds, reference or looks changed, after runs
        were made.
        """
        content, before = json.loads(json.dumps(self.content())), self.frozen()
        if before is not None and self._made(before):
            self._require_unchanged(before, content)
            content |= {"registered": registration.begun(before, content), "begun": True}
        else:
            made = before is None and self._found()
            content["registered"] = registration.fresh(before, content, made=made)
        return self._write(content)

    def register(self) -> dict[str, Any]:
        """Like `freeze`, and return the plan file; of a plan of which runs were made only its claims are taken in."""
        before = self.frozen()
        if before is None or not self._made(before):
            return self.freeze()
        check = {**before["check"], "claims": json.loads(json.dumps(self.content()["check"]["claims"]))}
        return self._write({**before, "check": check, "registered": registration.begun(before, before), "begun": True})

    def frozen(self) -> dict[str, Any] | None:
        """The plan file as it is; None where there is none. Errors: `UserError`: it cannot be read."""
        return _read(self.path) if self.path.exists() else None

    def _write(self, content: dict[str, Any]) -> dict[str, Any]:
        try:
            write_atomically(self.path, json.dumps(content, indent=1))
        except OSError as error:
            raise UserError(f"the store {self.suite.store} cannot be written: {error.strerror}") from None
        return content

    def _made(self, before: dict[str, Any]) -> bool:
        """Whether runs of a plan file have been made, with these sources or others; then it may only grow."""
        return bool(before.get("begun")) or self._count(before) > 0

    def _count(self, before: dict[str, Any]) -> int:
        return sum((Path(self.suite.store) / run["run_dir"] / "config.yaml").exists() for run in before["runs"])

    def _found(self) -> bool:
        """Whether runs of it are in the store, made with these sources or others, though no plan file says so."""
        from bench.store import Index

        store = Path(self.suite.store)
        index = Index(store)
        return any((store / run.run_dir / "config.yaml").exists() or index.stale(run) for run in self.runs)

    def _require_unchanged(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        made, name = self._count(before), f"{self.suite.check.name} at scale {self.suite.scale.name}"
        for key, what in (("tuning_seeds", "tuning seeds"), ("reference", "reference")):
            if before["check"].get(key) != now["check"][key]:
                raise UserError(
                    f"the {what} of {name} differ from those frozen in {self.path} before its {made} runs were made; "
                    "restore them, or use another store"
                )
        if any(before.get(key) != now.get(key) for key in ("looks", "most_seeds")):
            looks = f"looks at {', '.join(map(str, before['looks']))} seeds" if before.get("looks") else "a single look"
            allowed = f"seeds={AUTO} with as many as then" if before.get("looks") else f"no seeds={AUTO}"
            raise UserError(f"{self.path} was begun with {looks}; allowed: {allowed}, or another store")
        planned = {(run["arm"], run["task"], run["seed"]): run["configuration"] for run in now["runs"]}
        lost = 0
        for run in before["runs"]:
            asked_now = planned.get((run["arm"], run["task"], run["seed"]))
            asked = run.get("configuration", run["hash"])  # plans once had no other hash
            done = read_status(Path(self.suite.store) / run["run_dir"])["state"] == "done"
            # A run that never ended may be mended, its place in the comparison may not be given up.
            lost += asked_now is None or (done and asked_now != asked)
        if lost:
            raise UserError(
                f"{lost} of the runs that {self.path} plans are no longer in {name}, of which {made} runs were made; "
                "restore the check, or use another store"
            )


def _read(path: Path) -> dict[str, Any]:
    """A frozen plan. Errors: `UserError`: it is none."""
    try:
        plan = json.loads(path.read_text())
        if plan.keys() >= {"check", "runs"}:
            return dict(plan)
    except (OSError, ValueError, AttributeError):
        pass
    raise UserError(f"{path} is not a plan that can be read; restore it, or remove it to freeze the claims anew")


def expand(suite: SuiteConfig) -> Plan:
    """Expand the blocks of a scale. Errors: `UserError` naming the arm, task or key that is not valid.

    Each arm is composed once per suite of environments; tasks, steps and seeds change single values of it, which
    changes nothing else.
    """
    check = suite.check
    if suite.scale.name not in check.scales:
        raise UserError(f"check={check.name} has no scale {suite.scale.name!r}; it has: {', '.join(check.scales)}")
    for block in check.scales[suite.scale.name].blocks:
        _require_known("arm", block.arms, check.arms, check.name)
        _require_known("task", block.tasks, check.tasks, check.name)
    blocks = _chosen(suite)
    for claim in check.claims:
        arms = [arm for entry in claim.contrast for arm in contrast_entry(entry, list(check.arms))[1]]
        _require_known("arm", arms, check.arms, f"{check.name}, claim {claim.id}")
        _require_known("task", claim.tasks or [], check.tasks, f"{check.name}, claim {claim.id}")
    planned = [run for block in blocks for arm in block.arms for run in _runs_of(arm, block, check)]
    cells = Counter((run.arm, run.task, run.seed) for run in planned)
    if twice := [cell for cell, count in cells.items() if count > 1]:
        arm, task, seed = twice[0]
        raise UserError(
            f"check {check.name} plans arm {arm}, task {task}, seed {seed} in two blocks of {suite.scale.name}"
        )
    # Seeds first, then tasks, then arms: whatever has been run when time is up is a fair comparison.
    order = {task: i for i, task in enumerate(check.tasks)}
    planned.sort(key=lambda run: (run.seed, order[run.task]))
    plan = Plan(suite, blocks, tuple(planned), {})
    return replace(plan, reference_config=_reference_config(check, plan.arms) if check.reference else {})


def _chosen(suite: SuiteConfig) -> tuple[BlockConfig, ...]:
    """The blocks of the scale, with the seeds, steps and tasks that were asked for in place of their own."""
    blocks = suite.check.scales[suite.scale.name].blocks
    if suite.tasks is not None:
        planned = list(dict.fromkeys(task for block in blocks for task in block.tasks))
        if unknown := [task for task in suite.tasks if task not in planned]:
            allowed = f"tasks of {suite.check.name} at scale {suite.scale.name}: {', '.join(planned)}"
            raise UserError(f"tasks names {unknown[0]!r}; allowed: {allowed}")
    wanted, seeds = suite.tasks, suite.seeds if isinstance(suite.seeds, int) else None  # auto: at most the block's
    kept = ((block, [task for task in block.tasks if wanted is None or task in wanted]) for block in blocks)
    return tuple(
        replace(block, seeds=seeds or block.seeds, steps=suite.steps or block.steps, tasks=tasks)
        for block, tasks in kept
        if tasks
    )


def _reference_config(check: CheckConfig, arms: list[str]) -> dict[str, Any]:
    """Arm -> algorithm and environment of the reported experiment, on any of its games."""
    assert check.reference is not None
    game = next((task for task, config in check.tasks.items() if config.env == "atari"), None)
    if game is None:
        raise UserError(f"check {check.name} names a reported experiment and no Atari game; its reference must be null")
    found = {}
    for arm in arms:
        overrides = [*check.base, "env=atari", f"env.task={game}", *check.arms[arm].overrides]
        theirs = run_container([*overrides, *check.reference.overrides], checked=False)
        found[arm] = {key: theirs[key] for key in ("algo", "env")}
    return found


def _runs_of(arm: str, block: BlockConfig, check: CheckConfig) -> list[PlannedRun]:
    runs = []
    for env in dict.fromkeys(check.tasks[task].env for task in block.tasks):
        tasks = [task for task in block.tasks if check.tasks[task].env == env]
        overrides = (*check.base, f"env={env}", *block.overrides, *check.arms[arm].overrides)
        try:
            container = run_container((*overrides, f"env.task={tasks[0]}", f"steps={block.steps}"))
        except UserError as error:
            raise UserError(f"check {check.name}, arm {arm}, task {tasks[0]}: {error}") from None
        for task in tasks:
            envs.check_task(container["env"]["suite"], task)
            for seed in range(block.seeds):
                one = {**container, "env": {**container["env"], "task": task}, "steps": block.steps, "seed": seed}
                where = (f"steps={block.steps}", f"env.task={task}", f"seed={seed}")
                found = named(one)
                hashes, directory = (found.identity, found.configuration), f"runs/{found.name}"
                device, words = container["device"], (*overrides, *where)
                runs.append(
                    PlannedRun(arm, task, seed, block.steps, *hashes, directory, device, words, container["threads"])
                )
    return runs


def _require_known(kind: str, names: list[str], known: dict[str, Any], where: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"check {where} names the {kind} {name!r}; it has: {', '.join(known)}")
