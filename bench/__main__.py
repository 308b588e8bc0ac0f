"""The command line of one run, or of several through Hydra's multirun: python -m bench [-m] key=value ..."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from bench import compose
from bench.errors import RunError, UserError


def make(arguments: list[str]) -> int:
    """Make the run of these overrides in this process, without Hydra's command line. Returns its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C reaches the run itself, and the suite then ends it too
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


def _check_all(arguments: list[str]) -> None:
    """Refuse a bad configuration before anything is written, in a sweep before its first job."""
    flags, unknown = get_args_parser().parse_known_args(arguments)
    if unknown:
        raise UserError(
            f"cannot read {' '.join(unknown)!r}; flags are those of --hydra-help, never between key=value words"
        )
    if flags.help or flags.hydra_help or flags.info:
        return
    if flags.config_name or flags.config_path or flags.config_dir:
        raise UserError("a run starts from conf/config.yaml; leave -cn, -cp and -cd out")
    if flags.cfg and flags.multirun:
        raise UserError("--cfg prints one configuration; leave -m out")
    jobs = compose.split_sweep(flags.overrides) if flags.multirun else [flags.overrides]
    if not jobs:
        raise UserError(f"the sweep {' '.join(flags.overrides)} has no values to run")
    for job in jobs:
        composed = compose.compose(job)
        if flags.cfg:
            continue
        config = compose.to_run_config(composed)
        compose.to_container(composed)
        if config.device != "cpu":
            from bench.run import require_device  # PyTorch, which takes seconds to import

            require_device(config.device)
    if flags.multirun:  # Hydra keeps its record of the sweep there, and would fail with a traceback
        _require_writable(Path(config.store))


def _require_writable(store: Path) -> None:
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the store {store} cannot be written: {error.strerror}") from None
    if not os.access(store, os.W_OK):
        raise UserError(f"the store {store} cannot be written")


def _interrupt(number: int, _frame: Any) -> None:
    for other in {number, signal.SIGTERM}:  # a second one would break off the record of the first
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Exit status: 0 done, 1 the run failed, 2 bad input, 75 another process makes this run, 130 interrupted."""
    arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, _interrupt)
    compose.register()
    codes: list[int] = []
    job = hydra.main(config_path=str(compose.CONF_DIR), config_name="config", version_base="1.3")(
        lambda composed: codes.append(_make(composed))
    )
    try:
        _check_all(arguments)
        job()
    except UserError as error:
        sys.exit(_report(error))
    except KeyboardInterrupt:
        print("interrupted; the same command starts this run again", file=sys.stderr)
        sys.exit(130)
    sys.exit(next((code for code in codes if code), 0))


def _report(error: UserError) -> int:
    from bench.record import BusyError

    print(f"error: {error}", file=sys.stderr)
    return 75 if isinstance(error, BusyError) else 1 if isinstance(error, RunError) else 2


if __name__ == "__main__":
    main()
