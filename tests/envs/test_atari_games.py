"""Lives, games and forced actions on the real emulator, against a replay of the same actions in a bare one."""

from typing import Any

import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from atari_cases import PLAIN, build, plant, play, replay, spy
from gymnasium.vector import AutoresetMode

from bench.envs.base import Step
from bench.episodes import EpisodeCounter


def trace_of(task: str, steps: int = 700, **changes: Any) -> tuple[list[Step], list[int]]:
    """Steps of one copy under the DAPO protocol without random starts, and the actions the emulator got."""
    env = build(task=task, noop_max=0, **changes)
    sent = spy(env)
    _, trace = play(env, steps)
    return trace, [int(a[0]) for a in sent]


def agrees(trace: list[Step], actions: list[int], task: str) -> bool:
    """The trace tells of the same rewards, lives and games as the replay."""
    told = [(float(s.raw_reward[0]), bool(s.terminated[0]), bool(s.game_over[0])) for s in trace]
    return told == replay(task, actions)


@pytest.fixture(scope="module")
def breakout() -> tuple[list[Step], list[int]]:
    return trace_of("Breakout")


def test_a_bare_emulator_agrees_on_rewards_lives_and_games(breakout: tuple[list[Step], list[int]]) -> None:
    assert agrees(*breakout, "Breakout")
    assert sum(s.game_over[0] for s in breakout[0]) >= 3


@pytest.mark.integration
@pytest.mark.parametrize("task", ["Qbert", "MsPacman", "Seaquest", "Enduro", "Pong"])
def test_a_bare_emulator_agrees_in_other_games(task: str) -> None:
    assert agrees(*trace_of(task, 1500, no_reward_limit=0), task)


def test_a_game_reset_at_life_loss_would_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: the emulator's own `episodic_life`, which restarts the game."""
    plant(monkeypatch, episodic_life=True, life_loss_info=False)
    assert not agrees(*trace_of("Breakout", 100), "Breakout")


def test_five_lives_make_a_game_of_breakout(breakout: tuple[list[Step], list[int]]) -> None:
    lives = np.cumsum([s.terminated[0] for s in breakout[0]])
    assert lives[[s.game_over[0] for s in breakout[0]]].tolist()[:3] == [5, 10, 15]


def test_rewards_of_the_lives_add_up_to_the_score_of_the_game(breakout: tuple[list[Step], list[int]]) -> None:
    counter, lives, scores, sums = EpisodeCounter(1), [0.0], [], []
    for t, step in enumerate(breakout[0], start=1):
        scores += [game.score for game in counter.add(t, step)]
        lives[-1] += step.raw_reward[0]
        if step.game_over[0]:
            sums.append(lives)
        if step.terminated[0]:
            lives = [0.0] if step.game_over[0] else [*lives, 0.0]
    assert scores == [sum(game) for game in sums]
    assert max(scores) > 0
    assert all(len(game) == 5 for game in sums)


def test_the_actions_after_a_lost_life_and_a_reset_are_forced(breakout: tuple[list[Step], list[int]]) -> None:
    steps, sent = breakout
    assert sent[:2] == [1, 2]  # FIRE and action 2 after the first reset
    for t, step in enumerate(steps[:-3]):
        if step.terminated[0]:
            script = [1, 2] if step.game_over[0] else [0, 1, 2]
            assert sent[t + 1 : t + 1 + len(script)] == script
            assert not any(s.acted[0] for s in steps[t + 1 : t + 1 + len(script)])
            assert steps[t + 1 + len(script)].acted[0]


def test_nothing_else_is_forced(breakout: tuple[list[Step], list[int]]) -> None:
    steps, sent = breakout
    rng = np.random.default_rng(0)
    wanted = [int(rng.integers(4, size=1)[0]) for _ in steps]
    assert all(a == w for a, w, s in zip(sent, wanted, steps, strict=True) if s.acted[0])
    ends = sum(s.terminated[0] for s in steps[:-3])
    games = sum(s.game_over[0] for s in steps[:-3])
    assert abs(sum(not s.acted[0] for s in steps) - (2 + 3 * ends - games)) <= 3


@pytest.mark.parametrize(("task", "forced"), [("Freeway", []), ("MsPacman", []), ("Pong", [1, 2])])
def test_the_first_actions_are_forced_only_where_the_game_has_fire(task: str, forced: list[int]) -> None:
    env = build(task=task)
    sent = spy(env)
    env.reset(np.array([1]))
    acted = [env.step(np.array([env.num_actions - 1])).acted[0] for _ in range(3)]
    assert [int(a[0]) for a, own in zip(sent, acted, strict=True) if not own] == forced
    assert acted == [t >= len(forced) for t in range(3)]


# ---- limits and last frames


def test_the_frame_cap_cuts_the_game_and_shows_its_last_frame() -> None:
    """The last frame is that of a plain emulator which restarts one step later."""
    plain = AtariVectorEnv(
        "breakout",
        1,
        max_num_frames_per_episode=40,
        stack_num=1,
        noop_max=0,
        use_fire_reset=False,
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )
    plain.reset(seed=1)
    first, steps = play(build(max_frames=40, **PLAIN), 12)
    rng = np.random.default_rng(0)
    last = [plain.step(rng.integers(4, size=1))[0] for _ in range(10)][-1]
    assert [t for t, s in enumerate(steps, start=1) if s.game_over[0]] == [10]
    end = steps[9]
    assert (end.terminated[0], end.truncated[0], end.game_cut[0]) == (True, False, True)
    assert np.array_equal(end.final_obs, last)
    assert np.array_equal(end.obs, first)
    assert not np.array_equal(end.obs, end.final_obs)  # the planted twin: the frame after the reset


def test_the_no_reward_limit_restarts_the_emulator_and_no_other() -> None:
    def steps_of(limit: int) -> tuple[np.ndarray, list[Step]]:
        env = build(num_envs=2, no_reward_limit=limit, noop_max=0)
        first = env.reset(np.array([1, 2]))
        env._idle[:] = [0, 3]  # the second has been without reward for three steps already
        return first, [env.step(np.array([0, 0])) for _ in range(5)]

    (first, steps), (_, free) = steps_of(6), steps_of(0)
    assert [s.game_cut.tolist() for s in steps] == [[False, False]] * 3 + [[False, True], [False, False]]
    assert np.array_equal(steps[3].obs[1], first[1])
    assert not np.array_equal(free[3].obs[1], first[1])  # the planted twin: no restart
    assert np.array_equal(steps[3].final_obs, free[3].obs)
    assert np.array_equal(steps[3].obs[0], free[3].obs[0])
