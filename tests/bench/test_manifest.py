import hashlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import checkout as project_checkout
from bench import manifest
from bench.compose import compose, to_run_config
from bench.envs import atari


def config(*overrides):
    return to_run_config(compose(["env=classic", *overrides]))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout of one commit, in the place of the project's."""

    def git(*arguments):
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y", *arguments],
            check=True,
            capture_output=True,
        )

    git("init", "-q")
    (tmp_path / "file").write_text("one\n")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    monkeypatch.setattr(project_checkout, "ROOT", tmp_path)
    project_checkout.git_once.cache_clear()
    yield tmp_path
    project_checkout.git_once.cache_clear()


def collected(*overrides):
    project_checkout.git_once.cache_clear()
    return manifest.collect(config(*overrides))


def test_a_manifest_says_where_a_run_comes_from():
    found = collected("threads=1")
    assert {
        "commit",
        "dirty_sha256",
        "versions",
        "rom_sha256",
        "hardware",
        "threads",
        "determinism",
        "command",
    } <= found.keys()
    assert {"python", "torch", "numpy", "gymnasium", "ale-py", "hydra-core"} <= found["versions"].keys()
    assert found["hardware"]["cpu"]
    assert found["hardware"]["cores"] >= 1
    assert json.loads(json.dumps(found)) == found


def test_the_command_is_the_one_that_was_given(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "-m", "bench", "store=my store"])
    assert collected()["command"] == f"{Path(sys.executable).name} -m bench 'store=my store'"


def test_a_clean_checkout_has_a_commit_and_no_difference(checkout):
    found = collected()
    assert len(found["commit"]) == 40
    assert found["dirty_sha256"] is None


def test_the_difference_of_a_dirty_checkout_has_a_hash_of_its_own(checkout):
    (checkout / "file").write_text("two\n")
    two = collected()["dirty_sha256"]
    (checkout / "file").write_text("three\n")
    three = collected()["dirty_sha256"]
    (checkout / "file").write_text("two\n")
    assert two is not None
    assert two != three
    assert collected()["dirty_sha256"] == two


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(project_checkout, "ROOT", tmp_path)
    found = collected()
    project_checkout.git_once.cache_clear()
    assert found["commit"] is None
    assert found["dirty_sha256"] is None


def test_only_one_thread_on_a_cpu_is_called_bitwise_repeatable():
    assert manifest.determinism(config("threads=1")).startswith("bitwise")
    assert manifest.determinism(config("threads=2")).startswith("statistical")
    assert manifest.determinism(config("device=cuda")).startswith("statistical")
    assert collected("threads=2")["threads"] == 2


def test_one_thread_is_the_default():
    assert config().threads == 1


def test_an_atari_run_names_its_rom_and_no_other_does():
    found = manifest.collect(to_run_config(compose(["env=atari", "env.task=Qbert"])))
    other = manifest.collect(to_run_config(compose(["env=atari", "env.task=Gravitar"])))
    assert found["rom_sha256"] == hashlib.sha256(Path(atari.rom_path("Qbert")).read_bytes()).hexdigest()
    assert other["rom_sha256"] not in (None, found["rom_sha256"])
    assert collected()["rom_sha256"] is None


@pytest.mark.parametrize(("suite", "names"), [("mujoco", ["gymnasium", "mujoco"]), ("dmc", ["dm-control", "mujoco"])])
def test_a_run_in_a_simulator_names_its_versions_and_no_other_does(suite, names):
    found = manifest.collect(to_run_config(compose([f"env={suite}", "algo=dpo"])))
    assert sorted(found["simulators"]) == names
    assert found["simulators"] == {name: importlib.metadata.version(name) for name in names}
    assert "simulators" not in collected()
