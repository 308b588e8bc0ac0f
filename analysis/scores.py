"""One run = one number per metric.

Rules (S = matched steps = the smallest number of planned steps among the runs of a task, in agent steps):

* `score`: mean raw return of the full games that finished in (0.9 S, S]. When none finished there: mean of
  all games finished up to S (`score_rule` says which). No finished game at all: no score; the run is counted
  as unscored.
* `auc`: the steps 0..S are cut into GRID equal bins (a, b]; a bin's value is the mean return of the games
  that finished in it, an empty bin keeps the last value, and bins before the run's first finished game have
  none (no extrapolation). The area is the mean over the bins from `auc_from` on: the first bin at which every
  scored run of the task, in any arm, has a value, so that all runs average over the same steps.
* `d_variance`, `pg_variance`: log10 of the mean over policy versions up to S of d_var, pg_var (blank rows are
  not measured). A difference of 1 is a factor of 10. A mean of 0 has no logarithm: not measured.
* `d_variance_ratio`, `pg_variance_ratio`: mean over policy versions up to S of log10(full / 1-step), both measured on
  the same batch with the same parameters.
* `entropy`: mean over policy versions up to S. `coverage`: last value up to S (a running count).
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import reported
from analysis.load import RunKey, Store, by_run, run_records

WINDOW = 0.1
GRID = 100

Curves = dict[RunKey, np.ndarray]  # binned score curve `[GRID]` by (arm, task, seed)


@dataclass(frozen=True)
class Metric:
    """A per-run number: how it is printed, its default normalisation, its column in metrics.csv if any."""

    label: str
    unit: str
    normalise: str
    column: str | None = None
    over: str | None = None  # column that it is divided by, row by row


METRICS = {
    "score": Metric("final score", "raw game score", "human"),
    "auc": Metric("area under the learning curve", "raw game score", "human"),
    "d_variance": Metric("variance of the divergence estimate", "log10", "none", "d_var"),
    "pg_variance": Metric("variance of the policy gradient", "log10", "none", "pg_var"),
    "d_variance_ratio": Metric(
        "variance of D, full over 1-step, same batch", "log10", "none", "d_var_full", "d_var_1step"
    ),
    "pg_variance_ratio": Metric(
        "variance of the policy gradient, full over 1-step, same batch", "log10", "none", "pg_var_full", "pg_var_1step"
    ),
    "entropy": Metric("policy entropy", "nats", "none", "entropy"),
    "coverage": Metric("distinct observations", "count", "none", "coverage"),
}


def final_score(steps: np.ndarray, returns: np.ndarray, start: float, end: float) -> tuple[float, str]:
    """Mean return of the games that finished in (start, end], else of all finished up to `end`, else NaN.

    Args: steps: `[G]` agent steps at which the games ended; returns: `[G]` raw. Returns the score and its
    rule.
    """
    inside = (steps > start) & (steps <= end)
    if inside.any():
        return float(returns[inside].mean()), "window"
    before = steps <= end
    return (float(returns[before].mean()), "all games") if before.any() else (math.nan, "no finished game")


def binned_curve(steps: np.ndarray, returns: np.ndarray, end: float, bins: int = GRID) -> np.ndarray:
    """Mean return per bin of agent steps, last value carried forward, NaN before the first finished game.

    Args: steps, returns: `[G]`; end: S; bin i is (i S / bins, (i + 1) S / bins]. Returns `[bins]`.
    """
    keep = steps <= end
    index = np.maximum(np.ceil(steps[keep] * bins / end).astype(int) - 1, 0)
    count = np.bincount(index, minlength=bins)
    total = np.bincount(index, weights=returns[keep], minlength=bins)
    curve = np.divide(total, count, out=np.full(bins, math.nan), where=count > 0)
    last = np.maximum.accumulate(np.where(count > 0, np.arange(bins), -1))
    return np.where(last >= 0, curve[np.maximum(last, 0)], math.nan)


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan


def _mean_log_ratio(rows: pd.DataFrame, above: str, below: str) -> float:
    """Mean of log10(above / below) over the rows that have both; NaN where none has, or where one is 0."""
    if above not in rows.columns or below not in rows.columns:
        return math.nan
    both = rows[[above, below]].dropna().to_numpy(float)
    return float(np.log10(both[:, 0] / both[:, 1]).mean()) if len(both) and (both > 0).all() else math.nan


def version_metrics(rows: pd.DataFrame, end: float) -> dict[str, float]:
    """The metrics that come from metrics.csv. Args: rows: of one run; end: S."""
    numbers: dict[str, float] = {}
    for name, metric in METRICS.items():
        if metric.column is None:
            continue
        if metric.over is not None:
            numbers[name] = _mean_log_ratio(rows[rows["step"] <= end], metric.column, metric.over)
            continue
        present = metric.column in rows.columns
        values = rows.loc[rows["step"] <= end, metric.column].dropna().to_numpy(float) if present else np.empty(0)
        if len(values) == 0:
            numbers[name] = math.nan
        elif metric.unit == "log10":
            numbers[name] = _log10(float(values.mean()))
        else:
            numbers[name] = float(values[-1] if name == "coverage" else values.mean())
    return numbers


def matched_steps(runs: pd.DataFrame) -> dict[str, int]:
    """Task -> S, the agent steps that every planned run of the task covers."""
    least = runs.groupby("task")["steps"].min()
    return {str(task): int(least[task]) for task in least.index}


def run_curves(store: Store) -> Curves:
    """The binned score curve of every run that is done and finished a game by S."""
    ends, games = matched_steps(store.runs), by_run(store.episodes)
    curves = {}
    for key, _ in run_records(store.runs[store.runs["state"] == "done"]):
        part = games.get(key)
        if part is not None and (part["step"] <= ends[key[1]]).any():
            curves[key] = binned_curve(part["step"].to_numpy(float), part["return"].to_numpy(float), ends[key[1]])
    return curves


def _area_starts(curves: Curves) -> dict[str, int]:
    """Task -> first bin at which all its scored runs have a value."""
    starts: dict[str, int] = {}
    for (_, task, _), curve in curves.items():
        starts[task] = max(starts.get(task, 0), int(np.flatnonzero(~np.isnan(curve))[0]))
    return starts


def score_runs(store: Store, curves: Curves) -> pd.DataFrame:
    """One row per planned run: `store.runs` plus a column per metric, NaN where a run has no such number.

    Further columns: `end` (S), `games` (finished up to S), `score_rule`, `auc_from` (agent steps).
    Args: curves: as from `run_curves`.
    """
    ends, games, versions = matched_steps(store.runs), by_run(store.episodes), by_run(store.metrics)
    starts = _area_starts(curves)
    rows = []
    for key, run in run_records(store.runs):
        end = ends[key[1]]
        row: dict[str, object] = dict.fromkeys(METRICS, math.nan)
        row |= {"end": end, "games": 0, "score_rule": "", "auc_from": math.nan}
        if run["state"] == "done":
            part = games.get(key)
            if part is None:
                row["score_rule"] = "no finished game"
            else:
                steps, returns = part["step"].to_numpy(float), part["return"].to_numpy(float)
                row["score"], row["score_rule"] = final_score(steps, returns, (1 - WINDOW) * end, end)
                row["games"] = int((steps <= end).sum())
            if key in curves:
                row["auc"] = float(curves[key][starts[key[1]] :].mean())
                row["auc_from"] = starts[key[1]] * end / GRID
            if key in versions:
                row |= version_metrics(versions[key], end)
        rows.append(row)
    return pd.concat([store.runs.reset_index(drop=True), pd.DataFrame(rows)], axis=1)


def human_normalised(value: np.ndarray, game: str) -> np.ndarray | None:
    """(value - random) / (human - random); None for a game without a human score."""
    if game not in reported.human_random():
        return None
    human, random = reported.human_random()[game]
    return (value - random) / (human - random)


def relative_score(proposed: float, baseline: float, human: float | None, random: float) -> float | None:
    """The DAPO paper's relative score: (proposed - baseline) / (max(human, baseline) - random).

    Source: Wang et al. 2019, Figure 1; the authors' tools/atari.R. Without a human score the denominator uses
    the baseline alone, as the paper does. None when the denominator is not positive (their VideoPinball).
    Args: raw scores; random: the baseline's first bin in the paper, the random agent's score where it is
    known.
    """
    scale = max(human, baseline) - random if human is not None else baseline - random
    return (proposed - baseline) / scale if scale > 0 else None
