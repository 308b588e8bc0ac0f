"""Gain against cost, per arm: what the area under the curve gains over the baseline and what variance it
takes.

x: mean over tasks and seeds of the cost metric. y: the gain over the baseline, normalised as the metric is, paired by
seed, estimated as a verdict does: the mean on one task, the IQM over several. Small marks are tasks; large marks are
all tasks together with 95 % intervals (from 2 seeds on, of seeds with every task).
"""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import checks
from analysis.figures import Drawn, frames, style, summary
from analysis.figures.across import span
from analysis.plan import Arm
from analysis.scores import METRICS
from analysis.study import Study

CSV = ["arm", "label", "task", "seeds", "cost", "cost_low", "cost_high", "gain", "gain_low", "gain_high"]


def _pairs(study: Study, arm: str, baseline: str, cost: str, gain: str) -> pd.DataFrame:
    """One row per task and seed with the arm's cost and its gain over the baseline; only where both exist."""
    index = ["task", "seed"]
    gains = frames.numbers(study, gain, None, [arm, baseline]).set_index(["arm", *index])["value"]
    costs = frames.numbers(study, cost, "none", [arm]).set_index(index)["value"]
    if not {arm, baseline} <= set(gains.index.get_level_values("arm")):
        return pd.DataFrame(columns=[*index, "cost", "gain"])
    return pd.DataFrame({"cost": costs, "gain": gains[arm] - gains[baseline]}).dropna().reset_index()


def _baseline(study: Study) -> str:
    return checks.view(study.plan.name).baseline or next(iter(study.plan.arms))


def left_out(study: Study, cost: str, gain: str) -> str:
    """How many planned runs are in it, and why others are not, for the caption."""
    baseline, names = _baseline(study), ["task", "seed"]
    rows = frames.numbers(study, gain).merge(
        frames.numbers(study, cost, "none")[["arm", *names, "value"]].rename(columns={"value": "cost"}),
        on=["arm", *names],
    )
    own = rows[rows["arm"] == baseline].set_index(names)["value"]
    why: Counter[str] = Counter()
    for run in rows.to_dict("records"):
        cell = run["task"], run["seed"]
        if cell not in own.index:
            why[f"on {run['task']}, where {study.plan.arms[baseline].label} is not planned"] += 1
        elif run["state"] != "done":
            why[run["state"]] += 1
        elif np.isnan(run["value"]) or np.isnan(run["cost"]):
            why["done without both numbers"] += 1
        elif np.isnan(own[cell]):
            why["without the baseline's run of their seed"] += 1
    if not why:
        return f"All {len(rows)} planned runs are in it."
    named = "; ".join(f"{count} {reason}" for reason, count in sorted(why.items()))
    return f"{why.total()} of {len(rows)} planned runs are not in it: {named}."


def tradeoff_data(study: Study, cost: str, gain: str) -> pd.DataFrame:
    """A row per arm and task, and one per arm for all tasks (task blank) over seeds with every task."""
    baseline = _baseline(study)
    rows: list[list[Any]] = []

    def add(arm: Arm, task: str, part: pd.DataFrame) -> None:
        table = part.pivot(index="seed", columns="task", values=["cost", "gain"]).dropna()
        if len(table):
            x = frames.mean(table["cost"].to_numpy(float).mean(axis=1), cost)
            y = frames.judged(table["gain"].to_numpy(float))
            rows.append([arm.name, arm.label, task, len(table), x.value, x.low, x.high, y.value, y.low, y.high])

    for arm in study.plan.arms.values():
        pairs = _pairs(study, arm.name, baseline, cost, gain)
        for task, part in pairs.groupby("task"):
            add(arm, str(task), part)
        add(arm, "", pairs)
    return pd.DataFrame(rows, columns=CSV)


def tradeoff_table(data: pd.DataFrame) -> pd.DataFrame:
    """A row per arm and task, and one per arm for all tasks."""
    return pd.DataFrame(
        {
            "arm": data["label"],
            "task": data["task"].replace("", "all tasks (cost: mean, gain: IQM)"),
            "n": data["seeds"],
            "cost": data["cost"],
            "95 % interval of the cost": list(map(summary.interval, data["cost_low"], data["cost_high"])),
            "gain": data["gain"],
            "95 % interval of the gain": list(map(summary.interval, data["gain_low"], data["gain_high"])),
        }
    )


def _draw_arms(axes: Axes, data: pd.DataFrame, names: list[str]) -> None:
    for row in data.to_dict("records"):
        looks = style.look(row["arm"], names)
        x, y = row["cost"], row["gain"]
        if row["task"]:
            axes.plot(x, y, looks.marker, color=looks.color, markersize=3, alpha=0.45, markeredgewidth=0)
            continue
        bars: dict[str, Any] = {}
        if row["seeds"] >= 2:
            bars["xerr"] = [[x - row["cost_low"]], [row["cost_high"] - x]]
            bars["yerr"] = [[y - row["gain_low"]], [row["gain_high"] - y]]
        axes.errorbar(
            x,
            y,
            fmt=looks.marker,
            color=looks.color,
            markersize=7,
            elinewidth=0.9,
            markeredgecolor="white",
            markeredgewidth=0.6,
            **bars,
        )


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none when no arm has both numbers. Options: cost, gain: keys of analysis.scores.METRICS; stem."""
    cost, gain = options["cost"], options["gain"]
    data = tradeoff_data(study, cost, gain)
    if data.empty:
        return []
    baseline = _baseline(study)
    label = study.plan.arms[baseline].label if baseline in study.plan.arms else baseline
    figure = style.new_figure(5.2, 3.7)
    axes = figure.subplots()
    axes.axhline(0, color=style.INK, linewidth=0.6)
    _draw_arms(axes, data, list(study.plan.arms))
    axes.set_xlabel(f"{METRICS[cost].label} ({METRICS[cost].unit})")
    unit = frames.unit(gain, None, data.loc[data["task"] != "", "task"])
    axes.set_ylabel(f"gain in {METRICS[gain].label}\nover {label} ({unit})")
    names, entries = list(study.plan.arms), {}
    for row in data[data["task"] == ""].to_dict("records"):
        looks = style.look(row["arm"], names)
        entries[f"{row['label']} (n = {row['seeds']})"] = Line2D(
            [], [], color=looks.color, marker=looks.marker, markersize=5, linewidth=0
        )
    style.below(figure, entries, 3, handlelength=1.2)
    caption = (
        f"Gain in {METRICS[gain].label} ({unit}) over {label} against the {METRICS[cost].label} "
        f"({METRICS[cost].unit}), scale {study.plan.scale}. "
        "Small marks: means of one task; large: all tasks, the gain as the verdicts estimate it (IQM over tasks and "
        "seeds, of a single task the mean), the cost as the mean, with 95 % intervals (Student-t, of the IQM with a "
        f"bootstrap of whole seeds) over n = {span(data.loc[data['task'] == '', 'seeds'])} seeds with every task (none "
        f"for n = 1). {left_out(study, cost, gain)}"
    )
    return [
        style.save(
            figure,
            study.folder / "figures",
            options.get("stem", "tradeoff"),
            caption,
            data,
            tradeoff_table(data),
        )
    ]
