"""The family of divergences: values by hand, slopes and gradients against differences."""

import numpy as np
import pytest
import torch
from exact_cases import FAMILIES, differences, parametrisations, policy

from bench.config import DIVERGENCES
from bench.envs.mdp import MDP, Array, occupancy
from bench.errors import UserError
from bench.exact import divergences, gradients
from bench.ops.divergences import DIVERGENCES as DIVERGENCE_OPS

HALVES, QUARTERS = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
NAMES = sorted(divergences.FAMILY)
# The total variation has kinks where pi = pi_ref, and no curvature: its steps must stay on one side.
STEP = dict.fromkeys(NAMES, 1e-3) | {"tv": 1e-5}


def test_the_family_is_that_of_the_algorithm() -> None:
    assert tuple(NAMES) == DIVERGENCES


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_the_costs_of_the_algorithm(name: str) -> None:
    """Bounds of log-ratios, which the algorithm has, are out of reach of these policies."""
    on_tensors = DIVERGENCE_OPS[name](torch.tensor(HALVES).log(), torch.tensor(QUARTERS).log())
    np.testing.assert_allclose(divergences.slope(name, HALVES, QUARTERS), on_tensors.numpy(), atol=1e-15)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kl", 0.5 * np.log(2) + 0.5 * np.log(2 / 3)),
        ("reverse_kl", 0.25 * np.log(1 / 2) + 0.75 * np.log(3 / 2)),
        ("hellinger", 2 - 2 * (np.sqrt(1 / 8) + np.sqrt(3 / 8))),
        ("tv", (0.25 * 0.25 + 0.75 * 0.25) / 2),
        # Bregman divergence of -2 sum sqrt: -2 sum sqrt(x) + 2 sum sqrt(y) + sum (x - y) / sqrt(y)
        ("zero_potential", -2 * np.sqrt(2) + 1 + np.sqrt(3) + 0.5 - 0.25 / np.sqrt(0.75)),
        ("entropy", -np.log(2)),
    ],
)
def test_values_by_hand(name: str, expected: float) -> None:
    assert divergences.per_state(name, HALVES, QUARTERS)[0] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_a_slope_is_the_derivative_up_to_a_constant(name: str) -> None:
    rng = np.random.default_rng(0)
    pi, ref = policy(None, rng.standard_normal((1, 4))), policy(None, rng.standard_normal((1, 4)))
    derivative = differences(lambda p: float(divergences.per_state(name, p, ref)[0]), pi, STEP[name])
    gap = divergences.slope(name, pi, ref) - derivative
    np.testing.assert_allclose(gap, gap[0, 0], atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", ["garnet", "chain", "river_swim", "four_rooms", "deep_sea"])
def test_both_gradients_are_those_of_the_divergence(name: str, family: str) -> None:
    mdp: MDP = FAMILIES[family]
    for features, at, reference in parametrisations(mdp, 2):
        ref = policy(None, reference)
        pi, d_ref = policy(features, at), occupancy(mdp, ref)

        def under(x: Array, d: Array | None, features: Array | None = features, ref: Array = ref) -> float:
            new = policy(features, x)
            weight = occupancy(mdp, new) if d is None else d
            return float(weight @ divergences.per_state(name, new, ref))

        full = differences(lambda x, under=under: under(x, None), at, STEP[name])
        np.testing.assert_allclose(divergences.gradient(mdp, name, pi, ref, features), full, rtol=0, atol=1e-8)
        held = differences(lambda x, under=under, d_ref=d_ref: under(x, d_ref), at, STEP[name])
        found = divergences.one_step_gradient(mdp, name, pi, ref, features)
        np.testing.assert_allclose(found, held, rtol=0, atol=1e-8)
        assert divergences.value(mdp, name, pi, ref) == pytest.approx(under(at, None), abs=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_alone_summed_over_the_future_is_the_gradient_for_kl_and_entropy_only(name: str) -> None:
    mdp = FAMILIES["garnet"]
    rng = np.random.default_rng(3)
    pi, ref = (policy(None, rng.standard_normal(mdp.R.shape)) for _ in range(2))
    summed = gradients.lemma1(mdp, pi, divergences.slope(name, pi, ref))
    gap = np.abs(summed - divergences.gradient(mdp, name, pi, ref)).max()
    assert (gap < 1e-12) == (name in ("kl", "entropy"))


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "hellinger", "zero_potential"])
def test_only_the_reference_is_at_distance_0(name: str) -> None:
    assert divergences.per_state(name, QUARTERS, QUARTERS)[0] == 0
    assert divergences.per_state(name, HALVES, QUARTERS)[0] > 0


@pytest.mark.parametrize(
    ("name", "pi", "ref", "infinite"),
    [
        ("kl", [0.5, 0.5], [0.0, 1.0], True),
        ("kl", [0.0, 1.0], [0.5, 0.5], False),
        ("reverse_kl", [0.5, 0.5], [0.0, 1.0], False),
        ("reverse_kl", [0.0, 1.0], [0.5, 0.5], True),
        ("zero_potential", [0.5, 0.5], [0.0, 1.0], True),
        ("zero_potential", [0.0, 1.0], [0.5, 0.5], False),
        ("hellinger", [0.5, 0.5], [0.0, 1.0], False),
        ("hellinger", [0.0, 1.0], [0.5, 0.5], False),
        ("tv", [0.0, 1.0], [1.0, 0.0], False),
        ("entropy", [0.0, 1.0], [1.0, 0.0], False),
    ],
)
def test_a_divergence_is_refused_where_its_definition_makes_it_infinite(name, pi, ref, infinite: bool) -> None:
    tables = np.array([HALVES[0], pi]), np.array([HALVES[0], ref])
    if not infinite:
        assert np.isfinite(divergences.per_state(name, *tables)).all()
        return
    with pytest.raises(UserError, match=f"the divergence {name} is infinite: in state 1, action 0 has probability"):
        divergences.per_state(name, *tables)


def test_a_slope_that_is_infinite_is_refused_though_the_divergence_is_not() -> None:
    with pytest.raises(UserError, match="the slope of the divergence hellinger is infinite: in state 0, action 0"):
        divergences.slope("hellinger", np.array([[0.0, 1.0]]), HALVES)
