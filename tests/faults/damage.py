"""Files damaged between two attempts, disks that fill up or may only be read, clocks that jump, locks of the dead."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.cases import (
    CASES,
    OFTEN,
    Outcome,
    finish,
    kill,
    launch,
    outcome,
    resumable,
    wait,
    wait_for_checkpoints,
)
from tests.faults.table import Row

CASE = "dpo on Hopper"
JUMPING = (  # a clock that jumps by days, back and forth, every second
    "import runpy, sys, time; now = time.time; "
    "time.time = lambda: now() + 86400 * (int(now()) % 3 - 1); "
    "sys.argv = ['bench', *sys.argv[1:]]; runpy.run_module('bench', run_name='__main__')"
)


def _killed(place: Path, name: str, checkpoints: int = 2) -> Path:
    """A run that was killed with so many checkpoints behind it."""
    run_dir = place / name
    process = launch(CASE, run_dir)
    if not wait_for_checkpoints(process, run_dir, checkpoints):
        raise AssertionError(f"{run_dir} made no {checkpoints} checkpoints before its end")
    time.sleep(0.3)  # some rows beyond
    kill(process, signal.SIGKILL)
    return run_dir


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _flip(path: Path) -> None:
    """Change one bit in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def _forge_lease(run_dir: Path) -> None:
    lease = {"host": "a machine that is gone", "boot": "0", "pid": 1, "beat": 7}
    (run_dir / "lease-41.json").write_text(json.dumps(lease))


DAMAGES = {
    "torn last row of episodes.csv": lambda d: _append(d / "episodes.csv", b"2048,17"),
    "torn last row of metrics.csv": lambda d: _append(d / "metrics.csv", b"2048,1.5,,\n204"),
    "rows after the checkpoint": lambda d: _append(d / "episodes.csv", b"1,1.0,1,0,0,0\n" * 9),
    "newest checkpoint damaged": lambda d: _flip(resumable(d)[-1]),
    "newest checkpoint cut short": lambda d: os.truncate(resumable(d)[-1], 1000),
    "newest checkpoint empty": lambda d: os.truncate(resumable(d)[-1], 0),
    "all checkpoints damaged": lambda d: [_flip(path) for path in resumable(d)],
    "all checkpoints gone": lambda d: [path.unlink() for path in resumable(d)],
    "half a checkpoint aside": lambda d: (d / ".resume.pt.tmp").write_bytes(b"PK half"),
    "rows lost before the checkpoint": lambda d: os.truncate(d / "metrics.csv", 40),
    "status.json torn": lambda d: (d / "status.json").write_text('{"state": "run'),
    "status.json gone": lambda d: (d / "status.json").unlink(),
    "manifest.json torn": lambda d: (d / "manifest.json").write_text('{"hash": "'),
    "manifest.json gone": lambda d: (d / "manifest.json").unlink(),
    "lease of this host, of a process that is gone": lambda d: None,  # kill -9 has left it
    "lease of a host that is gone": _forge_lease,
}


def damaged_files(place: Path, expected: Outcome) -> list[Row]:
    """Each damage, done to a killed run, which is then started again."""
    rows = []
    for number, (what, damage) in enumerate(DAMAGES.items()):
        run_dir = _killed(place, f"damaged-{number}")
        damage(run_dir)
        found = finish(CASE, run_dir)
        rows.append(Row.of(what, [found == expected], found if isinstance(found, str) else ""))
    return rows


def jumping_clock(place: Path, expected: Outcome) -> Row:
    """A run under a clock that jumps, killed once and started again under it."""
    run_dir = place / "clock"
    words = [*CASES[CASE].split(), "logger=none", f"run_dir='{run_dir}'", f"checkpoint_minutes={OFTEN}"]
    command = [sys.executable, "-c", JUMPING, *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        while first.poll() is None and not resumable(run_dir):
            time.sleep(0.01)
        first.kill()
    subprocess.run(command, capture_output=True, check=False)
    return Row.of("clock jumps by days", [outcome(run_dir) == expected])


def _mount(folder: Path, options: str) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        return False
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    return done.returncode == 0


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def disks(place: Path, expected: Outcome) -> list[Row]:
    """A disk that is full from some step on, and one that may only be read; then mended. Needs root, for a tmpfs."""
    disk = place / "disk"
    if not _mount(disk, "size=64m"):
        return [Row("full disk, read-only disk", 0, 0, 0, "not tried: needs root and mount")]
    try:
        return [_full(disk, expected), _read_only(disk, expected)]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _full(disk: Path, expected: Outcome) -> Row:
    run_dir = disk / "full"
    process = launch(CASE, run_dir)
    made = wait_for_checkpoints(process, run_dir, 1)
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    code = wait(process)
    said = (run_dir / "log.txt").read_text(errors="replace")
    kept = bool(resumable(run_dir))
    filler.unlink()
    found = finish(CASE, run_dir)
    good = made and code == 1 and kept and found == expected and "Traceback" not in said
    return Row.of("full disk, then room again", [good], "" if good else f"exit {code}, {said[-200:]!r}")


def _read_only(disk: Path, expected: Outcome) -> Row:
    run_dir = disk / "read-only"
    process = launch(CASE, run_dir)
    made = wait_for_checkpoints(process, run_dir, 1)
    kill(process, signal.SIGKILL)
    _remount(disk, "ro")
    words = [*CASES[CASE].split(), "logger=none", f"run_dir='{run_dir}'"]
    refused = subprocess.run([sys.executable, "-m", "bench", *words], capture_output=True, text=True, check=False)
    _remount(disk, "rw")
    found = finish(CASE, run_dir)
    sentence = refused.returncode == 2 and refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
    good = made and sentence and found == expected
    return Row.of("read-only disk, then writable again", [good], "" if good else refused.stderr[-200:])
