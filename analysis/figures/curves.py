"""Learning curves, one figure per task: our runs beside the paper's digitised curve over the same agent steps.

Of the games of training, or of the evaluations of the deterministic policy (option values: eval_return).

One panel per arm (thin lines: runs; thick: their median; band from 3 runs on: their quartiles; grey: the
paper's median and quartiles, where it shows this task), and a last panel with the medians of all arms.
"""

import math
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
from analysis.load import by_run
from analysis.plan import Arm
from analysis.scores import GRID, matched_steps
from analysis.study import Study

COLUMNS = 3
PAPER_LINE = (0, (4, 1.5))
BAND_FROM = 3  # runs: a quartile of fewer says nothing
CSV = ["task", "source", "arm", "label", "seed", "kind", "step", "frames", "score"]


def _paper(study: Study, arm: Arm, task: str, end: float) -> pd.DataFrame | None:
    """The reported curve cut at `end`, where it is interpolated."""
    if arm.reported is None or study.plan.reference is None:
        return None
    curve = reported.dapo_curve(task, arm.reported, study.plan.reference.steps_per_hour)
    if curve is None:
        return None
    columns = ("median", "q25", "q75")
    last = min(end, float(curve["step"].iloc[-1]))
    inside = curve[curve["step"] < last]
    final = {"step": last} | {name: reported.value_at(curve, last, name) for name in columns}
    return pd.concat([inside, pd.DataFrame([final])], ignore_index=True)


def _long(
    task: str, source: str, arm: Arm, seed: int | str, kind: str, steps: np.ndarray, values: np.ndarray
) -> pd.DataFrame:
    keep = np.isfinite(values)
    return pd.DataFrame(
        {
            "task": task,
            "source": source,
            "arm": arm.name,
            "label": arm.label,
            "seed": seed,
            "kind": kind,
            "step": steps[keep],
            "frames": steps[keep] * style.FRAMES_PER_STEP if reported.is_atari(task) else "",
            "score": values[keep],
        },
        columns=CSV,
    )


def run_lines(study: Study, task: str, values: str | None) -> tuple[np.ndarray, dict[tuple[str, int], np.ndarray]]:
    """Agent steps and, by arm and seed, each run's curve there, NaN where it has no value (no extrapolation).

    Args: values: None for the games of training, at the right edges of their bins, where they are known; else a column
    of metrics.csv, linear between a run's rows.
    """
    if values is None:
        steps = (np.arange(GRID) + 1) * float(matched_steps(study.store.runs)[task]) / GRID
        return steps, {(arm, seed): line for (arm, where, seed), line in sorted(study.curves.items()) if where == task}
    rows = frames.rows_with(study, task, values)
    steps = np.unique(rows["step"].to_numpy(float))
    runs = {(arm, seed): part for (arm, _, seed), part in sorted(by_run(rows).items())}
    return steps, {
        key: np.interp(steps, part["step"].to_numpy(float), part[values].to_numpy(float), math.nan, math.nan)
        for key, part in runs.items()
    }


