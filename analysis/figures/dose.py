"""A metric against a number: of the configuration (1/eta, M, reuse), of the task (length of the sea), or measured.

One line per family of arms (or per value of another key), mean and 95 % interval over runs (seeds), the runs as small
dots. Where x is measured on each task, the tasks stand side by side in its order. Where x spans decades it is
logarithmic and its 0 (PPO: 1/eta = 0) is a line and band across the panel. An open mark is a mean from which planned
runs are missing; a cross at the foot is a point without any number.
"""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.figures import Drawn, frames, style
from analysis.figures.dose_points import dose_data, dose_table, in_order, is_log, side_by_side, task_number
from analysis.study import Study

MARKERS = ("s", "^", "D", "v", "P", "X", "h")  # of lines that are settings of one algorithm
ROUNDING = 1e-12  # of a measured x that is 0
LABEL = 0.08  # of the axis, that the number at a tick takes


def _looks(data: pd.DataFrame, study: Study, options: dict[str, Any]) -> dict[str, style.Look]:
    """Line -> look: shades in order where lines are values of a key, else that of its arms' algorithm.

    Of two lines of an algorithm the one with more arms has its look, the other that of its own first arm.
    """
    arms = {str(line): list(dict.fromkeys(part["arm"])) for line, part in data.groupby("line", sort=False)}
    found: dict[str, style.Look] = {}
    for i, (line, members) in enumerate(arms.items()):
        kin = style.family(members[0])
        if "line" in options:
            shade = style.shade(style.LOOKS[kin] if kin else style.SERIES[0], i, len(arms))
            found[line] = replace(shade, marker=MARKERS[i % len(MARKERS)])
            continue
        largest = max((name for name in arms if style.family(arms[name][0]) == kin), key=lambda name: len(arms[name]))
        own = style.look(members[0], list(study.plan.arms))
        found[line] = style.LOOKS[kin] if kin and line == largest else own
    return found


def _reference(axes: Axes, part: pd.DataFrame, look: style.Look) -> None:
    for row in part[part["kind"] == "mean"].to_dict("records"):
        axes.axhline(row["value"], color=look.color, linewidth=1.0, linestyle=(0, (5, 2)))
        if math.isfinite(row["low"]):
            axes.axhspan(row["low"], row["high"], color=look.color, alpha=0.10, linewidth=0)


