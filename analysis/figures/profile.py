"""Performance profiles: the share of an arm's runs above a score, over all scores, tasks weighing the same.

Source: Agarwal et al. 2021, section 4.2 (score distributions); numbers from analysis.bootstrap.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis import bootstrap
from analysis.figures import Drawn, frames, style, summary
from analysis.figures.across import CSV, Across, across, tasks_text
from analysis.study import Study

POINTS = 201  # scores at which a profile is computed
TOLD = (0.25, 0.5, 0.75)  # of the span of scores: where the table tells the shares
BANDS = 5  # arms whose bands can be told apart


def thresholds(found: Across) -> np.ndarray:
    """Scores from the lowest run (or 0) to the highest, `[POINTS]`, evenly."""
    values = np.concatenate([matrix[np.isfinite(matrix)] for matrix in found.scores.values()])
    return np.linspace(min(0.0, float(values.min())), float(values.max()), POINTS)


def profile_data(found: Across) -> pd.DataFrame:
    """What is drawn, long: `kind` profile (share `value` of runs above `score`) or run. Without n >= 2 no band."""
    at, parts = thresholds(found), []
    for arm, matrix in found.scores.items():
        sizes = np.isfinite(matrix).sum(axis=0)
        if sizes.min() > 1:
            value, low, high = bootstrap.performance_profile(matrix, at)
        else:
            value = np.array([((matrix > score).sum(axis=0) / sizes).mean() for score in at])
            low = high = np.full(POINTS, np.nan)
        lines = {"score": at, "value": value, "low": low, "high": high, "n": int(sizes.min())}
        parts.append(pd.DataFrame(lines).assign(kind="profile", arm=arm, task="", seed=""))
    return pd.concat([*parts, found.runs_csv()], ignore_index=True)[[*CSV, "score"]]


def profile_table(study: Study, data: pd.DataFrame, found: Across) -> pd.DataFrame:
    """A row per arm and score: a quarter, half and three quarters of the way along the axis."""
    rows = []
    for arm in found.scores:
        lines = data[(data["kind"] == "profile") & (data["arm"] == arm)]
        for share in TOLD:
            at = lines.iloc[round(share * (POINTS - 1))]
            rows.append(
                {
                    "arm": study.plan.arms[arm].label,
                    "n per task": found.n(arm),
                    "score": at["score"],
                    "share of runs above": at["value"],
                    "95 % band": summary.interval(at["low"], at["high"]),
                }
            )
    return pd.DataFrame(rows)


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none below two arms on two tasks. Options: metric; optional: normalise, arms, stem."""
    found = across(study, options, least_tasks=2)
    if found is None:
        return []
    data, names = profile_data(found), list(study.plan.arms)
    figure = style.new_figure(4.6, 3.2)
    axes = figure.subplots()
    entries: dict[str, Any] = {}
    for arm in found.scores:
        lines, look = data[(data["kind"] == "profile") & (data["arm"] == arm)], style.look(arm, names)
        if len(found.scores) <= BANDS:
            axes.fill_between(lines["score"], lines["low"], lines["high"], color=look.color, alpha=0.13, linewidth=0)
        drawn: dict[str, Any] = {"color": look.color, "linestyle": look.line, "linewidth": 1.2, "markersize": 3.5}
        first = 10 + 4 * len(entries)
        axes.plot(lines["score"], lines["value"], marker=look.marker, markevery=(first, 45), **drawn)
        entries[f"{study.plan.arms[arm].label} (n = {found.n(arm)})"] = Line2D([], [], marker=look.marker, **drawn)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(float(data["score"].min()), float(data["score"].max()))
    axes.set_xlabel(f"score s: {frames.plain(found.unit)}")
    axes.set_ylabel("share of runs above s")
    style.below(figure, entries, 3)
    bands = (
        "Confidence bands: value +- t standard errors of the stratified bootstrap (whole runs drawn within each task), "
        "95 %, pointwise, cut to [0, 1] (none for n = 1)."
        if len(found.scores) <= BANDS
        else "Their 95 % confidence bands (stratified bootstrap), too many to draw, are in the data and the table."
    )
    caption = (
        f"Performance profile: share of runs whose {frames.plain(found.unit)} is above s, mean over "
        f"{tasks_text(found)}, scale {study.plan.scale}. {bands} {found.notes}"
    )
    stem, table = options.get("stem", f"profile_{options['metric']}"), profile_table(study, data, found)
    return [style.save(figure, study.folder / "figures", stem, caption, data, table)]
