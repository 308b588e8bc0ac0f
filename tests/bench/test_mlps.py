"""The networks of DPO and its baselines."""

import math

import pytest
import torch
from torch import nn

from bench.mlps import Net, default_init
from bench.precision import Working


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layer", [nn.Linear(48, 7), nn.Conv2d(3, 5, 4, 2)])
def test_the_initialisation_is_pytorchs_own(layer):
    torch.manual_seed(3)
    own = type(layer)(48, 7) if isinstance(layer, nn.Linear) else nn.Conv2d(3, 5, 4, 2)
    bound = 1 / math.sqrt(48)  # 48 = 3 x 4 x 4 inputs of each output
    for ours, pytorchs in ((layer.weight, own.weight), (layer.bias, own.bias)):
        default_init(layer, generator())
        assert ours.abs().max() <= bound
        assert pytorchs.abs().max() <= bound
    assert layer.weight.abs().max() > 0.95 * bound
    assert own.weight.abs().max() > 0.95 * bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)


def test_networks_of_equal_generators_are_equal_and_of_one_generator_are_not():
    one = generator()
    a, b = Net((3,), [4], 2, one), Net((3,), [4], 2, one)
    again = Net((3,), [4], 2, generator())
    x = torch.ones(1, 3)
    assert torch.equal(a(x), again(x))
    assert not torch.equal(a(x), b(x))


@pytest.mark.parametrize("activation", [torch.tanh, torch.relu])
def test_two_layers_by_hand(activation):
    net = Net((2,), [1], 1, generator(), activation=activation)
    with torch.no_grad():
        for layer, weight, bias in zip(net.body.layers, ([[1.0, -2.0]], [[4.0]]), (0.5, 0.25), strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(bias)
    for x in ([1.0, 0.0], [0.0, 1.0]):
        hidden = activation(torch.tensor(x[0] - 2 * x[1] + 0.5)).item()
        assert net(torch.tensor([x])).item() == pytest.approx(4 * hidden + 0.25)  # nothing after the last layer


def test_several_actions_of_a_state_are_each_seen_with_that_state():
    net = Net((3,), [8, 8], 2, generator(), code=2)
    x, code = torch.randn(5, 3, generator=generator(1)), torch.randn(4, 5, 2, generator=generator(2))
    out = net(x, code)
    assert out.shape == (4, 5, 2)
    for s in range(4):
        assert torch.allclose(out[s], net(x, code[s]), atol=1e-6)
    assert (out[0] - out[1]).abs().min() > 0


def test_frames_are_scaled_to_one():
    net = Net((4, 84, 84), [8], 2, generator())
    frames = torch.randint(0, 256, (2, 4, 84, 84), generator=generator(1), dtype=torch.uint8)
    seen = []
    net.frames.convs[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert net(frames).shape == (2, 2)
    assert seen[0].dtype == torch.float32
    assert torch.allclose(seen[0], frames / 255.0)
    assert 0.9 < seen[0].max() <= 1


def test_frames_are_looked_at_once_however_many_actions_follow():
    net = Net((4, 84, 84), [8], 1, generator(), code=2)
    calls = []
    net.frames.register_forward_hook(lambda *_: calls.append(1))
    assert net(torch.zeros(2, 4, 84, 84, dtype=torch.uint8), torch.zeros(7, 2, 2)).shape == (7, 2, 1)
    assert len(calls) == 1


@pytest.mark.parametrize("activation", [torch.tanh, torch.relu])
@pytest.mark.parametrize("shape", [(17,), (4, 84, 84)])
def test_a_network_in_bfloat16_has_a_float32_output_near_its_masters(shape, activation):
    master = Net(shape, [64, 64], 2, generator(), code=3, activation=activation)
    net = Working(master, "bf16").net
    obs = torch.randn(5, *shape, generator=generator(1))
    obs = obs if len(shape) == 1 else (obs * 50 + 128).clamp(0, 255).to(torch.uint8)
    code = torch.randn(4, 5, 3, generator=generator(2))
    out, exact = net(obs, code), master(obs, code)
    assert out.dtype == torch.float32
    assert not torch.equal(out, exact)
    assert (out - exact).abs().max() < 0.05
    types = {name: part.dtype for name, part in net.named_parameters()}
    assert types.pop("body.layers.2.weight") == types.pop("body.layers.2.bias") == torch.float32
    assert set(types.values()) == {torch.bfloat16}
