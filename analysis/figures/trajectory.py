"""Measurements along training, per task and arm: median over seeds with a quartile band, and one of them against
another (the bias at matched regret, 1 - exact return).

A run's rows are averaged within equal bins of agent steps (geometrically where the axis is logarithmic), then the
median and the quartiles are taken over the seeds that are done; a bin needs all of them.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis import reported
from analysis.figures import Drawn, frames, style, summary
from analysis.load import KEY, RunKey, by_run
from analysis.run_metrics import REGRET_BINS, bias_by_regret
from analysis.study import Study

BINS = 50
ACROSS = 4  # tasks side by side; more go into blocks below each other
ROUNDING = 1e-9  # of a panel whose numbers are all 0
BAND_FROM = 3  # runs: a quartile of fewer says nothing
CSV = ["task", "arm", "label", "row", "column", "against", "x", "median", "q25", "q75", "n"]
ROWS: dict[str, tuple[dict[str, Any], ...]] = {
    "exact": (
        {"column": "delta2", "label": "squared bias\n" + r"$\delta^2$", "log": True},
        {"column": "kl_exact", "label": "divergence D\n(nats)", "log": True},
        {"column": "delta2", "against": "regret", "label": "squared bias\n" + r"$\delta^2$", "log": True},
    ),
    "fresh": (
        {
            "column": "fresh_bias2",
            "over": "fresh_noise2",
            "label": "squared bias of the replay's\ngradient / noise floor",
        },
        {"column": "fresh_kl", "label": "KL to the behaviour\npolicy (nats)"},
    ),
    "ascent": (
        {"column": "exact_return", "label": "exact return\n(0 uniform, 1 optimal)"},
        {"column": "shift", "label": "state shift, L1"},
    ),
}
REGRET = "regret, 1 - exact return\n(better to the right)"


def binned(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of y in the bins (edges[i], edges[i + 1]], NaN in an empty one. Args: x, y: `[N]`; edges: `[B + 1]`."""
    index = np.searchsorted(edges, np.round(x, 9), side="left") - 1
    keep = (index >= 0) & (index < len(edges) - 1) & np.isfinite(y)
    count = np.bincount(index[keep], minlength=len(edges) - 1)
    total = np.bincount(index[keep], weights=y[keep], minlength=len(edges) - 1)
    return np.asarray(np.divide(total, count, out=np.full(len(edges) - 1, math.nan), where=count > 0))


