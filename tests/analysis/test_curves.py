"""Learning curves of tasks that are no games of the paper."""

import dataclasses
from pathlib import Path

import figure_studies as made
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures import curves, style
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


def test_a_task_on_which_no_run_has_a_curve_is_named_and_not_drawn(tmp_path: Path) -> None:
    study = made.make_study(tmp_path, ["ppo", "da_full"], {"CartPole-v1": "classic", "Acrobot-v1": "classic"}, 1)
    some = {("ppo", "CartPole-v1", 0): np.ones(GRID)}
    (figure,) = curves.draw(dataclasses.replace(study, curves=some, scored=study.scored.assign(score=1.0)), {})
    assert figure.stem == "CartPole-v1"
    assert "without a figure: Acrobot-v1." in figure.caption
    assert "First panel: medians of 1 of the 2 arms shown" in figure.caption


def test_the_first_panel_says_whether_it_has_bands(tmp_path: Path) -> None:
    (figure,) = curves.draw(rising(tmp_path), {})
    assert "First panel: medians and bands of the 3 arms shown" in figure.caption


def test_the_wide_first_panel_has_numbers_at_its_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    def save(figure: Figure, *_: object) -> None:
        figure.draw_without_rendering()
        shown.append([label.get_text() for label in figure.axes[0].get_xticklabels() if label.get_visible()])

    monkeypatch.setattr(style, "save", save)
    curves.draw(rising(tmp_path), {})
    assert any(shown[0])
