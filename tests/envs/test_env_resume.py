"""Environments that are saved and restored: new ones go on with the same bits, whatever the moment."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import atari_cases
import numpy as np
import pytest
import torch
from continuous_cases import build as build_continuous

from bench import compose, envs, seeding
from bench.env_config import CONTINUOUS_SUITES
from bench.envs import atari, tape
from bench.envs.atari import AtariEnv
from bench.envs.base import Step, VecEnv
from bench.envs.classic import ClassicVecEnv
from bench.envs.continuous import ContinuousVecEnv

AFTER = 200  # steps that the restored go on for
Build = Callable[[], VecEnv]


class Run(NamedTuple):
    """Environments that nothing interrupts, with their state before every step."""

    build: Build
    env: VecEnv
    actions: np.ndarray
    obs: list[np.ndarray]  # one more than steps
    states: list[dict[str, Any]]
    steps: list[Step]


def actions_for(env: VecEnv, steps: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    if env.action_range is None:
        return rng.integers(env.num_actions, size=(steps, env.num_envs))
    return rng.uniform(*env.action_range, (steps, env.num_envs, env.num_actions)).astype(np.float32)


def record(build: Build, steps: int = 400, after: int = AFTER) -> Run:
    env = build()
    run = Run(build, env, actions_for(env, steps + after), [env.reset(seeding.env_seeds(3, env.num_envs))], [], [])
    for action in run.actions:
        run.states.append(env.state_dict())
        run.steps.append(env.step(action))
        run.obs.append(run.steps[-1].obs)
    return run


def moments(run: Run, after: int = AFTER) -> list[int]:
    """After how many steps to interrupt: after the reset, in an episode, just after ends of episodes, after many."""
    last = len(run.steps) - after
    ends = [t for t, step in enumerate(run.steps[:last], start=1) if step.game_over.any()]
    return sorted({0, 1, last, *ends[:1], *ends[len(ends) // 2 :][:1], *ends[-1:]})


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def equal(one: np.ndarray | None, two: np.ndarray | None) -> bool:
    if one is None or two is None:
        return one is two
    return (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


def goes_on(run: Run, t: int, state: dict[str, Any] | None = None, env: VecEnv | None = None) -> bool:
    """Restored as it was after t steps, it sees and does what the uninterrupted one did, in every field."""
    resumed = env or run.build()
    obs = [resumed.load_state_dict(through_a_file(state or run.states[t]))]
    steps = [resumed.step(action) for action in run.actions[t : t + AFTER]]
    if env is None:
        resumed.close()
    pairs = [pair for a, b in zip(steps, run.steps[t:], strict=False) for pair in zip(a, b, strict=True)]
    return all(equal(a, b) for a, b in [(obs[0], run.obs[t]), *pairs])


def ends_of(run: Run) -> int:
    return int(sum(step.game_over.sum() for step in run.steps))


# ---- every suite


def by_default(suite: str) -> Build:
    """The suite's own task, as a run would have it."""
    algo = "on_policy" if suite in CONTINUOUS_SUITES else "dapo"
    config = compose.to_run_config(compose.compose([f"algo={algo}", f"env={suite}", "env.num_envs=2"])).env
    return lambda: envs.make(config, threads=1)


def marked(suite: str) -> Any:
    return pytest.param(suite, marks=pytest.mark.integration if suite == "atari" else ())


