"""Drawing of analysis.paper_figures: Figures 3 and 4, a small panel for each of 58 games."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from analysis import paper_figures as numbers
from analysis import reported
from analysis.figures import Drawn, style
from analysis.figures.paper_panels import CLIPPED, CURVES_CSV, LOOK, our_lines, ours_sentence, signed

COLUMNS = 6
FIRST_BIN = "first bin of Figure 3"


def ends_data(figure: int, ours: numbers.Ours) -> pd.DataFrame:
    """What Figures 3 and 4 show: digitised points (first bin, last five bins) and our curves, long."""
    rate, hours = numbers.STEPS_PER_HOUR[figure], numbers.HOURS[figure]
    rows = []
    for game, row in reported.dapo_games().iterrows():
        about = {"task": game, "source": "paper", "arm": "", "seed": ""}
        # Also in Figure 4: without a zero of the game a difference of nothing would fill the panel.
        start = {"method": "PPO", "kind": FIRST_BIN, "hours": 0.0, "score": row["fig3_first_bin_ppo"]}
        rows.append(about | start)
        for method, key in (("PPO", "ppo"), ("PPO+DA", "da")):
            score = row[f"fig{figure}_{key}_last5"]
            rows.append(about | {"method": method, "kind": "mean of last 5 bins", "hours": hours, "score": score})
    data = pd.DataFrame(rows)
    mine = ours.curves[ours.curves["method"].isin(("PPO", "PPO+DA"))]
    if len(mine):
        mine = mine.rename(columns={"game": "task"}).assign(
            source="ours", kind="run", hours=(mine["step"] / rate).round(5)
        )
        data = pd.concat([data, mine], ignore_index=True)
    return data.assign(step=(data["hours"] * rate).round(0))[CURVES_CSV]


def _small_panel(axes: Axes, data: pd.DataFrame, figure: int) -> None:
    theirs, mine = data[data["source"] == "paper"], data[data["source"] == "ours"]
    for method in ("PPO", "PPO+DA"):
        look, part = LOOK[method], theirs[theirs["method"] == method]
        end = part[part["kind"] != FIRST_BIN]
        axes.axhline(float(end["score"].iloc[0]), color=look.color, linewidth=0.7, linestyle=":")
        axes.plot(end["hours"], end["score"], look.marker, color=look.color, markersize=3.4, clip_on=False, zorder=4)
        first = part[part["kind"] == FIRST_BIN]
        axes.plot(first["hours"], first["score"], ".", color=style.PAPER, markersize=4, clip_on=False)
    our_lines(axes, mine, numbers.STEPS_PER_HOUR[figure], 1.1)
    axes.set_xlim(0, numbers.HOURS[figure])
    axes.margins(y=0.18)
    axes.yaxis.set_major_locator(MaxNLocator(2))
    large = EngFormatter(sep="")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: large(y) if abs(y) >= 1 else f"{y:g}"))
    axes.tick_params(labelsize=5.5, pad=1.5, length=1.5)


def all_games(number: int, ours: numbers.Ours, out: Path) -> Drawn:
    """Figures 3 and 4: a small panel per game with the digitised ends of PPO and PPO+DA, ours on top."""
    data, games = ends_data(number, ours), list(reported.dapo_games().index)
    rows = math.ceil(len(games) / COLUMNS)
    figure = style.new_figure(*style.PAGE, layout=None)  # whose margins leave no room for 58 panels
    grid = list(figure.subplots(rows, COLUMNS).flat)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.975, bottom=0.03, wspace=0.58, hspace=0.5)
    for i, axes in enumerate(grid):
        if i >= len(games):
            axes.set_axis_off()
            continue
        _small_panel(axes, data[data["task"] == games[i]], number)
        axes.set_title(games[i], fontsize=6.2, pad=2)
        axes.tick_params(labelbottom=i + COLUMNS >= len(games))
        axes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    _all_games_legend(figure, grid[len(games)], number, ours)
    figure.supylabel("raw game score", fontsize=7, x=0.008)
    table = ends_table(number, ours)
    return style.save(figure, out, f"dapo_figure{number}", _caption34(number, ours), data, table)


def ends_table(number: int, ours: numbers.Ours) -> pd.DataFrame:
    """A row per game: PPO's start, both ends, the relative score, and what ours come to."""
    games = reported.dapo_games()
    return pd.DataFrame(
        {
            "game": games.index,
            "first bin (Figure 3)": games["fig3_first_bin_ppo"],
            "PPO": games[f"fig{number}_ppo_last5"],
            "PPO+DA": games[f"fig{number}_da_last5"],
            "relative (%)": numbers.recomputed(games, number).round(1) + 0.0,  # no -0.0
            "ours, PPO": [ours.mean(str(game), "PPO") for game in games.index],
            "ours, PPO+DA": [ours.mean(str(game), "PPO+DA") for game in games.index],
        }
    )


def _all_games_legend(figure: Figure, spare: Axes, number: int, ours: numbers.Ours) -> None:
    """In the cells that the games leave free."""
    entries: dict[str, Any] = {
        f"{name}, their end (line: its height)": Line2D(
            [], [], color=LOOK[name].color, marker=LOOK[name].marker, markersize=4, linewidth=0.7, linestyle=":"
        )
        for name in ("PPO", "PPO+DA")
    }
    first = Line2D([], [], color=style.PAPER, marker=".", markersize=5, linewidth=0)
    entries["PPO, first bin" if number == 3 else "PPO, first bin of their Figure 3"] = first
    if not ours.curves.empty:
        entries["ours (thick: median)"] = Line2D([], [], color=style.INK, linewidth=1.1, marker="o", markersize=3)
    steps, large = numbers.HOURS[number] * numbers.STEPS_PER_HOUR[number], EngFormatter(sep="", places=0)
    title = (
        f"x: 0 to {numbers.HOURS[number]:g} hours in the paper,\n{large(steps)} agent steps, "
        f"{large(steps * style.FRAMES_PER_STEP)} frames"
    )
    spare.legend(
        list(entries.values()),
        list(entries),
        loc="upper left",
        bbox_to_anchor=(-0.1, 1.1),
        title=title,
        title_fontsize=6.2,
        fontsize=6.2,
        alignment="left",
    )


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
        f"{int((proposed > baseline).sum())} of {len(games)} games; relative score: median {signed(of['median'])} %, "
        f"mean cut to {CLIPPED} {signed(of['clipped'])} %. n = 1 run per game and method: no interval. One hour "
        f"stands for {rate:g} million agent steps{inferred}. {ours_sentence(ours)}"
    )
