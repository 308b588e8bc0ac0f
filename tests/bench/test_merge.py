import csv
import itertools
import json
import os
import random
import shutil

import pytest
from command_line import block as block_of
from command_line import call, tiny_suite
from filelock import FileLock
from kills import Killer
from stores import CLAIM, config, freeze, make, planned, remake, tree

from bench.compose import compose, to_suite_config
from bench.errors import UserError
from bench.identity import run_name
from bench.lease import Lease
from bench.merge import merge, recover
from bench.plan import expand
from bench.record import read_status


@pytest.fixture
def stores(tmp_path):
    """Two stores of one machine each, and a place for their union."""
    for name in ("one", "two"):
        (tmp_path / name / "runs").mkdir(parents=True)
    return tmp_path / "one", tmp_path / "two", tmp_path / "all"


def runs(store):
    return sorted(path.name for path in (store / "runs").iterdir())


def refused(sources, target):
    """What a merge that is refused says; nothing may have been written."""
    before = {store: tree(store) for store in {*sources, target} if store.exists()}
    with pytest.raises(UserError) as caught:
        merge(sources, target)
    assert {store: tree(store) for store in {*sources, target} if store.exists()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_merge_is_the_union_and_leaves_its_sources_as_they_were(stores, capsys):
    one, two, union = stores
    made = [make(one, 0), make(one, 1, saved=[8]), make(two, 2)]
    freeze(one, [planned(0), planned(1)])
    freeze(two, [planned(2)], scale="cpu")
    before = tree(one), tree(two)
    merge([one, two], union)
    assert (tree(one), tree(two)) == before
    assert runs(union) == sorted(path.name for path in made)
    for path in made:
        assert tree(union / "runs" / path.name) == tree(path)
    assert "3 runs copied, 0 replaced" in capsys.readouterr().out
    assert sorted(path.name for path in (union / "checks/multi").iterdir()) == ["cpu.json", "smoke.json"]


def test_a_second_merge_finds_all_of_it_there(stores, capsys):
    one, two, union = stores
    make(one, 0)
    make(two, 1, saved=[8])
    freeze(one, [planned(0)])
    merge([one, two], union)
    before = tree(union)
    capsys.readouterr()
    merge([one, two], union)
    assert tree(union) == before
    assert "0 runs copied, 0 replaced by ones that are further, 2 already there; 0 plans" in capsys.readouterr().out


def test_two_makings_of_a_run_that_differ_in_wall_clock_times_alone_agree(stores):
    one, two, union = stores
    make(one, 0, wall=2.0)
    make(two, 0, wall=3.0)
    merge([one, two], union)
    assert tree(union / "runs") == tree(one / "runs")


@pytest.mark.parametrize("differ", ["params_sha256", "episodes.csv", "metrics.csv"])
def test_one_run_with_two_results_is_refused_by_both_names(stores, differ):
    one, two, union = stores
    first, second = make(one, 0), make(two, 0, sha="cd" if differ == "params_sha256" else "ab")
    if differ != "params_sha256":
        table = second / differ
        table.write_bytes(table.read_bytes().replace(b"8,", b"9,", 1))
    make(one, 1)
    said = refused([one, two], union)
    assert not union.exists()
    assert str(first) in said
    assert str(second) in said
    assert f"two results: {differ} differ" in said
    make(union, 0)
    assert str(union / "runs" / first.name) in refused([two], union)


def test_different_runs_of_one_name_are_refused(stores):
    one, two, union = stores
    make(one, 0)
    path = make(two, 0)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "hash": manifest["hash"][:12] + "f" * 52}))
    assert "are different runs of one name" in refused([one, two], union)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_finished_run_wins_over_one_that_is_not(stores, order):
    *both, union = stores
    make(both[0], 0, saved=[8, 16])
    done = make(both[1], 0)
    merge([both[order[0]]], union)
    merge([both[order[1]]], union)
    assert tree(union / "runs" / done.name) == tree(done)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_unfinished_runs_the_one_saved_later_wins(stores, order):
    *both, union = stores
    make(both[0], 0, saved=[8])
    further = make(both[1], 0, saved=[8, 16])
    merge([both[place] for place in order], union)
    assert tree(union / "runs") == tree(further.parent)


