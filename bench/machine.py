"""What tells this machine from others, as far as speed goes."""

import platform
from functools import cache
from pathlib import Path


@cache
def cpu() -> str:
    """Model of the processor."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> tuple[str, str]:
    """Processor and name."""
    return cpu(), platform.node()
