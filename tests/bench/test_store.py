import json
import os
import shutil
from dataclasses import replace

import pytest
from filelock import FileLock
from kills import Killer
from stores import config, freeze, make, planned, remake, tree

from bench import garbage, status
from bench.errors import UserError
from bench.files import write_atomically
from bench.garbage import gc
from bench.identity import provenance, run_name
from bench.lease import BusyError
from bench.record import is_held, read_manifest
from bench.status import status_lines, time_left
from bench.store import Index, claimed, exclusive


def listed(store, capsys, *, remove=False):
    """What a gc says, without its last line, which sums up."""
    capsys.readouterr()
    assert gc(store, remove=remove) == 0
    return capsys.readouterr().out.splitlines()


def old(path):
    """A file as a killed process left it some time ago."""
    path.write_text("half")
    os.utime(path, (1e9, 1e9))
    return path


def test_a_run_that_other_code_made_is_found_by_its_configuration(tmp_path):
    path = remake(make(tmp_path, 0), sources="earlier")
    assert Index(tmp_path).stale(planned(0)) == f"runs/{path.name}"
    assert Index(tmp_path).differs(f"runs/{path.name}") == "made with other versions of the code"


def test_a_run_from_before_identities_held_code_is_found_by_its_hash(tmp_path):
    before = dict.fromkeys(("configuration", "sources", "identity_versions"), "-")
    path = remake(make(tmp_path, 0), **before, hash=planned(0).configuration)
    assert Index(tmp_path).stale(planned(0)) == f"runs/{path.name}"
    assert Index(tmp_path).differs(f"runs/{path.name}") == "made before code and versions told runs apart"


def test_versions_that_differ_are_named_with_what_is_here(tmp_path):
    here = provenance(config(0))["identity_versions"]
    path = remake(make(tmp_path, 0), identity_versions={**here, "torch": "1.0", "rom": "abc"})
    said = f"made with other versions of rom abc (here none), torch 1.0 (here {here['torch']})"
    assert Index(tmp_path).differs(f"runs/{path.name}") == said


@pytest.mark.parametrize("kind", ["nothing", "itself", "other seed", "other configuration", "unfinished", "damaged"])
def test_what_is_no_finished_run_of_this_configuration_is_not_stale(tmp_path, kind):
    if kind != "nothing":
        path = make(tmp_path, 10 if kind == "other seed" else 0, saved=[8] if kind == "unfinished" else None)
        path = path if kind == "itself" else remake(path, sources="earlier")
        if kind == "damaged":
            (path / "manifest.json").write_text("{")
    assert Index(tmp_path).stale(planned(1, 0.3) if kind == "other configuration" else planned(0)) is None


def test_the_newest_of_several_stale_runs_counts(tmp_path):
    for finished, number in (("2026-01-02", "1"), ("2026-01-03", "2"), ("2026-01-01", "3")):
        newest = remake(make(tmp_path, 0), sources="earlier", finished=finished, hash=number * 64)
        if number == "2":
            kept = newest
    assert Index(tmp_path).stale(planned(0)) == f"runs/{kept.name}"


def seen(store, *states, steps=64):
    """Planned runs in these states, as the command line hands them on."""
    runs = [replace(planned(seed), steps=steps) for seed in range(len(states))]
    return {run.run_dir: (run, state) for run, state in zip(runs, states, strict=True)}


def details(store, runs):
    return [line.split(run_dir)[1].strip() for line, run_dir in zip(status_lines(runs, store), runs, strict=True)]


def test_a_line_tells_what_there_is_to_know_of_a_run(tmp_path):
    make(tmp_path, 0)
    for seed in (1, 2, 3):
        make(tmp_path, seed, saved=[8, 16] if seed == 2 else [])
    write_atomically(
        tmp_path / planned(1).run_dir / "status.json",
        json.dumps({"state": "running", "step": 16, "wall_s": 30, "host": "there"}),
    )
    write_atomically(
        tmp_path / planned(3).run_dir / "status.json", json.dumps({"state": "failed", "error": "Error: x\nmore"})
    )
    stale = remake(make(tmp_path, 4), sources="earlier")
    runs = seen(tmp_path, "done", "running", "interrupted", "failed", "stale", "missing")
    assert details(tmp_path, runs) == [
        "",
        "step 16 of 64 on there, 2 min left",
        "goes on from step 16",
        "Error: x; begins again",
        f"runs/{stale.name} was made with other versions of the code",
        "",
    ]
    assert status_lines(runs, tmp_path)[0].split() == ["done", "a", "CartPole-v1", "seed", "0", planned(0).run_dir]


