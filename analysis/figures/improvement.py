"""How probable it is that a run of one arm beats a run of another on the same task: of every arm over the baseline, and
of all pairs where the arms are few.

Source: Agarwal et al. 2021, section 4.3; numbers from analysis.bootstrap.
"""

import itertools
import math
from typing import Any

import pandas as pd

from analysis import bootstrap, checks
from analysis.figures import Drawn, frames, style, summary
from analysis.figures.across import CSV, INTERVAL, Across, across, interval_row, tasks_text
from analysis.study import Study

FEW = 4  # arms of which all pairs are shown


def pairs(arms: list[str], baseline: str) -> list[tuple[str, str]]:
    """(A, B) whose P(A > B) is shown: every arm over the baseline, then, of few arms, the later over the earlier."""
    others = [arm for arm in arms if arm != baseline]
    first = [(arm, baseline) for arm in others]
    return first + [(b, a) for a, b in itertools.combinations(others, 2)] if len(arms) <= FEW else first


def improvement_data(found: Across, wanted: list[tuple[str, str]]) -> pd.DataFrame:
    """What is drawn, long: `kind` improvement (of `arm` over `over`) or run."""
    rows = [
        interval_row(found, "improvement", a, bootstrap.improvement(found.scores[a], found.scores[b])) | {"over": b}
        for a, b in wanted
    ]
    return pd.concat([pd.DataFrame(rows, columns=[*CSV, "over"]), found.runs_csv()], ignore_index=True)


def improvement_table(study: Study, data: pd.DataFrame) -> pd.DataFrame:
    """A row per pair."""
    rows = data[data["kind"] == "improvement"]
    label = {name: arm.label for name, arm in study.plan.arms.items()}
    return pd.DataFrame(
        {
            "A": rows["arm"].map(label),
            "B": rows["over"].map(label),
            "n per task": rows["n"],
            "P(A > B)": rows["value"],
            "95 % interval": list(map(summary.interval, rows["low"], rows["high"])),
        }
    )


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure; none below two arms on a task. Options: metric; optional: normalise, arms, stem."""
    found = across(study, options)
    if found is None:
        return []
    arms, named = list(found.scores), checks.view(study.plan.name).baseline
    baseline = named if named in arms else arms[0]
    data = improvement_data(found, pairs(arms, str(baseline)))
    shown, label = data[data["kind"] == "improvement"], {name: arm.label for name, arm in study.plan.arms.items()}
    figure = style.new_figure(*style.fitted(4.6, 0.22 * len(shown) + 0.75))
    axes = figure.subplots()
    axes.axvline(0.5, color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)))
    for y, row in enumerate(shown.to_dict("records")):
        look = style.full_ink(row["arm"], list(study.plan.arms))
        ends = [[row["value"] - row["low"]], [row["high"] - row["value"]]] if math.isfinite(row["low"]) else None
        axes.errorbar(
            row["value"], y, xerr=ends, fmt=look.marker, color=look.color, markersize=4, elinewidth=1.2, capsize=2
        )
    whole = shown["over"].nunique() > 1
    names = [f"{label[a]} over {label[b]}" if whole else label[a] for a, b in shown[["arm", "over"]].to_numpy()]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    figure.supxlabel(f"probability to beat {'the second' if whole else label[shown['over'].iloc[0]]}")
    two = ("the first arm", "the second") if whole else ("an arm", label[shown["over"].iloc[0]])
    caption = (
        f"Probability that a random run of {two[0]} has a higher {frames.plain(found.unit)} than a random run of "
        f"{two[1]} on the same task, ties half, mean over {tasks_text(found)}, scale {study.plan.scale}. Lines: "
        f"{INTERVAL}, cut to [0, 1] (none for n = 1). Dashed: 0.5, no difference. {found.notes}"
    )
    if shown["value"].isin([0.0, 1.0]).any():
        caption += " At 0 or 1, where all runs agree, lines end at Clopper and Pearson's bound for as many pairs."
    stem = options.get("stem", f"improvement_{options['metric']}")
    return [style.save(figure, study.folder / "figures", stem, caption, data, improvement_table(study, data))]
