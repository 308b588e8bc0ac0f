"""Replay: which steps it keeps, and which roll-outs it draws."""

import io
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.replay import RolloutReplay


def chunk(first: int, steps: int, envs: int = 2) -> dict[str, Tensor]:
    """Steps numbered from `first`, their actor, and a small image that carries both."""
    t = torch.arange(first, first + steps).unsqueeze(1).expand(steps, envs)
    actor = torch.arange(envs).expand(steps, envs)
    return {"t": t, "actor": actor, "image": (10 * t + actor).to(torch.uint8)[..., None, None].expand(-1, -1, 2, 3)}


def filled(capacity: int, chunks: list[int], envs: int = 2) -> RolloutReplay:
    """A replay that took in chunks of these lengths."""
    replay, first = RolloutReplay(capacity, envs), 0
    for steps in chunks:
        replay.extend(chunk(first, steps, envs))
        first += steps
    return replay


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def held(replay: RolloutReplay) -> set[int]:
    """Numbers of the steps that single-step roll-outs come from."""
    return set(replay.sample(2000, 1, seeded())["t"].flatten().tolist())


def consecutive(batch: dict[str, Tensor]) -> bool:
    """Every roll-out follows one actor forward in time without a gap."""
    follows = (batch["t"].diff(dim=0) == 1).all() and (batch["actor"].diff(dim=0) == 0).all()
    return bool(follows)


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ([3], range(3)),
        ([5], range(5)),
        ([5, 5], range(5, 10)),
        ([3, 3], range(1, 6)),
        ([3, 3, 3], range(4, 9)),
        ([4, 1, 1], range(1, 6)),
        ([2, 5], range(2, 7)),
        ([1] * 12, range(7, 12)),
    ],
)
def test_the_newest_steps_are_kept(chunks: list[int], kept: range) -> None:
    assert held(filled(5, chunks)) == set(kept)


@pytest.mark.parametrize("chunks", [[7], [7, 1], [5, 5], [7, 7, 3], [3] * 9, [1] * 20])
@pytest.mark.parametrize("length", [2, 3])
def test_rollouts_never_cross_the_place_where_new_meets_old(chunks: list[int], length: int) -> None:
    batch = filled(7, chunks).sample(1000, length, seeded())
    assert consecutive(batch)


def test_a_misplaced_seam_would_be_crossed() -> None:
    """The planted fault: the ring taken to begin one step late."""
    replay = filled(7, [7, 3])
    replay.next += 1
    assert not consecutive(replay.sample(1000, 3, seeded()))


def test_all_fields_of_a_rollout_belong_together() -> None:
    batch = filled(7, [5, 5]).sample(200, 3, seeded())
    expected = (10 * batch["t"] + batch["actor"]).to(torch.uint8)
    assert torch.equal(batch["image"], expected[..., None, None].expand(-1, -1, 2, 3))


def test_actors_and_starting_steps_are_drawn_uniformly() -> None:
    batch = filled(6, [6, 2], envs=3).sample(15_000, 2, seeded())
    counts = Counter(zip(batch["t"][0].tolist(), batch["actor"][0].tolist(), strict=True))
    assert set(counts) == {(t, actor) for t in range(2, 7) for actor in range(3)}
    expected = 15_000 / 15
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 36.1  # chi^2, 14 degrees, p = 0.001


def test_drawing_is_with_replacement() -> None:
    """The only roll-out there is can be drawn again."""
    batch = filled(4, [4], envs=1).sample(10, 4, seeded())
    assert batch["t"].tolist() == [[t] * 10 for t in range(4)]


def test_every_rollout_draws_its_own_actor() -> None:
    actor = filled(4, [4]).sample(100, 1, seeded())["actor"][0]
    assert 20 < actor.sum() < 80
    assert 20 < (actor.diff() != 0).sum() < 80  # neither in turn nor in blocks


def test_heads_come_from_the_first_step_only() -> None:
    batch = filled(7, [7, 4]).sample(50, 3, seeded(), heads=("image", "actor"))
    assert batch["image"].shape == (50, 2, 3)
    assert batch["actor"].shape == (50,)
    assert torch.equal(batch["image"][:, 0, 0], (10 * batch["t"][0] + batch["actor"]).to(torch.uint8))


def test_shapes_and_types_are_kept() -> None:
    batch = filled(7, [7]).sample(5, 3, seeded())
    assert batch["image"].shape == (3, 5, 2, 3)
    assert batch["image"].dtype == torch.uint8
    assert batch["t"].dtype == torch.int64


def test_an_equal_generator_draws_an_equal_sample() -> None:
    replay = filled(7, [7, 3])
    first, again, other = (replay.sample(20, 3, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], other["image"])


