"""The command line of one run, or of several through Hydra's multirun: python -m bench [-m] key=value ..."""

import signal
import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from bench import compose
from bench.errors import UserError

MULTIRUN = {"-m", "--multirun"}


@hydra.main(config_path=str(compose.CONF_DIR), config_name="config", version_base="1.3")
def _job(composed: DictConfig) -> None:
    config, container = compose.to_run_config(composed), compose.to_container(composed)
    from bench.run import run  # PyTorch is imported only when there is something to train

    path, found = run(config, container)
    if found:
        print(f"{path.name} is already done; nothing was trained", file=sys.stderr)
    print(path, flush=True)


def _check_all(arguments: list[str]) -> None:
    """Refuse a bad configuration before anything is written, in a sweep before its first job."""
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    jobs = compose.split_sweep(overrides) if MULTIRUN & set(arguments) else [overrides]
    for job in jobs:
        composed = compose.compose(job)
        compose.to_run_config(composed)
        compose.to_container(composed)


def _interrupt(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Exit status: 0 done, 2 bad input, 75 another process makes this run, 130 interrupted."""
    arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, _interrupt)
    compose.register()
    try:
        if all(not argument.startswith("-") or argument in MULTIRUN for argument in arguments):
            _check_all(arguments)
        _job()
    except KeyboardInterrupt:
        print("interrupted; the same command starts this run again", file=sys.stderr)
        sys.exit(130)


def _report(error: UserError) -> None:
    from bench.record import BusyError

    print(f"error: {error}", file=sys.stderr)
    sys.exit(75 if isinstance(error, BusyError) else 2)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        _report(error)
