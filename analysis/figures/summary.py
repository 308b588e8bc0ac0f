"""What a figure shows as a small table, in Markdown and in LaTeX (booktabs)."""

import math
from numbers import Integral
from typing import Any

import pandas as pd

from analysis import words

# Narrower where it would be wider than the page.
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
LONG = 45  # rows from which a LaTeX table breaks over pages
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
} | {sign: "\\" + sign for sign in "&%$#_{}"}


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Integral):
        return f"{value:,}"
    return words.number(float(value) + 0.0, 3) if value is not None else "-"  # + 0.0: no -0


def interval(low: float, high: float) -> str:
    """An interval as a cell; a dash for none. Args: ends, NaN where there is none."""
    return (
        "-" if math.isnan(low) or math.isnan(high) else f"[{words.number(low + 0.0, 3)}, {words.number(high + 0.0, 3)}]"
    )


def of_means(data: pd.DataFrame, names: dict[str, str], value: str) -> pd.DataFrame:
    """A row per mean of a figure's data.

    Args: names: heading -> column that says what the mean is of; value: heading of the mean.
    """
    means = data[data["kind"] == "mean"]
    return pd.DataFrame(
        {heading: means[column] for heading, column in names.items()}
        | {
            "n": [f"{n:.0f} of {planned:.0f}" for n, planned in zip(means["n"], means["planned"], strict=True)],
            value: means["value"],
            "95 % interval": list(map(interval, means["low"], means["high"])),
        }
    )


def texts(table: pd.DataFrame) -> list[list[str]]:
    """The rows of a table as text."""
    return [[_cell(value) for value in row] for row in table.itertuples(index=False, name=None)]


def markdown(table: pd.DataFrame, caption: str) -> str:
    """The caption and the table."""
    return f"{caption}\n\n{words.markdown(list(map(str, table.columns)), texts(table))}\n"


def _is_number(text: str) -> bool:
    return text == "-" or text.lstrip("-+[").replace(",", "")[:1].isdigit()


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A `table` (from LONG rows on a `longtable`) with booktabs' rules; needs those two packages and graphicx.

    Args: label: what a \\ref names.
    """
    rows = texts(table)
    numeric = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(table.columns))]
    align = "".join("r" if column else "l" for column in numeric)
    head = " & ".join(escape(str(name)) for name in table.columns) + r" \\"
    lines = [" & ".join(escape(cell) for cell in row) + r" \\" for row in rows]
    about = rf"\caption{{{escape(caption)}}}\label{{{label}}}"
    if len(rows) >= LONG:
        top = [rf"\begin{{longtable}}{{{align}}}", about + r" \\", r"\toprule", head, r"\midrule", r"\endhead"]
        return "\n".join([*top, r"\bottomrule", r"\endfoot", *lines, r"\end{longtable}"]) + "\n"
    top = [
        r"\begin{table}",
        r"\centering\small",
        about,
        FITTED,
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        head,
        r"\midrule",
    ]
    return "\n".join([*top, *lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}"]) + "\n"
