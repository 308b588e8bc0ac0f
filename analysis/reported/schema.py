"""What each reported file holds, as a table, and the check of a file against it, cell by cell.

A cell that breaks its rule is refused in one sentence: file, row (the header is row 1), column, what was found, what
is allowed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.errors import UserError

CLASSES = ("EasyExploration", "HardExplorationDenseReward", "HardExplorationSparseReward")
GAMES = "atari_human_random.csv"  # its games, and EXTRA_GAMES, are those that the other files may name
EXTRA_GAMES = ("Adventure", "ElevatorAction")  # published, but in neither list of human scores
MUJOCO = (
    *("Ant", "HalfCheetah", "Hopper", "Humanoid", "HumanoidStandup", "InvertedDoublePendulum", "InvertedPendulum"),
    *("Pusher", "Reacher", "Swimmer", "Walker2d"),
)
METHODS = ("PPO", "PPO+DA", "PPO+DA(1-step)", "PPO+Entropy")


@dataclass(frozen=True)
class Column:
    """The rule of a column: what `kind` of value, whether it may be blank, and which values are allowed."""

    kind: str  # text | number | whole | game
    blank: bool = False
    low: float = -np.inf
    above: float = -np.inf  # the value must be larger than this
    high: float = np.inf
    allowed: tuple[str, ...] = ()  # texts; () = any

    def says(self) -> str:
        """What is allowed, for the sentence of a refusal."""
        if self.kind == "game":
            return f"a game of {GAMES}"
        if self.kind == "text":
            said = f"one of {', '.join(self.allowed)}" if self.allowed else "a text"
        else:
            said = "a whole number" if self.kind == "whole" else "a number"
            said += f" above {self.above:g}" if self.above > -np.inf else ""
            said += f" from {self.low:g}" if self.low > -np.inf else ""
            said += f" to {self.high:g}" if self.high < np.inf else ""
        return said + (" or nothing" if self.blank else "")


@dataclass(frozen=True)
class Table:
    """The rules of a file: its columns in their order, and which of them name a row."""

    columns: dict[str, Column]
    key: tuple[str, ...]
    ordered: tuple[str, str, str] | None = None  # columns a <= b <= c; the key but its last column names a curve
    disordered: int = 0  # ends of curves that are known to break that order, by the extraction from a figure


TEXT, SCORE, GAME = Column("text"), Column("number"), Column("game")
MAY_TEXT, MAY_SCORE = Column("text", blank=True), Column("number", blank=True)
SPREAD = Column("number", blank=True, low=0)
RUNS = Column("whole", blank=True, low=1, high=1000)
BUDGET = Column("whole", blank=True, above=0)  # frames, or agent steps
HOURS = Column("number", low=0, high=10)
TABLES = {
    GAMES: Table(
        {"game": TEXT, "random": MAY_SCORE, "human": MAY_SCORE}
        | {"exploration_class": Column("text", blank=True, allowed=CLASSES), "human_in_dapo_repo": MAY_SCORE}
        | {"in_dapo_game_list": Column("text", allowed=("yes", "no")), "random_mnih2015": MAY_SCORE}
        | dict.fromkeys(("human_mnih2015", "random_human_starts", "human_human_starts"), MAY_SCORE)
        | {"n_agreeing_sources": Column("whole", low=0, high=4)}
        | dict.fromkeys(("source", "source_detail", "protocol"), TEXT),
        ("game",),
    ),
    "atari_published.csv": Table(
        {"game": GAME, "algorithm": TEXT, "implementation": TEXT, "score": SCORE, "score_std": SPREAD}
        | {"frames": BUDGET, "seeds": RUNS, "env_version": MAY_TEXT, "score_kind": TEXT, "std_kind": MAY_TEXT}
        | {"approx": Column("whole", low=0, high=1)}
        | dict.fromkeys(("source", "source_detail", "protocol"), TEXT),
        ("source", "algorithm", "implementation", "game", "frames"),
    ),
    "mujoco_published.csv": Table(
        {"env": Column("text", allowed=MUJOCO), "env_version": MAY_TEXT, "algorithm": TEXT, "implementation": TEXT}
        | {"score": SCORE, "std": SPREAD, "steps": BUDGET, "seeds": RUNS, "score_kind": TEXT, "std_kind": MAY_TEXT}
        | {"approx": Column("whole", low=0, high=1)}
        | dict.fromkeys(("source", "source_detail", "protocol"), TEXT),
        # One page of documentation prints several tables of the same kind, so the score belongs to the key.
        ("source", "implementation", "env", "env_version", "steps", "score_kind", "score"),
    ),
    "dapo_paper_games.csv": Table(
        {"game": GAME, "human_score": MAY_SCORE, "category": Column("text", allowed=("Unknown", *CLASSES))}
        | {"fig1_rel_pct": Column("whole", low=-1000, high=1000), "fig3_first_bin_ppo": SCORE}
        | dict.fromkeys(("fig3_ppo_last5", "fig3_da_last5", "fig4_ppo_last5", "fig4_da_last5"), SCORE),
        ("game",),
    ),
    "dapo_paper_fig2_curves.csv": Table(
        {"game": GAME, "method": Column("text", allowed=METHODS), "hours": HOURS}
        | dict.fromkeys(("median", "q25", "q75"), SCORE),
        ("game", "method", "hours"),
        ("q25", "median", "q75"),
        26,
    ),
    "dapo_repo_ppo_curves.csv": Table({"game": GAME, "hours": HOURS, "score": SCORE}, ("game", "hours")),
    "dapo_repo_ppo_final.csv": Table(
        {"game": GAME, "final_score": SCORE, "max_score": SCORE, "pixel_error": Column("number", above=0)}
        | {"source": TEXT, "protocol": TEXT, "last_hour": Column("number", above=0, high=10), "note": MAY_TEXT},
        ("game",),
    ),
    "atari_score_steps.csv": Table(  # ours: `python -m analysis.score_steps`
        {"game": TEXT}
        | dict.fromkeys(("divisor", "smallest", "rewards"), Column("whole", low=0))
        | dict.fromkeys(("seeds", "agent_steps"), Column("whole", low=1))
        | {"source": TEXT},
        ("game",),
    ),
}


def _refuse(path: Path, row: int, column: str, found: str, allowed: str) -> UserError:
    """Args: row: counted from 0 among the rows of data."""
    return UserError(f"{path}, row {row + 2}, column {column}: found {found}; allowed: {allowed}")


def _broken(cells: pd.Series, rule: Column, games: frozenset[str]) -> pd.Series:
    """True where a cell breaks its rule. Args: cells: text."""
    empty = cells == ""
    if rule.kind == "text":
        wrong = ~cells.isin(rule.allowed) if rule.allowed else pd.Series(False, index=cells.index)
    elif rule.kind == "game":
        wrong = ~cells.isin(games)
    else:
        values = pd.to_numeric(cells, errors="coerce")
        wrong = ~np.isfinite(values) | (values < rule.low) | (values > rule.high) | (values <= rule.above)
        wrong |= (values % 1 != 0) if rule.kind == "whole" else False
    return (wrong & ~empty) | (empty & (not rule.blank))


def _check_rows(path: Path, table: Table, text: pd.DataFrame, frame: pd.DataFrame) -> None:
    """Refuse a row that is there twice, and more disordered rows than are known."""
    key = list(table.key)
    if (twice := text.duplicated(key)).any():
        row = int(np.flatnonzero(twice)[0])
        raise _refuse(path, row, " + ".join(key), f"{', '.join(text[key].iloc[row])} a second time", "once")
    if table.ordered:
        low, middle, high = (frame[name] for name in table.ordered)
        off = (low > middle) | (middle > high)
        curve = text.groupby(key[:-1], sort=False)[key[-1]]
        inside = off & (curve.cumcount() > 0) & (curve.cumcount(ascending=False) > 0)
        if inside.any():
            row, names = int(np.flatnonzero(inside)[0]), list(table.ordered)
            raise _refuse(path, row, names[1], ", ".join(text[names].iloc[row]), f"{' <= '.join(names)} inside a curve")
        if int(off.sum()) > table.disordered:
            row = int(np.flatnonzero(off)[-1])
            found = f"{int(off.sum())} ends of curves outside {table.ordered[0]} to {table.ordered[2]}"
            raise _refuse(path, row, table.ordered[1], found, f"the {table.disordered} known ones")


def read_checked(path: Path, games: frozenset[str]) -> pd.DataFrame:
    """A file as a typed frame, blanks as NaN (UserError for whatever breaks its rules).

    Args: path: its name is a key of TABLES; games: what a column of games may hold.
    """
    table = TABLES[path.name]
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False).fillna("")  # of short rows
    except (OSError, ValueError) as error:  # no file, no text, or rows of different lengths
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    found = [str(name) for name in text.columns]
    if absent := [name for name in table.columns if name not in found]:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}; it has {', '.join(found)}")
    if found != list(table.columns) or not isinstance(text.index, pd.RangeIndex):
        raise UserError(f"{path} has the columns {', '.join(found)}; allowed: {', '.join(table.columns)}")
    if text.empty:
        raise UserError(f"{path} has no rows")
    frame = pd.DataFrame(index=text.index)
    for name, rule in table.columns.items():
        if (broken := _broken(text[name], rule, games)).any():
            row = int(np.flatnonzero(broken)[0])
            raise _refuse(path, row, name, repr(text.loc[row, name]) if text.loc[row, name] else "nothing", rule.says())
        is_text = rule.kind in ("text", "game")
        frame[name] = text[name].where(text[name] != "") if is_text else pd.to_numeric(text[name])
    _check_rows(path, table, text, frame)
    return frame
