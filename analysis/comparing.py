"""The command compare: ours beside published scores, one line per game, as text, CSV and Markdown."""

import csv
import io
import math
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from analysis.beside_dapo import dapo_lines
from analysis.call import RESULTS, Call, default_root
from analysis.judging import targets
from analysis.ours import Setting, gather
from analysis.plan import REPORTED_MARGIN
from analysis.published import PUBLISHED_STEPS, our_task, published_lines
from analysis.ranges import RANDOM
from analysis.reported.sources import papers, published
from analysis.side_by_side import Line, row
from analysis.study import REPORTS, default_out
from analysis.words import markdown, number, percent
from bench.errors import UserError
from bench.files import write_atomically

WIDTH, METHOD = 140, 34  # columns of the text, and of the name of a method in it
LABELS = ("compatible", "higher", "lower", "underpowered", "not comparable", "not run")
MUJOCO = "mujoco"  # not one source, but all at 1M steps on our tasks
NUMBERLESS = {
    "dpo": "No number of the DPO paper is known: only its abstracts could be read (analysis/reported/README.md), so "
    "there is nothing to compare with"
}


def compact(steps: float | None) -> str:
    """Steps for a column: 4.1k, 25.2M; a dash for none."""
    if steps is None:
        return "-"
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if steps >= unit:
            return f"{steps / unit:.3g}{name}"
    return f"{steps:.0f}"


def _pair(ours: float | None, theirs: float | None, digits: int = 2) -> str:
    """ours / theirs, a dash for none of them."""

    def said(value: float | None) -> str:
        if value is None:
            return "-"
        kept = digits if abs(value) < 10 else min(digits, 1)
        return f"{round(value, kept) + 0.0:.{kept}f}"  # + 0.0: no minus zero

    return "-" if ours is None and theirs is None else f"{said(ours)} / {said(theirs)}"


