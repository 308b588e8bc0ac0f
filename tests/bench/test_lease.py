import json
import os
import subprocess
import sys
import threading
import time

import pytest

from bench import lease
from bench.lease import BusyError, Lease, is_held, newest

ELSEWHERE = {"host": "elsewhere", "boot": "0", "pid": 1, "beat": 3}


@pytest.fixture
def quick(monkeypatch):
    """Leases that expire within a second."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.5)


def forge(folder, number, **changed):
    (folder / f"lease-{number}.json").write_text(json.dumps({**ELSEWHERE, **changed}))


def beat_on(folder, number, ended):
    """Another host that lives."""
    for beat in range(1000):
        if ended.wait(0.05):
            return
        forge(folder, number, beat=beat)


def test_a_lease_names_its_holder_and_goes_with_it(tmp_path):
    with Lease(tmp_path).held() as mine:
        number, content = newest(tmp_path)
        assert (number, content["pid"]) == (1, os.getpid())
        assert content["host"] == lease.host()["host"]
        assert is_held(tmp_path)
        assert not mine.is_lost()
    assert newest(tmp_path) == (0, {})
    assert not is_held(tmp_path)


def test_only_one_process_of_a_host_holds_it(tmp_path):
    code = "import sys, pathlib\nfrom bench.lease import *\n"
    code += "try:\n  with Lease(pathlib.Path(sys.argv[1])).held(): print('held')\nexcept BusyError as e: print(e)"
    with Lease(tmp_path).held():
        said = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert f"being written by another process (pid {os.getpid()})" in said
    assert "held" in subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True).stdout


def test_what_a_killed_process_of_this_host_left_is_taken_over_at_once(tmp_path):
    code = "import sys, pathlib, os, signal\nfrom bench.lease import *\n"
    code += "with Lease(pathlib.Path(sys.argv[1])).held(): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert newest(tmp_path)[0] == 1
    assert not is_held(tmp_path)
    began = time.monotonic()
    with Lease(tmp_path).held() as mine:
        assert mine.number == 2
        assert [path.name for path in tmp_path.glob("lease-*")] == ["lease-2.json"]
    assert time.monotonic() - began < lease.EXPIRY_SECONDS / 2


def test_the_lease_of_another_host_is_taken_over_when_its_beat_stands_still(tmp_path, quick):
    forge(tmp_path, 7)
    with Lease(tmp_path).held() as mine:
        assert mine.number == 8


def test_the_lease_of_another_host_that_lives_is_respected(tmp_path, quick):
    forge(tmp_path, 7)
    ended = threading.Event()
    other = threading.Thread(target=beat_on, args=(tmp_path, 7, ended))
    other.start()
    try:
        with pytest.raises(BusyError, match="pid 1 on elsewhere"), Lease(tmp_path).held():
            pass
        assert is_held(tmp_path)
    finally:
        ended.set()
        other.join()
    assert newest(tmp_path)[0] == 7


def test_clocks_that_differ_by_years_change_nothing(tmp_path, quick):
    forge(tmp_path, 7)
    os.utime(tmp_path / "lease-7.json", (4e9, 4e9))  # its file is from the future
    with Lease(tmp_path).held() as mine:
        assert mine.number == 8


def test_a_holder_that_slept_too_long_finds_out_before_it_writes(tmp_path, quick):
    with Lease(tmp_path).held() as mine:
        mine.require()
        forge(tmp_path, mine.number + 1)
        mine._last_beat = -1e9
        with pytest.raises(BusyError, match="taken over"):
            mine.require()
    assert newest(tmp_path)[0] == 2  # the other's is left alone


def test_beats_grow_while_it_is_held(tmp_path, quick):
    with Lease(tmp_path).held():
        end = time.monotonic() + 20
        while newest(tmp_path)[1]["beat"] < 2:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_lease_that_is_just_being_written_is_not_stolen(tmp_path, quick):
    (tmp_path / "lease-3.json").write_text("")
    with Lease(tmp_path).held() as mine:  # nobody finished it within the expiry
        assert mine.number == 4
