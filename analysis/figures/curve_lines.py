"""What the learning curves draw: each run's line, medians and quartiles over runs, the paper's digitised curves."""

import math

import numpy as np
import pandas as pd

from analysis import reported
from analysis.figures import frames, style, summary
from analysis.load import by_run
from analysis.plan import Arm
from analysis.scores import GRID, matched_steps
from analysis.study import Study

BAND_FROM = 3  # runs: a quartile of fewer says nothing
CSV = ["task", "source", "arm", "label", "seed", "kind", "step", "frames", "score"]


def _paper(study: Study, arm: Arm, task: str, end: float) -> pd.DataFrame | None:
    """The reported curve cut at `end`, where it is interpolated."""
    if arm.reported is None or study.plan.reference is None:
        return None
    curve = reported.dapo_curve(task, arm.reported, study.plan.reference.steps_per_hour)
    if curve is None:
        return None
    columns = ("median", "q25", "q75")
    last = min(end, float(curve["step"].iloc[-1]))
    inside = curve[curve["step"] < last]
    final = {"step": last} | {name: reported.value_at(curve, last, name) for name in columns}
    return pd.concat([inside, pd.DataFrame([final])], ignore_index=True)


def _long(
    task: str, source: str, arm: Arm, seed: int | str, kind: str, steps: np.ndarray, values: np.ndarray
) -> pd.DataFrame:
    keep = np.isfinite(values)
    return pd.DataFrame(
        {
            "task": task,
            "source": source,
            "arm": arm.name,
            "label": arm.label,
            "seed": seed,
            "kind": kind,
            "step": steps[keep],
            "frames": steps[keep] * style.FRAMES_PER_STEP if reported.is_atari(task) else "",
            "score": values[keep],
        },
        columns=CSV,
    )


def run_lines(study: Study, task: str, values: str | None) -> tuple[np.ndarray, dict[tuple[str, int], np.ndarray]]:
    """Agent steps and, by arm and seed, each run's curve there, NaN where it has no value (no extrapolation).

    Args: values: None for the games of training, at the right edges of their bins, where they are known; else a column
    of metrics.csv, linear between a run's rows.
    """
    if values is None:
        steps = (np.arange(GRID) + 1) * float(matched_steps(study.store.runs)[task]) / GRID
        return steps, {(arm, seed): line for (arm, where, seed), line in sorted(study.curves.items()) if where == task}
    rows = frames.rows_with(study, task, values)
    steps = np.unique(rows["step"].to_numpy(float))
    runs = {(arm, seed): part for (arm, _, seed), part in sorted(by_run(rows).items())}
    return steps, {
        key: np.interp(steps, part["step"].to_numpy(float), part[values].to_numpy(float), math.nan, math.nan)
        for key, part in runs.items()
    }


def _quantiles(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Median and quartiles where every run has a value, else NaN: the same runs all along x."""
    whole = np.isfinite(matrix).all(axis=0)
    result = {}
    for kind, q in (("median", 0.5), ("q25", 0.25), ("q75", 0.75)):
        line = np.full(matrix.shape[1], math.nan)
        line[whole] = np.quantile(matrix[:, whole], q, axis=0)
        result[kind] = line
    return result


def curve_data(study: Study, task: str, arms: list[Arm], values: str | None = None) -> pd.DataFrame:
    """All that a task's figure shows, long: source (ours, paper), kind (run, median, q25, q75)."""
    end, (steps, lines) = float(matched_steps(study.store.runs)[task]), run_lines(study, task, values)
    parts = [pd.DataFrame(columns=CSV)]
    for arm in arms:
        runs = {seed: line for (name, seed), line in lines.items() if name == arm.name}
        parts += [_long(task, "ours", arm, seed, "run", steps, curve) for seed, curve in runs.items()]
        if runs:
            over = _quantiles(np.stack(list(runs.values())))
            kinds = ("median", "q25", "q75") if len(runs) >= BAND_FROM else ("median",)
            parts += [_long(task, "ours", arm, "", kind, steps, over[kind]) for kind in kinds]
        paper = _paper(study, arm, task, end) if values is None else None
        if paper is not None:
            parts += [
                _long(task, "paper", arm, "", kind, paper["step"].to_numpy(float), paper[kind].to_numpy(float))
                for kind in ("median", "q25", "q75")
            ]
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def curves_table(study: Study, data: pd.DataFrame, task: str, metric: str) -> pd.DataFrame:
    """A row per arm and source: the curve's end."""
    rows = []
    for (arm, source), part in data.groupby(["arm", "source"], sort=False):
        ends = {kind: lines.iloc[-1] for kind, lines in part.groupby("kind") if kind != "run"}
        if "median" not in ends:
            continue
        planned = study.scored[(study.scored["task"] == task) & (study.scored["arm"] == arm)]
        theirs = study.plan.reference.runs if study.plan.reference else 0
        low, high = (float(ends[kind]["score"]) if kind in ends else math.nan for kind in ("q25", "q75"))
        early = "q25" in ends and ends["q25"]["step"] < ends["median"]["step"]
        rows.append(
            {
                "arm": study.plan.arms[str(arm)].label,
                "source": source,
                "n": f"{planned[metric].notna().sum()} of {len(planned)}" if source == "ours" else str(theirs),
                "agent steps": int(ends["median"]["step"]),
                "median": float(ends["median"]["score"]),
                "quartiles": summary.interval(low, high) + (f" at {ends['q25']['step']:,.0f}" if early else ""),
            }
        )
    return pd.DataFrame(rows, columns=["arm", "source", "n", "agent steps", "median", "quartiles"])
