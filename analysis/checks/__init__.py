"""One file per check: which metrics, figures and tables it shows, as the file's `VIEW`."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError


@dataclass(frozen=True)
class Figure:
    """A figure of the check: a module of analysis.figures and what it is to draw."""

    name: str
    options: dict[str, Any]


@dataclass(frozen=True)
class View:
    """What a check shows."""

    metrics: tuple[str, ...]  # keys of analysis.scores.METRICS, columns of the run table
    figures: tuple[Figure, ...]
    baseline: str | None = None  # arm that gains and relative scores are measured from
    published: tuple[str, ...] = ()  # algorithms whose published MuJoCo returns are shown beside ours


def across(*metrics: str, **options: Any) -> tuple[Figure, ...]:
    """Arms over tasks, of each metric: aggregates, profiles and probabilities of improvement. Options: as theirs."""
    kinds = ("aggregates", "profile", "improvement")
    return tuple(Figure(kind, {"metric": metric} | options) for metric in metrics for kind in kinds)


def names() -> list[str]:
    """All checks that can be analysed."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def view(check: str) -> View:
    """What the check shows (UserError naming the checks that exist)."""
    if check not in names():
        raise UserError(f"unknown check {check!r}; there is: {', '.join(names())}")
    found: View = importlib.import_module(f"analysis.checks.{check}").VIEW
    return found
