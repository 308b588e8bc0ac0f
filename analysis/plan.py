"""The frozen plan of a check at a scale: what was asked, before any run existed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from analysis import registration
from bench.check_config import ClaimConfig
from bench.errors import UserError
from bench.registration import LATER, cell

Claim = ClaimConfig  # one set of rules for what is configured and for what is judged
SCALES = ("smoke", "quick", "cpu", "gpu", "paper")  # from the smallest to the largest
# Fraction of a game's human - random range that two scores may differ by and still agree. Ours, unsourced.
REPORTED_MARGIN = 0.05


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison; `reported` is the method's name in the digitised curves."""

    name: str
    label: str
    reported: str | None
    overrides: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of the check: how it is classed, and the preset that it comes from (atari, classic, tabular, exact)."""

    tag: str
    env: str


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The reported experiment that the check repeats."""

    paper: str
    figure: int
    hours: float
    steps_per_hour: float  # generated agent steps per hour of theirs
    runs: int
    margin: float = REPORTED_MARGIN  # fraction of the human - random range
    bin_steps: int | None = None  # agent steps that one point of their curve averages over; None: our score window

    @property
    def steps(self) -> float:
        """Agent steps of one reported run."""
        return self.hours * self.steps_per_hour


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training run that the plan asks for."""

    arm: str
    task: str
    seed: int
    steps: int
    hash: str
    run_dir: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A check at a scale. `arms` and `tasks` hold only what has runs at this scale, in the check's order."""

    name: str
    question: str
    source: str
    scale: str
    scientific: bool  # False: the scale only shows that everything runs
    arms: dict[str, Arm]
    tasks: dict[str, Task]
    claims: tuple[Claim, ...]
    reference: Reference | None
    runs: tuple[PlannedRun, ...]
    reference_config: dict[str, Any]  # arm -> algo and env of the reported experiment
    tuning_seeds: int = 0  # the first seeds, on which best(...) and tuned(...) choose
    registrations: dict[str, str] = field(default_factory=dict)  # claim id -> registered | exploratory
    stamps: dict[str, str] = field(default_factory=dict)  # registered claim -> the beginning of its hash, and when
    looks: tuple[int, ...] = ()  # seeds=auto: judged seeds at which claims are looked at; () = once, at the end
    most_seeds: dict[tuple[str, str], int] = field(default_factory=dict)  # seeds=auto: (arm, task) -> of those at most

    def steps(self, arms: Iterable[str] | None = None, tasks: Iterable[str] | None = None) -> tuple[int, int] | None:
        """Least and most planned steps of a run of these arms and tasks (None: of all); None where none is planned."""
        arms, tasks = set(self.arms if arms is None else arms), set(self.tasks if tasks is None else tasks)
        planned = [run.steps for run in self.runs if run.arm in arms and run.task in tasks]
        return (min(planned), max(planned)) if planned else None

    def looks_at(self, cells: Iterable[tuple[str, str]], first: int = 0) -> tuple[int, ...]:
        """Seeds that a claim about these (arm, task) has at each look; () where it is looked at once.

        All of them count towards the largest: a block with few seeds has all of them at an early look.
        Args: first: seed from which on the claim is judged: `tuning_seeds` where it chooses an arm, else 0.
        """
        whole = self.tuning_seeds + max(self.looks, default=0)
        most = min((self.most_seeds[cell] for cell in cells if cell in self.most_seeds), default=whole)
        found = {min(self.tuning_seeds + look, most) - first for look in self.looks}
        return tuple(sorted(number for number in found if number > 0))

    def budget_fraction(self, arms: Iterable[str], tasks: Iterable[str]) -> float | None:
        """Least planned steps of these runs over the steps of a reported run.

        None without a reported experiment, and for tasks that are not Atari games, as all reported ones are.
        """
        tasks = list(tasks)
        steps = self.steps(arms, tasks)
        if self.reference is None or steps is None or any(self.tasks[task].env != "atari" for task in tasks):
            return None
        return steps[0] / self.reference.steps


_OF_RUN = tuple(f.name for f in fields(PlannedRun))


def _known(cls: type, raw: dict[str, Any]) -> dict[str, Any]:
    return {f.name: raw[f.name] for f in fields(cls) if f.name in raw}


def _build(cls: Any, raw: dict[str, Any], where: str) -> Any:
    try:
        return cls(**_known(cls, raw))
    except TypeError as error:  # the message of dataclasses names the missing keys
        raise UserError(f"{where}: {error}") from error


def _claim(raw: dict[str, Any], where: str) -> Claim:
    raw = dict.fromkeys(LATER, "") | raw
    known = [f.name for f in fields(Claim)]
    unknown, absent = sorted(set(raw) - set(known)), [name for name in known if name not in raw]
    if unknown or absent:
        said = [f"{word} keys {', '.join(names)}" for word, names in (("unknown", unknown), ("no", absent)) if names]
        raise UserError(f"{where}: claim {raw.get('id')} has {' and '.join(said)}; known: {', '.join(known)}")
    return Claim(**raw)


