"""The verdicts of a study as text for a terminal."""

import textwrap

import pandas as pd

from analysis.load import count_states
from analysis.scores import METRICS
from analysis.study import Study
from analysis.tables import budget_sentence, detectable_text, notes, runs_text
from analysis.words import contrast_text, interval_text, number

WIDTH = 100
VERDICT_COLUMNS = (
    ("claim", 24),
    ("verdict", 15),
    ("A - B [interval]", 28),
    ("n", 4),
    ("runs", 11),
    ("p Holm", 8),
)


def _row(cells: list[str]) -> str:
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, (_, width) in zip(cells, VERDICT_COLUMNS, strict=True)]
    height = max(map(len, wrapped))
    lines = [[column[i] if i < len(column) else "" for column in wrapped] for i in range(height)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, (_, width) in zip(line, VERDICT_COLUMNS, strict=True)).rstrip()
        for line in lines
    )


def verdict_text(study: Study) -> str:
    """The verdict table for a terminal, at most WIDTH columns."""
    counts = count_states(study.store.runs)
    lines = [
        f"{study.plan.name}, scale {study.plan.scale}",
        *textwrap.wrap(study.plan.question, WIDTH),
        *textwrap.wrap(budget_sentence(study), WIDTH),
        "runs: " + ", ".join(f"{count} {state}" for state, count in counts.items()),
        "",
        _row([name for name, _ in VERDICT_COLUMNS]),
        "-" * WIDTH,
    ]
    for v in study.verdicts:
        estimate = number(v.estimate) + (f" {interval_text(v.interval)}" if v.interval else "")
        if len(v.id) > VERDICT_COLUMNS[0][1]:
            lines.append(v.id)
        name = v.id if len(v.id) <= VERDICT_COLUMNS[0][1] else ""
        lines.append(_row([name, v.verdict, estimate, str(v.n), runs_text(v), number(v.p_holm, 2)]))
        about = (
            f"{contrast_text(v.contrast)}, {METRICS[v.metric].label} ({v.unit}), {v.direction}, "
            f"margin {v.margin:g}. {v.reason} {detectable_text(v)} {v.power_note}"
        )
        lines += textwrap.wrap(" ".join(about.split()), WIDTH, initial_indent="    ", subsequent_indent="    ")
    labels = pd.Series([item.label for item in study.comparisons], dtype=str).value_counts().sort_index()
    if len(labels):
        lines += [
            "",
            "against the paper's curves: " + ", ".join(f"{count} {name}" for name, count in labels.items()),
        ]
    for note in notes(study):
        lines += ["", *textwrap.wrap(note, WIDTH)]
    return "\n".join(lines)
