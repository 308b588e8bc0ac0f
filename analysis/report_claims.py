"""The claims of a check as cards of the report page: words, the strip that draws them, cost, links to evidence."""

import math
import re
from dataclasses import dataclass

import pandas as pd

from analysis.cells import claim_tasks, named_arms
from analysis.measure import Verdict
from analysis.plan import Claim
from analysis.scores import METRICS
from analysis.study import Study
from analysis.words import number

SYMBOLS = {"supported": "✓", "refuted": "✕", "inconclusive": "?", "not run": "○", "not comparable": "≠"}
UNREGISTERED = "frozen without a hash"  # by the plan of the check's first run
REGISTRATIONS = ("registered", "exploratory", UNREGISTERED)
PAPERS = {"DAPO": "Wang et al. 2019", "DPO": "Ma 2023"}  # how a source names them
OURS = "this project"
# Learning curves are a figure per task; these metrics are read off them.
OF_CURVES = frozenset(("score", "auc", "worst_drop", "collapsed", "eval_score", "eval_auc", "steps_to"))
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
class Card:
    """A claim as it is shown."""

    verdict: Verdict
    anchor: str
    symbol: str
    test: str
    paper: str
    registration: str
    arms: list[str]  # that it names, candidates included, among those that have runs
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


def test_text(verdict: Verdict) -> str:
    """What would have to be true, with its margin."""
    margin = f"{verdict.margin:g}"
    return {
        "greater": f"greater than {margin}",
        "less": f"less than −{margin}" if verdict.margin else "less than 0",
        "equal": f"within ±{margin}",
        "every_below": f"below {margin} in every run",
    }[verdict.direction]


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
        words=f"{said}; the claim holds where the value is {test_text(verdict)}",
    )


def cost_text(runs: pd.DataFrame, threads: int) -> str:
    """CPU hours (threads times wall time) and steps of runs, by what they count.

    Args: runs: rows of `Study.scored`; threads: of one run.
    """
    hours = float(pd.to_numeric(runs["wall_s"]).sum()) * threads / 3600
    done = runs.assign(step=pd.to_numeric(runs["step"]).fillna(0)).groupby("clock")["step"].sum()
    steps = [f"{int(count):,} {clock}" for clock, count in done.items() if count]
    return ", ".join([f"{number(hours, 3)} CPU hours", *steps])


def _metric_of(stem: str) -> str:
    """The metric that the name of a figure ends in, the longest that fits; blank where none does."""
    fitting = [name for name in METRICS if stem == name or stem.endswith(f"_{name}")]
    return max(fitting, key=len, default="")


def figures_of(metric: str, tasks: list[str], stems: list[str]) -> list[str]:
    """Figures that show the metric, then learning curves of the tasks; the check's first where there is neither."""
    named = [stem for stem in stems if _metric_of(stem) == metric]
    curves = [stem for stem in stems if any(stem == task or stem.startswith(f"{task}_") for task in tasks)]
    return [*named, *(curves if metric in OF_CURVES else [])] or stems[:1]


def _card(study: Study, claim: Claim, verdict: Verdict, stems: list[str]) -> Card:
    plan, scored = study.plan, study.scored
    arms = [arm for arm in named_arms(claim, plan) if arm in plan.arms]
    tasks = claim_tasks(claim, plan)
    runs = scored[scored["arm"].isin(arms) & scored["task"].isin(tasks)]
    threads = {int(manifest.get("threads") or 1) for manifest in study.store.manifests.values()}
    return Card(
        verdict=verdict,
        anchor=anchor("claim", plan.name, verdict.id),
        symbol=SYMBOLS[verdict.verdict],
        test=test_text(verdict),
        paper=paper_of(claim),
        registration=verdict.registration or UNREGISTERED,
        arms=arms if len(runs) else [],
        runs=len(runs),
        cost=cost_text(runs, max(threads, default=1)) if (runs["state"] == "done").any() else "",
        figures=figures_of(claim.metric, tasks, stems) if len(runs) else [],
        strip=strip(verdict),
    )


def cards(study: Study, stems: list[str]) -> list[Card]:
    """A card per verdict. Args: stems: names of the check's figures."""
    claims = {claim.id: claim for claim in study.plan.claims}
    return [_card(study, claims[verdict.id], verdict, stems) for verdict in study.verdicts]
