"""The command compare: the DAPO paper, MuJoCo, every other source, and what is printed and written."""

import csv
import math
from pathlib import Path

import pandas as pd
import pytest
import synthetic as synth
from compared_stores import REFERENCE, atari, breakout, hopper, lines

from analysis.__main__ import main
from analysis.comparing import compact, known, summary
from analysis.ours import OurRun, gather, rule_for, run_number
from analysis.side_by_side import Line

TWO_HOURS = 25_200_000  # agent steps of Figure 3


def test_figure_3_is_the_mean_of_the_last_ten_minutes_at_the_same_budget(tmp_path: Path) -> None:
    inside = TWO_HOURS - 2_000_000  # ten minutes are 2.1M steps
    games = [(inside - 500_000, 10**6), *((inside + i, 400) for i in range(50))]
    atari(tmp_path, [0, 0], steps=TWO_HOURS, games=games)
    row = breakout(tmp_path, "dapo")
    assert (float(row["ours"]), row["source"], row["n_theirs"]) == (400, "Figure 3", "1")
    assert float(row["theirs"]) == 398.24  # fig3_ppo_last5


def test_figure_3_needs_its_budget_and_figure_2_does_not(tmp_path: Path) -> None:
    atari(tmp_path, [30, 31], steps=TWO_HOURS // 2, protocol={})
    assert breakout(tmp_path, "dapo")["differing"] == "budget"
    atari(tmp_path / "b", [800, 850], steps=TWO_HOURS // 2, task="Gravitar", protocol={})
    (row,) = [row for row in lines(tmp_path / "b", "dapo") if row["task"] == "Gravitar"]
    assert (row["source"], row["differing"], float(row["their_steps"])) == ("Figure 2", "", TWO_HOURS / 2)


def test_a_longer_run_of_the_papers_setting_begins_as_theirs_did(tmp_path: Path) -> None:
    games = [(TWO_HOURS - 1000, 398), (2 * TWO_HOURS - 1000, 9999)]
    atari(tmp_path, [0, 0], steps=2 * TWO_HOURS, games=games, protocol={})
    row = breakout(tmp_path, "dapo")
    assert (float(row["ours"]), row["differing"], row["label"]) == (398, "", "compatible")


def test_runs_of_64_actors_stand_beside_figure_4(tmp_path: Path) -> None:
    atari(tmp_path, [30, 31], steps=TWO_HOURS, changes={"env.num_envs": 64}, protocol={})
    row = breakout(tmp_path, "dapo")
    assert (row["source"], row["differing"]) == ("Figure 4", "budget")
    assert float(row["their_steps"]) == pytest.approx(4.45 * 4 * 12_600_000)


def test_hyperparameters_that_are_not_the_papers_are_named(tmp_path: Path) -> None:
    atari(tmp_path, [30, 31], steps=TWO_HOURS, changes={"algo.clip": 0.3})
    row = breakout(tmp_path, "dapo")
    assert "algo.clip 0.3 (theirs 0.2)" in row["reason"]


def test_the_relative_score_by_hand(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo", "da_full"], ["Breakout"], 2, [], steps=TWO_HOURS, reference=REFERENCE)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(TWO_HOURS - 1000, {"ppo": 100, "da_full": 130}[run["arm"]] + run["seed"])])
    rows = {row["method"]: row for row in lines(tmp_path, "dapo") if row["task"] == "Breakout"}
    # (130.5 - 100.5) / (max(30.5, 100.5) - 1.7); Figure 1 says 11 %.
    assert float(rows["PPO+DA"]["relative_ours"]) == pytest.approx(100 * 30 / (100.5 - 1.7))
    assert float(rows["PPO+DA"]["relative_theirs"]) == 11
    assert rows["PPO"]["relative_ours"] == ""


def test_no_relative_score_of_runs_that_differ_in_more_than_the_divergence(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo", "da_full"], ["Breakout"], 2, [], steps=TWO_HOURS, reference=REFERENCE)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        changes = {"algo.clip": 0.3} if run["arm"] == "ppo" else {}
        synth.write_run(tmp_path, run, [(TWO_HOURS - 1000, 100 + run["seed"])], config_changes=changes)
    rows = {row["method"]: row for row in lines(tmp_path, "dapo") if row["task"] == "Breakout"}
    assert rows["PPO+DA"]["relative_ours"] == ""


def test_every_game_of_figure_1_is_there(tmp_path: Path) -> None:
    atari(tmp_path, [30, 31], steps=TWO_HOURS)
    assert len({row["task"] for row in lines(tmp_path, "dapo")}) == 58


def test_evaluations_are_compared_with_evaluations_and_versions_differ(tmp_path: Path) -> None:
    hopper(tmp_path, [100.0 * i for i in range(20)])
    rows = {row["implementation"]: row for row in lines(tmp_path, "mujoco") if row["task"] == "Hopper-v5"}
    last = rows["SAC (SB3 Zoo)"]
    assert (float(last["ours"]), last["differing"]) == (1900.5, "env_version")
    assert "env_version v5 (theirs v3)" in last["reason"]
    assert float(rows["SAC (CleanRL)"]["ours"]) == 2.0  # training games
    assert rows["SAC (Tianshou)"]["differing"] == "env_version, score"
    assert rows["TRPO (Tianshou)"]["label"] == "not run"


def test_a_short_run_on_mujoco_is_not_comparable(tmp_path: Path) -> None:
    hopper(tmp_path, [1.0, 2.0], steps=100_000)
    rows = {row["implementation"]: row for row in lines(tmp_path, "sb3_zoo") if row["task"] == "Hopper-v5"}
    assert rows["SAC (SB3 Zoo)"]["differing"] == "env_version, budget"


def run_of(values: list[float]) -> OurRun:
    steps = [100 * (i + 1) for i in range(len(values))]
    games = pd.DataFrame({"step": steps, "return": values})
    return OurRun("r", 0, "done", "x", {}, games, games.rename(columns={"return": "eval_return"}))


@pytest.mark.parametrize(
    ("phase", "statistic", "number"),
    [
        ("training", "last 2 games", 8.5),
        ("training", "last 10 % of steps", 9.0),
        ("training", "last 300 steps", 8.0),
        ("evaluation", "last evaluation", 9.0),
        ("evaluation", "last 10 evaluations", 4.5),
        ("evaluation", "best evaluation", 9.0),
        ("evaluation", "last fifth of evaluations", 8.5),
    ],
)
def test_a_run_becomes_one_number_by_the_rule_of_theirs(phase: str, statistic: str, number: float) -> None:
    assert run_number(run_of([float(i) for i in range(10)]), phase, statistic, 1000) == number


def test_what_came_after_the_end_is_not_read() -> None:
    assert run_number(run_of([1.0, 2.0, 3.0]), "training", "last 1 games", 299) == 2.0
    assert math.isnan(run_number(run_of([1.0]), "training", "last 1 games", 99))


def test_our_own_rule_stands_where_theirs_cannot_be_followed() -> None:
    evaluated = {"env": {"evaluation": {"every": 1}}}
    assert rule_for("evaluation", "last evaluation", {}) == ("training", "last 10 % of steps")
    assert rule_for("evaluation", None, evaluated) == ("evaluation", "last fifth of evaluations")
    assert rule_for("training", "last 100 games", evaluated) == ("training", "last 100 games")


def test_the_dpo_paper_has_no_known_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "paper=dpo"]) == 2
    said = capsys.readouterr().err
    assert "No number of the DPO paper is known: only its abstracts could be read" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["compare", "paper=ppo2018"], ["compare"]])
