"""Asking a run to end: the first signal is a wish, granted where all can be saved; a second Ctrl-C is an order.

A cluster and the suite both ask every run to end, and each asks again: that is the same wish.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# SIGUSR1 and SIGUSR2 are what clusters send before a time limit; Ctrl-C is SIGINT.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Stop:
    """Remembers that the end was asked for. `wish` is the name of the signal, empty until one comes."""

    wish = ""

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """The handler of all SIGNALS. Raises: KeyboardInterrupt: at a SIGINT after another signal."""
        if self.wish and number == signal.SIGINT:
            raise KeyboardInterrupt(f"{signal.Signals(number).name}, after {self.wish}")
        self.wish = self.wish or signal.Signals(number).name


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Hear signals while the body runs. Python gives them to the main thread alone; elsewhere none is heard."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.hear) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
