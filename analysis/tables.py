"""Verdicts and per-game numbers as data and text: verdicts.json, runs.csv, table.csv, table.md, terminal."""

import csv
import io
import json
import math
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import checks, reported
from analysis.load import KEY, count_states, run_records
from analysis.scores import METRICS, relative_score
from analysis.stats import small_n_sentence
from analysis.study import Study
from analysis.verdicts import Verdict, percent, unscientific
from bench.files import write_atomically

WIDTH = 100
VERDICT_COLUMNS = (
    ("claim", 24),
    ("verdict", 15),
    ("A - B [interval]", 28),
    ("n", 4),
    ("runs", 11),
    ("p Holm", 8),
)
TABLE_COLUMNS = (
    "task",
    "tag",
    "arm",
    "label",
    "planned",
    "done",
    "failed",
    "running",
    "missing",
    "unscored",
    "n_score",
    "at_step",
    "matched_mean",
    "n_matched",
    "score_mean",
    "score_median",
    "auc_mean",
    "relative_percent",
    "method",
    "paper_median",
    "paper_label",
    "difference",
    "interval_low",
    "interval_high",
    "reason",
)


def number(value: Any, digits: int = 4) -> str:
    """A number for reading; a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def interval_text(interval: list[float] | None) -> str:
    """[low, high] for reading; a dash for none."""
    return f"[{number(interval[0])}, {number(interval[1])}]" if interval else "-"


def budget_sentence(study: Study) -> str:
    """How much of the reported budget the runs cover."""
    fraction = study.plan.budget_fraction
    covers = f"{study.plan.steps:,} agent steps per run"
    if fraction is None or study.plan.reference is None:
        return f"{covers}; the check repeats no reported experiment."
    return f"{covers}: {percent(fraction)} of the {study.plan.reference.steps:,.0f} of a reported run."


def mixed_sources(study: Study) -> list[str]:
    """A sentence for every origin that the finished runs do not share: code, uncommitted changes, library versions."""
    done = {key for key, run in run_records(study.store.runs) if run["state"] == "done"}
    origins = [study.store.manifests[key] for key in done if key in study.store.manifests]
    named = {"commit": "commits", "dirty_sha256": "states of uncommitted changes", "versions": "sets of versions"}
    found = {name: {json.dumps(origin.get(name), sort_keys=True) for origin in origins} for name in named}
    return [
        f"The runs were made by {len(values)} different {named[name]}; see the end of the report."
        for name, values in found.items()
        if len(values) > 1
    ]


def notes(study: Study) -> list[str]:
    """Sentences that stand beside every verdict of the study."""
    least = min((verdict.n for verdict in study.verdicts if verdict.n), default=0)
    window = int((study.scored["score_rule"] == "all games").sum())
    sentences = [] if study.plan.scientific else [unscientific(study.plan)]
    if least > 1:
        sentences.append(small_n_sentence(least))
    sentences += mixed_sources(study)
    if window:
        sentences.append(
            f"{window} runs finished no game in the last tenth of their steps: their score is the mean "
            "of all their games."
        )
    if cut := int(study.scored["cut_games"].sum()):
        sentences.append(f"{cut} games were cut by a limit with lives left: no full games, not counted.")
    return [sentence for sentence in sentences if sentence]


def _clean(value: Any) -> Any:
    """NaN -> None, tuples -> lists, NumPy numbers -> Python's: what JSON can say."""
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def verdicts_data(study: Study) -> dict[str, Any]:
    """The content of verdicts.json: no time, no path, so that equal stores give equal bytes."""
    plan = study.plan
    content = {
        "check": plan.name,
        "scale": plan.scale,
        "question": plan.question,
        "source": plan.source,
        "steps": plan.steps,
        "reference_steps": plan.reference.steps if plan.reference else None,
        "budget_fraction": plan.budget_fraction,
        "runs": count_states(study.store.runs),
        "notes": notes(study),
        "claims": [asdict(verdict) for verdict in study.verdicts],
        "reported": [asdict(comparison) for comparison in study.comparisons],
    }
    cleaned: dict[str, Any] = _clean(content)
    return cleaned


def _relative(study: Study, task: str, means: dict[str, float], arm: str) -> float | None:
    """The paper's relative score of an arm over the check's baseline, percent."""
    baseline = checks.view(study.plan.name).baseline
    known = reported.human_random().get(task)
    if baseline is None or arm == baseline or known is None:
        return None
    a, b = means.get(arm, math.nan), means.get(baseline, math.nan)
    score = relative_score(a, b, *known) if not math.isnan(a + b) else None
    return None if score is None else 100 * score


