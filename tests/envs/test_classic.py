"""Classic control: what Gymnasium's same-step restart gives us, and what we make of it."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from bench.envs.base import Step
from bench.envs.classic import ClassicVecEnv, make, task_names
from bench.errors import UserError

SEEDS = np.array([7, 123456789, 2**31 - 1], dtype=np.int64)


def build(task: str = "CartPole-v1", num_envs: int = 3) -> ClassicVecEnv:
    return make(SimpleNamespace(task=task, num_envs=num_envs), threads=1)


def play(env: ClassicVecEnv, seeds: np.ndarray, steps: int) -> tuple[np.ndarray, list[Step]]:
    """The first observation, and the steps of a fixed sequence of actions, equal in all copies."""
    actions = np.random.default_rng(0).integers(env.num_actions, size=steps)
    return env.reset(seeds), [env.step(np.full(env.num_envs, a)) for a in actions]


def single(task: str, seed: int, steps: int) -> list[tuple[np.ndarray, float, bool, bool, np.ndarray]]:
    """The same sequence in one plain Gymnasium environment: (next obs, reward, ends, cut, obs to act on)."""
    env = gymnasium.make(task)
    actions = np.random.default_rng(0).integers(env.action_space.n, size=steps)
    env.reset(seed=seed)
    trace = []
    for a in actions:
        reached, reward, terminated, truncated, _ = env.step(int(a))
        obs = env.reset()[0] if terminated or truncated else reached
        trace.append((reached, float(reward), terminated, truncated, obs))
    return trace


@pytest.mark.parametrize("task", task_names())
def test_the_fields_have_the_types_and_shapes_of_the_contract(task: str) -> None:
    env = build(task)
    obs = env.reset(SEEDS)
    step = env.step(np.zeros(3, dtype=np.int64))
    for x in (obs, step.obs, step.final_obs):
        assert (x.shape, x.dtype) == ((3, *env.obs_shape), np.float32)
    assert env.obs_dtype == np.float32
    assert (step.reward.dtype, step.raw_reward.dtype) == (np.float32, np.float64)
    assert all(flag.dtype == bool and flag.shape == (3,) for flag in step[2:4] + step[5:6] + step[7:9])
    assert step.acted.all()
    env.close()


@pytest.mark.parametrize("task", task_names())
def test_every_copy_is_the_plain_environment_with_its_seed(task: str) -> None:
    steps = 700  # past the time limits of MountainCar (200) and Acrobot (500)
    env = build(task)
    _, trace = play(env, SEEDS, steps)
    ends = 0
    for i, seed in enumerate(SEEDS):
        for step, (reached, reward, terminated, cut, obs) in zip(trace, single(task, int(seed), steps), strict=True):
            np.testing.assert_array_equal(step.final_obs[i], reached)
            np.testing.assert_array_equal(step.obs[i], obs)
            assert step.raw_reward[i] == step.reward[i] == reward
            assert step.terminated[i] == terminated
            assert step.truncated[i] == (cut and not terminated)
            assert step.game_over[i] == (terminated or cut)
            assert step.game_cut[i] == step.truncated[i]
            ends += step.game_over[i]
    assert ends >= 3
    env.close()


def test_the_final_observation_is_the_one_before_the_restart() -> None:
    env = build()
    _, trace = play(env, SEEDS, 200)
    ended = [(step, i) for step in trace for i in np.flatnonzero(step.terminated)]
    assert len(ended) > 5
    for step, i in ended:
        position, angle = step.final_obs[i, 0], step.final_obs[i, 2]
        assert abs(position) > 2.4 or abs(angle) > 12 * np.pi / 180  # outside: that is why it ended
        assert np.abs(step.obs[i]).max() <= 0.05  # CartPole's start distribution
    unended = [(step, i) for step in trace for i in np.flatnonzero(~step.game_over)]
    assert all(np.array_equal(step.obs[i], step.final_obs[i]) for step, i in unended)
    env.close()


def test_gymnasiums_default_restart_would_give_dummy_steps() -> None:
    """The planted twin: in NEXT_STEP mode the step after an end ignores its action and pays nothing."""
    env = gymnasium.make_vec("CartPole-v1", 1, vectorization_mode="sync")
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    env.reset(seed=[0])
    rewards = [env.step(np.array([1]))[1][0] for _ in range(30)]
    assert 0.0 in rewards
    ours = build(num_envs=1)
    ours.reset(np.array([0]))
    assert all(ours.step(np.array([1])).reward[0] == 1 for _ in range(30))


def test_mountain_cars_time_limit_truncates() -> None:
    env = build("MountainCar-v0", 2)
    env.reset(SEEDS[:2])
    trace = [env.step(np.array([1, 1])) for _ in range(401)]  # coasting never reaches the top
    cut = [t for t, step in enumerate(trace, start=1) if step.truncated.any()]
    assert cut == [200, 400]
    assert all(trace[t - 1].truncated.all() and trace[t - 1].game_cut.all() for t in cut)
    assert not any(step.terminated.any() for step in trace)
    env.close()


def test_an_end_on_the_very_last_step_is_no_time_limit() -> None:
    env = build(num_envs=1)
    env.reset(np.array([0]))
    limit = env._envs.envs[0]
    while not hasattr(limit, "_elapsed_steps"):
        limit = limit.env
    limit._elapsed_steps = 499
    limit.unwrapped.state = np.array([2.39, 5.0, 0.0, 0.0])  # leaves the track with this step
    step = env.step(np.array([1]))
    assert (step.terminated[0], step.truncated[0]) == (True, False)
    assert (step.game_over[0], step.game_cut[0]) == (True, False)
    env.close()


def test_the_time_limit_of_cartpole_truncates_with_the_true_observation() -> None:
    env = build(num_envs=1)
    env.reset(np.array([0]))
    limit = env._envs.envs[0]
    while not hasattr(limit, "_elapsed_steps"):
        limit = limit.env
    limit._elapsed_steps = 499
    limit.unwrapped.state = np.array([1.0, 0.0, 0.0, 0.0])
    step = env.step(np.array([1]))
    assert (step.terminated[0], step.truncated[0], step.game_cut[0]) == (False, True, True)
    assert step.final_obs[0, 0] == 1.0
    assert abs(step.obs[0, 0]) <= 0.05
    env.close()


def test_seeds_repeat_and_neighbours_do_not_overlap() -> None:
    env = build()
    first, _ = play(env, SEEDS, 50)
    again, _ = play(env, SEEDS, 50)
    assert np.array_equal(first, again)
    assert len(np.unique(first, axis=0)) == 3
    # The i-th seed is that of the i-th copy; Gymnasium's own spreading would make copy 1 of seed 7 be seed 8.
    swapped = env.reset(SEEDS[::-1])
    assert np.array_equal(swapped, first[::-1])
    env.close()


@pytest.mark.parametrize("poison", ["obs", "final obs", "reward"])
def test_a_number_that_is_not_finite_stops_the_run(poison: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = build()
    env.reset(SEEDS)
    broken = env._envs.envs[1].unwrapped
    healthy = type(broken).step

    def step(action: int):
        obs, reward, terminated, *rest = healthy(broken, action)
        if poison == "reward":
            return obs, np.inf, terminated, *rest
        return np.full_like(obs, np.nan), reward, poison == "final obs", *rest

    env.step(np.zeros(3, dtype=np.int64))
    monkeypatch.setattr(broken, "step", step)
    with pytest.raises(RuntimeError, match=r"CartPole-v1 returned .* not finite, in copies \[1\]"):
        env.step(np.zeros(3, dtype=np.int64))
    env.close()


@pytest.mark.parametrize("actions", [[0, 1, 2], [0, -1, 0], [0, 0], [0.0, 0.0, 0.0], [[0], [0], [0]]])
def test_bad_actions_are_refused(actions: list) -> None:
    env = build()
    env.reset(SEEDS)
    with pytest.raises(ValueError, match="actions must"):
        env.step(np.array(actions))
    env.close()


@pytest.mark.parametrize("task", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_continuous_actions_are_refused_in_a_sentence(task: str) -> None:
    with pytest.raises(UserError, match=f"'{task}', which has continuous actions"):
        build(task)


def test_the_continuous_tasks_are_so_and_the_offered_ones_are_not() -> None:
    for task in ("Pendulum-v1", "MountainCarContinuous-v0"):
        assert isinstance(gymnasium.make(task).action_space, gymnasium.spaces.Box)
    assert task_names() == ["Acrobot-v1", "CartPole-v1", "MountainCar-v0"]


def test_unknown_tasks_and_no_copies_are_refused() -> None:
    with pytest.raises(UserError, match=r"env\.task is 'CartPole-v9', expected one of Acrobot-v1"):
        build("CartPole-v9")
    with pytest.raises(UserError, match=r"env\.num_envs is 0"):
        build(num_envs=0)
