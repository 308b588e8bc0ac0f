"""The sampled environment of a finite MDP, against the MDP itself."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.envs import mdp as mdps
from bench.envs import mdp_builders as builders
from bench.envs.mdp import MDP, Array
from bench.envs.tabular import TASKS, TabularVecEnv, make, task_names
from bench.errors import UserError

SEEDS = np.array([3, 1, 4, 15], dtype=np.int64)


def random_policy(mdp: MDP, seed: int) -> Array:
    weights = np.exp(np.random.default_rng(seed).standard_normal(mdp.R.shape))
    return weights / weights.sum(1, keepdims=True)


def play(env: TabularVecEnv, seeds: np.ndarray, steps: int) -> list:
    """A fixed sequence of actions per copy, drawn apart from the environment."""
    actions = np.random.default_rng(0).integers(env.num_actions, size=(steps, 1)).repeat(env.num_envs, 1)
    return [env.reset(seeds), *(env.step(a) for a in actions)]


def observations(trace: list) -> np.ndarray:
    return np.stack([trace[0], *(step.obs for step in trace[1:])])


def test_the_fields_have_the_types_and_shapes_of_the_contract() -> None:
    env = TabularVecEnv(builders.chain(5), 4, max_steps=7)
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
    mdp = builders.river_swim(6)
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
    mdp = builders.garnet(4, 2, 3, seed=1)
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
    mdp, copies = replace(builders.chain(5), gamma=0.9), 4000
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
    env = TabularVecEnv(builders.chain(5), 4, 10)
    env.reset(SEEDS)
    with pytest.raises(ValueError, match="actions must"):
        env.step(np.array(actions))


def test_a_step_before_reset_and_bad_seeds_are_refused() -> None:
    env = TabularVecEnv(builders.chain(5), 4, 10)
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
