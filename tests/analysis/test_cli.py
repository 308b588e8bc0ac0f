"""The command line of the analysis: what it understands, what it refuses, and check=all."""

import errno
import os
from pathlib import Path

import pytest
import synthetic as synth

from analysis import __main__ as cli
from analysis import judging


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checks at scale cpu, one of them also at smoke, all runs done."""
    path, apart = tmp_path_factory.mktemp("store"), {"ppo": 0.2, "da_full": 0.1}
    for name, scale in (("multi_step", "cpu"), ("multi_step", "smoke"), ("eta_curve", "cpu")):
        content = synth.make_plan(["ppo", "da_full"], ["CartPole-v1"], 3, [synth.claim()], name=name, scale=scale)
        content["check"]["reference"] = None
        for run in content["runs"]:
            run["run_dir"] = f"{run['run_dir']}-{name}-{scale}"
            synth.write_run(
                path, run, [(step, 20.0 + step / 10 + run["seed"] * apart[run["arm"]]) for step in range(50, 1001, 50)]
            )
        synth.write_plan(path, content)
    return path


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [(["supported"], 0), (["supported", "inconclusive"], 2), (["not run", "refuted"], 1), (["not comparable"], 2)],
)
def test_strict_says_the_worst_verdict(verdicts: list[str], status: int) -> None:
    assert judging.strict_status(verdicts) == status


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no command"),
        (["judge"], "judge: unknown"),
        (["verdict", "check=multi_step"], "verdict needs store or results, one of them"),
        (["verdict", "check=multi_step", "store=a", "results=b"], "needs store or results, one of them"),
        (["verdict", "store=a"], "verdict needs check"),
        (["verdict", "check=multi_step", "store="], "store has no value"),
        (["verdict", "check=multi_step", "store=/nowhere", "seed=1"], "unknown seed"),
        (["verdict", "check=multi_step", "store=/nowhere", "--partial"], "unknown --partial"),
        (["verdict", "check=nope", "store=/nowhere"], "no plan of check nope; planned there: nothing"),
        (["verdict", "check=all", "store=/nowhere", "scale=cpu"], "/nowhere holds no plan at scale cpu"),
        (["archive", "check=all", "store=a", "scale=cpu"], "archive needs results"),
        (["confirm", "check=all", "results=a"], "confirm needs store and scale"),
        (["figures", "paper=dapo"], "paper and figure go together"),
        (["report", "paper=dapo", "figure=1"], "unknown paper, figure"),
        (["figures", "paper=dapo", "figure=one"], "figure=one is no number"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1


def test_an_absent_scale_names_those_that_are_there(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verdict", "check=multi_step", f"store={root}", "scale=paper"]) == 2
    assert "there is: smoke, cpu" in capsys.readouterr().err


def test_an_unknown_check_names_those_that_are_planned(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verdict", "check=nope", f"store={root}"]) == 2
    assert "planned there: eta_curve, multi_step" in capsys.readouterr().err


def test_all_means_every_check_that_is_planned_at_the_scale(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verdict", "check=all", f"store={root}", "scale=smoke", f"out={tmp_path / 'a'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["multi_step-smoke"]
    assert cli.main(["verdict", "check=all", f"store={root}", f"out={tmp_path / 'b'}", "--strict"]) == 1
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["eta_curve-cpu", "multi_step-cpu"]
    assert "refuted" in capsys.readouterr().out


def test_a_report_of_all_checks_is_one_page_beside_the_verdicts_of_each(root: Path, tmp_path: Path) -> None:
    assert cli.main(["report", "check=all", f"store={root}", "scale=cpu", f"out={tmp_path}"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eta_curve-cpu", "multi_step-cpu", "report.html"]
    page = (tmp_path / "report.html").read_text()
    for check in ("eta_curve", "multi_step"):
        assert page.count(f'id="check/{check}"') == 1
        assert (tmp_path / f"{check}-cpu" / "verdicts.json").is_file()
        assert not (tmp_path / f"{check}-cpu" / "report.html").exists()


def test_a_report_without_a_place_is_about_the_store_here(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "check=eta_curve"]) == 2
    assert "neither ./store nor ./results with a plan" in capsys.readouterr().err
    (tmp_path / "store").symlink_to(root)
    assert cli.main(["report", "check=eta_curve", f"out={tmp_path / 'page'}"]) == 0
    assert (tmp_path / "page" / "report.html").is_file()


def test_the_store_is_left_alone_when_the_output_goes_elsewhere(root: Path, tmp_path: Path) -> None:
    before = sorted(path for path in root.rglob("*") if path.is_file())
    assert cli.main(["verdict", "check=eta_curve", f"store={root}", f"out={tmp_path}"]) == 0
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before


def test_several_checks_are_named_with_commas(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["check=multi_step,eta_curve,multi_step", f"store={root}"]
    assert cli.main(["verdict", *asked, f"out={tmp_path / 'a'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["eta_curve-cpu", "multi_step-cpu"]
    assert "multi_step: scale cpu, the largest of those planned: smoke, cpu\n" in capsys.readouterr().out
    assert cli.main(["archive", *asked, f"results={tmp_path / 'b'}", "scale=cpu"]) == 0
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["README.md", "eta_curve-cpu", "multi_step-cpu"]
    capsys.readouterr()
    assert cli.main(["confirm", *asked, f"results={tmp_path / 'b'}", "scale=cpu"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["multi_step", "eta_curve"]


def test_a_scale_that_one_of_several_checks_lacks_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["check=multi_step,eta_curve", f"store={root}", "scale=smoke", f"out={tmp_path}"]
    assert cli.main(["verdict", *asked]) == 2
    assert "holds no plan of eta_curve at scale smoke; there is: cpu" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["verdict", "figures", "report"])
def test_output_into_a_file_is_one_sentence_that_names_it(
    command: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("mine")
    assert cli.main([command, "check=eta_curve", f"store={root}", f"out={tmp_path / 'taken'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'taken'}")
    assert "Not a directory" in error
    assert "out=DIR" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option"), [(("verdict",), "out"), (("archive", "scale=cpu", "--partial"), "results")]
)
def test_a_full_disk_is_one_sentence_that_names_where_was_written(
    command: tuple[str, ...], option: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main([*command, "check=eta_curve", f"store={root}", f"{option}={tmp_path / 'here'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'here'}: No space left on device")
    assert error.count("\n") == 1


def test_help_is_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m analysis")
