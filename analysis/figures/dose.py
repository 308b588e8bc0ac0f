"""A metric against a number: of the configuration (1/eta, M, reuse), of the task (length of the sea), or measured.

One line per family of arms (or per value of another key), mean and 95 % interval over runs (seeds), the runs as small
dots. Where x is measured on each task, the tasks stand side by side in its order. Where x spans decades it is
logarithmic and its 0 (PPO: 1/eta = 0) is a line and band across the panel. An open mark is a mean from which planned
runs are missing; a cross at the foot is a point without any number.
"""

import itertools
import math
import re
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.figures import Drawn, frames, style, summary
from analysis.study import Study

CSV = ["panel", "line", "x", "x_drawn", "kind", "arm", "task", "seed", "value", "low", "high", "n", "planned"]
DECADE = 5.0  # largest over smallest positive x from which the axis is logarithmic
MARKERS = ("s", "^", "D", "v", "P", "X", "h")  # of lines that are settings of one algorithm
ROUNDING = 1e-12  # of a measured x that is 0
LABEL = 0.08  # of the axis, that the number at a tick takes
DODGE = 0.018  # of the axis, between neighbouring lines, so that their intervals do not hide each other


def _task_number(task: str) -> float:
    """The number at the end of a task's name: the length of a chain or a deep sea."""
    found = re.search(r"(\d+)$", task)
    return float(found[1]) if found else math.nan


def _places(study: Study, x: dict[str, Any]) -> dict[tuple[str, str], float]:
    """(arm, task) -> x. Args: x: one of {key}, {task: True}, {metric, arm}: see `draw`."""
    cells = [(str(arm), str(task)) for arm, task in study.scored[["arm", "task"]].drop_duplicates().to_numpy()]
    if "key" in x:
        values = frames.setting(study, x["key"])
        of_arm = {cell[0]: {value for (arm, _), value in values.items() if arm == cell[0]} for cell in cells}
        # A task on which no run of the arm has begun stands where the arm stands on the others, if that is one place.
        found = {
            cell: values.get(cell, next(iter(of_arm[cell[0]])) if len(of_arm[cell[0]]) == 1 else None) for cell in cells
        }
        return {cell: float(value) for cell, value in found.items() if isinstance(value, int | float)}
    if "metric" in x:
        measured = frames.numbers(study, x["metric"], "none", [x["arm"]]).groupby("task")["value"].mean()
        return {cell: float(measured.get(cell[1], math.nan)) for cell in cells}
    return {cell: _task_number(cell[1]) for cell in cells}


def _lines(study: Study, arms: list[str], options: dict[str, Any]) -> dict[str, str]:
    """Arm -> name of its line: as given, the value of a configuration key, its family's label, or its own."""
    if "line" in options:
        values = {arm: value for (arm, _), value in frames.setting(study, options["line"]).items()}
        return {arm: f"{options['line_label']} {values[arm]}" for arm in arms if arm in values}
    given = {arm: name for name, members in options.get("lines", {}).items() for arm in frames.matching(arms, members)}
    names = {}
    for arm in arms:
        kin = style.family(arm)
        variant = kin is not None and arm.startswith(f"{kin}_")
        shared = variant or sum(style.family(other) == kin for other in arms) > 1
        own = style.LABELS[kin] if shared and kin is not None else study.plan.arms[arm].label
        names[arm] = given.get(arm, own)
    return names


