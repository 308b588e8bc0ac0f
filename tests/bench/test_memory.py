"""Freed memory stays with the process, so that the kernel does not clear it anew."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from bench import memory
if {keep}:
    memory.keep_freed()
torch.set_num_threads(1)
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(30):
    if i == 10:  # the first ones split off rests that keep them apart
        before = count()
    blocks = [torch.zeros(5_000_000) for _ in range(6)]  # 20 MB each, together more than glibc keeps
    blocks.clear()
    large = torch.zeros(20_000_000)  # 80 MB: given back
    del large
print(count() - before)
"""


def faults(*, keep: bool) -> int:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
def test_blocks_are_reused_without_page_faults():
    large = 20 * 80_000_000 // 4096
    with_it, without = faults(keep=True), faults(keep=False)
    assert with_it < 1.02 * large
    assert without > 2 * large or without < 1.02 * large  # a C library that keeps them anyway
