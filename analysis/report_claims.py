"""The claims of a check as cards of the report page: words, the strip that draws them, cost, links to evidence."""

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatch

import pandas as pd

from analysis.cells import claim_tasks, named_arms
from analysis.measure import Verdict
from analysis.plan import Claim
from analysis.scores import METRICS
from analysis.study import Study
from analysis.words import contrast_text, number

SYMBOLS = {"supported": "✓", "refuted": "✕", "inconclusive": "?", "not run": "○", "not comparable": "≠"}
UNREGISTERED = "frozen without a hash"  # by the plan of the check's first run
REGISTRATIONS = ("registered", "exploratory", UNREGISTERED)
PAPERS = {"DAPO": "Wang et al. 2019", "DPO": "Ma 2023"}  # how a source names them
OURS = "this project"
# Learning curves are a figure per task, or per game as in the paper; these metrics are read off them.
CURVES = ("score", "auc", "worst_drop", "collapsed")
EVALUATIONS = ("eval_score", "eval_auc", "steps_to")
# What other figures show whose names do not end in a metric, by their stems.
SHOWN = {
    "bound_instances": ("bound_ratio", "bound_ratio_median"),
    "bound_training": ("bound_ratio", "bound_ratio_median"),
    "bound_stale": ("bound_ratio_stale",),
    "bias_in_training": ("bias", "bias_matched"),
    "ascent": ("exact_auc", "exact_return", "shift"),
    "advantage_over_lambda": ("advantage_variance", "advantage_mse"),
    "gradient_over_lambda": ("gradient_bias2", "gradient_error", "gradient_error_best"),
    "fit_over_updates": ("heldout_variance", "heldout_residual"),
    "tradeoff": ("d_variance", "auc"),
    "sensitivity": ("auc",),
    "dapo_figure1": ("score",),
    "dapo_figure[34]": ("score", "auc"),
}
WIDTH, LEFT, RIGHT = 360.0, 14.0, 346.0  # of the strip and of its axis, units of its view box
CLOSE = 70.0  # two labels of margins below this distance would touch


@dataclass(frozen=True)
class Mark:
    """A line of the strip across its axis. `side`: where its label grows to, start, middle or end."""

    x: float
    text: str
    side: str = "middle"


@dataclass(frozen=True)
class Strip:
    """Estimate, interval and margin on one axis; `zone` is where the claim holds. All x in units of the view box."""

    estimate: float
    interval: tuple[float, float] | None
    zone: tuple[float, float]
    margins: list[Mark]
    zero: Mark
    words: str


@dataclass(frozen=True)
class Behind:
    """A figure's planned runs: all those of its arms on its tasks."""

    stem: str
    arms: list[str]
    tasks: list[str]


@dataclass(frozen=True)
class Card:
    """A claim as it is shown."""

    verdict: Verdict
    anchor: str
    symbol: str
    asked: str
    tested: bool  # a p value was reckoned
    paper: str
    section: str
    protocol: str
    registration: str
    frozen: str  # hash and time of a registered claim
    arms: list[str]  # that it names, candidates included, among those that have runs
    tasks: list[str]
    runs: int  # planned ones of these arms on its tasks
    cost: str
    figures: list[str]  # stems
    strip: Strip | None


def slug(text: str) -> str:
    """The text as part of an identifier; different texts stay different."""
    return re.sub(r"[^\w.-]", lambda found: f"~{ord(found[0]):x}", text, flags=re.ASCII)


def anchor(*parts: object) -> str:
    """An identifier of the page: claim/multi_step/full_over_ppo."""
    return "/".join(slug(str(part)) for part in parts)


def paper_of(claim: Claim) -> str:
    """The paper that a claim is of, or OURS; of claims without the key (older plans) by the words of its source."""
    by_words = next((name for name, words in PAPERS.items() if words in claim.source), OURS)
    return {"dapo": "DAPO", "dpo": "DPO", "this_project": OURS}.get(claim.paper, by_words)


def condition(verdict: Verdict) -> str:
    """What the claimed number must be."""
    margin = f"{verdict.margin:g}"
    return {
        "greater": f"> {margin}",
        "less": f"< −{margin}" if verdict.margin else "< 0",
        "equal": f"within ±{margin}",
        "every_below": f"in every run < {margin}",
    }[verdict.direction]


def asked_text(verdict: Verdict) -> str:
    """The claim as a formula: A − B in a metric, beyond its margin, with the unit."""
    sides = contrast_text(verdict.contrast, "−")
    return f"{sides} in {METRICS[verdict.metric].label} {condition(verdict)} ({verdict.unit})"


def is_tested(verdict: Verdict) -> bool:
    """Was a p value reckoned? Not of a statement about every run, nor where something stops the claim (p = 1)."""
    return verdict.p is not None and verdict.p < 1.0 and verdict.direction != "every_below"