def test_a_damaged_checkpoint_takes_no_run_further(stores):
    one, two, union = stores
    make(one, 0, saved=[8, 16])
    path = make(two, 0, saved=[12, 32])
    newest = max(path.glob("resume-*.pt"))
    newest.write_bytes(newest.read_bytes()[:-1])
    merge([two, one], union)
    assert tree(union / "runs") == tree(one / "runs")


def test_a_run_that_somebody_makes_now_is_refused_on_either_side(stores):
    one, two, union = stores
    path = make(one, 0, saved=[8])
    make(two, 0, saved=[16])
    with FileLock(path / ".lock"):
        assert f"{path} is being made by a process now" in refused([one], union)
        assert f"{path} is being made by a process now" in refused([two], one)
    merge([two], one)
    assert tree(path) == tree(two / "runs" / path.name)


def test_a_run_of_the_target_alone_may_go_on_meanwhile(stores):
    one, two, _ = stores
    path = make(one, 0, saved=[8])
    make(two, 1)
    with Lease(path).held():
        merge([two], one)
    assert len(runs(one)) == 2


def test_what_belongs_to_one_machine_is_left_behind(stores):
    one, _, union = stores
    done, broken = make(one, 0), make(one, 1, saved=[8])
    for path in (done, broken):
        shutil.copy(next(broken.glob("resume-*.pt")), path / "resume-000000000004-0000000000000000.pt")
        (path / ".status.json.x.tmp").write_text("half")
        (path / "lease-3.json").write_text('{"host": "gone"}')
        os.utime(path / "lease-3.json", (0, 0))
    (one / "rates.json").write_text("{}")
    (one / "jobs").mkdir()
    merge([one], union)
    assert sorted(path.name for path in union.iterdir()) == ["runs"]
    for path in (done, broken):
        names = {name.name for name in (union / "runs" / path.name).iterdir()}
        assert not {".lock", "lease-3.json", ".status.json.x.tmp"} & names
        assert any(name.startswith("resume") for name in names) == (path == broken)


def test_folders_are_copied_with_their_links_and_other_files_as_they_are(stores):
    one, _, union = stores
    path = make(one, 0)
    (path / "notes.txt").write_text("mine")
    (path / "wandb/run/empty").mkdir(parents=True)
    (path / "wandb/latest").symlink_to("run")
    (path / "wandb/run/core.log").symlink_to("/elsewhere/core.log")
    merge([one], union)
    assert tree(union / "runs" / path.name) == tree(path)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_run_whose_own_files_are_none_is_refused_by_name(stores, kind):
    one, _, union = stores
    make(one, 1)
    path = make(one, 0) / "more.csv"
    if kind == "link":
        path.symlink_to("episodes.csv")
    else:
        os.mkfifo(path)
    said = refused([one], union)
    assert str(path) in said
    assert not union.exists()


def test_a_folder_among_the_runs_that_is_none_is_refused_by_name(stores):
    one, _, union = stores
    (one / "runs/mine").mkdir()
    (one / "runs/mine/notes.txt").write_text("x")
    assert "runs/mine is no run (it holds notes.txt)" in refused([one], union)


def test_what_is_no_store_is_refused(stores, tmp_path):
    one, two, union = stores
    (tmp_path / "folder/stuff").mkdir(parents=True)
    for sources, target in (([tmp_path / "folder"], union), ([tmp_path / "none"], union), ([one], tmp_path / "folder")):
        assert "is no store; allowed: a folder with runs/ or checks/ in it" in refused(sources, target)
    (tmp_path / "link").symlink_to(one)
    assert "is to be merged into itself" in refused([two, tmp_path / "link"], one)
    assert not union.exists()


def test_a_target_that_cannot_be_written_is_refused_in_one_sentence(stores):
    one, _, union = stores
    make(one, 0)
    union.write_text("mine")
    assert "is no store" in refused([one], union)
    assert "Not a directory" in refused([one], union / "store")


