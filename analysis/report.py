"""One self-contained page about a store, report.html: claims, figures, runs, origins; no network, phone and print.

`part` takes from a study what the page says of it, so that no study has to be kept; `write_page` joins the parts.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from analysis import checks, report_runs, tables
from analysis.compare import Comparison
from analysis.figures import Drawn
from analysis.load import RunKey, count_states
from analysis.measure import VERDICTS
from analysis.plan import Plan
from analysis.published import published_rows
from analysis.report_claims import PAPERS, REGISTRATIONS, SYMBOLS, UNREGISTERED, Card, anchor, cards
from analysis.report_deviations import Deviations, as_text, deviations
from analysis.report_figures import Image, behind, image
from analysis.scores import METRICS
from analysis.stats import small_n_sentence
from analysis.study import Study
from analysis.words import contrast_text, interval_text, number, percent
from bench.files import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
LOST = ("failed", "running", "missing", report_runs.UNSCORED)


@dataclass(frozen=True)
class Part:
    """What the page says of one check."""

    plan: Plan
    counts: dict[str, int]
    hours: float  # wall time of its runs
    budget: str
    notes: list[str]
    few: int  # least seeds of a claim, where so few deserve a warning; else 0
    cards: list[Card]
    figures: list[Image]
    games: list[dict[str, Any]]
    evaluated: bool
    comparisons: dict[tuple[str, str], Comparison]
    published: list[dict[str, Any]]
    deviations: Deviations
    metrics: tuple[str, ...]
    runs: list[report_runs.ArmRuns]
    grouped: bool  # finished runs of an arm on a task share a line
    settings: report_runs.Settings
    lost: list[dict[Hashable, Any]]
    times: tuple[str | None, str | None]
    origins: dict[RunKey, str]


@dataclass(frozen=True)
class Origin:
    """Where runs come from: what their manifests share, and how many runs of which check share it."""

    number: int
    anchor: str
    fields: dict[str, Any]
    runs: dict[str, int]


def part(study: Study, drawn: list[Drawn]) -> Part:
    """What the page needs of a study. Args: drawn: its figures, to be inlined."""
    plan, shown = study.plan, checks.view(study.plan.name).metrics
    metrics = tuple(name for name in shown if study.scored[name].notna().any())
    least = min((verdict.n for verdict in study.verdicts if verdict.n > 1), default=0)
    manifests = report_runs.manifests_of(study)
    settings = report_runs.settings(study, manifests)
    origins = {key: report_runs.origin_of(manifest) for key, manifest in manifests.items()}
    made_of = [behind(study, figure) for figure in drawn]
    claims = cards(study, made_of)
    return Part(
        plan=plan,
        counts=count_states(study.store.runs),
        hours=float(pd.to_numeric(study.store.runs["wall_s"]).sum()) / 3600,
        budget=tables.budget_sentence(study),
        notes=[note for note in tables.notes(study) if note != small_n_sentence(least)],
        few=least if least and small_n_sentence(least) else 0,
        cards=claims,
        figures=[image(study, figure, of, claims) for figure, of in zip(drawn, made_of, strict=True)],
        games=tables.game_rows(study),
        evaluated=bool(study.scored["eval_score"].notna().any()),
        comparisons={(item.task, item.arm): item for item in study.comparisons},
        published=published_rows(study),
        deviations=deviations(study),
        metrics=metrics,
        runs=report_runs.arm_runs(study, metrics, origins, settings.of_run),
        grouped=report_runs.is_grouped(study),
        settings=settings,
        lost=report_runs.lost_runs(study),
        times=report_runs.times(study),
        origins=origins,
    )


def origins_of(parts: list[Part]) -> dict[str, Origin]:
    """Every distinct origin once, numbered as it appears, by its key."""
    runs: dict[str, Counter[str]] = {}
    for one in parts:
        for key in one.origins.values():
            runs.setdefault(key, Counter())[one.plan.name] += 1
    return {
        key: Origin(i, anchor("origin", i), json.loads(key), dict(counts))
        for i, (key, counts) in enumerate(runs.items(), start=1)
    }


def versions_of(origins: dict[str, Origin]) -> dict[str, dict[str, list[Origin]]]:
    """Library -> version -> the origins that have it, sorted by library."""
    found: dict[str, dict[str, list[Origin]]] = {}
    for origin in origins.values():
        for library, version in (origin.fields.get("versions") or {}).items():
            found.setdefault(library, {}).setdefault(str(version), []).append(origin)
    return dict(sorted(found.items()))


def _minus(text: str) -> str:
    """A printed number with the signs of a book: a minus, and a dash for none."""
    return "–" if text == "-" else text.replace("-", "−")


def _code(text: str) -> Markup:
    """Words between backticks as code; everything escaped."""
    words = enumerate(text.split("`"))
    parts = [Markup("<code>{}</code>").format(word) if i % 2 else escape(word) for i, word in words]
    return Markup("").join(parts)


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Callable[..., str]] = {
        "number": lambda value, digits=4: _minus(number(value, digits)),
        "interval": lambda ends: _minus(interval_text(ends)),
        "percent": percent,
        "contrast": lambda names: contrast_text(names, "−"),
        "detectable": tables.detectable_text,
        "json": json.dumps,
        "value": as_text,
        "code": _code,
    }
    environment.filters |= filters
    environment.globals |= {"anchor": anchor, "METRICS": METRICS, "SYMBOLS": SYMBOLS, "UNSCORED": report_runs.UNSCORED}
    return environment


def _own(name: str) -> tuple[Markup, str]:
    """A stylesheet or script of ours and its hash for the page's policy: the browser then runs nothing else."""
    text = (TEMPLATES / name).read_text()
    return Markup(text), f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render(parts: list[Part], store: str) -> str:
    """The page. Args: store: the name that it shows. Equal stores give equal bytes."""
    verdicts = Counter(card.verdict.verdict for one in parts for card in one.cards)
    registrations = Counter(card.registration for one in parts for card in one.cards)
    papers = Counter(card.paper for one in parts for card in one.cards)
    figures = [figure.anchor for one in parts for figure in one.figures]
    lost = Counter(run["state"] for one in parts for run in one.lost)
    origins = origins_of(parts)
    (style, style_hash), (script, script_hash) = _own("style.css"), _own("script.js")
    return (
        _environment()
        .get_template("page.html")
        .render(
            parts=parts,
            store=store,
            started=min((one.times[0] for one in parts if one.times[0]), default=None),
            finished=max((one.times[1] for one in parts if one.times[1]), default=None),
            hours=sum(one.hours for one in parts),
            verdicts=[(name, verdicts[name]) for name in VERDICTS],
            papers=[(name, papers[name]) for name in (*PAPERS, *sorted(set(papers) - set(PAPERS))) if papers[name]],
            registrations=[(name, registrations[name]) for name in REGISTRATIONS if registrations[name]],
            unregistered=UNREGISTERED,
            lost={name: lost[name] for name in LOST if lost[name]},
            numbers={name: i for i, name in enumerate(figures, start=1)},
            origins=origins,
            versions=versions_of(origins),
            small_n=small_n_sentence(0),
            style=style,
            script=script,
            hashes=(style_hash, script_hash),
        )
    )


def write_page(parts: list[Part], root: Path, out: Path) -> Path:
    """Write report.html. Args: root: the store or packed results, whose name is shown; out: folder."""
    return write_atomically(out / "report.html", render(parts, root.resolve().name))
