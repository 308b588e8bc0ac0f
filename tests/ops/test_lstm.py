"""The LSTM and its gradient, against PyTorch's cell and autograd, across episode starts."""

import pytest
import torch

from bench.ops.lstm import lstm

STEPS, BATCH, SIZE = 7, 3, 4


def sequence(dtype=torch.float64, starts=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    gates = draw(STEPS, BATCH, 4 * SIZE)
    h, c, weight = draw(BATCH, SIZE), draw(BATCH, SIZE), draw(4 * SIZE, SIZE)
    return gates, h, c, torch.rand(STEPS, BATCH, generator=generator) < starts, weight


def by_cell(gates, h, c, start, weight):
    """PyTorch's cell step by step; its gates have the same order."""
    cell = torch.nn.LSTMCell(4 * SIZE, SIZE, bias=False, dtype=gates.dtype)
    eye = torch.eye(4 * SIZE, dtype=gates.dtype)
    outputs = []
    for t in range(len(gates)):
        keep = (~start[t]).to(gates.dtype).unsqueeze(-1)
        named = {"weight_ih": eye, "weight_hh": weight}
        h, c = torch.func.functional_call(cell, named, (gates[t], (h * keep, c * keep)))
        outputs.append(h)
    return torch.stack(outputs), h, c


@pytest.mark.parametrize("starts", [0.0, 0.3, 1.0])
def test_values_and_gradients_are_those_of_the_cell(starts):
    arguments = sequence(starts=starts)
    leaves = [arguments[i] for i in (0, 1, 2, 4)]
    found, expected = lstm(*arguments), by_cell(*arguments)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in expected]

    def gradients(parts):
        loss = sum((w * part.square()).sum() for w, part in zip(weights, parts, strict=True))
        return torch.autograd.grad(loss, leaves)

    for ours, theirs in zip(gradients(found), gradients(expected), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_by_differences():
    gates, h, c, start, weight = sequence(seed=2)
    assert torch.autograd.gradcheck(lambda *x: lstm(x[0], x[1], x[2], start, x[3]), (gates, h, c, weight))


def test_nothing_passes_an_episode_start():
    gates, h, c, start, weight = sequence(starts=0.0)
    start[3] = True
    outputs, _, _ = lstm(gates, h, c, start, weight)
    before = torch.autograd.grad(outputs[3:].sum(), [gates, h, c], allow_unused=True)
    assert not before[0][:3].any()
    assert before[0][3:].any(-1).all()
    assert not before[1].any()
    assert not before[2].any()
    again, _, _ = lstm(gates[3:], torch.zeros_like(h), torch.zeros_like(c), torch.zeros_like(start[3:]), weight)
    torch.testing.assert_close(outputs[3:], again)


def test_bfloat16_weights_leave_the_state_float32():
    gates, h, c, start, weight = (x.detach() for x in sequence(torch.float32))
    low = weight.bfloat16().requires_grad_()
    outputs, state_h, state_c = lstm(gates, h, c, start, low)
    assert {x.dtype for x in (outputs, state_h, state_c)} == {torch.float32}
    exact = lstm(gates, h, c, start, low.detach().float())[0]
    assert (outputs - exact).abs().max() < 0.02
    outputs.square().sum().backward()
    assert low.grad.dtype == torch.bfloat16
