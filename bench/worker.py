"""A run in a process of its own, forked from a server that has imported PyTorch and made no run.

Importing takes three seconds, forking none: a check of short runs would otherwise spend most of its time on imports.
The process has seen nothing of any other run, so its parameters are those of `python -m bench`, bit for bit.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import NamedTuple

from bench.stop import SIGNALS

SERVER = "BENCH_SERVER"  # process id of the server that forked this run
# What a run imports, some of it at its first step (PyTorch's optimisers bring their compiler along).
PRELOAD = ["bench.server", "bench.run", "torch._dynamo", "torch.distributed.tensor", "gymnasium.envs.classic_control"]
CRASHED = 70  # exit status of a run that ended with an exception that is no sentence of ours
SERVER_GONE = 255  # multiprocessing's, where the server ended before the run or with it
OOM_SCORE = 500  # a run looks half the machine's memory larger to Linux's out-of-memory killer than it is


class Limits(NamedTuple):
    """What a run may take of the machine."""

    threads: int = 1
    gpu: str | None = None  # CUDA_VISIBLE_DEVICES; None leaves it as it is
    memory_gb: float | None = None  # 10^9 bytes; None is what there is


class Forked:
    """The process of a run. Told apart by the time of its birth from another that is given its number later."""

    def __init__(self, process: ForkServerProcess):
        assert process.pid is not None
        self._process, self.pid, self._birth = process, process.pid, _birth(process.pid)

    @property
    def orphaned(self) -> bool:
        """True while it lives and the server does not, which would have told its exit status."""
        return self._process.exitcode == SERVER_GONE and self._birth is not None and _birth(self.pid) == self._birth

    @property
    def exitcode(self) -> int | None:
        """None while it lives; negative: the signal that ended it; SERVER_GONE: nobody knows."""
        return None if self.orphaned else self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _birth(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; None where there is none, or one that has ended, or no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def context() -> ForkServerContext:
    """The server that forks runs; it starts with the first of them, and again when it was killed."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOAD)
    return found


def launch(server: ForkServerContext, arguments: list[str], log: Path, limits: Limits) -> Forked:
    """Start `python -m bench *arguments` in a forked process.

    Args:
        log: file that its output is appended to.
    Raises:
        OSError, EOFError: the server has ended meanwhile, or can fork no more.
    """
    # Daemonic: what an interrupt leaves behind in the middle of a start is ended with this process, not waited for.
    process = server.Process(target=_work, args=(arguments, str(log), limits), daemon=True)
    process.start()
    return Forked(process)


def _work(arguments: list[str], log: str, limits: Limits) -> None:
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.setpgid(0, 0)  # Ctrl-C is for the suite, which then asks its runs to save
    faulthandler.enable()  # so that the log has the stack of a crash in C, and of a hang, which is ended by SIGABRT
    _keep_to(limits)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    from bench import __main__

    os.environ[SERVER] = str(os.getppid())
    sys.orig_argv = [sys.executable, "-m", "bench", *arguments]  # the manifest's command, to repeat the run by hand
    try:
        status = __main__.make(arguments)
    except Exception:
        traceback.print_exc()
        status = CRASHED
    sys.exit(status)


def _keep_to(limits: Limits) -> None:
    # For what is loaded from here on. PyTorch, which is there, is told by the run itself; NumPy's threads are settled
    # when `bench` is imported, here as in a run by hand.
    os.environ.update({name: str(limits.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})
    if limits.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = limits.gpu  # read when CUDA starts, which it has not in the server
    with contextlib.suppress(OSError):  # not Linux
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(max(OOM_SCORE, int(score.read_text()))))
    if limits.memory_gb is not None:
        # Linux counts what is private and may be written, which is what a run asks for. RLIMIT_AS would count the
        # mapped libraries as well, gigabytes with CUDA, and the address space that a driver only reserves.
        soft, (_, hard) = int(limits.memory_gb * 1e9), resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def require_parent() -> None:
    """End this run when the suite that started it is gone, or the server, which alone knows how the run ends."""
    suite = multiprocessing.parent_process() if SERVER in os.environ else None  # else: a process of Hydra's launcher
    if suite is not None and not (suite.is_alive() and os.getppid() == int(os.environ[SERVER])):
        raise SystemExit("the suite that started this run is gone")
