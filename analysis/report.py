"""One self-contained report.html per check, figures inlined, and index.html with the claims of all of them.

No network, readable on a phone and on paper.
"""

import base64
import json
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import jinja2

from analysis import checks, tables
from analysis.figures import Drawn
from analysis.load import AGENT_STEPS, count_states
from analysis.measure import VERDICTS
from analysis.published import published_rows
from analysis.scores import METRICS
from analysis.stats import small_n_sentence
from analysis.study import Study
from analysis.words import contrast_text, interval_text, number, percent
from bench.files import write_atomically

# Fields of a manifest that differ in every run, or that the run table already shows.
PRIVATE = ("hash", "configuration", "command", "started", "finished", "host")


def _provenance(study: Study) -> list[tuple[str, list[str]]]:
    """Manifest fields with their distinct values and, where there are several, how many runs have each."""
    seen: dict[str, Counter[str]] = {}
    for manifest in study.store.manifests.values():
        for name, value in manifest.items():
            if name not in PRIVATE:
                value = len(value) if name == "attempts" and isinstance(value, list) else value
                parts = value.items() if isinstance(value, dict) else [(None, value)]
                for key, item in parts:
                    if key in PRIVATE:
                        continue
                    label = f"{name}: {key}" if key is not None else name
                    text = item if isinstance(item, str) else json.dumps(item, sort_keys=True)
                    seen.setdefault(label, Counter())[text] += 1
    return [
        (label, [value if len(counts) == 1 else f"{value} ({count} runs)" for value, count in counts.items()])
        for label, counts in sorted(seen.items())
    ]


def _image(drawn: Drawn) -> dict[str, str]:
    """An <img> with its own document keeps the identifiers of several SVGs apart."""
    data = base64.b64encode(drawn.paths["svg"].read_bytes()).decode()
    return {"stem": drawn.stem, "caption": drawn.caption, "uri": f"data:image/svg+xml;base64,{data}"}


def _lost(study: Study) -> list[dict[Hashable, Any]]:
    """Runs that are not done, or play games and have no score, with the reason."""
    runs = study.scored
    lost = runs[(runs["state"] != "done") | (runs["score"].isna() & (runs["clock"] == AGENT_STEPS))]
    return [
        run
        | {
            "state": run["state"] if run["state"] != "done" else "done, without a score",
            "error": run["error"] or run["score_rule"],
        }
        for run in lost.to_dict("records")
    ]


def _run_rows(study: Study, metrics: tuple[str, ...]) -> list[dict[Hashable, Any]]:
    return [run | {"values": [number(run[name]) for name in metrics]} for run in study.scored.to_dict("records")]


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "interval": interval_text, "percent": percent}
    environment.filters |= {"contrast": lambda names: contrast_text(names, "−"), "detectable": tables.detectable_text}
    return environment


def write_index(studies: list[Study]) -> Path:
    """Write index.html beside the reports' folders: every claim of these studies, with links to the reports.

    Args: studies: one or more, written to one place.
    """
    verdicts = Counter(verdict.verdict for study in studies for verdict in study.verdicts)
    html = (
        _environment()
        .get_template("index.html")
        .render(
            studies=studies,
            counts=[(name, verdicts[name]) for name in VERDICTS if verdicts[name]],
            states={study.folder.name: count_states(study.store.runs) for study in studies},
            metrics=METRICS,
        )
    )
    return write_atomically(studies[0].folder.parent / "index.html", html)


def write_report(study: Study, drawn: list[Drawn]) -> Path:
    """Write report.html beside the verdicts. Args: drawn: figures to inline."""
    metrics = checks.view(study.plan.name).metrics
    html = (
        _environment()
        .get_template("report.html")
        .render(
            plan=study.plan,
            counts=count_states(study.store.runs),
            budget=tables.budget_sentence(study),
            notes=tables.notes(study),
            verdicts=study.verdicts,
            metrics=METRICS,
            games=tables.game_rows(study),
            evaluated=bool(study.scored["eval_score"].notna().any()),
            published=published_rows(study),
            comparisons={(item.task, item.arm): item for item in study.comparisons},
            figures=[_image(d) for d in drawn],
            lost=_lost(study),
            provenance=_provenance(study),
            columns=metrics,
            runs=_run_rows(study, metrics),
            small_n=small_n_sentence(0),
        )
    )
    return write_atomically(study.folder / "report.html", html)
