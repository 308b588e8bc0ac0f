"""Figures across tasks: aggregates, performance profiles, probabilities of improvement."""

import dataclasses
from pathlib import Path
from typing import Any

import figure_studies as made
import numpy as np
import pandas as pd
import pytest

from analysis import bootstrap
from analysis.figures import aggregates, improvement, profile
from analysis.figures.across import across
from analysis.study import Study

TASKS = {"CartPole-v1": "classic", "Acrobot-v1": "classic"}
AUC = {"metric": "auc", "normalise": "none"}
LEVEL = {"ppo": 0.2, "da_full": 0.5, "da_1step": 0.5}


def study(root: Path, arms: dict[str, float] = LEVEL, **changes: Any) -> Study:
    """Scores level + seed / 100, on Acrobot 0.1 more."""
    return made.make_study(
        root,
        list(arms),
        TASKS,
        4,
        lambda cell: {"auc": arms[cell[0]] + cell[2] / 100 + 0.1 * (cell[1] == "Acrobot-v1")},
        **changes,
    )


def data(figures: list[Any]) -> pd.DataFrame:
    (figure,) = figures
    return pd.read_csv(figure.paths["csv"])


def test_aggregates_are_those_of_the_bootstrap(tmp_path: Path) -> None:
    rows = data(aggregates.draw(study(tmp_path), AUC)).query("kind != 'run'").set_index(["arm", "kind"])
    matrix = np.array([[0.5 + s / 100, 0.6 + s / 100] for s in range(4)])
    assert rows.loc[("da_full", "mean"), "value"] == pytest.approx(0.565)
    assert rows.loc[("da_full", "optimality_gap"), "value"] == pytest.approx(0.435)
    expected = bootstrap.aggregate(matrix, "iqm")
    found = rows.loc[("da_full", "iqm")]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((expected.value, expected.low, expected.high))


def test_a_profile_falls_from_all_runs_to_none(tmp_path: Path) -> None:
    rows = data(profile.draw(study(tmp_path), AUC))
    lines = rows[rows["kind"] == "profile"]
    for _, line in lines.groupby("arm"):
        assert (np.diff(line["value"]) <= 1e-9).all()
        assert (line["value"].iloc[0], line["value"].iloc[-1]) == pytest.approx((1, 0))
    # halfway between 0.53 and 0.6 the Acrobot runs of da_full are above, those on CartPole below
    at = lines[(lines["arm"] == "da_full") & (lines["score"].between(0.54, 0.59))]
    assert at["value"].to_numpy() == pytest.approx(0.5)


def test_improvement_counts_wins_and_halves_ties(tmp_path: Path) -> None:
    rows = data(improvement.draw(study(tmp_path), AUC))
    found = rows[rows["kind"] == "improvement"].set_index(["arm", "over"])["value"]
    assert found.to_dict() == {("da_full", "ppo"): 1.0, ("da_1step", "ppo"): 1.0, ("da_1step", "da_full"): 0.5}


def test_runs_that_all_agree_are_explained(tmp_path: Path) -> None:
    (never,) = improvement.draw(study(tmp_path), AUC)
    (close,) = improvement.draw(study(tmp_path, {"ppo": 0.2, "da_full": 0.215}), AUC)
    assert "Clopper and Pearson" in never.caption
    assert "Clopper and Pearson" not in close.caption


def test_many_arms_are_compared_with_the_baseline_alone() -> None:
    arms = ["ppo", "a", "b", "c", "d"]
    assert improvement.pairs(arms, "ppo") == [("a", "ppo"), ("b", "ppo"), ("c", "ppo"), ("d", "ppo")]
    assert ("ppo", "ppo") not in improvement.pairs(arms[:3], "ppo")


@pytest.mark.parametrize("draw", [aggregates.draw, profile.draw, improvement.draw])
def test_n_the_interval_and_lost_runs_are_in_the_caption(draw: Any, tmp_path: Path) -> None:
    (figure,) = draw(study(tmp_path, missing=(("ppo", "Acrobot-v1", 3),)), AUC)
    assert "n = 3 to 4 runs" in figure.caption
    assert "1 of 24 planned runs have no number and are not in it: 1 missing." in figure.caption
    assert "stratified bootstrap" in figure.caption
    assert "CartPole-v1, Acrobot-v1" in figure.caption
    runs = pd.read_csv(figure.paths["csv"]).query("kind == 'run'")
    assert len(runs) == 23
    assert not runs.duplicated(["arm", "task", "seed"]).any()


