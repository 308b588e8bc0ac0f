"""Losses against numbers by hand and against their gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ops.divergences import kl, multi_step
from bench.ops.losses import (
    actor_critic_loss,
    categorical_entropy,
    importance_ratio,
    outside_loss,
    ppo_clip,
    rms_normalise,
    unclipped_loss,
    value_loss,
    weighted_mean,
)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- weighted mean


def test_forced_steps_do_not_enter_a_mean() -> None:
    x, weight = torch.tensor([[1.0, 64.0], [3.0, 64.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert weighted_mean(x, weight) == 2


def test_a_mean_over_nothing_is_zero_and_has_no_gradient() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    mean = weighted_mean(x, torch.zeros(2, 2))
    mean.backward()
    assert mean == 0
    assert torch.equal(x.grad, torch.zeros(2, 2))


def test_a_weight_that_would_broadcast_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight has shape \[2\], expected \[2, 2\]"):
        weighted_mean(torch.ones(2, 2), torch.ones(2))


# ---- ratio and scale


def test_the_ratio_is_clipped_in_log_space() -> None:
    log_pi = torch.tensor([0.0, -1.0, -50.0, 0.0], dtype=torch.float64)
    log_mu = torch.tensor([0.0, -1.5, 0.0, -50.0], dtype=torch.float64)
    expected = torch.tensor([1.0, math.exp(0.5), math.exp(-10), math.exp(10)], dtype=torch.float64)
    torch.testing.assert_close(importance_ratio(log_pi, log_mu, clip=10.0), expected, rtol=1e-15, atol=0)


def test_the_ratio_has_a_gradient_in_log_pi_alone() -> None:
    log_pi, log_mu = normal(0, 4).requires_grad_(), normal(1, 4).requires_grad_()
    ratio = importance_ratio(log_pi, log_mu, clip=10.0)
    ratio.sum().backward()
    assert torch.equal(log_pi.grad, ratio.detach())
    assert log_mu.grad is None


def test_normalising_divides_by_the_root_mean_square_without_centring() -> None:
    a = torch.tensor([[3.0, 4.0], [3.0, 4.0]], dtype=torch.float64)
    scaled = rms_normalise(a, torch.ones(2, 2, dtype=torch.float64))
    torch.testing.assert_close(scaled, a / (math.sqrt(12.5) + 1e-4), rtol=1e-15, atol=0)
    assert (scaled > 0).all()


def test_the_scale_ignores_forced_steps_but_scales_them() -> None:
    weight = torch.tensor([1.0, 1.0, 0.0])
    assert rms_normalise(torch.tensor([2.0, -2.0, 64.0]), weight, eps=0.0).tolist() == [1, -1, 32]


def test_a_vanishing_advantage_is_not_blown_up() -> None:
    a = torch.full((2, 2), 1e-8, dtype=torch.float64)
    # Below the floor the divisor stays at sqrt(1e-8) + 1e-4 = 2e-4.
    torch.testing.assert_close(rms_normalise(a, torch.ones_like(a)), a / 2e-4, rtol=1e-12, atol=0)
    assert torch.equal(rms_normalise(torch.zeros(2), torch.ones(2)), torch.zeros(2))


def test_no_gradient_flows_through_the_scale() -> None:
    assert not rms_normalise(torch.ones(2, requires_grad=True), torch.ones(2)).requires_grad


@given(st.integers(0, 2**31), st.floats(0.5, 1e4))
@settings(max_examples=50, deadline=None)
def test_the_scale_of_the_reward_drops_out(seed: int, scale: float) -> None:
    a = normal(seed, 8, 4)
    weight = torch.ones_like(a)
    scaled, plain = rms_normalise(scale * a, weight), rms_normalise(a, weight)
    torch.testing.assert_close(scaled, plain, rtol=1e-3, atol=1e-3)


# ---- PPO


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.0, 2.0, -2.0),
        (2.0, 2.0, -2.5),  # too likely already: clipped at 1.25
        (0.5, 2.0, -1.0),  # too unlikely: not clipped
        (2.0, -2.0, 4.0),  # too likely and bad: not clipped
        (0.5, -2.0, 1.5),  # unlikely and bad already: clipped at 0.75
    ],
)
def test_ppo_by_hand(ratio: float, advantage: float, loss: float) -> None:
    assert ppo_clip(torch.tensor([ratio]), torch.tensor([advantage]), clip=0.25, weight=torch.ones(1)) == loss


def test_ppo_has_no_gradient_where_it_clips_and_minus_b_elsewhere() -> None:
    ratio = torch.tensor([1.0, 2.0, 0.5, 2.0, 0.5], requires_grad=True)
    b = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0])
    ppo_clip(ratio, b, clip=0.25, weight=torch.ones(5)).backward()
    torch.testing.assert_close(ratio.grad, -torch.tensor([2.0, 0.0, 2.0, -2.0, 0.0]) / 5)


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_at_the_behaviour_policy_ppo_is_the_policy_gradient(seed: int) -> None:
    log_pi = normal(seed, 3, 4).requires_grad_()
    advantage = normal(seed + 1, 3, 4)
    ratio = importance_ratio(log_pi, log_pi.detach(), clip=10.0)
    ppo_clip(ratio, advantage, clip=0.2, weight=torch.ones(3, 4, dtype=torch.float64)).backward()
    torch.testing.assert_close(log_pi.grad, -advantage / 12)


def test_at_the_behaviour_policy_the_divergence_changes_nothing() -> None:
    """dpo.md 2.10 item 1: w = 1 gives f = 0, D = 0 and the gradient of plain PPO."""
    advantage, log_mu = normal(0, 5, 3), -normal(1, 5, 3).abs()
    grads = []
    for inv_eta in (0.0, 0.5):
        log_pi = log_mu.clone().requires_grad_()
        ratio = importance_ratio(log_pi, log_mu, clip=10.0)
        d = multi_step(kl(log_pi, log_mu), torch.full_like(log_mu, 0.99), ratio, c_bar=0.5)
        ppo_clip(ratio, advantage - inv_eta * d, clip=0.2, weight=torch.ones_like(log_mu)).backward()
        grads.append(log_pi.grad)
    assert torch.equal(*grads)


def test_no_gradient_flows_into_the_advantage() -> None:
    ratio, advantage = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    ppo_clip(ratio, advantage, clip=0.2, weight=torch.ones(3)).backward()
    assert advantage.grad is None


def test_forced_steps_have_no_policy_gradient() -> None:
    ratio = torch.ones(2, requires_grad=True)
    ppo_clip(ratio, torch.tensor([1.0, 64.0]), clip=0.2, weight=torch.tensor([1.0, 0.0])).backward()
    assert ratio.grad.tolist() == [-1, 0]


def test_a_planted_sign_fault_is_caught() -> None:
    ratio, advantage = torch.tensor([2.0]), torch.tensor([-2.0])
    taken_with_max = -torch.maximum(ratio * advantage, ratio.clamp(0.75, 1.25) * advantage).mean()
    assert ppo_clip(ratio, advantage, clip=0.25, weight=torch.ones(1)) != taken_with_max


# ---- other policy losses


def test_the_other_policy_losses_by_hand() -> None:
    ratio, a, d, weight = (
        torch.tensor(x) for x in ([2.0, 0.5, 64.0], [2.0, -2.0, 64.0], [1.0, 4.0, 64.0], [1.0, 1, 0])
    )
    assert unclipped_loss(ratio, a, weight=weight) == -(4 - 1) / 2
    # clipped: - (1.25 2 - 0.75 2) / 2; divergence, not clipped: 0.5 (2 1 + 0.5 4) / 2
    assert outside_loss(ratio, a, d, inv_eta=0.5, clip=0.25, weight=weight) == -0.5 + 1
    log_pi = torch.tensor([-1.0, -3.0, -64.0])
    # - (1 2 (-1) + 0.5 (-2) (-3)) / 2
    assert actor_critic_loss(log_pi, ratio, a, rho_bar=1.0, weight=weight) == -0.5


def gradients(log_mu: torch.Tensor, log_pi: torch.Tensor, loss) -> torch.Tensor:
    log_pi = log_pi.clone().requires_grad_()
    loss(log_pi, importance_ratio(log_pi, log_mu, clip=10.0)).backward()
    return log_pi.grad


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_at_the_behaviour_policy_all_policy_losses_have_one_gradient(seed: int) -> None:
    log_mu, a, d = -normal(seed, 3, 4).abs(), normal(seed + 1, 3, 4), normal(seed + 2, 3, 4)
    one = torch.ones_like(a)
    losses = {
        "inside": lambda _, w: ppo_clip(w, a - 0.5 * d, clip=0.2, weight=one),
        "outside": lambda _, w: outside_loss(w, a, d, inv_eta=0.5, clip=0.2, weight=one),
        "unclipped": lambda _, w: unclipped_loss(w, a - 0.5 * d, weight=one),
        "actor_critic": lambda p, w: actor_critic_loss(p, w, a - 0.5 * d, rho_bar=1.0, weight=one),
    }
    for loss in losses.values():
        torch.testing.assert_close(gradients(log_mu, log_mu, loss), -(a - 0.5 * d) / 12)


def test_away_from_the_behaviour_policy_they_differ() -> None:
    log_mu, log_pi, a, d = -normal(0, 5, 3).abs(), -normal(1, 5, 3).abs(), normal(2, 5, 3), normal(3, 5, 3)
    one = torch.ones_like(a)
    grads = [
        gradients(log_mu, log_pi, lambda _, w: ppo_clip(w, a - d, clip=0.2, weight=one)),
        gradients(log_mu, log_pi, lambda _, w: outside_loss(w, a, d, inv_eta=1.0, clip=0.2, weight=one)),
        gradients(log_mu, log_pi, lambda _, w: unclipped_loss(w, a - d, weight=one)),
        gradients(log_mu, log_pi, lambda p, w: actor_critic_loss(p, w, a - d, rho_bar=1.0, weight=one)),
    ]
    assert all(not torch.allclose(g, h) for i, g in enumerate(grads) for h in grads[:i])


def test_without_divergence_outside_is_inside() -> None:
    log_mu, log_pi, a, d = -normal(0, 5, 3).abs(), -normal(1, 5, 3).abs(), normal(2, 5, 3), normal(3, 5, 3)
    one = torch.ones_like(a)
    outside = gradients(log_mu, log_pi, lambda _, w: outside_loss(w, a, d, inv_eta=0.0, clip=0.2, weight=one))
    assert torch.equal(outside, gradients(log_mu, log_pi, lambda _, w: ppo_clip(w, a, clip=0.2, weight=one)))


def test_outside_keeps_the_divergence_where_the_advantage_is_clipped() -> None:
    ratio = torch.tensor([2.0], requires_grad=True)
    outside_loss(ratio, torch.ones(1), torch.ones(1), inv_eta=0.5, clip=0.2, weight=torch.ones(1)).backward()
    assert ratio.grad.tolist() == [0.5]


def test_the_unclipped_gradient_is_that_of_equation_13_by_enumeration() -> None:
    """sum_s d(s) sum_a mu(a|s) w (D - eta A) grad log pi, over eta, of a softmax of 3 states and 4 actions."""
    logits, mu = normal(0, 3, 4).requires_grad_(), normal(1, 3, 4).softmax(-1)
    a, d, states, eta = normal(2, 3, 4), normal(3, 3, 4), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 2.0
    pi = logits.detach().softmax(-1)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for s in range(3):
        for action in range(4):
            score = torch.eye(4, dtype=torch.float64)[action] - pi[s]
            w = pi[s, action] / mu[s, action]
            expected[s] += states[s] * mu[s, action] * w * (d[s, action] - eta * a[s, action]) * score
    ratio = importance_ratio(logits.log_softmax(-1), mu.log(), clip=10.0)
    loss = unclipped_loss(ratio, a - d / eta, weight=states[:, None] * mu)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(eta * gradient, expected, rtol=1e-12, atol=1e-14)


def test_actor_critic_at_the_behaviour_policy_is_a2c() -> None:
    logits, a = normal(0, 6, 4).requires_grad_(), normal(1, 6)
    log_pi = logits.log_softmax(-1)[:, 0]
    (gradient,) = torch.autograd.grad(
        actor_critic_loss(log_pi, torch.ones(6), a, rho_bar=1.0, weight=torch.ones(6)), logits, retain_graph=True
    )
    (a2c,) = torch.autograd.grad(-(a * log_pi).mean(), logits)
    torch.testing.assert_close(gradient, a2c)


def test_actor_critic_caps_the_ratio() -> None:
    log_pi = torch.zeros(3, requires_grad=True)
    ratio = torch.tensor([0.5, 1.0, 8.0])
    actor_critic_loss(log_pi, ratio, torch.ones(3), rho_bar=1.0, weight=torch.ones(3)).backward()
    torch.testing.assert_close(log_pi.grad, -torch.tensor([0.5, 1.0, 1.0]) / 3)


def test_a_forgotten_stop_gradient_on_advantage_divergence_or_ratio_would_show() -> None:
    x = {name: normal(i, 5).requires_grad_() for i, name in enumerate(("log_pi", "a", "d"))}
    ratio = x["log_pi"].exp()
    one = torch.ones(5, dtype=torch.float64)
    for loss in (
        unclipped_loss(ratio, x["a"] - x["d"], weight=one),
        outside_loss(ratio, x["a"], x["d"], inv_eta=0.5, clip=0.2, weight=one),
        actor_critic_loss(x["log_pi"], ratio, x["a"] - x["d"], rho_bar=1.0, weight=one),
    ):
        grads = torch.autograd.grad(loss, list(x.values()), allow_unused=True, retain_graph=True)
        assert grads[1] is None
        assert grads[2] is None
    through_the_ratio = -(ratio.clamp(max=1.0) * x["a"].detach() * x["log_pi"]).mean()
    (faulty,) = torch.autograd.grad(through_the_ratio, x["log_pi"], retain_graph=True)
    (right,) = torch.autograd.grad(actor_critic_loss(x["log_pi"], ratio, x["a"], rho_bar=1.0, weight=one), x["log_pi"])
    assert not torch.allclose(faulty, right)


# ---- value


def test_the_value_loss_without_ratio_is_the_plain_square() -> None:
    v, target, weight = torch.tensor([1.0, 2.0, 64.0]), torch.tensor([3.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    assert value_loss(v, target, None, weight=weight) == 0.5 * (4 + 1) / 2
    assert value_loss(v, target, torch.ones(3), weight=weight) == value_loss(v, target, None, weight=weight)


def test_the_value_loss_by_hand() -> None:
    v, target = torch.tensor([1.0, 2.0, 64.0]), torch.tensor([3.0, 1.0, 0.0])
    ratio, weight = torch.tensor([0.5, 8.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
    loss = value_loss(v, target, ratio, ratio_cap=3.0, weight=weight)
    assert loss == 0.5 * (0.5 * 4 + 3 * 1) / 2


def test_the_value_loss_moves_v_alone() -> None:
    v, target, ratio = (torch.tensor([1.0, 2.0]).add(i).requires_grad_() for i in range(3))
    value_loss(v, target, ratio, ratio_cap=3.0, weight=torch.ones(2)).backward()
    assert v.grad.tolist() == [-1.5, -1.5]  # min(w, 3) (v - target) / 2
    assert target.grad is None
    assert ratio.grad is None


# ---- entropy


@pytest.mark.parametrize("actions", [2, 6, 18])
def test_the_uniform_policy_has_entropy_log_a(actions: int) -> None:
    entropy = categorical_entropy(torch.zeros(3, 5, actions, dtype=torch.float64))
    torch.testing.assert_close(entropy, torch.full((3, 5), math.log(actions), dtype=torch.float64))


def test_a_sure_policy_has_entropy_zero_and_a_finite_gradient() -> None:
    logits = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    entropy = categorical_entropy(logits)
    entropy.sum().backward()
    assert entropy.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_entropy_agrees_with_torch() -> None:
    logits = normal(0, 7, 4)
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(categorical_entropy(logits), expected)


@pytest.mark.parametrize("seed", range(3))
def test_float32_agrees_with_float64(seed: int) -> None:
    log_pi, log_mu, a, v = (normal(10 * seed + i, 6, 4) for i in range(4))

    def results(dtype: torch.dtype) -> list[torch.Tensor]:
        p, m, b, c = (x.to(dtype) for x in (log_pi, log_mu, a, v))
        weight = torch.ones_like(p)
        ratio = importance_ratio(p, m, clip=10.0)
        return [
            ppo_clip(ratio, rms_normalise(b, weight), clip=0.2, weight=weight),
            value_loss(c, b, ratio, ratio_cap=3.0, weight=weight),
            categorical_entropy(p),
        ]

    for single, double in zip(results(torch.float32), results(torch.float64), strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_losses_stay_on_the_device_and_never_wait_for_it() -> None:
    x = torch.ones(4, 3, device="meta")  # has no data: reading a number of it raises
    ratio = importance_ratio(x, x, clip=10.0)
    results = [
        ppo_clip(ratio, rms_normalise(x, x), clip=0.2, weight=x),
        value_loss(x, x, ratio, ratio_cap=3.0, weight=x),
        categorical_entropy(x),
    ]
    assert {result.device.type for result in results} == {"meta"}


def test_shapes_that_differ_are_refused_by_name() -> None:
    x, y = torch.ones(2, 3), torch.ones(3)
    with pytest.raises(ValueError, match="advantage has shape"):
        ppo_clip(x, y, clip=0.2, weight=x)
    with pytest.raises(ValueError, match="weight has shape"):
        ppo_clip(x, x, clip=0.2, weight=y)
    with pytest.raises(ValueError, match="advantage has shape"):
        unclipped_loss(x, y, weight=x)
    with pytest.raises(ValueError, match="advantage has shape"):
        outside_loss(x, x, y, inv_eta=0.5, clip=0.2, weight=x)
    with pytest.raises(ValueError, match="ratio has shape"):
        actor_critic_loss(x, y, x, rho_bar=1.0, weight=x)
    with pytest.raises(ValueError, match="target has shape"):
        value_loss(x, y, x, ratio_cap=3.0, weight=x)
    with pytest.raises(ValueError, match="log_mu has shape"):
        importance_ratio(x, y, clip=10.0)
