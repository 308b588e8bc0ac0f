"""Exact gradients against differences of the quantities themselves, to 1e-8, on every family of MDPs."""

from dataclasses import replace

import numpy as np
import pytest
from exact_cases import FAMILIES, differences, parametrisations, policy

from bench.envs.mdp import MDP, Array, discounted_sum, occupancy, performance
from bench.errors import UserError
from bench.exact import gradients

TOLERANCE = 1e-8


@pytest.fixture(params=sorted(FAMILIES))
def mdp(request: pytest.FixtureRequest) -> MDP:
    return FAMILIES[request.param]


def occupied(mdp: MDP, pi: Array, f: Array) -> float:
    return float((occupancy(mdp, pi)[:, None] * pi * f).sum())


def test_lemma_1_is_the_gradient_of_the_occupied_f(mdp: MDP) -> None:
    f = np.random.default_rng(7).standard_normal(mdp.R.shape)
    for features, at, _ in parametrisations(mdp, 0):
        expected = differences(lambda x, features=features: occupied(mdp, policy(features, x), f), at)
        found = gradients.lemma1(mdp, policy(features, at), f, features)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_the_gradient_of_the_performance(mdp: MDP) -> None:
    for features, at, _ in parametrisations(mdp, 1):
        expected = differences(lambda x, features=features: performance(mdp, policy(features, x)), at)
        found = gradients.performance_gradient(mdp, policy(features, at), features)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_the_gradient_of_the_divergence_of_occupancies(mdp: MDP) -> None:
    """f = log(pi / pi_ref) moves with pi in the differences, and is held constant in Lemma 1."""
    for features, at, reference in parametrisations(mdp, 2):
        ref = policy(None, reference)

        def value(x: Array, features: Array | None = features, ref: Array = ref) -> float:
            pi = policy(features, x)
            return occupied(mdp, pi, np.log(pi / ref))

        found = gradients.divergence_gradient(mdp, policy(features, at), ref, features)
        np.testing.assert_allclose(found, differences(value, at), rtol=0, atol=TOLERANCE)


def test_the_gradient_of_the_kl_of_the_occupancies_themselves(mdp: MDP) -> None:
    for features, at, reference in parametrisations(mdp, 3):
        ref = policy(None, reference)
        mu_ref = occupancy(mdp, ref)[:, None] * ref

        def value(x: Array, features: Array | None = features, mu_ref: Array = mu_ref) -> float:
            pi = policy(features, x)
            mu = occupancy(mdp, pi)[:, None] * pi
            return float((mu * np.log(mu / mu_ref)).sum())

        found = gradients.occupancy_divergence_gradient(mdp, policy(features, at), ref, features)
        np.testing.assert_allclose(found, differences(value, at), rtol=0, atol=TOLERANCE)
        assert gradients.occupancy_divergence(mdp, policy(features, at), ref) == pytest.approx(value(at), abs=1e-12)


def test_the_one_step_gradient_is_that_of_the_conditional_divergence_with_states_held(mdp: MDP) -> None:
    for features, at, reference in parametrisations(mdp, 4):
        ref = policy(None, reference)
        d_ref = occupancy(mdp, ref)

        def value(x: Array, features: Array | None = features, ref: Array = ref, d_ref: Array = d_ref) -> float:
            pi = policy(features, x)
            return float((d_ref[:, None] * pi * np.log(pi / ref)).sum())

        found = gradients.one_step_gradient(mdp, policy(features, at), ref, features)
        np.testing.assert_allclose(found, differences(value, at), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_the_gradients_hold_for_every_discount(gamma: float) -> None:
    mdp = replace(FAMILIES["garnet"], gamma=gamma)
    for features, at, _ in parametrisations(mdp, 5):
        expected = differences(lambda x, features=features: performance(mdp, policy(features, x)), at)
        found = gradients.performance_gradient(mdp, policy(features, at), features)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


# ---- planted faults: each formula, wrong in one place, is far outside the tolerance above


def _faulty(fault: str, mdp: MDP, pi: Array, d_ref: Array) -> Array:
    if fault == "states of the reference instead of the policy's":
        return gradients.weighted_gradient(d_ref, pi, discounted_sum(mdp, pi, mdp.R))
    if fault == "occupancy without (1 - gamma)":
        return gradients.performance_gradient(mdp, pi) / (1 - mdp.gamma)
    if fault == "transposed transition":
        flow = np.eye(mdp.num_states) - mdp.gamma * np.einsum("sa,sat->st", pi, mdp.P)
        d = np.linalg.solve(flow, (1 - mdp.gamma) * mdp.d0)
        return gradients.weighted_gradient(d, pi, discounted_sum(mdp, pi, mdp.R))
    if fault == "rewards without a future":
        return gradients.weighted_gradient(occupancy(mdp, pi), pi, mdp.R)
    assert fault == "discounted once too often"
    return gradients.weighted_gradient(occupancy(mdp, pi), pi, mdp.gamma * discounted_sum(mdp, pi, mdp.R))


@pytest.mark.parametrize(
    "fault",
    [
        "states of the reference instead of the policy's",
        "occupancy without (1 - gamma)",
        "transposed transition",
        "rewards without a future",
        "discounted once too often",
    ],
)
def test_differences_show_a_gradient_with(fault: str) -> None:
    mdp = FAMILIES["garnet"]
    _, at, reference = next(parametrisations(mdp, 1))
    expected = differences(lambda x: performance(mdp, policy(None, x)), at)
    wrong = _faulty(fault, mdp, policy(None, at), occupancy(mdp, policy(None, reference)))
    assert np.abs(wrong - expected).max() > 1e5 * TOLERANCE


def test_differences_show_a_divergence_whose_gradient_forgets_the_shift_of_states() -> None:
    """The two forms of D, with and without log(d_pi / d_ref), have different gradients."""
    mdp = FAMILIES["garnet"]
    _, at, reference = next(parametrisations(mdp, 2))
    pi, ref = policy(None, at), policy(None, reference)
    one, other = gradients.divergence_gradient(mdp, pi, ref), gradients.occupancy_divergence_gradient(mdp, pi, ref)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - gradients.one_step_gradient(mdp, pi, ref)).max() > 1e-3


