"""What the server that forks runs settles before it imports anything heavy. It alone imports this module.

A cluster tells every process of a job to end, the server too; it ends with the suite instead, so that its runs can save
and their exit status reaches the suite. Signals are held back, not ignored: one that is sent to a run while it starts
reaches it as soon as it can answer (`bench.worker`).
"""

import signal

from bench.stop import SIGNALS

signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
