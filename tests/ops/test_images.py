"""Frames come out of the change of layout as they went in."""

import pytest
import torch

from bench.ops.images import to_channels_last


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 4, 6, 7), (5, 1, 6, 7), (1, 3, 2, 2), (0, 4, 6, 7)])
def test_values_and_layout(shape, dtype):
    frames = torch.arange(torch.Size(shape).numel()).remainder(256).to(torch.uint8).view(shape)
    out = to_channels_last(frames, dtype)
    assert out.dtype == dtype
    assert torch.equal(out.double(), frames.double())  # bfloat16 holds 0 .. 255 exactly
    assert out.is_contiguous(memory_format=torch.channels_last)