def test_the_time_left_is_that_of_finished_runs_of_the_same_arm_and_task(tmp_path):
    make(tmp_path, 0, wall=64.0)  # a step per second
    runs = seen(tmp_path, "done", "missing", "missing", steps=3600)
    said = "7,200 steps left, about 2 core hours at the 1 finished runs' rates"
    assert time_left(runs, tmp_path, 1) == f"{said}: 2.0 h with 1 at once"
    assert time_left(runs, tmp_path, 2) == time_left(runs, tmp_path, 9) == f"{said}: 1.0 h with 2 at once"


def test_steps_that_were_saved_or_made_are_not_left(tmp_path):
    make(tmp_path, 0, wall=64.0)
    make(tmp_path, 1, saved=[8, 16])
    make(tmp_path, 2, saved=[32], wall=1.0)
    runs = seen(tmp_path, "done", "interrupted", "running")
    assert time_left(runs, tmp_path, 1).startswith("80 steps left, about 0.022 core hours at the 1 finished")
    assert time_left({key: runs[key] for key in list(runs)[2:]}, tmp_path, 1).endswith(
        "1 running runs' rates: 1 s with 1 at once"
    )


def test_no_time_is_told_before_there_is_a_rate(tmp_path):
    assert time_left(seen(tmp_path, "missing"), tmp_path).startswith("64 steps left; the time they take is measured")
    make(tmp_path, 0)
    assert time_left(seen(tmp_path, "done"), tmp_path) == "nothing left to run"


def test_every_status_is_read_once_and_every_manifest_at_most_once(tmp_path, monkeypatch):
    for seed in range(3):
        remake(make(tmp_path, seed), sources="earlier")
    make(tmp_path, 3)
    read = []
    monkeypatch.setattr(status, "read_status", lambda path: read.append(path) or {"state": "done"})
    monkeypatch.setattr("bench.store.read_manifest", lambda path: read.append(path) or read_manifest(path))
    status_lines(seen(tmp_path, "stale", "stale", "stale", "done"), tmp_path)
    assert len(read) == len(set(read)) == 4


def test_a_run_of_no_check_is_listed_and_stays_until_it_is_to_be_removed(tmp_path, capsys):
    make(tmp_path, 0)
    path = make(tmp_path, 1)
    freeze(tmp_path, [planned(0)])
    before = tree(tmp_path)
    line, total = listed(tmp_path, capsys)
    assert line.split()[0] == "done"
    assert line.endswith(f"runs/{path.name}  of no check")
    assert total.startswith(f"{tmp_path}: 1 runs of no check and 0 leftovers, ")
    assert total.endswith(": give remove=true to remove it")
    assert tree(tmp_path) == before
    assert listed(tmp_path, capsys, remove=True)[0] == line
    assert tree(tmp_path).keys() == {key for key in before if path.name not in key}
    assert listed(tmp_path, capsys) == [f"{tmp_path}: nothing that could be removed"]


def test_the_newest_comes_first(tmp_path, capsys):
    made = [make(tmp_path, seed) for seed in (2, 0, 1)]
    for age, path in enumerate(made):
        write_atomically(path / "status.json", json.dumps({"state": "failed", "updated": 1e9 - age}))
    assert [line.split()[5] for line in listed(tmp_path, capsys)[:3]] == [f"runs/{path.name}" for path in made]


def test_a_run_of_other_code_than_the_planned_one_says_so(tmp_path, capsys):
    remake(make(tmp_path, 0), sources="earlier")
    freeze(tmp_path, [planned(0)])
    assert listed(tmp_path, capsys)[0].endswith(
        f"stale: of other code or versions; multi at smoke has {planned(0).run_dir}"
    )
    make(tmp_path, 0)
    said = f"stale: made with other versions of the code; multi at smoke has {planned(0).run_dir}"
    assert listed(tmp_path, capsys)[0].endswith(said)


def test_a_half_written_run_is_listed_as_such(tmp_path, capsys):
    path = tmp_path / "runs/dapo-X-s0-0123456789ab"
    write_atomically(path / "log.txt", "x")
    line, _ = listed(tmp_path, capsys)
    assert line.endswith("half-written: no config.yaml")
    listed(tmp_path, capsys, remove=True)
    assert not path.exists()


def test_what_is_no_run_or_is_made_now_stays(tmp_path, capsys):
    make(tmp_path, 0)
    (tmp_path / "runs/mine").mkdir()
    (tmp_path / "runs/mine/notes.txt").write_text("x")
    (tmp_path / "runs/link").symlink_to(make(tmp_path / "other", 1))
    path = make(tmp_path, 1, saved=[8])
    freeze(tmp_path, [planned(0)])
    before = tree(tmp_path)
    with FileLock(path / ".lock"):
        said = "\n".join(listed(tmp_path, capsys))
        assert listed(tmp_path, capsys, remove=True)[-1] == f"{tmp_path}: nothing that could be removed"
    assert tree(tmp_path) == before
    for why in ("no run, it holds notes.txt", "a link, to be removed by hand", "somebody makes it now", "; 3 stay"):
        assert why in said