def _series(rows: pd.DataFrame, panel: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """x and y of one run; y as log10 where the axis is logarithmic, which drops what is not above 0."""
    x = rows["step"].to_numpy(float)
    y = rows[panel["column"]].to_numpy(float)
    if "over" in panel:
        y = y / rows[panel["over"]].to_numpy(float)
    if panel.get("log"):
        y = np.log10(y, out=np.full_like(y, math.nan), where=y > 0)
    return x, y


def _edges(runs: list[pd.DataFrame], panel: dict[str, Any]) -> np.ndarray:
    """Bins of x: equal parts of the steps that every run covers, not more than a run has rows."""
    measured = [run.loc[run[panel["column"]].notna(), "step"] for run in runs]
    return np.linspace(0, min(steps.max() for steps in measured), min(BINS, min(map(len, measured))) + 1)


def _columns(panel: dict[str, Any]) -> list[str]:
    regret = ["exact_return"] if "against" in panel else []
    return [*(panel[key] for key in ("column", "over") if key in panel), *regret]


def _over_steps(runs: list[pd.DataFrame], panel: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the bins of steps `[B]` and a line per run `[runs, B]`."""
    edges = _edges(runs, panel)
    return (edges[1:] + edges[:-1]) / 2, np.stack([binned(*_series(run, panel), edges) for run in runs])


def _over_regret(runs: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the bins of the regret and log10 delta2 per run, both as in the metric bias_matched."""
    means = [bias_by_regret({name: run[name].to_numpy(float) for name in ("exact_return", "delta2")}) for run in runs]
    bins = sorted(set().union(*means), reverse=True)  # towards the optimum
    matrix = np.array([[mean.get(b, math.nan) for b in bins] for mean in means]).reshape(len(runs), len(bins))
    return 10.0 ** ((np.array(bins, dtype=float) + 0.5) / REGRET_BINS), matrix


def _cell(runs: list[pd.DataFrame], panel: dict[str, Any]) -> pd.DataFrame:
    """Median and quartiles over runs per bin; where x is the regret, a bin needs half of the runs, else all."""
    middle, matrix = _over_regret(runs) if "against" in panel else _over_steps(runs, panel)
    count = np.isfinite(matrix).sum(axis=0)
    least = len(runs) if "against" not in panel else max(min(BAND_FROM, len(runs)), math.ceil(len(runs) / 2))
    keep = count >= least
    quantiles = [np.nanquantile(matrix[:, keep], q, axis=0) for q in (0.5, 0.25, 0.75)]
    if panel.get("log"):
        quantiles = [10**line for line in quantiles]
    median, low, high = quantiles
    blank = count[keep] < BAND_FROM
    return pd.DataFrame(
        {
            "x": middle[keep],
            "median": median,
            "q25": np.where(blank, math.nan, low),
            "q75": np.where(blank, math.nan, high),
            "n": count[keep],
        }
    )


def trajectory_data(study: Study, options: dict[str, Any]) -> tuple[pd.DataFrame, set[RunKey]]:
    """What is drawn, long, and the runs behind it; a task without a run that measured a row's columns has no such
    row.
    """
    done = {key for key in _done(study) if key[0] in options.get("arms", list(study.plan.arms))}
    rows = {key: part for key, part in by_run(study.store.metrics).items() if key in done}
    parts, used = [pd.DataFrame(columns=CSV)], set()
    for i, panel in enumerate(ROWS[options["rows"]]):
        if not set(_columns(panel)) <= set(study.store.metrics.columns):
            continue
        for task in study.plan.tasks:
            for name, arm in study.plan.arms.items():
                of_arm = {
                    key: part.dropna(subset=_columns(panel)) for key, part in rows.items() if key[:2] == (name, task)
                }
                runs = [run for _, run in sorted(of_arm.items()) if len(run)]
                used |= {key for key, run in of_arm.items() if len(run)}
                if runs:
                    about = {"task": task, "arm": name, "label": arm.label, "row": i, "column": panel["column"]}
                    parts.append(_cell(runs, panel).assign(**about, against=panel.get("against", "step")))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)[CSV], used


def trajectory_table(data: pd.DataFrame, panels: list[dict[str, Any]]) -> pd.DataFrame:
    """A row per task, arm and panel, at its end."""
    data = data.assign(order=data["x"].where(data["against"] == "step", -data["x"]))
    last = data.sort_values("order", kind="stable").groupby(["row", "task", "arm"], sort=False).tail(1).sort_index()
    return pd.DataFrame(
        {
            "what": [frames.plain(str(panels[row]["label"])) for row in last["row"]],
            "task": last["task"],
            "arm": last["label"],
            "against": last["against"],
            "at": last["x"],
            "n": last["n"],
            "median": last["median"],
            "quartiles": list(map(summary.interval, last["q25"].astype(float), last["q75"].astype(float))),
        }
    )


def _done(study: Study) -> set[RunKey]:
    runs = study.store.runs[study.store.runs["state"] == "done"]
    return {(str(run["arm"]), str(run["task"]), int(run["seed"])) for run in runs.to_dict("records")}


def _draw(axes: Axes, data: pd.DataFrame, names: list[str], panel: dict[str, Any]) -> None:
    for i, (arm, part) in enumerate(data.groupby("arm", sort=False)):
        look = style.look(str(arm), names)
        x = part["x"].to_numpy(float)
        low, high = part["q25"].to_numpy(float), part["q75"].to_numpy(float)
        axes.fill_between(x, low, high, color=look.color, alpha=0.13, linewidth=0)
        every = max(1, len(x) // 5)
        axes.plot(
            x,
            part["median"],
            color=look.color,
            linestyle=look.line,
            linewidth=1.2,
            marker=look.marker,
            markersize=3.2,
            markevery=(min(i, len(x) - 1), every),
        )
    if panel.get("log"):
        axes.set_yscale("log")
        style.log_ticks(axes.yaxis, *axes.get_ylim())
    elif data["q75"].fillna(data["median"]).abs().max() < ROUNDING:
        axes.set_ylim(-0.05, 1)
        axes.text(0.5, 0.5, "0 but for rounding", transform=axes.transAxes, ha="center", color=style.PAPER)
    if "over" in panel:
        axes.axhline(1, color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)))


def _regret_axis(axes: Axes) -> None:
    """A logarithmic axis whose ticks are named as numbers (0.3, 0.1, ...), the optimum to the right."""
    axes.set_xlabel(REGRET)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    if 0.8 <= decades < 3:
        steps = (1.0, 2.0, 5.0) if decades < 1.2 else (1.0, 3.0)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [tick for power in powers for step in steps if low <= (tick := step * 10.0**power) <= high]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        style.log_ticks(axes.xaxis, low, high)
    axes.xaxis.set_inverted(True)


