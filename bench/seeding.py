"""Independent random streams of one run, derived from its seed by name."""

import zlib

import numpy as np
import torch


def stream(seed: int, name: str) -> np.random.SeedSequence:
    """The stream called `name` of the run with this seed; equal arguments give equal streams."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(name.encode()),))


def env_seeds(seed: int, num_envs: int, name: str = "env") -> np.ndarray:
    """One seed per environment, from the stream `name`, unrelated between runs (consecutive integers would be shared).

    Returns `[num_envs]` int64 in [0, 2**31), as the emulator demands.
    """
    return (stream(seed, name).generate_state(num_envs) >> 1).astype(np.int64)


def generator(seed: int, name: str, device: str = "cpu") -> torch.Generator:
    """A generator of its own for everything that PyTorch draws under this name."""
    state = int(stream(seed, name).generate_state(1, dtype=np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(state)
