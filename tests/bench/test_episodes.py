"""Scores of full games from scripted steps."""

import json

import numpy as np

from bench.envs.base import Step
from bench.episodes import Episode, EpisodeCounter


def step(
    raw: list[float],
    *,
    over: list[int] = (),
    cut: list[int] = (),
    life: list[int] = (),
    forced: list[int] = (),
    reward: float = 0.0,
) -> Step:
    """A step of len(raw) copies; the other arguments list the copies that an event happens to."""
    n = len(raw)

    def flag(copies: list[int]) -> np.ndarray:
        return np.isin(np.arange(n), copies)

    obs = np.zeros((n, 1), dtype=np.float32)
    return Step(
        obs,
        np.full(n, reward, dtype=np.float32),
        flag([*over, *life]),
        flag(cut),
        obs,
        ~flag(forced),
        np.array(raw, dtype=np.float64),
        flag([*over, *cut]),
        flag(cut),
    )


def games(steps: list[Step]) -> list[Episode]:
    """All games of a list of steps, whose counts go up by the number of copies."""
    counter = EpisodeCounter(len(steps[0].reward))
    return [game for t, s in enumerate(steps, start=1) for game in counter.add(t * len(s.reward), s)]


def test_a_game_is_recorded_with_the_step_that_ends_it() -> None:
    assert games([step([1.0]), step([2.5]), step([4.0], over=[0])]) == [Episode(3, 7.5, 3, 0, 0)]


def test_an_unfinished_game_is_not_recorded() -> None:
    assert games([step([1.0]), step([1.0])]) == []


def test_the_next_game_starts_from_nothing() -> None:
    first, second = games([step([9.0], over=[0]), step([1.0]), step([2.0], over=[0])])
    assert (first.score, first.length) == (9.0, 1)
    assert (second.score, second.length) == (3.0, 2)


def test_a_lost_life_does_not_end_a_game() -> None:
    assert games([step([3.0], life=[0]), step([4.0], over=[0])]) == [Episode(2, 7.0, 2, 0, 0)]


def test_ends_taken_for_games_would_give_a_score_per_life() -> None:
    """The planted twin: what a counter that reads `terminated` sees."""
    steps = [step([3.0], life=[0]), step([4.0], over=[0])]
    assert len(games([s._replace(game_over=s.terminated) for s in steps])) == 2


def test_a_game_cut_by_a_limit_is_marked() -> None:
    assert games([step([2.0]), step([0.0], cut=[0])]) == [Episode(2, 2.0, 2, 0, 1)]


def test_a_cut_that_is_terminal_for_the_learner_is_still_marked() -> None:
    s = step([2.0], cut=[0])
    assert games([s._replace(terminated=s.truncated, truncated=s.terminated)])[0].truncated == 1


def test_an_end_for_the_learner_alone_is_not_marked_on_the_later_game() -> None:
    steps = [step([1.0])._replace(truncated=np.array([True])), step([1.0], over=[0])]
    assert games(steps) == [Episode(2, 2.0, 2, 0, 0)]


def test_several_games_that_end_at_once_are_told_apart() -> None:
    steps = [step([1.0, 10.0, 100.0]), step([2.0, 20.0, 200.0], over=[0], cut=[2]), step([4.0, 40.0, 400.0], over=[1])]
    assert games(steps) == [Episode(6, 3.0, 2, 0, 0), Episode(6, 300.0, 2, 2, 1), Episode(9, 70.0, 3, 1, 0)]


def test_scores_are_raw_and_count_forced_steps() -> None:
    assert games([step([400.0], forced=[0], reward=1.0), step([-7.0], over=[0], reward=-1.0)]) == [
        Episode(2, 393.0, 2, 0, 0)
    ]


def test_large_scores_stay_exact() -> None:
    """float32 would lose the one: 2**24 + 1 has no such number."""
    assert games([step([2.0**24]), step([1.0], over=[0])])[0].score == 2**24 + 1


def test_recording_does_not_change_the_step() -> None:
    s = step([5.0], over=[0])
    games([s])
    assert s.raw_reward[0] == 5.0
    assert s.game_over[0]


def test_a_loaded_counter_goes_on_with_the_games_under_way() -> None:
    counter, other, forgetful = EpisodeCounter(2), EpisodeCounter(2), EpisodeCounter(2)
    counter.add(2, step([0.1, 1.0]))
    counter.add(4, step([0.2, 2.0], over=[1]))
    other.load_state_dict(json.loads(json.dumps(counter.state_dict())))
    last = step([0.4, 4.0], over=[0, 1])
    expected = [Episode(6, 0.1 + 0.2 + 0.4, 3, 0, 0), Episode(6, 4.0, 1, 1, 0)]
    assert other.add(6, last) == counter.add(6, last) == expected
    assert forgetful.add(6, last) != expected
    assert other.length.dtype == np.int64