def game_rows(study: Study) -> list[dict[str, Any]]:
    """One row per task and arm: our runs, and the paper's number at matched samples where there is one."""
    compared = {(item.task, item.arm): item for item in study.comparisons}
    rows = []
    for task, tag in study.plan.tasks.items():
        of_task = study.scored[study.scored["task"] == task]
        means = {str(arm): float(part["score"].mean()) for arm, part in of_task.groupby("arm")}
        for name, arm in study.plan.arms.items():
            runs = of_task[of_task["arm"] == name]
            if runs.empty:
                continue
            item = compared.get((task, name))
            low, high = item.interval if item and item.interval else (None, None)
            done = runs[runs["state"] == "done"]
            rows.append(
                _clean(
                    {
                        "task": task,
                        "tag": tag,
                        "arm": name,
                        "label": arm.label,
                        **count_states(runs),
                        "unscored": int(done["score"].isna().sum()),
                        "n_score": int(runs["score"].notna().sum()),
                        "at_step": item.at_step if item else int(runs["end"].iloc[0]),
                        "matched_mean": item.ours if item else None,
                        "n_matched": item.n_ours if item else None,
                        "score_mean": runs["score"].mean(),
                        "score_median": runs["score"].median(),
                        "auc_mean": runs["auc"].mean(),
                        "relative_percent": _relative(study, task, means, name),
                        "method": arm.reported,
                        "paper_median": item.theirs if item else None,
                        "paper_label": item.label if item else None,
                        "difference": item.difference if item else None,
                        "interval_low": low,
                        "interval_high": high,
                        "reason": item.reason if item else "No reported curve of this arm.",
                    }
                )
            )
    return rows


def _csv(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if row[name] is None else row[name] for name in columns} for row in rows)
    return text.getvalue()


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def table_markdown(study: Study) -> str:
    """The verdicts and the per-game table for a README."""
    verdicts = [
        [v.id, v.verdict, number(v.estimate), interval_text(v.interval), str(v.n), runs_text(v), v.reason]
        for v in study.verdicts
    ]
    games = [
        [
            row["task"],
            row["label"],
            number(row["score_mean"]),
            f"{row['n_score']}/{row['planned']}",
            number(row["matched_mean"]),
            number(row["paper_median"]),
            row["paper_label"] or "-",
            row["reason"],
        ]
        for row in game_rows(study)
    ]
    parts = [
        f"# {study.plan.name}, scale {study.plan.scale}",
        study.plan.question,
        budget_sentence(study),
        _markdown(["claim", "verdict", "A - B", "interval", "n", "runs", "reason"], verdicts),
        *notes(study),
        _markdown(
            [
                "task",
                "arm",
                "our score (last tenth)",
                "n",
                "ours in the paper's bin",
                "paper's median",
                "label",
                "reason",
            ],
            games,
        ),
    ]
    return "\n\n".join(parts) + "\n"


def runs_text(verdict: Verdict) -> str:
    """Used / planned runs, with what was lost: failed, missing, running, unscored by their first letter."""
    lost = {name: verdict.runs.get(name, 0) for name in ("failed", "missing", "running", "unscored")}
    marks = "".join(f" {count}{name[0]}" for name, count in lost.items() if count)
    return f"{verdict.runs.get('used', 0)}/{verdict.runs.get('planned', 0)}{marks}"


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
        lines.append(_row([v.id, v.verdict, estimate, str(v.n), runs_text(v), number(v.p_holm, 2)]))
        about = (
            f"{' - '.join(v.contrast)}, {METRICS[v.metric].label} ({v.unit}), {v.direction}, "
            f"margin {v.margin:g}. {v.reason} {v.power_note}"
        ).strip()
        lines += textwrap.wrap(about, WIDTH, initial_indent="    ", subsequent_indent="    ")
    labels = pd.Series([item.label for item in study.comparisons], dtype=str).value_counts().sort_index()
    if len(labels):
        lines += [
            "",
            "against the paper's curves: " + ", ".join(f"{count} {name}" for name, count in labels.items()),
        ]
    for note in notes(study):
        lines += ["", *textwrap.wrap(note, WIDTH)]
    return "\n".join(lines)


def write_tables(study: Study) -> list[Path]:
    """Write verdicts.json, table.csv, table.md and runs.csv (every run's numbers); returns their paths."""
    counted = ("state", "error", "step", "end", "games", "cut_games", "score_rule", "auc_from")
    runs = study.scored[[*KEY, *counted, *METRICS, "run_dir"]]
    content = {
        "verdicts.json": json.dumps(verdicts_data(study), indent=1, sort_keys=True, allow_nan=False) + "\n",
        "table.csv": _csv(game_rows(study), TABLE_COLUMNS),
        "table.md": table_markdown(study),
        "runs.csv": runs.to_csv(index=False, lineterminator="\n"),
    }
    return [write_atomically(study.folder / name, text) for name, text in content.items()]
