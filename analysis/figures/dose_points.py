"""The points of a dose figure: where each arm and task stands on its x axis, means and runs, and the table of them."""

import math
import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import frames, style, summary
from analysis.study import Study

CSV = ["panel", "line", "x", "x_drawn", "kind", "arm", "task", "seed", "value", "low", "high", "n", "planned"]
DECADE = 5.0  # largest over smallest positive x from which the axis is logarithmic
DODGE = 0.018  # of the axis, between neighbouring lines, so that their intervals do not hide each other
JITTER = 0.016  # of the axis, over which a point's runs are laid, in the order of their seeds


def task_number(task: str) -> float:
    """The number at the end of a task's name: the length of a chain or a deep sea."""
    found = re.search(r"(\d+)$", task)
    return float(found[1]) if found else math.nan


def _places(study: Study, x: dict[str, Any]) -> dict[tuple[str, str], float]:
    """(arm, task) -> x. Args: x: one of {key}, {task: True}, {metric, arm}: see `draw`."""
    cells = [(str(arm), str(task)) for arm, task in study.scored[["arm", "task"]].drop_duplicates().to_numpy()]
    if "key" in x:
        values = frames.setting(study, x["key"])
        of_arm = {cell[0]: {value for (arm, _), value in values.items() if arm == cell[0]} for cell in cells}
        # A task on which no run of the arm has begun stands where the arm stands on the others, if that is one place.
        found = {
            cell: values.get(cell, next(iter(of_arm[cell[0]])) if len(of_arm[cell[0]]) == 1 else None) for cell in cells
        }
        return {cell: float(value) for cell, value in found.items() if isinstance(value, int | float)}
    if "metric" in x:
        measured = frames.numbers(study, x["metric"], "none", [x["arm"]]).groupby("task")["value"].mean()
        return {cell: float(measured.get(cell[1], math.nan)) for cell in cells}
    return {cell: task_number(cell[1]) for cell in cells}


def _lines(study: Study, arms: list[str], options: dict[str, Any]) -> dict[str, str]:
    """Arm -> name of its line: as given, the value of a configuration key, its family's label, or its own."""
    if "line" in options:
        values = {arm: value for (arm, _), value in frames.setting(study, options["line"]).items()}
        return {arm: f"{options['line_label']} {values[arm]}" for arm in arms if arm in values}
    given = {arm: name for name, members in options.get("lines", {}).items() for arm in frames.matching(arms, members)}
    names = {}
    for arm in arms:
        kin = style.family(arm)
        variant = kin is not None and arm.startswith(f"{kin}_")
        shared = variant or sum(style.family(other) == kin for other in arms) > 1
        own = style.LABELS[kin] if shared and kin is not None else study.plan.arms[arm].label
        names[arm] = given.get(arm, own)
    return names


def dose_data(study: Study, rows: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """What is drawn, long: `kind` run, mean (a point) or none (planned, without any number or any x).

    Args: rows: as from `frames.numbers`.
    """
    metric, together = options["metric"], "key" not in options["x"]
    places = _places(study, options["x"])
    arms = [arm for arm in study.plan.arms if arm in set(rows["arm"])]
    names = _lines(study, arms, options)
    out: list[dict[str, Any]] = []
    for task in study.plan.tasks:
        for arm in arms:
            part = rows[(rows["task"] == task) & (rows["arm"] == arm)]
            if part.empty:
                continue
            x = places.get((arm, task), math.nan)
            base = {"panel": "" if together else task, "line": names.get(arm, arm), "x": x, "arm": arm, "task": task}
            found = frames.mean(part["value"].to_numpy(float), metric)
            kind = "mean" if found.n and math.isfinite(x) else "none"
            out.append(base | {"kind": kind, "seed": ""} | asdict(found))
            if metric not in frames.SHARES and kind == "mean":
                shown = part[np.isfinite(part["value"].to_numpy(float))]
                out += [
                    base | {"kind": "run", "seed": int(run["seed"]), "value": float(run["value"])}
                    for run in shown.to_dict("records")
                ]
    return _dodged(pd.DataFrame(out, columns=CSV), options)


def side_by_side(options: dict[str, Any]) -> bool:
    """Is x measured on the tasks, which then stand at equal distances in its order?"""
    return "metric" in options["x"]


def is_log(x: pd.Series, options: dict[str, Any]) -> bool:
    """Do the positive values span decades, of a quantity that is set and is not said to be linear?"""
    positive, linear = x[x > 0], options.get("linear") or side_by_side(options)
    return len(positive) > 0 and not linear and float(positive.max() / positive.min()) >= DECADE


def _dodged(data: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """`x_drawn`: x shifted a little by line. A reference (x = 0 on a logarithmic axis) keeps its x."""
    data = data.astype({"x": float, "value": float, "low": float, "high": float})
    log = is_log(data["x"], options)
    lines = list(dict.fromkeys(data.loc[(data["x"] > 0) | (not log), "line"]))
    places = data["x"]
    if side_by_side(options):
        places = data["task"].map({task: float(i) for i, task in enumerate(in_order(data))})
    positive = data.loc[data["x"] > 0, "x"] if log else places
    if positive.dropna().empty:
        return data.assign(x_drawn=data["x"])
    span = math.log10(positive.max() / positive.min()) if log else float(positive.max() - positive.min())
    shift = {name: (i - (len(lines) - 1) / 2) * DODGE * (span or 1.0) for i, name in enumerate(lines)}
    runs = data[data["kind"] == "run"].sort_values("seed").groupby(["arm", "task"])
    place = (runs.cumcount() + 0.5) / runs["arm"].transform("size") - 0.5  # -1/2 to 1/2
    by = data["line"].map(shift).fillna(0.0) + (place * JITTER * (span or 1.0)).reindex(data.index).fillna(0.0)
    return data.assign(x_drawn=places * 10**by if log else places + by)


def in_order(data: pd.DataFrame) -> dict[str, float]:
    """Tasks with a measured x, by it."""
    return {str(task): float(x) for task, x in data.groupby("task")["x"].first().dropna().sort_values().items()}


def dose_table(data: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """A row per point, in the order of panels, lines and x."""
    means = data[data["kind"] != "run"]
    for name in ("panel", "line"):
        places = {value: i for i, value in enumerate(dict.fromkeys(means[name]))}
        means = means.assign(**{f"{name}_place": means[name].map(places)})
    means = means.sort_values(["panel_place", "line_place", "x"], kind="stable")
    return pd.DataFrame(
        {
            "task": means["task"],
            "line": means["line"].map(frames.plain),
            frames.plain(options["x_label"]): means["x"],
            "n": [f"{n:.0f} of {planned:.0f}" for n, planned in zip(means["n"], means["planned"], strict=True)],
            "mean": means["value"],
            "95 % interval": list(map(summary.interval, means["low"], means["high"])),
        }
    )
