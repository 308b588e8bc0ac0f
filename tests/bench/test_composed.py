"""Configurations composed once for many runs, and kept, are those that Hydra composes for each."""

import json
import shutil
from dataclasses import asdict

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


@pytest.mark.parametrize("content", ["", "[]", '{"suites": 3}', '{"suites": {"[]": {}}}', "{"])
def test_a_damaged_file_is_composed_anew(fresh, content):
    right = composed.suite_config(CHECK)
    composed.keep()
    (path,) = composed.FOLDER.glob("composed-*.json")
    broken = json.loads(path.read_text())
    broken["suites"] = {key: {"seeds": 1} for key in broken["suites"]}
    for text in (content, json.dumps(broken)):
        path.write_text(text)
        fresh()
        assert composed.suite_config(CHECK) == right


def test_any_change_of_conf_or_sources_makes_another_digest(monkeypatch, tmp_path):
    for name, source in (("CONF_DIR", composed.CONF_DIR), ("BENCH", composed.BENCH)):
        copy = tmp_path / name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(composed, name, copy)
    before = composed.digest()
    assert before == composed.digest()
    edited = tmp_path / "CONF_DIR" / "hparams" / "dapo_cpu.yaml"
    text = edited.read_text()
    for change in (
        lambda: edited.write_text(text + "# a word\n"),
        lambda: edited.write_text(text) and edited.rename(edited.with_name("other.yaml")),
        lambda: (tmp_path / "BENCH" / "config.py").write_text("# nothing"),
    ):
        change()
        assert composed.digest() not in (None, before)
    (tmp_path / "CONF_DIR" / "algo" / "dapo.yaml").write_text("clip: ${oc.env:CLIP}")
    assert composed.digest() is None  # the surroundings decide too: nothing can be kept


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
