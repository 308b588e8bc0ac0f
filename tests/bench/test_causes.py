import signal

import pytest

from bench.causes import LINES, cause, tail
from bench.worker import CRASHED, SERVER_GONE

SAID = {"state": "failed", "error": "ValueError: the run's word"}
TORCH = "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"
RAISE = "out of memory: executor.memory_gb=2 is too little for it; raise that key"
LOWER = "out of memory; lower executor.slots"


def of(code: int, *log: str, said: dict | None = None, oom: bool = False, cap: float | None = None) -> str:
    return cause(code, said or {}, list(log), oom, cap)


def test_a_run_that_recorded_its_error_is_believed():
    assert of(CRASHED, "something else", said=SAID) == "ValueError: the run's word"
    assert of(1, "error: it diverged", said={"state": "failed", "error": "it diverged"}) == "it diverged"


def test_what_is_said_of_a_run_that_goes_is_no_error():
    assert of(CRASHED, "the last line", said={"state": "running", "step": 8}) == "the last line"


def test_a_run_that_recorded_nothing_is_known_by_its_last_line_else_by_its_exit_status():
    assert of(2, "warning: a", "error: steps is 0") == "error: steps is 0"
    assert of(3) == "exit status 3"


def test_a_signal_is_named():
    assert of(-signal.SIGSEGV, "Fatal Python error", said=SAID) == "killed by SIGSEGV"
    assert of(-40) == "killed by signal 40"


def test_the_end_of_the_server_is_said():
    assert of(SERVER_GONE) == "the process that starts the runs has ended"


@pytest.mark.parametrize("sign", ["MemoryError", TORCH, "numpy._core._exceptions._ArrayMemoryError: Unable to"])
def test_an_exception_for_want_of_memory_names_the_key_to_change(sign):
    assert of(CRASHED, "Traceback", sign, "another thread ended") == LOWER
    assert of(CRASHED, said={"state": "failed", "error": sign}, cap=2.0) == RAISE


def test_a_library_that_aborts_for_want_of_memory_is_understood():
    log = ["terminate called after throwing an instance of 'std::bad_alloc'", "  what():  std::bad_alloc"]
    assert of(-signal.SIGABRT, *log, cap=2.0) == RAISE
    assert of(-signal.SIGABRT, "Assertion `x' failed") == "killed by SIGABRT"


def test_the_memory_of_a_gpu_has_a_key_of_its_own():
    said = {"state": "failed", "error": "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."}
    assert of(CRASHED, said=said, cap=2.0) == "out of memory on the GPU; lower executor.runs_per_gpu"


def test_sigkill_is_for_want_of_memory_only_if_linux_counts_one():
    assert of(-signal.SIGKILL, oom=True) == "out of memory, killed by Linux; lower executor.slots"
    assert of(-signal.SIGKILL, "MemoryError") == "killed by SIGKILL"
    assert of(-signal.SIGTERM, oom=True) == "killed by SIGTERM"


def test_the_tail_is_of_this_attempt_and_bounded(tmp_path):
    log = tmp_path / "log.txt"
    assert tail(log, 0) == []
    log.write_text("earlier\n")
    begin = log.stat().st_size
    assert tail(log, begin) == []
    with log.open("ab") as file:
        file.write(b"not \xff text\n" + b"".join(b"%d\n" % i for i in range(9000)))
    assert tail(log, begin) == [str(i) for i in range(9000 - LINES, 9000)]
    log.write_bytes(b"earlier\nnot \xff text\n")
    assert tail(log, begin) == ["not � text"]
