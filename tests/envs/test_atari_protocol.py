"""The Atari protocol on a scripted emulator: limits, forced actions, and ends that fall on one step."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ale_py import Action

from bench import compose
from bench.env_config import AtariConfig
from bench.envs import atari
from bench.envs.atari import AtariEnv
from bench.envs.base import Step

Events = dict[tuple[int, int], str]  # (step from 1, copy) -> what happens there
NOOPS = 7  # frames of a random start, which the emulator counts to the new game
FIRE_SET = ("NOOP", "FIRE", "RIGHT", "LEFT")


class ScriptedEmulator:
    """Stands in for `AtariVectorEnv` with same-step restarts: 4 frames per step, ends and rewards by script.

    Events: "life" (a life is lost), "over", "cap" (the frame limit), "over cap" on one step, or a
    reward. The observation is 100 * (games of the copy so far) + steps of the present game.
    """

    def __init__(self, events: Events, meanings: tuple[str, ...], num_envs: int):
        self.events, self.num_envs, self.time, self.metadata = events, num_envs, 0, {}
        self.ale = SimpleNamespace(get_action_set=lambda: [getattr(Action, name) for name in meanings])
        self.games, self.steps, self.frames = (np.zeros(num_envs, dtype=np.int64) for _ in range(3))
        self.origin = np.zeros(num_envs, dtype=np.int64)
        self.sent: list[list[int]] = []
        self.masks: list[list[bool]] = []

    def _restart(self, mask: np.ndarray) -> None:
        self.games[mask] += 1
        self.steps[mask] = 0
        self.origin[mask] = self.frames[mask]
        self.frames[mask] += NOOPS

    def _obs(self) -> np.ndarray:
        return (100 * self.games + self.steps).reshape(-1, 1, 1, 1)

    def _info(self) -> dict[str, np.ndarray]:
        return {
            "frame_number": self.frames.copy(),
            "episode_frame_number": self.frames - self.origin,
            "lives": np.full(self.num_envs, 3),
        }

    def reset(self, *, seed: np.ndarray | None = None, options: dict[str, np.ndarray] | None = None) -> Any:
        mask = np.ones(self.num_envs, dtype=bool) if options is None else options["reset_mask"]
        if seed is None:
            self.masks.append(mask.tolist())
        self._restart(mask)
        return self._obs(), self._info()

    def step(self, actions: np.ndarray) -> Any:
        self.time += 1
        self.sent.append(actions.tolist())
        self.steps += 1
        self.frames += 4
        what = [self.events.get((self.time, copy), "") for copy in range(self.num_envs)]
        terminated = np.array(["life" in w or "over" in w for w in what])
        truncated = np.array(["cap" in w for w in what])
        raw = np.array([int(w) if w.lstrip("-").isdigit() else 0 for w in what], dtype=np.int32)
        final, restarts = self._obs(), np.array(["over" in w or "cap" in w for w in what])
        if restarts.any():
            self._restart(restarts)
        info = {**self._info(), **({"final_obs": final} if restarts.any() else {})}
        return self._obs(), raw, terminated, truncated, info


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds an environment on the scripted emulator, reset; keyword arguments are keys of the protocol."""

    def build(events: Events, *, copies: int = 1, meanings: tuple[str, ...] = FIRE_SET, **protocol: Any) -> AtariEnv:
        monkeypatch.setattr(atari, "AtariVectorEnv", lambda *args, **kwargs: ScriptedEmulator(events, meanings, copies))
        config = compose.to_run_config(
            compose.compose(
                [
                    "env=atari",
                    "hparams=dapo_cpu",
                    f"env.num_envs={copies}",
                    *(f"env.protocol.{key}={value}" for key, value in protocol.items()),
                ]
            )
        ).env
        assert isinstance(config, AtariConfig)
        env = atari.make(config, threads=1)
        env.reset(np.arange(copies))
        return env

    return build


def run(env: AtariEnv, steps: int, action: int = 3) -> list[Step]:
    return [env.step(np.full(env.num_envs, action)) for _ in range(steps)]


def when(steps: list[Step], field: str, copy: int = 0) -> list[int]:
    """Steps, from 1, at which a flag is up."""
    return [t for t, step in enumerate(steps, start=1) if getattr(step, field)[copy]]


def sent(env: AtariEnv, copy: int = 0) -> list[int]:
    return [actions[copy] for actions in env._ale.sent]


# ---- ends


