"""A Slurm of one node on this machine, from Debian's packages: slurmctld slurmd slurm-client munge.

    sudo apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
    python tests/slurm/cluster.py           # prints the variable by which commands find it; Ctrl-C ends it

All it writes is in a temporary folder, ports are free ones, and daemons are ended by their process ids, so it leaves a
Slurm that the machine may have of its own alone. It has no accounting.
"""

import contextlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client munge"
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
GRACE_SECONDS = 20  # that a preempted job has between SIGTERM and its end
# cred_expire is also what Slurm waits before a requeued job may start: two minutes by default. KillWait is what
# processes have between SIGTERM and SIGKILL.
CONF = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
ReturnToService=2
SlurmdTimeout=10
KillWait=15
SchedulerParameters=sched_interval=2,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes={host} Default=YES PriorityTier=1 GraceTime={grace} State=UP
PartitionName=urgent Nodes={host} PriorityTier=2 State=UP
"""


def missing() -> str:
    """Why there can be no cluster here, empty if there can."""
    if not all(map(_program, PROGRAMS)):
        return f"no Slurm here; on Debian: apt-get install --no-install-recommends {PACKAGES}"
    return "" if os.geteuid() == 0 else "a Slurm of one's own needs root"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Cluster:
    """Daemons and their folder. Its commands find it by `environment`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.conf)}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def configure(self) -> None:
        """Write all that the daemons read."""
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        host, cpus = platform.node(), os.cpu_count()
        self.conf.write_text(
            CONF.format(
                host=host, ports=_ports(), folder=self.folder, cpus=cpus, memory=memory - 512, grace=GRACE_SECONDS
            )
        )

    def start(self) -> None:
        """Start everything and wait until the node takes jobs."""
        paths = [f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("key", "log", "pid", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *paths)
        _wait(lambda: (self.folder / "munge.socket").exists(), "munged has no socket")
        self._daemon("slurmctld", "-D", "-i")
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd and wait until the node takes jobs."""
        self._daemon("slurmd", "-D", "-N", platform.node())
        _wait(lambda: self.ask("sinfo", "--noheader", "--format=%T") in ("idle", "mixed", "allocated"), "no node is up")

    def _daemon(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", str(_program(name)), *arguments],  # none outlives this process
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints, its errors too."""
        done = subprocess.run(words, env={**os.environ, **self.environment}, text=True, capture_output=True, timeout=60)
        return (done.stdout + done.stderr).strip()

    def fail_node(self) -> None:
        """What a power cut is to a node: slurmd, steps and all that they started are gone at once."""
        slurmd = self.daemons.pop("slurmd")
        slurmd.kill()
        slurmd.wait()
        self.kill_steps()

    def kill_steps(self) -> None:
        """Kill whatever belongs to a job: it runs under slurmstepd, or has its variables."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Process ids of the jobs and of the slurmstepd that watch them."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = (path / "environ").read_bytes().split(b"\0")
                ours = f"SLURM_CONF={self.conf}".encode() in variables
                job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
                if ours and (job or (path / "comm").read_text().strip() == "slurmstepd"):
                    found.append(int(path.name))
        return found

    def stop(self) -> None:
        """End jobs, then daemons."""
        if "slurmctld" in self.daemons:
            self.ask("scancel", "--user=root")
        for name in ("slurmd", "slurmctld", "munged"):
            if daemon := self.daemons.pop(name, None):
                daemon.terminate()
                try:
                    daemon.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
        self.kill_steps()


def _ports() -> list[int]:
    """Two that are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(condition: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{otherwise} after {seconds:.0f} s")
        time.sleep(0.2)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that takes jobs, gone at the end. Raises: RuntimeError: it cannot be had here, or does not start."""
    if why := missing():
        raise RuntimeError(why)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: a socket's path has 108 bytes
    made = Cluster(folder)
    try:
        made.configure()
        made.start()
        yield made
    except RuntimeError as error:
        logs = [line for path in sorted(folder.glob("*.out")) for line in path.read_text(errors="replace").splitlines()]
        raise RuntimeError("\n".join([str(error), *logs[-20:]])) from None
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with cluster() as running, contextlib.suppress(KeyboardInterrupt):
        print(f"export SLURM_CONF={running.conf}", flush=True)
        signal.pause()
