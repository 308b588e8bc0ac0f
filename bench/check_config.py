"""What can be configured of a check: its arms, tasks, budgets by scale, claims, and how its runs are executed."""

import re
from dataclasses import dataclass

from bench.config import LoggerConfig
from bench.errors import UserError, require, require_positive


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
    """A task of a check: where it comes from and how it is classed."""

    env: str  # preset of conf/env
    tag: str


@dataclass(kw_only=True)
class BlockConfig:
    """Arms x tasks x seeds that run for equally many steps; what a check runs at one scale is a list of them."""

    arms: list[str]
    tasks: list[str]
    seeds: int
    steps: int  # agent steps per run; instances, updates or lambdas of an exact algorithm
    overrides: list[str]

    def __post_init__(self) -> None:
        require_positive(self, "check.scales", "seeds", "steps")
        require(bool(self.arms), "check.scales.arms", self.arms, "one arm and more")
        require(bool(self.tasks), "check.scales.tasks", self.tasks, "one task and more")


@dataclass(kw_only=True)
class BudgetConfig:
    """What a check runs at one scale."""

    blocks: list[BlockConfig]

    def __post_init__(self) -> None:
        require(bool(self.blocks), "check.scales.blocks", self.blocks, "one block and more")


# Keys of analysis.scores.METRICS, repeated here (and held equal by a test) to refuse a claim before its runs.
METRICS = (
    "advantage_mse",
    "advantage_variance",
    "auc",
    "bias",
    "bias_matched",
    "bias_rank",
    "bound_ratio",
    "bound_ratio_median",
    "bound_ratio_stale",
    "calibration",
    "collapsed",
    "coverage",
    "coverage_mean",
    "critic_loss",
    "d_variance",
    "d_variance_ratio",
    "entropy",
    "eval_auc",
    "eval_score",
    "exact_auc",
    "exact_return",
    "first_shift",
    "fresh_bias_rank",
    "fresh_bias_ratio",
    "gradient_bias2",
    "gradient_error",
    "gradient_error_best",
    "gradient_shift",
    "heldout_residual",
    "heldout_variance",
    "pg_variance",
    "pg_variance_ratio",
    "score",
    "shift",
    "steps_to",
    "uae_variance_ratio",
    "worst_drop",
)
DIRECTIONS = ("greater", "less", "equal", "every_below")
NORMALISATIONS = ("task", "human", "range", "relative", "none")


CHOICES = ("best", "tuned")  # entries that choose an arm, on tuning seeds
ENTRY = re.compile(r"(best|tuned|mean)\(([^()]*)\)")


def contrast_entry(text: str, arms: list[str]) -> tuple[str, tuple[str, ...]]:
    """An entry of a contrast: how its number is made ("" of the arm named, best, tuned, mean) and of which arms.

    Args: text: an arm, best(arm, ...), tuned(arm, ...), both without names among all `arms`, or mean(arm, ...).
    Errors: `UserError` for anything else in brackets, and for a mean of fewer than two arms or of one arm twice.
    """
    if "(" not in text:
        return "", (text,)
    if not (found := ENTRY.fullmatch(text)):
        raise UserError(
            f"the contrast {text!r} is no arm; allowed: an arm, best(arm, ...), tuned(arm, ...) or mean(arm, arm, ...)"
        )
    names = tuple(name.strip() for name in found[2].split(",")) if found[2].strip() else ()
    if found[1] == "mean" and not 1 < len(set(names)) == len(names):
        raise UserError(f"the contrast {text!r} is no mean; allowed: mean(arm, arm, ...) of different arms")
    return found[1], names or tuple(arms)


@dataclass(kw_only=True)
class ClaimConfig:
    """A statement that runs can support or refute, written down before they exist."""

    id: str
    statement: str
    source: str
    contrast: list[str]  # entries: A alone: metric(A); A, B: A - B; A, B, C, D: (A - B) - (C - D)
    tasks: list[str] | None  # null = all of the check
    metric: str  # key of analysis.scores.METRICS
    normalise: str | None  # one of NORMALISATIONS; null = the metric's own
    direction: str  # greater | less | equal: above the margin, below its negative, within it; every_below: in each run
    margin: float  # smallest difference that matters, in units of the metric
    alpha: float
    min_budget: float  # fraction of the reported run's steps below which the claim stays undecided

    def __post_init__(self) -> None:
        where = f"check.claims ({self.id})"
        require(len(self.contrast) in (1, 2, 4), f"{where}.contrast", self.contrast, "one arm, two or four")
        require(self.metric in METRICS, f"{where}.metric", self.metric, ", ".join(METRICS))
        require(self.direction in DIRECTIONS, f"{where}.direction", self.direction, ", ".join(DIRECTIONS))
        allowed = f"null, {', '.join(NORMALISATIONS)}"
        require(self.normalise in (None, *NORMALISATIONS), f"{where}.normalise", self.normalise, allowed)
        require(0 < self.alpha < 1, f"{where}.alpha", self.alpha, "0 < alpha < 1")
        require(self.margin >= 0, f"{where}.margin", self.margin, "0 or more")
        require(self.direction != "equal" or self.margin > 0, f"{where}.margin", self.margin, "above 0 with equal")
        # Two arms that never get there within the budget look equal and may be anything.
        within = self.metric != "steps_to" or self.direction in ("greater", "less")
        require(within, f"{where}.direction", self.direction, "greater or less with steps_to")


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
    tuning_seeds: int  # the first seeds of every block, on which `best(...)` and `tuned(...)` of a claim choose
    scales: dict[str, BudgetConfig]
    claims: list[ClaimConfig]
    reference: ReferenceConfig | None

    def __post_init__(self) -> None:
        require(self.tuning_seeds >= 0, "check.tuning_seeds", self.tuning_seeds, "0 or more")
        ids = [claim.id for claim in self.claims]
        require(len(set(ids)) == len(ids), "check.claims.id", max(ids, key=ids.count, default=""), "each id once")
        for claim in self.claims:
            chosen = [entry for entry in claim.contrast if contrast_entry(entry, list(self.arms))[0] in CHOICES]
            require(
                not chosen or self.tuning_seeds > 0,
                f"check.claims ({claim.id}).contrast",
                claim.contrast,
                "best(...) and tuned(...) only with check.tuning_seeds above 0",
            )


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