def test_an_unknown_paper_names_the_known_ones(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("dapo", "ppo2017", "mujoco"))


def test_the_command_prints_a_line_per_game_a_count_and_the_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atari(tmp_path, [300, 301, 302])
    assert main(["compare", "paper=ppo2017", f"store={tmp_path}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("Breakout") for line in said) == 1
    assert "49 lines: 1 higher, 48 not run. Ours cover at most 100 % of the budget of theirs" in "\n".join(said)
    paths = [tmp_path / "analysis" / f"compare-ppo2017.{suffix}" for suffix in ("csv", "md")]
    assert said[-2:] == [str(path) for path in paths]
    assert all(path.is_file() for path in paths)


def test_every_paper_can_be_compared_with(tmp_path: Path) -> None:
    atari(tmp_path, [300, 301, 302])
    assert all(lines(tmp_path, paper, tmp_path / "out") for paper in known())


def test_packed_results_are_compared_and_never_written_into(tmp_path: Path) -> None:
    results = Path(__file__).parents[2] / "results"
    before = sorted(results.rglob("*"))
    assert main(["compare", "paper=dapo", f"results={results}", f"out={tmp_path}"]) == 0
    with (tmp_path / "compare-dapo.csv").open() as file:
        assert {row["task"] for row in csv.DictReader(file)} >= {"Alien", "Breakout", "Zaxxon"}
    assert sorted(results.rglob("*")) == before


def test_a_store_without_games_compares_nothing(tmp_path: Path) -> None:
    synth.write_plan(tmp_path, synth.make_plan(["ppo"], ["CartPole-v1"], 1, [], reference=REFERENCE))
    assert gather(tmp_path, [("multi_step", "gpu")]) == []
    assert {row["label"] for row in lines(tmp_path, "dapo")} == {"not run"}


def test_the_summary_names_the_largest_fraction_of_their_budget() -> None:
    made = [
        Line(task="A", method="X", label="lower", n_ours=1, steps=1e6, budget=1e7),
        Line(task="B", method="X", label="lower", n_ours=1, steps=2e6, budget=4e6),
        Line(task="C", method="X"),
    ]
    assert summary(made) == (
        "3 lines: 2 lower, 1 not run. Ours cover at most 50 % of the budget of theirs (B: 2,000,000 of 4,000,000 agent "
        "steps)."
    )


def test_steps_are_short_in_a_column() -> None:
    assert [compact(x) for x in (None, 512, 4096, 25.2e6, 2e10)] == ["-", "512", "4.1k", "25.2M", "20G"]
