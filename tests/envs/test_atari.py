"""Atari on the real emulator: how it is built, parity with Gymnasium's wrappers, seeds, refusals, all games."""

import csv
import inspect
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from atari_cases import PLAIN, build, plant, play, same
from gymnasium.vector import AutoresetMode

from bench import seeding
from bench.envs import atari
from bench.envs.atari import AtariEnv
from bench.envs.base import Step

# ---- construction


def not_given(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[str]:
    """Parameters of the function that a call would leave to their defaults."""
    signature = inspect.signature(function)
    return set(signature.parameters) - set(signature.bind(*args, **kwargs).arguments)


def given(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments that the emulator is built with."""
    calls = []

    def recording(*args: Any, **kwargs: Any) -> AtariVectorEnv:
        calls.append((args, kwargs))
        return AtariVectorEnv(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(atari, "AtariVectorEnv", recording)
        build(**changes).close()
    (call,) = calls
    return call


def test_no_default_of_the_emulator_is_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not_given(AtariVectorEnv, *given(monkeypatch)) == set()


def test_a_new_or_forgotten_argument_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted twins: an emulator with one more argument, and a call with one less."""
    args, kwargs = given(monkeypatch)
    kwargs.pop("noop_max")
    assert not_given(AtariVectorEnv, args, kwargs) == {"noop_max"}


@pytest.mark.parametrize(
    ("key", "value", "argument", "expected"),
    [
        ("repeat_action_probability", 0.5, "repeat_action_probability", 0.5),
        ("frame_skip", 3, "frameskip", 3),
        ("noop_max", 7, "noop_max", 7),
        ("full_action_space", True, "full_action_space", True),
        ("life_loss_terminates", False, "life_loss_info", False),
        ("max_frames", 80, "max_num_frames_per_episode", 80),
        ("frame_stack", 2, "stack_num", 2),
        ("sign_rewards", False, "reward_clipping", False),
        ("fire_sequence", False, "use_fire_reset", False),
    ],
)
def test_each_key_of_the_protocol_reaches_its_argument_and_no_other(
    key: str,
    value: object,
    argument: str,
    expected: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, after = given(monkeypatch)[1], given(monkeypatch, **{key: value})[1]
    assert after[argument] == expected
    assert {name for name in after if after[name] != before[name]} <= {argument}


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (
            "dapo2019",
            {
                "repeat_action_probability": 0.0,
                "frameskip": 4,
                "noop_max": 30,
                "full_action_space": False,
                "life_loss_info": True,
                "max_num_frames_per_episode": 400_000,
                "maxpool": True,
            },
        ),
        (
            "machado2018",
            {
                "repeat_action_probability": 0.25,
                "frameskip": 5,
                "noop_max": 0,
                "full_action_space": True,
                "life_loss_info": False,
                "max_num_frames_per_episode": 18_000,
                "maxpool": True,
            },
        ),
    ],
)
def test_the_presets_reach_the_emulator_as_published(
    protocol: str,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = {
        "img_height": 84,
        "img_width": 84,
        "grayscale": True,
        "stack_num": 1,
        "episodic_life": False,
        "reward_clipping": False,
        "use_fire_reset": False,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    kwargs = given(monkeypatch, protocol=protocol)[1]
    assert {name: kwargs[name] for name in (*expected, *ours)} == {**expected, **ours}


@pytest.mark.parametrize(
    ("task", "minimal"), [("Breakout", 4), ("Pong", 6), ("Qbert", 6), ("Enduro", 9), ("Seaquest", 18)]
)
def test_the_action_set_is_the_games_own_or_all_18(task: str, minimal: int) -> None:
    """Sizes of the minimal sets as the authors' tools/atari.list has them."""
    assert build(task=task).num_actions == minimal
    assert build(task=task, full_action_space=True).num_actions == 18


def test_another_environments_restart_mode_does_not_reach_ours() -> None:
    env = build()
    other = AtariVectorEnv("pong", 1, autoreset_mode=AutoresetMode.NEXT_STEP)
    assert env._ale.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    # The planted twin: two emulators as they come share one dictionary, and the last one wins.
    AtariVectorEnv("pong", 1, autoreset_mode=AutoresetMode.SAME_STEP)
    assert other.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP


# ---- frames: Gymnasium's wrappers around the single emulator


def differences(task: str, steps: int, *, games: int = 0, **wrapper: Any) -> list[int]:
    """Steps at which ours differs from AtariPreprocessing + FrameStackObservation, step 0 being the reset.

    Args: games: at least so many must end on the way.
    """
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    gymnasium.register_envs(ale_py)
    ours = build(task=task, frame_stack=4, **PLAIN)
    raw = gymnasium.make(f"ALE/{task}-v5", frameskip=1, repeat_action_probability=0.0, full_action_space=False)
    theirs = FrameStackObservation(
        AtariPreprocessing(raw, noop_max=0, frame_skip=4), 4, **{"padding_type": "zero", **wrapper}
    )
    rng, found, reset = np.random.default_rng(0), [], theirs.reset(seed=1)[0]
    if not np.array_equal(ours.reset(np.array([1]))[0], reset):
        found.append(0)
    for t in range(1, steps + 1):
        action = rng.integers(ours.num_actions, size=1)
        step = ours.step(action)
        final, reward, terminated, truncated, _ = theirs.step(int(action[0]))
        obs = theirs.reset()[0] if terminated or truncated else final
        games -= terminated
        equal = (
            np.array_equal(step.final_obs[0], final)
            and np.array_equal(step.obs[0], obs)
            and (step.raw_reward[0], step.terminated[0], step.game_over[0]) == (reward, terminated, terminated)
        )
        found += [] if equal else [t]
    assert games <= 0
    return found


@pytest.mark.parametrize("task", ["Breakout", "Seaquest"])
def test_frames_rewards_and_ends_equal_gymnasiums_wrappers_bit_for_bit(task: str) -> None:
    assert differences(task, 400, games=1) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"maxpool": False},
        {"frameskip": 3},
        {"grayscale": True, "noop_max": 30},
        {"episodic_life": True, "life_loss_info": False},
    ],
)
def test_a_wrong_emulator_would_not_equal_them(fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, **fault)
    assert differences("Seaquest", 200)


