"""How much of the environment a run has seen: distinct observations on a coarse grid."""

import hashlib

import numpy as np

CELLS = 7  # pixels per side of a cell: an 84 x 84 frame becomes 12 x 12
LEVELS = 16  # grey levels; the idea is Ecoffet et al. 2019 (11 x 8 cells, 8 levels), these numbers are ours
DECIMALS = 1  # of a vector observation


class Coverage:
    """Counts distinct coarse observations. Frames: the newest one, averaged over cells; vectors: rounded."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def add(self, obs: np.ndarray) -> None:
        """Count a batch. Args: obs: `[B, stack, 84, 84]` uint8 or `[B, d]` float."""
        if obs.ndim == 4:
            frame = obs[:, -1]
            size = frame.shape[-1] // CELLS
            cells = frame.reshape(len(frame), size, CELLS, size, CELLS).mean((2, 4))
            coarse = (cells * (LEVELS / 256)).astype(np.uint8)
        else:
            coarse = np.round(obs, DECIMALS) + 0.0  # no negative zeros
        self.seen.update(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in coarse)
