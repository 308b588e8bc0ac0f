"""Drawing of analysis.paper_figures: Figure 1, bars of relative scores, and Figure 2, six learning curves."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from analysis import paper_figures as numbers
from analysis import reported
from analysis.figures import Drawn, style, summary

CLASSES = {  # exploration class -> name, colour, hatch: from pale to dark, so that grey says the same
    "EasyExploration": ("easy exploration", "#BFD9C7", ""),
    "HardExplorationDenseReward": ("hard, dense reward", "#C0504D", ""),
    "HardExplorationSparseReward": ("hard, sparse reward", "#222222", ""),
    "Unknown": ("unclassed (no human score)", "#FFFFFF", "//////"),
}
LOOK = {
    "PPO": style.LOOKS["ppo"],
    "PPO+DA": style.LOOKS["da_full"],
    "PPO+DA(1-step)": style.LOOKS["da_1step"],
    "PPO+Entropy": style.LOOKS["ppo_entropy"],
}
WINDOW = (-60.0, 205.0)  # percent shown in Figure 1; the paper cuts at 200
MARKED = (-52.0, 191.0)  # percent between which a diamond or a triangle of Figure 1 stands where it belongs
CLIPPED = f"[{numbers.CLIP[0]:.0f}, {numbers.CLIP[1]:.0f}]"
CURVES_CSV = ["task", "source", "method", "arm", "seed", "kind", "hours", "step", "score"]


def ours_sentence(ours: numbers.Ours) -> str:
    """What of ours is in a figure and what is left out, for its caption."""
    if ours.curves.empty:
        return " ".join(["No run of ours is in it.", *ours.notes])
    seeds = ours.curves.groupby(["game", "method"])["seed"].nunique()
    n = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    games = ours.curves["game"].nunique()
    return " ".join([f"Ours: {games} games, n = {n} runs per game and method.", *ours.notes])


def signed(value: float) -> str:
    """A number with its sign and one digit; a zero is no -0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"


def relative_data(ours: numbers.Ours) -> pd.DataFrame:
    """What Figure 1 shows, a row per game, sorted by the paper's label: reported, recomputed, ours (percent)."""
    games = reported.dapo_games()
    data = pd.DataFrame(
        {
            "category": games["category"],
            "reported": games["fig1_rel_pct"].astype(float),
            "recomputed_fig3": numbers.recomputed(games, 3).round(1) + 0.0,  # no -0.0
            "ours": numbers.our_relative(ours, games).round(1) + 0.0,
        }
    )
    data.index.name = "task"
    return data.reset_index().sort_values(["reported", "recomputed_fig3", "task"], ascending=False, ignore_index=True)


