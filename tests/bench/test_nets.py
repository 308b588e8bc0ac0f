"""Networks: sizes and initial weights as published, and an LSTM that forgets where an episode starts."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from bench.nets import LSTM, ActorCritic, Lstm, Pixels

FRAMES = (1, 84, 84)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache  # shared: no test changes it
def atari(seed: int = 0, recurrent: bool = True, stack: int = 1) -> ActorCritic:
    return ActorCritic((stack, 84, 84), 6, recurrent=recurrent, generator=seeded(seed))


def frames(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(256, (*shape, *FRAMES), generator=seeded(seed), dtype=torch.uint8)


def lstm_case(steps: int = 7, batch: int = 3) -> tuple[Lstm, Tensor, tuple[Tensor, Tensor], Tensor]:
    """An LSTM with a bias that is not zero, inputs, a state, and no starts."""
    lstm, g = Lstm(5, seeded()), seeded(1)
    with torch.no_grad():
        lstm.inputs.bias.copy_(torch.randn(4 * LSTM, generator=g))
    state = (torch.randn(batch, LSTM, generator=g), torch.randn(batch, LSTM, generator=g))
    return lstm, torch.randn(steps, batch, 5, generator=g), state, torch.zeros(steps, batch, dtype=torch.bool)


def zeros(batch: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(batch, LSTM), torch.zeros(batch, LSTM)


# ---- LSTM


def test_without_starts_it_is_torchs_lstm() -> None:
    lstm, x, (h, c), start = lstm_case()
    oracle = nn.LSTM(5, LSTM)
    with torch.no_grad():
        oracle.weight_ih_l0.copy_(lstm.inputs.weight)
        oracle.weight_hh_l0.copy_(lstm.recurrent.weight)
        oracle.bias_ih_l0.copy_(lstm.inputs.bias)
        oracle.bias_hh_l0.zero_()
    out, state = lstm(x, (h, c), start)
    expected, (h_n, c_n) = oracle(x, (h[None], c[None]))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(state, (h_n[0], c_n[0]))


def test_a_start_is_a_run_of_its_own_from_the_zero_state() -> None:
    lstm, x, state, start = lstm_case()
    start[3, 1] = start[5, 1] = start[0, 2] = True
    out, last = lstm(x, state, start)
    none = torch.zeros_like(start)
    plain, plain_last = lstm(x, state, none)
    # Copy 0 has no start, copy 1 three parts, copy 2 forgets the state it was given.
    torch.testing.assert_close(out[:, 0], plain[:, 0])
    for first, end in ((0, 3), (3, 5), (5, 7)):
        before = state if first == 0 else zeros(3)
        part, part_last = lstm(x[first:end], before, none[first:end])
        torch.testing.assert_close(out[first:end, 1], part[:, 1])
    torch.testing.assert_close((last[0][1], last[1][1]), (part_last[0][1], part_last[1][1]))
    torch.testing.assert_close(out[:, 2], lstm(x, zeros(3), none)[0][:, 2])
    assert not torch.equal(plain_last[0][1], last[0][1])


def test_ignored_starts_would_be_noticed() -> None:
    """The planted fault: the same roll-out without its start differs from there on, and only there."""
    lstm, x, state, start = lstm_case()
    plain, _ = lstm(x, state, start)
    start[3, 1] = True
    out, _ = lstm(x, state, start)
    differs = (out - plain).abs().amax(-1) > 1e-3
    assert differs.nonzero().tolist() == [[t, 1] for t in range(3, 7)]


def test_no_gradient_crosses_a_start() -> None:
    lstm, x, state, start = lstm_case()
    start[3] = True
    x.requires_grad_()
    out, _ = lstm(x, state, start)
    out[3:].sum().backward()
    assert (x.grad[:3] == 0).all()
    assert (x.grad[3:] != 0).all()


def test_the_state_carries_a_roll_out_over_a_break() -> None:
    lstm, x, state, start = lstm_case()
    whole, last = lstm(x, state, start)
    one, middle = lstm(x[:4], state, start[:4])
    two, end = lstm(x[4:], middle, start[4:])
    torch.testing.assert_close(whole, torch.cat([one, two]))
    torch.testing.assert_close(last, end)


# ---- the whole network


@pytest.mark.parametrize("recurrent", [True, False])
def test_sequences_equal_their_steps_one_by_one(recurrent: bool) -> None:
    net, obs = atari(recurrent=recurrent), frames(3, 2)
    start = torch.tensor([[True, True], [False, True], [False, False]])
    state = net.initial_state(2)
    logits, values, last = net(obs, state, start)
    assert (logits.shape, values.shape) == ((3, 2, 6), (3, 2))
    for t in range(3):
        one, v, state = net(obs[t : t + 1], state, start[t : t + 1])
        torch.testing.assert_close(one[0], logits[t])
        torch.testing.assert_close(v[0], values[t])
    torch.testing.assert_close(state, last)


def test_without_lstm_the_state_is_empty_and_starts_do_not_matter() -> None:
    net, obs = atari(recurrent=False), frames(2, 3)
    state = net.initial_state(3)
    assert [s.shape for s in state] == [(3, 0), (3, 0)]
    outputs = [net(obs, state, torch.full((2, 3), flag))[0] for flag in (True, False)]
    assert torch.equal(*outputs)


def test_the_initial_state_is_zero() -> None:
    h, c = atari().initial_state(4)
    assert h.shape == c.shape == (4, 256)
    assert not h.any()
    assert not c.any()


def by_hand(trunk: Pixels, x: Tensor) -> Tensor:
    for conv in trunk.convs:
        x = torch.relu(conv(x))
    return torch.relu(trunk.fc(x.movedim(1, -1).flatten(1)))  # height, width, channels


def test_frames_are_scaled_by_255() -> None:
    trunk, obs = Pixels(1, seeded()), frames(2)
    torch.testing.assert_close(trunk(obs), by_hand(trunk, obs.float() / 255))
    # The planted fault: frames as they are, or scaled by 256.
    for scale in (1, 256):
        assert not torch.allclose(trunk(obs), by_hand(trunk, obs.float() / scale), rtol=1e-3)


@pytest.mark.parametrize("stack", [1, 4])
def test_the_network_has_the_published_sizes(stack: int) -> None:
    conv = (stack * 8 * 8 * 32 + 32) + (32 * 4 * 4 * 64 + 64) + (64 * 3 * 3 * 64 + 64)
    fc = 64 * 7 * 7 * 512 + 512
    lstm = 4 * 256 * (512 + 256) + 4 * 256  # one bias
    for recurrent, width, extra in ((True, 256, lstm), (False, 512, 0)):
        net = atari(recurrent=recurrent, stack=stack)
        heads = (width * 6 + 6) + (width + 1)
        assert sum(p.numel() for p in net.parameters()) == conv + fc + extra + heads


def test_a_vector_network_has_two_hidden_layers_of_64() -> None:
    net = ActorCritic((4,), 2, recurrent=False, generator=seeded())
    assert sum(p.numel() for p in net.parameters()) == (4 * 64 + 64) + (64 * 64 + 64) + (64 * 2 + 2) + (64 + 1)


def gain(weight: Tensor) -> float:
    """Common length of the orthogonal rows or columns of a matrix; NaN if they are not orthogonal."""
    w = weight.detach().flatten(1).double()
    w = w if w.shape[0] <= w.shape[1] else w.T
    square = w @ w.T
    size = square.diagonal().mean()
    orthogonal = torch.allclose(square, size * torch.eye(len(square), dtype=torch.double), atol=1e-4 * float(size))
    return math.sqrt(size) if orthogonal else math.nan


def test_initial_weights_are_orthogonal_with_the_published_gains() -> None:
    net = atari()
    gains = {name: gain(p) for name, p in net.named_parameters() if "weight" in name}
    expected = {
        **{f"trunk.convs.{i}.weight": 2**0.5 for i in range(3)},
        "trunk.fc.weight": 2**0.5,
        "lstm.inputs.weight": 1.0,
        "lstm.recurrent.weight": 1.0,
        "policy.weight": 0.01,
        "value.weight": 1.0,
    }
    assert gains == pytest.approx(expected, rel=1e-4)


def test_pytorchs_own_weights_would_be_noticed() -> None:
    """The planted fault: a layer that was left as PyTorch makes it."""
    assert math.isnan(gain(nn.Linear(64, 6).weight))


def test_initial_biases_are_zero_the_forget_gates_too() -> None:
    biases = [p for name, p in atari().named_parameters() if "bias" in name]
    assert len(biases) == 7
    assert not any(bias.any() for bias in biases)


def test_the_first_policy_is_close_to_uniform() -> None:
    net = atari()
    logits, _, _ = net(frames(1, 4), net.initial_state(4), torch.ones(1, 4, dtype=torch.bool))
    assert (logits.softmax(-1) - 1 / 6).abs().max() < 0.01


def test_an_equal_generator_makes_equal_weights_whatever_the_global_one() -> None:
    nets = []
    for global_seed, own in ((0, 7), (1, 7), (0, 8)):
        torch.manual_seed(global_seed)
        nets.append(ActorCritic((3,), 2, recurrent=True, generator=seeded(own)).state_dict())
    first, again, other = nets
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if "weight" in name)
