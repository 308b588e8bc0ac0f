import json
import os

import pytest
import torch
import yaml
from filelock import FileLock

from bench import checkpoint, record
from bench.episodes import Episode
from bench.errors import UserError
from bench.files import write_atomically
from bench.identity import identity
from bench.metrics import EPISODES
from bench.record import BusyError, RunRecord, is_held, mark_failed, read_status

CONFIG = {
    "algo": {"name": "dapo", "clip": 0.2},
    "env": {"suite": "classic", "task": "X"},
    "logger": {"name": "none"},
    "steps": 64,
    "seed": 0,
}
MANIFEST = {"started": "2026-01-01T00:00:00Z", "hardware": {"host": "here"}}
OTHER = {**CONFIG, "seed": 1}


def begin(path, config=CONFIG):
    run = RunRecord(path, config)
    run.__enter__()
    run.begin(MANIFEST)
    return run


def make(path, config=CONFIG, **fields):
    with RunRecord(path, config) as run:
        run.begin({**MANIFEST, "threads": 1})
        run.finish(step=64, steps=64, **fields)


def break_off(path, error, *, finish):
    with RunRecord(path, CONFIG) as run:
        run.begin(MANIFEST)
        if finish:
            run.finish(step=64, steps=64)
        raise error


def test_a_finished_run_holds_its_configuration_manifest_and_tables(tmp_path):
    make(tmp_path / "run", params_sha256="ab")
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text()) == CONFIG
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["hash"] == identity(CONFIG)
    assert manifest["threads"] == 1
    assert manifest["finished"].endswith("Z")
    assert (tmp_path / "run/episodes.csv").read_text() == ",".join(EPISODES) + "\n"
    assert read_status(tmp_path / "run")["params_sha256"] == "ab"


def test_a_finished_run_is_recognised_and_another_one_is_not(tmp_path):
    make(tmp_path / "run")
    with RunRecord(tmp_path / "run", CONFIG) as run:
        assert run.finished
    with RunRecord(tmp_path / "new", CONFIG) as run:
        assert not run.finished


def test_the_logger_does_not_make_it_another_run(tmp_path):
    make(tmp_path / "run")
    with RunRecord(tmp_path / "run", {**CONFIG, "logger": {"name": "wandb"}}) as run:
        assert run.finished


def test_a_directory_of_another_configuration_is_refused_and_left_alone(tmp_path):
    make(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError, match="another configuration"), RunRecord(tmp_path / "run", OTHER):
        pass
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("name", ["notes.txt", "checkpoint.pt", "runs"])
def test_a_directory_that_is_no_run_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"not a run directory.*{name}"), RunRecord(tmp_path, CONFIG):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("text", ["", "hello", "a: [", "- 1\n- 2\n", "\t"])
def test_a_configuration_that_is_none_of_a_run_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="not a run directory"), RunRecord(tmp_path, CONFIG):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("left", [[], ["log.txt"], [".lock", "log.txt", "status.json"], [".config.yaml.tmp"]])
def test_what_a_run_that_died_early_left_is_no_obstacle(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text("{}")
    mark_failed(tmp_path, "killed by SIGKILL")  # the suite records it, before the run has written anything
    make(tmp_path)
    assert read_status(tmp_path)["state"] == "done"
    assert "error" not in read_status(tmp_path)


def test_a_file_in_the_way_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/runs/x"):
        with pytest.raises(UserError), RunRecord(path, CONFIG):
            pass
    assert (tmp_path / "file").read_text() == ""


def test_a_run_held_by_another_process_is_busy(tmp_path):
    make(tmp_path / "run")
    assert not is_held(tmp_path / "run")
    with FileLock(tmp_path / "run/.lock"):
        assert is_held(tmp_path / "run")
        with pytest.raises(BusyError, match="another process"), RunRecord(tmp_path / "run", CONFIG):
            pass
    with RunRecord(tmp_path / "run", CONFIG):
        pass


def test_a_directory_that_does_not_exist_is_held_by_nobody(tmp_path):
    assert not is_held(tmp_path / "none")
    assert read_status(tmp_path / "none") == {"state": "missing"}
    assert not (tmp_path / "none").exists()


def test_a_store_that_is_a_file_holds_no_runs(tmp_path):
    (tmp_path / "store").write_text("")
    assert read_status(tmp_path / "store/runs/x") == {"state": "missing"}


def test_starting_again_removes_what_a_broken_run_left(tmp_path):
    run = begin(tmp_path / "run")
    run.episode(Episode(8, 1.5, 8, 0, 0))
    run.result({"step": 8})
    run.__exit__(None, None, None)
    assert read_status(tmp_path / "run")["state"] == "running"  # as kill -9 leaves it
    again = begin(tmp_path / "run")
    assert (tmp_path / "run/episodes.csv").read_text().count("\n") == 1
    assert not (tmp_path / "run/checkpoint.pt").exists()
    again.__exit__(None, None, None)


def test_rows_are_on_disk_as_soon_as_they_are_written(tmp_path):
    run = begin(tmp_path / "run")
    run.episode(Episode(step=8, score=-1.5, length=8, env=3, truncated=1, lives=2))
    run.metrics({"step": 8, "kl": 0.25})
    assert (tmp_path / "run/episodes.csv").read_text().splitlines()[1] == "8,-1.5,8,3,1,2"
    header, row = (tmp_path / "run/metrics.csv").read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert {name: value for name, value in values.items() if value} == {"step": "8", "kl": "0.25"}
    run.__exit__(None, None, None)


def test_a_metric_outside_the_table_is_an_error(tmp_path):
    run = begin(tmp_path / "run")
    with pytest.raises(ValueError, match="nonsense"):
        run.metrics({"step": 8, "nonsense": 1.0})
    run.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("error", "state"),
    [(RuntimeError("no"), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit("gone"), "interrupted")],
)
def test_a_run_that_ends_early_says_how(tmp_path, error, state):
    with pytest.raises(type(error)):
        break_off(tmp_path / "run", error, finish=False)
    status = read_status(tmp_path / "run")
    assert status["state"] == state
    assert status["error"] == f"{type(error).__name__}: {error}"
    assert not is_held(tmp_path / "run")