@pytest.mark.parametrize("suite", [marked(suite) for suite in sorted(envs.SUITES)])
def test_every_suite_goes_on_with_the_same_bits(suite: str) -> None:
    run = record(by_default(suite))
    assert all(goes_on(run, t) for t in moments(run))
    assert goes_on(run, 100, env=run.env)  # one in use takes up a state as a new one does
    fresh = run.build()
    with pytest.raises(ValueError, match="state_dict before reset"):
        fresh.state_dict()
    fresh.reset(seeding.env_seeds(3, fresh.num_envs))
    steps = [fresh.step(action) for action in run.actions]  # never asked for its state
    assert all(equal(a, b) for one, two in zip(steps, run.steps, strict=True) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("suite", [marked(suite) for suite in sorted(envs.SUITES)])
def test_the_state_of_other_environments_is_refused(suite: str) -> None:
    algo = "on_policy" if suite in CONTINUOUS_SUITES else "dapo"
    state: dict[str, Any] | None = None
    for num_envs in (2, 3):
        config = compose.compose([f"algo={algo}", f"env={suite}", f"env.num_envs={num_envs}"])
        env = envs.make(compose.to_run_config(config).env, threads=1)
        if state:
            with pytest.raises(ValueError, match=r"is of environments with .*'num_envs': 2.*, these have .*3"):
                env.load_state_dict(state)
        env.reset(seeding.env_seeds(0, num_envs))
        state = env.state_dict()
        env.close()


# ---- tasks, reward schemes, limits


def classic(task: str) -> Build:
    return lambda: ClassicVecEnv(task, 3)


def tabular(task: str, max_steps: int) -> Build:
    return lambda: envs.make(SimpleNamespace(suite="tabular", task=task, num_envs=3, max_steps=max_steps), threads=1)


def continuous(suite: str, task: str, limit: int = 1000, **changes: Any) -> Build:
    """With another time limit."""

    def build() -> ContinuousVecEnv:
        env = build_continuous(suite, task, num_envs=2, **changes)
        for simulator in env.simulators:
            inner = simulator.env
            while suite == "mujoco" and not hasattr(inner, "_max_episode_steps"):
                inner = inner.env
            setattr(inner, "_max_episode_steps" if suite == "mujoco" else "_step_limit", limit)
        return env

    return build


TASKS = {
    "Acrobot": classic("Acrobot-v1"),
    "MountainCar": classic("MountainCar-v0"),
    "garnet": tabular("garnet", 7),
    "Hopper": continuous("mujoco", "Hopper-v5", reward="delayed", reward_delay=7),
    "Hopper sparse": continuous("mujoco", "Hopper-v5", reward="sparse", reward_quantum=2.0),
    "Ant": continuous("mujoco", "Ant-v5", 60),  # its observation holds forces that lag behind
    "Pusher": continuous("mujoco", "Pusher-v5", 30),  # its reset draws until the draw fits
    "point_mass": continuous("dmc", "point_mass-hard", 30),  # its reset changes the model
    "fish": continuous("dmc", "fish-swim", 50, reward="sparse", reward_quantum=0.1),  # draws normal numbers
}


@pytest.mark.parametrize("task", TASKS)
def test_other_tasks_rewards_and_limits_go_on_too(task: str) -> None:
    run = record(TASKS[task])
    assert ends_of(run) > 2
    assert all(goes_on(run, t) for t in moments(run))


def test_a_tape_forgets_what_came_before_all_present_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape, "KEPT", 20)
    run = record(classic("CartPole-v1"))
    assert isinstance(run.env, ClassicVecEnv)
    assert len(run.env._tape._rows) < 200  # of 600
    assert all(goes_on(run, t) for t in moments(run))


# ---- planted faults


def altered(state: dict[str, Any], *path: str, value: Any) -> dict[str, Any]:
    """A copy in which `value` of what lies at this path takes its place."""
    key, *rest = path
    return {**state, key: altered(state[key], *rest, value=value) if rest else value(state[key])}


def last_flipped(rows: torch.Tensor) -> torch.Tensor:
    """Another last action, within its range."""
    return torch.cat([rows[:-1], -rows[-1:] if rows.is_floating_point() else 1 - rows[-1:]])


