"""One run = one number per metric.

Rules (S = matched steps = the smallest number of planned steps among the runs of a task, in agent steps):

* `score`: mean raw return of the full games that finished in (0.9 S, S]. When none finished there: mean of
  all games finished up to S (`score_rule` says which). No finished game at all: no score; the run is counted
  as unscored.
* `auc`: the steps 0..S are cut into GRID equal bins (a, b]; a bin's value is the mean return of the games
  that finished in it, an empty bin keeps the last value, and bins before the run's first finished game have
  none (no extrapolation). The area is the mean over the bins from `auc_from` on: the first bin at which every
  scored run of the task, in any arm, has a value, so that all runs average over the same steps.
* `worst_drop`: largest fall of the curve in STABILITY_BINS bins below its running maximum, task-normalised, 0 or more.
* `collapsed`: 1 if the final score is below half of that curve's maximum, both task-normalised and counted from 0
  (random), else 0.

From metrics.csv, over the rows (policy versions; instances of proposition1) up to S; blank rows are not measured:

* `d_variance`, `pg_variance`: log10 of the mean of d_var, pg_var. A difference of 1 is a factor of 10. A mean of 0 has
  no logarithm: not measured.
* `d_variance_ratio`, `pg_variance_ratio`: mean of log10(full / 1-step), both measured on the same batch with the same
  parameters. `uae_variance_ratio`: mean of log10(UAE / GAE), likewise.
* `entropy`, `shift`, `exact_auc` (of exact_return), `coverage_mean` (of a running count): means. `coverage`,
  `exact_return`: last values. `first_shift`: first value.
* `bias`: mean log10 delta2. `bias_matched`: the same at matched return: mean over those tenths of a decade of the
  regret 1 - exact_return that every arm of the task and seed has rows in. `bias_rank`: Spearman's correlation of
  kl_exact with delta2.
* `bound_ratio`, `bound_ratio_stale`: log10 of the largest delta2 / (c D); `bound_ratio_median`: of the median.
* `fresh_bias_rank`: Spearman's correlation of kl with fresh_bias2. `fresh_bias_ratio`: mean fresh_bias2 over mean
  fresh_grad2, of either sign.

From the evaluations of the deterministic policy (column eval_return, raw return):

* `eval_score`: mean of the last fifth of a run's evaluations, of two at least.
* `eval_auc`: mean over training, linear between evaluations, over the steps between which every run of the task has
  them.
* `steps_to`: log10 of the share of the budget S at the first evaluation halfway up the task's range
  (`analysis.ranges`; on MuJoCo half of what the published PPO gains in 1M steps): no run of ours moves the threshold.
  A run that never reaches it counts as one that did at S, 0 (censored): claims are about the mean restricted to the
  budget, verdicts say how many runs were censored, and where no run of any side got there nothing is decided.
* `calibration`, `critic_loss`: means of critic_calibration and loss_critic over the second half of the rows.

* `advantage_variance`, `advantage_mse`, `gradient_error`: log10 of the row of lambda = 0.95, `gradient_bias2` its
  value; `gradient_error_best`: log10 of the smallest of all lambdas; `gradient_shift`: the largest of all.
* `heldout_residual`, `heldout_variance`: log10 of the last value; V^pi has 0.

Runs that play no games (the exact algorithms) do not count agent steps (`analysis.load.CLOCKS`); their S is the
smallest number planned among the task's runs of that kind.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import AGENT_STEPS, RunKey, Store, by_run, run_records
from analysis.ranges import NONE, task_range
from analysis.run_metrics import (
    Rows,
    collapsed,
    eval_area,
    eval_windows,
    matched_bias,
    steps_to,
    version_metrics,
    worst_drop,
)

WINDOW = 0.1
GRID = 100
STABILITY_BINS = 10  # as wide as the window of the score: finer ones hold single games, whose noise looks like falls

Curves = dict[RunKey, np.ndarray]  # binned score curve `[GRID]` by (arm, task, seed)


@dataclass(frozen=True)
class Metric:
    """A per-run number: how it is printed and its default normalisation (`analysis.ranges.unit_of`)."""

    label: str
    unit: str
    normalise: str
    ends: tuple[float, ...] = ()  # smallest and largest value that a lost run could have had, where they are known
    binary: bool = False  # 0 or 1
    censored: float | None = None  # the value of runs that did not get there within their budget


METRICS = {
    "score": Metric("final score", "raw score", "task"),
    "auc": Metric("area under the learning curve", "raw score", "task"),
    "worst_drop": Metric("largest fall of the learning curve", "task-normalised", "none", (0.0,)),
    "collapsed": Metric("ended below half of its own best", "share of runs", "none", (0.0, 1.0), binary=True),
    "d_variance": Metric("variance of the divergence estimate", "log10", "none"),
    "pg_variance": Metric("variance of the policy gradient", "log10", "none"),
    "d_variance_ratio": Metric("variance of D, full over 1-step, same batch", "log10", "none"),
    "uae_variance_ratio": Metric("variance of the policy gradient, UAE over GAE, same steps", "log10", "none"),
    "pg_variance_ratio": Metric("variance of the policy gradient, full over 1-step, same batch", "log10", "none"),
    "entropy": Metric("policy entropy", "nats", "none"),
    "coverage": Metric("distinct observations", "count", "none"),
    "coverage_mean": Metric("distinct observations, mean over the run", "count", "none"),
    "eval_score": Metric("final evaluation return", "raw return", "task"),
    "eval_auc": Metric("area under the evaluation curve", "raw return", "task"),
    "steps_to": Metric("steps to half of the task's range", "log10 of the budget", "none", (0.0,), censored=0.0),
    "calibration": Metric("miscalibration of the critic, second half", "0 perfect", "none", (0.0,)),
    "critic_loss": Metric("critic loss, second half", "loss", "none"),
    "exact_return": Metric("exact return of the last policy", "0 uniform, 1 optimal", "none", (0.0, 1.0)),
    "exact_auc": Metric("mean exact return", "0 uniform, 1 optimal", "none", (0.0, 1.0)),
    "shift": Metric("distance of the state distributions", "L1", "none", (0.0, 2.0)),
    "first_shift": Metric("distance of the state distributions, first version", "L1", "none", (0.0, 2.0)),
    "bias": Metric("squared bias of the gradient", "log10", "none"),
    "bias_matched": Metric("squared bias of the gradient at matched return", "log10", "none"),
    "bias_rank": Metric("rank correlation of KL with the squared bias", "Spearman", "none", (-1.0, 1.0)),
    "bound_ratio": Metric("largest squared bias over its bound", "log10", "none"),
    "bound_ratio_median": Metric("median squared bias over its bound", "log10", "none"),
    "bound_ratio_stale": Metric("largest squared bias over its bound, oldest data of the replay", "log10", "none"),
    "fresh_bias_rank": Metric("rank correlation of KL with the replay's squared bias", "Spearman", "none", (-1.0, 1.0)),
    "fresh_bias_ratio": Metric("replay's squared bias over the squared gradient", "share", "none"),
    "advantage_variance": Metric("variance of the advantage estimate", "log10", "none"),
    "advantage_mse": Metric("squared error of the advantage estimate", "log10", "none"),
    "gradient_bias2": Metric("squared bias of the gradient", "share of the squared gradient", "none", (0.0,)),
    "gradient_error": Metric("squared error of a batch's gradient", "log10", "none"),
    "gradient_error_best": Metric("squared error of a batch's gradient, best lambda", "log10", "none"),
    "gradient_shift": Metric("change of the gradient by another baseline", "share of the gradient", "none", (0.0,)),
    "heldout_residual": Metric("squared error of the baseline over V's, held-out states", "log10", "none"),
    "heldout_variance": Metric("variance of the gradient over that of V, held-out states", "log10", "none"),
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


def run_ends(runs: pd.DataFrame) -> list[int]:
    """S of every run: the least planned steps among the runs of its task that count the same."""
    return [int(least) for least in runs.groupby(["task", "clock"])["steps"].transform("min")]


def matched_steps(runs: pd.DataFrame) -> dict[str, int]:
    """Task -> S in agent steps; of a task without any run on the agent's clock, S of the runs that it has."""
    playing = runs[runs["clock"] == AGENT_STEPS]
    least = runs.groupby("task")["steps"].min().to_dict() | playing.groupby("task")["steps"].min().to_dict()
    return {str(task): int(end) for task, end in least.items()}


