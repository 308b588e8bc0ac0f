"""Master weights stay float32 and take the very steps that they would take with the network's gradient."""

import pytest
import torch
from torch import nn

from bench.config import PRECISIONS
from bench.nets import ActorCritic
from bench.precision import Working, full_precision


def network(recurrent=False, shape=(6,)):
    return ActorCritic(shape, 3, recurrent=recurrent, generator=torch.Generator().manual_seed(0))


def loss_of(net, batch=20, shape=(6,), seed=1):
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(4, batch, *shape, generator=generator)
    if len(shape) == 3:
        obs = (obs * 40 + 128).clamp(0, 255).to(torch.uint8)
    start = torch.rand(4, batch, generator=generator) < 0.2
    logits, value, state = net(obs, net.initial_state(batch), start)
    assert {part.dtype for part in (logits, value, *state)} == {torch.float32}
    return logits.square().mean() + (value - 1).square().mean()


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)


def test_fp32_is_the_network_itself():
    master = network()
    working = Working(master, "fp32")
    assert working.net is master
    plain = network()
    optimizer = adam(plain)
    optimizers = adam(master)
    for seed in range(3):
        loss = loss_of(plain, seed=seed)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
        optimizer.step()
        assert torch.equal(working.step(optimizers, loss_of(working.net, seed=seed), 0.1), norm)
    for ours, theirs in zip(master.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("recurrent", "shape"), [(False, (6,)), (True, (6,)), (True, (1, 84, 84)), (False, (4, 84, 84))]
)
def test_bf16_lowers_all_but_the_heads(recurrent, shape):
    master = network(recurrent, shape)
    working = Working(master, "bf16")
    assert {p.dtype for p in master.parameters()} == {torch.float32}
    kinds = {name: p.dtype for name, p in working.net.named_parameters()}
    assert {kinds[name] for name in kinds if name.startswith(("policy", "value"))} == {torch.float32}
    assert {kinds[name] for name in kinds if not name.startswith(("policy", "value"))} == {torch.bfloat16}
    exact, low = loss_of(master, 3, shape), loss_of(working.net, 3, shape)
    assert low != exact
    assert abs(low - exact) < 0.05 * exact


def test_bf16_steps_are_those_of_its_gradients_on_float32_weights():
    master = network()
    working, optimizer = Working(master, "bf16"), torch.optim.SGD(master.parameters(), lr=0.5)
    before = [p.detach().clone() for p in master.parameters()]
    loss = loss_of(working.net)
    expected = torch.autograd.grad(loss, list(working.net.parameters()), retain_graph=True)
    assert working.step(optimizer, loss) is None
    for p, start, gradient in zip(master.parameters(), before, expected, strict=True):
        assert p.dtype == torch.float32
        assert torch.equal(p.detach(), start - 0.5 * gradient.float())
    for low, full in zip(working.net.parameters(), master.parameters(), strict=True):
        assert torch.equal(low, full.to(low.dtype))


def test_small_steps_add_up_in_the_master():
    """A step of 2^-12 is lost in a bfloat16 weight of 1, a thousand of them are not lost in the master."""
    master = nn.Linear(1, 1, bias=False)
    nn.init.ones_(master.weight)
    working = Working(master, "bf16")
    optimizer = torch.optim.SGD(master.parameters(), lr=2**-12)
    for _ in range(1000):
        working.step(optimizer, working.net.weight.sum())
    assert master.weight.item() == pytest.approx(1 - 1000 / 4096)
    assert working.net.weight.item() == pytest.approx(1 - 1000 / 4096, abs=2**-9)


def test_clipping_is_of_the_whole_gradient():
    master = network()
    working, optimizer = Working(master, "bf16"), torch.optim.SGD(master.parameters(), lr=1.0)
    before = torch.cat([p.detach().flatten().clone() for p in master.parameters()])
    norm = working.step(optimizer, 100 * loss_of(working.net), 0.5)
    after = torch.cat([p.detach().flatten() for p in master.parameters()])
    assert norm > 0.5
    assert (before - after).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_refresh_follows_a_loaded_state():
    master, other = network(), ActorCritic((6,), 3, recurrent=False, generator=torch.Generator().manual_seed(9))
    working = Working(master, "bf16")
    master.load_state_dict(other.state_dict())
    assert not torch.equal(working.net.policy.weight, other.policy.weight)
    working.refresh()
    assert torch.equal(working.net.policy.weight, other.policy.weight)


def test_marks_and_names():
    assert full_precision(nn.Linear(2, 2)).full_precision
    assert PRECISIONS == ("fp32", "bf16")
    with pytest.raises(ValueError, match=r"precision is 'fp16'; allowed: fp32, bf16"):
        Working(nn.Linear(1, 1), "fp16")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_master_follows_another_by_tau_and_leaves_it(precision):
    target, source = (Working(network(), precision) for _ in range(2))
    nn.init.normal_(source.master.value.weight, generator=torch.Generator().manual_seed(3))
    before, origin = target.master.value.weight.detach().clone(), source.master.value.weight.detach().clone()
    target.follow(source, 0.25)
    torch.testing.assert_close(target.master.value.weight.detach(), 0.75 * before + 0.25 * origin)
    torch.testing.assert_close(target.net.value.weight, target.master.value.weight)
    assert torch.equal(source.master.value.weight, origin)
    target.follow(source, 1.0)
    torch.testing.assert_close(target.master.value.weight.detach(), origin)