def test_a_plan_gains_the_runs_that_another_store_planned(stores):
    one, two, _ = stores
    path = freeze(one, [planned(1), planned(0)])
    freeze(two, [planned(0), planned(1), planned(2), planned(0, arm="b", clip=0.1)])
    merge([two], one)
    content = json.loads(path.read_text())
    assert [(run["arm"], run["seed"]) for run in content["runs"]] == [("a", 1), ("a", 0), ("a", 2), ("b", 0)]
    assert list(content["check"]["arms"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"claims": [{**CLAIM, "margin": 0.04}]}, "claims"),
        ({"tuning_seeds": 1}, "tuning seeds"),
        ({"reference": {"paper": "x"}}, "references"),
        ({"arms": {"a": {"label": "other"}}}, "arm a"),
        ({"tasks": {"CartPole-v1": {"env": "atari"}}}, "task CartPole-v1"),
    ],
)
def test_plans_that_ask_different_questions_are_refused_by_both_names(stores, changed, said):
    one, two, union = stores
    files = [freeze(one, [planned(0)]), freeze(two, [planned(1)], **changed)]
    make(one, 0)
    text = refused([one, two], union)
    assert f"{files[0]} and {files[1]} freeze different {said};" in text
    assert not union.exists()


def test_of_two_identities_of_a_planned_seed_the_finished_one_stays_else_the_targets(stores, capsys):
    one, two, _ = stores
    theirs = [remake(make(two, seed)) for seed in (0, 1)]
    make(one, 1)
    freeze(two, [planned(0), planned(1), planned(2)])
    path = two / "checks/multi/smoke.json"
    content = json.loads(path.read_text())
    for run, directory in zip(content["runs"], [*theirs, two / "runs/never-made-s2-0"], strict=True):
        run |= {"hash": f"other{run['seed']}", "run_dir": f"runs/{directory.name}"}
    path.write_text(json.dumps(content))
    mine = freeze(one, [planned(0), planned(1), planned(2)])
    merge([two], one)
    merged = json.loads(mine.read_text())["runs"]
    assert [run["hash"] for run in merged] == ["other0", planned(1).hash, planned(2).hash]
    assert "note: 2 runs that" in capsys.readouterr().out


def test_a_plan_file_that_is_none_is_refused_by_name(stores):
    one, _, union = stores
    path = freeze(one, [planned(0)])
    for text in ("{", "[]", '{"runs": [{}], "check": {}}', '{"check": {}, "scale": "smoke"}'):
        path.write_text(text)
        assert f"{path} is not the frozen plan of a check" in refused([one], union)


def test_real_plans_of_one_check_with_more_seeds_are_united(stores):
    one, two, _ = stores
    tiny = tiny_suite(block_of("ppo,da_full", "CartPole-v1", 4096))
    plans = [
        expand(to_suite_config(compose([*tiny, f"seeds={seeds}", f"store={store}"], "suite")))
        for seeds, store in ((1, one), (2, two))
    ]
    for plan in plans:
        plan.freeze()
    merge([two], one)
    assert json.loads(plans[0].path.read_text()) == json.loads(plans[1].path.read_text())


def test_plans_that_registered_different_claims_are_not_united(stores):
    one, two, union = stores
    for store, margin in ((one, 0.02), (two, 0.3)):
        entry = {"sha256": f"{margin}", "claim": {**CLAIM, "margin": margin}, "at": ""}
        path = freeze(store, [planned(0)])
        content = json.loads(path.read_text())
        registered = {"at": "", "commit": None, "dirty": None, "claims": {"faster": entry}, "seeds": {}}
        path.write_text(json.dumps({**content, "registered": registered}))
    assert "freeze different registered claims" in refused([one, two], union)


