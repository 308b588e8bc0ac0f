"""Frames are stored once, and every observation within the window comes back as it was."""

import itertools

import numpy as np
import pytest
import torch

from bench.frames import Frames

SHAPE = (4, 3, 2)


def games(seed: int, steps: int, num_envs: int = 3, shape=SHAPE, resets: float = 0.1):
    """Observations as the emulator stacks them: one new frame per step, a new stack after a reset."""
    rng = np.random.default_rng(seed)

    def fresh():
        stack = np.zeros(shape, dtype=np.uint8)
        stack[-1] = rng.integers(1, 256, shape[1:])
        return stack

    obs = np.stack([fresh() for _ in range(num_envs)])
    for _ in range(steps):
        yield obs
        following = np.concatenate([obs[:, 1:], rng.integers(256, size=(num_envs, 1, *shape[1:]), dtype=np.uint8)], 1)
        for b in np.flatnonzero(rng.random(num_envs) < resets):
            following[b] = fresh()
        obs = following


@pytest.mark.parametrize("shape", [SHAPE, (1, 3, 2), (2, 4, 4)])
@pytest.mark.parametrize("resets", [0.0, 0.1, 1.0])
def test_each_observation_in_the_window_comes_back(shape, resets):
    frames, window = Frames(3, shape, 10), []
    for obs in games(0, 60, shape=shape, resets=resets):
        window.append((frames.push(obs), obs))
        for ids, was in window[-10:]:
            assert np.array_equal(frames.take(ids).numpy(), was)
    many = torch.stack([ids for ids, _ in window[-10:]])
    assert frames.take(many).shape == (10, 3, *shape)


def test_a_frame_is_stored_once():
    frames = Frames(3, SHAPE, 50)
    for obs in games(1, 50, resets=0.0):
        frames.push(obs)
    # of the first stack: the empty frame that fills it, and the first of the game
    assert frames.next == 3 * (2 + 49)
    assert len(frames.pool) == 3 * (50 + 4)


def test_memory_is_bounded_whatever_the_length():
    frames, sizes = Frames(3, SHAPE, 10), []
    for obs in games(2, 2000):
        frames.push(obs)
        sizes.append(len(frames.pool))
    assert sizes[-1] == sizes[len(sizes) // 2]
    assert sizes[-1] <= 1.25 * 3 * (10 + 4) * 2


def test_the_last_observation_of_a_game_does_not_count_for_the_window():
    frames, kept = Frames(2, SHAPE, 6), []
    stream = games(3, 40, num_envs=2, resets=0.0)
    for obs, final in itertools.pairwise(stream):
        kept.append((frames.push(obs), obs))
        last = frames.push(final, between=True)
        assert np.array_equal(frames.take(last).numpy(), final)
        for ids, was in kept[-6:]:
            assert np.array_equal(frames.take(ids).numpy(), was)
    assert len(frames.oldest) == 6


def test_an_observation_seen_again_is_not_stored_again():
    frames = Frames(2, SHAPE, 6)
    obs = np.random.default_rng(4).integers(256, size=(2, *SHAPE), dtype=np.uint8)
    first = frames.push(obs)
    stored = frames.next
    assert torch.equal(frames.push(obs.copy(), between=True), first)
    assert frames.next == stored


@pytest.mark.parametrize("steps", [0, 1, 5, 33])
def test_state_goes_on_with_the_same_numbers(steps):
    stream = list(games(5, 60))
    whole, part, again = (Frames(3, SHAPE, 10) for _ in range(3))
    for obs in stream[:steps]:
        part.push(obs)
        whole.push(obs)
    again.load_state_dict(part.state_dict())
    for obs in stream[steps:]:
        ids = whole.push(obs)
        assert torch.equal(again.push(obs), ids)
        assert torch.equal(again.take(ids), whole.take(ids))
    state = part.state_dict()
    assert len(state["frames"]) <= 3 * (10 + 4) * 2  # what is held, not the pool
