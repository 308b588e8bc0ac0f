"""What no honest set of runs holds: every fault by its name, with the rule that finds it in a run or between runs.

Names, in FAULTS with what each means and what to do:

* `seed counted twice`: two seeds of an arm and task hold one training run;
* `no fingerprint`: a finished run without params_sha256, so that nobody can tell whether it is another one;
* `survivors only`: planned runs were taken out of a plan or a pack, so that a mean would be over those that are left;
* `frames taken for steps`: files that count emulator frames where agent steps belong;
* `clipped returns taken for scores`: returns that are no multiples of what the game's score moves by;
* `evaluations taken for runs`: evaluation episodes where training games, or training runs, belong;
* `another game`: returns that the game cannot give.

`analysis.load` makes such a run `failed`, which is then shown and imputed; `analysis.archive` refuses a pack with one.
`analysis.planted` plants each of them. Where a rule is blind: games whose score moves by 1 (clipped returns look like
scores), runs with fewer than three games that scored, and two seeds with few games that are all alike.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plan import PlannedRun
from bench.errors import UserError

SCORE_STEPS = Path(__file__).parent / "reported" / "atari_score_steps.csv"
SCORE_STEPS_COLUMNS = ("game", "divisor", "smallest", "rewards", "seeds", "agent_steps", "source")
FAULTS = {
    "seed counted twice": (
        "Two seeds hold one training run, so an interval would be narrower than the evidence.",
        "run the other seed, or take it out of the plan before any run",
    ),
    "no fingerprint": (
        "A finished run has no params_sha256, so nothing shows that it is a run of its own.",
        "run it again",
    ),
    "survivors only": (
        "Runs that were planned are no longer asked for, so a mean would be over those that came through.",
        "restore the plan; lost runs are shown and imputed at their worst",
    ),
    "frames taken for steps": (
        "A file counts emulator frames where agent steps belong, so the run looks four times as long as it is.",
        "divide its steps by the frame skip where they are written, and run it again",
    ),
    "clipped returns taken for scores": (
        "Returns of clipped rewards stand where the game's raw score belongs.",
        "record the emulator's raw rewards; clip only what the learner sees",
    ),
    "evaluations taken for runs": (
        "Episodes of one trained policy stand where training games, or training runs, belong.",
        "count training runs; evaluations of a run are one number of it",
    ),
    "another game": (
        "Returns lie outside of what the game can give.",
        "find out which game was played; its ROM's hash is in the manifest",
    ),
}
# Scores that a whole game can end with.
LIMITS = {
    "Boxing": (-100.0, 100.0),
    "DoubleDunk": (-24.0, 24.0),
    "Freeway": (0.0, 34.0),
    "Pong": (-21.0, 21.0),
    "Skiing": (-math.inf, 0.0),
    "Tennis": (-24.0, 24.0),
}
SCORED = 3  # games with a score from which clipped returns can be told
TRUSTED = 10  # rewards that random play must have seen for its divisor to count
ALIKE = 5  # different games from which two equal lists of games are one run, not chance
GAME = ["step", "return", "length", "env"]
SHARED = ("step", "wall_s", "version", "updates", "trained", "reuse", "lr", "lambda")  # columns that runs may share
KEYS = ("arm", "task", "seed")
ROWS_ALIKE = 20  # different numbers from which two equal metrics.csv are one run, not chance


def named(name: str, detail: str) -> str:
    """The fault as a run's error: its name first. Args: name: key of FAULTS."""
    if name not in FAULTS:
        raise KeyError(name)
    return f"{name}: {detail}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a finished run says of itself; `suite` and `together` (actors) from its configuration."""

    task: str
    suite: str
    together: int
    planned: int  # steps
    reached: float  # steps
    fingerprint: str
    episodes: pd.DataFrame
    metrics: pd.DataFrame


def found_of(
    planned: PlannedRun,
    config: dict[str, Any],
    fingerprint: str,
    reached: float,
    episodes: pd.DataFrame,
    metrics: pd.DataFrame,
) -> Found:
    """A finished run as the rules look at it. Args: reached: its step; the frames are its own rows."""
    env = config.get("env") or {}
    return Found(
        task=planned.task,
        suite=str(env.get("suite")),
        together=int(env.get("num_envs") or 1),
        planned=planned.steps,
        reached=reached,
        fingerprint=fingerprint,
        episodes=episodes,
        metrics=metrics,
    )


def run_fault(run: Found) -> str:
    """The first fault of one run, by name; empty when there is none."""
    if not run.fingerprint:
        return named("no fingerprint", "done without params_sha256: nothing shows that it is a run of its own")
    rules = (frames_fault, evaluation_fault)
    games = (limits_fault, clipped_fault) if run.suite == "atari" else ()
    return next((said for rule in (*rules, *games) if (said := rule(run))), "")


def frames_fault(run: Found) -> str:
    """Steps of games, of metrics or of the status that count frames."""
    if run.reached >= max(2 * run.planned, run.planned + run.together):
        said = f"status.json says step {run.reached:.0f}, {run.planned} were planned"
    elif len(run.episodes) and (last := run.episodes["step"].max()) > run.reached:
        said = f"episodes.csv goes to step {last}, the run only to {run.reached:.0f}"
    elif (total := run.episodes["length"].sum()) > run.reached:
        said = f"its games add up to {total} steps, the run generated {run.reached:.0f}"
    elif len(run.metrics) and (last := run.metrics["step"].max()) > run.reached:
        said = f"metrics.csv goes to step {last}, the run only to {run.reached:.0f}"
    else:
        return ""
    return named("frames taken for steps", said)


