"""How numbers and facts are said, in tables, reports and reasons."""

import math
from typing import Any

from analysis.plan import Plan


def number(value: Any, digits: int = 4) -> str:
    """A number for reading; a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def interval_text(interval: list[float] | None) -> str:
    """[low, high] for reading; a dash for none."""
    return f"[{number(interval[0])}, {number(interval[1])}]" if interval else "-"


def percent(fraction: float) -> str:
    """A fraction for reading: enough digits to be no zero."""
    return f"{100 * fraction:.3g} %"


def contrast_text(contrast: list[str], minus: str = "-") -> str:
    """A | A - B | (A - B) - (C - D)."""
    pairs = [f" {minus} ".join(contrast[i : i + 2]) for i in range(0, len(contrast), 2)]
    return pairs[0] if len(pairs) == 1 else f" {minus} ".join(f"({pair})" for pair in pairs)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def unscientific(plan: Plan) -> str:
    """What stands beside every number of a scale that decides nothing."""
    return f"Scale {plan.scale} says nothing scientific: it only shows that everything runs."


def loss_sentence(runs: dict[str, int]) -> str:
    """How many of a claim's runs have no number, and why; empty when all have one."""
    words = {"failed": "failed", "missing": "missing", "running": "not finished", "unscored": "without a number"}
    parts = [f"{runs[key]} {word}" for key, word in words.items() if runs[key]]
    lost = runs["planned"] - runs["used"]
    return f"{lost} of {runs['planned']} runs lack a number ({', '.join(parts)})." if parts else ""
