"""Finite MDPs: exact solutions against hand and finite differences; builders; what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.envs import mdp as mdps
from bench.envs import mdp_builders as builders
from bench.envs.mdp import MDP
from bench.envs.tabular import TASKS
from bench.errors import UserError

Array = mdps.Array


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def random_policy(mdp: MDP, seed: int) -> Array:
    return softmax(np.random.default_rng(seed).standard_normal(mdp.R.shape))


def two_states() -> MDP:
    """Action 0 stays, action 1 changes the state; only staying in state 1 pays, 1."""
    stay, change = np.eye(2), np.eye(2)[::-1]
    return MDP(P=np.stack([stay, change], axis=1), R=[[0, 0], [1, 0]], d0=[1, 0], gamma=0.5)


@pytest.fixture(params=["garnet", "chain", "river_swim", "deep_sea_5", "two_states"])
def mdp(request: pytest.FixtureRequest) -> MDP:
    built = two_states() if request.param == "two_states" else TASKS[request.param]()
    return replace(built, gamma=0.9)


# ---- exact solutions


def test_two_states_by_hand() -> None:
    half = np.full((2, 2), 0.5)
    # V = r + .5 mean(V): V1 - V0 = .5, their mean m = .25 + .5 m, so m = .5.
    np.testing.assert_allclose(mdps.state_values(two_states(), half), [0.25, 0.75], atol=1e-15)
    np.testing.assert_allclose(mdps.action_values(two_states(), half), [[0.125, 0.375], [1.375, 0.125]], atol=1e-15)
    # d = .5 d0 + .5 (half, half)
    np.testing.assert_allclose(mdps.occupancy(two_states(), half), [0.75, 0.25], atol=1e-15)
    assert mdps.performance(two_states(), half) == pytest.approx(0.125, abs=1e-15)


def test_the_optimum_of_two_states_by_hand() -> None:
    q, pi = mdps.optimal_values(two_states())
    np.testing.assert_allclose(q, [[0.5, 1.0], [2.0, 0.5]], atol=1e-14)
    assert pi.tolist() == [[0, 1], [1, 0]]


def test_an_occupancy_sums_to_one_and_satisfies_the_flow_equation(mdp: MDP) -> None:
    pi = random_policy(mdp, 0)
    d = mdps.occupancy(mdp, pi)
    assert d.sum() == pytest.approx(1, abs=1e-12)
    assert (d > -1e-15).all()
    joint = d[:, None] * pi
    flow = (1 - mdp.gamma) * mdp.d0 + mdp.gamma * np.einsum("sa,sat->t", joint, mdp.P)
    np.testing.assert_allclose(d, flow, atol=1e-13)


def test_an_occupancy_is_the_discounted_sum_of_state_distributions(mdp: MDP) -> None:
    pi = random_policy(mdp, 0)
    transition, at_t, total = mdps.policy_transition(mdp, pi), mdp.d0, np.zeros(mdp.num_states)
    for t in range(400):
        total += (1 - mdp.gamma) * mdp.gamma**t * at_t
        at_t = at_t @ transition
    np.testing.assert_allclose(mdps.occupancy(mdp, pi), total, atol=1e-12)


def test_values_satisfy_bellmans_equation(mdp: MDP) -> None:
    pi = random_policy(mdp, 0)
    v, q = mdps.state_values(mdp, pi), mdps.action_values(mdp, pi)
    np.testing.assert_allclose(q, mdp.R + mdp.gamma * mdp.P @ v, atol=1e-12)
    np.testing.assert_allclose(v, (pi * q).sum(1), atol=1e-12)


def test_performance_is_the_reward_under_the_occupancy(mdp: MDP) -> None:
    pi = random_policy(mdp, 0)
    reward = (mdps.occupancy(mdp, pi)[:, None] * pi * mdp.R).sum()
    assert mdps.performance(mdp, pi) == pytest.approx(reward, abs=1e-12)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_optimal_values_satisfy_bellmans_optimality_equation(name: str) -> None:
    mdp = TASKS[name]()
    q, pi = mdps.optimal_values(mdp)
    np.testing.assert_allclose(q, mdp.R + mdp.gamma * mdp.P @ q.max(1), atol=1e-9)
    np.testing.assert_allclose(mdps.state_values(mdp, pi), q.max(1), atol=1e-9)


def occupied(mdp: MDP, logits: Array, f: Array) -> float:
    pi = softmax(logits)
    return float((mdps.occupancy(mdp, pi)[:, None] * pi * f).sum())


def lemma_1(mdp: MDP, logits: Array, f: Array, q: Array) -> tuple[Array, Array]:
    """Both sides of Lemma 1 in the logits: differences of <f, mu_pi>, and sum d_pi Q_pi(f) grad pi."""
    step = 1e-3
    differences = np.empty_like(logits)
    for s, a in np.ndindex(*logits.shape):
        unit = np.zeros_like(logits)
        unit[s, a] = step
        one, two = (occupied(mdp, logits + k * unit, f) - occupied(mdp, logits - k * unit, f) for k in (1, 2))
        differences[s, a] = (8 * one - two) / (12 * step)  # error of order step^4
    pi = softmax(logits)
    advantage = q - (pi * q).sum(1, keepdims=True)  # grad of a softmax in its logits: pi (delta - pi)
    return differences, mdps.occupancy(mdp, pi)[:, None] * pi * advantage


@pytest.mark.parametrize("seed", range(3))
def test_lemma_1_holds_to_1e_8(mdp: MDP, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, f = rng.standard_normal(mdp.R.shape), rng.standard_normal(mdp.R.shape)
    differences, exact = lemma_1(mdp, logits, f, mdps.discounted_sum(mdp, softmax(logits), f))
    np.testing.assert_allclose(exact, differences, atol=1e-8)


def test_lemma_1_fails_without_the_future(mdp: MDP) -> None:
    """The 1-step gradient, f in place of Q_pi(f), is another one: the comparison above would see it."""
    rng = np.random.default_rng(0)
    logits, f = rng.standard_normal(mdp.R.shape), rng.standard_normal(mdp.R.shape)
    differences, one_step = lemma_1(mdp, logits, f, f)
    assert np.abs(one_step - differences).max() > 1e-3


# ---- builders


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_state_of_a_task_can_be_reached(name: str) -> None:
    mdp = TASKS[name]()
    uniform = np.full(mdp.R.shape, 1 / mdp.num_actions)
    assert (mdps.occupancy(mdp, uniform) > 0).all()


def test_a_garnet_has_the_branching_asked_for_and_repeats_by_seed() -> None:
    one, again, other = (builders.garnet(7, 3, 2, seed) for seed in (0, 0, 1))
    assert ((one.P > 0).sum(-1) == 2).all()
    assert np.array_equal(one.P, again.P)
    assert np.array_equal(one.R, again.R)
    assert not np.array_equal(one.P, other.P)


def test_the_actions_of_a_mixing_garnet_pay_differently_and_lead_to_the_same() -> None:
    mdp, plain = builders.garnet_mixing(7, 3, 2, 0), builders.garnet(7, 3, 2, 0)
    assert (plain.P[:, :1] == mdp.P).all()
    assert np.array_equal(mdp.R, plain.R)


def test_the_chain_slips_one_time_in_five() -> None:
    mdp = builders.chain(5)
    np.testing.assert_allclose(mdp.P[1, 0], [0.2, 0, 0.8, 0, 0])
    np.testing.assert_allclose(mdp.P[4, 1], [0.8, 0, 0, 0, 0.2])
    np.testing.assert_allclose(mdp.R, [[0.4, 1.6]] * 4 + [[8.4, 3.6]])
    assert mdps.optimal_values(mdp)[1].argmax(1).tolist() == [0] * 5


def test_the_river_carries_left_for_sure_and_right_seldom() -> None:
    mdp = builders.river_swim(6)
    assert mdp.P[3, 0].tolist() == [0, 0, 1, 0, 0, 0]
    assert mdp.P[3, 1].tolist() == [0, 0, 0.05, 0.6, 0.35, 0]
    assert mdps.optimal_values(mdp)[1].argmax(1).tolist() == [1] * 6


def test_four_rooms_has_104_cells_four_doors_and_noise() -> None:
    mdp = builders.four_rooms()
    assert mdp.num_states == 104
    # In the corner up and left run into walls: up stays with 2/3 + 1/9.
    np.testing.assert_allclose(mdp.P[0, 0, 0], 2 / 3 + 1 / 9)
    np.testing.assert_allclose(np.sort(mdp.P[0, 0])[-3:], [1 / 9, 1 / 9, 7 / 9])
    assert (mdp.P[103, :, 0] == 1).all()


@pytest.mark.parametrize("n", [2, 5, 10])
def test_only_the_diagonal_of_the_deep_sea_pays(n: int) -> None:
    mdp = builders.deep_sea(n)
    q, pi = mdps.optimal_values(mdp)
    trip = sum(-0.01 / n * 0.99**t for t in range(n)) + 0.99 ** (n - 1)
    assert q[0].max() == pytest.approx(trip / (1 - 0.99**n), abs=1e-9)
    assert (mdp.R > 0.5).sum() == 1
    diagonal = [row * (row + 3) // 2 for row in range(n)]
    assert all(mdp.R[s, pi[s].argmax()] != 0 for s in diagonal)


def test_the_deep_sea_by_hand() -> None:
    mdp = builders.deep_sea(3)  # cells by row: 0 | 1 2 | 3 4 5
    right = (mdp.R != 0).argmax(1)
    below = [(mdp.P[s, 1 - right[s]].argmax(), mdp.P[s, right[s]].argmax()) for s in range(6)]
    assert below == [(1, 2), (3, 4), (3, 5), (0, 0), (0, 0), (0, 0)]
    np.testing.assert_allclose(mdp.R[np.arange(6), right], [-0.01 / 3] * 5 + [1 - 0.01 / 3])


def test_no_constant_action_dives_the_deep_sea() -> None:
    mdp = builders.deep_sea(10)
    for a in range(2):
        assert mdps.performance(mdp, np.tile(np.eye(2)[a], (mdp.num_states, 1))) <= 0


# ---- validation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"P": np.ones((2, 2, 2))}, r"P\[0, 0, :\] of state 0, action 0 sum to 2, expected 1$"),
        ({"P": np.array([[[0.5, 0.5]] * 2, [[0.5, 0.5], [0.5, 0.25]]])}, r"P\[1, 1, :\] .* sum to 0\.75"),
        ({"P": np.array([[[2.0, -1.0]] * 2] * 2)}, r"P\[0, 0, :\] of state 0, action 0 hold -1, expected no"),
        ({"P": np.ones((2, 2))}, r"P has shape \[2, 2\], expected \[S, A, S\]"),
        ({"P": np.ones((2, 2, 3))}, r"P has shape \[2, 2, 3\]"),
        ({"R": np.zeros((2, 3))}, r"R has shape \[2, 3\], expected \[2, 2\]"),
        ({"R": np.full((2, 2), np.nan)}, "R holds a number that is not finite"),
        ({"d0": np.array([0.5, 0.6])}, r"start probabilities d0 sum to 1\.1, expected 1"),
        ({"d0": np.array([1.0])}, r"d0 has shape \[1\], expected \[2\]"),
        ({"gamma": 1.0}, "gamma is 1.0"),
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"P": np.full((2, 2, 2), np.nan)}, r"P\[0, 0, :\] .* hold nan"),
    ],
)
def test_what_is_no_mdp_is_refused_in_a_sentence(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(two_states(), **change)


def test_an_mdp_cannot_be_changed_and_keeps_no_hold_on_what_it_was_built_from() -> None:
    rewards = np.zeros((2, 2))
    mdp = replace(two_states(), R=rewards)
    rewards[0, 0] = 1
    assert mdp.R[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        mdp.P[0, 0, 0] = 1


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="pi has shape"):
        mdps.state_values(two_states(), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"pi\[0, :\] of a policy sum to 2"):
        mdps.occupancy(two_states(), np.ones((2, 2)))
    with pytest.raises(ValueError, match="f has shape"):
        mdps.discounted_sum(two_states(), np.full((2, 2), 0.5), np.ones(2))


@pytest.mark.parametrize(
    ("build", "sizes"),
    [(builders.chain, (1,)), (builders.river_swim, (1,)), (builders.deep_sea, (1,)), (builders.garnet, (3, 2, 4, 0))],
)
def test_builders_refuse_sizes_that_mean_nothing(build, sizes: tuple) -> None:
    with pytest.raises(UserError, match=f"{build.__name__}: .*, expected"):
        build(*sizes)
