"""The published numbers: every file keeps its rules, and a broken one is refused in a sentence."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis import reported
from analysis.reported import sources
from bench.errors import UserError

CURVES, PAPER = "dapo_paper_fig2_curves.csv", "dapo_paper_games.csv"


def damaged(folder: Path, name: str, row: int, column: str, value: str) -> Path:
    """A copy of a reported file with one cell changed. Args: row: 2 is the first row of data."""
    table = pd.read_csv(reported.FOLDER / name, dtype=str, keep_default_na=False)
    table.loc[row - 2, column] = value
    table.to_csv(folder / name, index=False)
    return folder / name


@pytest.mark.parametrize("name", sorted(reported.COLUMNS))
def test_a_reported_file_keeps_its_rules(name: str) -> None:
    assert len(reported.read(name)) > 50


@pytest.mark.parametrize("name", sorted(reported.COLUMNS))
def test_a_copy_of_a_reported_file_is_read_alike(name: str, tmp_path: Path) -> None:
    shutil.copy(reported.FOLDER / name, tmp_path)
    pd.testing.assert_frame_equal(reported.read(name, tmp_path), reported.read(name))


def test_every_table_beside_the_reader_has_a_reader() -> None:
    assert {path.name for path in reported.FOLDER.glob("*.csv")} == set(reported.COLUMNS)


def test_an_unknown_file_names_those_that_are_there() -> None:
    with pytest.raises(UserError, match=r"no reported file 'x\.csv'; there is: atari_human_random\.csv"):
        reported.read("x.csv")


DAMAGE = [
    (PAPER, "fig1_rel_pct", "about -2", "found 'about -2'; allowed: a whole number from -1000 to 1000"),
    (PAPER, "fig1_rel_pct", "2.5", "found '2.5'; allowed: a whole number from -1000 to 1000"),
    (PAPER, "fig4_da_last5", "", "found nothing; allowed: a number"),
    (PAPER, "fig4_da_last5", "inf", "found 'inf'; allowed: a number"),
    (PAPER, "category", "Hard", "found 'Hard'; allowed: one of Unknown, EasyExploration, "),
    (PAPER, "game", "Brekout", "found 'Brekout'; allowed: a game of atari_human_random.csv"),
    (CURVES, "method", "DAPO", "found 'DAPO'; allowed: one of PPO, PPO+DA, "),
    (CURVES, "hours", "-1", "found '-1'; allowed: a number from 0 to 10"),
    ("atari_published.csv", "frames", "0", "found '0'; allowed: a whole number above 0 or nothing"),
    ("atari_published.csv", "score_std", "-0.1", "found '-0.1'; allowed: a number from 0 or nothing"),
    ("atari_published.csv", "seeds", "many", "found 'many'; allowed: a whole number from 1 to 1000 or nothing"),
    ("atari_published.csv", "source", "", "found nothing; allowed: a text"),
    ("mujoco_published.csv", "env", "Hoper", "found 'Hoper'; allowed: one of Ant, HalfCheetah, "),
    ("mujoco_published.csv", "steps", "-5", "found '-5'; allowed: a whole number above 0 or nothing"),
    ("mujoco_published.csv", "std", "-1", "found '-1'; allowed: a number from 0 or nothing"),
    ("atari_human_random.csv", "in_dapo_game_list", "maybe", "found 'maybe'; allowed: one of yes, no"),
    ("dapo_repo_ppo_curves.csv", "score", "x", "found 'x'; allowed: a number"),
    ("dapo_repo_ppo_final.csv", "pixel_error", "0", "found '0'; allowed: a number above 0"),
]


@pytest.mark.parametrize(("name", "column", "value", "sentence"), DAMAGE)
def test_a_broken_cell_is_refused_by_file_row_column_and_what_is_allowed(
    name: str, column: str, value: str, sentence: str, tmp_path: Path
) -> None:
    path = damaged(tmp_path, name, 40, column, value)
    with pytest.raises(UserError) as refused:
        reported.read(name, tmp_path)
    assert str(refused.value).startswith(f"{path}, row 40, column {column}: {sentence}")


@pytest.mark.parametrize("name", sorted(reported.COLUMNS))
def test_a_row_that_is_there_twice_is_refused(name: str, tmp_path: Path) -> None:
    text = pd.read_csv(reported.FOLDER / name, dtype=str, keep_default_na=False)
    pd.concat([text, text.iloc[[3]]]).to_csv(tmp_path / name, index=False)
    with pytest.raises(UserError, match=rf"{name}, row {len(text) + 2}, column .*a second time; allowed: once"):
        reported.read(name, tmp_path)


def test_a_median_outside_its_quartiles_is_refused_inside_a_curve(tmp_path: Path) -> None:
    damaged(tmp_path, CURVES, 40, "median", "99")
    with pytest.raises(UserError, match=r"row 40, column median: found .*, 99, .*; allowed: q25 <= median <= q75"):
        reported.read(CURVES, tmp_path)


def test_ends_of_curves_outside_their_quartiles_are_counted(tmp_path: Path) -> None:
    damaged(tmp_path, CURVES, 2, "median", "99")  # the first point of the first curve, which is no known exception
    with pytest.raises(UserError, match="found 27 ends of curves outside q25 to q75; allowed: the 26 known ones"):
        reported.read(CURVES, tmp_path)


def test_columns_that_are_missing_or_strange_are_named(tmp_path: Path) -> None:
    text = (reported.FOLDER / PAPER).read_text()
    (tmp_path / PAPER).write_text(text.replace("fig4_da_last5", "last", 1))
    with pytest.raises(UserError, match="lacks the columns fig4_da_last5; it has game"):
        reported.read(PAPER, tmp_path)
    (tmp_path / PAPER).write_text(text.replace("fig4_da_last5", "fig4_da_last5,more", 1))
    with pytest.raises(UserError, match=r"has the columns .*more; allowed: game"):
        reported.read(PAPER, tmp_path)


def test_a_row_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    text = (reported.FOLDER / PAPER).read_text()
    (tmp_path / PAPER).write_text(text[: text.rstrip().rindex(",")])
    with pytest.raises(UserError, match="row 59, column fig4_da_last5: found nothing"):
        reported.read(PAPER, tmp_path)


@pytest.mark.parametrize("content", ["", "\x00\x01", ",".join(reported.COLUMNS[PAPER]) + "\n"])
def test_a_file_without_rows_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / PAPER).write_text(content)
    with pytest.raises(UserError, match=PAPER):
        reported.read(PAPER, tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        reported.read(PAPER, tmp_path)


def test_the_games_are_those_of_the_paper() -> None:
    games = reported.dapo_games()
    assert len(games) == 58
    assert not set(games.index) & {"Defender", "Surround", "UpNDown", "ElevatorAction"}
    assert games["human_score"].isna().sum() == 4


def test_every_published_row_belongs_to_one_paper_and_its_kind_of_score_is_known() -> None:
    rows = sources.published()
    assert len(rows) == len(reported.read("atari_published.csv")) + len(reported.read("mujoco_published.csv"))
    assert {row.paper for row in rows} == set(sources.papers()) - {"dapo"}


def test_frames_of_theirs_are_four_to_an_agent_step() -> None:
    (row,) = [x for x in sources.published() if (x.paper, x.task, x.algorithm) == ("ppo2017", "Breakout", "PPO")]
    assert (row.value, row.runs, row.steps) == (274.8, 3, 10_000_000)
    assert (row.phase, row.statistic) == ("training", "last 100 games")
    assert row.protocol["starts"] is None  # "start protocol not stated in the table"


FORM = [
    ("papers", [], "must hold papers and score_kinds"),
    ("frame_skip", 4, r"paper x: frame_skip is 4; allowed: \[value, where it is from\], or null"),
    ("frame_skips", [4, "here"], "paper x: frame_skips is no field of a protocol; allowed: frame_skip"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), FORM)
def test_a_protocol_of_another_form_is_refused(name: str, value: object, sentence: str, tmp_path: Path) -> None:
    content = {"papers": {"x": {"title": "X", "sources": [], "protocol": {name: value}}}, "score_kinds": {}}
    path = tmp_path / "protocols.yaml"
    path.write_text(yaml.safe_dump({"papers": {}} if name == "papers" else content))
    with pytest.raises(UserError, match=sentence):
        sources.read_papers(path)


def test_every_fact_of_a_protocol_says_where_it_is_from() -> None:
    content = yaml.safe_load((reported.FOLDER / "protocols.yaml").read_text())
    facts = [fact for paper in content["papers"].values() for fact in paper["protocol"].values() if fact is not None]
    assert len(facts) > 100
    assert all(len(fact) == 2 and fact[1] for fact in facts)
