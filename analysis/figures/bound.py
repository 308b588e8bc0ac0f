"""Proposition 1 as a picture: the squared bias of the policy gradient against its bound c D, and their ratio
against D.

Source: Wang et al. 2019, Proposition 1 and appendix B.1: delta^2 <= c D, c = 2 (gamma zeta_1 zeta_2 / (1 - gamma))^2.
One point per row of metrics.csv (an instance, or a policy version of a training run). The line is delta^2 = c D;
a point above it would violate the proposition and is drawn as a cross, whatever else is thinned. So does a bias under
a bound of 0, which has no place on a logarithmic axis: it is counted and named.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import Drawn, style
from analysis.load import KEY
from analysis.run_metrics import ROUNDING
from analysis.study import Study

POINTS = 5000
LAYERS = 10
CSV = [*KEY, "series", "step", "delta2", "divergence", "bound", "ratio"]
COLUMNS = ("delta2", "kl_exact", "bound")


def _rows(study: Study, options: dict[str, Any]) -> pd.DataFrame:
    """Rows of the wanted arms in done runs that measured all three numbers."""
    names = list(options.get("columns", COLUMNS))
    found, runs = study.store.metrics, study.store.runs
    if not set(names) <= set(found.columns):
        return pd.DataFrame(columns=CSV)
    done = runs.loc[runs["state"] == "done", list(KEY)]
    rows = found[[*KEY, "step", *names]].dropna().merge(done, on=list(KEY))
    rows = rows[rows["arm"].isin(options.get("arms", list(study.plan.arms)))]
    rows = rows.set_axis([*KEY, "step", "delta2", "divergence", "bound"], axis=1)
    by = options.get("by", "task")
    labels = {arm: study.plan.arms[arm].label for arm in study.plan.arms}
    series = rows["task"] if by == "task" else rows["arm"].map(labels)
    ratio = rows["delta2"] / rows["bound"].where(rows["bound"] > 0)
    unbounded = (rows["bound"] <= 0) & (rows["delta2"] > ROUNDING)
    return rows.assign(series=series, ratio=ratio.mask(unbounded, math.inf))


def thinned(rows: pd.DataFrame, points: int = POINTS) -> pd.DataFrame:
    """About `points` rows: of every series each k-th in the order of the bound, and all with the largest ratios.

    The largest hundredth of the ratios is kept whole, so that thinning hides no point near the line.
    """
    if len(rows) <= points:
        return rows
    ordered = rows.sort_values(["series", "bound", *KEY, "step"], kind="stable")
    top = ordered["ratio"] >= min(1.0, float(ordered["ratio"].quantile(0.99)))
    step = -(-len(ordered) // points)
    return ordered[top | (ordered.groupby("series").cumcount() % step == 0)]


def bound_data(study: Study, options: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The points that are drawn, and of all rows: rows, runs, zero (no logarithm), violations, hidden (violations
    of a bound of 0, which have no place), drawn, largest, median.

    As in the metric `bound_ratio`, a row without a bound above 0 (equal policies) violates it where it has a bias
    beyond rounding, else says nothing; the largest and the median ratio are of rows with a bias.
    """
    rows = _rows(study, options)
    positive = rows[(rows["delta2"] > 0) & (rows["bound"] > 0) & (rows["divergence"] > 0)]
    shown = thinned(positive)
    counts = {
        "rows": len(rows),
        "runs": len(rows[list(KEY)].drop_duplicates()),
        "zero": len(rows) - len(positive),
        "violations": int((rows["ratio"] > 1).sum()),
        "hidden": int((rows["ratio"] > 1).sum()) - int((positive["ratio"] > 1).sum()),
        "drawn": len(shown),
        "largest": rows["ratio"].max(),
        "median": rows.loc[rows["delta2"] > 0, "ratio"].median(),
    }
    return shown[CSV], counts