def test_a_lost_run_is_no_survivor_of_another_task(tmp_path: Path) -> None:
    """NaN stays in its task: every task weighs the same, however many of its runs are lost."""
    lost = tuple(("ppo", "CartPole-v1", seed) for seed in range(3))
    found = across(study(tmp_path, missing=lost), AUC)
    assert found is not None
    assert np.isfinite(found.scores["ppo"]).sum(axis=0).tolist() == [1, 4]
    value = bootstrap.aggregate(found.scores["ppo"], "mean").value
    assert value == pytest.approx((0.23 + 0.315) / 2)
    assert value != pytest.approx(np.nanmean(found.scores["ppo"]))  # the mean over survivors


def test_an_arm_that_lacks_a_task_is_named_and_left_out(tmp_path: Path) -> None:
    lost = tuple(("da_1step", "Acrobot-v1", seed) for seed in range(4))
    (figure,) = aggregates.draw(study(tmp_path, missing=lost), AUC)
    assert "left out: da_1step." in figure.caption
    assert set(pd.read_csv(figure.paths["csv"])["arm"]) == {"ppo", "da_full"}


def test_one_task_has_no_profile_and_one_arm_nothing(tmp_path: Path) -> None:
    one = made.make_study(tmp_path, ["ppo", "da_full"], {"CartPole-v1": "classic"}, 3, lambda _: {"auc": 1.0})
    assert (profile.draw(one, AUC), aggregates.draw(one, AUC)) == ([], [])
    assert len(improvement.draw(one, AUC)) == 1
    alone = made.make_study(tmp_path, ["ppo"], TASKS, 3, lambda _: {"auc": 1.0})
    assert improvement.draw(alone, AUC) == []


def test_one_run_per_task_has_values_and_no_intervals(tmp_path: Path) -> None:
    single = made.make_study(tmp_path, ["ppo", "da_full"], TASKS, 1, lambda cell: {"auc": float(cell[0] == "da_full")})
    for draw in (aggregates.draw, profile.draw, improvement.draw):
        rows = data(draw(single, AUC)).query("kind != 'run'")
        assert rows["low"].isna().all()
        assert rows["value"].notna().all()


def test_a_task_that_only_one_arm_plays_is_named_whether_measured_or_not(tmp_path: Path) -> None:
    whole = study(tmp_path)
    alone = whole.scored["arm"].eq("ppo") | whole.scored["task"].eq("CartPole-v1")
    scored = whole.scored[alone].reset_index(drop=True)
    (figure,) = improvement.draw(dataclasses.replace(whole, scored=scored), AUC)
    assert "Left out, not all arms planned: Acrobot-v1." in figure.caption
    assert "All 12 planned runs of these arms and tasks are in it." in figure.caption


def test_of_two_tasks_the_median_is_not_shown_beside_the_mean(tmp_path: Path) -> None:
    (figure,) = aggregates.draw(study(tmp_path), AUC)
    assert "median" not in set(pd.read_csv(figure.paths["csv"])["kind"])
    three = made.make_study(
        tmp_path, ["ppo", "da_full"], TASKS | {"MountainCar-v0": "classic"}, 3, lambda cell: {"auc": 1.0 + cell[2]}
    )
    assert "median" in set(pd.read_csv(aggregates.draw(three, AUC)[0].paths["csv"])["kind"])


def test_a_panel_of_profiles_has_few_arms_and_always_the_baseline() -> None:
    arms = ["f111", *(f"a{i}" for i in range(10))]
    found = profile.groups(arms, "f111")
    assert all(len(group) <= profile.BANDS and group[0] == "f111" for group in found)
    assert sorted(arm for group in found for arm in group[1:]) == sorted(arms[1:])
    assert profile.groups(arms[:5], "f111") == [arms[:5]]
    assert [len(group) for group in profile.groups(arms, None)] == [4, 4, 3]
