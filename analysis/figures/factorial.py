"""Main effects and two-way interactions of a 2^3 factorial, one panel per task and one for all tasks together.

With the arms named by three digits (1 = on), the effect of a factor is the mean of the four arms with it minus the mean
of the four without; the interaction of two is the effect of one where the other is on minus that where it is off. Both
are each seed's own number, from the seeds whose eight runs all have one. These are the contrasts of claims such as
[mean(...), mean(...)] with two and four entries, and the estimates are the verdicts': on one task the mean with
Student's t, over all tasks the IQM of the seeds' effects on every task.
"""

import itertools
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import Drawn, frames, style, summary
from analysis.figures.across import span
from analysis.study import Study

FACTORS = 3
ALL = "IQM over tasks"
CSV = ["task", "effect", "kind", "arm", "seed", "y", "value", "low", "high", "n", "planned"]
CODES = ["".join(digits) for digits in itertools.product("10", repeat=FACTORS)]
SPREAD = 0.2  # of the space between two effects, over which the seeds' dots are laid


def weights(factors: tuple[int, ...]) -> np.ndarray:
    """`[8]` weights of the arms, in the order of CODES, that give the effect of one factor or the interaction of two.

    One factor: mean of the four arms with it minus mean of the four without. Two: mean(11) - mean(10) - mean(01) +
    mean(00), two arms each.
    """
    signs = [math.prod(1 if code[i] == "1" else -1 for i in factors) for code in CODES]
    return np.array(signs, dtype=float) * (2.0 ** len(factors) / len(CODES))


def effects(names: tuple[str, str, str]) -> dict[str, np.ndarray]:
    """Main effect or interaction by name -> its weights. Args: names: of the factors, in the order of the digits."""
    sets = [*((i,) for i in range(FACTORS)), *itertools.combinations(range(FACTORS), 2)]
    return {" x ".join(names[i] for i in factors): weights(factors) for factors in sets}


def factorial_data(study: Study, rows: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """What is drawn, long: `kind` run (a seed's effect), mean, or cell (a run's own number, behind them).

    Args: rows: as from `frames.numbers`.
    """
    arms = [f"{options['prefix']}{code}" for code in CODES]
    table = rows.pivot(index=["task", "seed"], columns="arm", values="value").reindex(columns=arms)
    parts = {task: table.loc[task] for task in study.plan.tasks if task in table.index.get_level_values("task")}
    out: list[dict[str, Any]] = []
    for task, part in parts.items():
        part = part.sort_index()
        for y, (name, weight) in enumerate(effects(options["factors"]).items()):
            values = part.to_numpy(float) @ weight  # NaN where an arm of the seed has no number
            base = {"task": task, "effect": name}
            found = frames.mean(values, options["metric"])
            out.append(base | {"kind": "mean", "seed": "", "y": y} | asdict(found))
            offsets = np.linspace(-SPREAD, SPREAD, len(values)) if len(values) > 1 else np.zeros(1)
            for seed, value, offset in zip(part.index, values, offsets, strict=True):
                if math.isfinite(value):
                    place = {"kind": "run", "seed": int(seed), "y": round(y + float(offset), 4)}
                    out.append(base | place | {"value": float(value)})
    if len(parts) > 1:
        stacked = np.stack(
            [part.reindex(table.index.unique("seed")).to_numpy(float) for part in parts.values()], axis=1
        )
        for y, (name, weight) in enumerate(effects(options["factors"]).items()):
            found = frames.judged(stacked @ weight)
            out.append({"task": ALL, "effect": name, "kind": "mean", "seed": "", "y": y} | asdict(found))
    cells = rows[np.isfinite(rows["value"].to_numpy(float))].assign(kind="cell")
    shown = pd.DataFrame(out, columns=CSV)
    return pd.concat([shown, pd.DataFrame(cells, columns=CSV)], ignore_index=True)


def _panel(axes: Axes, data: pd.DataFrame, title: str) -> None:
    means, runs = data[data["kind"] == "mean"], data[data["kind"] == "run"]
    axes.axvline(0, color=style.INK, linewidth=0.7)
    for row in means.to_dict("records"):
        look = style.SERIES[" x " in row["effect"]]
        dots = runs[runs["effect"] == row["effect"]]
        axes.plot(dots["value"], dots["y"], ".", color=look.color, markersize=3, alpha=0.4, markeredgewidth=0)
        if row["n"]:
            known = math.isfinite(row["low"])
            ends = [[row["value"] - row["low"]], [row["high"] - row["value"]]] if known else None
            axes.errorbar(
                row["value"], row["y"], xerr=ends, fmt=look.marker, color=look.color, markersize=4.5, capsize=2
            )
    counts = means[["n", "planned"]].iloc[0]
    of = "" if counts["n"] == counts["planned"] else f" of {counts['planned']:.0f}"
    axes.set_title(f"{title} (n = {counts['n']:.0f}{of})")
    axes.set_ylim(means["y"].max() + 0.6, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def factorial_table(data: pd.DataFrame) -> pd.DataFrame:
    """A row per task and effect."""
    return summary.of_means(data, {"task": "task", "effect": "effect"}, "difference")


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none where not all eight arms are planned.

    Options: metric; prefix: what stands before the three digits of an arm's name; factors: their three names, in the
    order of the digits; optional: normalise, stem.
    """
    metric, arms = options["metric"], {f"{options['prefix']}{code}" for code in CODES}
    rows, absent = frames.measured(frames.numbers(study, metric, options.get("normalise"), arms))
    whole = rows.groupby("task")["arm"].agg(set)
    rows = rows[rows["task"].isin(whole.index[[found == arms for found in whole]])]
    if rows.empty:
        return []
    data = factorial_data(study, rows, options)
    panels = list(dict.fromkeys(data["task"]))
    columns = style.columns(len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = style.new_figure(*style.fitted(2.0 * columns + 1.2, 1.55 * lines + 0.5))
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    names = list(effects(options["factors"]))
    for i, axes in enumerate(grid):
        if i >= len(panels):
            axes.set_axis_off()
            continue
        _panel(axes, data[data["task"] == panels[i]], panels[i])
        axes.set_yticks(range(len(names)), names if i % columns == 0 else [""] * len(names))
    shown = frames.axis_label(metric, options.get("normalise"), rows["task"])
    figure.supxlabel(f"difference in {shown}")
    label, means = frames.plain(shown), data[data["kind"] == "mean"]
    together = (
        "Last panel: the estimate of the verdicts over several tasks, the IQM of the seeds' effects on all tasks "
        "(bootstrap of whole seeds, Student-t), of seeds with every task; no dots. "
        if ALL in panels
        else ""
    )
    caption = (
        f"What switching a component on adds to the {label}, scale {study.plan.scale}: main effects (green pentagons: "
        "mean of the four arms with it minus the four without) and two-way interactions (red triangles: effect of "
        "the one where the other is on minus where it is off). Mean over seeds with the 95 % Student-t interval (none "
        f"for n = 1); dots: single seeds. n = {span(means['n'])} seeds whose eight runs have a number. {together}"
        f"{frames.lost_sentence(rows)} {absent}"
    )
    stem = options.get("stem", f"factorial_{metric}")
    table = factorial_table(data)
    return [style.save(figure, study.folder / "figures", stem, caption.strip(), data, table)]
