"""The interaction loop, by the tape of its calls."""

from typing import Any

import numpy as np
import pytest

from bench.envs.base import Step
from bench.loop import interact, is_boundary

SEEDS = np.array([5, 6], dtype=np.int64)


def scripted(t: int, *, terminated: list[int] = (), truncated: list[int] = (), forced: list[int] = ()) -> Step:
    """Step t of two copies: observations count up, `final_obs` is told apart by its minus."""

    def flag(copies: list[int]) -> np.ndarray:
        return np.isin(np.arange(2), copies)

    obs, zero = np.full((2, 1), float(t)), np.zeros(2)
    return Step(obs, zero, flag(terminated), flag(truncated), -obs, ~flag(forced), zero, flag([]), flag([]))


class TapeEnv:
    """Two copies that play a list of steps and write down what is asked of them."""

    num_envs, obs_shape, obs_dtype, num_actions = 2, (1,), np.dtype(float), 9

    def __init__(self, steps: list[Step], tape: list[tuple[Any, ...]]):
        self.steps, self.tape = iter(steps), tape

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        self.tape.append(("reset", seeds.tolist()))
        return np.zeros((2, 1))

    def step(self, actions: np.ndarray) -> Step:
        self.tape.append(("step", actions.tolist()))
        return next(self.steps)

    def close(self) -> None:
        self.tape.append(("close",))


class TapeAgent:
    """Acts by the count of its actions and writes down what it is shown."""

    def __init__(self, tape: list[tuple[Any, ...]], left: dict[str, float]):
        self.tape, self.left, self.acts = tape, left, 0

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        self.tape.append(("act", obs[0, 0], start.tolist()))
        self.acts += 1
        return np.array([self.acts, self.acts])

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        self.tape.append(("observe", obs[0, 0], action[0], start.tolist(), step.obs[0, 0]))
        return {"seen": float(self.acts), "both": 1.0} if self.acts % 2 == 0 else {}

    def finish(self) -> dict[str, float]:
        self.tape.append(("finish",))
        return self.left

    def state_dict(self) -> dict[str, Any]:
        return {}

    def parameters_sha256(self) -> str:
        return ""


def tape_of(steps: list[Step], budget: int, left: dict[str, float] | None = None) -> list[tuple[Any, ...]]:
    """Everything that happens in a run, with a line for each event the consumer receives."""
    tape: list[tuple[Any, ...]] = []
    for event in interact(TapeEnv(steps, tape), TapeAgent(tape, left or {}), SEEDS, budget):
        tape.append(("yield", event.generated, event.obs[0, 0], event.step.obs[0, 0], event.metrics))
    return tape


def starts(steps: list[Step]) -> list[list[bool]]:
    """The start flags of every action."""
    return [entry[2] for entry in tape_of(steps, 2 * len(steps)) if entry[0] == "act"]


def test_the_calls_come_in_this_order() -> None:
    begin, run_on = [True, True], [False, False]
    assert tape_of([scripted(1), scripted(2)], 4) == [
        ("reset", [5, 6]),
        ("act", 0.0, begin),
        ("step", [1, 1]),
        ("observe", 0.0, 1, begin, 1.0),
        ("yield", 2, 0.0, 1.0, {}),
        ("act", 1.0, run_on),
        ("step", [2, 2]),
        ("observe", 1.0, 2, run_on, 2.0),
        ("finish",),
        ("yield", 4, 1.0, 2.0, {"seen": 2.0, "both": 1.0}),
    ]


def test_what_finish_learns_joins_the_last_metrics() -> None:
    tape = tape_of([scripted(1), scripted(2)], 4, left={"both": 2.0, "late": 3.0})
    assert tape[-1][-1] == {"seen": 2.0, "both": 2.0, "late": 3.0}
    assert tape[4][-1] == {}


def test_a_consumer_that_stops_early_stops_the_environment() -> None:
    tape: list[tuple[Any, ...]] = []
    next(interact(TapeEnv([scripted(1)], tape), TapeAgent(tape, {}), SEEDS, 100))
    assert [entry[0] for entry in tape] == ["reset", "act", "step", "observe"]


@pytest.mark.parametrize(("budget", "generated"), [(6, [2, 4, 6]), (7, [2, 4, 6]), (2, [2]), (1, []), (0, [])])
def test_the_budget_is_rounded_down_to_whole_steps_of_all_copies(budget: int, generated: list[int]) -> None:
    tape = tape_of([scripted(t) for t in range(9)], budget)
    assert [entry[1] for entry in tape if entry[0] == "yield"] == generated
    assert tape.count(("finish",)) == bool(generated)


def test_an_episode_starts_after_an_end_and_after_a_forced_step() -> None:
    assert starts([scripted(1, terminated=[0]), scripted(2, forced=[0]), scripted(3, truncated=[1]), scripted(4)]) == [
        [True, True],
        [True, False],
        [True, False],
        [False, True],
    ]


def test_start_flags_are_those_of_the_step_before_and_not_of_the_step_itself() -> None:
    """The planted twin: a terminated step taken for its own start would shift every flag by one."""
    assert starts([scripted(1), scripted(2, terminated=[0]), scripted(3)])[1:] == [[False, False], [True, False]]


def test_boundaries_are_ends_limits_and_forced_steps() -> None:
    assert is_boundary(scripted(1)).tolist() == [False, False]
    for event in ("terminated", "truncated", "forced"):
        assert is_boundary(scripted(1, **{event: [1]})).tolist() == [False, True]
