"""Published numbers, each row with its source (README.md beside this file). Reading a file checks every cell."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.reported.schema import EXTRA_GAMES, GAMES, TABLES, read_checked
from bench.errors import UserError

FOLDER = Path(__file__).parent
COLUMNS = {name: tuple(table.columns) for name, table in TABLES.items()}


def read(name: str, folder: Path = FOLDER) -> pd.DataFrame:
    """One reported file, every cell checked (analysis/reported/schema.py).

    Args: name: key of COLUMNS; folder: where it lies. UserError names file, row, column, what was found and what is
    allowed.
    """
    if name not in TABLES:
        raise UserError(f"no reported file {name!r}; there is: {', '.join(TABLES)}")
    return read_checked(folder / name, _games() if name != GAMES else frozenset())


@functools.cache
def _games() -> frozenset[str]:
    """Every game that a reported file may name."""
    return frozenset(read(GAMES)["game"]) | frozenset(EXTRA_GAMES)


@functools.cache
def human_random() -> dict[str, tuple[float, float]]:
    """Game -> (human, random) score, no-op starts (Wang et al. 2015); games without either are absent."""
    frame = read("atari_human_random.csv").dropna(subset=["human", "random"])
    return {str(row["game"]): (float(row["human"]), float(row["random"])) for row in frame.to_dict("records")}


@functools.cache
def unscored_games() -> frozenset[str]:
    """Atari games that no human or random score was found for."""
    return frozenset(read("atari_human_random.csv")["game"]) - frozenset(human_random())


@functools.cache
def _figure2() -> dict[tuple[str, str], pd.DataFrame]:
    frame = read("dapo_paper_fig2_curves.csv").sort_values(["game", "method", "hours"], kind="stable")
    return {
        (str(game), str(method)): part.reset_index(drop=True)
        for (game, method), part in frame.groupby(["game", "method"])
    }


def dapo_curve(game: str, method: str, steps_per_hour: float) -> pd.DataFrame | None:
    """The digitised curve of Figure 2 of the DAPO paper: step (agent steps), median, q25, q75; None if not
    there.

    step = hours x steps_per_hour (16 actors: 3500 x 3600, section 5.1). Steps, not frames. At some ends of curves the
    digitised quartiles are no band: swapped ones are put in order, those that leave the median out are NaN.
    """
    curve = _figure2().get((game, method))
    if curve is None:
        return None
    low, high = curve[["q25", "q75"]].min(axis=1), curve[["q25", "q75"]].max(axis=1)
    known = (low <= curve["median"]) & (curve["median"] <= high)
    return pd.DataFrame(
        {
            "step": np.maximum(curve["hours"].to_numpy(), 0.0) * steps_per_hour,
            "median": curve["median"],
            "q25": low.where(known),
            "q75": high.where(known),
        }
    )


def value_at(curve: pd.DataFrame, step: float, column: str = "median") -> float:
    """The curve at a step, linear between its points.

    Args: curve: as from `dapo_curve`; step: agent steps within its range (UserError outside: no
    extrapolation).
    """
    first, last = float(curve["step"].iloc[0]), float(curve["step"].iloc[-1])
    if not first <= step <= last:
        raise UserError(f"step {step:g} lies outside the digitised curve ({first:g} to {last:g} agent steps)")
    return float(np.interp(step, curve["step"], curve[column]))


@functools.cache
def dapo_games() -> pd.DataFrame:
    """The 58 games of Figures 1, 3 and 4 of the DAPO paper, one run per game and method; index: game.

    Columns: human_score, category (exploration class in the authors' repository), fig1_rel_pct (label, percent),
    fig3_first_bin_ppo, fig3_ppo_last5, fig3_da_last5, fig4_ppo_last5, fig4_da_last5 (raw scores).
    """
    return read("dapo_paper_games.csv").set_index("game")


def is_atari(task: str) -> bool:
    """Is the task a game with frames, so that an agent step is four of them?"""
    return task in human_random() or task in unscored_games()
