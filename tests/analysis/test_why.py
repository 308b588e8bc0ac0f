"""The record beside a figure, and the command that reads it."""

import json
import shutil
from pathlib import Path

import pytest
import synthetic as synth

from analysis import __main__ as cli
from analysis import figures, provenance, why
from analysis.figures import Drawn
from analysis.study import analyse

ARMS = ["ppo", "da_full"]


def make(root: Path, skip: tuple[tuple[str, int], ...] = (("da_full", 2),)) -> Path:
    """Two arms with three seeds, one of them lost."""
    content = synth.make_plan(ARMS, ["CartPole-v1"], 3, [synth.claim()])
    synth.write_plan(root, content)
    for run in content["runs"]:
        if (run["arm"], run["seed"]) not in skip:
            synth.write_run(root, run, [(100 * i, float(run["seed"] + i)) for i in range(1, 11)])
    return root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Drawn]]:
    """A store and its figures."""
    store = make(tmp_path_factory.mktemp("why") / "store")
    return store, figures.draw_all(analyse(store, "multi_step", "gpu"))


@pytest.fixture
def copy(drawn: tuple[Path, list[Drawn]], tmp_path: Path) -> tuple[Path, Path]:
    """A store that a test may spoil, and a figure in it."""
    store = Path(shutil.copytree(drawn[0], tmp_path / "store"))
    return store, store / drawn[1][0].paths["png"].relative_to(drawn[0])


def asked(figure: Path | str, *words: str) -> int:
    return cli.main(["why", str(figure), *words])