def _decorate(axes: Axes, panel: dict[str, Any], end: float, first: bool, last: bool, frames_too: bool) -> None:
    if "against" in panel:
        _regret_axis(axes)
    else:
        style.step_axis(axes, end, frames=frames_too, label=last)
    if first:
        axes.set_ylabel(panel["label"])


def _lost(study: Study, data: pd.DataFrame, options: dict[str, Any], used: set[RunKey]) -> str:
    """How many planned runs of the arms on the tasks that are drawn are in the figure, and why others are not."""
    runs = study.store.runs
    runs = runs[runs["arm"].isin(options.get("arms", list(study.plan.arms))) & runs["task"].isin(set(data["task"]))]
    keys = runs[list(KEY)].itertuples(index=False, name=None)
    value = [1.0 if key in used else math.nan for key in keys]
    return frames.lost_sentence(runs.assign(value=value))


def _caption(
    study: Study, data: pd.DataFrame, options: dict[str, Any], panels: list[dict[str, Any]], used: set[RunKey]
) -> str:
    counts = f"{data['n'].min()}" if data["n"].nunique() == 1 else f"{data['n'].min()} to {data['n'].max()}"
    shown = ", ".join(dict.fromkeys(frames.plain(str(panel["label"])) for panel in panels))
    words = [
        f"{shown}: median over n = {counts} runs (one seed each) and, from {BAND_FROM} runs on, their 25 to 75 % "
        f"quantiles (not a confidence interval), scale {study.plan.scale}. A run's rows are averaged within bins of "
        "steps, geometrically where the axis is logarithmic."
    ]
    if any("against" in panel for panel in panels):
        words.append(
            f"Against the regret 1 - exact return (exact return: 0 uniform, 1 optimal): {REGRET_BINS} bins per decade "
            "that at least half of the runs reach."
        )
    if any("over" in panel for panel in panels):
        words.append("Dashed: what split halves of the same data give.")
    words.append(_lost(study, data, options, used))
    return " ".join(words)


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure, a column per task; none where no run measured the columns.

    Options: rows: key of ROWS, panels of {column, label, optional: over (divide by), against (regret: x instead
    of steps), log}; optional: arms, x_label (what a step is), stem.
    """
    data, used = trajectory_data(study, options)
    if data.empty:
        return []
    all_panels = list(ROWS[options["rows"]])
    shown = sorted(set(data["row"]))
    tasks = [task for task in study.plan.tasks if (data["task"] == task).any()]
    names = list(study.plan.arms)
    across = len(tasks) if len(tasks) <= ACROSS else ACROSS - 1
    blocks = math.ceil(len(tasks) / across)
    size = max(3.6, 2.05 * across + 0.5), 1.5 * len(shown) * blocks + 0.7
    figure = style.new_figure(*style.fitted(*size))
    grid = figure.subplots(len(shown) * blocks, across, squeeze=False)
    for axes in grid.flat[len(tasks) * len(shown) :] if len(tasks) % across == 0 else grid[-len(shown) :].flat:
        axes.set_axis_off()
    for j, task in enumerate(tasks):
        here = data[data["task"] == task]
        for i, row in enumerate(shown):
            panel, axes = all_panels[row], grid[i + len(shown) * (j // across)][j % across]
            axes.set_axis_on()
            part = here[here["row"] == row]
            _draw(axes, part, names, panel)
            steps = here.loc[here["against"] == "step", "x"]
            end = float(steps.max() + steps.min())  # the middles of the last and, half a bin, of the first
            below = all_panels[shown[i + 1]] if i + 1 < len(shown) else {"against": ""}
            _decorate(axes, panel, end, j % across == 0, "against" in below, reported.is_atari(task))
            if i == 0:
                axes.set_title(task)
            if "x_label" in options and i + 1 == len(shown):
                axes.set_xlabel(options["x_label"])
    entries = {}
    for arm in dict.fromkeys(data["arm"]):
        look = style.look(arm, names)
        entries[study.plan.arms[arm].label] = Line2D(
            [], [], color=look.color, linestyle=look.line, marker=look.marker, markersize=3.5, linewidth=1.2
        )
    style.below(figure, entries, 5)
    caption = _caption(study, data, options, [all_panels[row] for row in shown], used)
    stem, table = options.get("stem", "trajectory"), trajectory_table(data, all_panels)
    return [style.save(figure, study.folder / "figures", stem, caption, data, table)]
