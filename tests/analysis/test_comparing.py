"""Comparisons by hand, and faults that must not pass for agreement."""

import math
from pathlib import Path

import pytest
import synthetic as synth
from compared_stores import FULL, REFERENCE, TEN_M, atari, breakout, lines

from analysis.protocol import measured, stated_differing

TABLE6 = 274.8  # PPO on Breakout


def test_a_prediction_interval_by_hand(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275])  # mean 275, s 5; t of 2 degrees of freedom at 97.5 %: 4.302653
    row = breakout(tmp_path)
    half = 4.302653 * 5 * math.sqrt(1 / 3 + 1 / 3)
    assert float(row["ours"]) == 275
    assert float(row["difference"]) == pytest.approx(275 - TABLE6)
    assert float(row["low"]) == pytest.approx(275 - TABLE6 - half, abs=1e-4)
    assert float(row["high"]) == pytest.approx(275 - TABLE6 + half, abs=1e-4)
    assert float(row["ours_low"]) == pytest.approx(275 - 4.302653 * 5 / math.sqrt(3), abs=1e-4)
    assert float(row["margin"]) == pytest.approx(0.05 * (30.5 - 1.7))
    assert (row["label"], row["n_ours"], row["n_theirs"]) == ("underpowered", "3", "3")


@pytest.mark.parametrize(
    ("returns", "label"), [([275, 275, 275], "compatible"), ([300, 301, 302], "higher"), ([200, 201, 202], "lower")]
)
def test_labels(returns: list[int], label: str, tmp_path: Path) -> None:
    # Equal runs are no twins as long as their parameters differ.
    games = None if len(set(returns)) > 1 else [(TEN_M - 1000 + i, 275) for i in range(1, 100)]
    atari(tmp_path, returns, games=games)
    assert breakout(tmp_path)["label"] == label


def test_steps_are_agent_steps_and_frames_four_times_as_many(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275])
    row = breakout(tmp_path)
    assert (float(row["steps"]), float(row["frames"]), float(row["their_steps"])) == (1e7, 4e7, 1e7)


def test_scores_are_normalised_by_random_and_human(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275])
    row = breakout(tmp_path)
    assert float(row["normalised_ours"]) == pytest.approx((275 - 1.7) / (30.5 - 1.7))
    assert float(row["normalised_theirs"]) == pytest.approx((TABLE6 - 1.7) / (30.5 - 1.7))


def test_our_number_is_made_as_theirs_is_the_mean_of_the_last_100_games(tmp_path: Path) -> None:
    games = [(1000 + i, 1000) for i in range(500)] + [(2_000_000 + i, 7) for i in range(100)]
    atari(tmp_path, [0, 0], games=games)  # all of them before the last tenth of training
    assert float(breakout(tmp_path)["ours"]) == 7


def test_a_longer_run_of_ours_is_read_where_theirs_ended_and_has_another_schedule(tmp_path: Path) -> None:
    games = [(9_000_000 + i, 275) for i in range(100)] + [(11_000_000 + i, 9999) for i in range(100)]
    atari(tmp_path, [0, 0, 0], games=games, steps=2 * TEN_M)
    row = breakout(tmp_path)
    assert (float(row["ours"]), float(row["steps"])) == (275, 1e7)
    assert (row["label"], row["differing"]) == ("not comparable", "budget")


def test_the_other_columns_of_their_table_stand_beside_the_line(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275])
    assert breakout(tmp_path)["others"] == "A2C 303; ACER 456.4"


def test_every_game_of_theirs_has_one_line_and_those_without_a_run_say_so(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275])
    rows = lines(tmp_path, "ppo2017")
    assert len(rows) == len({row["task"] for row in rows}) == 49
    assert {row["label"] for row in rows if row["task"] != "Breakout"} == {"not run"}


def test_a_shorter_budget_is_not_comparable(tmp_path: Path) -> None:
    atari(tmp_path, [275, 275, 275], steps=9_800_000, games=[(9_000_000 + i, 275) for i in range(100)])
    row = breakout(tmp_path)
    assert (row["label"], row["differing"]) == ("not comparable", "budget")
    assert "budget 9,800,000 (theirs 10,000,000)" in row["reason"]
    assert row["difference"] == ""


def test_ten_million_frames_are_not_ten_million_steps(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275], steps=TEN_M // 4)
    row = breakout(tmp_path)
    assert (row["label"], float(row["frames"]), row["differing"]) == ("not comparable", 1e7, "budget")


def test_games_counted_in_frames_lose_their_runs(tmp_path: Path) -> None:
    atari(tmp_path, [0, 0], games=[(4 * (TEN_M - 1000 + i), 275) for i in range(100)])
    row = breakout(tmp_path)
    assert (row["label"], row["n_ours"], row["reason"]) == ("not run", "0", "2 runs planned, none done.")


def test_a_run_in_two_checks_counts_once(tmp_path: Path) -> None:
    content = atari(tmp_path, [280, 270, 275])
    again = synth.make_plan(["ppo"], ["Breakout"], 3, [], steps=TEN_M, name="dapo_reported", reference=REFERENCE)
    again["runs"] = content["runs"]
    synth.write_plan(tmp_path, again)
    row = breakout(tmp_path)
    assert (row["n_ours"], row["planned"]) == ("3", "3")


def test_equal_seeds_of_two_checks_count_once(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275])
    again = atari(tmp_path, [280, 270, 275], name="dapo_reported")  # run again, in directories of their own
    for run in again["runs"]:  # by other versions, so that the last bits of the parameters differ
        path = tmp_path / run["run_dir"] / "status.json"
        path.write_text(path.read_text().replace('"params_sha256": "', '"params_sha256": "other-'))
    assert breakout(tmp_path)["n_ours"] == "3"