def said(figure: Path | str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert asked(figure, *words) == 0
    return " ".join(capsys.readouterr().out.split())


def refused(figure: Path | str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert asked(figure, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_every_figure_of_a_check_has_its_record(drawn: tuple[Path, list[Drawn]]) -> None:
    assert len(drawn[1]) >= 2
    for figure in drawn[1]:
        assert figure.paths["why.json"] == figure.paths["csv"].with_name(f"{figure.stem}.why.json")
        assert figure.paths["why.json"].is_file()


def test_a_record_names_every_run_with_its_hashes_lost_ones_too(drawn: tuple[Path, list[Drawn]]) -> None:
    (part,) = provenance.read(drawn[1][0].paths["why.json"])["checks"]
    rows = {(row["arm"], row["seed"]): row for row in part["runs"]}
    assert len(rows) == 6
    assert rows["ppo", "1"] == {
        "arm": "ppo",
        "task": "CartPole-v1",
        "seed": "1",
        "state": "done",
        "in_figure": "yes",
        "hash": "ppoCartPole-v11",
        "params_sha256": "ppoCartPole-v11",
        "run_dir": "runs/ppo-CartPole-v1-s1",
    }
    assert (rows["da_full", "2"]["state"], rows["da_full", "2"]["in_figure"]) == ("missing", "no")


def test_drawing_again_elsewhere_gives_the_same_record_byte_for_byte(
    drawn: tuple[Path, list[Drawn]], tmp_path: Path
) -> None:
    store = make(tmp_path / "store")
    for first, second in zip(drawn[1], figures.draw_all(analyse(store, "multi_step", "gpu")), strict=True):
        assert first.paths["why.json"].read_bytes() == second.paths["why.json"].read_bytes()


def test_a_record_holds_no_time_and_no_path_of_the_machine(drawn: tuple[Path, list[Drawn]]) -> None:
    text = drawn[1][0].paths["why.json"].read_text()
    for word in ("/somewhere", str(drawn[0].parent), "2026-01-01"):
        assert word not in text


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "csv", "why.json", "md", "tex"])
def test_any_file_of_a_figure_leads_to_its_record(drawn: tuple[Path, list[Drawn]], suffix: str) -> None:
    figure = drawn[1][0]
    beside = figure.paths["why.json"]
    assert why.find(str(beside.with_name(f"{figure.stem}.{suffix}")), []) == beside


def test_a_stem_is_found_under_the_store(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    store, figure = copy
    assert "da_full on CartPole-v1: seeds 0-1 done; 2 missing" in said(figure.stem, capsys, f"store={store}")


def test_runs_commits_libraries_and_configurations_are_named(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(copy[1], capsys, f"store={copy[0]}")
    assert "multi_step, scale gpu: Is it?" in text
    assert "6 runs (5 done, 1 missing)" in text
    assert "ppo on CartPole-v1: seeds 0-2 done" in text
    assert "commit c0ffee: 5 of 6 runs" in text
    assert "library torch 2.13.0: 5 of 6 runs" in text
    assert "da_full on CartPole-v1, seeds 0-1: " in text
    assert "algo.inv_eta=0.5" in text
    assert "by commit " in text
    assert "matplotlib " in text
    assert text.endswith(f"every run with its directory and hashes: {copy[1].with_name(copy[1].stem)}.why.json")


def test_the_store_is_not_needed(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    store, figure = copy
    shutil.rmtree(store / "runs")
    shutil.rmtree(store / "checks")
    text = said(figure, capsys, f"store={store}")
    assert "6 runs (5 done, 1 missing)" in text
    assert "does not hold multi_step at scale gpu: not verified" in text


def test_unchanged_runs_are_verified(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = said(copy[1], capsys, f"store={copy[0]}")
    assert "all 5 runs that ended still have the params_sha256 of the figure" in text
    assert ".csv is as it was drawn" in text


def test_a_run_with_other_parameters_is_named(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = copy[0] / "runs" / "ppo-CartPole-v1-s1" / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"params_sha256": "other"}))
    assert "1 of 5 runs have OTHER params_sha256" in said(copy[1], capsys, f"store={copy[0]}")


def test_a_deleted_run_is_named(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy[0] / "runs" / "ppo-CartPole-v1-s1")
    assert "1 of 5 runs are gone: ppo, CartPole-v1, seed 1" in said(copy[1], capsys, f"store={copy[0]}")


def test_packed_results_verify_a_figure_of_the_store(
    copy: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, figure = copy
    pack = ["archive", "check=all", f"store={store}", f"results={tmp_path / 'packed'}", "scale=gpu", "--partial"]
    assert cli.main(pack) == 0
    capsys.readouterr()
    assert "packed: all 5 runs that ended still have" in said(figure, capsys, f"results={tmp_path / 'packed'}")


def test_an_edited_csv_is_found_out(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = copy[1].with_suffix(".csv")
    path.write_text(path.read_text() + "1\n")
    assert ".csv WAS EDITED after the figure was drawn" in said(copy[1], capsys, f"store={copy[0]}")


def test_a_figure_without_a_record_says_how_to_draw_it_again(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    copy[1].with_name(f"{copy[1].stem}.why.json").unlink()
    assert "draw it again with python -m analysis figures" in refused(copy[1], capsys, f"store={copy[0]}")


def test_a_name_that_nothing_bears_is_refused(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere is no figure with a record" in refused("nowhere", capsys, f"store={copy[0]}")


def test_a_stem_of_several_figures_is_refused(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    store, figure = copy
    shutil.copytree(figure.parent, store / "analysis" / "again")
    assert "is the name of several figures" in refused(figure.stem, capsys, f"store={store}")


@pytest.mark.parametrize("content", ["{", "[]", '{"figure": "x"}'])
def test_a_torn_record_is_one_sentence(
    copy: tuple[Path, Path], content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy[1].with_name(f"{copy[1].stem}.why.json").write_text(content)
    assert "why.json" in refused(copy[1], capsys, f"store={copy[0]}")


def test_a_figure_of_published_numbers_alone_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("game,source\nPong,paper\n")
    provenance.record(Drawn("theirs", "Of the paper.", {"csv": path}), [])
    assert "drawn from published numbers alone" in said(path, capsys)


def test_runs_that_the_caller_names_are_those_of_the_figure(
    drawn: tuple[Path, list[Drawn]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.csv"
    path.write_text("task,ours\nCartPole-v1,5\n")
    study = analyse(drawn[0], "multi_step", "gpu")
    provenance.record(Drawn("one", "Of one run.", {"csv": path}), [study], keys={("ppo", "CartPole-v1", 2)})
    text = said(path, capsys)
    assert "1 runs (1 done) ppo on CartPole-v1: seeds 2 done" in text


def test_runs_of_which_the_figure_shows_no_number_are_marked(
    drawn: tuple[Path, list[Drawn]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.csv"
    path.write_text("task,source,arm,seed\nCartPole-v1,paper,,\n")
    provenance.record(Drawn("none", "Theirs.", {"csv": path}), [analyse(drawn[0], "multi_step", "gpu")])
    assert "ppo on CartPole-v1: seeds 0-2 done, without a number here" in said(path, capsys)


def test_many_seeds_are_one_line_of_text() -> None:
    row = {"arm": "a", "state": "done", "in_figure": "yes"}
    rows = [row | {"task": task, "seed": str(seed)} for task in ("x", "y") for seed in range(1800)]
    assert why.in_words(rows) == ["a on x, y: seeds 0-1799 done"]


def test_the_arm_that_others_are_measured_against_belongs_to_the_figure(drawn: tuple[Path, list[Drawn]]) -> None:
    import pandas as pd

    study = analyse(drawn[0], "multi_step", "gpu")
    data = pd.DataFrame({"arm": ["da_full"], "task": ["CartPole-v1"]})
    assert {key[0] for key in provenance.figure_keys(study, data, {"baseline": "ppo"})} == {"ppo", "da_full"}
