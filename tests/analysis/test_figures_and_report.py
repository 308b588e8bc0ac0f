import contextlib
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import synthetic as synth

from analysis import __main__ as cli
from analysis import checks, figures
from analysis.figures import style

REFERENCE = {"paper": "dapo", "figure": 2, "hours": 4.6, "steps_per_hour": 12_600_000, "runs": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store with one failed and one missing run, and its report."""
    path = tmp_path_factory.mktemp("store")
    content = synth.make_plan(
        ["ppo", "da_full"],
        ["Qbert"],
        3,
        [synth.claim(), synth.claim(id="auc", metric="auc", normalise=None, margin=0.01)],
        steps=10_000,
        reference=REFERENCE,
    )
    synth.write_plan(path, content)
    for i, run in enumerate(content["runs"][:5]):
        games = [(step, step / 10 + i) for step in range(200, 10_001, 200)]
        failed = i == 4
        synth.write_run(
            path, run, games, state="failed" if failed else "done", error="<b>boom</b> & bust" if failed else None
        )
    with (path / "printed.txt").open("w") as printed, contextlib.redirect_stdout(printed):
        assert cli.main(["report", "check=multi_step", f"store={path}"]) == 0
    return path


def test_a_figure_is_written_in_every_format_with_its_data(root: Path) -> None:
    folder = root / "analysis" / "multi_step-gpu" / "figures"
    assert {path.suffix for path in folder.glob("Qbert.*")} >= {".csv", ".pdf", ".png", ".svg"}
    data = pd.read_csv(folder / "Qbert.csv", keep_default_na=False)
    assert (data["frames"].astype(float) == 4 * data["step"].astype(float)).all()
    assert data["step"].astype(float).max() == 10_000  # the paper's curve too: matched samples
    assert set(data["source"]) == {"ours", "paper"}


def test_a_band_needs_three_runs(root: Path) -> None:
    data = pd.read_csv(root / "analysis" / "multi_step-gpu" / "figures" / "Qbert.csv", keep_default_na=False)
    ours = data[data["source"] == "ours"]
    assert set(ours.loc[ours["arm"] == "ppo", "kind"]) == {"run", "median", "q25", "q75"}
    assert set(ours.loc[ours["arm"] == "da_full", "kind"]) == {"run"} | {"median"}


def test_drawing_twice_gives_equal_bytes(root: Path) -> None:
    folder = root / "analysis" / "multi_step-gpu" / "figures"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert cli.main(["figures", "check=multi_step", f"store={root}"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_report_says_what_became_of_every_run_and_what_it_rests_on(root: Path) -> None:
    html = (root / "analysis" / "report.html").read_text()
    assert "&lt;b&gt;boom&lt;/b&gt; &amp; bust" in html
    assert "6 planned: 4 done, 1 failed, 0 running, 1 missing" in html
    assert "0.0173 %" in html  # of the reported budget
    assert "2.13.0" in html
    assert "75 %" in html  # how to read few runs


def test_the_report_prints_the_table_and_its_path_last(root: Path) -> None:
    lines = (root / "printed.txt").read_text().strip().splitlines()
    assert lines[-1] == str(root / "analysis" / "report.html")
    assert any(line.startswith("full_over_ppo") for line in lines)


def test_every_check_shows_figures_that_exist() -> None:
    for check in checks.names():
        assert {figure.name for figure in checks.view(check).figures} <= set(figures.names())


def test_every_arm_has_a_look_of_its_own_everywhere() -> None:
    arms = ["ppo", "da_1step", "da_3step", "da_full", "da_full_cd1"]
    looks = [style.look(arm, arms) for arm in arms]
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == 5
    assert style.look("ppo", ["ppo"]) == style.look("ppo", ["new", "ppo"])
    assert style.look("new", ["new", "ppo"]) != style.look("ppo", ["new", "ppo"])


def test_the_command_line_judges_and_strict_changes_only_the_status(root: Path) -> None:
    command = [sys.executable, "-m", "analysis", "verdict", "check=multi_step", f"store={root}"]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    strict = subprocess.run([*command, "--strict"], capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert strict.returncode in (1, 2)
    assert strict.stdout == plain.stdout


def test_a_verdict_does_not_import_matplotlib_nor_the_algorithms() -> None:
    code = (
        "import sys, analysis.study, analysis.tables, analysis.verdicts, analysis.report; "
        "print([m for m in sys.modules if m.split('.')[0] in ('matplotlib', 'torch') or m == 'bench.algos'])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
