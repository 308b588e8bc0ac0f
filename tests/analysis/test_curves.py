"""Learning curves of tasks that are no games of the paper."""

import dataclasses
from pathlib import Path

import figure_studies as made
import numpy as np
import pandas as pd

from analysis.figures import curves
from analysis.scores import GRID
from analysis.study import Study


def rising(root: Path, **changes: object) -> Study:
    """Three seeds per arm; bin i has i + 1, plus the seed."""
    study = made.make_study(root, ["ppo_m1", "da_full_m1", "da_full_m10"], {"CartPole-v1": "classic"}, 3)
    lines = {
        (str(arm), str(task), int(seed)): np.arange(1.0, GRID + 1) + seed
        for arm, task, seed in study.scored[["arm", "task", "seed"]].itertuples(index=False)
    }
    return dataclasses.replace(study, curves=lines, scored=study.scored.assign(score=1.0), **changes)  # type: ignore[arg-type]


def test_a_task_without_frames_and_without_a_reported_curve_is_drawn_in_agent_steps(tmp_path: Path) -> None:
    (figure,) = curves.draw(rising(tmp_path), {})
    data = pd.read_csv(figure.paths["csv"])
    assert data["frames"].isna().all()
    assert set(data["source"]) == {"ours"}
    assert "frames" not in figure.caption
    assert "return of the episodes" in figure.caption
    median = data[(data["arm"] == "ppo_m1") & (data["kind"] == "median")]
    assert list(median["score"]) == list(np.arange(1.0, GRID + 1) + 1)


def test_arms_that_are_not_drawn_are_counted(tmp_path: Path) -> None:
    (figure,) = curves.draw(rising(tmp_path), {"arms": ("ppo_m1", "da_full_m1", "absent")})
    assert set(pd.read_csv(figure.paths["csv"])["arm"]) == {"ppo_m1", "da_full_m1"}
    assert "1 further arms of the check are not drawn here." in figure.caption


def test_no_wanted_arm_draws_nothing(tmp_path: Path) -> None:
    assert curves.draw(rising(tmp_path), {"arms": ("absent",)}) == []


def test_an_arm_without_a_finished_game_keeps_its_panel(tmp_path: Path) -> None:
    study = rising(tmp_path)
    some = {key: line for key, line in study.curves.items() if key[0] != "ppo_m1"}
    (figure,) = curves.draw(dataclasses.replace(study, curves=some), {})
    assert "no run finished a game" not in figure.caption  # it stands in the panel
    assert set(pd.read_csv(figure.paths["csv"])["arm"]) == {"da_full_m1", "da_full_m10"}
