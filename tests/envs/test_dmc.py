"""DeepMind's control suite: its own numbers, its time limits and terminations, and what is missing or broken."""

import builtins
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bench.envs import dmc
from bench.envs.continuous import SimulatorError, no_rendering
from bench.errors import UserError
from tests.envs.continuous_cases import SEEDS, actions_for, build, play, require_contract, zeros

with no_rendering():
    suite = pytest.importorskip("dm_control.suite")


def test_the_tasks_are_the_suites_own_but_two_kinds():
    listed = {f"{domain}-{task}" for domain, task in suite.ALL_TASKS}
    assert set(dmc.task_names()) == listed - {"lqr-lqr_2_1", "lqr-lqr_6_2", "quadruped-escape"}
    assert {f"{domain}-{task}" for domain, task in suite.BENCHMARKING} <= set(dmc.task_names())
    assert dmc.task_names() == sorted(dmc.task_names())


@pytest.mark.parametrize("task", [name for name in dmc.task_names() if not name.startswith("dog")])
def test_every_task_gives_the_types_and_shapes_of_the_contract(task):
    env = build("dmc", task, 2)
    require_contract(env)
    env.close()


@pytest.mark.parametrize(("task", "size", "dimension"), [("cartpole-swingup", 5, 1), ("ball_in_cup-catch", 8, 2)])
def test_every_copy_is_the_suites_environment_with_its_seed(task, size, dimension):
    env = build("dmc", task)
    assert (env.obs_shape, env.num_actions) == ((size,), dimension)
    first, trace = play(env, SEEDS, 1002)
    for i, seed in enumerate(SEEDS):
        domain, _, name = task.partition("-")
        plain = suite.load(domain, name, task_kwargs={"random": int(seed)})

        def flat(observation, plain=plain):
            parts = [np.atleast_1d(observation[key]) for key in plain.observation_spec()]
            return np.concatenate(parts).astype(np.float32)

        np.testing.assert_array_equal(first[i], flat(plain.reset().observation))
        for step, action in zip(trace, actions_for(env, 1002), strict=True):
            found = plain.step(action)
            np.testing.assert_array_equal(step.final_obs[i], flat(found.observation))
            assert step.raw_reward[i] == found.reward
            assert step.game_over[i] == found.last()
            np.testing.assert_array_equal(step.obs[i], flat((plain.reset() if found.last() else found).observation))


def test_the_time_limit_truncates_and_does_not_terminate():
    _, trace = play(build("dmc", "pendulum-swingup", 2), SEEDS[:2], 2001)
    assert [t for t, step in enumerate(trace, start=1) if step.truncated.any()] == [1000, 2000]
    assert all(trace[t - 1].truncated.all() and trace[t - 1].game_cut.all() for t in (1000, 2000))
    assert not any(step.terminated.any() for step in trace)


@pytest.mark.parametrize(("discount", "flags"), [(0.0, (True, False)), (1.0, (False, True))])
def test_the_discount_of_a_last_step_tells_an_end_from_a_cut(discount, flags, monkeypatch):
    env = build("dmc", "cartpole-swingup", 2)
    env.reset(SEEDS[:2])
    monkeypatch.setattr(env.simulators[1].env.task, "get_termination", lambda physics: discount)
    step = env.step(zeros(env))
    assert (step.terminated[1], step.truncated[1]) == flags
    assert (step.game_over[1], step.game_cut[1]) == (True, flags[1])
    assert not step.game_over[0]
    assert not np.array_equal(step.final_obs[1], step.obs[1])


def test_observations_lie_in_the_order_of_the_specification():
    env = build("dmc", "cheetah-run", 1)
    obs = env.reset(SEEDS[:1])
    own = env.simulators[0].env
    assert list(own.observation_spec()) == ["position", "velocity"]
    assert np.array_equal(obs[0, :8], own.physics.data.qpos[1:].astype(np.float32))
    assert np.array_equal(obs[0, 8:], own.physics.data.qvel.astype(np.float32))
    walker = build("dmc", "walker-walk", 1)  # its height is one number without an axis
    obs = walker.reset(SEEDS[:1])
    assert obs[0, 14] == np.float32(walker.simulators[0].env.physics.torso_height())


def test_seeds_and_actions_fix_everything_and_copies_differ():
    env = build("dmc", "walker-walk")
    first, trace = play(env, SEEDS, 50)
    again, repeated = play(env, SEEDS, 50)
    assert np.array_equal(first, again)
    assert all(np.array_equal(a.obs, b.obs) for a, b in zip(trace, repeated, strict=True))
    assert len(np.unique(trace[-1].obs, axis=0)) == 3
    assert np.array_equal(env.reset(SEEDS[::-1]), first[::-1])


def test_the_range_of_actions_is_the_specifications():
    low, high = build("dmc", "quadruped-walk", 1).action_range
    spec = suite.load("quadruped", "walk").action_spec()
    assert np.array_equal(low, spec.minimum.astype(np.float32))
    assert np.array_equal(high, spec.maximum.astype(np.float32))
    assert len(set(high)) > 1  # not the same in all dimensions


def test_an_unstable_simulation_is_an_error_that_names_task_copy_and_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = build("dmc", "cheetah-run")
    env.reset(SEEDS)
    env.step(zeros(env))
    env.simulators[1].env.physics.data.qvel[0] = 1e12
    with pytest.raises(SimulatorError) as caught:
        env.step(zeros(env))
    assert "cheetah-run failed in copy 1 after 2 steps of that copy: the simulation is unstable" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())  # MuJoCo's own log


def test_without_dm_control_one_sentence_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name.startswith("dm_control"):
            raise ModuleNotFoundError("No module named 'dm_control'", name="dm_control")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        UserError, match=r"^env=dmc needs dm_control, which is not installed: pip install -e '\.\[dmc\]'$"
    ):
        dmc.make(SimpleNamespace(task="cheetah-run", num_envs=1), threads=1)


@pytest.mark.parametrize("backend", [None, "egl", "glfw", "disable"])
def test_no_display_and_no_rendering_library_are_needed(backend):
    code = """
import sys, warnings
warnings.simplefilter("error")
for name in ("glfw", "OpenGL"): sys.modules[name] = None  # importing them fails
from types import SimpleNamespace
from bench.envs import dmc
import numpy as np
setting = dict(reward="dense", reward_delay=1, reward_quantum=1.0)
env = dmc.make(SimpleNamespace(task="cartpole-swingup", num_envs=1, **setting), 1)
env.reset(np.array([0]))
print(env.step(np.zeros((1, 1), np.float32)).raw_reward)
"""
    clean = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "MUJOCO_GL")}
    environment = {**clean, **({"MUJOCO_GL": backend} if backend else {})}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