def evaluation_fault(run: Found) -> str:
    """Games that are the episodes of the run's own evaluations: their means, in their order, are eval_return."""
    if "eval_return" not in run.metrics:
        return ""
    means = run.metrics["eval_return"].dropna().to_numpy(float)
    returns = run.episodes["return"].to_numpy(float)
    if len(np.unique(means)) < SCORED or len(returns) < len(means) or len(returns) % len(means):
        return ""
    of_games = returns.reshape(len(means), -1).mean(axis=1)
    if not np.allclose(of_games, means, rtol=1e-4, atol=0.0):  # a pack keeps five digits of metrics
        return ""
    return named("evaluations taken for runs", "its games in episodes.csv are the episodes of its own evaluations")


def limits_fault(run: Found) -> str:
    """Returns that the game cannot give."""
    low, high = LIMITS.get(run.task, (-math.inf, math.inf))
    outside = [value for value in run.episodes["return"].to_numpy(float) if not low <= value <= high]
    if not outside:
        return ""
    allowed = f"{low:g} to {high:g}" if math.isfinite(low) else f"at most {high:g}"
    return named("another game", f"a return of {outside[0]:g}; {run.task} gives {allowed}")


@functools.cache
def score_units() -> dict[str, int]:
    """Atari game -> 5 or 10, by which its score moves. Games that move by less, or scored too rarely, are absent.

    Only the last digit of a measured divisor is used: random play sees few kinds of rewards, and what it does not see
    ends in the same digit. UserError where the measured file lacks its columns.
    """
    frame = pd.read_csv(SCORE_STEPS)
    if absent := [name for name in SCORE_STEPS_COLUMNS if name not in frame]:
        raise UserError(f"{SCORE_STEPS} lacks the columns {', '.join(absent)}")
    rows = frame[(frame["rewards"] >= TRUSTED) & (frame["divisor"] % 5 == 0) & (frame["divisor"] > 0)]
    return {str(row["game"]): math.gcd(int(row["divisor"]), 10) for row in rows.to_dict("records")}


def clipped_fault(run: Found) -> str:
    """Returns that count signs of rewards: whole, smaller than the game is long, and mostly no multiples of the unit.

    Of clipped returns a fifth or a tenth are multiples by chance, of scores all.
    """
    unit = score_units().get(run.task)
    cut = (run.episodes["truncated"] == 1) & (run.episodes["lives"] > 0)  # no whole game, so no score
    scored = run.episodes[(run.episodes["return"] != 0) & ~cut]
    values = scored["return"].to_numpy(float)
    if unit is None or len(values) < SCORED:
        return ""
    if (values % 1 != 0).any() or (np.abs(values) >= scored["length"].to_numpy(float)).any():
        return ""
    strange = values[values % unit != 0]
    if 2 * len(strange) <= len(values):
        return ""
    shown = ", ".join(f"{value:g}" for value in strange[:3])
    return named(
        "clipped returns taken for scores",
        f"returns such as {shown} in {len(strange)} of {len(values)} games that scored; scores of {run.task} are "
        f"multiples of {unit}",
    )


def games_of(episodes: pd.DataFrame) -> bytes:
    """A run's games as bytes that another run cannot have by chance; empty when they are too few or too alike."""
    games = episodes[GAME].to_numpy(float)
    return games.tobytes() if len(np.unique(games[:, 1:3], axis=0)) >= ALIKE else b""


def rows_of(metrics: pd.DataFrame) -> bytes:
    """A run's metrics as bytes that another run cannot have by chance; empty when they are too few or too alike.

    What counts steps or time, which runs share, is left out.
    """
    kept = metrics.drop(columns=[*SHARED, *KEYS], errors="ignore").select_dtypes("number")
    values = np.round(kept.to_numpy(float), 12)
    return values.tobytes() if len(np.unique(values[np.isfinite(values)])) >= ROWS_ALIKE else b""


class Twins:
    """Finished runs of a check, one after the other: says which of them is one that was there before."""

    def __init__(self) -> None:
        self._seeds: dict[tuple[str, str, str | bytes], int] = {}

    def fault(
        self, arm: str, task: str, seed: int, fingerprint: str, episodes: pd.DataFrame, metrics: pd.DataFrame
    ) -> str:
        """The fault of a run that an earlier seed of its arm and task holds already; empty for a run of its own."""
        games, rows = games_of(episodes), rows_of(metrics)
        by_rows = self._seeds.setdefault((arm, task, rows), seed) if rows else seed
        by_games = self._seeds.setdefault((arm, task, games), seed) if games else seed
        by_parameters = self._seeds.setdefault((arm, task, fingerprint), seed) if fingerprint else seed
        if by_parameters != seed and games and by_games == seed:
            detail = f"identical to seed {by_parameters} in its parameters, with other games: one trained policy"
            return named("evaluations taken for runs", f"{detail}, counted once")
        if by_parameters != seed:
            return named("seed counted twice", f"identical to seed {by_parameters}: not an independent run")
        if by_games != seed:
            return named("seed counted twice", f"its games are those of seed {by_games}, one by one")
        if by_rows != seed:
            return named("seed counted twice", f"its metrics.csv is that of seed {by_rows}, number by number")
        return ""
