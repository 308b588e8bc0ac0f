"""Drawing of analysis.paper_figures: bars of relative scores, six learning curves, 58 small panels."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from analysis import paper_figures as numbers
from analysis import reported
from analysis.figures import Drawn, frames, style

CLASSES = {  # exploration class -> name, colour: dark for hard and sparse, also in grey
    "EasyExploration": ("easy exploration", "#9CC9E8"),
    "HardExplorationDenseReward": ("hard, dense reward", "#D55E00"),
    "HardExplorationSparseReward": ("hard, sparse reward", "#222222"),
    "Unknown": ("unclassed (no human score)", "#CCCCCC"),
}
LOOK = {
    "PPO": style.LOOKS[0],
    "PPO+DA": style.LOOKS[1],
    "PPO+DA(1-step)": style.LOOKS[2],
    "PPO+Entropy": style.LOOKS[5],
}
WINDOW = (-60.0, 205.0)  # percent shown in Figure 1; the paper cuts at 200
CLIPPED = f"[{numbers.CLIP[0]:.0f}, {numbers.CLIP[1]:.0f}]"
COLUMNS = 8
FIRST_BIN = "first bin of Figure 3"
CURVES_CSV = ["game", "source", "method", "seed", "kind", "hours", "step", "score"]


def _ours_sentence(ours: numbers.Ours) -> str:
    if ours.curves.empty:
        return " ".join(["No run of ours is in it.", *ours.notes])
    seeds = ours.curves.groupby(["game", "method"])["seed"].nunique()
    n = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    games = ours.curves["game"].nunique()
    return " ".join([f"Ours: {games} games, n = {n} runs per game and method.", *ours.notes])


def _signed(value: float) -> str:
    """A number with its sign and one digit; a zero is no -0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"


def relative_data(ours: numbers.Ours) -> pd.DataFrame:
    """What Figure 1 shows, a row per game, sorted by the paper's label: reported, recomputed, ours (percent)."""
    games = reported.dapo_games()
    data = pd.DataFrame(
        {
            "category": games["category"],
            "reported": games["fig1_rel_pct"].astype(float),
            "recomputed_fig3": numbers.recomputed(games, 3).round(1),
            "ours": numbers.our_relative(ours, games).round(1),
        }
    )
    data.index.name = "game"
    return data.reset_index().sort_values(["reported", "recomputed_fig3", "game"], ascending=False, ignore_index=True)


def relative_scores(ours: numbers.Ours, out: Path) -> Drawn:
    """Figure 1: a bar per game, sorted, coloured by exploration class; recomputed values and ours as marks."""
    data = relative_data(ours)
    figure = style.new_figure(6.4, 8.6)
    axes = figure.subplots()
    low, high = WINDOW
    for y, row in enumerate(data.to_dict("records")):
        color = CLASSES[row["category"]][1]
        axes.barh(y, np.clip(row["reported"], low, high), height=0.74, color=color, linewidth=0)
    for column, look, face in (("recomputed_fig3", style.LOOKS[3], "white"), ("ours", style.LOOKS[0], style.INK)):
        part = data[data[column].notna()]
        axes.plot(
            part[column].clip(low + 3, high - 3),
            part.index,
            look.marker if column == "recomputed_fig3" else "^",
            markerfacecolor=face,
            markeredgecolor=style.INK,
            markeredgewidth=0.7,
            markersize=3.4,
            linewidth=0,
        )
    axes.axvline(0, color=style.INK, linewidth=0.6)
    _columns_of_numbers(axes, data)
    axes.set_xlim(low, high)
    axes.set_ylim(len(data) - 0.4, -0.6)
    axes.set_yticks(range(len(data)), list(data["game"]), fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xticks([-50, 0, 50, 100, 150, 200])
    axes.set_xlabel("relative score of PPO+DA over PPO, percent")
    entries: dict[str, Any] = {name: Patch(facecolor=color) for name, color in CLASSES.values()}
    mark: dict[str, Any] = {"markeredgecolor": style.INK, "linewidth": 0, "markersize": 4}
    entries["recomputed from their Figure 3"] = Line2D([], [], marker="D", markerfacecolor="white", **mark)
    if data["ours"].notna().any():
        entries["ours"] = Line2D([], [], marker="^", markerfacecolor=style.INK, **mark)
    axes.legend(list(entries.values()), list(entries), loc="lower right", frameon=True, edgecolor="none")
    return style.save(figure, out, "dapo_figure1", _caption1(data, ours), frames.csv(data))


def _columns_of_numbers(axes: Axes, data: pd.DataFrame) -> None:
    """The paper's labels beside what they come to when recomputed, and ours, to the right of the bars."""
    place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 6}
    columns = {"reported": "label", "recomputed_fig3": "from\nFig. 3"}
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
        f"labels it, percent (bars, cut at {WINDOW[1] - 5:.0f} as there, and first column): {of['above']} of "
        f"{of['games']} games above 0, {of['zero']} at 0, {of['below']} below; median {_signed(of['median'])}, mean "
        f"{_signed(of['mean'])}, mean cut to {CLIPPED} {_signed(of['clipped'])}. n = 1 run per game and method: no "
        "interval. Diamonds: recomputed from the digitised ends of their Figure 3 (rank correlation with the labels "
        f"{numbers.rank_agreement(games, 3):.2f}; from Figure 4 {numbers.rank_agreement(games, 4):.2f}); "
        f"VideoPinball's denominator is negative there. {_ours_sentence(ours)}"
    )


