"""What tuning per task is worth: each task's score at the fixed best setting and at the task's own, on test runs.

Source: Adkins et al. 2024, arXiv:2412.07165, hyperparameter sensitivity; numbers from analysis.sensitivity.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis import sensitivity, stats
from analysis.figures import Drawn, frames, style, summary
from analysis.figures.heatmap import Grid, robustness_sentences, score_grid
from analysis.study import Study

CSV = ["task", "kind", "arm", "label", "n", "value", "low", "high"]
MEAN = "mean over tasks"
KINDS = {"fixed": (style.SERIES[0], 0.14), "tuned": (style.SERIES[1], -0.14)}


def _row(study: Study, grid: Grid, kind: str, arm: int, values: np.ndarray, task: str) -> dict[str, Any]:
    present = values[np.isfinite(values)]
    ends = stats.student_t(present) if len(present) > 1 else None
    name = grid.arms[arm]
    return {
        "task": task,
        "kind": kind,
        "arm": name,
        "label": study.plan.arms[name].label,
        "n": len(present),
        "value": float(present.mean()) if len(present) else math.nan,
        "low": ends.low if ends else math.nan,
        "high": ends.high if ends else math.nan,
    }


def sensitivity_data(study: Study, grid: Grid) -> pd.DataFrame:
    """Per task: fixed, tuned (mean score and Student-t interval); the mean over tasks of tuned - fixed last."""
    found = sensitivity.sensitivity(grid.tuning, grid.test)
    rows = []
    for t, task in enumerate(grid.tasks):
        for kind, arm in (("fixed", found.fixed), ("tuned", found.tuned[t])):
            rows.append(_row(study, grid, kind, arm, grid.test[arm, t], task))
    gain = {"task": MEAN, "kind": "tuned - fixed", "n": grid.test.shape[2], "value": found.value}
    rows.append(gain | {"low": found.low, "high": found.high})
    return pd.DataFrame(rows, columns=CSV)


def sensitivity_table(data: pd.DataFrame) -> pd.DataFrame:
    """A row per task and kind of setting."""
    return pd.DataFrame(
        {
            "task": data["task"],
            "setting": data["kind"],
            "which": data["label"].fillna("-"),
            "n": data["n"],
            "mean": data["value"],
            "95 % interval": list(map(summary.interval, data["low"].astype(float), data["high"].astype(float))),
        }
    )


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none without runs in the grid. Options: as of the figure heatmap."""
    grid = score_grid(study, options)
    if grid is None:
        return []
    data = sensitivity_data(study, grid)
    figure = style.new_figure(5.2, 0.34 * len(grid.tasks) + 1.1)
    axes = figure.subplots()
    for kind, (look, shift) in KINDS.items():
        part = data[data["kind"] == kind].reset_index(drop=True)
        for y, row in enumerate(part.to_dict("records")):
            ends = None if math.isnan(row["low"]) else [[row["value"] - row["low"]], [row["high"] - row["value"]]]
            axes.errorbar(
                row["value"],
                y - shift,
                xerr=ends,
                fmt=look.marker,
                color=look.color,
                markersize=4.5,
                elinewidth=1.2,
                capsize=2,
            )
            if kind == "tuned":
                axes.annotate(
                    row["label"],
                    (1.01, y),
                    xycoords=axes.get_yaxis_transform(),
                    fontsize=6.5,
                    va="center",
                    annotation_clip=False,
                )
    axes.set_yticks(range(len(grid.tasks)), grid.tasks)
    axes.set_ylim(len(grid.tasks) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(frames.axis_label(options["metric"], options.get("normalise"), grid.tasks))
    axes.set_title(f"fixed for all tasks: {data['label'].iloc[0]}; at the right: each task's own")
    marks = {
        f"{kind} (95 % interval)": Line2D([], [], color=look.color, marker=look.marker, markersize=4.5)
        for kind, (look, _) in KINDS.items()
    }
    style.below(figure, marks, 2, handlelength=1.5)
    chosen = "on the tuning seeds" if grid.split else "on the same runs (no tuning seeds apart), which flatters both"
    caption = " ".join(
        [
            f"Score of the one setting that is best for all tasks together and of each task's own best, both chosen "
            f"{chosen}, scale {study.plan.scale}: mean over n = {grid.test.shape[2]} test runs (one seed each) with "
            "the 95 % Student-t interval.",
            *robustness_sentences(grid),
            frames.lost_sentence(frames.numbers(study, options["metric"], options.get("normalise"), grid.arms)),
        ]
    )
    stem, table = options.get("stem", "sensitivity"), sensitivity_table(data)
    return [style.save(figure, study.folder / "figures", stem, caption, data, table)]
