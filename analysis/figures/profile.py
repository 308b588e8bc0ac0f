"""Performance profiles: the share of an arm's runs above a score, over all scores, tasks weighing the same.

Source: Agarwal et al. 2021, section 4.2 (score distributions); numbers from analysis.bootstrap.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import bootstrap, checks
from analysis.figures import Drawn, frames, style, summary
from analysis.figures.across import CSV, Across, across, tasks_text
from analysis.study import Study

POINTS = 201  # scores at which a profile is computed
TOLD = (0.25, 0.5, 0.75)  # of the span of scores: where the table tells the shares
BANDS = 5  # arms that can be told apart in a panel


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


def groups(arms: list[str], baseline: str | None) -> list[list[str]]:
    """The arms of every panel, at most BANDS; where there are several panels the baseline is in each."""
    if len(arms) <= BANDS:
        return [arms]
    first = [arm for arm in arms if arm == baseline]
    others = [arm for arm in arms if arm != baseline]
    count = math.ceil(len(others) / (BANDS - len(first)))
    size = math.ceil(len(others) / count)
    return [first + others[i : i + size] for i in range(0, len(others), size)]


def _panel(axes: Axes, data: pd.DataFrame, arms: list[str], names: list[str]) -> None:
    for i, arm in enumerate(arms):
        lines, look = data[(data["kind"] == "profile") & (data["arm"] == arm)], style.look(arm, names)
        axes.fill_between(lines["score"], lines["low"], lines["high"], color=look.color, alpha=0.13, linewidth=0)
        drawn: dict[str, Any] = {"color": look.color, "linestyle": look.line, "linewidth": 1.2, "markersize": 3.5}
        axes.plot(lines["score"], lines["value"], marker=look.marker, markevery=(10 + 8 * i, 45), **drawn)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(float(data["score"].min()), float(data["score"].max()))


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none below two arms on two tasks. Options: metric; optional: normalise, arms, stem."""
    found = across(study, options, least_tasks=2)
    if found is None:
        return []
    data, names = profile_data(found), list(study.plan.arms)
    baseline = checks.view(study.plan.name).baseline
    together = groups(list(found.scores), baseline)
    columns = min(len(together), 3)
    lines = math.ceil(len(together) / columns)
    size = (4.6, 3.2) if len(together) == 1 else (style.PANEL[0] * columns + 0.4, 1.9 * lines + 0.9)
    figure = style.new_figure(*style.fitted(*size))
    part = style.panels(figure)
    for i, axes in enumerate(part.subplots(lines, columns, squeeze=False).flat):
        if i >= len(together):
            axes.set_axis_off()
            continue
        _panel(axes, data, together[i], names)
        axes.tick_params(labelleft=i % columns == 0)
    part.supxlabel(f"score s: {frames.plain(found.unit)}")
    part.supylabel("share of runs above s")
    entries = {}
    for arm in found.scores:
        look = style.look(arm, names)
        entries[f"{study.plan.arms[arm].label} (n = {found.n(arm)})"] = Line2D(
            [], [], color=look.color, linestyle=look.line, linewidth=1.2, marker=look.marker, markersize=3.5
        )
    style.below(figure, entries, 3)
    shared = f"; {study.plan.arms[baseline].label} is in each" if baseline in found.scores else ""
    spread = f" At most {BANDS} arms per panel{shared}." if len(together) > 1 else ""
    caption = (
        f"Performance profile: share of runs whose {frames.plain(found.unit)} is above s, mean over "
        f"{tasks_text(found)}, scale {study.plan.scale}. Confidence bands: value +- t standard errors of the "
        "stratified bootstrap (whole runs drawn within each task), 95 %, pointwise, cut to [0, 1] (none for n = 1)."
        f"{spread} {found.notes}"
    )
    stem, table = options.get("stem", f"profile_{options['metric']}"), profile_table(study, data, found)
    return [style.save(figure, study.folder / "figures", stem, caption, data, table)]
