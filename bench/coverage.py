"""How much of the environment a run has seen: distinct observations on a coarse grid, in bounded memory."""

import hashlib
import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

CELLS = 7  # pixels per side of a cell: an 84 x 84 frame becomes 12 x 12
LEVELS = 16  # grey levels; the idea is Ecoffet et al. 2019 (11 x 8 cells, 8 levels), these numbers are ours
DECIMALS = 1  # of a vector observation
SLOTS = 2**24  # one byte each; 60 million distinct observations are still counted to 0.1 %


@cache
def _cells(side: int) -> np.ndarray:
    """Which pixels of a side belong to which cell, `[cells, side]` of 0 and 1."""
    return np.repeat(np.eye(side // CELLS, dtype=np.float32), CELLS, 1)


class Coverage:
    """Counts distinct coarse observations. Frames: the newest one, averaged over cells; vectors: rounded.

    Linear counting: each observation marks a slot, and n distinct ones leave a fraction exp(-n / SLOTS) unmarked.
    Source: Whang, Vander-Zanden, Taylor 1990.
    """

    def __init__(self) -> None:
        self.marked = np.zeros(SLOTS, dtype=bool)
        self.filled = 0

    def add(self, obs: np.ndarray) -> None:
        """Count a batch. Args: obs: `[B, stack, 84, 84]` uint8 or `[B, d]` float."""
        if obs.ndim == 4:
            cells = _cells(obs.shape[-1])
            sums = cells @ obs[:, -1].astype(np.float32) @ cells.T  # of integers, exact
            coarse = (sums.astype(np.uint16) // (CELLS * CELLS * 256 // LEVELS)).astype(np.uint8)
        else:
            coarse = np.round(obs, DECIMALS) + 0.0  # no negative zeros
        for row in coarse:
            slot = int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest()) % SLOTS
            self.filled += not self.marked[slot]
            self.marked[slot] = True

    def count(self) -> int:
        """Estimate of the distinct observations so far."""
        empty = max(SLOTS - self.filled, 1)
        return round(-SLOTS * math.log(empty / SLOTS))

    def state_dict(self) -> dict[str, Tensor]:
        """Numbers of the marked slots."""
        return {"marked": torch.from_numpy(np.flatnonzero(self.marked).astype(np.int32))}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        marked = state["marked"].numpy()
        self.marked[:] = False
        self.marked[marked] = True
        self.filled = len(marked)