def curves_data(ours: numbers.Ours, games: list[str]) -> pd.DataFrame:
    """What Figure 2 shows, long: the digitised median and quartiles, and our runs within the same hours."""
    parts = []
    for game in games:
        for method in numbers.METHODS:
            curve = reported.dapo_curve(game, method, numbers.STEPS_PER_HOUR[2])
            if curve is not None:
                for kind in ("median", "q25", "q75"):
                    lines = {"game": game, "source": "paper", "method": method, "seed": "", "kind": kind}
                    parts.append(pd.DataFrame({"step": curve["step"], "score": curve[kind]}).assign(**lines))
    mine = ours.curves[ours.curves["game"].isin(games)]
    if len(mine):
        parts.append(mine.assign(source="ours", kind="run"))
    data = pd.concat(parts, ignore_index=True)
    return data.assign(hours=(data["step"] / numbers.STEPS_PER_HOUR[2]).round(5))[CURVES_CSV]


def _time_axis(axes: Axes, figure: int, label: bool) -> None:
    """Hours of the paper's machine, and below the agent steps that they stand for."""
    steps, rate = EngFormatter(sep="", places=0), numbers.STEPS_PER_HOUR[figure]
    axes.xaxis.set_major_formatter(FuncFormatter(lambda hours, _: f"{hours:g} h\n{steps(hours * rate)}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, numbers.HOURS[figure])
    if label:
        axes.set_xlabel("hours in the paper\nagent steps")


def _our_lines(axes: Axes, part: pd.DataFrame, rate: float, width: float) -> None:
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
    figure = style.new_figure(7.2, 4.4)
    for i, (axes, game) in enumerate(zip(figure.subplots(2, 3).flat, games, strict=True)):
        theirs = data[(data["game"] == game) & (data["source"] == "paper")]
        for method in numbers.METHODS:
            lines = theirs[theirs["method"] == method].pivot(index="hours", columns="kind", values="score")
            look = LOOK[method]
            axes.fill_between(lines.index, lines["q25"], lines["q75"], color=look.color, alpha=0.14, linewidth=0)
            axes.plot(lines.index, lines["median"], color=look.color, linewidth=1.1, linestyle=look.line)
        _our_lines(axes, data[(data["game"] == game) & (data["source"] == "ours")], numbers.STEPS_PER_HOUR[2], 2.0)
        axes.set_title(game)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        _time_axis(axes, 2, i >= 3)
        if i % 3 == 0:
            axes.set_ylabel("raw game score")
    entries = {name: Line2D([], [], color=look.color, linestyle=look.line) for name, look in LOOK.items()}
    if not ours.curves.empty:
        entries["ours (thick: median)"] = Line2D([], [], color=style.INK, linewidth=2.0, marker="o", markersize=3)
    figure.legend(list(entries.values()), list(entries), loc="outside lower left", ncols=5, handlelength=2.6)
    caption = (
        "Learning curves of the DAPO paper's Figure 2, digitised: median (lines) and 25 to 75 % band of n = 5 runs per "
        "method, 16 actors; the band is no confidence interval. One hour stands for 12.6 million agent steps (3500 per "
        f"second). {_ours_sentence(ours)}"
    )
    return style.save(figure, out, "dapo_figure2", caption, frames.csv(data))


def ends_data(figure: int, ours: numbers.Ours) -> pd.DataFrame:
    """What Figures 3 and 4 show: digitised points (first bin, last five bins) and our curves, long."""
    rate, hours = numbers.STEPS_PER_HOUR[figure], numbers.HOURS[figure]
    rows = []
    for game, row in reported.dapo_games().iterrows():
        about = {"game": game, "source": "paper", "seed": ""}
        # Also in Figure 4: without a zero of the game a difference of nothing would fill the panel.
        start = {"method": "PPO", "kind": FIRST_BIN, "hours": 0.0, "score": row["fig3_first_bin_ppo"]}
        rows.append(about | start)
        for method, key in (("PPO", "ppo"), ("PPO+DA", "da")):
            score = row[f"fig{figure}_{key}_last5"]
            rows.append(about | {"method": method, "kind": "mean of last 5 bins", "hours": hours, "score": score})
    data = pd.DataFrame(rows)
    mine = ours.curves[ours.curves["method"].isin(("PPO", "PPO+DA"))]
    if len(mine):
        mine = mine.assign(source="ours", kind="run", hours=(mine["step"] / rate).round(5))
        data = pd.concat([data, mine], ignore_index=True)
    return data.assign(step=(data["hours"] * rate).round(0))[CURVES_CSV]


def _small_panel(axes: Axes, data: pd.DataFrame, figure: int) -> None:
    theirs, mine = data[data["source"] == "paper"], data[data["source"] == "ours"]
    for method in ("PPO", "PPO+DA"):
        look, part = LOOK[method], theirs[theirs["method"] == method]
        end = part[part["kind"] != FIRST_BIN]
        axes.axhline(float(end["score"].iloc[0]), color=look.color, linewidth=0.7, linestyle=look.line, alpha=0.5)
        axes.plot(end["hours"], end["score"], look.marker, color=look.color, markersize=3.6, clip_on=False, zorder=4)
        first = part[part["kind"] == FIRST_BIN]
        axes.plot(first["hours"], first["score"], ".", color=style.PAPER, markersize=4, clip_on=False)
    _our_lines(axes, mine, numbers.STEPS_PER_HOUR[figure], 1.1)
    axes.set_xlim(0, numbers.HOURS[figure])
    axes.margins(y=0.18)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    large = EngFormatter(sep="")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: large(y) if abs(y) >= 1 else f"{y:g}"))
    axes.tick_params(labelsize=5, pad=1.5, length=1.5)


