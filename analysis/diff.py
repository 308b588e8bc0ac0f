"""The command diff: which verdicts differ between two stores, packs or revisions, and why."""

import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from analysis.call import Call
from analysis.diff_reasons import changed, in_words, reasons, stated_otherwise
from analysis.diff_sides import Judged, Side, judged, resolve
from analysis.plan import planned
from bench.errors import UserError

WIDTH = 118


@dataclass
class Report:
    """The diff of one check: lines to print, verdicts that differ, claims compared."""

    lines: list[str] = field(default_factory=list)
    differing: int = 0
    compared: int = 0


def _wrapped(text: str, indent: int) -> list[str]:
    pad = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=f"{pad}  ", break_on_hyphens=False)


def check_report(a: Judged, b: Judged, title: str) -> Report:
    """Two judgements of one check, claim by claim. Args: title: check and scale."""
    report, unchanged, aged = Report(), 0, 0
    for name, side in (("A", a), ("B", b)):
        if side.problem:
            report.lines += _wrapped(f"{name} cannot be judged now: {side.problem}", 2)
        if side.renumbered:
            said = f"{name}: games and metrics of {side.renumbered} runs now give other numbers than its runs.csv"
            report.lines += _wrapped(f"{said}: analysis code, or an edited pack", 2)
    for claim in sorted(a.claims | b.claims):
        before, after = a.says(claim), b.says(claim)
        if before is None or after is None:
            only = "B" if before is None else "A"
            report.lines.append(f"  {claim}: only in {only}, {(before or after).verdict}")  # type: ignore[union-attr]
            continue
        report.compared += 1
        now = a.gives(claim), b.gives(claim)
        recomputed = changed(now[0], now[1]) if now[0] and now[1] else ""
        what = "verdict" if "verdict" in (changed(before, after), recomputed) else changed(before, after) or recomputed
        if not what:
            unchanged += 1
            aged += bool(stated_otherwise(a, claim))
            continue
        report.differing += what == "verdict"
        verdicts = before.verdict if before.verdict == after.verdict else f"{before.verdict} -> {after.verdict}"
        report.lines.append(f"  {claim}: {verdicts}")
        report.lines += [f"    A {in_words(before)}", f"    B {in_words(after)}"]
        for sentence in reasons(a, b, claim):
            report.lines += _wrapped(sentence, 4)
    report.lines.insert(0, f"{title}: {unchanged} of {report.compared} claims unchanged")
    if aged:
        said = f"{aged} of these are stated on both sides as their own data no longer give them: analysis code"
        report.lines[1:1] = _wrapped(f"{said}; archive without store judges packs anew", 2)
    return report


def _pairs(call: Call, a: Side, b: Side) -> tuple[list[tuple[str, str]], list[str]]:
    """(check, scale) that both sides hold, and a sentence for every check that only one does."""
    ours, theirs = planned(a.root), planned(b.root)
    asked, scale = call.get("check") or "all", call.get("scale")
    names = sorted(ours.keys() | theirs.keys()) if asked == "all" else list(dict.fromkeys(asked.split(",")))
    if unknown := [name for name in names if name not in ours and name not in theirs]:
        known = ", ".join(sorted(ours.keys() | theirs.keys()))
        raise UserError(f"neither {a.name} nor {b.name} holds check {', '.join(unknown)}; there is: {known}")
    pairs, said = [], []
    for name in names:
        common = [s for s in ours.get(name, ()) if s in theirs.get(name, ()) and scale in (None, s)]
        if common:
            pairs.append((name, common[-1]))
        else:
            at = f" at scale {scale}" if scale else ""
            held = [f"{label}: {', '.join(of.get(name, ())) or 'none'}" for label, of in (("A", ours), ("B", theirs))]
            said.append(f"{name}: no common plan{at} ({'; '.join(held)})")
    return pairs, said


def run(call: Call) -> int:
    """Print the diff; 1 where a verdict differs or a side cannot be judged, else 0 (UserError: nothing in common)."""
    with tempfile.TemporaryDirectory(prefix="diff-") as folder:
        a, b = (resolve(name, Path(folder) / side) for name, side in zip(call.words, "AB", strict=True))
        pairs, alone = _pairs(call, a, b)
        if not pairs:
            shown = "; ".join(alone[:2]) + (" ..." if len(alone) > 2 else "")
            raise UserError(f"{a.name} and {b.name} have no check in common to compare: {shown}")
        print(f"A: {a.said}\nB: {b.said}")
        differing = compared = broken = 0
        for check, scale in pairs:
            sides = judged(a, check, scale), judged(b, check, scale)
            report = check_report(*sides, f"{check}, scale {scale}")
            broken += any(side.problem for side in sides)
            print("\n".join(["", *report.lines]))
            differing, compared = differing + report.differing, compared + report.compared
        print("\n".join(["", *alone, f"{differing} of {compared} verdicts differ"]))
    return 1 if differing or broken else 0