def test_what_goes_wrong_after_the_end_does_not_undo_the_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "run", KeyboardInterrupt(), finish=True)
    assert read_status(tmp_path / "run")["state"] == "done"


def test_done_is_the_last_thing_written(tmp_path, monkeypatch):
    written = []
    original = record.write_atomically
    monkeypatch.setattr(
        record, "write_atomically", lambda path, text: (written.append(path.name), original(path, text))
    )
    make(tmp_path / "run")
    assert written[0] == "config.yaml"  # so that a directory with anything in it says whose it is
    assert written[-1] == "status.json"
    assert written[-2] == "manifest.json"


def test_a_write_that_breaks_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_atomically(path, "old")

    def full(_descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_atomically(path, "new")
    assert path.read_text() == "new"


def test_status_is_written_once_a_second_unless_forced(tmp_path):
    run = begin(tmp_path / "run")
    run.status(state="running", step=8, steps=64)
    assert read_status(tmp_path / "run")["step"] == 0
    run.status(force=True, state="running", step=16, steps=64)
    assert read_status(tmp_path / "run")["step"] == 16
    run.__exit__(None, None, None)


def test_a_checkpoint_of_tensors_and_plain_data_loads_with_weights_only(tmp_path):
    run = begin(tmp_path / "run")
    run.result({"agent": {"w": torch.arange(3.0), "updates": 4}, "step": 8})
    loaded = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    assert loaded["agent"]["w"].tolist() == [0.0, 1.0, 2.0]
    assert [p.name for p in (tmp_path / "run").iterdir() if p.name.endswith(".tmp")] == []
    run.result({"path": tmp_path})  # planted: an object that weights_only must refuse
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    run.__exit__(None, None, None)


def test_a_status_that_cannot_be_read_is_a_failed_run_which_the_next_start_makes_again(tmp_path):
    (tmp_path / "status.json").write_text('{"state": "do')
    assert read_status(tmp_path)["state"] == "failed"
    assert "not valid JSON" in read_status(tmp_path)["error"]


def test_a_newer_checkpoint_that_was_passed_over_goes_when_the_run_goes_on_from_an_older_one(tmp_path):
    run = begin(tmp_path / "run")
    for step in (8, 16):
        run.resumable(step, {"step": step})
    run.__exit__(None, None, None)
    with RunRecord(tmp_path / "run", CONFIG) as again:
        again.begin(MANIFEST, 8, again_sizes(tmp_path / "run"))
        assert [checkpoint.step_of(path) for path in checkpoint.found(tmp_path / "run")] == [8]


def again_sizes(run_dir):
    return {name: (run_dir / name).stat().st_size for name in record.TABLES}


def test_a_table_that_has_lost_rows_makes_a_checkpoint_useless(tmp_path):
    begin(tmp_path / "run").__exit__(None, None, None)
    sizes = {name: size + 1 for name, size in again_sizes(tmp_path / "run").items()}
    with pytest.raises(ValueError, match="has lost rows"), RunRecord(tmp_path / "run", CONFIG) as again:
        again.begin(MANIFEST, 8, sizes)


def test_a_torn_row_after_the_checkpoint_is_dropped(tmp_path):
    run = begin(tmp_path / "run")
    run.episode(Episode(8, 1.5, 8, 0, 0))
    sizes = run.sizes()
    run.episode(Episode(16, 2.5, 8, 0, 0))
    run.__exit__(None, None, None)
    with (tmp_path / "run/episodes.csv").open("a") as file:
        file.write("24,1")
    with RunRecord(tmp_path / "run", CONFIG) as again:
        again.begin(MANIFEST, 8, sizes)
        again.episode(Episode(16, 2.5, 8, 0, 0))
    assert [line[:2] for line in (tmp_path / "run/episodes.csv").read_text().splitlines()] == ["st", "8,", "16"]
    assert [attempt["from_step"] for attempt in record.read_manifest(tmp_path / "run")["attempts"]] == [0, 8]
