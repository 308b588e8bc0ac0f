"""Delayed and sparse payment, by hand; and that an episode owes the next one nothing."""

import numpy as np
import pytest

from bench.compose import compose, to_run_config
from bench.env_config import REWARDS
from bench.envs import rewards
from bench.errors import UserError
from tests.envs.continuous_cases import SEEDS, build, play


def paid(scheme: rewards.Scheme, steps: list, ends: tuple[int, ...] = ()) -> list:
    """What one copy is paid for these rewards; `ends`: the steps, from 0, that end an episode."""
    scheme.start()
    return [scheme.pay(np.array([r], dtype=float), np.array([t in ends]))[0] for t, r in enumerate(steps)]


def delayed(delay: int, num_envs: int = 1) -> rewards.Scheme:
    return rewards.make("delayed", num_envs, delay=delay, quantum=1.0)


def sparse(quantum: float, num_envs: int = 1) -> rewards.Scheme:
    return rewards.make("sparse", num_envs, delay=1, quantum=quantum)


def test_the_schemes_are_those_of_the_configuration():
    for name in REWARDS:
        rewards.make(name, 1, delay=1, quantum=1.0)
    with pytest.raises(KeyError):
        rewards.make("late", 1, delay=1, quantum=1.0)


def test_dense_pays_what_the_task_pays():
    assert paid(rewards.make("dense", 1, delay=2, quantum=1.0), [1, -2, 4], ends=(1,)) == [1, -2, 4]


def test_delayed_pays_the_sum_every_so_many_steps():
    assert paid(delayed(3), [1, 2, 4, 8, 16, 32, 64]) == [0, 0, 7, 0, 0, 56, 0]


def test_delayed_pays_the_rest_at_the_end_and_counts_anew():
    assert paid(delayed(3), [1, 2, 4, 8, 16, 32, 64, 128], ends=(3,)) == [0, 0, 7, 8, 0, 0, 112, 0]
    assert paid(delayed(3), [1, 2, 4, 8, 16, 32], ends=(1, 2)) == [0, 3, 4, 0, 0, 56]


def test_delayed_by_one_step_is_dense():
    assert paid(delayed(1), [1, -2, 4]) == [1, -2, 4]


def test_delayed_keeps_the_return_of_every_episode():
    rng = np.random.default_rng(0)
    raw = rng.integers(-8, 8, 100).astype(float)
    ends = (9, 10, 40, 99)
    given = paid(delayed(7), list(raw), ends)
    for begin, end in zip((-1, *ends), ends, strict=False):
        assert sum(given[begin + 1 : end + 1]) == raw[begin + 1 : end + 1].sum()


def test_sparse_pays_a_quantum_when_the_return_first_reaches_a_multiple():
    assert paid(sparse(4.0), [1, 2, 1, 3, 1]) == [0, 0, 4, 0, 4]


def test_sparse_pays_every_multiple_that_one_step_passes():
    assert paid(sparse(2.0), [1, 7, 0.5]) == [0, 8, 0]


def test_sparse_does_not_pay_a_multiple_twice_nor_takes_back():
    assert paid(sparse(1.0), [1, -1, 1, -3, 4, 1]) == [1, 0, 0, 0, 1, 1]  # returns 1 0 1 -2 2 3


def test_sparse_pays_nothing_for_a_return_below_zero():
    assert paid(sparse(1.0), [-1, -1, 1, 1, 0]) == [0, 0, 0, 0, 0]


def test_sparse_starts_every_episode_at_nothing():
    assert paid(sparse(2.0), [1, 1, 1, 1, 1, 1], ends=(2,)) == [0, 2, 0, 0, 2, 0]


def test_ten_times_a_tenth_reaches_one():
    assert sum([0.1] * 10) < 1
    assert paid(sparse(1.0), [0.1] * 10) == [0] * 9 + [1]


def test_copies_do_not_see_each_other():
    for scheme, alone in ((delayed(2, 3), delayed(2)), (sparse(2.0, 3), sparse(2.0))):
        raw = np.random.default_rng(1).integers(-2, 4, (50, 3)).astype(float)
        ended = np.random.default_rng(2).random((50, 3)) < 0.2
        given = np.array([scheme.pay(r, e) for r, e in zip(raw, ended, strict=True)])
        for i in range(3):
            assert given[:, i].tolist() == paid(alone, list(raw[:, i]), tuple(np.flatnonzero(ended[:, i])))


def test_a_start_forgets_what_was_owed():
    for scheme in (delayed(2), sparse(2.0)):
        scheme.pay(np.array([1.0]), np.array([False]))
        scheme.start()
        assert scheme.pay(np.array([1.0]), np.array([False])) == 0


@pytest.mark.parametrize("name", ["delayed", "sparse"])
def test_a_scheme_that_carries_over_an_end_would_be_seen(name):
    """The planted twin: told of no end, the same rewards are paid otherwise, so the tests above can fail."""
    scheme = delayed(3) if name == "delayed" else sparse(2.0)
    raw = [1, 1, 1, 1, 1, 1]
    assert paid(scheme, raw, ends=(0, 2)) != paid(scheme, raw)


@pytest.mark.parametrize("name", ["delayed", "sparse"])
def test_an_environment_pays_by_its_scheme_and_scores_stay_dense(name):
    changes = {"reward": name, "reward_delay": 5, "reward_quantum": 2.0}
    _, dense = play(build("mujoco", "Hopper-v5"), SEEDS, 120)
    env = build("mujoco", "Hopper-v5", **changes)
    _, trace = play(env, SEEDS, 120)
    scheme = rewards.make(name, 3, delay=5, quantum=2.0)
    ends = 0
    for a, b in zip(dense, trace, strict=True):
        assert np.array_equal(a.raw_reward, b.raw_reward)
        assert np.array_equal(a.obs, b.obs)
        assert np.array_equal(b.reward, scheme.pay(a.raw_reward, a.game_over).astype(np.float32))
        ends += b.game_over.sum()
    assert ends > 3
    assert any((step.reward != dense_step.reward).any() for step, dense_step in zip(trace, dense, strict=True))
    _, again = play(env, SEEDS, 120)  # a reset in the midst of an episode leaves nothing behind
    assert all(np.array_equal(a.reward, b.reward) for a, b in zip(trace, again, strict=True))


@pytest.mark.parametrize(
    ("override", "fine", "says"),
    [
        ("env.reward=late", "env.reward=sparse", "env.reward is 'late'; allowed: delayed, dense, sparse"),
        ("env.reward_delay=0", "env.reward_delay=1", "env.reward_delay is 0; allowed: a number above 0"),
        ("env.reward_quantum=0", "env.reward_quantum=0.5", "env.reward_quantum is 0.0; allowed: a number above 0"),
        ("env.reward_quantum=inf", "env.reward_quantum=1e3", "env.reward_quantum is inf; allowed: a number above 0"),
        ("env.reward_quantum=nan", "env.reward_quantum=2", "env.reward_quantum is nan; allowed: a number above 0"),
        ("env.evaluation.every=-1", "env.evaluation.every=0", "env.evaluation.every is -1; allowed: 0 (never) and"),
        ("env.evaluation.episodes=0", "env.evaluation.episodes=1", "env.evaluation.episodes is 0; allowed: 1 to 4096"),
    ],
)
def test_a_wrong_value_is_refused_by_name(override, fine, says):
    base = ["algo=on_policy", "env=mujoco"]
    with pytest.raises(UserError) as caught:
        to_run_config(compose([*base, override]))
    assert says in str(caught.value)
    to_run_config(compose([*base, fine]))