def test_a_run_that_is_begun_after_it_was_listed_stays(tmp_path, monkeypatch):
    path = make(tmp_path, 0)
    with FileLock(path / ".lock"):
        monkeypatch.setattr(garbage, "is_held", lambda _: False)
        gc(tmp_path, remove=True)
    assert path.exists()
    gc(tmp_path, remove=True)
    assert not path.exists()


def test_leftovers_are_removed_and_what_is_young_or_in_use_stays(tmp_path, capsys):
    done, broken = make(tmp_path, 0), make(tmp_path, 1, saved=[8])
    freeze(tmp_path, [planned(0), planned(1)])
    saved = next(broken.glob("resume-*.pt"))
    gone = [
        old(done / ".config.yaml.x.tmp"),
        old(broken / ".resume.pt.tmp"),
        old(tmp_path / "checks/multi/.smoke.json.x.tmp"),
    ]
    gone += [tmp_path / ".trash-1/run", tmp_path / "runs/.copying-x", tmp_path / "runs/.incoming-y"]
    for path in gone[3:]:
        path.mkdir(parents=True)
    gone.append(shutil.copy(saved, done / saved.name))
    (broken / ".status.json.y.tmp").write_text("young")
    lines = listed(tmp_path, capsys)
    assert len(lines) == 8
    assert {line.split()[0] for line in lines[:-1]} == {"leftover"}
    with FileLock(broken / ".lock"):
        assert len(listed(tmp_path, capsys)) == 7
    listed(tmp_path, capsys, remove=True)
    assert not any(path.exists() for path in gone)
    assert saved.exists()
    assert (broken / ".status.json.y.tmp").exists()
    assert listed(tmp_path, capsys) == [f"{tmp_path}: nothing that could be removed"]


def test_the_only_copy_of_a_run_in_a_merge_that_was_broken_off_is_put_in_its_place(tmp_path):
    path = make(tmp_path, 0)
    freeze(tmp_path, [planned(0)])
    before = tree(path)
    path.rename(path.with_name(f".replaced-{path.name}"))
    gc(tmp_path, remove=True)
    assert tree(path) == before


def test_what_is_no_store_or_holds_no_plan_that_can_be_read_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"is no store; allowed: a folder with runs/ or checks/ in it"):
            gc(folder, remove=True)
    make(tmp_path, 0)
    path = freeze(tmp_path, [planned(0)])
    path.write_text(path.read_text()[:-1])
    with pytest.raises(UserError, match=r"smoke\.json is not the frozen plan of a check"):
        gc(tmp_path, remove=True)
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_store_that_may_only_be_read_is_listed_and_refused_in_one_sentence(tmp_path, capsys, monkeypatch):
    make(tmp_path, 0)

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("mkdir", "rename", "unlink"):
        monkeypatch.setattr(f"pathlib.Path.{name}", refuse)
    assert len(listed(tmp_path, capsys)) == 2
    with pytest.raises(UserError, match=r"the store .* cannot be written: Permission denied \(.*\.trash-\d+\)"):
        gc(tmp_path, remove=True)
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_one_command_at_a_time_changes_a_store(tmp_path):
    make(tmp_path, 0)
    before = tree(tmp_path)
    with exclusive(tmp_path), pytest.raises(BusyError, match="being changed by another gc or merge"):
        gc(tmp_path, remove=True)
    assert tree(tmp_path) == before
    gc(tmp_path, remove=True)


def test_a_claimed_run_is_held_and_a_held_one_cannot_be_claimed(tmp_path):
    path = make(tmp_path, 0)
    with claimed(path) as free:
        assert free
        assert is_held(path)
        with claimed(path) as twice:
            assert not twice
    assert not is_held(path)


@pytest.mark.integration
@pytest.mark.parametrize("function", ["gc", "careless_gc"])
def test_a_gc_killed_before_any_of_its_changes_leaves_no_half_run_and_the_next_completes_it(tmp_path, function):
    template = tmp_path / "template"
    for seed in range(3):
        make(template, seed)
    freeze(template, [planned(0)])
    before, kept, halves = tree(template), run_name(config(0)), 0
    with Killer() as killer:
        for change in range(100):
            store = tmp_path / "store"
            shutil.copytree(template, store)
            killed = killer(function, store, change=change)
            now = tree(store)
            for name in {key.split("/")[1] for key in now if key.startswith("runs/")}:
                inside = {key for key in before if key.startswith(f"runs/{name}")}
                halves += not all(key in now and now[key] == before[key] for key in inside)
            gc(store, remove=True)
            assert tree(store) == {
                key: value for key, value in before.items() if not key.startswith("runs/") or kept in key
            }
            shutil.rmtree(store)
            if not killed:
                break
    assert change > 10
    assert (halves > 0) == (function == "careless_gc")
