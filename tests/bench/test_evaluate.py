"""Scores of the deterministic policy: which games count, when, and that the training does not notice."""

import csv
import json

import numpy as np
import pytest

from bench import compose, envs, run
from bench.envs.base import Step
from bench.evaluate import Deterministic, Evaluator

SMALL = [
    "algo=on_policy", "env=mujoco", "env.task=InvertedPendulum-v5", "logger=none", "algo.hidden=[16]", "steps=128",
    "algo.learner.steps=32", "algo.learner.epochs=2", "algo.learner.minibatches=2",
]  # fmt: skip


class Games:
    """Copy i plays games of lengths[i] steps, with a raw reward of 10^i, and is paid otherwise."""

    def __init__(self, *lengths: int):
        self.lengths, self.num_envs, self.seeds = np.array(lengths), len(lengths), []

    def reset(self, seeds):
        self.seeds.append(seeds.tolist())
        self.t = np.zeros(self.num_envs, int)
        return np.zeros((self.num_envs, 1), np.float32)

    def step(self, actions):
        assert (actions == 7).all()
        self.t += 1
        over = self.t % self.lengths == 0
        no, obs = np.zeros(self.num_envs, bool), np.zeros((self.num_envs, 1), np.float32)
        paid, raw = np.full(self.num_envs, -5.0, np.float32), 10.0 ** np.arange(self.num_envs)
        return Step(obs, paid, over, no, obs, ~no, raw, over, no)

    def close(self):
        self.closed = True


class Sevens:
    def mode(self, obs):
        return np.full((len(obs), 1), 7.0)


def evaluator(monkeypatch, *lengths, every=10, steps=100, seed=0):
    games = Games(*lengths)
    monkeypatch.setattr(envs, "make", lambda config, threads: games)
    config = compose.to_run_config(compose.compose([*SMALL, f"steps={steps}", f"seed={seed}"]))
    return Evaluator(config, every, len(lengths)), games


def test_only_the_first_whole_game_of_each_environment_counts(monkeypatch):
    ours, games = evaluator(monkeypatch, 2, 5, 1)
    assert ours.play(Sevens()) == (2 * 1 + 5 * 10 + 1 * 100) / 3
    assert games.t.tolist() == [5, 5, 5]  # who had finished played on


def test_every_evaluation_begins_anew(monkeypatch):
    ours, games = evaluator(monkeypatch, 2, 5)
    assert ours(10, Sevens()) == ours(20, Sevens()) == {"eval_return": 26}
    assert games.seeds[0] != games.seeds[1]
    assert len({*games.seeds[0], *games.seeds[1]}) == 4


def test_the_games_of_an_evaluation_depend_on_run_and_time_alone(monkeypatch):
    ours, games = evaluator(monkeypatch, 2, every=10)
    late, late_games = evaluator(monkeypatch, 2, every=10)
    other, other_games = evaluator(monkeypatch, 2, every=10, seed=1)
    ours(10, Sevens()), ours(20, Sevens()), late(20, Sevens()), other(20, Sevens())
    assert games.seeds[1] == late_games.seeds[0] != other_games.seeds[0]


def test_an_evaluation_is_due_once_per_interval_and_at_the_end(monkeypatch):
    ours, _ = evaluator(monkeypatch, 2, every=10, steps=47)
    due = [generated for generated in range(4, 48) if ours(generated, Sevens())]
    assert due == [10, 20, 30, 40, 47]
    sparse, _ = evaluator(monkeypatch, 2, every=10, steps=48)
    assert [generated for generated in range(16, 49, 16) if sparse(generated, Sevens())] == [16, 32, 48]


def test_a_loaded_evaluator_repeats_no_evaluation_and_goes_on_with_the_same_games(monkeypatch):
    ours, games = evaluator(monkeypatch, 2, every=10)
    ours(10, Sevens())
    other, others_games = evaluator(monkeypatch, 2, every=10)
    other.load_state_dict(ours.state_dict())
    forgetful, _ = evaluator(monkeypatch, 2, every=10)
    assert ours(12, Sevens()) == other(12, Sevens()) == {} != forgetful(12, Sevens())
    ours(20, Sevens()), other(20, Sevens())
    assert others_games.seeds == games.seeds[1:]


def test_an_agent_that_can_only_sample_is_no_deterministic_one():
    assert isinstance(Sevens(), Deterministic)
    assert not isinstance(Games(1), Deterministic)


TINY = {
    "on_policy": ["algo=on_policy", *SMALL[1:]],
    "dpo": ["algo=dpo", *SMALL[1:], "algo.batch_size=8"],
    "sac": ["algo=sac", *SMALL[1:6], "algo.batch_size=8", "algo.random_steps=16", "algo.report_every=32"],
}


def hash_and_scores(store, *overrides):
    composed = compose.compose([*overrides, f"store={store}"])
    path, _ = run.run(compose.to_run_config(composed), compose.to_container(composed))
    with (path / "metrics.csv").open() as file:
        scores = [row["eval_return"] for row in csv.DictReader(file)]
    return json.loads((path / "status.json").read_text())["params_sha256"], scores


@pytest.mark.parametrize("algo", TINY)
def test_evaluation_does_not_change_the_run(tmp_path, algo):
    plain, none = hash_and_scores(tmp_path, *TINY[algo], "env.evaluation.every=0")
    evaluated, scores = hash_and_scores(tmp_path, *TINY[algo], "env.evaluation.every=64")
    assert plain == evaluated
    assert none == [""] * 4
    assert [score != "" for score in scores] == [False, True, False, True]
    assert all(float(score) > 0 for score in scores if score)


@pytest.mark.parametrize("algo", TINY)
def test_the_last_policy_of_a_run_is_evaluated_where_its_steps_are_no_whole_iterations(tmp_path, algo):
    _, scores = hash_and_scores(tmp_path, *TINY[algo], "steps=140", "env.evaluation.every=1000")
    assert [score for score in scores if score] == scores[-1:] != [""]
