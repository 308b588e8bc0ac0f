import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic as synth

from analysis import compare, protocol
from analysis.compare import Comparison
from analysis.study import analyse

STEPS = 12_600_000  # one hour of theirs
REFERENCE = {"paper": "dapo", "figure": 2, "hours": 4.6, "steps_per_hour": 12_600_000, "runs": 5}


def compared(
    root: Path,
    returns: list[float],
    *,
    arm: str = "da_full",
    changes: dict[str, Any] | None = None,
    skip: tuple[int, ...] = (),
    **reference: Any,
) -> Comparison:
    content = synth.make_plan([arm], ["Gravitar"], len(returns), [], steps=STEPS, reference=REFERENCE | reference)
    synth.write_plan(root, content)
    for run in content["runs"]:
        if run["seed"] not in skip:
            games = [(1000, -1e6), (STEPS - 1000, returns[run["seed"]])]
            synth.write_run(root, run, games, config_changes=changes)
    (result,) = analyse(root, "multi_step", "gpu").comparisons
    return result


def test_their_number_is_their_median_at_the_runs_own_number_of_agent_steps(tmp_path: Path) -> None:
    item = compared(tmp_path, [900.0, 901.0])
    import pandas as pd

    from analysis.reported import FOLDER

    table = pd.read_csv(FOLDER / "dapo_paper_fig2_curves.csv").query("game == 'Gravitar' and method == 'PPO+DA'")
    one_hour = table.loc[table.hours == 1.0, "median"].item()  # not four hours: frames are not steps
    assert item.theirs == pytest.approx(one_hour)
    assert (item.at_step, item.n_theirs, item.n_ours) == (STEPS, 5, 2)


@pytest.mark.parametrize(("offset", "label"), [(0.0, "compatible"), (2000.0, "higher"), (-2000.0, "lower")])
def test_labels_of_tight_runs(tmp_path: Path, offset: float, label: str) -> None:
    theirs = compared(tmp_path / "probe", [0.0, 1.0]).theirs
    assert theirs is not None
    item = compared(tmp_path / "real", [theirs + offset + 5 * i for i in (-1, 0, 1)])
    assert item.label == label
    assert item.difference == pytest.approx(offset)
    assert item.margin == pytest.approx(0.05 * (3351.4 - 173.0))


def test_wide_runs_are_underpowered(tmp_path: Path) -> None:
    assert compared(tmp_path, [0.0, 900.0, 1800.0]).label == "underpowered"


def test_one_run_is_underpowered_without_interval(tmp_path: Path) -> None:
    item = compared(tmp_path, [900.0])
    assert (item.label, item.interval, item.reason) == ("underpowered", None, "n = 1: no interval.")


def test_a_lost_run_that_could_change_the_label_makes_it_underpowered(tmp_path: Path) -> None:
    returns = [4000.0, 5000.0, 6000.0, 4500.0]
    assert compared(tmp_path / "whole", returns, margin=0.01).label == "higher"
    item = compared(tmp_path / "holed", [4000.0, 1000.0, 6000.0, 0.0], skip=(3,), margin=0.01)
    assert item.label == "underpowered"
    assert "1 of 4 runs lost" in item.reason


def test_a_differing_protocol_is_not_comparable_and_every_field_is_named(tmp_path: Path) -> None:
    changes = {"env.num_envs": 4, "algo.batch_size": 256}
    item = compared(tmp_path, [900.0, 901.0, 902.0], changes=changes)
    assert item.label == "not comparable"
    assert item.differing == [
        {"field": "algo.batch_size", "ours": 256, "theirs": 1024},
        {"field": "env.num_envs", "ours": 4, "theirs": 16},
    ]
    assert "env.num_envs 4 (theirs 16)" in item.reason
    assert item.difference is None


