"""How a process holds its memory: what is freed is kept for the next allocation of its size.

glibc gives blocks of more than some megabytes, and what is free at the end of its heap, back to the kernel and asks for
it again at once: each update of a convolutional network then waits for the kernel to clear tens of thousands of pages
anew, a fifth of its time (docs/performance.md).
"""

import contextlib
import ctypes

# Of mallopt(3). Larger blocks still go back at once, as the copies that a checkpoint is made of should: a hole of their
# size, once a small block lies in it, would have to be made anew each time. It is the most that glibc accepts.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST, NEVER = 32 * 2**20, 2**31 - 1


def keep_freed() -> None:
    """Let this process keep what it frees. Nothing happens where the C library is not glibc."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018, musl has a mallopt that does nothing, others have none
        library.mallopt(MMAP_THRESHOLD, LARGEST)
        library.mallopt(TRIM_THRESHOLD, NEVER)
