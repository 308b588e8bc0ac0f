"""Configurations composed once for many runs, and kept, are those that Hydra composes for each."""

import json
import os
import shutil
import time
from dataclasses import asdict
from math import inf

import pytest
from test_compose import presets

from bench import compose, composed, plan
from bench.check_config import SuiteConfig
from bench.errors import UserError

CHECK = ["check=multi_step", "scale=smoke"]


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing kept yet, and a folder of its own; gives a function that forgets what this process holds."""

    def forget():
        composed._shelf.cache_clear()
        composed._run_container.cache_clear()
        composed._of_presets.cache_clear()

    monkeypatch.setattr(composed, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(composed, "digest", lambda: "of now")
    forget()
    yield forget
    forget()


def asked_words(monkeypatch, names, scales):
    """What the plans of these checks compose: words, and whether they are checked."""
    found = set()

    def noted(words, *, checked=True):
        found.add((tuple(words), checked))
        return composed.run_container(words, checked=checked)

    monkeypatch.setattr(plan, "run_container", noted)
    for name in names:
        for scale in scales:
            plan.expand(composed.suite_config([f"check={name}", f"scale={scale}"]))
    return sorted(found)


def by_hydra(words, checked):
    config = compose.compose(list(words))
    if checked:
        compose.to_run_config(config)
    return compose.to_container(config)


def test_the_runs_of_a_check_are_composed_as_hydra_composes_each(monkeypatch, fresh):
    asked = asked_words(monkeypatch, ["ablation", "multi_step"], ["smoke", "cpu"])
    assert len(asked) > 10
    for words, checked in asked[::4]:
        assert composed.run_container(words, checked=checked) == by_hydra(words, checked)


@pytest.mark.slow
def test_every_configuration_that_any_check_plans_is_composed_as_hydra_does(monkeypatch, fresh):
    asked = asked_words(monkeypatch, presets("check"), ["smoke", "cpu", "gpu", "paper"])
    assert len(asked) > 500
    for words, checked in asked:
        assert composed.run_container(words, checked=checked) == by_hydra(words, checked)


def test_of_two_words_on_a_key_the_last_counts_wherever_presets_stand(fresh):
    words = ["algo.clip=0.1", "env=classic", "algo.clip=0.3", "algo=ppo", "env.task=CartPole-v1"]
    assert composed.run_container(words)["algo"]["clip"] == 0.3
    assert composed.run_container(words) == by_hydra(words, True)


@pytest.mark.parametrize(
    "words",
    [
        ["algo=dapo", "algo.clpi=1"],
        ["algo=nobody"],
        ["seed=1,2"],
        ["seed=one"],
        ["+algo.more=1"],
        ["~seed"],
        ["algo=dapo", "algo.clip=-1"],
        ["hydra.verbose=true"],
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_a_single_run(words, fresh):
    with pytest.raises(UserError) as alone:
        by_hydra(words, True)
    with pytest.raises(UserError) as shared:
        composed.run_container(words)
    assert str(shared.value) == str(alone.value)


def test_what_was_kept_is_used_by_the_next_command_and_says_the_same(fresh, monkeypatch):
    words = ["algo=dpo", "env=mujoco", "env.task=Hopper-v5"]
    first = composed.suite_config(CHECK), composed.run_container(words)
    composed.keep()
    fresh()
    monkeypatch.setattr(composed, "compose", lambda *_: pytest.fail("composed again"))
    again = composed.suite_config(CHECK), composed.run_container(words)
    assert again == first
    assert isinstance(again[0], SuiteConfig)


def test_the_kind_of_executor_survives(fresh):
    config = compose.to_suite_config(compose.compose([*CHECK, "executor=slurm"], "suite"))
    assert composed._built(SuiteConfig, asdict(config)) == config
    assert type(composed._built(SuiteConfig, asdict(config)).executor) is type(config.executor)


@pytest.mark.parametrize("content", ["", "[]", '{"kept": 3}', '{"sha256": "", "kept": {"suites": {}}}', "{"])
def test_a_damaged_file_is_composed_anew(fresh, content):
    right = composed.suite_config(CHECK)
    composed.keep()
    (path,) = composed.FOLDER.glob("composed-*.json")
    broken = json.loads(path.read_text())  # whole, but of other content than was written
    broken["kept"]["suites"] = {key: {"seeds": 1} for key in broken["kept"]["suites"]}
    for text in (content, json.dumps(broken)):
        path.write_text(text)
        fresh()
        assert composed.suite_config(CHECK) == right


@pytest.mark.parametrize("change", [{"algo": None}, {}, {"env": {"name": "atari"}}])
def test_of_a_run_whose_kept_values_were_changed_nothing_is_used(fresh, change):
    words = ["algo=dapo"]
    right = composed.run_container(words)
    composed.keep()
    (path,) = composed.FOLDER.glob("composed-*.json")
    content = json.loads(path.read_text())
    content["kept"]["checked"] = dict.fromkeys(content["kept"]["checked"], change)
    path.write_text(json.dumps(content))
    fresh()
    assert composed.run_container(words) == right


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """Copies of conf/ and the sources, which count as older than the process."""
    for name, source in (("CONF_DIR", composed.CONF_DIR), ("BENCH", composed.BENCH)):
        copy = tmp_path / name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(composed, name, copy)
    monkeypatch.setattr(composed, "BEGAN", inf)
    return tmp_path / "CONF_DIR"


def test_any_change_of_conf_or_sources_makes_another_digest(copied):
    before = composed.digest()
    assert before == composed.digest()
    edited = copied / "hparams" / "dapo_cpu.yaml"
    text = edited.read_text()
    for change in (
        lambda: edited.write_text(text + "# a word\n"),
        lambda: edited.write_text(text) and edited.rename(edited.with_name("other.yaml")),
        lambda: (composed.BENCH / "config.py").write_text("# nothing"),
    ):
        change()
        assert composed.digest() not in (None, before)


@pytest.mark.parametrize(
    "text",
    [
        "clip: ${oc.env:CLIP}",
        "clip: ${now:%H}",
        "clip: ${ now :%H}",
        "clip: ${if:${oc.env:CLIP},1,2}",
        "clip: ${hydra:job.num}",
        'clip: "\\x24{now:%H}"',
        'clip: "$\\\n  {now:%H}"',
        "hydra: {run: {dir: '${now:%H}'}}",  # of a preset, which is not Hydra's own
        "hydra: {searchpath: [elsewhere]}",
    ],
)
def test_where_time_or_surroundings_decide_too_nothing_can_be_kept(copied, text):
    assert composed.digest() is not None
    (copied / "algo" / "mine.yaml").write_text(text)
    assert composed.digest() is None


@pytest.mark.parametrize("text", ["clip: ${algo.eps}", "clip: ${if:${oc.select:algo.eps,1},1,2}"])
def test_what_conf_alone_decides_can_be_kept(copied, text):
    (copied / "algo" / "mine.yaml").write_text(text)
    assert composed.digest() is not None


def test_the_time_may_name_the_folder_of_a_sweep_and_nothing_else(copied):
    main = copied / "config.yaml"
    text = main.read_text()
    assert "${now:" in text
    for changed in (text + "\nwhen: ${now:%H}\n", text.replace("hydra:\n", "other:\n"), text + "  searchpath: [x]\n"):
        assert changed != text
        main.write_text(changed)
        assert composed.digest() is None


@pytest.mark.parametrize("name", ["CONF_DIR/algo/linked", "BENCH/linked", "CONF_DIR/hparams"])
def test_of_linked_folders_nothing_can_be_kept(copied, tmp_path, name):
    link = tmp_path / name
    if link.exists():
        link.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "elsewhere")
    assert composed.digest() is None


def test_nothing_is_kept_or_used_of_sources_that_this_process_may_have_read_otherwise(copied, monkeypatch):
    monkeypatch.setattr(composed, "BEGAN", time.time() + 60)
    assert composed.digest() is not None
    edited = copied / "hparams" / "dapo_cpu.yaml"
    os.utime(edited, (time.time() + 120,) * 2)
    assert composed.digest() is None
    os.utime(edited, (0, 0))
    assert composed.digest() is not None
    monkeypatch.setattr(composed, "BEGAN", edited.stat().st_ctime)  # moved here with its old date
    assert composed.digest() is None


def test_a_process_began_before_it_imported_this():
    assert time.time() - 24 * 3600 < composed.BEGAN < time.time() - time.process_time()


def test_one_composition_serves_every_store(fresh, monkeypatch, tmp_path):
    stores = ["store=a", f"store='{tmp_path}/b c, d'", "store=e/f-1 ", "pilot=other"]
    each = [[*CHECK, word] for word in stores] + [["store=x", *CHECK, "pilot='p q'", "store=y"]]
    right = [compose.to_suite_config(compose.compose(words, "suite")) for words in each]
    assert [composed.suite_config(words) for words in each] == right
    composed.keep()
    fresh()
    held = composed._shelf().held["suites"]
    assert len(held) == 3  # with another store, pilot, both
    assert str(tmp_path) not in json.dumps(held)
    monkeypatch.setattr(composed, "compose", lambda *_: pytest.fail("composed again"))
    assert [composed.suite_config(words) for words in each] == right
    assert composed.suite_config([*CHECK, "store=never_seen"]).store == "never_seen"


@pytest.mark.parametrize(
    "word", ["store=' '", "store=null", "store=a,b", "store=???", "store=[a]", "store=5", "+store=a"]
)
def test_of_a_store_that_is_odd_is_said_what_hydra_says(fresh, word):
    def said(make):
        try:
            return make()
        except UserError as error:
            return str(error)

    composed.suite_config([*CHECK, "store=plain"])
    alone = said(lambda: compose.to_suite_config(compose.compose([*CHECK, word], "suite")))
    assert said(lambda: composed.suite_config([*CHECK, word])) == alone


def test_the_file_has_a_bound_and_the_last_command_stays(fresh, monkeypatch):
    monkeypatch.setattr(composed, "MOST", 2)
    for clip in (0.1, 0.2, 0.3, 0.4):
        fresh()
        composed.run_container(["algo=dapo", f"algo.clip={clip}"])
        composed.keep()
    fresh()
    assert [json.loads(key)[1] for key in composed._shelf().held["checked"]] == ["algo.clip=0.4", "algo.clip=0.3"]


def test_nothing_is_kept_of_sources_that_changed_meanwhile_or_of_presets_elsewhere(fresh, monkeypatch, tmp_path):
    composed.run_container(["algo=dapo", f"hydra.searchpath=[{tmp_path}]"])
    composed.keep()
    composed.run_container(["algo=dapo"])
    monkeypatch.setattr(composed, "digest", lambda: "another")
    composed.keep()
    assert not composed.FOLDER.exists()


def test_only_the_newest_sources_have_a_file(fresh):
    composed.FOLDER.mkdir()
    (composed.FOLDER / "composed-0.json").write_text("{}")
    composed.suite_config(CHECK)
    composed.keep()
    (left,) = composed.FOLDER.iterdir()
    assert left.name != "composed-0.json"