def test_one_deviating_seed_is_enough_to_differ(tmp_path: Path) -> None:
    content = synth.make_plan(["da_full"], ["Gravitar"], 3, [], steps=STEPS, reference=REFERENCE)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        changes = {"algo.clip": 0.3} if run["seed"] == 2 else {}
        synth.write_run(tmp_path, run, [(STEPS, 900.0)], config_changes=changes)
    (item,) = analyse(tmp_path, "multi_step", "gpu").comparisons
    assert [field["field"] for field in item.differing] == ["algo.clip"]


def test_what_makes_an_arm_that_arm_is_no_protocol_difference(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo", "da_1step", "da_full"], ["Gravitar"], 2, [], steps=STEPS, reference=REFERENCE)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(STEPS, 900.0 + run["seed"])])
    labels = {item.arm: item.differing for item in analyse(tmp_path, "multi_step", "gpu").comparisons}
    assert labels == {"ppo": [], "da_1step": [], "da_full": []}


def test_a_difference_names_the_field_and_both_values() -> None:
    (item,) = protocol.differing({"algo": {"inv_eta": 0.5}, "env": {}}, {"algo": {"inv_eta": 0.0}, "env": {}})
    assert str(item) == "algo.inv_eta 0.5 (theirs 0.0)"


def test_numbers_are_compared_by_value_and_absent_fields_differ() -> None:
    ours = {"algo": {"lr": "1e-3", "n": 1, "on": True}, "env": {"task": "Qbert"}}
    theirs = {"algo": {"lr": 0.001, "n": 1.0, "on": True, "more": 2}, "env": {"task": "Pong"}}
    assert [(d.field, d.ours) for d in protocol.differing(ours, theirs)] == [("algo.more", "(absent)")]
    assert not protocol.same(True, 1)


def test_what_the_learner_is_paid_is_no_difference_between_two_arms_but_how_they_are_scored_is() -> None:
    ours = {"env": {"reward": "dense", "reward_delay": 20, "evaluation": {"episodes": 10}}}
    theirs = {"env": {"reward": "sparse", "reward_delay": 10, "evaluation": {"episodes": 5}}}
    assert [item.field for item in protocol.env_differing(ours, theirs)] == ["env.evaluation.episodes"]


def test_a_run_longer_than_their_curve_is_compared_where_it_ends(tmp_path: Path) -> None:
    content = synth.make_plan(["da_full"], ["Gravitar"], 2, [], steps=10 * STEPS, reference=REFERENCE)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(4 * STEPS, 7.0 + run["seed"]), (9 * STEPS, 1e6)])
    (item,) = analyse(tmp_path, "multi_step", "gpu").comparisons
    assert item.at_step == pytest.approx(4.633 * STEPS)
    assert item.ours == 7.5  # the game at step 9 h came later


def test_the_width_of_their_points_can_be_given(tmp_path: Path) -> None:
    wide = compared(tmp_path / "wide", [900.0, 901.0], bin_steps=STEPS)
    assert wide.ours == pytest.approx((900.5 - 1e6) / 2)  # the early game lies within one hour


def test_the_label_needs_the_whole_interval() -> None:
    cases = {(6.0, 9.0): "higher", (-9.0, -6.0): "lower", (-5.0, 5.0): "compatible", (4.0, 6.0): "underpowered"}
    assert {key: compare.label_of(*key, 5.0) for key in cases} == cases


@pytest.mark.parametrize(("sign", "label"), [(1, "higher"), (-1, "lower")])
def test_a_lost_run_is_imputed_at_both_ends(sign: int, label: str) -> None:
    values, pool = sign * np.array([10.0, 10.1, 9.9, 10.0, math.nan]), sign * np.array([-30.0, 10.0])
    assert compare.label_runs(values[:4], pool, 0.0, 5, 1.0)[0] == label
    found, reason, interval = compare.label_runs(values, pool, 0.0, 5, 1.0)
    assert interval is not None
    assert interval[0] < 0 < interval[1]
    assert (found, reason.endswith("1 of 5 runs lost: imputed at their worst.")) == ("underpowered", True)
