"""Runs of several seeds in one process: complete directories, resumed alike, one failing alone."""

import json
import signal

import pytest
import yaml
from command_line import call, kill, one_sentence, start, status, wait_until

WORDS = [
    "algo=dpo",
    "env=mujoco",
    "env.task=InvertedPendulum-v5",
    "env.evaluation.every=0",
    "logger=none",
    "learner=ppo",
    "algo.hidden=[16]",
    "algo.learner.steps=32",
    "algo.learner.epochs=2",
    "algo.learner.minibatches=2",
    "algo.learner.baseline_updates=2",
    "algo.batch_size=8",
    "algo.baseline_samples=4",
    "algo.critic_samples=3",
    "store=store",
    "seeds_per_process=3",
]


def runs(folder):
    """Directories of a store by seed."""
    found = (path.parent for path in (folder / "store" / "runs").glob("*/config.yaml"))
    return {yaml.safe_load((path / "config.yaml").read_text())["seed"]: path for path in found}


def test_a_block_leaves_a_whole_run_per_seed(tmp_path):
    made = call(tmp_path, "bench", *WORDS, "steps=96", "seed=4")
    assert made.returncode == 0, made.stderr
    found = runs(tmp_path)
    assert found.keys() == {3, 4, 5}
    assert made.stdout.strip().endswith(found[4].name)
    assert all(status(path)["state"] == "done" for path in found.values())
    assert len({status(path)["params_sha256"] for path in found.values()}) == 3
    for path in found.values():
        assert len((path / "metrics.csv").read_text().splitlines()) == 4  # a header, 96 / 32 iterations
        assert (path / "checkpoint.pt").stat().st_size < 200_000  # its own parameters, not the block's
        assert not list(path.glob("resume-*"))
    assert "already done" in call(tmp_path, "bench", *WORDS, "steps=96", "seed=3").stderr


def test_a_killed_block_goes_on_to_the_same_bits(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    words = [*WORDS, "steps=1600", "checkpoint_minutes=0.0005", "seed=0"]
    assert call(whole, "bench", *words).returncode == 0
    process = start(cut, "bench", *words)
    wait_until(lambda: len(runs(cut)) == 3 and all(list(path.glob("resume-*")) for path in runs(cut).values()))
    kill(process, signal.SIGKILL)
    again = call(cut, "bench", *words)
    assert again.returncode == 0, again.stderr
    assert "go on from step" in again.stderr
    for seed, path in runs(cut).items():
        other = runs(whole)[seed]
        assert status(path)["params_sha256"] == status(other)["params_sha256"]
        assert (path / "episodes.csv").read_text() == (other / "episodes.csv").read_text()
        assert len(json.loads((path / "manifest.json").read_text())["attempts"]) == 2


@pytest.mark.parametrize(
    "words",
    [("learner=trpo",), ("algo=on_policy",), ("seeds_per_process=0",), ("run_dir=somewhere",)],
)
def test_what_seeds_cannot_make_together_is_one_sentence(tmp_path, words):
    own = (
        [word for word in WORDS if not word.startswith("algo.")] if words[0].startswith(("learner", "algo")) else WORDS
    )
    said = one_sentence(call(tmp_path, "bench", *own, "steps=10_000", *words))
    assert "seeds_per_process" in said or "algo.learner" in said


def test_a_block_is_not_mirrored_and_says_so(tmp_path):
    words = [word for word in WORDS if not word.startswith("logger")]
    made = call(tmp_path, "bench", *words, "steps=96", "logger=wandb", "logger.mode=offline")
    assert made.returncode == 0
    assert "are not mirrored" in made.stderr
    assert not any((path / "wandb").exists() for path in runs(tmp_path).values())


def test_a_suite_makes_a_block_in_one_process(tmp_path):
    words = ["check=faster_variants", "scale=smoke", "tasks=[CartPole-v1]", "store=store", "logger=none"]
    made = call(tmp_path, "bench.suite", "run", *words)
    assert made.returncode == 0, made.stderr
    fused = [
        path
        for path in (tmp_path / "store" / "runs").iterdir()
        if yaml.safe_load((path / "config.yaml").read_text())["seeds_per_process"] == 8
    ]
    assert len(fused) == 8  # the block of the two that are planned
    assert all(status(path)["state"] == "done" for path in fused)
    assert sum((path / "log.txt").exists() for path in fused) == 1


def test_a_seed_that_diverges_is_recorded_and_the_others_go_on(tmp_path, monkeypatch):
    from bench import compose
    from bench.algos.fused_dpo import Block
    from bench.errors import DivergedError, RunError
    from bench.run import run

    observe = Block.observe

    def fault(block, steps):
        told = observe(block, steps)
        worst = [agent for agent in block.agents if agent.iterations == 2]
        return [DivergedError("planted"), *told[1:]] if len(worst) == 3 and told[0] else told

    monkeypatch.setattr(Block, "observe", fault)
    monkeypatch.chdir(tmp_path)
    composed = compose.compose([*WORDS, "steps=96"])
    with pytest.raises(RunError, match="s0"):
        run(compose.to_run_config(composed), compose.to_container(composed))
    found = runs(tmp_path)
    assert [status(found[seed])["state"] for seed in (0, 1, 2)] == ["failed", "done", "done"]
    assert "planted" in status(found[0])["error"]


def test_a_killed_block_goes_on_although_one_of_it_had_failed(tmp_path):
    words = [*WORDS, "steps=1600", "checkpoint_minutes=0.0005", "seed=0"]
    process = start(tmp_path, "bench", *words)
    wait_until(lambda: len(runs(tmp_path)) == 3 and all(list(p.glob("resume-*")) for p in runs(tmp_path).values()))
    kill(process, signal.SIGKILL)
    first = runs(tmp_path)[0]
    for path in first.glob("resume-*"):  # older than those of the others
        path.rename(path.with_name("resume-1.pt"))
    told = json.loads((first / "status.json").read_text())
    (first / "status.json").write_text(json.dumps({**told, "state": "failed", "error": "planted"}))
    again = call(tmp_path, "bench", *words)
    assert again.returncode == 1
    assert "2 runs go on from step" in again.stderr
    assert f"{first.name} failed before the others" in again.stderr
    assert [status(path)["state"] for _, path in sorted(runs(tmp_path).items())] == ["failed", "done", "done"]
    assert call(tmp_path, "bench", *words).returncode == 0
    assert status(first)["state"] == "done"
