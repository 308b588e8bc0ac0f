"""Arms side by side, one panel per task: mean with its 95 % interval, and every run as a dot.

Arms stand below each other, so that their names are read where they are drawn. A bar from 0 only where 0 means
something (not for logarithms). An arm of which planned runs are missing says how many it has.
"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import Drawn, frames, style, summary
from analysis.scores import METRICS
from analysis.study import Study

CSV = ["task", "arm", "label", "kind", "seed", "y", "value", "low", "high", "n", "planned"]
ROUNDING = 1e-12  # of a number that is 0
SPREAD = 0.22  # of the space between two arms, over which the runs' dots are laid


def bars_data(study: Study, rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """What is drawn, long: `kind` run or mean; y counts arms from the top, dots are laid out by seed.

    Args: rows: as from `frames.numbers`.
    """
    arms = [arm for arm in study.plan.arms if arm in set(rows["arm"])]
    out: list[dict[str, Any]] = []
    for task in study.plan.tasks:
        for i, arm in enumerate(arms):
            part = rows[(rows["task"] == task) & (rows["arm"] == arm)].sort_values("seed")
            if part.empty:
                continue
            base = {"task": task, "arm": arm, "label": study.plan.arms[arm].label}
            out.append(
                base | {"kind": "mean", "seed": "", "y": i} | asdict(frames.mean(part["value"].to_numpy(float), metric))
            )
            if metric in frames.SHARES:
                continue
            offsets = np.linspace(-SPREAD, SPREAD, len(part)) if len(part) > 1 else np.zeros(1)
            for offset, run in zip(offsets, part.to_dict("records"), strict=True):
                if math.isfinite(run["value"]):
                    place = {"kind": "run", "seed": int(run["seed"]), "y": round(i + float(offset), 4)}
                    out.append(base | place | {"value": float(run["value"])})
    return pd.DataFrame(out, columns=CSV)


def _arm(axes: Axes, row: dict[Any, Any], runs: pd.DataFrame, look: style.Look, bar: bool) -> None:
    y, value = row["y"], row["value"]
    if row["n"] < row["planned"]:
        text = f"n = {row['n']:.0f} of {row['planned']:.0f}"
        axes.annotate(
            text,
            (0.0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=6,
        )
    axes.plot(runs["value"], runs["y"], ".", color=look.color, markersize=3, alpha=0.4, markeredgewidth=0)
    if not row["n"]:
        return
    if bar:
        axes.barh(y, value, height=0.62, color=look.color, alpha=0.22, linewidth=0)
    ends = None if not math.isfinite(row["low"]) else [[value - row["low"]], [row["high"] - value]]
    axes.errorbar(
        value,
        y,
        xerr=ends,
        fmt=look.marker,
        color=look.color,
        markersize=5,
        elinewidth=1.2,
        capsize=2,
    )


def _in_words(axes: Axes, data: pd.DataFrame, metric: str) -> None:
    """Where every run was censored, or has 0, there is nothing to see but that."""
    values = data["value"].dropna()
    late = (values == METRICS[metric].censored).all()
    if late or values.abs().max() < ROUNDING:
        axes.clear()
        words = "no run got there\nwithin its budget" if late else "all 0 but\nfor rounding"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=style.PAPER)
        axes.set_xticks([])


def bars_table(data: pd.DataFrame) -> pd.DataFrame:
    """A row per bar."""
    return summary.of_means(data, {"task": "task", "arm": "label"}, "mean")


def _caption(study: Study, rows: pd.DataFrame, options: dict[str, Any], absent: str) -> str:
    metric = options["metric"]
    counts = rows.groupby(["task", "arm"])["value"].size()
    planned = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    label = frames.plain(frames.axis_label(metric, options.get("normalise"), rows["task"]))
    words = [
        f"{label} by task and arm, scale {study.plan.scale}. Large marks: mean over n = {planned} planned runs (one "
        f"seed each) with the 95 % {frames.interval_kind(metric)}."
    ]
    if metric not in frames.SHARES:
        words.append("Dots: single runs.")
    if METRICS[metric].censored is not None:
        late, known = int((rows["value"] == METRICS[metric].censored).sum()), int(rows["value"].notna().sum())
        words.append(f"{late} of {known} runs did not get there within their budget and count as if at its end, 0.")
    if len(counts) < rows["task"].nunique() * rows["arm"].nunique():
        words.append("Empty rows: the arm is not planned on this task.")
    words += [frames.lost_sentence(rows), absent]
    return " ".join(words).strip()


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none without planned runs of these arms. Options: metric; optional: normalise, arms, line (a value
    to mark), stem.
    """
    metric = options["metric"]
    rows, absent = frames.measured(frames.numbers(study, metric, options.get("normalise"), options.get("arms")))
    if rows.empty:
        return []
    data = bars_data(study, rows, metric)
    tasks, names = list(dict.fromkeys(data["task"])), list(study.plan.arms)
    means = data[data["kind"] == "mean"]
    arms = means.drop_duplicates("arm").sort_values("y")
    columns = style.columns(len(tasks))
    lines = math.ceil(len(tasks) / columns)
    figure = style.new_figure(*style.fitted(2.0 * columns + 1.2, (0.22 * len(arms) + 0.45) * lines + 0.5))
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for i, axes in enumerate(grid):
        if i >= len(tasks):
            axes.set_axis_off()
            continue
        here = data[data["task"] == tasks[i]]
        for row in here[here["kind"] == "mean"].to_dict("records"):
            runs = here[(here["kind"] == "run") & (here["arm"] == row["arm"])]
            bar = METRICS[metric].unit != "log10"
            _arm(axes, row, runs, style.full_ink(row["arm"], names), bar)
        if "line" in options:
            axes.axvline(options["line"], color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        _in_words(axes, here, metric)
        axes.set_title(tasks[i])
        axes.grid(visible=False, axis="y")
        axes.set_ylim(max(arms["y"]) + 0.6, -0.6)
        axes.set_yticks(list(arms["y"]), list(arms["label"]) if i % columns == 0 else [""] * len(arms))
        axes.tick_params(axis="y", length=0)
        if metric in frames.SHARES:
            axes.set_xlim(0, 1.02)
    figure.supxlabel(frames.axis_label(metric, options.get("normalise"), tasks))
    stem, caption = options.get("stem", f"bars_{metric}"), _caption(study, rows, options, absent)
    return [style.save(figure, study.folder / "figures", stem, caption, data, bars_table(data))]
