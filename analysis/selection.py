"""Arms that a claim chooses: `best(a, b)` one arm for all its tasks, `tuned(a, b)` one per task. A mean(a, b) chooses
nothing: it is about both.

Chosen is the arm with the highest mean of the claim's metric over the check's tuning seeds (and, for `best`, over the
claim's tasks, task-normalised), if that is one of CHOSEN_BY; else of the score, or of exact_return where no candidate
plays games. The claim is then judged on the
other seeds alone: a choice and its test never share a run. Tuning runs without a number count as the lowest that any
candidate reached on the task (or as random, 0, if that is lower); if counting them at their best could change the
choice, it is open, and the claim undecided.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.ranges import unit_of
from bench.check_config import CHOICES, contrast_entry

CHOSEN_BY = ("score", "auc", "eval_score", "eval_auc", "exact_return", "exact_auc")  # metrics of which more is better
TASK_UNITS = ("score", "auc", "eval_score", "eval_auc")  # raw scores: only the task's range makes tasks alike


@dataclass(frozen=True)
class Entry:
    """One side of a contrast: `how` is best, tuned, mean or blank for the arm itself; `arms`: candidates or members."""

    text: str
    how: str
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What an entry stands for: an arm on every task, a sentence that says why, and whether lost runs leave it open."""

    arms: dict[str, str]  # task -> arm
    sentence: str = ""
    is_open: bool = False
    problem: str = ""


def chooses(entry: Entry) -> bool:
    """Does the entry need tuning seeds?"""
    return entry.how in CHOICES


def parse_entry(text: str, arms: list[str]) -> Entry:
    """An entry of a contrast; best() and tuned() without names mean all `arms`. UserError for other brackets."""
    return Entry(text, *contrast_entry(text, arms))


def _numbers(scored: pd.DataFrame, arms: list[str], tasks: list[str], seeds: int, metric: str) -> np.ndarray:
    """`[arms, tasks, seeds]` numbers of the planned tuning runs, in task units where a task has them; NaN where none.

    Args: metric: of the claim; another than CHOSEN_BY is replaced by the score, and that by exact_return where no
    candidate plays.
    """
    rows = scored[scored["arm"].isin(arms) & scored["task"].isin(tasks) & (scored["seed"] < seeds)]
    wanted = [metric] if metric in CHOSEN_BY else []
    metric = next((name for name in (*wanted, "score") if rows[name].notna().any()), "exact_return")
    planned = sorted(rows["seed"].unique())
    found = np.full((len(arms), len(tasks), len(planned)), np.nan)
    for arm, task, seed, value, low, high in rows[
        ["arm", "task", "seed", metric, "range_low", "range_high"]
    ].itertuples(index=False, name=None):
        unit = unit_of("task" if metric in TASK_UNITS else "none", task, (low, high))
        zero, one = unit or ((0.0, 1.0) if len(tasks) == 1 else (np.nan, np.nan))
        found[arms.index(arm), tasks.index(task), planned.index(seed)] = (value - zero) / one
    return found


def _winner(numbers: np.ndarray) -> tuple[int, bool]:
    """Index of the first arm with the highest mean, and whether lost numbers (NaN) could make another one win.

    Args: numbers: `[arms, tasks, seeds]`, at least one number per task.
    """
    low = np.minimum(np.nanmin(numbers, axis=(0, 2)), 0.0)[:, None]
    high = np.nanmax(numbers, axis=(0, 2))[:, None]
    worst = np.where(np.isnan(numbers), low, numbers).mean((1, 2))
    best = np.where(np.isnan(numbers), high, numbers).mean((1, 2))
    chosen = int(worst.argmax())
    return chosen, bool((np.delete(best, chosen) > worst[chosen]).any())


def choose(entry: Entry, scored: pd.DataFrame, tasks: list[str], seeds: int, metric: str) -> Choice:
    """Resolve an entry on the claim's tasks: the arm that it names or chooses. No entry that is a mean.

    Args: scored: as from `analysis.scores.score_runs`; seeds: those below are tuning seeds; metric: the claim's.
    """
    if not chooses(entry) or not tasks:
        return Choice(dict.fromkeys(tasks, entry.arms[0]))
    chosen: dict[str, str] = {}
    is_open, lost = False, 0
    planned = set(zip(scored["arm"], scored["task"], strict=True))
    for group in [tasks] if entry.how == "best" else [[task] for task in tasks]:
        arms = [arm for arm in entry.arms if all((arm, task) in planned for task in group)]
        numbers = _numbers(scored, arms, group, seeds, metric)
        if not numbers.size or np.isnan(numbers).all(axis=(0, 2)).any():
            return Choice({}, problem=f"{entry.text} cannot choose: no tuning run of {', '.join(group)} has a number.")
        winner, undecided = _winner(numbers)
        chosen |= dict.fromkeys(group, arms[winner])
        is_open, lost = is_open or undecided, lost + int(np.isnan(numbers).sum())
    distinct = set(chosen.values())
    said = distinct.pop() if len(distinct) == 1 else ", ".join(f"{arm} on {task}" for task, arm in chosen.items())
    where = "seed 0" if seeds == 1 else f"seeds 0 to {seeds - 1}"
    sentence = f"{entry.text} is {said}, chosen on {where}."
    if lost:
        sentence += f" {lost} tuning runs lack a number" + (
            ": the choice is open." if is_open else "; it stands anyway."
        )
    return Choice(chosen, sentence, is_open)
