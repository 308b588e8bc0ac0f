"""`archive` without a store: packs say what their own data give now, and their data stay as they are."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis import __main__ as cli
from analysis import planted

FOLDER = f"{planted.CHECK}-{planted.SCALE}"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store and its packed results."""
    folder = tmp_path_factory.mktemp("anew")
    store, results = planted.write_store(folder / "store"), folder / "results"
    assert cli.main(["archive", "check=all", f"store={store}", f"results={results}", f"scale={planted.SCALE}"]) == 0
    return store, results


@pytest.fixture
def copy(packed: tuple[Path, Path], tmp_path: Path) -> Path:
    """Packed results that a test may spoil."""
    return Path(shutil.copytree(packed[1], tmp_path / "results"))


def judge_anew(results: Path, *flags: str) -> int:
    return cli.main(["archive", "check=all", f"results={results}", f"scale={planted.SCALE}", *flags])


def one_sentence(capsys: pytest.CaptureFixture[str], said: str) -> None:
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_pack_judged_anew_says_what_its_data_give_and_keeps_them(
    packed: tuple[Path, Path], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / FOLDER / "verdicts.json"
    content = json.loads(path.read_text())
    content["claims"][0]["verdict"] = "of another judge"
    path.write_text(json.dumps(content))
    (copy / FOLDER / "table.md").write_text("old")
    (copy / "README.md").write_text("old")
    assert judge_anew(copy) == 0
    assert "judged anew, 1 verdicts are others than before" in capsys.readouterr().out
    for name in ("README.md", *(f"{FOLDER}/{path.name}" for path in (packed[1] / FOLDER).iterdir())):
        assert (copy / name).read_bytes() == (packed[1] / name).read_bytes(), name


def test_a_pack_without_verdicts_gets_them(packed: tuple[Path, Path], copy: Path) -> None:
    (copy / FOLDER / "verdicts.json").unlink()
    assert judge_anew(copy) == 0
    assert (copy / FOLDER / "verdicts.json").read_bytes() == (packed[1] / FOLDER / "verdicts.json").read_bytes()


def test_a_pack_that_was_edited_is_refused_and_nothing_is_written(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / FOLDER / "runs.csv"
    runs = pd.read_csv(path, dtype=str, keep_default_na=False)
    runs.loc[3, "score"] = "499.0"
    runs.to_csv(path, index=False)
    (copy / FOLDER / "table.md").write_text("old")
    assert judge_anew(copy) == 2
    one_sentence(capsys, "says score 499 of arm ppo")
    assert (copy / FOLDER / "table.md").read_text() == "old"


def test_a_store_is_not_judged_anew(packed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert judge_anew(packed[0]) == 2
    one_sentence(capsys, "holds no packed results to judge anew")


def test_partial_is_of_packing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge_anew(copy, "--partial") == 2
    one_sentence(capsys, "--partial is of packing runs, which needs store")