def _line(axes: Axes, part: pd.DataFrame, look: style.Look, joined: bool) -> None:
    runs, means = part[part["kind"] == "run"], part[part["kind"] == "mean"].sort_values("x_drawn")
    axes.plot(runs["x_drawn"], runs["value"], ".", color=look.color, markersize=4.2, alpha=0.55, markeredgewidth=0)
    if joined:
        axes.plot(means["x_drawn"], means["value"], color=look.color, linewidth=1.0, linestyle=look.line)
    for row in means.to_dict("records"):
        ends = None if not math.isfinite(row["low"]) else [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        axes.errorbar(
            row["x_drawn"],
            row["value"],
            yerr=ends,
            fmt=look.marker,
            color=look.color,
            markersize=3.6,
            elinewidth=0.9,
            markerfacecolor=look.color if row["n"] == row["planned"] else "white",
        )
    gone = part[(part["kind"] == "none") & np.isfinite(part["x"])]
    axes.plot(gone["x_drawn"], [0.03] * len(gone), "x", color=look.color, transform=axes.get_xaxis_transform())


def _panel(axes: Axes, data: pd.DataFrame, looks: dict[str, style.Look], options: dict[str, Any], log: bool) -> None:
    for name, part in data.groupby("line", sort=False):
        look = looks[str(name)]
        zero = part["x"] == 0 if log else part["x"].isna() & False
        _reference(axes, part[zero], look)
        _line(axes, part[~zero], look, not side_by_side(options))
    ticks = sorted({float(x) for x in data["x"] if math.isfinite(x) and (x > 0 or not log)})
    if log:
        axes.set_xscale("log")
    gaps = [] if log else [right - left for left, right in itertools.pairwise(ticks)]
    room = not gaps or min(gaps) >= LABEL * (ticks[-1] - ticks[0])
    if side_by_side(options):
        tasks = in_order(data)
        names = [f"{task}\n{x:.2g}" if x > ROUNDING else f"{task}\n0" for task, x in tasks.items()]
        axes.set_xticks(range(len(tasks)), names)
        axes.grid(visible=False, axis="x")
    elif ticks and len(ticks) <= 8 and room:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    else:
        axes.xaxis.set_minor_formatter(NullFormatter())
    if options["metric"] in frames.SHARES:
        axes.set_ylim(-0.04, 1.04)


def _caption(study: Study, data: pd.DataFrame, options: dict[str, Any], rows: pd.DataFrame) -> str:
    metric = options["metric"]
    points = data[data["kind"] == "mean"]
    counts = sorted({int(n) for n in points["n"]})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "0"
    label = frames.plain(frames.axis_label(metric, options.get("normalise"), rows["task"]))
    words = [
        f"{label} against {frames.plain(options['x_label'])}, scale {study.plan.scale}. Points: mean over n = {n} "
        f"runs (one seed each) with the 95 % {frames.interval_kind(metric)}."
    ]
    if metric not in frames.SHARES:
        words.append("Small dots: single runs, side by side.")
    if is_log(data["x"], options) and (data["x"] == 0).any():
        words.append("Dashed line and band: the same for x = 0, which a logarithmic axis does not have.")
    words.append("Points of different lines at one x stand side by side.")
    if side_by_side(options):
        words.append(f"Tasks in the order of their x, under their names (0: below {ROUNDING:g}); no line joins them.")
    words.append(frames.lost_sentence(rows))
    if (points["n"] < points["planned"]).any() or (data["kind"] == "none").any():
        words.append("Open mark: planned runs are missing from the mean; cross at the foot: no run has a number.")
    if unknown := sorted(set(data.loc[data["x"].isna(), "arm"])):
        words.append(f"No run of {', '.join(unknown)} says where on the x axis it belongs.")
    return " ".join(words)


def _is_dose(data: pd.DataFrame, options: dict[str, Any]) -> bool:
    """Are there two values of x or more, or tasks to stand side by side? A single one is no dose."""
    points = data[data["kind"] == "mean"]
    return points["task" if side_by_side(options) else "x"].nunique() > 1


def _figure(panels: list[str], places: int, labels: tuple[str, str]) -> tuple[Figure, list[Axes]]:
    columns = style.columns(len(panels))
    rows = math.ceil(len(panels) / columns)
    one = (max(4.4, 1.0 * places + 0.8), 3.0)
    figure = style.new_figure(
        *style.fitted(*(one if len(panels) == 1 else (style.PANEL[0] * columns + 0.3, style.PANEL[1] * rows + 0.7)))
    )
    part = style.panels(figure)
    part.supxlabel(labels[0])
    part.supylabel(labels[1])
    cells = list(part.subplots(rows, columns, squeeze=False).flat)
    for axes in cells[len(panels) :]:
        axes.set_axis_off()
    return figure, cells[: len(panels)]


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none when the check has no such runs, or all of them stand at one x.

    Options: metric; x: {"key": configuration key} (a panel per task), {"task": True} (the number in the task's name)
    or {"metric": m, "arm": a} (measured on that arm; one panel); x_label; optional: normalise, arms, line (a
    configuration key whose values are the lines) with line_label, lines (name of a line -> its arms), linear (no
    logarithmic axis: for weights between 0 and 1), stem. Arms are names or patterns such as lam_*.
    """
    numbers = frames.numbers(study, options["metric"], options.get("normalise"), options.get("arms"))
    rows, absent = frames.measured(numbers)
    if "task" in options["x"] and (
        nameless := [task for task in dict.fromkeys(rows["task"]) if math.isnan(task_number(task))]
    ):
        rows, absent = (
            rows[~rows["task"].isin(nameless)],
            f"{absent} Not drawn, having no {options['x_label']}: {', '.join(nameless)}.",
        )
    if rows.empty:
        return []
    data = dose_data(study, rows, options)
    if not _is_dose(data, options):
        return []
    looks, log = _looks(data, study, options), is_log(data["x"], options)
    panels = list(dict.fromkeys(data["panel"]))
    places = len(in_order(data)) if side_by_side(options) else 0
    label = f"task, and its {options['x_label']}" if places else options["x_label"]
    unit = frames.axis_label(options["metric"], options.get("normalise"), rows["task"])
    figure, cells = _figure(panels, places, (label, unit))
    for axes, panel in zip(cells, panels, strict=True):
        _panel(axes, data[data["panel"] == panel], looks, options, log)
        axes.set_title(panel)
    zero = set(data.loc[data["x"] == 0, "line"]) if log else set()
    entries = {
        name: Line2D([], [], color=look.color, linewidth=1.1, linestyle=(0, (5, 2)))
        if name in zero
        else Line2D([], [], color=look.color, linewidth=1.1, linestyle=look.line, marker=look.marker, markersize=4)
        for name, look in looks.items()
    }
    style.below(figure, entries, 4)
    stem = options.get("stem", f"dose_{options['metric']}")
    caption, table = f"{_caption(study, data, options, rows)} {absent}".strip(), dose_table(data, options)
    return [style.save(figure, study.folder / "figures", stem, caption, data, table)]