def dose_data(study: Study, rows: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """What is drawn, long: `kind` run, mean (a point) or none (planned, without any number or any x).

    Args: rows: as from `frames.numbers`.
    """
    metric, together = options["metric"], "key" not in options["x"]
    places = _places(study, options["x"])
    arms = [arm for arm in study.plan.arms if arm in set(rows["arm"])]
    names = _lines(study, arms, options)
    out: list[dict[str, Any]] = []
    for task in study.plan.tasks:
        for arm in arms:
            part = rows[(rows["task"] == task) & (rows["arm"] == arm)]
            if part.empty:
                continue
            x = places.get((arm, task), math.nan)
            base = {"panel": "" if together else task, "line": names.get(arm, arm), "x": x, "arm": arm, "task": task}
            found = frames.mean(part["value"].to_numpy(float), metric)
            kind = "mean" if found.n and math.isfinite(x) else "none"
            out.append(base | {"kind": kind, "seed": ""} | asdict(found))
            if metric not in frames.SHARES and kind == "mean":
                shown = part[np.isfinite(part["value"].to_numpy(float))]
                out += [
                    base | {"kind": "run", "seed": int(run["seed"]), "value": float(run["value"])}
                    for run in shown.to_dict("records")
                ]
    return _dodged(pd.DataFrame(out, columns=CSV), options)


def _side_by_side(options: dict[str, Any]) -> bool:
    """Is x measured on the tasks, which then stand at equal distances in its order?"""
    return "metric" in options["x"]


def is_log(x: pd.Series, options: dict[str, Any]) -> bool:
    """Do the positive values span decades, of a quantity that is set and is not said to be linear?"""
    positive, linear = x[x > 0], options.get("linear") or _side_by_side(options)
    return len(positive) > 0 and not linear and float(positive.max() / positive.min()) >= DECADE


def _dodged(data: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """`x_drawn`: x shifted a little by line. A reference (x = 0 on a logarithmic axis) keeps its x."""
    data = data.astype({"x": float, "value": float, "low": float, "high": float})
    log = is_log(data["x"], options)
    lines = list(dict.fromkeys(data.loc[(data["x"] > 0) | (not log), "line"]))
    places = data["x"]
    if _side_by_side(options):
        places = data["task"].map({task: float(i) for i, task in enumerate(_in_order(data))})
    positive = data.loc[data["x"] > 0, "x"] if log else places
    if positive.dropna().empty:
        return data.assign(x_drawn=data["x"])
    span = math.log10(positive.max() / positive.min()) if log else float(positive.max() - positive.min())
    shift = {name: (i - (len(lines) - 1) / 2) * DODGE * (span or 1.0) for i, name in enumerate(lines)}
    by = data["line"].map(shift).fillna(0.0)
    return data.assign(x_drawn=places * 10**by if log else places + by)


def _in_order(data: pd.DataFrame) -> dict[str, float]:
    """Tasks with a measured x, by it."""
    return {str(task): float(x) for task, x in data.groupby("task")["x"].first().dropna().sort_values().items()}


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
    axes.plot(runs["x_drawn"], runs["value"], ".", color=look.color, markersize=2.2, alpha=0.3, markeredgewidth=0)
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
        _line(axes, part[~zero], look, not _side_by_side(options))
    ticks = sorted({float(x) for x in data["x"] if math.isfinite(x) and (x > 0 or not log)})
    if log:
        axes.set_xscale("log")
    gaps = [] if log else [right - left for left, right in itertools.pairwise(ticks)]
    room = not gaps or min(gaps) >= LABEL * (ticks[-1] - ticks[0])
    if _side_by_side(options):
        tasks = _in_order(data)
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


def dose_table(data: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """A row per point."""
    means = data[data["kind"] != "run"]
    return pd.DataFrame(
        {
            "task": means["task"],
            "line": means["line"].map(frames.plain),
            frames.plain(options["x_label"]): means["x"],
            "n": [f"{n:.0f} of {planned:.0f}" for n, planned in zip(means["n"], means["planned"], strict=True)],
            "mean": means["value"],
            "95 % interval": list(map(summary.interval, means["low"], means["high"])),
        }
    )


def _caption(study: Study, data: pd.DataFrame, options: dict[str, Any], rows: pd.DataFrame) -> str:
    metric = options["metric"]
    points = data[data["kind"] == "mean"]
    counts = sorted({int(n) for n in points["n"]})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "0"
    label = frames.plain(frames.axis_label(metric, options.get("normalise")))
    words = [
        f"{label} against {frames.plain(options['x_label'])}, scale {study.plan.scale}. Points: mean over n = {n} "
        f"runs (one seed each) with the 95 % {frames.interval_kind(metric)}."
    ]
    if metric not in frames.SHARES:
        words.append("Small dots: single runs.")
    if is_log(data["x"], options) and (data["x"] == 0).any():
        words.append("Dashed line and band: the same for x = 0, which a logarithmic axis does not have.")
    words.append("Points of different lines at one x stand side by side.")
    if _side_by_side(options):
        words.append(f"Tasks in the order of their x, under their names (0: below {ROUNDING:g}); no line joins them.")
    words.append(frames.lost_sentence(rows))
    if (points["n"] < points["planned"]).any() or (data["kind"] == "none").any():
        words.append("Open mark: planned runs are missing from the mean; cross at the foot: no run has a number.")
    if unknown := sorted(set(data.loc[data["x"].isna(), "arm"])):
        words.append(f"No run of {', '.join(unknown)} says where on the x axis it belongs.")
    return " ".join(words)


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
    """One figure; none when the check has no such runs.

    Options: metric; x: {"key": configuration key} (a panel per task), {"task": True} (the number in the task's name)
    or {"metric": m, "arm": a} (measured on that arm; one panel); x_label; optional: normalise, arms, line (a
    configuration key whose values are the lines) with line_label, lines (name of a line -> its arms), linear (no
    logarithmic axis: for weights between 0 and 1), stem. Arms are names or patterns such as lam_*.
    """
    numbers = frames.numbers(study, options["metric"], options.get("normalise"), options.get("arms"))
    rows, absent = frames.measured(numbers)
    if "task" in options["x"] and (
        nameless := [task for task in dict.fromkeys(rows["task"]) if math.isnan(_task_number(task))]
    ):
        rows, absent = (
            rows[~rows["task"].isin(nameless)],
            f"{absent} Not drawn, having no {options['x_label']}: {', '.join(nameless)}.",
        )
    if rows.empty:
        return []
    data = dose_data(study, rows, options)
    looks, log = _looks(data, study, options), is_log(data["x"], options)
    panels = list(dict.fromkeys(data["panel"]))
    places = len(_in_order(data)) if _side_by_side(options) else 0
    label = f"task, and its {options['x_label']}" if places else options["x_label"]
    figure, cells = _figure(panels, places, (label, frames.axis_label(options["metric"], options.get("normalise"))))
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
