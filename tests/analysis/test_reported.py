"""The published numbers: every file has its columns, and a wrong file is refused in a sentence."""

import shutil
from pathlib import Path

import pytest

from analysis import reported
from bench.errors import UserError


@pytest.mark.parametrize("name", sorted(reported.COLUMNS))
def test_a_reported_file_has_its_columns(name: str) -> None:
    assert len(reported.read(name)) > 50


def test_every_table_beside_the_reader_has_a_reader() -> None:
    assert {path.name for path in reported.FOLDER.glob("*.csv")} == set(reported.COLUMNS)


def test_an_unknown_file_names_those_that_are_there() -> None:
    with pytest.raises(UserError, match="no reported file"):
        reported.read("x.csv")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [("fig4_da_last5", "last", "lacks the columns fig4_da_last5"), (",-2,", ",about -2,", "text among the numbers")],
)
def test_a_wrong_file_is_refused(before: str, after: str, sentence: str, tmp_path: Path) -> None:
    shutil.copy(reported.FOLDER / "dapo_paper_games.csv", tmp_path)
    path = tmp_path / "dapo_paper_games.csv"
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(UserError, match=sentence):
        reported.read("dapo_paper_games.csv", tmp_path)


def test_the_games_are_those_of_the_paper() -> None:
    games = reported.dapo_games()
    assert len(games) == 58
    assert not set(games.index) & {"Defender", "Surround", "UpNDown", "ElevatorAction"}
    assert games["human_score"].isna().sum() == 4