def bound_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per series, of all its rows: how far below the bound."""
    biased = rows[rows["delta2"] > 0]
    by, some = rows.groupby("series", sort=False), biased.groupby("series", sort=False)["ratio"]
    runs = rows[["series", *KEY]].drop_duplicates().groupby("series", sort=False)
    return pd.DataFrame(
        {
            "runs": runs.size(),
            "rows": by.size(),
            "above the bound": by["ratio"].apply(lambda ratio: int((ratio > 1).sum())),
            "median ratio": some.median(),
            "largest ratio": by["ratio"].max(),
        }
    ).reset_index(names="series")


def _scatter(axes: Axes, data: pd.DataFrame, x: str, y: str, looks: dict[str, style.Look]) -> None:
    size = 2.6 if len(data) < 1500 else 1.7
    for layer in range(LAYERS):  # in turns, so that no series hides the others
        for name, look in looks.items():
            part = data[data["series"] == name].iloc[layer::LAYERS]
            # as an image inside the vector file: thousands of marks would make it slow to open
            axes.plot(
                part[x],
                part[y],
                look.marker,
                color=look.color,
                markersize=size,
                alpha=0.5,
                markeredgewidth=0,
                rasterized=True,
            )
    over = data[data["ratio"] > 1]
    axes.plot(over[x], over[y], "x", color="#c00000", markersize=7, markeredgewidth=1.6)


def _looks(study: Study, data: pd.DataFrame, by: str) -> dict[str, style.Look]:
    names = list(study.plan.arms)
    if by == "arm":
        present = set(data["arm"])
        return {study.plan.arms[arm].label: style.look(arm, names) for arm in names if arm in present}
    present = set(data["task"])
    order = [task for task in study.plan.tasks if task in present]
    return {task: style.series(i) for i, task in enumerate(order)}


def _window(values: pd.Series) -> tuple[float, float]:
    """What an axis spans: all but the lowest fiftieth, far below the line, where rounding is all there is."""
    return float(values.quantile(0.02, interpolation="lower")), float(values.max())


def _beyond(data: pd.DataFrame) -> int:
    """Drawn points that lie below a panel's axes."""
    low = [data[name] < _window(data[name])[0] for name in ("bound", "delta2", "ratio", "divergence")]
    return int(np.logical_or.reduce(low).sum())


def _panels(figure: Figure, data: pd.DataFrame, looks: dict[str, style.Look], stale: bool) -> None:
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
    _scatter(left, data, "bound", "delta2", looks)
    x, y = _window(data["bound"]), _window(data["delta2"])
    ends = np.array([x[0] / 2, x[1]])
    left.plot(ends, ends, color=style.INK, linewidth=1.0)
    left.annotate(
        r"$\delta^2 = c\,D$",
        (ends[1], ends[1]),
        xytext=(-4, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
    )
    left.set_ylim(y[0] / 3, max(x[1], y[1]) * 30)
    left.set_xlim(x[0] / 2, x[1] * 2)
    left.set_xlabel(r"bound $c\,D$")
    left.set_ylabel(r"squared bias $\delta^2$")
    ratio = _window(data["ratio"])
    right.set_ylim(ratio[0] / 3, max(1.0, ratio[1]) * 3)
    _scatter(right, data, "divergence", "ratio", looks)
    right.set_xlim(_window(data["divergence"])[0] / 3, float(data["divergence"].max()) * 3)
    right.axhline(1, color=style.INK, linewidth=1.0)
    right.set_xlabel("D to the " + ("oldest policy in the replay" if stale else "reference policy") + " (nats)")
    right.set_ylabel(r"$\delta^2 / (c\,D)$")
    for axes in (left, right):
        style.log_ticks(axes.xaxis, *axes.get_xlim())
        style.log_ticks(axes.yaxis, *axes.get_ylim())


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none where no run measured the exact numbers.

    Options: arms (None: all); by: task or arm, what has a colour; columns: of metrics.csv, squared bias, divergence,
    bound; stem.
    """
    data, counts = bound_data(study, options)
    if data.empty:
        return []
    by, stale = options.get("by", "task"), "stale" in options.get("columns", COLUMNS)[0]
    looks = _looks(study, data, by)
    figure = style.new_figure(6.4, 3.2)
    _panels(figure, data, looks, stale)
    figure.suptitle(
        f"violations of the bound: {counts['violations']:,} of {counts['rows']:,}", x=0.01, ha="left", fontsize=8.5
    )
    entries = {
        name: Line2D([], [], color=look.color, marker=look.marker, markersize=4, linewidth=0)
        for name, look in looks.items()
    }
    style.below(figure, entries, 5, handlelength=1)
    hidden = f", {counts['hidden']:,} of them under a bound of 0 and not drawn" if counts["hidden"] else ""
    caption = (
        "Squared bias of the policy gradient from leaving out the state ratio, against its bound (Proposition 1), "
        f"exact numbers, scale {study.plan.scale}: {counts['rows']:,} rows of n = {counts['runs']} runs, "
        f"{counts['violations']:,} above the bound{hidden}; {counts['drawn']:,} points drawn (every violation of a "
        "bound above 0 and the hundredth nearest to it always are), "
        f"{counts['zero']:,} rows with no bias or no divergence have no logarithm and are not drawn, "
        f"{_beyond(data)} points lie below the axes. Line: delta^2 = c D. "
        f"Largest ratio of all rows {counts['largest']:.2g}, median {counts['median']:.2g}. "
        "No interval: each point is exact."
    )
    lost = study.store.runs
    lost = lost[lost["arm"].isin(set(options.get("arms", study.plan.arms))) & (lost["state"] != "done")]
    if len(lost):
        caption += f" {len(lost)} planned runs are not done and not in it."
    stem, table = options.get("stem", "bound"), bound_table(_rows(study, options))
    return [style.save(figure, study.folder / "figures", stem, caption, data, table)]
