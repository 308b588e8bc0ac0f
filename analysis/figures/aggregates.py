"""Mean, median, interquartile mean and optimality gap of every arm over tasks, with intervals: a panel each.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", Figure 9; numbers
from analysis.bootstrap.
"""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis import bootstrap
from analysis.figures import Drawn, frames, style, summary
from analysis.figures.across import CSV, INTERVAL, Across, across, interval_row, tasks_text
from analysis.study import Study

PANELS = {"median": "median", "iqm": "IQM", "mean": "mean", "optimality_gap": "optimality gap"}
TITLES = {"optimality_gap": "optimality gap\n(less is better)"}


def panels(found: Across) -> dict[str, str]:
    """Statistic -> its name; of two tasks the median is the mean."""
    return {name: label for name, label in PANELS.items() if len(found.tasks) > 2 or name != "median"}


def aggregates_data(found: Across) -> pd.DataFrame:
    """What is drawn, long: `kind` run, or the name of a statistic."""
    rows = [
        interval_row(found, name, arm, bootstrap.aggregate(matrix, name))
        for arm, matrix in found.scores.items()
        for name in panels(found)
    ]
    return pd.concat([pd.DataFrame(rows, columns=CSV), found.runs_csv()], ignore_index=True)


def aggregates_table(study: Study, data: pd.DataFrame, found: Across) -> pd.DataFrame:
    """A row per arm: n, and each statistic with its interval."""
    arms = list(found.scores)
    table: dict[str, list[Any]] = {
        "arm": [study.plan.arms[arm].label for arm in arms],
        "n per task": [found.n(arm) for arm in arms],
    }
    for name, label in panels(found).items():
        of = data[data["kind"] == name].set_index("arm").loc[arms]
        table[label] = list(of["value"])
        table[f"95 % interval, {label}"] = list(map(summary.interval, of["low"], of["high"]))
    return pd.DataFrame(table)


def _panel(axes: Axes, data: pd.DataFrame, arms: list[str], names: list[str]) -> None:
    for y, arm in enumerate(arms):
        row, look = data[data["arm"] == arm].iloc[0], style.full_ink(arm, names)
        if math.isfinite(row["low"]):
            axes.barh(y, row["high"] - row["low"], left=row["low"], height=0.55, color=look.color, alpha=0.45)
        axes.plot(row["value"], y, look.marker, color=look.color, markersize=3.6)
    axes.use_sticky_edges = False  # bars may end before the panel does
    axes.margins(x=0.06)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(3))


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none below two arms on two tasks. Options: metric; optional: normalise, arms, stem."""
    found = across(study, options, least_tasks=2)
    if found is None:
        return []
    data, arms = aggregates_data(found), list(found.scores)
    figure = style.new_figure(*style.fitted(7.1, 0.2 * len(arms) + 1.0))
    shown = panels(found)
    for i, (axes, (name, label)) in enumerate(zip(figure.subplots(1, len(shown)), shown.items(), strict=True)):
        _panel(axes, data[data["kind"] == name], arms, list(study.plan.arms))
        axes.set_title(TITLES.get(name, label))
        axes.set_yticks(range(len(arms)), [study.plan.arms[arm].label for arm in arms] if i == 0 else [""] * len(arms))
    figure.supxlabel(found.unit)
    caption = (
        f"{frames.plain(found.unit)} over {tasks_text(found)}, scale {study.plan.scale}. "
        f"{'Median and mean' if 'median' in shown else 'Mean'}: of the tasks' means; IQM: mean of the middle half of "
        "all runs; optimality gap: 1 minus the mean of scores cut at 1. "
        f"Marks: value; bars: {INTERVAL} (none for n = 1). {found.notes}"
    )
    stem, table = options.get("stem", f"aggregates_{options['metric']}"), aggregates_table(study, data, found)
    return [style.save(figure, study.folder / "figures", stem, caption, data, table)]
