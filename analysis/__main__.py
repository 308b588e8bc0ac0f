"""Command line: judge, draw, report, compare, register, test the referee; pack and confirm results."""

import importlib
import sys

from analysis.call import Call, Command, parse
from bench.errors import UserError

READ = ("check", "store", "results", "scale", "out")
BOTH = ("check", "store", "results", "scale")
COMMANDS = {
    "verdict": Command("judge the claims of checks", "judging", READ, ("--strict",)),
    "figures": Command("draw checks' figures, or paper=dapo figure=N", "judging", (*READ, "paper", "figure")),
    "report": Command("one page for a store: claims, figures, runs", "judging", READ, ("--strict",)),
    "compare": Command("ours beside published scores: paper=NAME", "comparing", ("paper", *READ)),
    "register": Command("freeze claims with a hash before their runs", "register", ("check", "scale", "store")),
    "diff": Command("which verdicts differ between A and B, and why", "diff", ("check", "scale"), (), ("A", "B")),
    "why": Command("every run, configuration, commit behind a figure", "why", ("store", "results"), (), ("FIGURE",)),
    "archive": Command("pack a store's results; without store: judge packs anew", "packing", BOTH, ("--partial",)),
    "confirm": Command("verdicts now against those packed", "packing", BOTH),
    "selftest": Command("judge synthetic runs of known truth", "selftest", ("reps", "seed", "out")),
    "speed": Command("time the statistics on synthetic runs", "speed", ("runs", "reps", "seed")),
}


def usage() -> str:
    """What --help prints."""
    lines = [f"  {name:9}{command.does:56}{_taken(command)}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m analysis COMMAND KEY=VALUE ...",
            *lines,
            "check: one, several (check=a,b), or all that are planned (check=all).",
            "store: of runs; results: packed ones. out: where files go, else store/analysis, for packed results",
            "./reports. Without scale: the largest that is there.",
        ]
    )


def _taken(command: Command) -> str:
    return " ".join([*command.words, *(f"[{key}=]" for key in command.keys), *(f"[{flag}]" for flag in command.flags)])


def _run_saying_files(call: Call) -> int:
    """Run the command; what the file system refuses becomes one sentence that names the file."""
    try:
        status: int = importlib.import_module(f"analysis.{COMMANDS[call.command].module}").run(call)
        return status
    except BrokenPipeError:
        raise
    except OSError as error:
        # A full disk is said of no file: then the folder that was written to.
        from analysis.study import REPORTS, default_out

        place = error.filename or call.path("out") or (call.path("results") if call.command == "archive" else None)
        place = place or (default_out(call.root) if call.root else REPORTS)
        hint = "; out=DIR writes into another folder" if "out" in COMMANDS[call.command].keys else ""
        raise UserError(f"{place}: {error.strerror or error}{hint}") from error


def main(arguments: list[str]) -> int:
    """Run a command; bad input is one sentence and status 2."""
    if arguments in (["--help"], ["-h"]):
        print(usage())
        return 0
    try:
        return _run_saying_files(parse(arguments, COMMANDS))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # | head
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
