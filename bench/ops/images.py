"""Frames of a game as a convolution takes them."""

import torch
from torch import Tensor


def to_channels_last(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Frames in the memory format `channels_last`, their values 0 .. 255 as they are (bfloat16 holds them exactly).

    Args:
        frames: `[N, stack, height, width]` uint8.
        dtype: of the result, a floating type.
    Returns:
        the same shape.
    """
    # Interleaving bytes before they are widened touches a quarter of the memory, half of it with bfloat16.
    interleaved = frames.unsqueeze(-1)[:, 0] if frames.shape[1] == 1 else torch.stack(frames.unbind(1), -1)
    return interleaved.to(dtype).permute(0, 3, 1, 2)
