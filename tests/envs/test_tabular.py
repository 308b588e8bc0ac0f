"""Finite MDPs: exact solutions against hand, finite differences and roll-outs; the sampled environment."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.envs import mdp as mdps
from bench.envs.mdp import MDP
from bench.envs.tabular import TASKS, TabularVecEnv, make, task_names
from bench.errors import UserError

Array = mdps.Array
SEEDS = np.array([3, 1, 4, 15], dtype=np.int64)


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
    one, again, other = (mdps.garnet(7, 3, 2, seed) for seed in (0, 0, 1))
    assert ((one.P > 0).sum(-1) == 2).all()
    assert np.array_equal(one.P, again.P)
    assert np.array_equal(one.R, again.R)
    assert not np.array_equal(one.P, other.P)


def test_the_chain_slips_one_time_in_five() -> None:
    mdp = mdps.chain(5)
    np.testing.assert_allclose(mdp.P[1, 0], [0.2, 0, 0.8, 0, 0])
    np.testing.assert_allclose(mdp.P[4, 1], [0.8, 0, 0, 0, 0.2])
    np.testing.assert_allclose(mdp.R, [[0.4, 1.6]] * 4 + [[8.4, 3.6]])
    assert mdps.optimal_values(mdp)[1].argmax(1).tolist() == [0] * 5


def test_the_river_carries_left_for_sure_and_right_seldom() -> None:
    mdp = mdps.river_swim(6)
    assert mdp.P[3, 0].tolist() == [0, 0, 1, 0, 0, 0]
    assert mdp.P[3, 1].tolist() == [0, 0, 0.05, 0.6, 0.35, 0]
    assert mdps.optimal_values(mdp)[1].argmax(1).tolist() == [1] * 6


def test_four_rooms_has_104_cells_four_doors_and_noise() -> None:
    mdp = mdps.four_rooms()
    assert mdp.num_states == 104
    # In the corner up and left run into walls: up stays with 2/3 + 1/9.
    np.testing.assert_allclose(mdp.P[0, 0, 0], 2 / 3 + 1 / 9)
    np.testing.assert_allclose(np.sort(mdp.P[0, 0])[-3:], [1 / 9, 1 / 9, 7 / 9])
    assert (mdp.P[103, :, 0] == 1).all()


@pytest.mark.parametrize("n", [2, 5, 10])
def test_only_the_diagonal_of_the_deep_sea_pays(n: int) -> None:
    mdp = mdps.deep_sea(n)
    q, pi = mdps.optimal_values(mdp)
    trip = sum(-0.01 / n * 0.99**t for t in range(n)) + 0.99 ** (n - 1)
    assert q[0].max() == pytest.approx(trip / (1 - 0.99**n), abs=1e-9)
    assert (mdp.R > 0.5).sum() == 1
    diagonal = [row * (row + 3) // 2 for row in range(n)]
    assert all(mdp.R[s, pi[s].argmax()] != 0 for s in diagonal)


def test_the_deep_sea_by_hand() -> None:
    mdp = mdps.deep_sea(3)  # cells by row: 0 | 1 2 | 3 4 5
    right = (mdp.R != 0).argmax(1)
    below = [(mdp.P[s, 1 - right[s]].argmax(), mdp.P[s, right[s]].argmax()) for s in range(6)]
    assert below == [(1, 2), (3, 4), (3, 5), (0, 0), (0, 0), (0, 0)]
    np.testing.assert_allclose(mdp.R[np.arange(6), right], [-0.01 / 3] * 5 + [1 - 0.01 / 3])


def test_no_constant_action_dives_the_deep_sea() -> None:
    mdp = mdps.deep_sea(10)
    for a in range(2):
        assert mdps.performance(mdp, np.tile(np.eye(2)[a], (mdp.num_states, 1))) <= 0


# ---- validation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"P": np.ones((2, 2, 2))}, r"row P\[s, a, :\]"),
        ({"P": np.array([[[2.0, -1.0]] * 2] * 2)}, r"row P\[s, a, :\]"),
        ({"P": np.ones((2, 2))}, r"P has shape \[2, 2\], expected \[S, A, S\]"),
        ({"P": np.ones((2, 2, 3))}, r"P has shape \[2, 2, 3\]"),
        ({"R": np.zeros((2, 3))}, r"R has shape \[2, 3\], expected \[2, 2\]"),
        ({"R": np.full((2, 2), np.nan)}, "R holds a number that is not finite"),
        ({"d0": np.array([0.5, 0.6])}, "d0 is not a probability distribution"),
        ({"d0": np.array([1.0])}, r"d0 has shape \[1\], expected \[2\]"),
        ({"gamma": 1.0}, "gamma is 1.0"),
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"P": np.full((2, 2, 2), np.nan)}, r"row P\[s, a, :\]"),
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
    with pytest.raises(ValueError, match="pi has a row"):
        mdps.occupancy(two_states(), np.ones((2, 2)))
    with pytest.raises(ValueError, match="f has shape"):
        mdps.discounted_sum(two_states(), np.full((2, 2), 0.5), np.ones(2))


@pytest.mark.parametrize(
    ("build", "sizes"),
    [(mdps.chain, (1,)), (mdps.river_swim, (1,)), (mdps.deep_sea, (1,)), (mdps.garnet, (3, 2, 4, 0))],
)
def test_builders_refuse_sizes_that_mean_nothing(build, sizes: tuple) -> None:
    with pytest.raises(UserError, match=f"{build.__name__}: .*, expected"):
        build(*sizes)


# ---- the sampled environment


def play(env: TabularVecEnv, seeds: np.ndarray, steps: int) -> list:
    """A fixed sequence of actions per copy, drawn apart from the environment."""
    actions = np.random.default_rng(0).integers(env.num_actions, size=(steps, 1)).repeat(env.num_envs, 1)
    return [env.reset(seeds), *(env.step(a) for a in actions)]


def observations(trace: list) -> np.ndarray:
    return np.stack([trace[0], *(step.obs for step in trace[1:])])


def test_the_fields_have_the_types_and_shapes_of_the_contract() -> None:
    env = TabularVecEnv(mdps.chain(5), 4, max_steps=7)
    obs = env.reset(SEEDS)
    step = env.step(np.zeros(4, dtype=np.int64))
    assert (obs.shape, obs.dtype) == ((4, *env.obs_shape), env.obs_dtype)
    assert (step.obs.shape, step.obs.dtype) == ((4, 5), np.float32)
    assert (step.final_obs.shape, step.final_obs.dtype) == ((4, 5), np.float32)
    assert (step.reward.dtype, step.raw_reward.dtype) == (np.float32, np.float64)
    assert all(flag.dtype == bool and flag.shape == (4,) for flag in step[2:4] + step[5:6] + step[7:9])
    assert (obs.sum(1) == 1).all()


def test_equal_seeds_give_equal_runs_and_others_give_others() -> None:
    env = TabularVecEnv(TASKS["garnet"](), 4, max_steps=50)
    first, again = observations(play(env, SEEDS, 600)), observations(play(env, SEEDS, 600))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, observations(play(env, SEEDS + 1, 600)))


def test_a_copy_depends_on_its_own_seed_alone() -> None:
    mdp = TASKS["garnet"]()
    together = observations(play(TabularVecEnv(mdp, 4, 50), SEEDS, 600))
    for i, seed in enumerate(SEEDS):
        alone = observations(play(TabularVecEnv(mdp, 1, 50), np.array([seed]), 600))
        assert np.array_equal(alone[:, 0], together[:, i])


def test_copies_with_different_seeds_are_independent() -> None:
    trace = observations(play(TabularVecEnv(TASKS["garnet"](), 2, 1000), np.array([0, 1]), 4000)).argmax(-1)
    agree = (trace[:, 0] == trace[:, 1]).mean()
    counts = [np.bincount(trace[:, i], minlength=20) / len(trace) for i in range(2)]
    # With the same actions in both, states agree about as often as two draws from the visits do.
    assert agree == pytest.approx(counts[0] @ counts[1], abs=0.05)
    assert agree < 0.3


def test_a_time_limit_truncates_bootstraps_from_the_true_state_and_restarts() -> None:
    mdp = mdps.river_swim(6)
    env = TabularVecEnv(mdp, 4, max_steps=5)
    trace = play(env, SEEDS, 15)
    for t, step in enumerate(trace[1:], start=1):
        cut = t % 5 == 0
        assert (step.truncated == cut).all()
        assert (step.game_over == cut).all()
        assert (step.game_cut == cut).all()
        assert not step.terminated.any()
        assert step.acted.all()
        if cut:
            assert (step.obs.argmax(1) == 0).all()
        else:
            assert np.array_equal(step.obs, step.final_obs)
    right = [env.reset(SEEDS), *(env.step(np.ones(4, dtype=np.int64)) for _ in range(5))]
    assert (right[-1].final_obs.argmax(1) > 0).any()


def test_a_restart_is_a_draw_from_the_start_distribution_whatever_came_before() -> None:
    mdp = MDP(P=np.full((2, 1, 2), 0.5), R=np.zeros((2, 1)), d0=[0.25, 0.75], gamma=0.9)
    env = TabularVecEnv(mdp, 4000, max_steps=1)
    env.reset(np.arange(4000))
    step = env.step(np.zeros(4000, dtype=np.int64))
    for before in range(2):
        restarted = step.obs[step.final_obs[:, before] == 1, 1]
        assert restarted.mean() == pytest.approx(0.75, abs=0.04)  # 4 standard errors


def test_transitions_and_rewards_are_those_of_the_mdp() -> None:
    mdp = mdps.garnet(4, 2, 3, seed=1)
    env = TabularVecEnv(mdp, 200, max_steps=25)
    rng = np.random.default_rng(0)
    state = env.reset(rng.integers(2**31, size=200)).argmax(1)
    counts = np.zeros_like(mdp.P)
    for _ in range(500):
        action = rng.integers(2, size=200)
        step = env.step(action)
        np.testing.assert_array_equal(step.raw_reward, mdp.R[state, action])
        np.testing.assert_array_equal(step.reward, mdp.R[state, action].astype(np.float32))
        np.add.at(counts, (state, action, step.final_obs.argmax(1)), 1)
        state = step.obs.argmax(1)
    visits = counts.sum(-1, keepdims=True)
    deviation = np.abs(counts / visits - mdp.P)
    assert (deviation <= 5 * np.sqrt(mdp.P * (1 - mdp.P) / visits)).all()  # an impossible step has width 0


def test_the_return_of_rollouts_is_the_exact_value() -> None:
    mdp, copies = replace(mdps.chain(5), gamma=0.9), 4000
    pi, rng = random_policy(mdp, 2), np.random.default_rng(3)
    env = TabularVecEnv(mdp, copies, max_steps=1000)
    state = env.reset(np.arange(copies)).argmax(1)
    returns, visits = np.zeros(copies), np.zeros(mdp.num_states)
    for t in range(120):
        visits += (1 - mdp.gamma) * mdp.gamma**t * np.bincount(state, minlength=5) / copies
        step = env.step((rng.random(copies) > pi[state, 0]).astype(np.int64))
        returns += mdp.gamma**t * step.raw_reward
        state = step.obs.argmax(1)
    error = returns.std() / math.sqrt(copies)
    assert returns.mean() == pytest.approx(mdps.state_values(mdp, pi)[0], abs=4 * error)
    np.testing.assert_allclose(visits, mdps.occupancy(mdp, pi), atol=0.02)


def test_a_row_that_sums_to_a_little_less_than_one_never_leads_nowhere() -> None:
    """The largest uniform number must reach the last possible state, not the impossible one behind it."""
    thirds = np.array([0.1] * 10 + [0.0])
    assert thirds.cumsum()[-1] < 1
    env = TabularVecEnv(MDP(P=np.tile(thirds, (11, 1, 1)), R=np.zeros((11, 1)), d0=thirds, gamma=0.9), 1, 10)
    env.reset(np.array([0]))
    env._uniforms[:] = np.nextafter(1.0, 0.0)
    assert env.step(np.array([0])).final_obs.argmax() == 9


@pytest.mark.parametrize(
    "actions",
    [[0, 1, 0, 2], [0, 0, 0, -1], [0, 0, 0], [0.0, 0.0, 0.0, 0.0], [[0], [0], [0], [0]]],
)
def test_bad_actions_are_refused(actions: list) -> None:
    env = TabularVecEnv(mdps.chain(5), 4, 10)
    env.reset(SEEDS)
    with pytest.raises(ValueError, match="actions must"):
        env.step(np.array(actions))


def test_a_step_before_reset_and_bad_seeds_are_refused() -> None:
    env = TabularVecEnv(mdps.chain(5), 4, 10)
    with pytest.raises(ValueError, match="before reset"):
        env.step(np.zeros(4, dtype=np.int64))
    for seeds in (SEEDS[:3], SEEDS - 5, SEEDS + 2**31, SEEDS.astype(float)):
        with pytest.raises(ValueError, match="seeds must"):
            env.reset(seeds)


def test_every_task_builds_and_others_are_refused() -> None:
    for name in task_names():
        env = make(SimpleNamespace(task=name, num_envs=2, max_steps=3), threads=1)
        assert env.reset(np.array([0, 1])).shape == (2, *env.obs_shape)
    with pytest.raises(UserError, match=r"env\.task is 'Nowhere'"):
        make(SimpleNamespace(task="Nowhere", num_envs=2, max_steps=3), threads=1)
    with pytest.raises(UserError, match=r"env\.max_steps is 0"):
        make(SimpleNamespace(task="chain", num_envs=2, max_steps=0), threads=1)
