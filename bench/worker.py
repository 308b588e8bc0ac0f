"""A run in a process of its own, forked from a server that has imported PyTorch and made no run.

Importing takes three seconds, forking none: a check of short runs would otherwise spend most of its time on imports.
The process has seen nothing of any other run, so its parameters are those of `python -m bench`, bit for bit.
"""

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

SERVER = "BENCH_SERVER"  # process id of the server that forked this run
# What a run imports, some of it at its first step (PyTorch's optimisers bring their compiler along).
PRELOAD = ["bench.run", "torch._dynamo", "torch.distributed.tensor", "gymnasium.envs.classic_control"]


def context() -> ForkServerContext:
    """The server that forks runs; it starts with the first of them and ends with this process."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOAD)
    return found


def launch(server: ForkServerContext, arguments: list[str], log: Path) -> ForkServerProcess:
    """Start `python -m bench *arguments` in a forked process. Args: log: file that its output is appended to."""
    # Daemonic: what an interrupt leaves behind in the middle of a start is ended with this process, not waited for.
    process = server.Process(target=_work, args=(arguments, str(log)), daemon=True)
    process.start()
    return process


def _work(arguments: list[str], log: str) -> None:
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from bench import __main__

    os.environ[SERVER] = str(os.getppid())
    sys.orig_argv = [sys.executable, "-m", "bench", *arguments]  # the manifest's command, to repeat the run by hand
    sys.exit(__main__.make(arguments))


def require_parent() -> None:
    """End this run when the suite that started it is gone, or the server: then the suite counts the run as failed."""
    suite = multiprocessing.parent_process()
    if suite is not None and not (suite.is_alive() and os.getppid() == int(os.environ.get(SERVER, os.getppid()))):
        raise SystemExit("the suite that started this run is gone")
