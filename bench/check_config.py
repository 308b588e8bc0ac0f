"""What can be configured of a check: its arms, tasks, budgets by scale, claims, and how its runs are executed."""

from dataclasses import dataclass

from bench.config import LoggerConfig, require, require_positive


@dataclass(kw_only=True)
class ExecutorConfig:
    """How the runs of a suite are executed."""

    name: str
    slots: int | None  # runs at once; null = one per core

    def __post_init__(self) -> None:
        require(self.slots is None or self.slots > 0, "executor.slots", self.slots, "null or 1 and more")


@dataclass(kw_only=True)
class ScaleConfig:
    """A size of experiment; a check says what it means for it."""

    name: str
    scientific: bool  # False: its verdicts say nothing about a claim
    description: str


@dataclass(kw_only=True)
class ArmConfig:
    """One side of a comparison."""

    label: str  # as the paper prints it
    overrides: list[str]  # on top of the check's own
    reported: str | None  # name of its reported curve


@dataclass(kw_only=True)
class TaskConfig:
    """A task of a check and how the authors class it."""

    tag: str


@dataclass(kw_only=True)
class BudgetConfig:
    """What a check runs at one scale."""

    arms: list[str]
    tasks: list[str]
    seeds: int
    steps: int  # agent steps per run
    overrides: list[str]

    def __post_init__(self) -> None:
        require_positive(self, "check.scales", "seeds", "steps")
        require(bool(self.arms), "check.scales.arms", self.arms, "one arm and more")
        require(bool(self.tasks), "check.scales.tasks", self.tasks, "one task and more")


# Keys of analysis.scores.METRICS, repeated here (and held equal by a test) to refuse a claim before its runs.
METRICS = (
    "auc",
    "coverage",
    "d_variance",
    "d_variance_ratio",
    "entropy",
    "pg_variance",
    "pg_variance_ratio",
    "score",
)


@dataclass(kw_only=True)
class ClaimConfig:
    """A statement that runs can support or refute, written down before they exist."""

    id: str
    statement: str
    source: str
    contrast: list[str]  # arms A and B: metric(A) - metric(B); or A alone: metric(A)
    tasks: list[str] | None  # null = all of the check
    metric: str  # key of analysis.scores.METRICS
    normalise: str | None  # human | relative | none; null = the metric's own
    direction: str  # greater | less | equal: above the margin, below its negative, within it
    margin: float  # smallest difference that matters, in units of the metric
    alpha: float
    min_budget: float  # fraction of the reported run's steps below which the claim stays undecided

    def __post_init__(self) -> None:
        where = f"check.claims ({self.id})"
        require(len(self.contrast) in (1, 2), f"{where}.contrast", self.contrast, "one arm or two")
        require(self.metric in METRICS, f"{where}.metric", self.metric, ", ".join(METRICS))
        allowed = ("greater", "less", "equal")
        require(self.direction in allowed, f"{where}.direction", self.direction, ", ".join(allowed))
        scales = (None, "human", "relative", "none")
        require(self.normalise in scales, f"{where}.normalise", self.normalise, "null, human, relative, none")
        require(0 < self.alpha < 1, f"{where}.alpha", self.alpha, "0 < alpha < 1")
        require(self.margin >= 0, f"{where}.margin", self.margin, "0 or more")


@dataclass(kw_only=True)
class ReferenceConfig:
    """The reported experiment that the check repeats."""

    paper: str
    figure: int
    hours: float  # length of the reported curves
    steps_per_hour: int  # generated agent steps per hour of theirs
    runs: int  # their runs per curve
    margin: float  # fraction of the human-random range that ours and theirs may differ by and still agree
    bin_steps: int  # agent steps that one point of the curves averages over
    overrides: list[str]  # the configuration that reproduces it


@dataclass(kw_only=True)
class CheckConfig:
    """A question, the runs that answer it at each scale, and the claims they decide."""

    name: str
    question: str
    source: str
    base: list[str]  # overrides of every run
    arms: dict[str, ArmConfig]
    tasks: dict[str, TaskConfig]
    scales: dict[str, BudgetConfig]
    claims: list[ClaimConfig]
    reference: ReferenceConfig


@dataclass(kw_only=True)
class SuiteConfig:
    """A check at a scale, and how its runs are executed."""

    check: CheckConfig
    scale: ScaleConfig
    executor: ExecutorConfig
    logger: LoggerConfig
    store: str

    def __post_init__(self) -> None:
        require(self.store != "", "store", self.store, "the path of a folder")