def relative_scores(ours: numbers.Ours, out: Path) -> Drawn:
    """Figure 1: a bar per game, sorted, coloured by exploration class; recomputed values and ours as marks."""
    data = relative_data(ours)
    figure = style.new_figure(6.4, 8.2, layout=None)  # whose margins know nothing of the numbers at the right
    axes = figure.subplots()
    figure.subplots_adjust(left=0.17, right=0.83, top=0.955, bottom=0.055)
    low, high = WINDOW
    for y, row in enumerate(data.to_dict("records")):
        _, color, hatch = CLASSES[row["category"]]
        value = np.clip(row["reported"], low, high)
        axes.barh(y, value, height=0.74, color=color, hatch=hatch, edgecolor=style.PAPER, linewidth=0.3)
        if value != row["reported"]:
            axes.plot(high - 3, y, ">", color=style.INK, markersize=3.4)
    for column, marker, face in (("recomputed_fig3", "D", "white"), ("ours", "^", style.INK)):
        part, ends = data[data[column].notna()], MARKED
        drawn: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": style.INK, "linewidth": 0}
        axes.plot(part[column].clip(*ends), part.index, marker, markeredgewidth=0.7, markersize=3.4, **drawn)
        for end, beyond, arrow, shift in (
            (ends[0], part[column] < ends[0], "<", -5),
            (ends[1], part[column] > ends[1], ">", 5),
        ):
            rows = part.index[beyond]
            axes.plot([end + shift] * len(rows), rows, arrow, markeredgewidth=0.6, markersize=3.2, **drawn)
    axes.axvline(0, color=style.INK, linewidth=0.6)
    _columns_of_numbers(axes, data)
    axes.set_xlim(low, high)
    axes.set_ylim(len(data) - 0.4, -0.6)
    axes.set_yticks(range(len(data)), list(data["task"]), fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xticks([-50, 0, 50, 100, 150, 200])
    axes.set_xlabel("relative score of PPO+DA over PPO, percent")
    entries: dict[str, Any] = {
        name: Patch(facecolor=color, hatch=hatch, edgecolor=style.PAPER, linewidth=0.3)
        for name, color, hatch in CLASSES.values()
    }
    mark: dict[str, Any] = {"markeredgecolor": style.INK, "linewidth": 0, "markersize": 4}
    entries["recomputed from their Figure 3"] = Line2D([], [], marker="D", markerfacecolor="white", **mark)
    if data["ours"].notna().any():
        entries["ours"] = Line2D([], [], marker="^", markerfacecolor=style.INK, **mark)
    axes.legend(list(entries.values()), list(entries), loc="lower right", frameon=True, edgecolor="none")
    table = data.assign(category=[CLASSES[name][0] for name in data["category"]]).rename(
        columns={
            "task": "game",
            "category": "exploration",
            "reported": "reported (%)",
            "recomputed_fig3": "from Figure 3 (%)",
            "ours": "ours (%)",
        }
    )
    return style.save(figure, out, "dapo_figure1", _caption1(data, ours), data, table)


def _columns_of_numbers(axes: Axes, data: pd.DataFrame) -> None:
    """The paper's labels beside what they come to when recomputed, and ours, to the right of the bars."""
    place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 6}
    columns = {"reported": "paper", "recomputed_fig3": "from\nFig. 3"}
    if data["ours"].notna().any():
        columns["ours"] = "ours"
    for i, (name, head) in enumerate(columns.items()):
        x = 1.07 + 0.075 * i
        axes.annotate(head, (x, -1.6), **place, annotation_clip=False)
        for y, value in enumerate(data[name]):
            text = "" if math.isnan(value) else f"{round(value) + 0:+d}" if round(value) else "0"
            axes.annotate(text, (x, y), **place, annotation_clip=False)


def _caption1(data: pd.DataFrame, ours: numbers.Ours) -> str:
    games = reported.dapo_games()
    of = numbers.summary(data["reported"])
    return (
        f"Relative score of PPO+DA over PPO, (PPO+DA - PPO) / (max(human, PPO) - random), as the DAPO paper's Figure 1 "
        f"labels it, percent (bars, cut at {WINDOW[1] - 5:.0f} as there, an arrow where one is longer, and first "
        f"column): {of['above']} of {of['games']} games above 0, {of['zero']} at 0, {of['below']} below; median "
        f"{signed(of['median'])}, mean {signed(of['mean'])}, mean cut to {CLIPPED} {signed(of['clipped'])}. "
        "n = 1 run per game and method: no "
        "interval. Diamonds: recomputed from the digitised ends of their Figure 3 (rank correlation with the labels "
        f"{numbers.rank_agreement(games, 3):.2f}; from Figure 4 {numbers.rank_agreement(games, 4):.2f}); "
        f"VideoPinball's denominator is negative there. {_beyond(data)} {ours_sentence(ours)}"
    )


def _beyond(data: pd.DataFrame) -> str:
    """Which marks stand at an end of the axis because they lie beyond it, for the caption."""
    marks = data[["recomputed_fig3", "ours"]]
    gone = data.loc[((marks < MARKED[0]) | (marks > MARKED[1])).any(axis=1), "task"]
    return (
        f"Marks with an arrow lie beyond the axis, their numbers at the right: {', '.join(gone)}." if len(gone) else ""
    )


def curves_data(ours: numbers.Ours, games: list[str]) -> pd.DataFrame:
    """What Figure 2 shows, long: the digitised median and quartiles, and our runs within the same hours."""
    parts = []
    for game in games:
        for method in numbers.METHODS:
            curve = reported.dapo_curve(game, method, numbers.STEPS_PER_HOUR[2])
            if curve is not None:
                for kind in ("median", "q25", "q75"):
                    lines = {"task": game, "source": "paper", "method": method, "arm": "", "seed": "", "kind": kind}
                    parts.append(pd.DataFrame({"step": curve["step"], "score": curve[kind]}).assign(**lines))
    mine = ours.curves[ours.curves["game"].isin(games)]
    if len(mine):
        parts.append(mine.rename(columns={"game": "task"}).assign(source="ours", kind="run"))
    data = pd.concat(parts, ignore_index=True)
    return data.assign(hours=(data["step"] / numbers.STEPS_PER_HOUR[2]).round(5))[CURVES_CSV]


