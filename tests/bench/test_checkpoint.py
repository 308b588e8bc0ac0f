import pytest
import torch

from bench import checkpoint
from bench.errors import RunError

STATE = {"weights": torch.arange(1000.0), "step": 8, "names": ["a", None, True]}


def flip(path, place=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)


def steps(folder):
    return [state["step"] for _, state in checkpoint.whole(folder)]


def saved(folder, *at):
    for step in at:
        checkpoint.save(folder, step, {**STATE, "step": step})


def test_what_is_saved_is_loaded(tmp_path):
    saved(tmp_path, 8)
    [(path, state)] = checkpoint.whole(tmp_path)
    assert checkpoint.step_of(path) == state["step"] == 8
    assert state["weights"].equal(STATE["weights"])
    assert state["names"] == ["a", None, True]


def test_the_last_two_are_kept_newest_first(tmp_path):
    saved(tmp_path, 8, 1_000_000, 16)
    assert steps(tmp_path) == [1_000_000, 16]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.999])
def test_a_damaged_one_is_said_and_the_one_before_it_used(tmp_path, capsys, place):
    saved(tmp_path, 8, 16)
    flip(checkpoint.found(tmp_path)[0], place)
    assert steps(tmp_path) == [8]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "resume-000000000016" in said


@pytest.mark.parametrize("size", [0, 1, 500])
def test_one_that_is_cut_short_is_not_used(tmp_path, size):
    saved(tmp_path, 8)
    path = checkpoint.found(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:size])
    assert steps(tmp_path) == []


def test_an_object_that_is_no_plain_data_is_not_loaded(tmp_path):
    checkpoint.save(tmp_path, 8, {"path": tmp_path})
    assert steps(tmp_path) == []


def test_a_disk_that_is_full_leaves_those_before(tmp_path, monkeypatch):
    saved(tmp_path, 8)

    def full(_self, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint._Hashed, "write", full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, 16)
    assert steps(tmp_path) == [8]
    assert len(list(tmp_path.iterdir())) == 1


def test_clearing_leaves_everything_else(tmp_path):
    saved(tmp_path, 8, 16)
    (tmp_path / "checkpoint.pt").write_text("")
    checkpoint.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_memory_that_ran_out_does_not_make_a_checkpoint_useless(tmp_path, monkeypatch):
    saved(tmp_path, 8)

    def scarce(*_arguments, **_options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(torch, "load", scarce)
    with pytest.raises(RuntimeError, match="allocate memory"):
        steps(tmp_path)


def test_one_that_cannot_be_read_is_no_reason_to_begin_anew(tmp_path, monkeypatch):
    saved(tmp_path, 8, 16)
    monkeypatch.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "Input/output error", "x")))
    with pytest.raises(RunError, match="cannot be read: Input/output error"):
        steps(tmp_path)
    assert len(checkpoint.found(tmp_path)) == 2
