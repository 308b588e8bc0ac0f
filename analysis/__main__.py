"""Command line: python -m analysis verdict|figures|report check=NAME store=DIR [scale=NAME] [--strict]."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError

COMMANDS = ("verdict", "figures", "report")
USAGE = "usage: python -m analysis verdict|figures|report check=NAME store=DIR [scale=NAME] [--strict]"


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    command: str
    check: str
    store: Path
    scale: str | None
    strict: bool


def parse(arguments: list[str]) -> Request:
    """The command line as data (UserError for anything that is not understood)."""
    strict = "--strict" in arguments
    words = [word for word in arguments if word != "--strict"]
    if not words or words[0] not in COMMANDS:
        raise UserError(f"{words[0] if words else 'no command'}: unknown; {USAGE}")
    pairs = dict(word.partition("=")[::2] for word in words[1:])
    unknown = [name for name in pairs if name not in ("check", "store", "scale")]
    if unknown or not pairs.get("check") or not pairs.get("store"):
        raise UserError(f"{'unknown ' + ', '.join(unknown) if unknown else 'check and store are needed'}; {USAGE}")
    return Request(words[0], pairs["check"], Path(pairs["store"]), pairs.get("scale"), strict)


def strict_status(verdicts: list[str]) -> int:
    """1 if a claim is refuted, else 2 if one is undecided, else 0."""
    if "refuted" in verdicts:
        return 1
    return 2 if any(verdict != "supported" for verdict in verdicts) else 0


def run(request: Request) -> int:
    """Analyse, write, print. Returns the exit status."""
    # After parsing: pandas, SciPy and statsmodels take a second, a wrong argument should not.
    from analysis import checks
    from analysis.plan import choose_scale

    checks.view(request.check)
    scale, present = choose_scale(request.store, request.check)
    if request.scale is not None:
        scale = request.scale
    elif len(present) > 1:
        print(f"scale {scale}, the largest in the store of: {', '.join(present)}")

    from analysis import tables
    from analysis.study import analyse

    study = analyse(request.store, request.check, scale)
    drawn = []
    if request.command != "verdict":
        from analysis.figures import draw_all

        drawn = draw_all(study)
    if request.command == "figures":
        for path in (path for figure in drawn for path in figure.paths.values()):
            print(path)
        return 0
    written = tables.write_tables(study)
    if request.command == "report":
        from analysis.report import write_report

        written = [write_report(study, drawn)]
    print(tables.verdict_text(study), end="\n\n")
    for path in written:
        print(path)
    return strict_status([verdict.verdict for verdict in study.verdicts]) if request.strict else 0


def main(arguments: list[str]) -> int:
    """Run a command; bad input is one sentence and status 2."""
    if arguments in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    try:
        return run(parse(arguments))
    except PermissionError as error:
        print(f"error: {error.filename} cannot be written; analysis writes into the store", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
