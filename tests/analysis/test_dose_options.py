"""Arms by pattern, and axes that are linear although their values span decades."""

from pathlib import Path

import figure_studies as made
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures import bars, dose, frames, heatmap, style
from analysis.study import Study

PLACES = {"default": 0.3, "nu_0": 0.0, "nu_0.1": 0.1, "nu_1": 1.0, "omega_0": 0.3}
X = {"metric": "eval_auc", "normalise": "none", "x": {"key": "algo.nu"}, "x_label": "nu"}


def study(root: Path, metric: str = "eval_auc", value: float = 1.0) -> Study:
    return made.make_study(
        root, list(PLACES), {"Hopper-v5": "mujoco"}, 2, lambda cell: {metric: value + cell[2] * (value != 0)},
        algo=lambda arm: {"nu": PLACES[arm]},
    )  # fmt: skip


def test_a_pattern_names_the_arms_that_it_fits_in_their_order() -> None:
    arms = ["lam_0", "default", "lam_0.5", "lambda"]
    assert frames.matching(arms, ("lam_*", "default")) == ["lam_0", "default", "lam_0.5"]
    assert frames.matching(arms, ("lam",)) == []


def test_arms_and_lines_may_be_given_by_pattern(tmp_path: Path) -> None:
    options = X | {"arms": ("default", "nu_*"), "lines": {"DPO": ("default", "nu_*")}, "linear": True}
    (figure,) = dose.draw(study(tmp_path), options)
    data = pd.read_csv(figure.paths["csv"])
    assert set(data["arm"]) == {"default", "nu_0", "nu_0.1", "nu_1"}
    assert set(data["line"]) == {"DPO"}


def test_a_linear_axis_has_a_place_for_0_and_a_logarithmic_one_a_dashed_line(tmp_path: Path) -> None:
    options = X | {"arms": ("default", "nu_*"), "lines": {"DPO": ("default", "nu_*")}}
    (linear,) = dose.draw(study(tmp_path / "linear"), options | {"linear": True})
    (logarithmic,) = dose.draw(study(tmp_path / "log"), options)
    assert "Dashed line" not in linear.caption
    assert "Dashed line and band: the same for x = 0" in logarithmic.caption


def test_runs_that_did_not_get_there_are_counted_below_their_bars(tmp_path: Path) -> None:
    for value, late in ((0.0, 10), (-1.5, 0)):
        (figure,) = bars.draw(study(tmp_path / str(late), "steps_to", value), {"metric": "steps_to"})
        assert f"{late} of 10 runs did not get there within their budget" in figure.caption


def test_dpo_keeps_its_look_under_the_names_that_its_checks_give_it() -> None:
    for arm, arms in (("dpo_ppo", ["ppo", "dpo_ppo"]), ("f111", ["f111", "f000"]), ("n30", ["n1", "n30"])):
        assert style.look(arm, arms) == style.LOOKS["dpo_ppo"]
    arms = ["dpo_ppo", "dpo_a2c", "dpo_trpo", "ppo", "a2c", "trpo", "sac"]
    looks = [style.look(arm, arms) for arm in arms]
    assert len({look.color for look in looks}) == 7


def test_a_grid_of_a_number_that_no_task_has_is_not_drawn(tmp_path: Path) -> None:
    options = {"metric": "auc", "normalise": "none", "x": "algo.nu", "y": "algo.nu", "x_label": "x", "y_label": "y"}
    assert heatmap.draw(study(tmp_path), options) == []
    assert len(heatmap.draw(study(tmp_path, "auc"), options)) == 1


def test_a_single_value_of_x_is_no_dose(tmp_path: Path) -> None:
    assert dose.draw(study(tmp_path), X | {"arms": ("default",)}) == []
    assert len(dose.draw(study(tmp_path), X | {"arms": ("default", "nu_0.1")})) == 1


def test_a_table_of_doses_is_in_the_order_of_x(tmp_path: Path) -> None:
    (figure,) = dose.draw(study(tmp_path), X | {"arms": ("default", "nu_*"), "lines": {"DPO": ("default", "nu_*")}})
    rows = [line.split(" | ") for line in figure.paths["md"].read_text().splitlines()[4:]]
    assert [row[2] for row in rows] == ["0", "0.1", "0.3", "1"]


def test_the_runs_of_a_point_stand_side_by_side_around_it(tmp_path: Path) -> None:
    (figure,) = dose.draw(study(tmp_path), X | {"arms": ("default", "nu_*"), "linear": True, "lines": {"a": ("*",)}})
    data = pd.read_csv(figure.paths["csv"])
    first, second = data[(data["kind"] == "run") & (data["arm"] == "default")]["x_drawn"]
    assert first < 0.3 < second
    assert (first + second) / 2 == pytest.approx(0.3)


def test_a_panel_where_every_run_was_censored_says_so_and_has_no_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def save(figure: Figure, *_: object) -> None:
        said.append(([text.get_text() for text in figure.axes[0].texts], list(figure.axes[0].get_xticks())))

    monkeypatch.setattr(style, "save", save)
    for value in (0.0, -1.5):
        bars.draw(study(tmp_path, "steps_to", value), {"metric": "steps_to"})
    assert said[0] == (["no run got there\nwithin its budget"], [])
    assert said[1][0] == []
