"""The command line of one run, or of several through Hydra's multirun: python -m bench [-m] key=value ..."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from bench import compose
from bench.errors import RunError, UserError, out_of_memory
from bench.identity import run_directory
from bench.record import BusyError, RunRecord, read_status
from bench.stop import SIGNALS


def make(arguments: list[str]) -> int:
    """Make the run of these overrides in this process, without Hydra's command line. Returns its exit status."""
    for number in SIGNALS:  # Ctrl-C reaches the run itself, and the suite then ends it too
        signal.signal(number, _interrupt)
    try:
        return _make(compose.compose(arguments))
    except UserError as error:
        return _report(error)
    except KeyboardInterrupt:
        return 130


def _make(composed: DictConfig) -> int:
    """Make one run. Returns its exit status: Hydra would print a `UserError` raised here with a traceback."""
    from bench.run import run

    try:
        config, container = compose.to_run_config(composed), compose.to_container(composed)
        path, found = run(config, container)
    except UserError as error:
        return _report(error)
    if found:
        print(f"{path.name} is already done; nothing was trained", file=sys.stderr)
    print(path, flush=True)
    return 0


def _make_or_say(composed: DictConfig) -> int:
    """`_make`, without a traceback where memory ran out; a suite tries such a run again."""
    try:
        return _make(composed)
    except (MemoryError, RuntimeError, ValueError) as error:
        said = out_of_memory(error, compose.to_container(composed))
        if said is None:
            raise
        return _report(RunError(said))


def _check_all(arguments: list[str]) -> list[Path]:
    """Refuse a bad configuration before anything is written, in a sweep before its first job.

    Returns the run directory of each job; none where nothing is to be run.
    """
    flags = _flags(arguments)
    jobs = compose.split_sweep(flags.overrides) if flags.multirun else [flags.overrides]
    if not jobs:
        raise UserError(f"the sweep {' '.join(flags.overrides)} has no values to run")
    of_sweep = [word for word in flags.overrides if flags.multirun and word.lstrip("+~").startswith("hydra.")]
    run_dirs = []
    if flags.hydra_help and flags.overrides:
        raise UserError(f"--hydra-help takes no key=value, got {flags.overrides[0]!r}")
    for job in jobs:
        composed = compose.compose([*of_sweep, *job])
        if flags.help or flags.hydra_help or flags.info or (flags.cfg and not flags.resolve):
            continue
        config = compose.to_run_config(composed)
        run_dirs.append(_usable(compose.to_container(composed)))
        if config.device != "cpu":
            from bench.run import require_device  # PyTorch, which takes seconds to import

            require_device(config.device)
    if flags.multirun:  # Hydra keeps its record of the sweep in the store, and would fail with a traceback
        for folder in (*(run_dir.parent for run_dir in run_dirs), Path(config.store)):
            _require_writable(folder)
    return run_dirs


def _flags(arguments: list[str]) -> argparse.Namespace:
    """Hydra's flags, those that have a meaning here, and one that says what to do at most."""
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        flags, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    if unknown:
        raise UserError(
            f"cannot read {' '.join(unknown)!r}; flags are those of --hydra-help, never between key=value words"
        )
    for name in ("config_name", "config_path", "config_dir", "experimental_rerun", "shell_completion"):
        if getattr(flags, name):
            raise UserError(f"cannot take --{name.replace('_', '-')}; a run starts from conf/config.yaml")
    if flags.cfg and flags.multirun:
        raise UserError("--cfg prints one configuration; leave -m out")
    asked = [name for name in ("help", "hydra_help", "cfg", "info", "run", "multirun") if getattr(flags, name)]
    if len(asked) > 1:
        raise UserError(f"cannot take {' and '.join('--' + name.replace('_', '-') for name in asked)} together")
    for name in ("resolve", "package"):
        if getattr(flags, name) and not flags.cfg:
            raise UserError(f"--{name} belongs to --cfg")
    return flags


def _usable(container: dict[str, Any]) -> Path:
    """The directory of a run. Errors: `UserError`: it holds something else."""
    run_dir = run_directory(container)
    RunRecord(run_dir, container).found_finished()
    return run_dir


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"the folder {folder} cannot be written")


def _interrupt(_number: int, _frame: Any) -> None:
    for other in SIGNALS:  # a second one would break off the record of the first
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Exit status: 0 done, 1 the run failed, 2 bad input, 75 another process makes this run, 130 interrupted."""
    arguments = sys.argv[1:]
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    compose.register()
    codes: list[int] = []
    job = hydra.main(config_path=str(compose.CONF_DIR), config_name="config", version_base="1.3")(
        lambda composed: codes.append(_make_or_say(composed))
    )
    try:
        run_dirs = _check_all(arguments)
        job()
    except UserError as error:
        sys.exit(_report(error))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with this run", file=sys.stderr)
        sys.exit(130)
    if len(codes) < len(run_dirs):  # a launcher made them in other processes, whose exit statuses do not come back
        codes = [int(read_status(run_dir)["state"] != "done") for run_dir in run_dirs]
    sys.exit(next((code for code in codes if code), 0))


def _report(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 75 if isinstance(error, BusyError) else 1 if isinstance(error, RunError) else 2


if __name__ == "__main__":
    main()