@pytest.fixture
def broken(tmp_path):
    """Sources of a merge that copies and replaces, the target before it, and after it."""
    one, two, target = tmp_path / "one", tmp_path / "two", tmp_path / "before"
    make(one, 0)
    make(one, 1)
    make(two, 2, saved=[8, 16])
    for seed in (1, 2):
        make(target, seed, saved=[8])
    make(target, 4)
    freeze(one, [planned(seed) for seed in range(3)])
    freeze(target, [planned(4)])
    folder = one / "runs" / run_name(config(0)) / "wandb"
    folder.mkdir()
    (folder / "latest").symlink_to("nowhere")
    shutil.copytree(target, tmp_path / "after")
    merge([one, two], tmp_path / "after")
    return [one, two], target, tree(tmp_path / "after")


def of_runs(tree):
    """What a tree says of each run directory that is seen."""
    seen = [key.split("/") for key in tree if key.startswith("runs/") and not key.startswith("runs/.")]
    return {name: {key: tree[key] for key in tree if f"{key}/".startswith(f"runs/{name}/")} for _, name, *_ in seen}


def require_nothing_lost(target, before, after):
    """Runs that are seen are as they were or as they shall be; what was there is there again without the sources."""
    for again in (False, True):
        if again:
            recover(target)
        now = of_runs(tree(target))
        for name, content in now.items():
            assert content in (of_runs(before).get(name), of_runs(after)[name]), f"half of {name} is seen"
    assert now.keys() >= of_runs(before).keys()


def without_strays(store):
    """Its tree without half-written plan files, which a gc removes."""
    return {key: content for key, content in tree(store).items() if not key.endswith(".tmp")}


@pytest.mark.integration
def test_a_merge_killed_before_any_of_its_changes_loses_nothing_and_the_next_completes_it(broken, tmp_path):
    sources, template, after = broken
    before, held = tree(template), [tree(store) for store in sources]
    with Killer() as killer:
        for change in itertools.count():
            target = tmp_path / "target"
            shutil.copytree(template, target)
            killed = killer("merge", target, *sources, change=change)
            require_nothing_lost(target, before, after)
            merge(sources, target)
            assert without_strays(target) == after
            shutil.rmtree(target)
            if not killed:
                break
    assert change > 50
    assert [tree(store) for store in sources] == held


@pytest.mark.integration
def test_merges_killed_at_random_moments_one_after_the_other_are_completed_by_the_next(broken, tmp_path):
    sources, template, after = broken
    before, draw = tree(template), random.Random(0)
    with Killer() as killer:
        for number in range(40):
            target = tmp_path / str(number)
            shutil.copytree(template, target)
            for _ in range(3):
                killer("merge", target, *sources, seconds=draw.uniform(0, 0.1))
            require_nothing_lost(target, before, after)
            merge(sources, target)
            assert without_strays(target) == after


@pytest.mark.integration
def test_a_merge_that_copied_runs_straight_into_their_places_would_be_found_out(broken, tmp_path):
    sources, template, after = broken
    before, found = tree(template), 0
    shutil.rmtree(template / "runs" / run_name(config(1)))
    shutil.rmtree(template / "runs" / run_name(config(2)))
    with Killer() as killer:
        for change in range(5, 25, 5):
            target = tmp_path / str(change)
            shutil.copytree(template, target)
            killer("careless_merge", target, *sources, change=change)
            try:
                require_nothing_lost(target, before, after)
            except AssertionError as error:
                found += "half of" in str(error)
    assert found


@pytest.mark.integration
def test_real_runs_made_twice_agree_and_one_changed_byte_is_found(stores, tmp_path):
    one, two, union = stores
    words = ["algo=ppo", "env=classic", "steps=2048", "logger=none"]
    for store in (one, two):
        assert call(tmp_path, "bench", *words, f"store={store}").returncode == 0
    merge([one, two], union)
    name = runs(union)[0]
    assert tree(union / "runs" / name) == tree(one / "runs" / name)
    assert read_status(union / "runs" / name)["state"] == "done"
    metrics = two / "runs" / name / "metrics.csv"
    rows = list(csv.reader(metrics.open()))
    rows[1][rows[0].index("loss_policy")] += "1"
    with metrics.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    assert "metrics.csv differ" in refused([two], union)
