import subprocess
import sys

import pytest

from bench import identity as identities
from bench import sources
from bench.algos import ALGOS
from bench.compose import compose, configuration_hash, to_container
from bench.envs import SUITES
from bench.exact import PROGRAMS
from bench.identity import identity, provenance, run_name

CLASSIC = to_container(compose(["env=classic"]))


def test_one_configuration_has_one_identity_wherever_it_is_kept():
    other = to_container(compose(["env=classic", "store=elsewhere", "logger=none", "checkpoint_minutes=1"]))
    assert identity(CLASSIC) == identity(other)
    assert identity(CLASSIC) != identity(to_container(compose(["env=classic", "seed=1"])))


def test_other_sources_make_another_run_of_the_same_configuration(monkeypatch):
    before = provenance(CLASSIC), identity(CLASSIC)
    monkeypatch.setattr(identities, "digest", lambda algo, suite, fused: "changed")
    assert provenance(CLASSIC)["configuration"] == before[0]["configuration"] == configuration_hash(CLASSIC)
    assert identity(CLASSIC) != before[1]
    assert run_name(CLASSIC).rpartition("-")[0] == "dapo-CartPole_v1-s0"


@pytest.mark.parametrize("package", ["torch", "numpy", "gymnasium"])
def test_another_version_of_a_library_makes_another_run(monkeypatch, package):
    before, version = identity(CLASSIC), identities._version
    monkeypatch.setattr(identities, "_version", lambda name: "0" if name == package else version(name))
    assert identity(CLASSIC) != before


def test_a_suite_has_the_versions_of_its_simulator():
    assert set(identities.versions("mujoco", "Hopper-v5")) == {"gymnasium", "numpy", "torch", "mujoco"}
    assert set(identities.versions("dmc", "cheetah-run")) == {"gymnasium", "numpy", "torch", "mujoco", "dm-control"}
    breakout, pong = (identities.versions("atari", game) for game in ("Breakout", "Pong"))
    assert set(breakout) == {"gymnasium", "numpy", "torch", "ale-py", "rom"}
    assert breakout["rom"] != pong["rom"]


def test_builds_of_one_release_for_several_devices_are_one_version():
    assert "+" not in identities.versions("classic", "CartPole-v1")["torch"]


def test_an_identity_takes_no_torch_to_compute():
    code = "import sys; from bench.compose import *; from bench.identity import *\n"
    code += "identity(to_container(compose(['env=classic']))); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- sources -------------------------------------------------------------------------------------------------------


def reached(algo, suite):
    return sources.reached([(ALGOS | PROGRAMS)[algo].partition(":")[0], SUITES[suite], *sources.TIES])


def test_a_run_depends_on_its_algorithm_its_environments_and_their_arithmetic():
    assert {
        "bench.algos.dapo",
        "bench.algos.actor",
        "bench.envs.atari",
        "bench.loop",
        "bench.nets",
        "bench.ops.returns",
        "bench.replay",
        "bench.schedule",
        "bench.seeding",
        "bench.session",
    } <= reached("dapo", "atari")
    assert {"bench.mlps", "bench.ops.distributions", "bench.evaluate", "bench.envs.rewards"} <= reached("dpo", "mujoco")


def test_a_run_does_not_depend_on_other_algorithms_suites_or_on_how_it_is_kept_and_shown():
    other = {"bench.algos.dpo", "bench.algos.sac", "bench.envs.mujoco", "bench.envs.atari"}
    aside = {f"bench.{name}" for name in ("record", "loggers", "manifest", "plan", "suite", "run", "metrics", "config")}
    assert not (other | aside) & reached("dapo", "classic")


@pytest.mark.parametrize("algo", ALGOS | PROGRAMS)
def test_every_algorithm_has_a_digest_of_modules_that_exist(algo):
    assert all(sources._file(module) for module in reached(algo, "tabular"))
    assert len(sources.digest(algo, "tabular")) == 64


def test_the_digests_of_different_algorithms_and_suites_differ():
    pairs = [(algo, suite) for algo in ("dapo", "dpo", "sac") for suite in ("classic", "mujoco")]
    assert len({sources.digest(*pair) for pair in pairs}) == len(pairs)


def said(tmp_path, monkeypatch, text):
    (tmp_path / "bench").mkdir(exist_ok=True)
    (tmp_path / "bench/x.py").write_text(text)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    sources._tree.cache_clear()
    sources.said.cache_clear()
    try:
        return sources.said("bench.x")
    finally:
        sources._tree.cache_clear()
        sources.said.cache_clear()


CODE = '"""Doc."""\nfrom bench import y\n\n\ndef f(a):\n    """Doc of f."""\n    return a + 1\n'


@pytest.mark.parametrize(
    "same",
    [
        CODE.replace("Doc", "Another text"),
        CODE.replace("    return", "    # why\n    return"),
        CODE.replace("\n\n\ndef", "\ndef").replace("a + 1", "(a +\n            1)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(tmp_path, monkeypatch, same):
    assert said(tmp_path, monkeypatch, CODE) == said(tmp_path, monkeypatch, same)


@pytest.mark.parametrize("other", [CODE.replace("a + 1", "a - 1"), CODE.replace("1\n", "1.0\n"), CODE + "f(2)\n"])
def test_what_is_computed_counts(tmp_path, monkeypatch, other):
    assert said(tmp_path, monkeypatch, CODE) != said(tmp_path, monkeypatch, other)


def test_seeds_in_one_process_depend_on_what_lets_them_learn_together(monkeypatch):
    alone, together = sources.digest("dpo", "mujoco"), sources.digest("dpo", "mujoco", fused=True)
    assert alone != together
    said = sources.said
    for module in ("bench.algos.fused_dpo", "bench.algos.stacked", "bench.fused"):
        monkeypatch.setattr(sources, "said", lambda name, own=module: "edited" if name == own else said(name))
        sources.digest.cache_clear()
        assert sources.digest("dpo", "mujoco") == alone
        assert sources.digest("dpo", "mujoco", fused=True) != together
    sources.digest.cache_clear()
