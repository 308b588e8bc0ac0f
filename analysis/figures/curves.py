"""Learning curves, one figure per task: our runs beside the paper's digitised curve over the same agent steps.

Of the games of training, or of the evaluations of the deterministic policy (option values: eval_return).

A first panel with the medians (and, of few arms, the bands) of all arms; then one panel per arm (thin lines: runs;
thick: their median; band from 3 runs on: their quartiles; grey: the paper's median and quartiles, where it shows this
task).
"""

import math
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import reported
from analysis.compare import Comparison
from analysis.figures import Drawn, frames, style
from analysis.figures.curve_lines import BAND_FROM, curve_data, curves_table, run_lines
from analysis.plan import Arm
from analysis.scores import GRID, matched_steps
from analysis.study import Study

COLUMNS = 3
TITLE = 34  # characters that fit above a panel
TOGETHER = 4  # arms whose bands can be told apart in one panel
PAPER_LINE = (0, (4, 1.5))


def _line(data: pd.DataFrame, kind: str) -> tuple[np.ndarray, np.ndarray]:
    part = data[data["kind"] == kind]
    return part["step"].to_numpy(float), part["score"].to_numpy(float)


def _panel(axes: Axes, data: pd.DataFrame, arm: Arm, title: str, arms: list[str]) -> None:
    """One arm: the paper in grey, our runs and their median in the arm's colour."""
    looks = style.look(arm.name, arms)
    ours, paper = data[data["source"] == "ours"], data[data["source"] == "paper"]
    if len(paper):
        steps, low = _line(paper, "q25")
        axes.fill_between(steps, low, _line(paper, "q75")[1], color=style.PAPER, alpha=0.22, linewidth=0)
        axes.plot(*_line(paper, "median"), color=style.PAPER, linewidth=1.3, linestyle=PAPER_LINE)
    runs = [run for _, run in ours[ours["kind"] == "run"].groupby("seed")]
    for run in runs:  # many of them must leave the band to be seen
        axes.plot(run["step"], run["score"], color=looks.color, linewidth=0.5, alpha=min(0.55, 4 / len(runs)))
    if (ours["kind"] == "q25").any():
        steps, low = _line(ours, "q25")
        axes.fill_between(steps, low, _line(ours, "q75")[1], color=looks.color, alpha=0.18, linewidth=0)
    steps, values = _line(ours, "median")
    axes.plot(steps, values, color=looks.color, linewidth=1.5, marker=looks.marker if len(steps) < 2 else "")
    axes.set_title(title)
    if ours.empty:
        axes.text(
            0.5,
            0.5,
            "no run has a value",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=style.PAPER,
        )


def _together(data: pd.DataFrame, arms: list[Arm]) -> str:
    """What the first panel shows: of how many arms, and whether with bands."""
    ours = data[data["source"] == "ours"]
    n = ours.loc[ours["kind"] == "median", "arm"].nunique()
    bands = " and bands" if len(arms) <= TOGETHER and (ours["kind"] == "q25").any() else ""
    return f"medians{bands} of {'' if n == len(arms) else f'{n} of '}the {len(arms)} arms shown"