def test_further_seeds_of_another_check_count(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270])
    content = synth.make_plan(["ppo"], ["Breakout"], 4, [], steps=TEN_M, name="dapo_reported", reference=REFERENCE)
    synth.write_plan(tmp_path, content)  # the first two runs are those of the other check
    for run in content["runs"][2:]:
        synth.write_run(tmp_path, run, [(TEN_M - 1000 + i, 275) for i in range(100)], config_changes=FULL)
    assert breakout(tmp_path)["n_ours"] == "4"


def test_one_directory_planned_under_two_seeds_counts_once(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo"], ["Breakout"], 2, [], steps=TEN_M, reference=REFERENCE)
    content["runs"][1]["run_dir"] = content["runs"][0]["run_dir"]
    synth.write_plan(tmp_path, content)
    synth.write_run(tmp_path, content["runs"][0], [(TEN_M - 1000, 275)], config_changes=FULL)
    row = breakout(tmp_path)
    assert (row["n_ours"], row["label"]) == ("1", "underpowered")


def test_a_training_score_is_not_set_beside_an_evaluation(tmp_path: Path) -> None:
    atari(tmp_path, [280, 270, 275], steps=5 * TEN_M, changes={"algo.name": "impala"})  # 200M frames
    rows = {row["implementation"]: row for row in lines(tmp_path, "impala2018") if row["task"] == "Breakout"}
    row = rows["IMPALA (shallow)"]
    assert (row["label"], row["differing"]) == ("not comparable", "score")
    assert "score training: last 10 % of steps (theirs evaluation: last evaluation)" in row["reason"]


@pytest.mark.parametrize(
    ("change", "value", "named"),
    [
        ("repeat_action_probability", 0.25, "sticky_actions 0.25 (theirs 0.0)"),
        ("frame_skip", 5, "frame_skip 5 (theirs 4)"),
        ("sign_rewards", False, "clipped_rewards False (theirs True)"),
        ("life_loss_terminates", False, "life_loss_ends False (theirs True)"),
        ("no_reward_limit", 1000, "no_reward_limit 1000 (theirs 0)"),
        ("full_action_space", True, "full_action_space True (theirs False)"),
        ("max_frames", 108_000, "max_frames 108000 (theirs 400000)"),
    ],
)
def test_a_differing_protocol_is_not_comparable_and_named(
    change: str, value: object, named: str, tmp_path: Path
) -> None:
    atari(tmp_path, [280, 270, 275], changes={f"env.protocol.{change}": value})
    row = breakout(tmp_path)
    assert row["label"] == "not comparable"
    assert named in row["reason"]
    assert row["low"] == ""


def test_one_deviating_run_is_enough_to_differ(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo"], ["Breakout"], 3, [], steps=TEN_M, reference=REFERENCE)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        changes = {"env.protocol.repeat_action_probability": 0.25} if run["seed"] == 2 else {}
        synth.write_run(tmp_path, run, [(TEN_M - 1000, 275)], config_changes=FULL | changes)
    assert breakout(tmp_path)["differing"] == "sticky_actions"


def test_human_starts_are_another_protocol() -> None:
    ours = measured({"env": {"suite": "atari", "protocol": {"noop_max": 30}}})
    assert [str(item) for item in stated_differing(ours, {"starts": "human"})] == ["starts no-ops 30 (theirs human)"]


def test_what_a_source_does_not_state_is_named_and_stops_nothing(tmp_path: Path) -> None:
    atari(tmp_path, [300, 301, 302])
    row = breakout(tmp_path)
    assert row["label"] == "higher"
    assert "Not stated by them: starts." in row["reason"]


def test_a_lost_run_that_could_change_the_label_makes_it_underpowered(tmp_path: Path) -> None:
    content = atari(tmp_path, [300, 310, 305, 303])
    for name in ("status.json", "config.yaml"):
        (tmp_path / content["runs"][3]["run_dir"] / name).unlink()
    assert breakout(tmp_path)["label"] == "higher"
    atari(tmp_path / "b", [300, 310, 100, 303])
    (tmp_path / "b" / content["runs"][3]["run_dir"] / "status.json").unlink()
    row = breakout(tmp_path / "b")
    assert (row["label"], row["n_ours"], row["planned"]) == ("underpowered", "3", "4")
    assert "1 of 4 runs lost" in row["reason"]


def test_runs_that_are_planned_and_not_there_are_not_run(tmp_path: Path) -> None:
    synth.write_plan(tmp_path, synth.make_plan(["ppo"], ["Breakout"], 3, [], steps=TEN_M, reference=REFERENCE))
    assert {row["label"] for row in lines(tmp_path, "ppo2017")} == {"not run"}


def test_a_scale_that_decides_nothing_labels_nothing(tmp_path: Path) -> None:
    atari(tmp_path, [300, 301, 302], scale="smoke")
    row = breakout(tmp_path)
    assert (row["label"], row["difference"]) == ("underpowered", "")


def test_of_two_settings_the_one_that_differs_less_stands_whatever_it_scores(tmp_path: Path) -> None:
    atari(tmp_path, [275, 276, 277], name="dapo_reported", changes={"env.protocol.repeat_action_probability": 0.25})
    atari(tmp_path, [100, 101, 102])
    row = breakout(tmp_path)
    assert (float(row["ours"]), row["label"]) == (101, "lower")
