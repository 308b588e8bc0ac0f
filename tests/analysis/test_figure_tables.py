"""The summary beside a figure: what LaTeX prints, and what a reader finds in it."""

import shutil
import subprocess
from pathlib import Path

import figure_studies as made
import pandas as pd
import pytest

from analysis.figures import bars, summary

TABLE = pd.DataFrame(
    {"arm": ["c_D = 1", "a|b"], "n": [20, 3], "mean": [-0.5, float("nan")], "95 % interval": ["[-1, 0]", "-"]}
)


def test_latex_signs_are_escaped() -> None:
    assert summary.escape("c_D & 5 % of #1 {x}^2 ~ \\a $") == (
        r"c\_D \& 5 \% of \#1 \{x\}\textasciicircum{}2 \textasciitilde{} \textbackslash{}a \$"
    )


def test_a_latex_table_has_booktabs_rules_a_caption_and_a_label() -> None:
    text = summary.latex(TABLE, "share of c_D in %", "tab:x")
    assert r"\caption{share of c\_D in \%}\label{tab:x}" in text
    assert text.count("toprule") == text.count("midrule") == text.count("bottomrule") == 1
    assert r"c\_D = 1 & 20 & -0.5 & [-1, 0] \\" in text
    assert r"\begin{tabular}{lrrr}" in text


def test_a_long_table_breaks_over_pages() -> None:
    long = pd.DataFrame({"game": [str(i) for i in range(summary.LONG)]})
    text = summary.latex(long, "c", "tab:x")
    assert r"\begin{longtable}" in text
    assert text.index(r"\bottomrule") < text.index("0 \\\\")  # the foot stands before the rows


def test_a_markdown_table_has_a_row_per_row_and_no_broken_cells() -> None:
    text = summary.markdown(TABLE, "caption")
    assert text.startswith("caption\n\n| arm | n | mean | 95 % interval |")
    assert r"a\|b" in text
    assert "nan" not in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_accepts_a_table(tmp_path: Path) -> None:
    body = summary.latex(TABLE, "share of c_D in % ± 3 \\ ~ ^ < >", "tab:x")
    head = r"\documentclass{article}\usepackage{booktabs,longtable,graphicx}\usepackage[utf8]{inputenc}\begin{document}"
    (tmp_path / "t.tex").write_text(f"{head}{body}\\end{{document}}")
    done = subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_a_wide_table_is_made_to_fit_the_page(tmp_path: Path) -> None:
    wide = pd.DataFrame({f"a column with a long name {i}": [1.0] for i in range(12)})
    head = r"\documentclass{article}\usepackage{booktabs,longtable,graphicx}\begin{document}"
    (tmp_path / "t.tex").write_text(f"{head}{summary.latex(wide, 'caption', 'tab:x')}\\end{{document}}")
    done = subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Overfull" not in done.stdout


def test_a_bars_table_says_mean_interval_and_n_of_planned(tmp_path: Path) -> None:
    tasks = {"CartPole-v1": "classic"}
    study = made.make_study(
        tmp_path, ["ppo"], tasks, 3, lambda cell: {"auc": 100.0 + cell[2]}, missing=(("ppo", "CartPole-v1", 2),)
    )
    (figure,) = bars.draw(study, {"metric": "auc", "normalise": "none"})
    row = figure.paths["md"].read_text().splitlines()[-1]
    assert row == "| CartPole-v1 | ppo | 2 of 3 | 100 | [94.1, 107] |"  # 100.5 +- 12.706 * sqrt(1/2) / sqrt(2)
    assert r"CartPole-v1 & ppo & 2 of 3" in figure.paths["tex"].read_text()
