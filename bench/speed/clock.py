"""What a side of a contest measures of itself: a window of its steps, and where the time of that window went."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One side, once."""

    steps: int  # agent steps in the window
    wall_s: float
    cpu_s: float  # of all threads of the process; 0: not known
    peak_mb: float  # most memory that the process has held
    parts: dict[str, float] = field(default_factory=dict)  # wall seconds of the window, by what was done
    versions: dict[str, str] = field(default_factory=dict)

    def rate(self, clock: str) -> float:
        """Steps per second of `wall` or `cpu`."""
        return self.steps / (self.cpu_s if clock == "cpu" and self.cpu_s else self.wall_s)

    @property
    def crowded(self) -> float:
        """Share of the window in which the process did not run, for a process with one thread."""
        return max(0.0, 1 - self.cpu_s / self.wall_s) if self.cpu_s else 0.0

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


class Window:
    """Notes the time between two counts of steps, and that of the calls which it was asked to watch.

    Args:
        first: steps before the window, which the first kernels, allocations and imports take.
        last: steps with which it ends; None: with the last that are made.
    """

    def __init__(self, first: int, last: int | None = None):
        self.first, self.last = first, last
        self.parts: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self._began: tuple[int, float, float] | None = None
        self._ended: tuple[int, float, float] = (0, 0.0, 0.0)

    def see(self, done: int) -> None:
        """So many steps have been made."""
        if self.last is not None and done > self.last:
            return
        self._ended = (done, time.perf_counter(), time.process_time())
        if done < self.first:
            return
        if self._began is None:
            self._began, self._before = self._ended, dict(self.parts)
        self._spent = {part: spent - self._before[part] for part, spent in self.parts.items()}

    def watch(self, owner: object, method: str, part: str) -> None:
        """Add the time of the calls of a method to a part."""
        inner: Callable[..., Any] = getattr(owner, method)
        self.parts.setdefault(part, 0.0)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.parts[part] += time.perf_counter() - began

        setattr(owner, method, timed)

    def measured(self, rest: str = "record") -> Measured:
        """What was noted. Args: rest: name of what is left of the window, where parts were watched."""
        if self._began is None or self._ended[0] <= self._began[0]:
            seen = f"{self._ended[0]} steps were made, and it begins with {self.first}"
            raise ValueError(f"the window is empty: {seen}")
        steps, wall, cpu = (ended - began for ended, began in zip(self._ended, self._began, strict=True))
        parts = dict(self._spent)
        if parts:
            parts[rest] = wall - sum(parts.values())
        return Measured(int(steps), wall, cpu, peak_mb(), parts)


def peak_mb() -> float:
    """Most resident memory of this process so far, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