# ---- identities


def test_all_divergences_and_their_gradients_vanish_at_the_reference(mdp: MDP) -> None:
    pi = policy(None, np.random.default_rng(0).standard_normal(mdp.R.shape))
    assert gradients.divergence(mdp, pi, pi) == 0
    assert gradients.occupancy_divergence(mdp, pi, pi) == 0
    for gradient in (
        gradients.divergence_gradient,
        gradients.occupancy_divergence_gradient,
        gradients.one_step_gradient,
    ):
        assert not gradient(mdp, pi, pi).any()


def test_no_policy_shifts_the_states_of_a_mixing_garnet() -> None:
    mdp = FAMILIES["garnet_mixing"]
    rng = np.random.default_rng(0)
    pi, ref = (policy(None, rng.standard_normal(mdp.R.shape)) for _ in range(2))
    one, other = gradients.divergence_gradient(mdp, pi, ref), gradients.occupancy_divergence_gradient(mdp, pi, ref)
    np.testing.assert_allclose(one, other, atol=1e-14)


def test_a_divergence_of_1e_12_keeps_its_digits() -> None:
    """sum pi log(pi / pi_ref) as it stands loses four of them: its terms are 1e-6."""
    step = 1e-6
    ref = np.full((1, 2), 0.5)
    log_pi = gradients.log_softmax([[step, -step]])
    found = gradients.kl_per_state(np.exp(log_pi), ref, log_pi - np.log(ref))
    # KL = x tanh x - log cosh x = x^2 / 2 - x^4 / 4 + ..., x the logit
    assert found[0] == pytest.approx(step**2 / 2, rel=1e-9)


def test_deviations_keep_their_digits_when_a_policy_is_all_but_deterministic() -> None:
    pi = gradients.softmax([[0.0, -100.0]])
    advantage = gradients.deviation(pi, np.array([[3.0, 4.0]]))
    assert advantage[0, 0] == pytest.approx(-np.exp(-100), rel=1e-12)
    assert advantage[0, 1] == 1


def test_log_probabilities_are_finite_where_probabilities_underflow() -> None:
    assert gradients.log_softmax([[0.0, -2000.0]]).tolist() == [[0.0, -2000.0]]
    assert gradients.softmax([[0.0, -2000.0]]).tolist() == [[1.0, 0.0]]
    assert gradients.log_softmax([[-50.0, 0.0]])[0, 1] == pytest.approx(-np.exp(-50), rel=1e-15)


# ---- bad input


def test_mass_where_the_reference_has_none_makes_the_divergence_infinite() -> None:
    pi, ref = np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([[0.5, 0.5], [0.0, 1.0]])
    sentence = "divergence of the policy .* is infinite: in state 1, action 0 has probability 0.25, and 0 under the ref"
    with pytest.raises(UserError, match=sentence):
        gradients.log_ratio(pi, ref)


def test_no_mass_where_the_reference_has_some_makes_the_cost_infinite() -> None:
    pi, ref = np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([[0.5, 0.5], [0.25, 0.75]])
    with pytest.raises(UserError, match=r"log\(pi / pi_ref\).* is infinite: in state 1, action 0 has probability 0,"):
        gradients.log_ratio(pi, ref)


def test_an_action_that_neither_takes_costs_nothing() -> None:
    pi = np.array([[0.0, 1.0]])
    assert gradients.log_ratio(pi, pi).tolist() == [[0, 0]]


def test_a_state_that_one_policy_alone_visits_is_named() -> None:
    mdp = FAMILIES["deep_sea"]
    always = [np.tile(np.eye(2)[a], (mdp.num_states, 1)) for a in range(2)]
    with pytest.raises(UserError, match=r"divergence of occupancies is infinite: state \d+ has occupancy"):
        gradients._log_state_ratio(mdp, *always)
    with pytest.raises(ValueError, match="pi has shape"):
        gradients.log_ratio(always[0], np.ones((1, 2)))
