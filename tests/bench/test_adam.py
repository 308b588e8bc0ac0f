"""Adam without PyTorch's bookkeeping: the same steps, the same state."""

import copy

import pytest
import torch
from torch import nn

from bench.adam import Adam


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=generator)) for size in ((3, 2), (3,), (1,))]


def give_gradients(parts: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        part.grad = torch.randn(part.shape, generator=generator)


def test_its_steps_are_pytorchs_bit_for_bit_also_after_loading_the_state_of_either():
    pytorchs, ours = parameters(), parameters()
    optimizers = [torch.optim.Adam(pytorchs, lr=0.01, eps=1e-5, fused=True), Adam(ours, lr=0.01, eps=1e-5)]
    for seed in range(6):
        for parts, optimizer in zip((pytorchs, ours), optimizers, strict=True):
            give_gradients(parts, seed)
            if seed == 4:
                optimizer.param_groups[0]["lr"] = 0.003
            optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(pytorchs, ours, strict=True))
        if seed == 2:  # each goes on with the other's state
            states = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
            for optimizer, state in zip(optimizers, reversed(states), strict=True):
                optimizer.load_state_dict(state)


@pytest.mark.parametrize("first", [0, 1])
def test_what_has_no_gradient_stays(first):
    parts = parameters()
    optimizer = Adam(parts, lr=0.01, eps=1e-8)
    before = [part.detach().clone() for part in parts]
    for step in range(2):
        give_gradients(parts, step)
        if step >= first:
            parts[1].grad = None
        optimizer.step()
        if step < first:
            before = [part.detach().clone() for part in parts]
    assert [torch.equal(a, b) for a, b in zip(before, parts, strict=True)] == [False, True, False]