def _quantiles(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Median and quartiles where every run has a value, else NaN: the same runs all along x."""
    whole = np.isfinite(matrix).all(axis=0)
    result = {}
    for kind, q in (("median", 0.5), ("q25", 0.25), ("q75", 0.75)):
        line = np.full(matrix.shape[1], math.nan)
        line[whole] = np.quantile(matrix[:, whole], q, axis=0)
        result[kind] = line
    return result


def curve_data(study: Study, task: str, arms: list[Arm], values: str | None = None) -> pd.DataFrame:
    """All that a task's figure shows, long: source (ours, paper), kind (run, median, q25, q75)."""
    end, (steps, lines) = float(matched_steps(study.store.runs)[task]), run_lines(study, task, values)
    parts = [pd.DataFrame(columns=CSV)]
    for arm in arms:
        runs = {seed: line for (name, seed), line in lines.items() if name == arm.name}
        parts += [_long(task, "ours", arm, seed, "run", steps, curve) for seed, curve in runs.items()]
        if runs:
            over = _quantiles(np.stack(list(runs.values())))
            kinds = ("median", "q25", "q75") if len(runs) >= BAND_FROM else ("median",)
            parts += [_long(task, "ours", arm, "", kind, steps, over[kind]) for kind in kinds]
        paper = _paper(study, arm, task, end) if values is None else None
        if paper is not None:
            parts += [
                _long(task, "paper", arm, "", kind, paper["step"].to_numpy(float), paper[kind].to_numpy(float))
                for kind in ("median", "q25", "q75")
            ]
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


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
    for _, run in ours[ours["kind"] == "run"].groupby("seed"):
        axes.plot(run["step"], run["score"], color=looks.color, linewidth=0.5, alpha=0.55)
    if (ours["kind"] == "q25").any():
        steps, low = _line(ours, "q25")
        axes.fill_between(steps, low, _line(ours, "q75")[1], color=looks.color, alpha=0.18, linewidth=0)
    steps, values = _line(ours, "median")
    axes.plot(steps, values, color=looks.color, linewidth=1.5)
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


def _medians(axes: Axes, data: pd.DataFrame, arms: list[Arm], names: list[str]) -> None:
    """All arms' medians together, on a scale of their own: beside the paper's they may all look flat."""
    for arm in arms:
        looks = style.look(arm.name, names)
        steps, values = _line(data[(data["arm"] == arm.name) & (data["source"] == "ours")], "median")
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
    axes.set_title("our medians, own scale")


def _title(study: Study, arm: Arm, task: str, metric: str) -> str:
    runs = study.scored[(study.scored["task"] == task) & (study.scored["arm"] == arm.name)]
    return f"{arm.label}   n = {int(runs[metric].notna().sum())} of {len(runs)}"


def _caption(study: Study, task: str, values: str | None, compared: list[Comparison], left_out: int) -> str:
    end = matched_steps(study.store.runs)[task]
    is_atari = reported.is_atari(task)
    what = "raw score of the full games" if is_atari else "return of the episodes"
    in_frames = f" ({end * style.FRAMES_PER_STEP:,} frames)" if is_atari else ""
    metric = "score" if values is None else "eval_score"
    counts = study.scored[study.scored["task"] == task].groupby("arm")[metric].count()
    shown = (
        f"mean {what} that finished in each of {GRID} equal bins of the first {end:,} agent steps{in_frames}, "
        "last value carried forward"
        if values is None
        else f"mean raw return of a run's evaluation episodes, played by its deterministic policy, over the first "
        f"{end:,} agent steps{in_frames}, linear between evaluations"
    )
    words = [
        f"{task}: {shown}, scale {study.plan.scale}. Thin lines: one run (seed) each; thick: their median. "
        "n: runs with a score, of those planned."
    ]
    if left_out:
        words.append(f"{left_out} further arms of the check are not drawn here.")
    if (counts >= BAND_FROM).any():
        words.append("Coloured band (from 3 runs on): their 25 to 75 % quantiles, not a confidence interval.")
    if compared:
        runs = study.plan.reference.runs if study.plan.reference else 0
        words.append(
            f"Grey: the paper's median (dashed) and 25 to 75 % band of {runs} runs, digitised from its "
            "Figure 2, over the same agent steps."
        )
    differ = sorted({item["field"] for comparison in compared for item in comparison.differing})
    if differ:
        words.append(f"The two are not comparable: {', '.join(differ)} differ.")
    return " ".join(words)


def _grid(figure: Figure, panels: int, columns: int) -> tuple[list[Axes], Axes | None]:
    """Axes for the panels, and an empty one for the legend if a cell is left: in the first row, so that every
    column ends in a panel with an x axis.
    """
    rows = math.ceil(panels / columns)
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    empty = rows * columns - panels
    left = cells[columns - empty : columns]
    for axes in left:
        axes.set_axis_off()
    return cells[: columns - empty] + cells[columns:], left[0] if left else None


def _draw_task(study: Study, task: str, wanted: list[str], values: str | None) -> Drawn:
    names = list(study.plan.arms)
    here = set(study.scored.loc[study.scored["task"] == task, "arm"])
    arms = [arm for arm in study.plan.arms.values() if arm.name in here and arm.name in wanted]
    data, panels = curve_data(study, task, arms, values), len(arms) + 1
    columns = 2 if panels <= 4 else COLUMNS
    rows = math.ceil(panels / columns)
    figure = style.new_figure(style.PANEL[0] * columns, style.PANEL[1] * rows + 0.9)
    grid, spare = _grid(figure, panels, columns)
    is_atari = reported.is_atari(task)
    for axes, arm in zip(grid, arms, strict=False):
        if axes is not grid[0]:
            axes.sharey(grid[0])
        _panel(
            axes,
            data[data["arm"] == arm.name],
            arm,
            _title(study, arm, task, "score" if values is None else "eval_score"),
            names,
        )
        first = style.place(axes).is_first_col()
        axes.tick_params(labelleft=first)
        if first:
            label = "raw game score" if is_atari else "episode return"
            axes.set_ylabel(label if values is None else "evaluation return")
    _medians(grid[len(arms)], data, arms, names)
    end = float(matched_steps(study.store.runs)[task])
    for axes in grid:
        style.step_axis(axes, end, frames=is_atari, label=style.place(axes).is_last_row())
    figure.suptitle(task, x=0.01, ha="left", fontsize=9, fontweight="bold")
    compared = [c for c in study.comparisons if values is None and c.task == task and c.theirs is not None]
    _legend(figure, spare, arms, names, bool(compared), columns + 1)
    return style.save(
        figure,
        study.folder / "figures",
        task if values is None else f"{task}_evaluation",
        _caption(study, task, values, compared, len(here) - len(arms)),
        data.to_csv(index=False, lineterminator="\n"),
    )


def _legend(
    figure: Figure, spare: Axes | None, arms: list[Arm], names: list[str], with_paper: bool, columns: int
) -> None:
    """In the spare cell if there is one, else below in so many columns."""
    entries: dict[str, Any] = {
        "one run": Line2D([], [], color=style.INK, linewidth=0.5, alpha=0.6),
        "our median": Line2D([], [], color=style.INK, linewidth=1.5),
    }
    if with_paper:
        line = Line2D([], [], color=style.PAPER, linewidth=1.3, linestyle=PAPER_LINE)
        entries["paper: median, 25-75 %"] = (Patch(facecolor=style.PAPER, alpha=0.22), line)
    for arm in arms:
        looks = style.look(arm.name, names)
        entries[arm.label] = Line2D(
            [], [], color=looks.color, linewidth=1.1, linestyle=looks.line, marker=looks.marker, markersize=3.5
        )
    if spare is not None and len(entries) <= 8:
        spare.legend(list(entries.values()), list(entries), loc="center", handlelength=2.8)
    else:
        figure.legend(list(entries.values()), list(entries), loc="outside lower left", ncols=columns, handlelength=2.8)


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure per task of the plan. Options: arms, tasks: those to draw (all if absent); values: eval_return for the
    evaluations, of the tasks that have any (the games of training if absent).
    """
    wanted, values = list(options.get("arms", study.plan.arms)), options.get("values")
    here = study.scored[study.scored["arm"].isin(wanted)]
    tasks = [task for task in study.plan.tasks if task in options.get("tasks", study.plan.tasks)]
    tasks = [task for task in tasks if values is None or len(frames.rows_with(study, task, values))]
    return [_draw_task(study, task, wanted, values) for task in tasks if (here["task"] == task).any()]
