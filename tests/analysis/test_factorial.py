"""The factorial figure: effects by hand, and that they are those of the claims."""

import math
from pathlib import Path

import figure_studies as made
import numpy as np
import pandas as pd
import pytest

from analysis import stats
from analysis.figures import factorial, frames
from analysis.study import Study

OPTIONS = {"metric": "eval_score", "normalise": "none", "prefix": "f", "factors": ("UAE", "residual", "KL")}
ARMS = [f"f{code}" for code in factorial.CODES]
TASKS = {"CartPole-v1": "classic", "Acrobot-v1": "classic"}


def number(cell: tuple[str, str, int]) -> float:
    """1 + seed for UAE, 2 for the residual, 4 for KL, 8 for UAE and KL together; twice that on Acrobot."""
    u, r, k = (int(digit) for digit in cell[0][1:4])
    value = u * (1 + cell[2]) + 2 * r + 4 * k + 8 * u * k
    return float(2 * value if cell[1] == "Acrobot-v1" else value)


def study(root: Path, arms: list[str] = ARMS, missing: tuple[made.Cell, ...] = ()) -> Study:
    return made.make_study(
        root, [*arms, "no_clamp"], TASKS, 3, lambda cell: {"eval_score": number(cell) if cell[0][0] == "f" else 99.0},
        missing=missing,
    )  # fmt: skip


def effects(data: pd.DataFrame, task: str) -> dict[str, float]:
    part = data[(data["task"] == task) & (data["kind"] == "mean")]
    return dict(zip(part["effect"], part["value"], strict=True))


def data_of(found: Study) -> pd.DataFrame:
    return factorial.factorial_data(found, frames.numbers(found, "eval_score", "none", ["f???"]), OPTIONS)


def test_main_effects_and_interactions_by_hand(tmp_path: Path) -> None:
    data = data_of(study(tmp_path))
    assert effects(data, "CartPole-v1") == {
        "UAE": 2.0 + 4.0,  # mean over seeds of 1, 2, 3; half of the joint 8
        "residual": 2.0,
        "KL": 4.0 + 4.0,
        "UAE x residual": 0.0,
        "UAE x KL": 8.0,
        "residual x KL": 0.0,
    }
    assert effects(data, factorial.ALL)["UAE x KL"] == 12.0  # mean of 8 and 16
    row = data[(data["task"] == "CartPole-v1") & (data["kind"] == "mean") & (data["effect"] == "UAE")].iloc[0]
    expected = stats.student_t(np.array([5.0, 6.0, 7.0]))
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


def test_weights_of_an_effect_sum_to_nothing_and_swapping_two_digits_would_be_seen(tmp_path: Path) -> None:
    for weight in factorial.effects(("a", "b", "c")).values():
        assert weight.sum() == 0
        assert np.abs(weight).sum() in (2.0, 4.0)  # two means; four means
    swapped = data_of(study(tmp_path)).replace({"effect": {"UAE": "KL", "KL": "UAE"}})
    assert effects(swapped, "CartPole-v1")["UAE"] != 6.0


def test_a_seed_with_a_lost_arm_has_no_effect_and_n_says_so(tmp_path: Path) -> None:
    data = data_of(study(tmp_path, missing=(("f000", "Acrobot-v1", 1),)))
    counts = data[data["kind"] == "mean"].groupby("task", sort=False)[["n", "planned"]].first()
    assert counts.loc["CartPole-v1"].tolist() == [3, 3]
    assert counts.loc["Acrobot-v1"].tolist() == [2, 3]
    assert counts.loc[factorial.ALL].tolist() == [2, 3]
    assert effects(data, "Acrobot-v1")["residual"] == 4.0


def test_the_figure_has_its_data_beside_it_and_other_arms_are_not_in_it(tmp_path: Path) -> None:
    (figure,) = factorial.draw(study(tmp_path, missing=(("f000", "Acrobot-v1", 1),)), OPTIONS)
    table = pd.read_csv(figure.paths["csv"])
    assert set(table["task"]) == {*TASKS, factorial.ALL}
    assert set(table["arm"].dropna()) == set(ARMS)
    assert len(table[table["kind"] == "cell"]) == 47  # the runs behind the effects
    assert table["value"].max() < 99
    assert (figure.stem, figure.paths["png"].exists()) == ("factorial_eval_score", True)
    assert "1 of 48 planned runs have no number" in figure.caption
    assert "n = 2 to 3 seeds" in figure.caption


def test_without_all_eight_arms_there_is_no_factorial(tmp_path: Path) -> None:
    assert factorial.draw(study(tmp_path, arms=ARMS[:-1]), OPTIONS) == []


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    found = made.make_study(tmp_path, ARMS, {"CartPole-v1": "classic"}, 1, lambda cell: {"eval_score": number(cell)})
    data = data_of(found)
    assert all(math.isnan(low) for low in data.loc[data["kind"] == "mean", "low"])
    assert factorial.ALL not in set(data["task"])


def test_the_panel_of_all_tasks_has_the_estimate_of_the_verdicts(tmp_path: Path) -> None:
    data = data_of(study(tmp_path))
    row = data[(data["task"] == factorial.ALL) & (data["kind"] == "mean") & (data["effect"] == "UAE")].iloc[0]
    d = np.array([[5.0, 10.0], [6.0, 12.0], [7.0, 14.0]])  # seeds x tasks
    expected = stats.difference(d, 0.05)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((expected.value, expected.low, expected.high))
    assert row["value"] != pytest.approx(d.mean())