def run_curves(store: Store) -> Curves:
    """The binned score curve of every run that is done and finished a game by S."""
    ends, games = matched_steps(store.runs), by_run(store.episodes)
    curves = {}
    for key, _ in run_records(store.runs[store.runs["state"] == "done"]):
        part = games.get(key)
        if part is not None and (part["step"] <= ends[key[1]]).any():
            curves[key] = binned_curve(part["step"].to_numpy(float), part["return"].to_numpy(float), ends[key[1]])
    return curves


def task_ranges(store: Store) -> dict[str, tuple[float, float]]:
    """Task -> (raw score that counts as 0, as 1); NaN where it has none or nothing was run on it."""
    envs: dict[str, dict[str, Any]] = {}
    for (_, task, _), config in store.configs.items():
        envs.setdefault(task, config.get("env") or {})
    return {str(task): task_range(str(task), envs.get(str(task))) for task in store.runs["task"].unique()}


def _area_starts(curves: Curves) -> dict[str, int]:
    """Task -> first bin at which all its scored runs have a value."""
    starts: dict[str, int] = {}
    for (_, task, _), curve in curves.items():
        starts[task] = max(starts.get(task, 0), int(np.flatnonzero(~np.isnan(curve))[0]))
    return starts


def _from_games(
    games: pd.DataFrame | None, end: int, curve: np.ndarray | None, start: int, ends: tuple[float, float]
) -> dict[str, object]:
    """What a run's games say. Args: end: S; start: first bin of the area; ends: the task's range."""
    row: dict[str, object] = {"score_rule": "no finished game"}
    if games is None:
        return row
    steps, returns = games["step"].to_numpy(float), games["return"].to_numpy(float)
    score, row["score_rule"] = final_score(steps, returns, (1 - WINDOW) * end, end)
    row |= {"score": score, "games": int((steps <= end).sum())}
    if curve is not None:
        low, high = ends
        row["auc"], row["auc_from"] = float(curve[start:].mean()), start * end / GRID
        coarse = (binned_curve(steps, returns, end, STABILITY_BINS) - low) / (high - low)
        row["worst_drop"] = worst_drop(coarse)
        row["collapsed"] = collapsed((score - low) / (high - low), coarse)
    return row