def _zone(verdict: Verdict) -> tuple[float, float]:
    """The values that the claim holds for."""
    margin = verdict.margin
    return {
        "greater": (margin, math.inf),
        "less": (-math.inf, -margin),
        "equal": (-margin, margin),
        "every_below": (-math.inf, margin),
    }[verdict.direction]


def _margin_marks(ends: list[tuple[float, str]]) -> list[Mark]:
    """Labels of one margin, or of two that grow apart; where the two are close, one that names both."""
    if len(ends) == 1:
        return [Mark(*ends[0])]
    (low, low_text), (high, high_text) = ends
    if high - low < CLOSE:
        return [Mark(low, ""), Mark(high, f"±{high_text}")]
    return [Mark(low, low_text), Mark(high, high_text)]


def strip(verdict: Verdict) -> Strip | None:
    """The claim drawn; None without an estimate, or with an end that no axis can hold."""
    shown = [value for value in (verdict.estimate, *(verdict.interval or ())) if value is not None]
    if not shown or not all(map(math.isfinite, shown)):
        return None
    zone = _zone(verdict)
    margins = [end for end in zone if math.isfinite(end)]
    low, high = min(*shown, *margins, 0.0), max(*shown, *margins, 0.0)
    room = 0.12 * (high - low) or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return float(round(LEFT + (RIGHT - LEFT) * share, 1))

    interval = verdict.interval
    said = f"estimate {number(verdict.estimate)}"
    said += f", interval {number(interval[0])} to {number(interval[1])}" if interval else ", no interval"
    return Strip(
        estimate=x(shown[0]),
        interval=(x(interval[0]), x(interval[1])) if interval else None,
        zone=(x(zone[0]), x(zone[1])),
        margins=_margin_marks([(x(end), f"{end:g}".replace("-", "−")) for end in margins]),
        zero=Mark(x(0.0), "0"),
        words=f"{said}; the claim holds where it is {condition(verdict)}",
    )


def cost_text(runs: pd.DataFrame, threads: int) -> str:
    """CPU hours (threads times wall time) and steps of runs, by what they count.

    Args: runs: rows of `Study.scored`; threads: of one run.
    """
    hours = float(pd.to_numeric(runs["wall_s"]).sum()) * threads / 3600
    done = runs.assign(step=pd.to_numeric(runs["step"]).fillna(0)).groupby("clock")["step"].sum()
    steps = [f"{int(count):,} {clock}" for clock, count in done.items() if count]
    return ", ".join([f"{number(hours, 3)} CPU hours", *steps])


def metrics_of(stem: str) -> tuple[str, ...]:
    """The metrics that a figure shows, other than learning curves of a task: by the table, or by how its name ends."""
    listed = next((metrics for pattern, metrics in SHOWN.items() if fnmatch(stem, pattern)), None)
    fitting = [name for name in METRICS if stem.endswith(f"_{name}")]
    return listed if listed is not None else (max(fitting, key=len),) if fitting else ()


def figures_of(metric: str, arms: list[str], tasks: list[str], figures: list[Behind]) -> list[str]:
    """Figures that show the metric of all these arms, on some of the tasks; learning curves come last."""
    curves = {f"{task}{end}": of for task in tasks for end, of in (("", CURVES), ("_evaluation", EVALUATIONS))}
    fitting = [one.stem for one in figures if set(arms) <= set(one.arms) and set(tasks) & set(one.tasks)]
    named = [stem for stem in fitting if stem not in curves and metric in metrics_of(stem)]
    return [*named, *(stem for stem in fitting if metric in curves.get(stem, ()))]


def _card(study: Study, claim: Claim, verdict: Verdict, figures: list[Behind], frozen: str) -> Card:
    plan, scored = study.plan, study.scored
    arms = [arm for arm in named_arms(claim, plan) if arm in plan.arms]
    tasks = claim_tasks(claim, plan)
    runs = scored[scored["arm"].isin(arms) & scored["task"].isin(tasks)]
    threads = {int(manifest.get("threads") or 1) for manifest in study.store.manifests.values()}
    return Card(
        verdict=verdict,
        anchor=anchor("claim", plan.name, verdict.id),
        symbol=SYMBOLS[verdict.verdict],
        asked=asked_text(verdict),
        tested=is_tested(verdict),
        paper=paper_of(claim),
        section=claim.section,
        protocol=claim.protocol.replace("_", " "),
        registration=verdict.registration or UNREGISTERED,
        frozen=frozen,
        arms=arms if len(runs) else [],
        tasks=tasks,
        runs=len(runs),
        cost=cost_text(runs, max(threads, default=1)) if (runs["state"] == "done").any() else "",
        figures=figures_of(claim.metric, arms, tasks, figures) if len(runs) else [],
        strip=strip(verdict),
    )


def cards(study: Study, figures: list[Behind]) -> list[Card]:
    """A card per verdict. Args: figures: of the check."""
    claims, stamps = {claim.id: claim for claim in study.plan.claims}, study.plan.stamps
    return [
        _card(study, claims[verdict.id], verdict, figures, stamps.get(verdict.id, "")) for verdict in study.verdicts
    ]