def _arm(name: str, raw: dict[str, Any], where: str) -> Arm:
    overrides = tuple(raw.get("overrides", ()))
    arm: Arm = _build(Arm, {"reported": None} | raw | {"name": name, "overrides": overrides}, where)
    return arm


def parse_plan(raw: dict[str, Any], where: str) -> Plan:
    """The plan as data.

    Args: raw: content of the plan file; where: its name, for error sentences.
    """
    missing = [key for key in ("check", "scale", "runs") if key not in raw]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}")
    check = raw["check"]
    try:  # all at once, as a plan holds thousands
        runs = tuple(PlannedRun(**{name: run[name] for name in _OF_RUN}) for run in raw["runs"])
    except KeyError:
        runs = tuple(_build(PlannedRun, run, where) for run in raw["runs"])  # which says what is missing
    seen: set[tuple[str, str, int]] = set()
    for run in runs:
        key = (run.arm, run.task, run.seed)
        if key in seen:
            raise UserError(f"{where} plans arm {run.arm}, task {run.task}, seed {run.seed} twice; a seed counts once")
        seen.add(key)
    unknown = sorted({run.arm for run in runs} - set(check["arms"]))
    if unknown:
        raise UserError(f"{where} plans runs of unknown arms {', '.join(unknown)}; arms: {', '.join(check['arms'])}")
    planned_arms, planned_tasks = {run.arm for run in runs}, {run.task for run in runs}
    if strangers := sorted(planned_tasks - set(check["tasks"])):
        raise UserError(
            f"{where} plans runs of unknown tasks {', '.join(strangers)}; tasks: {', '.join(check['tasks'])}"
        )
    claims, registrations = registration.read(raw, where)
    reference, most = check.get("reference"), raw.get("most_seeds", {})
    return Plan(
        name=check["name"],
        question=check["question"].strip(),
        source=check["source"],
        scale=raw["scale"],
        scientific=bool(raw.get("scientific", raw["scale"] != "smoke")),
        arms={name: _arm(name, arm, where) for name, arm in check["arms"].items() if name in planned_arms},
        tasks={
            name: _build(Task, task, f"{where}: task {name}")
            for name, task in check["tasks"].items()
            if name in planned_tasks
        },
        claims=tuple(_claim(claim, where) for claim in claims),
        reference=_build(Reference, reference, where) if reference else None,
        runs=runs,
        reference_config=raw.get("reference_config") or {},
        tuning_seeds=int(check.get("tuning_seeds", 0)),
        registrations=registrations,
        stamps=registration.stamps(raw, registrations),
        looks=tuple(raw.get("looks", ())),
        most_seeds={(run.arm, run.task): most[name] for run in runs if (name := cell(run.arm, run.task)) in most},
    )


def is_archive(root: Path) -> bool:
    """True for a folder of packed results (`<check>-<scale>/plan.json`), False for a store of runs."""
    return not (root / "checks").is_dir() and any(root.glob("*-*/plan.json"))


def archive_folder(results: Path, check: str, scale: str) -> Path:
    """Where the results of a check at a scale are packed."""
    return results / f"{check}-{scale}"


def planned(root: Path) -> dict[str, list[str]]:
    """Check -> its planned scales, smallest first, of a store or of packed results."""
    if is_archive(root):
        pairs = [path.parent.name.rpartition("-")[::2] for path in root.glob("*-*/plan.json")]
    else:
        pairs = [(path.parent.name, path.stem) for path in root.glob("checks/*/*.json")]
    rank = {name: i for i, name in enumerate(SCALES)}
    ordered = sorted(pairs, key=lambda pair: (pair[0], rank.get(pair[1], -1), pair[1]))
    return {check: [scale for name, scale in ordered if name == check] for check, _ in ordered}


def choose_scale(root: Path, check: str) -> tuple[str, list[str]]:
    """The largest planned scale of a check and all that are planned (UserError when none is)."""
    found = planned(root)
    if check not in found:
        raise UserError(f"{root} holds no plan of check {check}; planned there: {', '.join(found) or 'nothing'}")
    return found[check][-1], found[check]


def read_plan(root: Path, check: str, scale: str) -> Plan:
    """The frozen plan of a check, from a store or from packed results (UserError naming what is there instead)."""
    archived = archive_folder(root, check, scale) / "plan.json"
    path = archived if is_archive(root) else root / "checks" / check / f"{scale}.json"
    if not path.is_file():
        _, present = choose_scale(root, check)
        raise UserError(f"{root} holds no plan of {check} at scale {scale}; there is: {', '.join(present)}")
    try:
        raw = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    return parse_plan(raw, str(path))
