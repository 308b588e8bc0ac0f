"""One file per figure. A module here with `draw(study, options) -> list[Drawn]` is a figure; its name is its
key.

matplotlib is imported by the modules that draw, not here: a verdict needs none of it.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

from analysis import checks, provenance
from analysis.study import Study
from bench.errors import UserError

HELPERS = (
    "__init__",
    "across",
    "curve_lines",
    "dose_points",
    "frames",
    "paper_games",
    "paper_panels",
    "style",
    "summary",
)


@dataclass(frozen=True)
class Drawn:
    """A figure on disk: `paths` by suffix (png, svg, pdf; csv, md, tex; why.json says what it was made of)."""

    stem: str
    caption: str
    paths: dict[str, Path]


def names() -> list[str]:
    """All figures."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in HELPERS)


def draw_all(study: Study) -> list[Drawn]:
    """Draw every figure that the check shows, each with a record of its runs; without data nothing is drawn."""
    drawn: list[Drawn] = []
    for figure in checks.view(study.plan.name).figures:
        if figure.name not in names():
            raise UserError(
                f"check {study.plan.name} shows the unknown figure {figure.name!r}; there is: {', '.join(names())}"
            )
        made = importlib.import_module(f"analysis.figures.{figure.name}").draw(study, figure.options)
        drawn += [provenance.record(one, [study], figure.options) for one in made]
    return drawn