def test_a_lost_life_ends_the_learners_episode_and_not_the_game(scripted: Any) -> None:
    steps = run(scripted({(3, 0): "life", (6, 0): "over"}), 7)
    assert when(steps, "terminated") == [3, 6]
    assert when(steps, "game_over") == [6]
    assert when(steps, "game_cut") == when(steps, "truncated") == []


def test_games_that_end_on_one_step_are_kept_apart(scripted: Any) -> None:
    events = {(4, 0): "over", (4, 1): "life", (4, 2): "cap"}
    step = run(scripted(events, copies=4, limits_terminate=False), 4)[-1]
    assert step.terminated.tolist() == [True, True, False, False]
    assert step.truncated.tolist() == [False, False, True, False]
    assert step.game_over.tolist() == [True, False, True, False]
    assert step.game_cut.tolist() == [False, False, True, False]
    assert step.final_obs.ravel().tolist() == [104, 104, 104, 104]
    assert step.obs.ravel().tolist() == [200, 104, 200, 104]


@pytest.mark.parametrize(("terminates", "flags"), [("true", (True, False)), ("false", (False, True))])
def test_the_frame_cap_is_terminal_or_bootstraps_as_the_protocol_says(
    terminates: str,
    flags: tuple[bool, bool],
    scripted: Any,
) -> None:
    step = run(scripted({(5, 0): "cap"}, limits_terminate=terminates), 5)[-1]
    assert (step.terminated[0], step.truncated[0]) == flags
    assert step.game_over[0]
    assert step.game_cut[0]


def test_a_game_over_on_the_step_of_the_cap_is_no_cut(scripted: Any) -> None:
    step = run(scripted({(5, 0): "over cap"}, limits_terminate=False), 5)[-1]
    assert (step.terminated[0], step.truncated[0]) == (True, False)
    assert (step.game_over[0], step.game_cut[0]) == (True, False)


def test_a_game_of_a_single_step_is_noticed(scripted: Any) -> None:
    steps = run(scripted({(1, 0): "over", (2, 0): "over", (3, 0): "over"}), 4)
    assert when(steps, "game_over") == [1, 2, 3]


# ---- the no-reward limit


@pytest.mark.parametrize("limit", [3, 1000])
def test_more_steps_without_reward_than_the_limit_restart_the_game(limit: int, scripted: Any) -> None:
    env = scripted({}, no_reward_limit=limit)
    steps = run(env, 2 * limit + 3)
    assert when(steps, "game_cut") == when(steps, "game_over") == [limit + 1, 2 * limit + 2]
    assert env._ale.masks == [[True], [True]]
    end = steps[limit]
    assert (end.final_obs.item(), end.obs.item()) == (100 + limit + 1, 200)


def test_the_preset_has_the_papers_limit(scripted: Any) -> None:
    assert when(run(scripted({}), 1001), "game_cut") == [1001]


@pytest.mark.parametrize("event", ["1", "-1", "life", "over", "cap"])
def test_rewards_and_ends_restart_the_count(event: str, scripted: Any) -> None:
    steps = run(scripted({(3, 0): event}, no_reward_limit=4), 8)
    assert [t for t in when(steps, "game_cut") if t != 3] == [8]


@pytest.mark.parametrize(("terminates", "flags"), [("true", (True, False)), ("false", (False, True))])
def test_the_no_reward_limit_is_terminal_or_bootstraps_as_the_protocol_says(
    terminates: str,
    flags: tuple[bool, bool],
    scripted: Any,
) -> None:
    step = run(scripted({}, no_reward_limit=4, limits_terminate=terminates), 5)[-1]
    assert (step.terminated[0], step.truncated[0]) == flags


def test_only_the_stuck_game_is_restarted(scripted: Any) -> None:
    env = scripted({(2, 1): "1", (5, 2): "over", (5, 3): "life"}, copies=4, no_reward_limit=4)
    step = run(env, 5)[-1]
    assert env._ale.masks == [[True, False, False, False]]
    assert step.game_over.tolist() == [True, False, True, False]
    assert step.game_cut.tolist() == [True, False, False, False]
    assert step.terminated.tolist() == [True, False, True, True]
    assert step.obs.ravel().tolist() == [200, 105, 200, 105]
    assert step.final_obs.ravel().tolist() == [105, 105, 105, 105]


