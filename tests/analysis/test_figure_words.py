"""What figures say of their runs, units and estimates: the words and numbers of the verdict cards."""

import dataclasses
from pathlib import Path

import figure_studies as made
import numpy as np
import pandas as pd
import pytest

from analysis import stats
from analysis.figures import frames, style, tradeoff, trajectory

TASKS = {"CartPole-v1": "classic", "Acrobot-v1": "classic"}


def test_the_gain_of_a_tradeoff_is_the_estimate_of_the_verdicts_and_dropped_runs_are_counted(tmp_path: Path) -> None:
    study = made.make_study(
        tmp_path, ["ppo", "da_full"], TASKS, 4,
        lambda cell: {"d_variance": 1.0, "auc": 5.0 * (cell[0] == "da_full") * (1 + cell[2] ** 2)},
    )  # fmt: skip
    (figure,) = tradeoff.draw(study, {"cost": "d_variance", "gain": "auc"})
    data = pd.read_csv(figure.paths["csv"], keep_default_na=False)
    row = data[(data["arm"] == "da_full") & (data["task"] == "")].iloc[0]
    gains = np.array([1.0, 2, 5, 10]) * 5 / 500
    expected = stats.difference(np.stack([gains, gains], axis=1), 0.05)
    assert (float(row["gain"]), float(row["gain_low"])) == pytest.approx((expected.value, expected.low))
    assert "All 16 planned runs are in it." in figure.caption
    alone = study.scored["arm"].eq("da_full") | study.scored["task"].eq("CartPole-v1")
    scored = study.scored[alone].reset_index(drop=True)
    (fewer,) = tradeoff.draw(dataclasses.replace(study, scored=scored), {"cost": "d_variance", "gain": "auc"})
    assert "4 of 12 planned runs are not in it: 4 on Acrobot-v1, where ppo is not planned." in fewer.caption


def test_a_trajectory_counts_the_runs_of_the_tasks_that_it_draws(tmp_path: Path) -> None:
    def rows(cell: made.Cell) -> pd.DataFrame | None:
        return pd.DataFrame({"step": [1, 2], "exact_return": [0.1, 0.2], "shift": 0.5}) if cell[1] == "garnet" else None

    study = made.make_study(tmp_path, ["ppo"], {"garnet": "tabular", "CartPole-v1": "classic"}, 3, rows=rows)
    (figure,) = trajectory.draw(study, {"rows": "ascent"})
    assert figure.caption.endswith("All 3 planned runs of these arms and tasks are in it.")


@pytest.mark.parametrize(("tasks", "name"), [(TASKS, "range"), ({"Qbert": "atari"}, "human"), ({}, "task")])
def test_the_unit_is_named_as_on_a_verdict_card(tasks: dict[str, str], name: str) -> None:
    assert frames.axis_label("auc", None, tasks).endswith(f"({name}-normalised)")


def test_a_row_that_bears_its_arms_name_is_in_full_ink() -> None:
    arms = [f"lam_{i}" for i in range(9)]
    assert {style.full_ink(arm, arms).color for arm in arms} == {style.LOOKS["dpo_ppo"].color}
    assert len({style.look(arm, arms).color for arm in arms}) == 9
