"""The DAPO paper's numbers and ours: Figure 2 at matched samples, Figures 3 and 4 at their ends, relative scores.

A run of 64 actors stands beside Figure 4, else beside the curve of Figure 2 where the game and method have one, else
beside Figure 3. Beside a relative score of ours stands that of Figure 1, after two hours.
"""

import math
from typing import Any

import numpy as np

from analysis import reported
from analysis.compare import NO_SETTING, ArmRuns, compare_curve, margin_of
from analysis.ours import Setting, rule_for
from analysis.protocol import Difference, differing
from analysis.ranges import relative_score
from analysis.reported.sources import papers
from analysis.side_by_side import (
    Line,
    best_setting,
    budget_difference,
    fill_ours,
    judge_final,
    normalise,
    on_task,
    without_number,
)

ARM_FIELDS = frozenset({"algo.name", "algo.inv_eta"})  # in which PPO and PPO+DA differ
ENDS = {"PPO": "ppo", "PPO+DA": "da"}  # method -> column of dapo_paper_games.csv


def _numbers(game: str) -> dict[Any, Any]:
    """The game's row of dapo_paper_games.csv; empty where it has none."""
    games = reported.dapo_games()
    return games.loc[game].to_dict() if game in games.index else {}


def _figure(setting: Setting) -> int:
    """The figure that a setting belongs beside: 4 with its 64 actors, 2 where that has a curve, else 3."""
    figures = papers()["dapo"].raw["figures"]
    if (setting.config.get("env") or {}).get("num_envs") == figures[4]["actors"]:
        return 4
    return 2 if reported.dapo_curve(setting.task, str(setting.arm.reported), 1.0) is not None else 3


def _fields(setting: Setting, figure: int, pool: list[Setting]) -> list[Difference]:
    """In which fields a setting differs from the figure's; Figure 2 has a curve and so no budget."""
    theirs = setting.plan.reference_config.get(setting.arm.name)
    if theirs is None:
        return []
    facts = papers()["dapo"].raw["figures"].get(figure, {"free": []})
    fields = [item for item in setting.arm_runs(pool).differing(theirs) if item.field not in facts["free"]]
    if figure == 2:
        return fields
    return fields + budget_difference(setting.steps, facts["hours"] * facts["steps_per_hour"], longer=True)


def _alone(game: str, method: str, figure: int) -> Line:
    """The paper's number on a game with nothing beside it, where it has one."""
    numbers = _numbers(game)
    line = Line(task=game, method=method, source=f"Figure {figure}")
    if figure == 2:
        curve = reported.dapo_curve(game, method, papers()["dapo"].raw["figures"][3]["steps_per_hour"])
        assert curve is not None
        line.theirs, line.n_theirs = float(curve["median"].iloc[-1]), 5
        line.their_steps = line.budget = float(curve["step"].iloc[-1])
    else:
        facts = papers()["dapo"].raw["figures"][figure]
        line.their_steps = line.budget = facts["hours"] * facts["steps_per_hour"]
        line.n_theirs = facts["runs"]
        if numbers and method in ENDS:
            line.theirs = float(numbers[f"fig{figure}_{ENDS[method]}_last5"])
    line.normalised_theirs = normalise(line.theirs, game)
    if method == "PPO+DA" and numbers:
        line.relative_theirs = float(numbers["fig1_rel_pct"])
    return line


def _at_curve(line: Line, setting: Setting, runs: ArmRuns) -> None:
    """Figure 2: both sides at our own steps."""
    item, values = compare_curve(runs, setting.plan, setting.steps)
    assert setting.plan.reference is not None
    line.theirs, line.n_theirs, line.their_steps = item.theirs, item.n_theirs, item.at_step
    line.budget, line.normalised_theirs = setting.plan.reference.steps, normalise(item.theirs, item.task)
    line.difference, line.margin, (line.low, line.high) = item.difference, item.margin, item.interval or (None, None)
    line.score = "training: games of one point of their curve"
    line.label, line.reason = item.label, " ".join([item.reason, *without_number(setting, values)])
    if not any(run.state == "done" for run in setting.runs):
        line.label, line.reason = "not run", f"{len(setting.runs)} runs planned, none done."
    fill_ours(line, setting, values, item.at_step)


