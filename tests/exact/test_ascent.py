"""Exact ascent: which gradient it follows, with and without the state ratio and the divergence."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from exact_cases import FAMILIES, ascent, differences, policy

from bench.envs.mdp import MDP, Array, action_values, occupancy, performance, state_values
from bench.envs.tabular import TASKS
from bench.errors import UserError
from bench.exact import program
from bench.exact.ascent import ascend, gradient, normalised_advantage
from bench.exact.gradients import log_softmax
from bench.exact.proposition1 import proposition1
from bench.exact.trace import ExactReturn
from bench.seeding import stream


def rms(mdp: MDP, pi: Array, ref: Array) -> float:
    advantage = action_values(mdp, pi) - state_values(mdp, pi)[:, None]
    return math.sqrt((occupancy(mdp, ref)[:, None] * ref * advantage**2).sum()) + 1e-4


def two_policies(mdp: MDP) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(mdp.R.shape), log_softmax(rng.standard_normal(mdp.R.shape))


@pytest.mark.parametrize("family", ["garnet", "chain", "river_swim", "deep_sea"])
@pytest.mark.parametrize("inv_eta", [0.0, 0.5])
def test_with_the_state_ratio_it_is_the_gradient_of_the_objective(family: str, inv_eta: float) -> None:
    mdp = FAMILIES[family]
    logits, log_ref = two_policies(mdp)
    scale = rms(mdp, policy(None, logits), np.exp(log_ref))

    def objective(x: Array) -> float:
        pi = policy(None, x)
        divergence = (occupancy(mdp, pi)[:, None] * pi * (np.log(pi) - log_ref)).sum()
        return performance(mdp, pi) / scale - inv_eta * float(divergence)

    found = gradient(mdp, logits, log_ref, state_ratio=True, inv_eta=inv_eta, horizon=None)
    np.testing.assert_allclose(found, differences(objective, logits), rtol=0, atol=1e-8)


def test_without_the_state_ratio_it_is_another_gradient() -> None:
    mdp = FAMILIES["garnet"]
    logits, log_ref = two_policies(mdp)
    with_, without = (
        gradient(mdp, logits, log_ref, state_ratio=ratio, inv_eta=0.5, horizon=None) for ratio in (True, False)
    )
    assert np.abs(with_ - without).max() > 1e-3
    # ... which differs by the weights of the states alone.
    d, d_ref = occupancy(mdp, policy(None, logits)), occupancy(mdp, np.exp(log_ref))
    np.testing.assert_allclose(without, (d_ref / d)[:, None] * with_, atol=1e-14)


def test_one_step_leaves_the_future_out_of_the_divergence_alone() -> None:
    mdp = FAMILIES["garnet"]
    logits, log_ref = two_policies(mdp)
    pi, d_ref = policy(None, logits), occupancy(mdp, np.exp(log_ref))
    f = np.log(pi) - log_ref
    one, none = (gradient(mdp, logits, log_ref, state_ratio=False, inv_eta=inv_eta, horizon=0) for inv_eta in (0.5, 0))
    expected = -0.5 * d_ref[:, None] * pi * (f - (pi * f).sum(1, keepdims=True))
    np.testing.assert_allclose(one - none, expected, atol=1e-14)


def test_the_first_update_of_a_version_is_free_of_bias() -> None:
    """At pi = pi_t the data are on-policy: both arms and all divergences agree."""
    mdp = FAMILIES["garnet"]
    logits, _ = two_policies(mdp)
    found = [
        gradient(mdp, logits, log_softmax(logits), state_ratio=ratio, inv_eta=inv_eta, horizon=horizon)
        for ratio in (True, False)
        for inv_eta in (0.0, 2.0)
        for horizon in (None, 0)
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-15)


def test_advantages_that_are_all_zero_stay_zero() -> None:
    mdp = replace(FAMILIES["garnet"], R=np.ones(FAMILIES["garnet"].R.shape))
    pi = policy(None, np.random.default_rng(0).standard_normal(mdp.R.shape))
    assert np.abs(normalised_advantage(mdp, pi, occupancy(mdp, pi)[:, None] * pi)).max() < 1e-9


def test_with_one_update_per_version_it_is_gradient_ascent_on_the_performance() -> None:
    config = ascent("garnet_small", 5, updates_per_version=1)
    mdp = replace(TASKS["garnet_small"](), gamma=0.9)
    rows = list(ascend(config))
    config.algo = replace(config.algo, learning_rate=1e-300)
    start = next(iter(ascend(config)))["exact_return"]
    rng = np.random.default_rng(stream(0, "logits"))
    logits = rng.standard_normal(mdp.R.shape)
    value, of_return = lambda x: performance(mdp, policy(None, x)), ExactReturn(mdp)
    assert start == pytest.approx(of_return(policy(None, logits)), abs=1e-12)
    for row in rows:
        pi = policy(None, logits)
        logits = logits + differences(value, logits) / rms(mdp, pi, pi)
        assert row["exact_return"] == pytest.approx(of_return(policy(None, logits)), abs=1e-8)


def test_rows_measure_each_version_against_its_reference() -> None:
    rows = list(ascend(ascent("garnet_small", 25)))
    assert [(row["step"], row["updates"], row["version"]) for row in rows] == [(10, 10, 1), (20, 20, 2), (25, 25, 3)]
    mdp, config = replace(TASKS["garnet_small"](), gamma=0.9), ascent("garnet_small", 1)
    rng = np.random.default_rng(stream(0, "logits"))
    start = logits = rng.standard_normal(mdp.R.shape)
    algo = config.algo
    for _ in range(10):
        logits = logits + gradient(
            mdp, logits, log_softmax(start), state_ratio=True, inv_eta=algo.inv_eta, horizon=algo.horizon
        )
    expected = proposition1(mdp, policy(None, logits), policy(None, start), 0.0).row()
    assert {key: rows[0][key] for key in expected} == pytest.approx(expected, rel=1e-9)


def test_the_state_ratio_changes_nothing_where_states_cannot_shift() -> None:
    with_, without = (list(ascend(ascent("garnet_mixing", 100, state_ratio=ratio))) for ratio in (True, False))
    for one, other in zip(with_, without, strict=True):
        assert one["shift"] < 1e-13
        assert one["exact_return"] == pytest.approx(other["exact_return"], abs=1e-10)
    assert with_[-1]["exact_return"] > with_[0]["exact_return"]


def test_the_state_ratio_changes_something_where_they_can() -> None:
    with_, without = (list(ascend(ascent("deep_sea_5", 100, state_ratio=ratio)))[-1] for ratio in (True, False))
    assert abs(with_["exact_return"] - without["exact_return"]) > 1e-3


@pytest.mark.parametrize("horizon", [None, 0])
def test_a_divergence_keeps_versions_together(horizon: int | None) -> None:
    plain, held = (
        [row["kl_exact"] for row in ascend(ascent("garnet_small", 50, inv_eta=inv_eta, horizon=horizon))]
        for inv_eta in (0.0, 2.0)
    )
    assert held[0] < plain[0]


@pytest.mark.parametrize("task", ["garnet", "chain_10", "river_swim", "deep_sea_8"])
def test_ascent_goes_up(task: str) -> None:
    first, *_, last = program("exact_ascent")(ascent(task, 100))
    assert last["exact_return"] > first["exact_return"]
    assert last["exact_return"] <= 1 + 1e-12


def test_runs_repeat_by_seed() -> None:
    config = ascent("garnet_small", 20)
    assert list(ascend(config)) == list(ascend(config))
    config.seed = 1
    assert list(ascend(config)) != list(ascend(ascent("garnet_small", 20)))


def test_an_unknown_task_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(UserError, match=r"env\.task is 'Nowhere', expected one of chain, "):
        ascend(SimpleNamespace(**{**vars(ascent("chain", 1)), "env": SimpleNamespace(task="Nowhere")}))
