"""MuJoCo tasks: the plain Gymnasium environment's numbers, the contract of steps, and what a fault does."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from bench import envs
from bench.compose import compose, to_container, to_run_config
from bench.envs import mujoco
from bench.envs.continuous import SimulatorError, no_rendering
from bench.errors import UserError
from bench.run import run
from tests.envs.continuous_cases import SEEDS, actions_for, build, play, require_contract, zeros


def single(task: str, seed: int, actions: np.ndarray) -> list[tuple[np.ndarray, float, bool, bool, np.ndarray]]:
    """Those actions in one plain Gymnasium environment: (next obs, reward, ends, cut, obs to act on)."""
    env = gymnasium.make(task)
    env.reset(seed=seed)
    trace = []
    for action in actions:
        reached, reward, ends, cut, _ = env.step(action)
        trace.append((reached, float(reward), ends, cut, env.reset()[0] if ends or cut else reached))
    return trace


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("task", mujoco.task_names())
def test_every_task_gives_the_types_and_shapes_of_the_contract(task):
    env = build("mujoco", task, 2)
    require_contract(env)
    env.close()


def test_the_tasks_are_gymnasiums_of_versions_4_and_5():
    registered = {
        name
        for name, spec in gymnasium.registry.items()
        if str(spec.entry_point).startswith("gymnasium.envs.mujoco") and name.endswith(("-v4", "-v5"))
    }
    assert set(mujoco.task_names()) == registered - {"Pusher-v4"}
    assert mujoco.task_names() == sorted(mujoco.task_names())


@pytest.mark.parametrize(("task", "steps"), [("Hopper-v5", 300), ("HalfCheetah-v5", 1003), ("Reacher-v5", 120)])
def test_every_copy_is_the_plain_environment_with_its_seed(task, steps):
    env = build("mujoco", task)
    _, trace = play(env, SEEDS, steps)
    ends = 0
    for i, seed in enumerate(SEEDS):
        plain = single(task, int(seed), actions_for(env, steps))
        for step, (reached, reward, terminated, cut, obs) in zip(trace, plain, strict=True):
            np.testing.assert_array_equal(step.final_obs[i], reached.astype(np.float32))
            np.testing.assert_array_equal(step.obs[i], obs.astype(np.float32))
            assert step.raw_reward[i] == reward
            assert step.reward[i] == np.float32(reward)
            assert (step.terminated[i], step.truncated[i]) == (terminated, cut and not terminated)
            assert step.game_over[i] == (terminated or cut)
            assert step.game_cut[i] == step.truncated[i]
            ends += step.game_over[i]
    assert ends >= 3
    env.close()


def test_the_time_limit_truncates_with_the_true_last_observation():
    env = build("mujoco", "HalfCheetah-v5", 2)
    _, trace = play(env, SEEDS[:2], 1001)
    cut = [t for t, step in enumerate(trace, start=1) if step.truncated.any()]
    assert cut == [1000]
    last = trace[999]
    assert last.truncated.all()
    assert not last.terminated.any()
    assert np.abs(last.final_obs[:, 8]).min() > 0.01  # moving
    assert np.abs(last.obs[:, :8]).max() <= 0.1  # HalfCheetah's start distribution
    env.close()


def test_an_end_on_the_very_last_step_is_no_time_limit():
    env = build("mujoco", "Hopper-v5", 1)
    env.reset(SEEDS[:1])
    limit = env.simulators[0].env
    limit._elapsed_steps = 999
    unwrapped = limit.unwrapped
    unwrapped.data.qpos[1] = 0.1  # on the floor: not healthy
    step = env.step(zeros(env))
    assert (step.terminated[0], step.truncated[0], step.game_over[0], step.game_cut[0]) == (True, False, True, False)
    env.close()


def test_seeds_and_actions_fix_everything_and_copies_differ():
    env = build("mujoco", "Hopper-v5")
    first, trace = play(env, SEEDS, 100)
    again, repeated = play(build("mujoco", "Hopper-v5"), SEEDS, 100)
    assert np.array_equal(first, again)
    for a, b in zip(trace, repeated, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a[:-1], b[:-1], strict=True))
    assert len(np.unique(trace[-1].obs, axis=0)) == 3
    back, _ = play(env, SEEDS[::-1], 1)  # the same object, seeded anew, other copies
    assert np.array_equal(back, first[::-1])
    assert not np.array_equal(build("mujoco", "Hopper-v5").reset(SEEDS[[1, 2, 0]]), first)


def test_restarts_of_a_copy_differ_from_each_other():
    _, trace = play(build("mujoco", "Hopper-v5", 1), SEEDS[:1], 400)
    starts = np.array([step.obs[0] for step in trace if step.game_over[0]])
    assert len(starts) > 3
    assert len(np.unique(starts, axis=0)) == len(starts)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a[:2], r"must be \[3, 3\] floats, got float32 \[2, 3\]"),
        (lambda a: a[:, :2], r"must be \[3, 3\] floats, got float32 \[3, 2\]"),
        (lambda a: a[:, 0], r"must be \[3, 3\] floats, got float32 \[3\]"),
        (lambda a: a.astype(int), r"must be \[3, 3\] floats, got int64 \[3, 3\]"),
        (lambda a: a + np.array([[0], [0], [np.nan]]), "got nan in copy 2, dimension 0"),
        (lambda a: a + np.array([0, np.inf, 0]), "got inf in copy 0, dimension 1"),
        (
            lambda a: a + np.array([[0], [1.0001], [0]]),
            r"got 1\.0001 in copy 1, dimension 0, whose range is -1\.0 to 1\.0",
        ),
        (lambda a: a - 1.00002, r"got -1\.00002\d* in copy 0"),
    ],
)
def test_an_action_of_another_shape_or_outside_the_range_is_refused(change, says):
    env = build("mujoco", "Hopper-v5")
    env.reset(SEEDS)
    with pytest.raises(ValueError, match=says):
        env.step(change(zeros(env)))
    env.step(zeros(env))


def test_an_action_that_rounding_moved_outside_is_moved_back():
    env, twin = (build("mujoco", "Hopper-v5", 1) for _ in range(2))
    for each in (env, twin):
        each.reset(SEEDS[:1])
    over = np.array([[1 + 9e-6, -1 - 9e-6, 0.5]], dtype=np.float32)
    kept = over.copy()
    assert np.array_equal(env.step(over).obs, twin.step(np.array([[1, -1, 0.5]], dtype=np.float32)).obs)
    assert np.array_equal(over, kept)


@pytest.mark.parametrize("seeds", [SEEDS[:2], SEEDS - 8, SEEDS + 1, SEEDS.astype(float)])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match=r"seeds must be 3 integers in \[0, 2\*\*31\)"):
        build("mujoco", "Hopper-v5").reset(seeds)


def test_a_step_before_the_reset_is_refused():
    env = build("mujoco", "Hopper-v5")
    with pytest.raises(ValueError, match="step before reset"):
        env.step(zeros(env))


@pytest.mark.parametrize(
    ("poison", "says"), [("obs", "an observation"), ("reward", "a reward"), ("restart", "a first observation")]
)
def test_a_number_that_is_not_finite_is_an_error_that_names_task_copy_and_steps(poison, says, monkeypatch):
    env = build("mujoco", "Hopper-v5")
    env.reset(SEEDS)
    for _ in range(5):
        env.step(zeros(env))
    broken = env.simulators[1]
    obs = np.zeros(11)
    if poison == "restart":
        monkeypatch.setattr(broken, "reset", lambda seed: np.full(11, np.inf))
    spoilt = {"obs": (obs + np.nan, 1.0, True, False), "reward": (obs, -np.inf, False, False)}
    monkeypatch.setattr(broken, "step", lambda action: spoilt.get(poison, (obs, 1.0, True, False)))
    with pytest.raises(SimulatorError) as caught:
        env.step(zeros(env))
    assert str(caught.value) == (
        f"the simulator of Hopper-v5 failed in copy 1 after 6 steps of that copy: {says} is not finite"
    )
    assert isinstance(caught.value, UserError)


def test_a_simulation_that_mujoco_puts_back_to_its_start_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = build("mujoco", "Hopper-v5")
    env.reset(SEEDS)
    env.simulators[2].env.unwrapped.data.qvel[0] = 1e12
    with pytest.raises(SimulatorError, match="in copy 2 after 1 steps of that copy: the simulation is unstable"):
        env.step(zeros(env))
    # The planted twin: without the look at MuJoCo's warnings it would pass for an ordinary step.
    plain = gymnasium.make("Hopper-v5")
    plain.reset(seed=0)
    plain.unwrapped.data.qvel[0] = 1e12
    obs, reward, ends, cut, _ = plain.step(np.zeros(3))
    assert np.isfinite(obs).all()
    assert np.isfinite(reward)
    assert not ends
    assert not cut


@pytest.mark.integration
def test_a_fault_of_the_simulator_ends_a_run_with_its_files_whole(tmp_path, monkeypatch):
    healthy = mujoco._Simulator.step
    made = 0

    def step(self, action):
        nonlocal made
        made += 1
        obs, *rest = healthy(self, action)
        return (obs * np.nan if made == 2500 else obs), *rest

    names = ["algo=on_policy", "env=mujoco", "env.task=Hopper-v5", "steps=4096", "logger=none", f"store={tmp_path}"]
    composed = compose(names)
    config, container = to_run_config(composed), to_container(composed)
    monkeypatch.setattr(mujoco._Simulator, "step", step)
    with pytest.raises(SimulatorError) as caught:
        run(config, container)
    assert "Hopper-v5 failed in copy 0 after 2,500 steps of that copy" in str(caught.value)
    (path,) = (tmp_path / "runs").iterdir()
    status = json.loads((path / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", f"SimulatorError: {caught.value}")
    (row,) = csv.DictReader((path / "metrics.csv").open())
    assert row["step"] == "2048"
    games = list(csv.DictReader((path / "episodes.csv").open()))
    assert len(games) > 20
    assert all(np.isfinite(float(game["return"])) for game in games)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["simulators"].keys() == {"gymnasium", "mujoco"}


def test_a_warning_of_mujoco_is_shown_once_and_written_nowhere(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    mujoco._say.cache_clear()
    build("mujoco", "HalfCheetah-v5", 3)  # whose model has a deprecated attribute
    assert capfd.readouterr().err.count("MuJoCo: compiler attribute 'settotalmass' is deprecated") == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"env\.task is 'Hopper', which env=mujoco does not have; the nearest is 'Hopp"):
        envs.check_task("mujoco", "Hopper")
    for body in mujoco.BODIES:
        with pytest.raises(UserError, match=f"the nearest is '{body}-v5'"):
            envs.check_task("mujoco", body.lower())


def test_rendering_is_off_while_simulators_are_imported_and_afterwards_as_before(monkeypatch):
    for before in (None, "egl"):
        monkeypatch.delenv("MUJOCO_GL", raising=False)
        if before:
            monkeypatch.setenv("MUJOCO_GL", before)
        with no_rendering():
            assert os.environ["MUJOCO_GL"] == "disable"
        assert os.environ.get("MUJOCO_GL") == before


@pytest.mark.parametrize("suite", ["mujoco", "dmc"])
def test_tasks_are_named_without_importing_a_simulator(suite):
    code = f"import sys; from bench import envs; envs.check_task('{suite}', sys.argv[1]); print(sorted(sys.modules))"
    task = {"mujoco": "Hopper-v5", "dmc": "cheetah-run"}[suite]
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run([sys.executable, "-c", code, task], cwd=root, capture_output=True, text=True, check=True)
    assert f"'bench.envs.{suite}'" in found.stdout
    assert not {"mujoco", "gymnasium", "dm_control", "torch"} & set(eval(found.stdout))
