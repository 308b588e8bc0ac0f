"""Random streams: equal for equal names and seeds, and shared by no two runs."""

import itertools

import numpy as np
import pytest
import torch

from bench.seeding import env_seeds, generator, stream

NAMES = ("env", "init", "policy", "replay", "diagnostics")
ACTORS = 64  # the largest number of actors of any preset


def shared(seeds: list[np.ndarray]) -> set[int]:
    """Seeds that stand in more than one list, or twice in one."""
    everything = np.concatenate(seeds)
    values, counts = np.unique(everything, return_counts=True)
    return set(values[counts > 1].tolist())


def test_no_environment_of_run_seeds_0_to_99_shares_its_seed() -> None:
    assert shared([env_seeds(seed, ACTORS) for seed in range(100)]) == set()


def test_consecutive_seeds_would_be_shared() -> None:
    """The planted twin: what an integer given to `reset` of a vector environment means."""
    assert len(shared([np.arange(seed, seed + ACTORS) for seed in range(100)])) > 100


def test_environment_seeds_fit_what_the_emulator_takes() -> None:
    seeds = np.concatenate([env_seeds(seed, ACTORS) for seed in range(100)])
    assert seeds.dtype == np.int64
    assert seeds.min() >= 0
    assert seeds.max() < 2**31
    assert seeds.max() > 2**30  # and they use the range


def test_environment_seeds_are_these_numbers() -> None:
    """Another number here means that every run changed."""
    assert env_seeds(0, 3).tolist() == [47685417, 1502208731, 447052217]
    assert env_seeds(2**31 - 1, 1).tolist() == [1367987197]


def test_fewer_environments_get_the_first_seeds() -> None:
    assert np.array_equal(env_seeds(5, 4), env_seeds(5, 16)[:4])


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        env_seeds(-1, 4)
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1, "policy")


def test_streams_differ_by_name_and_by_seed() -> None:
    states = [tuple(stream(seed, name).generate_state(4)) for seed in range(20) for name in NAMES]
    assert len(set(states)) == len(states)


def test_generators_repeat() -> None:
    draws = [torch.rand(5, generator=generator(3, "policy")) for _ in range(2)]
    assert torch.equal(*draws)


def test_generators_differ_by_name_and_by_seed() -> None:
    draws = [torch.rand(5, generator=generator(seed, name)) for seed in (0, 1) for name in NAMES]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(draws, 2))


def test_generators_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "policy"))
    assert torch.equal(before, torch.get_rng_state())
