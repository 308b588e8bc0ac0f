import os

import pytest

from bench import slots as counting
from bench.check_config import ExecutorConfig
from bench.errors import UserError
from bench.slots import Place, Slots, gpu_names, slots


def executor(**changed) -> ExecutorConfig:
    keys = {"name": "local", "slots": None, "runs_per_gpu": 1, "retries": 0, "hang_minutes": 1.0, "memory_gb": None}
    return ExecutorConfig(**{**keys, **changed})


def test_a_cpu_slot_is_taken_and_given_back():
    one = Slots(1, per_thread=False)
    place = one.take("cpu", 1)
    assert place == Place(1, None)
    assert one.take("cpu", 1) is None
    one.give(place)
    assert one.take("cpu", 1) == place


def test_without_a_number_of_slots_a_run_takes_a_core_per_thread():
    eight = Slots(8, per_thread=True)
    assert [eight.take("cpu", 3) is None for _ in range(3)] == [False, False, True]
    assert eight.take("cpu", 2) is not None


def test_with_a_number_of_slots_a_run_takes_one_whatever_its_threads():
    two = Slots(2, per_thread=False)
    assert [two.take("cpu", 3) is None for _ in range(3)] == [False, False, True]


def test_a_run_of_more_threads_than_cores_goes_alone():
    two = Slots(2, per_thread=True)
    assert two.take("cpu", 64) == Place(2, None)
    assert two.take("cpu", 1) is None


def test_runs_are_spread_over_the_gpus_and_bounded_by_them():
    pair = Slots(1, True, ["0", "1"], runs_per_gpu=2)
    taken = [pair.take("cuda", 1) for _ in range(5)]
    assert [place and place.gpu for place in taken] == ["0", "1", "0", "1", None]
    pair.give(taken[1])
    assert pair.take("cuda", 1) == Place(0, "1")


def test_runs_on_a_gpu_leave_the_cores_to_the_others():
    both = Slots(1, True, ["0"])
    assert both.take("cuda", 1) == Place(0, "0")
    assert both.take("cpu", 1) == Place(1, None)


def test_gpus_are_numbered_unless_the_environment_names_those_that_may_be_used():
    assert gpu_names(3, None) == ["0", "1", "2"]
    assert gpu_names(2, "5, 3") == ["5", "3"]
    assert gpu_names(1, "GPU-8932f937") == ["GPU-8932f937"]
    assert gpu_names(1, "2,-1,4") == ["2"]


def test_the_gpus_are_looked_for_only_when_a_run_needs_one(monkeypatch):
    monkeypatch.setattr(counting, "_gpus", lambda: pytest.fail("nobody needs one"))
    assert slots(executor(), {"cpu"}).on_gpu == {}
    monkeypatch.setattr(counting, "_gpus", lambda: ["0", "1"])
    assert slots(executor(), {"cpu", "cuda"}).on_gpu == {"0": 0, "1": 0}


def test_runs_on_a_gpu_that_is_not_there_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match="device is 'cuda', and PyTorch sees no CUDA device here; allowed: cpu"):
        slots(executor(), {"cuda"})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8,9")
    assert list(slots(executor(), {"cuda"}).on_gpu) == ["7", "8"]


def test_there_is_a_slot_per_core_unless_a_number_is_given():
    assert slots(executor(), {"cpu"}).cpu == len(os.sched_getaffinity(0))
    assert slots(executor(slots=7), {"cpu"}).cpu == 7