def all_games(number: int, ours: numbers.Ours, out: Path) -> Drawn:
    """Figures 3 and 4: a small panel per game with the digitised ends of PPO and PPO+DA, ours on top."""
    data, games = ends_data(number, ours), list(reported.dapo_games().index)
    rows = math.ceil(len(games) / COLUMNS)
    figure = style.new_figure(8.8, 0.95 * rows + 0.6, layout=None)  # whose margins leave no room for 58 panels
    grid = list(figure.subplots(rows, COLUMNS).flat)
    figure.subplots_adjust(left=0.07, right=0.985, top=0.97, bottom=0.035, wspace=0.52, hspace=0.42)
    for i, axes in enumerate(grid):
        if i >= len(games):
            axes.set_axis_off()
            continue
        _small_panel(axes, data[data["game"] == games[i]], number)
        axes.set_title(games[i], fontsize=5.8, pad=2)
        axes.tick_params(labelbottom=i + COLUMNS >= len(games))
        axes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    _all_games_legend(figure, number, ours)
    figure.supylabel("raw game score", fontsize=7, x=0.008)
    return style.save(figure, out, f"dapo_figure{number}", _caption34(number, ours), frames.csv(data))


def _all_games_legend(figure: Figure, number: int, ours: numbers.Ours) -> None:
    entries: dict[str, Any] = {
        f"{name}, their end": Line2D(
            [], [], color=LOOK[name].color, marker=LOOK[name].marker, markersize=4, linewidth=0.7
        )
        for name in ("PPO", "PPO+DA")
    }
    first = Line2D([], [], color=style.PAPER, marker=".", markersize=5, linewidth=0)
    entries["PPO, first bin" if number == 3 else "PPO, first bin of their Figure 3"] = first
    if not ours.curves.empty:
        entries["ours (thick: median)"] = Line2D([], [], color=style.INK, linewidth=1.1, marker="o", markersize=3)
    title = f"x: hours in the paper, 0 to {numbers.HOURS[number]:g}"
    figure.legend(list(entries.values()), list(entries), loc="lower right", ncols=4, title=title, title_fontsize=7)


def _caption34(figure: int, ours: numbers.Ours) -> str:
    games = reported.dapo_games()
    baseline, proposed = games[f"fig{figure}_ppo_last5"], games[f"fig{figure}_da_last5"]
    of = numbers.summary(numbers.recomputed(games, figure))
    rate = numbers.STEPS_PER_HOUR[figure] / 1e6
    inferred = " (inferred from the rate of 16 actors)" if figure == 4 else ""
    shown = "the first bin of PPO" + (" (of Figure 3)" if figure == 4 else "") + " and the ends"
    return (
        f"Final scores of PPO and PPO+DA in the DAPO paper's Figure {figure} ({numbers.ACTORS[figure]} actors, "
        f"{numbers.HOURS[figure]:g} hours): {shown} (mean of the last 5 bins) are digitised, the curves themselves are "
        "not; the lines only carry the end across the panel. PPO+DA is above PPO in "
        f"{int((proposed > baseline).sum())} of {len(games)} games; relative score: median {_signed(of['median'])} %, "
        f"mean cut to {CLIPPED} {_signed(of['clipped'])} %. n = 1 run per game and method: no interval. One hour "
        f"stands for {rate:g} million agent steps{inferred}. {_ours_sentence(ours)}"
    )
