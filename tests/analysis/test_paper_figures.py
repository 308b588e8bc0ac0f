"""The DAPO paper's figures by number, against what the specification says of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic as synth

from analysis import paper_figures as figures
from analysis import reported
from bench.errors import UserError

GAMES = reported.dapo_games()


def ours(value: dict[str, float]) -> figures.Ours:
    """One run per method on DoubleDunk that ends at `value`."""
    steps = np.linspace(250_000, 25_000_000, 100)
    about = [
        {"game": "DoubleDunk", "method": method, "arm": method, "seed": 0, "score": score}
        for method, score in value.items()
    ]
    curves = pd.concat([pd.DataFrame({"step": steps} | row) for row in about], ignore_index=True)
    return figures.Ours(curves, pd.DataFrame(about), [])


def test_figure_1_has_the_counts_of_the_paper() -> None:
    found = figures.summary(GAMES["fig1_rel_pct"].astype(float))
    assert (found["games"], found["above"], found["zero"], found["below"]) == (58, 35, 9, 14)
    assert found["median"] == 3
    assert found["mean"] == pytest.approx(43.5, abs=0.05)
    assert found["clipped"] == pytest.approx(21.5, abs=0.05)


def test_figure_1_was_made_from_figure_3_not_from_figure_4() -> None:
    assert figures.rank_agreement(GAMES, 3) == pytest.approx(0.86, abs=0.005)
    # 0.062 from the numbers as they are, 0.069 in whole percents, as the labels are
    assert figures.rank_agreement(GAMES, 4) == pytest.approx(0.07, abs=0.01)


def test_figure_4_has_the_numbers_of_the_paper() -> None:
    assert int((GAMES["fig4_da_last5"] > GAMES["fig4_ppo_last5"]).sum()) == 27
    found = figures.summary(figures.recomputed(GAMES, 4))
    assert found["median"] == pytest.approx(0.0, abs=0.05)
    assert found["clipped"] == pytest.approx(1.0, abs=0.5)


def test_the_relative_score_of_a_game_by_hand() -> None:
    # (9.6 - (-5.2)) / (max(-16.4, ...) - random): from the digitised ends
    row = GAMES.loc["DoubleDunk"]
    scale = max(row["human_score"], row["fig3_ppo_last5"]) - row["fig3_first_bin_ppo"]
    by_hand = 100 * (row["fig3_da_last5"] - row["fig3_ppo_last5"]) / scale
    assert figures.recomputed(GAMES, 3)["DoubleDunk"] == pytest.approx(by_hand)
    assert figures.recomputed(GAMES, 3)["VideoPinball"] < 0 < GAMES.loc["VideoPinball", "fig1_rel_pct"]


def test_ours_is_measured_from_the_known_random_score() -> None:
    # DoubleDunk: human -16.4, random -18.6; baseline 1.4, proposed 11.4: 10 / (1.4 + 18.6)
    found = figures.our_relative(ours({"PPO": 1.4, "PPO+DA": 11.4}), GAMES)
    assert found["DoubleDunk"] == pytest.approx(50.0)
    assert found.drop("DoubleDunk").isna().all()
    assert figures.our_relative(ours({"PPO": 1.4}), GAMES).isna().all()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_figure_is_drawn_the_same_twice_with_its_data(number: int, tmp_path: Path) -> None:
    (first,) = figures.draw("dapo", number, None, tmp_path / "a")
    assert first.stem == f"dapo_figure{number}"
    assert "n = " in first.caption
    assert "No run of ours is in it." in first.caption
    if number < 3:  # the others take seconds
        (second,) = figures.draw("dapo", number, None, tmp_path / "b")
        assert all(path.read_bytes() == second.paths[suffix].read_bytes() for suffix, path in first.paths.items())


def test_the_data_of_figure_1_and_2_are_those_reported(tmp_path: Path) -> None:
    first = pd.read_csv(figures.draw("dapo", 1, None, tmp_path)[0].paths["csv"])
    assert list(first["reported"]) == sorted(GAMES["fig1_rel_pct"], reverse=True)
    assert first["task"].iloc[0] == "Qbert"
    second = pd.read_csv(figures.draw("dapo", 2, None, tmp_path)[0].paths["csv"])
    assert len(second) == 3 * len(reported.read("dapo_paper_fig2_curves.csv"))
    assert set(second["task"]) == {"DoubleDunk", "Enduro", "Gravitar", "MontezumaRevenge", "Qbert", "Seaquest"}


def test_our_runs_are_in_the_data_of_the_figures(tmp_path: Path) -> None:
    mine = ours({"PPO": 1.4, "PPO+DA": 11.4})
    first = figures.draw_figure(1, mine, tmp_path)
    assert pd.read_csv(first.paths["csv"]).set_index("task")["ours"]["DoubleDunk"] == 50.0
    second = pd.read_csv(figures.draw_figure(2, mine, tmp_path).paths["csv"])
    assert len(second[second["source"] == "ours"]) == 200
    assert "Ours: 1 games, n = 1 runs" in first.caption


@pytest.mark.parametrize(("paper", "number"), [("dapo", 5), ("dpo", 1)])
def test_a_figure_that_is_not_there_names_those_that_are(paper: str, number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is: paper=dapo figure=1, 2, 3, 4"):
        figures.draw(paper, number, None, tmp_path)


def test_a_source_without_plans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no plan of dapo_reported"):
        figures.draw("dapo", 1, tmp_path, tmp_path)


def store(root: Path, steps: int, **changes: Any) -> Path:
    """Two arms on Qbert, one seed, at the paper's setting unless changed."""
    content = synth.make_plan(["ppo", "da_full"], ["Qbert"], 1, [synth.claim()], steps=steps)
    synth.write_plan(root, content)
    for run in content["runs"]:
        games = [(step, 300.0 if run["arm"] == "ppo" else 500.0) for step in range(steps // 50, steps + 1, steps // 50)]
        synth.write_run(root, run, games, config_changes=changes)
    return root


def test_runs_at_the_papers_setting_are_beside_its_numbers_and_others_are_named(tmp_path: Path) -> None:
    found = figures.collect(figures.studies_of(store(tmp_path / "same", 25_200_000)), 3)
    assert (found.mean("Qbert", "PPO"), found.mean("Qbert", "PPO+DA")) == (300.0, 500.0)
    assert found.notes == []
    other = figures.collect(figures.studies_of(store(tmp_path / "other", 25_200_000, **{"algo.clip": 0.1})), 3)
    assert other.curves.empty
    assert "algo.clip differ" in other.notes[0]


def test_a_short_run_has_a_curve_and_no_final_score(tmp_path: Path) -> None:
    found = figures.collect(figures.studies_of(store(tmp_path, 10_000_000)), 3)
    assert len(found.curves)
    assert found.scores.empty
    assert "2 runs are shorter than the figure's 2 hours" in found.notes[0]


def test_a_long_run_is_cut_where_the_figure_ends(tmp_path: Path) -> None:
    found = figures.collect(figures.studies_of(store(tmp_path, 50_400_000)), 3)
    assert found.curves["step"].max() == 25_200_000
    assert found.mean("Qbert", "PPO") == 300.0


def test_sixteen_actors_do_not_belong_to_figure_4(tmp_path: Path) -> None:
    root = store(tmp_path, 25_200_000)
    assert "env.num_envs" in figures.collect(figures.studies_of(root), 4).notes[0]


def test_a_variant_of_the_method_does_not_stand_for_it(tmp_path: Path) -> None:
    content = synth.make_plan(["da_full", "da_full_cd1"], ["Qbert"], 1, [], steps=25_200_000)
    variant = synth.config("da_full", "Qbert", 0)
    variant["algo"] |= {"c_d": 1.0, "divergence": "kl"}
    content["reference_config"]["da_full"]["algo"] |= {"c_d": 0.5, "divergence": "kl"}
    content["reference_config"]["da_full_cd1"] = {key: variant[key] for key in ("algo", "env")}
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        algo = dict(content["reference_config"][run["arm"]]["algo"])
        score = 900.0 if run["arm"] == "da_full_cd1" else 500.0
        games = [(step, score) for step in range(504_000, 25_200_001, 504_000)]
        synth.write_run(tmp_path, run, games, config_changes={"algo": algo})
    found = figures.collect(figures.studies_of(tmp_path), 3)
    assert found.mean("Qbert", "PPO+DA") == 500.0
    assert found.curves["score"].unique() == [500.0]
    assert found.notes == [
        "Runs of multi_step, scale gpu (da_full_cd1), are left out as not comparable: algo.c_d differ."
    ]


def test_of_two_runs_of_one_seed_the_longer_is_kept_whole(tmp_path: Path) -> None:
    for name, steps, score in (("dapo_reported", 25_000_000, 1.0), ("multi_step", 56_000_000, 2.0)):
        content = synth.make_plan(["ppo", "da_full"], ["Qbert"], 1, [], steps=steps, name=name)
        for run in content["runs"]:
            run["run_dir"] += name
            synth.write_run(tmp_path, run, [(step, score) for step in range(steps // 50, steps + 1, steps // 50)])
        synth.write_plan(tmp_path, content)
    found = figures.collect(figures.studies_of(tmp_path), 2)
    assert found.curves["score"].unique() == [2.0]
    for _, curve in found.curves.groupby("method"):
        assert np.diff(curve["step"].to_numpy(float)) == pytest.approx(560_000)
    assert found.scores["score"].tolist() == [2.0, 2.0]
    assert found.notes == []  # the short runs are not in it


def test_every_band_of_figure_2_holds_its_median_or_is_not_known() -> None:
    raw = reported.read("dapo_paper_fig2_curves.csv")
    for game, method in raw[["game", "method"]].drop_duplicates().itertuples(index=False):
        curve = reported.dapo_curve(game, method, 1.0)
        assert curve is not None
        known = curve.dropna()
        assert ((known["q25"] <= known["median"]) & (known["median"] <= known["q75"])).all()
        assert curve["median"].notna().all()
        assert set(curve.index) - set(known.index) <= {len(curve) - 1}  # but the very last point
    assert not ((raw["q25"] <= raw["median"]) & (raw["median"] <= raw["q75"])).all()  # as digitised


def test_swapped_quartiles_are_put_in_order_and_a_cut_band_is_left_out() -> None:
    curve = reported.dapo_curve("Qbert", "PPO", 1.0)
    assert curve is not None
    assert curve[["q25", "q75"]].iloc[0].tolist() == [258.01, 445.8]
    assert curve[["q25", "q75"]].iloc[-1].isna().all()


def test_the_table_of_figure_2_has_the_last_band_and_says_where_it_is(tmp_path: Path) -> None:
    (figure,) = figures.draw("dapo", 2, None, tmp_path)
    assert "| Qbert | paper | PPO | 5 | 4.63 | 26,862 | [25,806, 31,578] at 4.6 h |" in figure.paths["md"].read_text()
    assert "the quartiles of the last point with one" in figure.caption


def test_a_mark_beyond_the_axis_of_figure_1_is_named(tmp_path: Path) -> None:
    assert "beyond the axis, their numbers at the right: Qbert." in figures.draw("dapo", 1, None, tmp_path)[0].caption
    (found,) = (figures.draw_figure(1, ours({"PPO": 1.4, "PPO+DA": 51.4}), tmp_path),)
    assert "at the right: Qbert, DoubleDunk." in found.caption  # 50 / 20


def test_no_table_has_a_negative_zero(tmp_path: Path) -> None:
    (figure,) = figures.draw("dapo", 3, None, tmp_path)
    assert "| -0 |" not in figure.paths["md"].read_text()
    assert (figures.recomputed(GAMES, 3).round(1) == 0).any()
