"""Checkpoints that a run goes on from: whole or not there, told from damaged ones by their name, the last two kept."""

import contextlib
import hashlib
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import RunError

KEPT = 2
NAME = re.compile(r"resume-(\d+)-([0-9a-f]{16})\.pt")
ASIDE = ".resume.pt.tmp"
OF_MEMORY = ("allocate memory", "enough memory", "out of memory")  # of the words of Linux, PyTorch and CUDA


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path):
        self.file, self.digest = path.open("wb"), hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def found(run_dir: Path) -> list[Path]:
    """The checkpoints of a run directory, newest first."""
    named = {path: NAME.fullmatch(path.name) for path in run_dir.glob("resume-*.pt")}
    return sorted((path for path, match in named.items() if match), key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """Agent steps at which a checkpoint was taken."""
    match = NAME.fullmatch(path.name)
    assert match
    return int(match[1])


def save(run_dir: Path, step: int, state: dict[str, Any]) -> None:
    """Write one, then remove what is older than the last two. Errors: `OSError`; those before it are left as they are.

    Args: state: plain data and tensors, loadable with weights_only=True.
    """
    import torch  # here, because plans and reports look at run directories without it

    aside = run_dir / ASIDE
    try:
        file = _Hashed(aside)
        try:
            torch.save(state, file)  # type: ignore[arg-type]
        except RuntimeError as error:  # PyTorch's, in whose place or after which the file's own error stands
            cause = error.__cause__ or error.__context__
            raise cause if isinstance(cause, OSError) else OSError(0, str(error).splitlines()[0]) from None
        finally:
            with contextlib.suppress(ValueError):
                file.close()
        aside.replace(run_dir / f"resume-{step:012d}-{file.digest.hexdigest()[:16]}.pt")
    finally:
        aside.unlink(missing_ok=True)
    for path in found(run_dir)[KEPT:]:
        path.unlink(missing_ok=True)


def whole(run_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The undamaged checkpoints, newest first; a damaged one is said on stderr and passed over.

    Raises: RunError: after the others, if one could not be read at all.
    """
    import torch

    unread: OSError | None = None
    for path in found(run_dir):
        match = NAME.fullmatch(path.name)
        assert match
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest[:16] != match[2]:
                raise ValueError("its content is not what was written")
            state = torch.load(path, weights_only=True, mmap=True)
        except OSError as error:
            unread = error
            continue
        except (ValueError, RuntimeError, pickle.UnpicklingError) as error:
            pass_over(path, error)
            continue
        yield path, state
    if unread:  # nobody knows whether it is damaged, and beginning anew would remove it
        raise RunError(f"checkpoint {unread.filename} cannot be read: {unread.strerror}; mend that, or remove it")


def pass_over(path: Path, error: Exception) -> None:
    """Say that a checkpoint is of no use. Raises: the error, if it is about memory and so not about the file."""
    if any(sign in str(error) for sign in OF_MEMORY):
        raise error
    said = str(error).splitlines()[0]
    print(f"warning: checkpoint {path} cannot be used ({said}); trying the one before it", file=sys.stderr)


def clear(run_dir: Path) -> None:
    """Remove all of a run that needs none any more."""
    for path in (*found(run_dir), run_dir / ASIDE):
        path.unlink(missing_ok=True)
