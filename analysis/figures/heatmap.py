"""Two hyperparameters crossed: mean and standard deviation of a metric in every cell, for all tasks together and each.

Cells with a frame are the stable region (analysis.sensitivity): shown to be at most a tenth worse than the best cell.
The best cell (a dot) is chosen on the tuning seeds, everything else is of the test seeds.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from analysis import sensitivity, stats
from analysis.figures import Drawn, frames, style, summary
from analysis.study import Study

CSV = ["task", "arm", "x", "y", "n", "planned", "mean", "sd", "low", "high", "stable", "best"]
MEAN = "mean over tasks"
FRAME = "#C0504D"  # red on blue to yellow, and a shape of its own


@dataclass(frozen=True)
class Grid:
    """Scores of the arms that have a place in the grid. `tuning` and `test` are `[arms, tasks, runs]`."""

    arms: list[str]
    places: list[tuple[float, float]]  # x, y of each arm
    tasks: list[str]
    tuning: np.ndarray
    test: np.ndarray
    split: bool  # tuning and test runs are different runs

    @property
    def best(self) -> int:
        """The arm with the highest mean over tasks on the tuning runs."""
        return sensitivity.fixed_best(self.tuning)


def score_grid(study: Study, options: dict[str, Any]) -> Grid | None:
    """The grid's scores, tuning seeds apart from test seeds, of the tasks that have such a number; None where there is
    none, or no run says where it stands.

    Without tuning seeds in the plan, or without runs on the others, choice and score share their runs (`split`).
    """
    rows, _ = frames.measured(frames.numbers(study, options["metric"], options.get("normalise"), options.get("arms")))
    placed = [frames.setting(study, options[axis]) for axis in ("x", "y")]
    places = {}
    for arm in dict.fromkeys(rows["arm"]):
        x, y = (next((values[cell] for cell in values if cell[0] == arm), None) for values in placed)
        if isinstance(x, int | float) and isinstance(y, int | float):
            places[arm] = (float(x), float(y))
    tasks = [task for task in study.plan.tasks if (rows["task"] == task).any()]
    seeds = sorted(set(rows["seed"]))
    if not places:
        return None
    cube = rows.pivot_table(index="arm", columns=["task", "seed"], values="value", dropna=False, aggfunc="mean")
    wanted = pd.MultiIndex.from_product([tasks, seeds])
    values = (
        cube.reindex(index=list(places), columns=wanted).to_numpy(float).reshape(len(places), len(tasks), len(seeds))
    )
    first = int(study.plan.tuning_seeds)
    split = 0 < first < len(seeds)
    tuning, test = (values[..., :first], values[..., first:]) if split else (values, values)
    return Grid(list(places), list(places.values()), tasks, tuning, test, split)


def _cell(values: np.ndarray, planned: int) -> dict[str, Any]:
    """Mean, sd (NaN for one run) and the 95 % interval. Args: values: `[R]`, finite."""
    nan = math.nan
    if len(values) == 0:
        return {"n": 0, "planned": planned, "mean": nan, "sd": nan, "low": nan, "high": nan}
    ends = stats.student_t(values) if len(values) > 1 else None
    return {
        "n": len(values),
        "planned": planned,
        "mean": float(values.mean()),
        "sd": ends.sd if ends else nan,
        "low": ends.low if ends else nan,
        "high": ends.high if ends else nan,
    }


def heatmap_data(grid: Grid) -> pd.DataFrame:
    """One row per cell and task, and per cell for the mean over tasks (of runs with every task)."""
    stable, rows = sensitivity.stable_region(grid.test, grid.best), []
    whole = sensitivity.run_means(grid.test)
    for a, arm in enumerate(grid.arms):
        about = {"arm": arm, "x": grid.places[a][0], "y": grid.places[a][1]}
        together = {"stable": bool(stable[a]), "best": a == grid.best}
        of_all = whole[a][np.isfinite(whole[a])]
        rows.append({"task": MEAN} | about | _cell(of_all, whole.shape[1]) | together)
        for t, task in enumerate(grid.tasks):
            values = grid.test[a, t]
            rows.append({"task": task} | about | _cell(values[np.isfinite(values)], len(values)))
    return pd.DataFrame(rows, columns=CSV)


def heatmap_table(data: pd.DataFrame, study: Study) -> pd.DataFrame:
    """A row per cell of the mean over tasks, and one per task and cell."""
    return pd.DataFrame(
        {
            "task": data["task"],
            "setting": [study.plan.arms[arm].label for arm in data["arm"]],
            "n": [f"{n} of {planned}" for n, planned in zip(data["n"], data["planned"], strict=True)],
            "mean": data["mean"],
            "standard deviation": data["sd"],
            "95 % interval": list(map(summary.interval, data["low"], data["high"])),
            "stable": ["yes" if row is True else "no" if row is False else "" for row in data["stable"]],
        }
    )


def _panel(axes: Axes, data: pd.DataFrame, xs: list[float], ys: list[float], label: bool) -> None:
    table = np.full((len(ys), len(xs)), math.nan)
    for row in data.to_dict("records"):
        table[ys.index(row["y"]), xs.index(row["x"])] = row["mean"]
    finite = table[np.isfinite(table)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    span = high - low or 1.0
    axes.imshow(table, cmap="cividis", origin="lower", aspect="auto", vmin=low, vmax=low + span)
    axes.grid(visible=False)
    digits = 2 if span >= 0.02 else 4
    for row in data.to_dict("records"):
        i, j = xs.index(row["x"]), ys.index(row["y"])
        color = style.INK if row["n"] == 0 or (row["mean"] - low) / span > 0.5 else "white"
        spread = f"\n±{row['sd']:.{digits}f}" if math.isfinite(row["sd"]) else ""
        text = f"{row['mean']:.{digits}f}{spread}" if row["n"] else "none"
        if 0 < row["n"] < row["planned"]:
            text += f"\n{row['n']} of {row['planned']}"
        axes.text(i, j, text, ha="center", va="center", fontsize=5.6, color=color, linespacing=1.05)
        if row["stable"] is True:
            box = Rectangle((i - 0.46, j - 0.46), 0.92, 0.92, fill=False, edgecolor=FRAME, linewidth=1.8)
            axes.add_patch(box)
        if row["best"] is True:
            axes.plot(i + 0.36, j + 0.34, "o", color=FRAME, markersize=3.6, markeredgecolor="white")
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys] if label else [""] * len(ys))
    axes.tick_params(length=0)


def robustness_sentences(grid: Grid) -> list[str]:
    """What the grid says: stable region, sensitivity, effective dimension, hump over x, for captions."""
    stable = sensitivity.stable_region(grid.test, grid.best)
    found = sensitivity.sensitivity(grid.tuning, grid.test)
    ends = f" [{found.low:.3g}, {found.high:.3g}]" if found.low is not None and found.high is not None else ""
    words = [
        f"Stable region: {int(stable.sum())} of {len(stable)} cells.",
        f"Tuned per task minus fixed: {found.value:.3g}{ends} (95 %, stratified bootstrap over runs).",
    ]
    dimension = sensitivity.effective_dimension(grid.places, grid.tuning, grid.test)
    if dimension is not None:
        words.append(
            f"Hyperparameters to tune per task for {sensitivity.REACH:.0%} of the tuned score: {dimension} of 2."
        )
    best_y = grid.places[grid.best][1]
    row = sorted((place[0], a) for a, place in enumerate(grid.places) if place[1] == best_y and place[0] > 0)
    arms = [a for _, a in row]
    shape = sensitivity.hump(np.log([x for x, _ in row]), grid.tuning[arms], grid.test[arms])
    if shape is not None:
        words.append(
            f"Best inside over x at y = {best_y:g}: {row[shape.best][0]:g} is {shape.left:.3g} above the smallest and "
            f"{shape.right:.3g} above the largest (p = {shape.p_ends:.2g} against both, {shape.p_lines:.2g} for two "
            f"lines, n = {shape.n})."
        )
    return words


def _caption(study: Study, grid: Grid, options: dict[str, Any]) -> str:
    metric = options["metric"]
    rows = frames.numbers(study, metric, options.get("normalise"), grid.arms)
    label = frames.plain(frames.axis_label(metric, options.get("normalise"), grid.tasks))
    xs, ys = (len({place[i] for place in grid.places}) for i in (0, 1))
    blank = xs * ys - len(set(grid.places))
    words = [
        f"{label} over {frames.plain(options['x_label'])} and {frames.plain(options['y_label'])}, scale "
        f"{study.plan.scale}; colours from the lowest to the highest cell of a panel: mean and, below, standard "
        f"deviation over n = {grid.test.shape[2]} runs (seeds) per cell.",
        *([f"The {blank} blank cells were not run."] if blank else []),
        "Red frame: shown to be at most a tenth worse than the cell with the dot (paired Student-t interval).",
        f"Dot: best cell of the first {grid.tuning.shape[2]} seeds, which are in no other number."
        if grid.split
        else "Dot: best cell of the runs that are shown, which flatters it (there are no tuning seeds apart).",
        *robustness_sentences(grid),
        frames.lost_sentence(rows),
    ]
    return " ".join(words)


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none without runs in the grid. Options: metric, x, y (configuration keys), x_label, y_label;
    optional: normalise, arms, stem.
    """
    grid = score_grid(study, options)
    if grid is None:
        return []
    data = heatmap_data(grid)
    xs, ys = (sorted({place[i] for place in grid.places}) for i in (0, 1))
    panels = [MEAN, *(grid.tasks if len(grid.tasks) > 1 else [])]
    columns = style.columns(len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = (0.42 * len(xs) + 0.25) * columns + 0.5, (0.4 * len(ys) + 0.35) * rows + 0.65
    figure = style.new_figure(*style.fitted(max(width, 3.2), height))
    part = style.panels(figure)
    part.supxlabel(options["x_label"])
    cells = list(part.subplots(rows, columns, squeeze=False).flat)
    for i, axes in enumerate(cells):
        if i >= len(panels):
            axes.set_axis_off()
            continue
        _panel(axes, data[data["task"] == panels[i]], xs, ys, i % columns == 0)
        axes.set_title(panels[i] if len(panels) > 1 else grid.tasks[0], fontweight="normal" if i else "bold")
        if i % columns == 0:
            axes.set_ylabel(options["y_label"])
    marks: dict[str, Any] = {
        "shown to be stable": Rectangle((0, 0), 1, 1, fill=False, edgecolor=FRAME, linewidth=1.8),
        f"chosen on {'tuning seeds' if grid.split else 'the runs shown'}": Line2D(
            [], [], color=FRAME, marker="o", markersize=3.6, linewidth=0
        ),
    }
    style.below(figure, marks, 2, handlelength=1.2)
    stem, caption = options.get("stem", "heatmap"), _caption(study, grid, options)
    return [style.save(figure, study.folder / "figures", stem, caption, data, heatmap_table(data, study))]