def _span(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A number and its interval: +- where it lies around the number, else its ends."""
    shown = number(value if value is None else value + 0.0, 3)  # + 0.0: no minus zero
    if value is None or low is None or high is None:
        return shown
    if math.isclose(high - value, value - low, rel_tol=1e-6, abs_tol=1e-9):
        return f"{shown} ± {number(high - value, 2)}"
    return f"{shown} [{number(low, 3)}, {number(high, 3)}]"


def _method(line: Line) -> str:
    """Their method: the implementation, its middle left out where it is too long for a column."""
    name = line.implementation or f"{line.method} {line.source.replace('Figure', 'Fig.')}"
    return name if len(name) <= METHOD else f"{name[: METHOD - 19]}…{name[-18:]}"


HEAD = (
    *("game", "their method", "our arm", "ours (95 %)", "n", "steps (frames)", "theirs", "n", "steps"),
    *("ours - theirs", "norm. o / t", "rel. % o / t", "label"),
)
RIGHT = frozenset((4, 6, 7, 8))  # columns of numbers


def cells(line: Line) -> list[str]:
    """The cells of a line, all but its reason."""
    frames = f" ({compact(line.frames)})" if line.frames else ""
    runs = str(line.n_ours) if line.n_ours == line.planned else f"{line.n_ours}/{line.planned}"
    return [
        line.task,
        _method(line),
        line.arm or "-",
        _span(line.ours, line.ours_low, line.ours_high),
        runs if line.planned else "-",
        compact(line.steps) + frames,
        _span(line.theirs),
        "-" if line.theirs is None else str(line.n_theirs or "?"),
        compact(line.their_steps),
        _span(line.difference, line.low, line.high),
        _pair(line.normalised_ours, line.normalised_theirs),
        _pair(line.relative_ours, line.relative_theirs, 0),
        line.label,
    ]


def _legend(paper: str, lines: list[Line]) -> list[str]:
    """What the columns mean, as far as this table needs it."""
    said = [
        "ours: mean over runs of raw returns of full games or evaluations, with Student's interval; n: runs (? = not "
        "stated, taken as 1); steps: agent steps; ours - theirs: prediction interval for the mean of their runs given "
        f"our spread, compatible within {percent(REPORTED_MARGIN)} of the task's range; norm.: that range, 0 random "
        "agent, 1 human, on MuJoCo 1 the published PPO at 1M steps (o ours, t theirs)."
    ]
    if paper == "dapo":
        said.append(
            "rel. %: (PPO+DA - PPO) / (max(human, PPO) - random), theirs after 2 hours (Figure 1). Figure 2 is read at "
            "our own steps, Figures 3 and 4 at their end."
        )
    elif any(line.arm and line.frames and line.method == "PPO" for line in lines):
        said.append("Our algo=ppo learns from replayed data with V-trace: this compares scores, not implementations.")
    return [part for sentence in said for part in textwrap.wrap(sentence, WIDTH)]


def _noted(lines: list[Line]) -> tuple[list[str], list[str]]:
    """Label of each line with the number of its reason, and the numbered reasons, equal ones once."""
    reasons = list(dict.fromkeys(line.reason for line in lines if line.reason))
    marks = [f"{line.label} [{reasons.index(line.reason) + 1}]" if line.reason else line.label for line in lines]
    notes = [
        textwrap.fill(reason, WIDTH, initial_indent=f"[{i}] ", subsequent_indent="    ")
        for i, reason in enumerate(reasons, 1)
    ]
    return marks, notes


def _table(lines: list[Line], marks: list[str]) -> list[str]:
    """Aligned columns; those that are empty throughout are left out."""
    body = [[*cells(line)[:-1], mark] for line, mark in zip(lines, marks, strict=True)]
    kept = [i for i in range(len(HEAD)) if i < 2 or any(cell[i] != "-" for cell in body)]
    widths = {i: max(len(each[i]) for each in (list(HEAD), *body)) for i in kept}

    def aligned(each: list[str]) -> str:
        padded = (each[i].rjust(widths[i]) if i in RIGHT else each[i].ljust(widths[i]) for i in kept)
        return "  ".join(padded).rstrip()

    head = aligned(list(HEAD))
    return [head, "-" * max(map(len, (head, *map(aligned, body)))), *map(aligned, body)]


def summary(lines: list[Line]) -> str:
    """How many lines have which label, and the largest fraction of a run of theirs that ours cover."""
    counts = Counter(line.label for line in lines)
    said = ", ".join(f"{counts[label]} {label}" for label in LABELS if counts[label])
    best = max(lines, key=lambda line: line.covered)
    if not best.covered:
        return f"{len(lines)} lines: {said}. No run of ours is beside any of them."
    covers = (
        f"Ours cover at most {percent(best.covered)} of the budget of theirs ({best.task}: {best.steps:,.0f} of "
        f"{best.budget:,.0f} agent steps)."
    )
    return f"{len(lines)} lines: {said}. {covers}"


def text(title: str, paper: str, lines: list[Line]) -> str:
    """The whole comparison for a terminal."""
    marks, notes = _noted(lines)
    parts = [title, *_legend(paper, lines), "", *_table(lines, marks), "", *notes, *([""] if notes else [])]
    return "\n".join([*parts, summary(lines)])


def as_markdown(title: str, paper: str, lines: list[Line]) -> str:
    """The same lines, each with its reason in full."""
    rows = [[*cells(line), line.reason, line.source, line.others] for line in lines]
    head = [*HEAD, "reason", "source", "further numbers of theirs"]
    return "\n\n".join([f"# {title}", " ".join(_legend(paper, lines)), markdown(head, rows), summary(lines)]) + "\n"


def as_csv(lines: list[Line]) -> str:
    """The same lines, every number in full."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(row(lines[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(line) for line in lines)
    return buffer.getvalue()


def known() -> list[str]:
    """The names that `paper` takes."""
    return [*papers(), MUJOCO]


def _lines(paper: str) -> tuple[str, Callable[[list[Setting]], list[Line]]]:
    """Title and what makes the lines of a paper (UserError naming the known ones)."""
    if paper in NUMBERLESS:
        raise UserError(NUMBERLESS[paper])
    if paper == "dapo":
        return papers()[paper].title, dapo_lines
    if paper == MUJOCO:
        tasks = set(RANDOM) | {"InvertedPendulum-v5"}
        rows = [item for item in published() if not item.is_atari and our_task(item) in tasks]
        rows = [item for item in rows if item.steps == PUBLISHED_STEPS]
        title = "Published MuJoCo at 1M steps; on tasks that we have runs on, every row of an algorithm of this project"
        return title, lambda settings: published_lines(rows, settings, every=True)
    if paper not in papers():
        raise UserError(f"paper={paper} is unknown; there is {', '.join(known())}")
    rows = [item for item in published() if item.paper == paper]
    return papers()[paper].title, lambda settings: published_lines(rows, settings)


def compare(paper: str, root: Path, pairs: list[tuple[str, str]], out: Path) -> tuple[str, list[Path]]:
    """Set our runs beside a paper's numbers, write the files.

    Args: paper: one of `known`; root: a store or packed results; pairs: check and scale; out: folder to write into.
    Returns the text for a terminal and the paths.
    """
    title, make = _lines(paper)
    lines = make(gather(root, pairs))
    title = f"{paper}: {title}"
    content = {".csv": as_csv(lines), ".md": as_markdown(title, paper, lines)}
    paths = [write_atomically(out / f"compare-{paper}{suffix}", made) for suffix, made in content.items()]
    return text(title, paper, lines), paths


def run(call: Call) -> int:
    """Compare, write, print. Returns the exit status."""
    paper = call.get("paper")
    if paper is None:
        raise UserError(f"compare needs paper; there is {', '.join(known())}")
    _lines(paper)  # an unknown name is refused before any run is read
    anything = call.root is not None or default_root() is not None
    root = call.root_or_default() if anything else RESULTS  # without any runs of ours theirs are shown all the same
    pairs = targets(call, root) if anything else []
    said, paths = compare(paper, root, pairs, call.path("out") or (default_out(root) if anything else REPORTS))
    print(said, end="\n\n")
    for path in paths:
        print(path)
    return 0
