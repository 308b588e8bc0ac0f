"""Columns of metrics.csv against another one, such as lambda or updates: the same values of x in every run of an arm.

Lines: median over the seeds that are done; bands: their quartiles, from BAND_FROM runs on. y is logarithmic and
leaves out what is not above its least.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import Drawn, frames, style, summary
from analysis.figures.trajectory import BAND_FROM
from analysis.study import Study

CSV = ["task", "arm", "label", "column", "x", "median", "q25", "q75", "n"]


def sweep_data(study: Study, options: dict[str, Any]) -> pd.DataFrame:
    """What is drawn, long: a row per task, arm, column and value of x."""
    x, columns = options["x"], [column for column, _ in options["columns"]]
    parts = [pd.DataFrame(columns=CSV)]
    for task in study.plan.tasks:
        rows = frames.rows_with(study, task, x)
        for arm in frames.matching(study.plan.arms, options.get("arms", ["*"])):
            for column in [column for column in columns if column in rows]:
                part = rows.loc[rows["arm"] == arm, [x, column]].dropna()
                part = part[part[column] > options.get("least", 0.0)]
                for value, numbers in part.groupby(x)[column]:
                    low, median, high = np.quantile(numbers, (0.25, 0.5, 0.75))
                    n, label = len(numbers), study.plan.arms[arm].label
                    quartiles = [low, high] if n >= BAND_FROM else [np.nan, np.nan]
                    row = [task, arm, label, column, value, median, *quartiles, n]
                    parts.append(pd.DataFrame([row], columns=CSV))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)[CSV]


def sweep_table(data: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """A row per task, arm and column, at the last x."""
    last = data.sort_values("x", kind="stable").groupby(["task", "arm", "column"], sort=False).tail(1).sort_index()
    names = {column: frames.plain(label) for column, label in options["columns"]}
    return pd.DataFrame(
        {
            "task": last["task"],
            "arm": last["label"],
            "what": last["column"].map(names),
            options["x_label"]: last["x"],
            "n": last["n"],
            "median": last["median"],
            "quartiles": list(map(summary.interval, last["q25"].astype(float), last["q75"].astype(float))),
        }
    )


def _panel(axes: Axes, data: pd.DataFrame, places: dict[float, float], looks: dict[str, style.Look]) -> None:
    for arm, part in data.groupby("arm", sort=False):
        look = looks[str(arm)]
        x = part["x"].map(places).to_numpy(float)
        axes.fill_between(x, part["q25"], part["q75"], color=look.color, alpha=0.13, linewidth=0)
        axes.plot(
            x, part["median"], color=look.color, linestyle=look.line, marker=look.marker, markersize=3, linewidth=1.1
        )
    axes.set_yscale("log")
    style.log_ticks(axes.yaxis, *axes.get_ylim())


def _caption(study: Study, data: pd.DataFrame, options: dict[str, Any]) -> str:
    shown = ", ".join(frames.plain(label) for _, label in options["columns"])
    counts = f"{data['n'].min()}" if data["n"].nunique() == 1 else f"{data['n'].min()} to {data['n'].max()}"
    words = [
        f"{shown} against {options['x_label']}, scale {study.plan.scale}: median over n = {counts} runs (one seed "
        f"each) and, from {BAND_FROM} runs on, their 25 to 75 % quantiles (not a confidence interval)."
    ]
    gone = study.scored[study.scored["arm"].isin(set(data["arm"])) & (study.scored["state"] != "done")]
    if len(gone):
        words.append(f"{len(gone)} planned runs are not done and not in it.")
    if "least" in options:
        words.append(f"Not drawn: values up to {options['least']:g}, which are rounding of 0.")
    return " ".join(words)


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none without such rows.

    Options: x: a column; x_label; columns: (name, label) by row of panels; stem; optional: arms; least: what is above
    0 and means 0; even: values of x stand at equal distances.
    """
    data = sweep_data(study, options)
    if data.empty:
        return []
    tasks, shown = list(dict.fromkeys(data["task"])), set(data["column"])
    panels = [(column, label) for column, label in options["columns"] if column in shown]
    arms = [arm for arm in study.plan.arms if arm in set(data["arm"])]
    looks = {arm: style.look(arm, list(study.plan.arms)) for arm in arms}
    values = sorted(set(data["x"]))
    places = {value: float(i) if options.get("even") else float(value) for i, value in enumerate(values)}
    figure = style.new_figure(*style.fitted(2.1 * len(tasks) + 0.7, 1.5 * len(panels) + 0.9))
    part = style.panels(figure)
    part.supxlabel(options["x_label"])
    grid = part.subplots(len(panels), len(tasks), squeeze=False)
    for i, (column, label) in enumerate(panels):
        for j, task in enumerate(tasks):
            axes = grid[i][j]
            here = data[(data["task"] == task) & (data["column"] == column)]
            if here.empty:
                axes.set_axis_off()
                continue
            _panel(axes, here, places, looks)
            if options.get("even"):
                turned = {"rotation": 60, "fontsize": 6} if len(values) > 5 else {}
                axes.set_xticks(list(places.values()), [f"{value:g}" for value in values], **turned)
            below = [other for other, _ in panels[i + 1 :]]
            lowest = not (data["column"].isin(below) & (data["task"] == task)).any()
            axes.tick_params(labelbottom=lowest)
            if i == 0:
                axes.set_title(task)
            if j == 0:
                axes.set_ylabel(label)
    entries = {}
    for arm in arms:
        look = looks[arm]
        entries[study.plan.arms[arm].label] = Line2D(
            [], [], color=look.color, linestyle=look.line, marker=look.marker, markersize=3
        )
    style.below(figure, entries, 4)
    caption, table = _caption(study, data, options), sweep_table(data, options)
    return [style.save(figure, study.folder / "figures", options["stem"], caption, data, table)]
