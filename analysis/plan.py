"""The frozen plan of a check at a scale: what was asked, before any run existed."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.errors import UserError

SCALES = ("smoke", "quick", "cpu", "gpu", "paper")  # from the smallest to the largest
DIRECTIONS = ("greater", "less", "equal")
NORMALISATIONS = ("human", "relative", "none")
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
class Claim:
    """A statement about metric(A) - metric(B), or metric(A) alone, that was written down before the runs."""

    id: str
    statement: str
    source: str
    contrast: tuple[str, ...]  # A and B, or A alone
    metric: str
    margin: float  # smallest difference that matters, in the claim's units
    alpha: float
    min_budget: float = 0.0  # fraction of the reported steps below which the claim stays undecided
    direction: str = "greater"  # greater: A - B > margin; less: A - B < -margin; equal: |A - B| < margin
    tasks: tuple[str, ...] | None = None  # None: all of the check
    normalise: str | None = None  # human | relative | none; None: the metric's own (analysis.scores.METRICS)


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
    steps: int
    arms: dict[str, Arm]
    tasks: dict[str, str]  # task -> tag
    claims: tuple[Claim, ...]
    reference: Reference | None
    runs: tuple[PlannedRun, ...]
    reference_config: dict[str, Any]  # arm -> algo and env of the reported experiment

    @property
    def budget_fraction(self) -> float | None:
        """Planned steps per run over the steps of a reported run; None without a reported experiment."""
        return self.steps / self.reference.steps if self.reference else None


def _known(cls: type, raw: dict[str, Any]) -> dict[str, Any]:
    return {f.name: raw[f.name] for f in fields(cls) if f.name in raw}


def _build(cls: Any, raw: dict[str, Any], where: str) -> Any:
    try:
        return cls(**_known(cls, raw))
    except TypeError as error:  # the message of dataclasses names the missing keys
        raise UserError(f"{where}: {error}") from error


def _claim(raw: dict[str, Any], where: str) -> Claim:
    unknown = sorted(set(raw) - {f.name for f in fields(Claim)})
    if unknown:
        raise UserError(
            f"{where}: claim {raw.get('id')} has unknown keys {', '.join(unknown)}; "
            f"known: {', '.join(f.name for f in fields(Claim))}"
        )
    claim: Claim = _build(Claim, raw | {"contrast": tuple(raw.get("contrast", ()))}, where)
    if len(claim.contrast) not in (1, 2):
        raise UserError(f"{where}: claim {claim.id} contrasts {claim.contrast}; it must name one arm or two")
    if claim.direction not in DIRECTIONS:
        raise UserError(
            f"{where}: claim {claim.id} has direction {claim.direction!r}; allowed: {', '.join(DIRECTIONS)}"
        )
    if claim.normalise is not None and claim.normalise not in NORMALISATIONS:
        raise UserError(
            f"{where}: claim {claim.id} has normalise {claim.normalise!r}; allowed: {', '.join(NORMALISATIONS)}"
        )
    if claim.direction == "equal" and claim.margin <= 0:
        raise UserError(f"{where}: claim {claim.id} is an equivalence claim; its margin must be above 0")
    if not 0 < claim.alpha < 1 or claim.margin < 0:
        raise UserError(f"{where}: claim {claim.id} needs 0 < alpha < 1 and margin >= 0")
    return claim


def _arm(name: str, raw: dict[str, Any], where: str) -> Arm:
    overrides = tuple(raw.get("overrides", ()))
    arm: Arm = _build(Arm, {"reported": None} | raw | {"name": name, "overrides": overrides}, where)
    return arm


def parse_plan(raw: dict[str, Any], where: str) -> Plan:
    """The plan as data.

    Args: raw: content of the plan file; where: its name, for error sentences.
    """
    missing = [key for key in ("check", "scale", "steps", "runs") if key not in raw]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}")
    check = raw["check"]
    runs = tuple(_build(PlannedRun, run, where) for run in raw["runs"])
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
    tags = {task: str((extra or {}).get("tag", "")) for task, extra in check["tasks"].items()}
    reference = check.get("reference")
    return Plan(
        name=check["name"],
        question=check["question"].strip(),
        source=check["source"],
        scale=raw["scale"],
        scientific=bool(raw.get("scientific", raw["scale"] != "smoke")),
        steps=int(raw["steps"]),
        arms={name: _arm(name, arm, where) for name, arm in check["arms"].items() if name in planned_arms},
        tasks={task: tag for task, tag in tags.items() if task in planned_tasks}
        | dict.fromkeys(sorted(planned_tasks - set(tags)), ""),
        claims=tuple(_claim(claim, where) for claim in check["claims"]),
        reference=_build(Reference, reference, where) if reference else None,
        runs=runs,
        reference_config=raw.get("reference_config") or {},
    )


def choose_scale(store: Path, check: str) -> tuple[str, list[str]]:
    """The largest planned scale of a check and all that are planned (UserError when none is)."""
    folder = store / "checks"
    present = {path.stem for path in (folder / check).glob("*.json")}
    if not present:
        others = sorted(path.name for path in folder.glob("*") if any(path.glob("*.json")))
        raise UserError(f"{store} holds no plan of check {check}; planned there: {', '.join(others) or 'nothing'}")
    ordered = sorted(present, key=lambda name: (SCALES.index(name) if name in SCALES else -1, name))
    return ordered[-1], ordered


def read_plan(store: Path, check: str, scale: str) -> Plan:
    """The frozen plan `store/checks/<check>/<scale>.json` (UserError naming what is there instead)."""
    path = store / "checks" / check / f"{scale}.json"
    if not path.is_file():
        _, present = choose_scale(store, check)
        raise UserError(f"{store} holds no plan of {check} at scale {scale}; there is: {', '.join(present)}")
    try:
        raw = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    return parse_plan(raw, str(path))