def forgive(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look at the observations that a restored environment comes back to."""
    for suite in ("atari", "classic", "continuous", "tabular"):
        monkeypatch.setattr(f"bench.envs.{suite}.require_same", lambda obs, state: None)


@pytest.mark.parametrize("build", [classic("CartPole-v1"), TASKS["Hopper"], TASKS["point_mass"]])
@pytest.mark.parametrize(
    ("path", "fault"),
    [
        (("tape", "rows"), last_flipped),
        (("tape", "rows"), lambda rows: rows[:-1]),
        (("tape", "starts"), lambda starts: [0, *starts[1:]]),
    ],
)
def test_one_wrong_action_or_start_is_seen(monkeypatch, build: Build, path: tuple[str, ...], fault: Callable) -> None:
    run = record(build, steps=120)
    t = next(t for t in range(100, 120) if min(run.states[t]["tape"]["began"]) < len(run.states[t]["tape"]["rows"]))
    wrong = altered(run.states[t], *path, value=fault)
    assert goes_on(run, t)
    with pytest.raises(ValueError, match="did not come back to the observations"):
        goes_on(run, t, wrong)
    forgive(monkeypatch)
    assert not goes_on(run, t, wrong)


@pytest.mark.parametrize(
    ("build", "path", "fault"),
    [
        (TASKS["Hopper"], ("scheme", "_owed"), lambda owed: owed + 1),
        (TASKS["Hopper"], ("scheme", "_steps"), lambda steps: steps + 1),
        (TASKS["Hopper sparse"], ("scheme", "_earned"), lambda earned: earned + 1),
        (tabular("garnet", 7), ("cursor",), lambda cursor: cursor + 1),
        (tabular("garnet", 7), ("elapsed",), lambda elapsed: elapsed + 1),
        (tabular("garnet", 7), ("generators",), lambda generators: generators[::-1]),
    ],
)
def test_what_no_observation_shows_is_restored_too(build: Build, path: tuple[str, ...], fault: Callable) -> None:
    run = record(build, steps=103)
    assert goes_on(run, 101)
    assert not goes_on(run, 101, altered(run.states[101], *path, value=fault))


def test_an_episode_that_ends_before_its_actions_is_refused() -> None:
    run = record(classic("CartPole-v1"), steps=100)
    wrong = altered(run.states[50], "tape", "rows", value=lambda rows: torch.ones(300, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"copy 0 ended after \d+ of \d+ steps of its episode"):
        goes_on(run, 50, wrong)


# ---- Atari: the shortcut, and where it is none


def game(task: str, protocol: str = "dapo2019", num_envs: int = 2, **changes: Any) -> Build:
    return lambda: atari.make(atari_cases.config(protocol, task=task, num_envs=num_envs, **changes), 1)


GAMES = {
    "Breakout": game("Breakout", frame_stack=4),
    "Pong": game("Pong", max_frames=450),
    "Seaquest": game("Seaquest", max_frames=700),
    "Qbert": game("Qbert", "ppo2017", max_frames=1000),
    "MontezumaRevenge": game("MontezumaRevenge", no_reward_limit=90),
    "DoubleDunk": game("DoubleDunk", no_reward_limit=60),
    "machado2018": game("Breakout", "machado2018", max_frames=600),
    "TimePilot": game("TimePilot", max_frames=500),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", GAMES)
def test_games_go_on_with_the_same_bits(name: str) -> None:
    run = record(GAMES[name], steps=300)
    assert ends_of(run) > 2
    everything = name in ("machado2018", "TimePilot")
    assert (len(run.states[-1]["sent"]) == len(run.states) - 1) == everything
    assert all(goes_on(run, t) for t in moments(run)[2:])


@pytest.fixture(scope="module")
def breakout() -> Run:
    return record(game("Breakout", fire_sequence=False), steps=250)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("sent", lambda sent: torch.cat([sent[:-1], 5 - sent[-1:]])),  # right for left
        ("sent", lambda sent: sent[:-1]),
        ("games", lambda games: games + 1),
        ("began", lambda began: torch.clamp(began - 1, min=0)),
        ("seeds", lambda seeds: seeds + 1),
    ],
)
def test_one_wrong_action_or_game_is_seen(
    monkeypatch: pytest.MonkeyPatch, breakout: Run, path: str, fault: Callable
) -> None:
    t = next(t for t in range(200, 250) if (breakout.actions[t - 1] >= 2).all())
    wrong = altered(breakout.states[t], path, value=fault)
    with pytest.raises(ValueError, match="did not come back to the observations"):
        goes_on(breakout, t, wrong)
    forgive(monkeypatch)
    assert not goes_on(breakout, t, wrong)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["machado2018", "TimePilot"])
def test_the_shortcut_would_fail_where_something_is_remembered(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    forgive(monkeypatch)
    monkeypatch.setattr(AtariEnv, "_everything", lambda self: False)
    run = record(GAMES[name])
    assert not goes_on(run, moments(run)[-1])


@pytest.mark.integration
def test_some_games_remember() -> None:
    games = ["Breakout", "DoubleDunk", "KungFuMaster", "Pong", "Qbert", "Seaquest", "TimePilot", "YarsRevenge"]
    assert [task for task in games if atari.remembers(task)] == ["KungFuMaster", "TimePilot", "YarsRevenge"]