def _at_end(line: Line, setting: Setting, runs: ArmRuns, figure: int) -> None:
    """Figures 3 and 4: both sides over the last minutes of a run of theirs."""
    facts = papers()["dapo"].raw["figures"][figure]
    end = min(float(setting.steps), float(line.their_steps or math.inf))
    values, known = runs.scores(end - facts["minutes"] / 60 * facts["steps_per_hour"], end)
    line.score = f"training: games of their last {facts['minutes']} minutes"
    assert setting.plan.reference is not None
    fill_ours(line, setting, values, end)
    if line.theirs is None:
        line.label, line.reason = "not comparable", f"No reported number of {line.method} on {line.task}."
        return
    line.margin = margin_of(line.task, line.theirs, setting.plan.reference.margin)
    judge_final(line, setting, values, known, [])


def _beside(settings: list[Setting], figure: int, pool: list[Setting]) -> Line:
    """The paper's number and our runs of its method. Args: settings: of one game and method; pool: of the game."""
    fields = {id(setting): _fields(setting, figure, pool) for setting in settings}
    setting = best_setting(settings, fields)
    line = _alone(setting.task, str(setting.arm.reported), figure)
    line.fields, runs = fields[id(setting)], setting.arm_runs(pool)
    if setting.plan.reference is None or setting.arm.name not in setting.plan.reference_config:
        rule = rule_for("training", None, setting.config)
        fill_ours(line, setting, setting.numbers(*rule, setting.steps), setting.steps)
        line.label, line.reason = "not comparable", NO_SETTING
    elif figure == 2:
        _at_curve(line, setting, runs)
    else:
        _at_end(line, setting, runs, figure)
    line.relative_ours = _relative(line, setting, pool)
    return line


def _relative(line: Line, setting: Setting, pool: list[Setting]) -> float | None:
    """Our relative score in percent of PPO+DA over PPO of the same setting; None without it or without a scale."""
    twins = [
        other
        for other in pool
        if other.arm.reported == "PPO"
        and other.steps == setting.steps
        and other.config
        and {item.field for item in differing(other.config, setting.config)} <= ARM_FIELDS
    ]
    if line.method != "PPO+DA" or line.ours is None or line.steps is None or not twins:
        return None
    facts = papers()["dapo"].raw["figures"][3]
    width = setting.plan.reference.bin_steps if setting.plan.reference else None
    width = width if line.source == "Figure 2" and width else facts["minutes"] / 60 * facts["steps_per_hour"]
    baseline, _ = twins[0].arm_runs([]).scores(line.steps - width, line.steps)
    if not np.isfinite(baseline).any():
        return None
    first = float(_numbers(line.task).get("fig3_first_bin_ppo", math.nan))
    human, random = reported.human_random().get(line.task, (None, first))
    score = relative_score(line.ours, float(np.nanmean(baseline)), human, random)
    return None if score is None or math.isnan(score) else 100 * score


def dapo_lines(settings: list[Setting]) -> list[Line]:
    """Per game of Figures 1 to 4 a line for each method of which we have runs; without any, one line alone."""
    lines = []
    for game in sorted(reported.dapo_games().index):
        pool = on_task([item for item in settings if item.suite == "atari"], game)
        groups: dict[tuple[int, str], list[Setting]] = {}
        for setting in pool:
            if setting.arm.reported is not None:
                groups.setdefault((_figure(setting), setting.arm.reported), []).append(setting)
        if groups:
            lines += [_beside(groups[key], key[0], pool) for key in sorted(groups)]
        else:
            figure = 2 if reported.dapo_curve(game, "PPO+DA", 1.0) is not None else 3
            line = _alone(game, "PPO+DA", figure)
            line.reason = "No run of the paper's methods."
            lines.append(line)
    return lines
