"""How a process holds its memory: what is freed is kept for the next allocation of its size.

glibc gives blocks of more than some megabytes back to the kernel when they are freed and asks for them again at once:
each update of a convolutional network then waits for the kernel to clear tens of thousands of pages anew, a fifth of
its time (docs/performance.md).
"""

import contextlib
import ctypes

# Of mallopt(3).
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = 2**31 - 1


def keep_freed() -> None:
    """Let this process keep what it frees. Nothing happens where the C library is not glibc."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018, musl has a mallopt that does nothing, others have none
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, NEVER)