def _from_versions(rows: Rows, end: int, window: tuple[float, float], ends: tuple[float, float]) -> dict[str, float]:
    """What a run's metrics say. Args: end: S; window: of the evaluations' area; ends: the task's range."""
    halfway = (ends[0] + ends[1]) / 2
    return version_metrics(rows) | {
        "eval_auc": eval_area(rows, *window),
        "steps_to": steps_to(rows, halfway, end),
    }


def _matched_biases(versions: dict[RunKey, Rows]) -> dict[RunKey, float]:
    """bias_matched of every run that has one."""
    groups: dict[tuple[str, int], dict[str, Rows]] = {}
    for (arm, task, seed), rows in versions.items():
        if "delta2" in rows and "exact_return" in rows:
            groups.setdefault((task, seed), {})[arm] = rows
    return {
        (arm, task, seed): value for (task, seed), arms in groups.items() for arm, value in matched_bias(arms).items()
    }


def score_runs(store: Store, curves: Curves) -> pd.DataFrame:
    """One row per planned run: `store.runs` plus a column per metric, NaN where a run has no such number.

    Further columns: `end` (S), `games` (finished up to S), `score_rule`, `auc_from` (agent steps), `range_low` and
    `range_high` (raw scores that count as 0 and as 1 on the task).
    Args: curves: as from `run_curves`.
    """
    games, tables, starts, ranges = (
        by_run(store.episodes),
        by_run(store.metrics),
        _area_starts(curves),
        task_ranges(store),
    )
    runs = list(zip(run_records(store.runs), run_ends(store.runs), strict=True))
    columns = [name for name in store.metrics.columns if name not in ("arm", "task", "seed")]
    versions: dict[RunKey, Rows] = {}
    for (key, run), end in runs:
        if run["state"] == "done" and key in tables:
            part = tables[key]
            part = part[part["step"] <= end]
            versions[key] = {name: part[name].to_numpy(float) for name in columns}
    biases, windows, rows = _matched_biases(versions), eval_windows(versions), []
    for (key, run), end in runs:
        row: dict[str, object] = dict.fromkeys(METRICS, math.nan)
        row |= {"end": end, "games": 0, "score_rule": "", "auc_from": math.nan}
        row["range_low"], row["range_high"] = ranges[key[1]]
        if run["state"] == "done":
            row |= _from_games(games.get(key), end, curves.get(key), starts.get(key[1], 0), ranges[key[1]])
            if key in versions:
                row |= _from_versions(versions[key], end, windows.get(key[1], NONE), ranges[key[1]])
            row["bias_matched"] = biases.get(key, math.nan)
        rows.append(row)
    return pd.concat([store.runs.reset_index(drop=True), pd.DataFrame(rows)], axis=1)
