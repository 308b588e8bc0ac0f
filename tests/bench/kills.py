"""Functions that are killed by SIGKILL: before the n-th change that they make on the disk, or after some time.

A helper process imports them once and forks for each call.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate"}


class Killer:
    """The helper process. Use as a context manager."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def __call__(self, function, *arguments, change=None, seconds=None):
        """Call one of FUNCTIONS. Returns whether it was killed; a failure of its own is an error."""
        words = [function, [str(argument) for argument in arguments], change, seconds]
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        assert status in (0, signal.SIGKILL), status
        return status == signal.SIGKILL


def _serve():
    from bench import garbage
    from bench import merge as merging
    from bench.store import delete

    def merge(target, *sources):
        merging.merge([Path(source) for source in sources], Path(target))

    def careless_merge(target, *sources):
        merging.COPYING = ""
        merge(target, *sources)

    def gc(store):
        garbage.gc(Path(store), remove=True)

    def careless_gc(store):
        garbage._remove = lambda item, _: delete(item.path) or True
        gc(store)

    functions = {"merge": merge, "careless_merge": careless_merge, "gc": gc, "careless_gc": careless_gc}
    for line in sys.stdin:
        name, arguments, change, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if change is not None:
                _die_before(change)
            code = 1
            try:
                functions[name](*arguments)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        print(os.waitpid(child, 0)[1], flush=True)


def _die_before(change):
    seen = -1

    def watch(event, details):
        nonlocal seen
        if event in CHANGES or (event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR)):
            seen += 1
            if seen == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    _serve()
