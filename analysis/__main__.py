"""Command line: judge, draw and report the checks of a store or of packed results; pack and confirm results."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.files import write_atomically

if TYPE_CHECKING:
    from analysis.figures import Drawn
    from analysis.study import Study

USAGE = """usage: python -m analysis COMMAND KEY=VALUE ...
  verdict check=NAME store=DIR|results=DIR [scale=NAME] [out=DIR] [--strict]   judge the claims
  figures check=NAME store=DIR|results=DIR [scale=NAME] [out=DIR]              draw the check's figures
  figures paper=dapo figure=N [store=DIR|results=DIR] [out=DIR]                draw a figure of the paper
  report  check=NAME store=DIR|results=DIR [scale=NAME] [out=DIR] [--strict]   one page per check, and an index
  archive check=NAME store=DIR results=DIR scale=NAME [--partial]              pack results into results/
  confirm check=NAME store=DIR results=DIR scale=NAME                          verdicts now against those packed
check: one, several (check=a,b), or all that are planned (check=all).
store: of runs; results: packed ones. out: where files go, else store/analysis, for packed results ./reports.
Without scale: the largest that is there."""
KEYS = ("check", "store", "results", "scale", "out", "paper", "figure")
FLAGS = {"verdict": ("--strict",), "figures": (), "report": ("--strict",), "archive": ("--partial",), "confirm": ()}


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    command: str
    check: str | None
    store: Path | None
    results: Path | None
    scale: str | None
    out: Path | None
    paper: str | None
    figure: str | None
    flag: bool  # --strict, --partial

    @property
    def root(self) -> Path | None:
        """Where the runs are read from."""
        return self.store or self.results


def _refuse(sentence: str) -> UserError:
    return UserError(f"{sentence}; python -m analysis --help prints the usage")


def parse(arguments: list[str]) -> Request:
    """The command line as data (UserError for anything that is not understood)."""
    command = arguments[0] if arguments else "no command"
    if command not in FLAGS:
        raise _refuse(f"{command}: unknown, there is {', '.join(FLAGS)}")
    flags = [word for word in arguments[1:] if word.startswith("--")]
    pairs = dict(word.partition("=")[::2] for word in arguments[1:] if word not in flags)
    unknown = [name for name in pairs if name not in KEYS] + [flag for flag in flags if flag not in FLAGS[command]]
    if unknown:
        raise _refuse(f"{command}: unknown {', '.join(unknown)}")
    if empty := [name for name, value in pairs.items() if not value]:
        raise _refuse(f"{', '.join(empty)} has no value")
    found = {name: pairs.get(name) for name in KEYS}
    paths = {name: Path(value) if (value := pairs.get(name)) else None for name in ("store", "results", "out")}
    _require(command, found)
    return Request(
        command, found["check"], paths["store"], paths["results"], found["scale"], paths["out"],
        found["paper"], found["figure"], bool(flags),
    )  # fmt: skip


def _require(command: str, found: dict[str, str | None]) -> None:
    if found["paper"] or found["figure"]:
        if command != "figures" or found["check"] or not (found["paper"] and found["figure"]):
            raise _refuse("paper and figure go together, with figures alone and without check")
        return
    both = command in ("archive", "confirm")
    needed = ("check", "store", "results", "scale") if both else ("check",)
    if absent := [name for name in needed if not found[name]]:
        raise _refuse(f"{command} needs {' and '.join(absent)}")
    if not both and bool(found["store"]) == bool(found["results"]):
        raise _refuse(f"{command} needs store or results, one of them")


def strict_status(verdicts: list[str]) -> int:
    """1 if a claim is refuted, else 2 if one is undecided, else 0."""
    if "refuted" in verdicts:
        return 1
    return 2 if any(verdict != "supported" for verdict in verdicts) else 0


def _target(request: Request, root: Path, check: str) -> tuple[str, str]:
    """A check and its scale: what was asked for, else the largest that is planned."""
    from analysis.plan import choose_scale

    scale, present = choose_scale(root, check)
    if request.scale is not None and request.scale not in present:
        raise UserError(f"{root} holds no plan of {check} at scale {request.scale}; there is: {', '.join(present)}")
    if request.scale is None and len(present) > 1:
        print(f"{check}: scale {scale}, the largest of those planned: {', '.join(present)}")
    return check, request.scale or scale


def targets(request: Request, root: Path) -> list[tuple[str, str]]:
    """(check, scale) pairs that the request is about: those named, or for check=all every planned one."""
    from analysis.plan import planned

    assert request.check is not None
    if request.check != "all":
        return [_target(request, root, check) for check in dict.fromkeys(request.check.split(","))]
    found = planned(root)
    pairs = [
        (check, request.scale or scales[-1])
        for check, scales in found.items()
        if request.scale is None or request.scale in scales
    ]
    if not pairs:
        raise UserError(f"{root} holds no plan{f' at scale {request.scale}' if request.scale else ''}")
    return pairs


def _evidence(request: Request) -> int:
    from analysis import evidence

    assert request.store is not None
    assert request.results is not None
    if request.command == "archive":
        for check, scale in targets(request, request.store):
            written = evidence.pack(request.store, check, scale, request.results, partial=request.flag)
            print(f"{written[0].parent}: {sum(path.stat().st_size for path in written) / 1e6:.2f} MB")
        print(write_atomically(request.results / "README.md", evidence.overview(request.results)))
        return 0
    rows = [
        row
        for check, scale in targets(request, request.results)
        for row in evidence.confirm(request.store, check, scale, request.results)
    ]
    for row in rows:
        print(row.line)
    return 0 if all(row.same for row in rows) else 1


def _paper_figure(request: Request) -> int:
    from analysis import paper_figures
    from analysis.study import REPORTS, default_out

    assert request.paper is not None
    assert request.figure is not None
    if not request.figure.isdigit():
        raise UserError(f"figure={request.figure} is no number")
    out = request.out or (default_out(request.root) if request.root else REPORTS)
    drawn = paper_figures.draw(request.paper, int(request.figure), request.root, out / f"{request.paper}-figures")
    _print_paths(drawn)
    return 0


def _print_paths(drawn: "list[Drawn]") -> None:
    for figure in drawn:
        for path in figure.paths.values():
            print(path)


def _one(request: Request, root: Path, check: str, scale: str) -> "Study":
    """Analyse one check, write and print what was asked for."""
    from analysis import tables
    from analysis.study import analyse
    from analysis.terminal import verdict_text

    study = analyse(root, check, scale, request.out)
    drawn: list[Drawn] = []
    if request.command != "verdict":
        from analysis.figures import draw_all

        drawn = draw_all(study)
    if request.command == "figures":
        _print_paths(drawn)
        return study
    written = tables.write_tables(study)
    if request.command == "report":
        from analysis.report import write_report

        written = [write_report(study, drawn)]
    print(verdict_text(study), end="\n\n")
    for path in written:
        print(path)
    return study


def run(request: Request) -> int:
    """Analyse, write, print. Returns the exit status."""
    # Imported where needed: pandas, SciPy and statsmodels take a second, a wrong argument should not.
    if request.command in ("archive", "confirm"):
        return _evidence(request)
    if request.paper is not None:
        return _paper_figure(request)
    from analysis import checks

    assert request.root is not None
    pairs = targets(request, request.root)
    if request.command != "verdict":
        for check, _ in pairs:
            checks.view(check)
    studies = [_one(request, request.root, check, scale) for check, scale in pairs]
    if request.command == "report" and (request.check == "all" or len(studies) > 1):
        from analysis.report import write_index

        print(write_index(studies))
    verdicts = [verdict.verdict for study in studies for verdict in study.verdicts]
    return strict_status(verdicts) if request.flag else 0


def _run_saying_files(request: Request) -> int:
    """`run`; what the file system refuses becomes one sentence that names the file."""
    try:
        return run(request)
    except OSError as error:
        # A full disk is said of no file: then the folder that was written to.
        from analysis.study import REPORTS, default_out

        place = error.filename or request.out
        if place is None and request.command == "archive":
            place = request.results
        place = place or (default_out(request.root) if request.root else REPORTS)
        hint = "" if request.command in ("archive", "confirm") else "; out=DIR writes into another folder"
        raise UserError(f"{place}: {error.strerror or error}{hint}") from error


def main(arguments: list[str]) -> int:
    """Run a command; bad input is one sentence and status 2."""
    if arguments in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    try:
        return _run_saying_files(parse(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
