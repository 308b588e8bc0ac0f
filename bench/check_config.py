"""What can be configured of a check: its arms, tasks, budgets by scale, claims, and how its runs are executed."""

import re
from dataclasses import dataclass

from bench.config import LoggerConfig
from bench.errors import UserError, require, require_path, require_positive, require_representable

EXECUTORS = ("local", "slurm")
MOST_SLOTS, MOST_JOBS = 1024, 10_000  # a plan reckons with each
MOST_SEEDS = 1000  # of an arm on a task: a plan composes every run
AUTO = "auto"  # seeds in batches, until every claim is decided or futile (bench.adaptive)


@dataclass(kw_only=True)
class ExecutorConfig:
    """How the runs of a suite are executed: each in a fresh process."""

    name: str  # local | slurm
    slots: int | None  # runs at once on the CPU; null = one per core and thread of a run
    runs_per_gpu: int  # runs at once on each GPU
    retries: int  # in a row without getting further, of a run that crashed, hung or ran out of memory
    hang_minutes: float  # without a step, after which a run is ended
    memory_gb: float | None  # most memory of a run, 10^9 bytes; null = what the machine has

    def __post_init__(self) -> None:
        require(self.name in EXECUTORS, "executor.name", self.name, ", ".join(EXECUTORS))
        slots = self.slots is None or 0 < self.slots <= MOST_SLOTS
        require(slots, "executor.slots", self.slots, f"null, or 1 to {MOST_SLOTS}")
        require_positive(self, "executor", "runs_per_gpu", "hang_minutes")
        require(self.retries >= 0, "executor.retries", self.retries, "0 or more")
        require(self.memory_gb is None or self.memory_gb > 0, "executor.memory_gb", self.memory_gb, "null or above 0")


@dataclass(kw_only=True)
class SlurmConfig(ExecutorConfig):
    """Jobs of a Slurm cluster that shares the store; each job makes `runs_per_job` runs, `slots` at once."""

    runs_per_job: int  # small runs packed into one job of an array
    array_parallelism: int  # jobs of an array that run at once
    minutes: int  # time limit of a job; a run that needs longer goes on in the next
    requeues: int  # of a job that reached its limit; preemption and failures of nodes do not count
    grace_seconds: int  # before the limit, in which runs save and end
    cpus: int | None  # cores of a job; null = slots
    gpus: int  # of a job
    partition: str | None
    account: str | None
    setup: list[str]  # shell lines before a job, to load modules for example

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.slots is not None, "executor.slots", self.slots, "a number with executor=slurm")
        require_positive(self, "executor", "runs_per_job", "minutes", "grace_seconds")
        jobs = self.array_parallelism
        require(0 < jobs <= MOST_JOBS, "executor.array_parallelism", jobs, f"1 to {MOST_JOBS}")
        for key in ("requeues", "gpus"):
            require(getattr(self, key) >= 0, f"executor.{key}", getattr(self, key), "0 or more")
        require(self.cpus is None or self.cpus > 0, "executor.cpus", self.cpus, "null or 1 and more")


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
        require_positive(self, "check.scales", "steps")
        require(0 < self.seeds <= MOST_SEEDS, "check.scales.seeds", self.seeds, f"1 to {MOST_SEEDS}")
        require(bool(self.arms), "check.scales.arms", self.arms, "one arm and more")
        require(bool(self.tasks), "check.scales.tasks", self.tasks, "one task and more")


@dataclass(kw_only=True)
class BudgetConfig:
    """What a check runs at one scale."""

    blocks: list[BlockConfig]

    def __post_init__(self) -> None:
        require(bool(self.blocks), "check.scales.blocks", self.blocks, "one block and more")


