"""The commands verdict, figures and report: analyse the checks that are asked for, write and print."""

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.call import Call, refusal
from bench.errors import UserError

if TYPE_CHECKING:
    from analysis.figures import Drawn
    from analysis.study import Study


def strict_status(verdicts: list[str]) -> int:
    """1 if a claim is refuted, else 2 if one is undecided, else 0."""
    if "refuted" in verdicts:
        return 1
    return 2 if any(verdict != "supported" for verdict in verdicts) else 0


def _target(call: Call, root: Path, check: str) -> tuple[str, str]:
    """A check and its scale: what was asked for, else the largest that is planned."""
    from analysis.plan import choose_scale

    scale, present = choose_scale(root, check)
    asked = call.get("scale")
    if asked is not None and asked not in present:
        raise UserError(f"{root} holds no plan of {check} at scale {asked}; there is: {', '.join(present)}")
    if asked is None and len(present) > 1:
        print(f"{check}: scale {scale}, the largest of those planned: {', '.join(present)}")
    return check, asked or scale


def targets(call: Call, root: Path) -> list[tuple[str, str]]:
    """(check, scale) pairs that the call is about: those named, or for check=all (the default) every planned one."""
    from analysis.plan import planned

    asked, scale = call.get("check") or "all", call.get("scale")
    if asked != "all":
        return [_target(call, root, check) for check in dict.fromkeys(asked.split(","))]
    pairs = [
        (check, scale or scales[-1]) for check, scales in planned(root).items() if scale is None or scale in scales
    ]
    if not pairs:
        raise UserError(f"{root} holds no plan{f' at scale {scale}' if scale else ''}")
    return pairs


def _require(call: Call) -> None:
    paper, figure = call.get("paper"), call.get("figure")
    if paper or figure:
        if call.get("check") or not (paper and figure):
            raise refusal("paper and figure go together, with figures alone and without check")
        return
    if call.command == "report":
        return
    if not call.get("check"):
        raise refusal(f"{call.command} needs check")
    if bool(call.get("store")) == bool(call.get("results")):
        raise refusal(f"{call.command} needs store or results, one of them")


def _paper_figure(call: Call) -> int:
    from analysis import paper_figures
    from analysis.study import REPORTS, default_out

    paper, figure = call.values["paper"], call.values["figure"]
    if not figure.isdecimal():
        raise UserError(f"figure={figure} is no number")
    out = call.path("out") or (default_out(call.root) if call.root else REPORTS)
    drawn = paper_figures.draw(paper, int(figure), call.root, out / f"{paper}-figures")
    _print_paths(drawn)
    return 0


def _print_paths(drawn: "list[Drawn]") -> None:
    for figure in drawn:
        for path in figure.paths.values():
            print(path)


def _one(call: Call, root: Path, check: str, scale: str) -> "Study":
    """Analyse one check, write and print its verdicts, or its figures."""
    from analysis import tables
    from analysis.study import analyse
    from analysis.terminal import verdict_text

    study = analyse(root, check, scale, call.path("out"))
    if call.command == "figures":
        from analysis.figures import draw_all

        _print_paths(draw_all(study))
        return study
    written = tables.write_tables(study)
    print(verdict_text(study), end="\n\n")
    if call.command == "verdict":
        for path in written:
            print(path)
    return study


def _report(call: Call, root: Path, pairs: list[tuple[str, str]]) -> list[str]:
    """All checks on one page, with their verdicts and figures beside it. Returns the verdicts."""
    from analysis import report
    from analysis.figures import draw_all
    from analysis.study import default_out

    parts = []
    for check, scale in pairs:  # a part, not the study, is kept: a store may hold more than memory does
        study = _one(call, root, check, scale)
        parts.append(report.part(study, draw_all(study)))
    print(report.write_page(parts, root, call.path("out") or default_out(root)))
    return [card.verdict.verdict for part in parts for card in part.cards]


def run(call: Call) -> int:
    """Analyse, write, print. Returns the exit status."""
    # Imported where needed: pandas, SciPy and statsmodels take a second, a wrong argument should not.
    _require(call)
    if call.get("paper"):
        return _paper_figure(call)
    from analysis import checks

    root = call.root_or_default()
    pairs = targets(call, root)
    if call.command != "verdict":
        for check, _ in pairs:
            checks.view(check)
    if call.command == "report":
        verdicts = _report(call, root, pairs)
    else:
        verdicts = [v.verdict for check, scale in pairs for v in _one(call, root, check, scale).verdicts]
    return strict_status(verdicts) if "--strict" in call.flags else 0