def test_a_sample_is_a_copy() -> None:
    replay = filled(7, [7])
    replay.sample(5, 3, seeded())["t"].zero_()
    assert held(replay) == set(range(7))


def test_what_went_in_is_a_copy() -> None:
    replay, steps = RolloutReplay(4, 2), {"t": torch.ones(4, 2, dtype=torch.int64)}
    replay.extend(steps)
    steps["t"].zero_()
    assert held(replay) == {1}


def test_a_chunk_beyond_the_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="a chunk of 8 steps does not fit a replay of 7"):
        filled(7, [8])


def test_rollouts_longer_than_what_is_held_are_refused() -> None:
    replay = filled(7, [3])
    assert consecutive(replay.sample(5, 3, seeded()))
    with pytest.raises(ValueError, match="roll-outs of 4 steps from a replay that holds 3"):
        replay.sample(5, 4, seeded())


def test_an_empty_replay_has_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="holds 0"):
        RolloutReplay(7, 2).sample(1, 1, seeded())


# --- every roll-out once, and some actors only -----------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [[6], [6, 6], [5, 6], [7, 7, 6], [3, 6]])
def test_the_newest_rollouts_cover_the_newest_steps_once(chunks: list[int]) -> None:
    replay = filled(9, chunks, envs=3)
    batch = replay.take(*replay.newest(6, 2), 2)
    assert consecutive(batch)
    pairs = Counter(zip(batch["t"].flatten().tolist(), batch["actor"].flatten().tolist(), strict=True))
    last = sum(chunks)
    assert pairs == Counter((t, actor) for t in range(last - 6, last) for actor in range(3))


def test_a_rest_shorter_than_a_rollout_is_left_out() -> None:
    replay = filled(9, [8])
    batch = replay.take(*replay.newest(5, 2), 2)
    assert sorted(set(batch["t"].flatten().tolist())) == [3, 4, 5, 6]
    assert len(replay.newest(1, 2)[0]) == 0


def test_only_the_actors_asked_for_are_drawn() -> None:
    replay = filled(9, [9], envs=5)
    assert set(replay.sample(500, 2, seeded(), actors=range(2, 4))["actor"].flatten().tolist()) == {2, 3}
    assert set(replay.take(*replay.newest(8, 2, range(1, 2)), 2)["actor"].flatten().tolist()) == {1}


def test_more_new_steps_than_are_held_are_refused() -> None:
    with pytest.raises(ValueError, match="the newest 4 steps of a replay that holds 3"):
        filled(7, [3]).newest(4, 2)


# --- kept ------------------------------------------------------------------------------------------------------------


def through_file(replay: RolloutReplay) -> tuple[dict[str, Any], int]:
    """The state of a replay as a file gives it back, and the size of that file."""
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    size = file.tell()
    file.seek(0)
    return torch.load(file, weights_only=True), size


def loaded(replay: RolloutReplay) -> RolloutReplay:
    other = RolloutReplay(replay.capacity, replay.num_envs)
    other.load_state_dict(through_file(replay)[0])
    return other


@pytest.mark.parametrize("chunks", [[], [3], [7], [7, 2], [3, 3, 3], [1] * 20])
def test_a_loaded_replay_goes_on_as_the_other(chunks: list[int]) -> None:
    replay = filled(7, chunks)
    other = loaded(replay)
    for one in (replay, other):
        one.extend(chunk(100, 4))
    first, again = (one.sample(50, 3, seeded()) for one in (replay, other))
    assert all(torch.equal(first[name], again[name]) for name in ("t", "actor", "image"))
    assert held(replay) == held(other)


def test_a_ring_loaded_without_its_place_would_forget_other_steps() -> None:
    """The planted fault: `next` is not kept."""
    replay = filled(7, [7, 2])
    other = loaded(replay)
    other.next = 0
    for one in (replay, other):
        one.extend(chunk(100, 4))
    assert held(replay) != held(other)


def test_only_the_steps_held_are_saved() -> None:
    one_step = 2 * (8 + 8 + 6)  # two actors; two numbers and an image of 2 x 3 bytes
    empty, some, full = (through_file(filled(10_000, chunks))[1] for chunks in ([], [100], [10_000, 5]))
    assert some - empty < 100 * one_step + 4096
    assert full >= 10_000 * one_step


def test_a_loaded_replay_shares_no_memory_with_the_state() -> None:
    replay, other = filled(7, [7]), RolloutReplay(7, 2)
    other.load_state_dict(replay.state_dict())
    other.extend(chunk(100, 7))
    assert held(replay) == set(range(7))


def test_the_state_of_a_replay_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a replay of 7 steps per actor, expected 9"):
        RolloutReplay(9, 2).load_state_dict(filled(7, [3]).state_dict())