def _time_axis(axes: Axes, figure: int, label: bool) -> None:
    """Hours of the paper's machine, and below the agent steps and frames that they stand for."""
    steps, rate = EngFormatter(sep="", places=0), numbers.STEPS_PER_HOUR[figure]

    def all_three(hours: float, _: int | None = None) -> str:
        return f"{hours:g} h\n{steps(hours * rate)}\n{steps(hours * rate * style.FRAMES_PER_STEP)}"

    axes.xaxis.set_major_formatter(FuncFormatter(all_three))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, numbers.HOURS[figure])
    if label:
        axes.set_xlabel(f"hours in the paper\nagent steps\nframes ({style.FRAMES_PER_STEP} per agent step)")


def our_lines(axes: Axes, part: pd.DataFrame, rate: float, width: float) -> None:
    """Our runs, thin, and their median, thick, by method."""
    for method, runs in part.groupby("method"):
        look = LOOK[str(method)]
        for _, run in runs.groupby("seed"):
            axes.plot(run["step"] / rate, run["score"], color=look.color, linewidth=0.4, alpha=0.5)
        middle = runs.groupby("step")["score"].median()
        axes.plot(
            middle.index / rate,
            middle,
            color=look.color,
            linewidth=width,
            marker=look.marker,
            markersize=3,
            markevery=12,
        )


def six_games(ours: numbers.Ours, out: Path) -> Drawn:
    """Figure 2: six games, median and 25 to 75 % band of the paper's methods, ours on top."""
    games = sorted(reported.read("dapo_paper_fig2_curves.csv")["game"].unique())
    data = curves_data(ours, games)
    figure = style.new_figure(style.PAGE[0], 4.7)
    for i, (axes, game) in enumerate(zip(figure.subplots(2, 3).flat, games, strict=True)):
        theirs = data[(data["task"] == game) & (data["source"] == "paper")]
        for j, method in enumerate(numbers.METHODS):
            lines = theirs[theirs["method"] == method].pivot(index="hours", columns="kind", values="score")
            look = LOOK[method]
            axes.fill_between(lines.index, lines["q25"], lines["q75"], color=look.color, alpha=0.14, linewidth=0)
            drawn: dict[str, Any] = {"color": look.color, "linewidth": 1.1, "linestyle": look.line, "markersize": 3}
            axes.plot(lines.index, lines["median"], marker=look.marker, markevery=(5 + 7 * j, 28), **drawn)
        our_lines(axes, data[(data["task"] == game) & (data["source"] == "ours")], numbers.STEPS_PER_HOUR[2], 2.0)
        axes.set_title(game)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        _time_axis(axes, 2, i >= 3)
        if i % 3 == 0:
            axes.set_ylabel("raw game score")
    entries = {
        name: Line2D([], [], color=look.color, linestyle=look.line, linewidth=1.1, marker=look.marker, markersize=3)
        for name, look in LOOK.items()
    }
    if not ours.curves.empty:
        entries["ours (thick: median)"] = Line2D([], [], color=style.INK, linewidth=2.0, marker="o", markersize=3)
    style.below(figure, entries, 5)
    caption = (
        "Learning curves of the DAPO paper's Figure 2, digitised: median (lines) and 25 to 75 % band of n = 5 runs per "
        "method, 16 actors; the band is no confidence interval. One hour stands for 12.6 million agent steps (3500 per "
        "second). Where a curve's last point has no digitised band, the table has the quartiles of the last point with "
        f"one, and its hour. {ours_sentence(ours)}"
    )
    return style.save(figure, out, "dapo_figure2", caption, data, curves_table(data))


def curves_table(data: pd.DataFrame) -> pd.DataFrame:
    """A row per game, source and method: the curve's last point and last quartiles, of ours the median over runs."""
    rows = []
    for (game, source, method), part in data.groupby(["task", "source", "method"], sort=False):
        known = part.dropna(subset="score")
        last = known.groupby("kind")["hours"].max()
        ends = known[known["hours"] == known["kind"].map(last)].groupby("kind")["score"].median()
        band = summary.interval(ends.get("q25", math.nan), ends.get("q75", math.nan))
        early = last.get("q25", math.inf) < last.max()
        rows.append(
            {
                "game": game,
                "source": source,
                "method": method,
                "n": numbers.RUNS[2] if source == "paper" else part["seed"].nunique(),
                "hours": part["hours"].max(),
                "median": ends.get("median", ends.get("run", math.nan)),
                "quartiles": f"{band} at {last['q25']:g} h" if early else band,
            }
        )
    return pd.DataFrame(rows)
