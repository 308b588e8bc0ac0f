"""Figures of the DAPO paper with the check's comparable runs in them: see analysis.paper_figures."""

from typing import Any

from analysis.figures import Drawn
from analysis.paper_figures import collect, draw_figure
from analysis.study import Study


def draw(study: Study, options: dict[str, Any]) -> list[Drawn]:
    """One figure per number. Options: numbers: of the paper's figures."""
    folder = study.folder / "figures"
    return [draw_figure(number, collect([study], number), folder) for number in options["numbers"]]