def _medians(axes: Axes, data: pd.DataFrame, arms: list[Arm], names: list[str]) -> None:
    """All arms' medians together, on a scale of their own: beside the paper's they may all look flat."""
    for arm in arms:
        looks = style.look(arm.name, names)
        ours = data[(data["arm"] == arm.name) & (data["source"] == "ours")]
        steps, values = _line(ours, "median")
        if len(arms) <= TOGETHER and (ours["kind"] == "q25").any():
            low, high = (_line(ours, kind)[1] for kind in ("q25", "q75"))
            axes.fill_between(_line(ours, "q25")[0], low, high, color=looks.color, alpha=0.13, linewidth=0)
        axes.plot(
            steps,
            values,
            color=looks.color,
            linewidth=1.1,
            linestyle=looks.line,
            marker=looks.marker,
            markersize=3.5,
            markevery=max(1, len(steps) // 6),
        )
    axes.set_title(f"{_together(data, arms)}, own scale")


def _title(study: Study, arm: Arm, task: str, metric: str) -> str:
    runs = study.scored[(study.scored["task"] == task) & (study.scored["arm"] == arm.name)]
    n, planned = int(runs[metric].notna().sum()), len(runs)
    text = f"{arm.label} (n = {n})" if n == planned else f"{arm.label} (n = {n} of {planned})"
    return textwrap.fill(text, TITLE)


def _caption(
    study: Study, task: str, values: str | None, compared: list[Comparison], arms: list[Arm], data: pd.DataFrame
) -> str:
    end = matched_steps(study.store.runs)[task]
    is_atari = reported.is_atari(task)
    what = "raw score of the full games" if is_atari else "return of the episodes"
    in_frames = f" ({end * style.FRAMES_PER_STEP:,} frames)" if is_atari else ""
    metric = "score" if values is None else "eval_score"
    here = study.scored[study.scored["task"] == task]
    runs = here[here["arm"].isin([arm.name for arm in arms])]
    counts, others = runs.groupby("arm")[metric].count(), here["arm"].nunique() - len(arms)
    n = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    shown = (
        f"mean {what} that finished in each of {GRID} equal bins of the first {end:,} agent steps{in_frames}, "
        "last value carried forward"
        if values is None
        else f"mean raw return of a run's evaluation episodes, played by its deterministic policy, over the first "
        f"{end:,} agent steps{in_frames}, linear between evaluations"
    )
    words = [
        f"{task}: {shown}, scale {study.plan.scale}. Thin lines: one run (seed) each, n = {n} "
        f"per arm; thick: their median. {frames.lost_sentence(runs.assign(value=runs[metric]))}"
    ]
    if len(arms) > 1:
        words.append(f"First panel: {_together(data, arms)}, on a scale of their own.")
    if others:
        words.append(f"{others} further arms of the check are not drawn here.")
    if (counts >= BAND_FROM).any():
        words.append("Coloured band (from 3 runs on): their 25 to 75 % quantiles, not a confidence interval.")
    if compared:
        theirs = study.plan.reference.runs if study.plan.reference else 0
        words.append(
            f"Grey: the paper's median (dashed) and 25 to 75 % band of {theirs} runs, digitised from its "
            "Figure 2, over the same agent steps."
        )
        paper = data[data["source"] == "paper"].groupby(["arm", "kind"])["step"].max().unstack()
        if (paper["q25"] < paper["median"]).any():
            words.append("At its end the band is not known: the table has its last quartiles, and their step.")
    differ = sorted({item["field"] for comparison in compared for item in comparison.differing})
    if differ:
        words.append(f"The two are not comparable: {', '.join(differ)} differ.")
    return " ".join(words)


def _grid(figure: Figure, arms: int) -> tuple[Axes | None, list[Axes]]:
    """The panel of all arms, as wide as makes the grid whole (None for a single arm), and one for each arm."""
    if arms == 1:
        return None, [figure.subplots()]
    columns = _columns(arms)
    rows = math.ceil((arms + 1) / columns)
    spec, wide = figure.add_gridspec(rows, columns), rows * columns - arms
    cells = [spec[i // columns, i % columns] for i in range(wide, rows * columns)]
    return figure.add_subplot(spec[0, :wide]), [figure.add_subplot(cell) for cell in cells]


def _columns(arms: int) -> int:
    return 1 if arms == 1 else 2 if arms <= 3 else COLUMNS


def _size(arms: int) -> tuple[float, float]:
    rows = math.ceil((arms + (arms > 1)) / _columns(arms))
    width = 1.5 * style.PANEL[0] if arms == 1 else style.PANEL[0] * _columns(arms)
    return style.fitted(width, style.PANEL[1] * (rows + 0.4 * (arms == 1)) + 0.9)


def _draw_task(study: Study, task: str, wanted: list[str], values: str | None, absent: list[str]) -> Drawn:
    names, metric = list(study.plan.arms), "score" if values is None else "eval_score"
    here = set(study.scored.loc[study.scored["task"] == task, "arm"])
    arms = [arm for arm in study.plan.arms.values() if arm.name in here and arm.name in wanted]
    data, is_atari = curve_data(study, task, arms, values), reported.is_atari(task)
    figure = style.new_figure(*_size(len(arms)))
    together, grid = _grid(figure, len(arms))
    if together is not None:
        _medians(together, data, arms, names)
    for axes, arm in zip(grid, arms, strict=True):
        if axes is not grid[0]:
            axes.sharey(grid[0])
        _panel(axes, data[data["arm"] == arm.name], arm, _title(study, arm, task, metric), names)
        axes.tick_params(labelleft=style.place(axes).is_first_col() or axes is grid[0])
    end = float(matched_steps(study.store.runs)[task])
    for axes in [*([together] if together else []), *grid]:
        style.step_axis(axes, end, frames=is_atari, label=style.place(axes).is_last_row())
        if axes is together:  # its columns are not those of the panels below it
            axes.tick_params(labelbottom=True)
    label = "raw game score" if is_atari else "episode return"
    figure.supylabel(label if values is None else "evaluation return (raw)")
    figure.suptitle(task, x=0.01, ha="left", fontsize=9, fontweight="bold")
    compared = [c for c in study.comparisons if values is None and c.task == task and c.theirs is not None]
    style.below(figure, _entries(data, arms, names), 4)
    caption = _caption(study, task, values, compared, arms, data)
    if absent:
        caption += f" Without a curve, and so without a figure: {', '.join(absent)}."
    stem, table = task if values is None else f"{task}_evaluation", curves_table(study, data, task, metric)
    return style.save(figure, study.folder / "figures", stem, caption, data, table)


def _entries(data: pd.DataFrame, arms: list[Arm], names: list[str]) -> dict[str, Any]:
    median = Line2D([], [], color=style.INK, linewidth=1.5)
    entries: dict[str, Any] = {"one run": Line2D([], [], color=style.INK, linewidth=0.5, alpha=0.6)}
    if (data["kind"][data["source"] == "ours"] == "q25").any():
        entries["our median, 25-75 %"] = (Patch(facecolor=style.INK, alpha=0.18), median)
    else:
        entries["our median"] = median
    if (data["source"] == "paper").any():
        line = Line2D([], [], color=style.PAPER, linewidth=1.3, linestyle=PAPER_LINE)
        entries["paper: median, 25-75 %"] = (Patch(facecolor=style.PAPER, alpha=0.22), line)
    for arm in arms if len(arms) > 1 else []:
        looks = style.look(arm.name, names)
        entries[arm.label] = Line2D(
            [], [], color=looks.color, linewidth=1.1, linestyle=looks.line, marker=looks.marker, markersize=3.5
        )
    return entries


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure per task of the plan on which a run of these arms has a curve. Options: arms, tasks: those to draw
    (all if absent); values: eval_return for the evaluations (the games of training if absent).
    """
    wanted, values = list(options.get("arms", study.plan.arms)), options.get("values")
    tasks = [task for task in study.plan.tasks if task in options.get("tasks", study.plan.tasks)]
    planned = set(study.scored.loc[study.scored["arm"].isin(wanted), "task"])
    drawn = [task for task in tasks if any(arm in wanted for arm, _ in run_lines(study, task, values)[1])]
    # Evaluations are no part of every task; games are.
    absent = [task for task in tasks if task in planned and task not in drawn and values is None]
    return [_draw_task(study, task, wanted, values, absent) for task in drawn]