def test_a_restarted_game_is_not_counted_twice(scripted: Any) -> None:
    """The restart moves the frame counter that tells games apart; the step after it must not see an end."""
    steps = run(scripted({}, copies=2, no_reward_limit=4), 6)
    assert when(steps, "game_over") == [5]


def test_a_cut_game_tells_the_lives_it_had_left(scripted: Any) -> None:
    for events, protocol, cut in (({}, {"no_reward_limit": 4}, 4), ({(3, 0): "cap"}, {}, 2)):
        step = run(scripted(events, **protocol), 6)[cut]
        assert (step.game_cut.item(), step.lives.item()) == (True, 3)


def test_a_game_that_ended_by_its_own_rules_has_no_lives_left(scripted: Any) -> None:
    step = run(scripted({(3, 0): "over"}), 3)[2]
    assert (step.game_cut.item(), step.lives.item()) == (False, 0)


def test_zero_means_no_limit(scripted: Any) -> None:
    assert when(run(scripted({}, no_reward_limit=0), 1100), "game_over") == []


# ---- forced actions


def test_after_a_reset_fire_and_action_2_are_forced(scripted: Any) -> None:
    env = scripted({(4, 0): "over"})
    steps = run(env, 8)
    assert sent(env) == [1, 2, 3, 3, 1, 2, 3, 3]
    assert when(steps, "acted") == [3, 4, 7, 8]


def test_after_a_lost_life_a_no_op_comes_first(scripted: Any) -> None:
    env = scripted({(4, 0): "life"})
    steps = run(env, 9)
    assert sent(env) == [1, 2, 3, 3, 0, 1, 2, 3, 3]
    assert when(steps, "acted") == [3, 4, 8, 9]


def test_after_the_no_reward_limit_the_script_is_that_of_a_reset(scripted: Any) -> None:
    env = scripted({}, no_reward_limit=4)
    run(env, 8)
    assert sent(env) == [1, 2, 3, 3, 3, 1, 2, 3]


def test_an_end_within_the_script_starts_it_anew(scripted: Any) -> None:
    env = scripted({(4, 0): "life", (6, 0): "life", (8, 0): "over"})
    run(env, 11)
    assert sent(env) == [1, 2, 3, 3, 0, 1, 0, 1, 1, 2, 3]


def test_each_copy_has_a_script_of_its_own(scripted: Any) -> None:
    env = scripted({(3, 0): "life", (4, 1): "over"}, copies=2)
    run(env, 7)
    assert (sent(env, 0), sent(env, 1)) == ([1, 2, 3, 0, 1, 2, 3], [1, 2, 3, 3, 1, 2, 3])


@pytest.mark.parametrize("meanings", [("NOOP", "UP", "DOWN"), ("NOOP", "RIGHT", "LEFT", "UP"), ("NOOP", "FIRE")])
def test_a_game_without_fire_gets_a_no_op_after_a_lost_life_and_nothing_else(
    meanings: tuple[str, ...],
    scripted: Any,
) -> None:
    env = scripted({(2, 0): "life", (5, 0): "over"}, meanings=meanings)
    steps = run(env, 7, action=1)
    assert sent(env) == [1, 1, 0, 1, 1, 1, 1]
    assert when(steps, "acted") == [1, 2, 4, 5, 6, 7]


def test_without_the_fire_sequence_every_action_is_the_agents(scripted: Any) -> None:
    env = scripted({(2, 0): "life", (5, 0): "over"}, fire_sequence=False)
    assert when(run(env, 7), "acted") == [1, 2, 3, 4, 5, 6, 7]
    assert sent(env) == [3] * 7


def test_the_callers_actions_are_left_as_they_are(scripted: Any) -> None:
    actions = np.array([3])
    scripted({}).step(actions)
    assert actions.tolist() == [3]


# ---- rewards


def test_the_learner_sees_signs_and_the_score_does_not(scripted: Any) -> None:
    steps = run(scripted({(1, 0): "400", (2, 0): "-7"}), 3)
    assert [s.reward.item() for s in steps] == [1.0, -1.0, 0.0]
    assert [s.raw_reward.item() for s in steps] == [400.0, -7.0, 0.0]
    assert (steps[0].reward.dtype, steps[0].raw_reward.dtype) == (np.float32, np.float64)


def test_without_signs_the_learner_sees_the_rewards_themselves(scripted: Any) -> None:
    steps = run(scripted({(1, 0): "400", (2, 0): "-7"}, sign_rewards=False), 3)
    assert [s.reward.item() for s in steps] == [400.0, -7.0, 0.0]