def test_their_default_padding_is_not_ours() -> None:
    assert differences("Breakout", 5, padding_type="reset") == [0, 1, 2]


# ---- seeds


def trail(threads: int = 1, seed: int = 0, steps: int = 250, **changes: Any) -> list[Step]:
    return play(build(threads, **{"num_envs": 3, "no_reward_limit": 25, **changes}), steps, seed)[1]


@pytest.fixture(scope="module")
def reference() -> list[Step]:
    trace = trail()
    assert sum(s.game_cut.sum() for s in trace) >= 3  # partial resets happened
    assert any(s.game_cut.any() and not s.game_cut.all() for s in trace)
    return trace


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_equal_seeds_and_actions_repeat_on_any_number_of_threads(threads: int, reference: list[Step]) -> None:
    assert same(trail(threads), reference)


def test_a_second_reset_repeats_the_first() -> None:
    env = build(num_envs=2, no_reward_limit=25)
    assert same(play(env, 60)[1], play(env, 60)[1])


def test_every_copy_starts_by_its_own_seed() -> None:
    env = build(num_envs=3, task="Seaquest")
    seeds = seeding.env_seeds(0, 3)
    first = env.reset(seeds)
    assert len(np.unique(first, axis=0)) == 3
    assert np.array_equal(env.reset(seeds[::-1].copy()), first[::-1])


def test_other_seeds_give_other_starts(reference: list[Step]) -> None:
    rng = np.random.default_rng(0)
    env = build(num_envs=3, no_reward_limit=25)
    env.reset(seeding.env_seeds(1, 3))
    other = [env.step(rng.integers(env.num_actions, size=3)) for _ in range(20)]
    assert not same(other, reference[:20])


def test_sticky_actions_repeat_by_seed_and_differ_between_seeds() -> None:
    """Equal actions, no random starts: only stickiness tells the copies apart."""

    def copies(**changes: Any) -> np.ndarray:
        env = build(num_envs=2, protocol="machado2018", task="Pong", **changes)
        env.reset(np.array([1, 2]))
        return np.stack([env.step(np.full(2, 3 + t // 3 % 2)).obs for t in range(60)])

    sticky = copies()
    assert np.array_equal(sticky, copies())
    assert not np.array_equal(sticky[:, 0], sticky[:, 1])
    plain = copies(repeat_action_probability=0.0)
    assert np.array_equal(plain[:, 0], plain[:, 1])


# ---- refusals


@pytest.mark.parametrize(
    "actions", [[0, 4], [-1, 0], [2**31, 0], [0], [0, 0, 0], [[0, 0]], [0.0, 1.0], [np.nan, np.nan]]
)
def test_bad_actions_are_refused_at_once(actions: list[Any]) -> None:
    env = refusing()
    began = time.monotonic()
    with pytest.raises(ValueError, match="actions must be 2 integers"):
        env.step(np.array(actions))
    assert time.monotonic() - began < 1


@cache
def refusing() -> AtariEnv:
    env = build(num_envs=2)
    env.reset(np.array([1, 2]))
    return env


@pytest.mark.parametrize("seeds", [[-1, 0], [0, 2**31], [1], [1, 2, 3], [0.5, 1.0], [np.nan, 1.0]])
def test_bad_seeds_are_refused(seeds: list[Any]) -> None:
    with pytest.raises(ValueError, match="seeds must be 2 integers"):
        refusing().reset(np.array(seeds))


@pytest.mark.integration
def test_the_emulator_itself_hangs_on_such_an_action() -> None:
    """The planted twin of the refusal, in a process that can be stopped."""
    program = (
        "import numpy as np; from ale_py.vector_env import AtariVectorEnv; e = AtariVectorEnv('breakout', 1);"
        "e.reset(seed=1); print('ready', flush=True); e.step(np.array([4]))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=2)
        finally:
            process.kill()


# ---- all games


def listed() -> dict[str, str]:
    """Game -> whether it is one of the paper's 58."""
    path = Path(__file__).parents[2] / "analysis" / "reported" / "atari_human_random.csv"
    with path.open(newline="") as file:
        return {row["game"]: row["in_dapo_game_list"] for row in csv.DictReader(file)}


def test_the_papers_58_games_are_offered() -> None:
    games = [game for game, paper in listed().items() if paper == "yes"]
    assert len(games) == 58
    assert {"AirRaid", "Carnival", "JourneyEscape", "Pooyan"} <= set(games)
    assert set(listed()) <= set(atari.task_names())


@pytest.mark.integration
@pytest.mark.parametrize("task", listed())
def test_every_game_starts_and_steps(task: str) -> None:
    env = build(threads=2, task=task, num_envs=2)
    assert env.meanings[0] == "NOOP"
    assert ("FIRE" in env.meanings) == (list(env._script) == [0, 1, 2])
    obs, steps = play(env, 6)
    assert Path(atari.rom_path(task)).is_file()
    assert obs.shape == (2, *env.obs_shape)
    assert obs.any()
    assert not any(step.game_over.any() for step in steps)
    assert all(step.obs.shape == obs.shape and step.obs.dtype == np.uint8 for step in steps)
    env.close()
