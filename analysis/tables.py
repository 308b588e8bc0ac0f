"""Verdicts and per-game numbers as data and text: verdicts.json, runs.csv, table.csv, table.md, terminal."""

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis import checks, reported
from analysis.load import AGENT_STEPS, KEY, count_states, run_records
from analysis.measure import Verdict
from analysis.plan import Plan
from analysis.published import COLUMNS as PUBLISHED_COLUMNS
from analysis.published import published_rows
from analysis.ranges import relative_score
from analysis.scores import METRICS
from analysis.stats import small_n_sentence
from analysis.study import Study
from analysis.words import interval_text, markdown, number, percent, unscientific
from bench.files import write_atomically

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
    "eval_mean",
    "relative_percent",
    "method",
    "paper_median",
    "paper_label",
    "difference",
    "interval_low",
    "interval_high",
    "reason",
)


def budget_sentence(study: Study) -> str:
    """How long the runs are, and how much of the reported budget they cover."""
    plan, spent = study.plan, []
    for clock, runs in study.store.runs.groupby("clock"):
        least, most = int(runs["steps"].min()), int(runs["steps"].max())
        spent.append(f"{least:,} {clock} per run" if least == most else f"{least:,} to {most:,} {clock} per run")
    covers = "; ".join(spent)
    fraction = reported_fraction(plan)
    if fraction is None or plan.reference is None:
        return f"{covers}; no reported run to measure them by."
    return f"{covers}: {percent(fraction)} of the {plan.reference.steps:,.0f} of a reported run."


def reported_fraction(plan: Plan) -> float | None:
    """Least planned steps on the plan's Atari games over those of a reported run; None where there are none."""
    return plan.budget_fraction(plan.arms, [name for name, task in plan.tasks.items() if task.env == "atari"])


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
        "steps": list(plan.steps() or ()),
        "reference_steps": plan.reference.steps if plan.reference else None,
        "budget_fraction": reported_fraction(plan),
        "runs": count_states(study.store.runs),
        "notes": notes(study),
        "claims": [asdict(verdict) for verdict in study.verdicts],
        "reported": [asdict(comparison) for comparison in study.comparisons],
    }
    cleaned: dict[str, Any] = _clean(content)
    return cleaned


def _relative(study: Study, task: str, means: dict[str, float], arm: str) -> float | None:
    """The paper's relative score of an arm over the check's baseline, percent."""
    baseline = checks.view(study.plan.name).baseline if study.plan.name in checks.names() else None
    known = reported.human_random().get(task)
    if baseline is None or arm == baseline or known is None:
        return None
    a, b = means.get(arm, math.nan), means.get(baseline, math.nan)
    score = relative_score(a, b, *known) if not math.isnan(a + b) else None
    return None if score is None else 100 * score


def game_rows(study: Study) -> list[dict[str, Any]]:
    """One row per task and arm that plays games: our runs, and the paper's number at matched samples, if it has one."""
    compared = {(item.task, item.arm): item for item in study.comparisons}
    rows = []
    for task, tag in study.plan.tasks.items():
        of_task = study.scored[study.scored["task"] == task]
        means = {str(arm): float(part["score"].mean()) for arm, part in of_task.groupby("arm")}
        for name, arm in study.plan.arms.items():
            runs = of_task[(of_task["arm"] == name) & (of_task["clock"] == AGENT_STEPS)]
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
                        "eval_mean": runs["eval_score"].mean(),
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


def table_markdown(study: Study) -> str:
    """The verdicts and the per-game table for a README."""
    verdicts = [
        [
            v.id,
            v.verdict,
            number(v.estimate),
            interval_text(v.interval),
            number(v.detectable, 3),
            str(v.n),
            runs_text(v),
            v.reason,
        ]
        for v in study.verdicts
    ]
    evaluated = bool(study.scored["eval_score"].notna().any())
    header = ["task", "arm", "our score (last tenth)", "n", *(["our evaluations (last fifth)"] if evaluated else [])]
    theirs = ["ours in the paper's bin", "paper's median", "label", "reason"] if study.comparisons else []
    games = []
    for row in game_rows(study):
        ours = [row["task"], row["label"], number(row["score_mean"]), f"{row['n_score']}/{row['planned']}"]
        ours += [number(row["eval_mean"])] if evaluated else []
        paper = [number(row["matched_mean"]), number(row["paper_median"]), row["paper_label"] or "-", row["reason"]]
        games.append(ours + paper[: len(theirs)])
    parts = [
        f"# {study.plan.name}, scale {study.plan.scale}",
        study.plan.question,
        budget_sentence(study),
        markdown(["claim", "verdict", "estimate", "interval", "80 % power from", "n", "runs", "reason"], verdicts),
        *notes(study),
        *([markdown(header + theirs, games)] if games else []),
        *published_markdown(study),
    ]
    return "\n\n".join(parts) + "\n"


def published_markdown(study: Study) -> list[str]:
    """Our evaluations beside published returns, where the check shows any."""
    rows = [
        [number(row[name]) if isinstance(row[name], float) else str(row[name] or "") for name in PUBLISHED_COLUMNS]
        for row in published_rows(study)
    ]
    header = [name.replace("_", " ") for name in PUBLISHED_COLUMNS]
    return ["Published returns, for context; no verdict rests on them.", markdown(header, rows)] if rows else []


def runs_text(verdict: Verdict) -> str:
    """Used / planned runs, with what was lost: failed, missing, running, unscored by their first letter."""
    lost = {name: verdict.runs.get(name, 0) for name in ("failed", "missing", "running", "unscored")}
    marks = "".join(f" {count}{name[0]}" for name, count in lost.items() if count)
    return f"{verdict.runs.get('used', 0)}/{verdict.runs.get('planned', 0)}{marks}"


def detectable_text(verdict: Verdict) -> str:
    """The difference that the seeds can find, and whether the margin is one; empty without a spread."""
    if verdict.detectable is None:
        return ""
    enough = {True: ", enough for the margin", False: ", too few for the margin", None: ""}[verdict.powered]
    return f"{verdict.n} seeds find a difference of {number(verdict.detectable, 3)} with 80 % power{enough}."


def verdicts_json(study: Study) -> str:
    """verdicts.json."""
    return json.dumps(verdicts_data(study), indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_tables(study: Study) -> list[Path]:
    """Write verdicts.json, table.csv, table.md and runs.csv (every run's numbers), and published.csv where the check
    shows published returns; returns their paths.
    """
    counted = ("state", "error", "step", "end", "games", "cut_games", "score_rule", "auc_from")
    runs = study.scored[[*KEY, *counted, *METRICS, "run_dir"]]
    content = {
        "verdicts.json": verdicts_json(study),
        "table.csv": _csv(game_rows(study), TABLE_COLUMNS),
        "table.md": table_markdown(study),
        "runs.csv": runs.to_csv(index=False, lineterminator="\n"),
    }
    if rows := published_rows(study):
        content["published.csv"] = _csv(rows, PUBLISHED_COLUMNS)
    return [write_atomically(study.folder / name, text) for name, text in content.items()]