# How a metric's numbers come about: games of training, evaluations of the deterministic policy, measurements at policy
# versions, or exact computation on a finite MDP; and keys of analysis.scores.METRICS, repeated here (and held equal by
# a test) to refuse a claim before its runs.
PROTOCOLS = {
    "training_games": ("score", "auc", "worst_drop", "collapsed"),
    "evaluation": ("eval_score", "eval_auc", "steps_to"),
    "versions": (
        *("d_variance", "d_variance_ratio", "pg_variance", "pg_variance_ratio", "uae_variance_ratio", "entropy"),
        *("coverage", "coverage_mean", "calibration", "critic_loss", "fresh_bias_rank", "fresh_bias_ratio"),
    ),
    "exact": (
        *("exact_return", "exact_auc", "shift", "first_shift", "bias", "bias_matched", "bias_rank", "bound_ratio"),
        *("bound_ratio_median", "bound_ratio_stale", "advantage_variance", "advantage_mse", "gradient_bias2"),
        *("gradient_error", "gradient_error_best", "gradient_shift", "heldout_residual", "heldout_variance"),
    ),
}
METRICS = {metric: protocol for protocol, metrics in PROTOCOLS.items() for metric in metrics}
PAPERS = ("dapo", "dpo", "this_project")
PAIRINGS = {1: "none", 2: "task_and_seed", 4: "task_and_seed"}  # by the entries of a contrast
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
    """A statement that runs can support or refute, written down before they exist.

    Paper, pairing and protocol are blank in plans frozen before claims said them; a check must say them.
    """

    id: str
    statement: str
    source: str
    paper: str  # one of PAPERS
    section: str  # or figure of the paper; blank where the source names none
    contrast: list[str]  # entries: A alone: metric(A); A, B: A - B; A, B, C, D: (A - B) - (C - D)
    pairing: str  # of its entries: task_and_seed, none of one entry alone
    tasks: list[str] | None  # null = all of the check
    metric: str  # key of analysis.scores.METRICS
    protocol: str  # of the metric: one of PROTOCOLS
    normalise: str | None  # one of NORMALISATIONS; null = the metric's own
    direction: str  # greater | less | equal: above the margin, below its negative, within it; every_below: in each run
    margin: float  # smallest difference that matters, in units of the metric
    alpha: float
    min_budget: float  # fraction of the reported run's steps below which the claim stays undecided

    def __post_init__(self) -> None:
        where = f"check.claims ({self.id})"
        require(len(self.contrast) in (1, 2, 4), f"{where}.contrast", self.contrast, "one arm, two or four")
        require(self.metric in METRICS, f"{where}.metric", self.metric, ", ".join(METRICS))
        require(self.paper in ("", *PAPERS), f"{where}.paper", self.paper, ", ".join(PAPERS))
        ours = self.paper == "this_project"
        require(not (ours and self.section), f"{where}.section", self.section, "blank with paper this_project")
        pairing, protocol = PAIRINGS[len(self.contrast)], METRICS[self.metric]
        entries = f"{pairing} with {len(self.contrast)} entries in the contrast"
        require(self.pairing in ("", pairing), f"{where}.pairing", self.pairing, entries)
        require(self.protocol in ("", protocol), f"{where}.protocol", self.protocol, f"{protocol} with {self.metric}")
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
            for key, allowed in (("paper", PAPERS), ("pairing", PAIRINGS.values()), ("protocol", PROTOCOLS)):
                found, said = getattr(claim, key), ", ".join(dict.fromkeys(allowed))
                require(found != "", f"check.claims ({claim.id}).{key}", found, said)
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
    checkpoint_minutes: float  # between two checkpoints of a run
    seeds: int | str | None  # of every block; null = the check's own numbers; auto = as many of those as it takes
    steps: int | None  # of every run; null = the check's own
    tasks: list[str] | None  # of the check; null = all
    budget: str | None  # hours on this machine, "8h" or "30min", that seeds, tasks and steps are chosen to fit
    shard: str | None  # "i/n": the i-th of n parts of the runs, for machines that share nothing
    measure_seconds: float  # that a plan may spend on measuring rates; 0 = none
    pilot: str  # packed results, whose spread a plan reckons with where the store has no runs

    def __post_init__(self) -> None:
        require_path("store", self.store)
        require(self.checkpoint_minutes > 0, "checkpoint_minutes", self.checkpoint_minutes, "a number above 0")
        require_representable(self)
        seeds = 0 < self.seeds <= MOST_SEEDS if isinstance(self.seeds, int) else self.seeds in (None, AUTO)
        require(seeds, "seeds", self.seeds, f"null, or 1 to {MOST_SEEDS}, or {AUTO}")
        require(self.steps is None or self.steps > 0, "steps", self.steps, "null or 1 and more")
        require(self.measure_seconds >= 0, "measure_seconds", self.measure_seconds, "0 or more")
        require(self.tasks is None or bool(self.tasks), "tasks", self.tasks, "null or one task and more")
        require(
            self.budget is None or hours(self.budget) > 0, "budget", self.budget, 'null, or a time like "8h", "30min"'
        )
        part, parts = shard(self.shard)
        require(1 <= part <= parts, "shard", self.shard, 'null, or "i/n" with 1 <= i <= n')
        if self.seeds == AUTO:  # it looks at all results of a batch before it makes the next
            require(self.executor.name == "local", "executor", self.executor.name, f"local with seeds={AUTO}")
            require(self.shard is None, "shard", self.shard, f"null with seeds={AUTO}")
            require(self.budget is None, "budget", self.budget, f"null with seeds={AUTO}")


def hours(budget: str) -> float:
    """Hours of a text like 8h, 90min or 1.5h; 0 of any other."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(h|min)", budget)
    return float(found[1]) / (1 if found[2] == "h" else 60) if found else 0.0


def shard(text: str | None) -> tuple[int, int]:
    """(i, n) of a text like 1/3; (1, 1) of none, (0, 0) of any other."""
    found = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
    return (int(found[1]), int(found[2])) if found else (0, 0)
