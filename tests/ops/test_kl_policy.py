"""The off-policy actor's score-function loss against the divergence whose gradient it estimates."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.ops.losses import kl_policy_loss

LOGITS = torch.tensor([0.5, -1.0, 0.25], dtype=torch.float64)
ADVANTAGE = torch.tensor([0.0, 0.04, 0.1], dtype=torch.float64)
ALPHAS = (0.03, 0.5, 1.0)


def mean_gradient(loss: Callable[..., Tensor], alpha: float, logits: Tensor = LOGITS) -> Tensor:
    """sum_a pi(a) grad loss(a), each action's loss taken alone, as from a batch of one."""
    total = torch.zeros_like(logits)
    for a, p in enumerate(logits.softmax(-1)):
        x = logits.clone().requires_grad_()
        log_pi = torch.log_softmax(x, -1)[a : a + 1]
        total += p * torch.autograd.grad(loss(log_pi, ADVANTAGE[a : a + 1], alpha=alpha), x)[0]
    return total


def divergence_gradient(alpha: float) -> Tensor:
    """grad of alpha KL( pi || exp(A / alpha) / Z ), exactly."""
    x = LOGITS.clone().requires_grad_()
    log_pi, target = torch.log_softmax(x, -1), torch.log_softmax(ADVANTAGE / alpha, -1)
    return torch.autograd.grad(alpha * (log_pi.exp() * (log_pi - target)).sum(), x)[0]


def not_stopped(log_pi: Tensor, advantage: Tensor, *, alpha: float) -> Tensor:
    return (log_pi * (alpha * log_pi - advantage)).mean()


def sign_turned(log_pi: Tensor, advantage: Tensor, *, alpha: float) -> Tensor:
    return (log_pi * (alpha * log_pi + advantage).detach()).mean()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_its_mean_gradient_is_that_of_the_divergence(alpha):
    assert torch.allclose(mean_gradient(kl_policy_loss, alpha), divergence_gradient(alpha), rtol=0, atol=1e-12)
    assert divergence_gradient(alpha).abs().max() > 1e-3


@pytest.mark.parametrize("fault", [not_stopped, sign_turned])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_gradient_through_the_weight_or_a_turned_sign_is_found(alpha, fault):
    assert (mean_gradient(fault, alpha) - divergence_gradient(alpha)).abs().max() > 1e-3


@pytest.mark.parametrize("alpha", ALPHAS)
def test_it_is_stationary_in_the_mean_at_the_softmax_of_the_advantage(alpha):
    assert mean_gradient(kl_policy_loss, alpha, ADVANTAGE / alpha).abs().max() < 1e-12


def test_by_hand():
    # mean of -2 (0.5 (-2) - 1) and -4 (0.5 (-4) - 0)
    log_pi = torch.tensor([-2.0, -4.0], requires_grad=True)
    advantage = torch.tensor([1.0, 0.0], requires_grad=True)
    loss = kl_policy_loss(log_pi, advantage, alpha=0.5)
    loss.backward()
    assert loss.item() == 6.0
    assert log_pi.grad.tolist() == [-1.0, -1.0]
    assert advantage.grad is None


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"^advantage has shape"):
        kl_policy_loss(torch.zeros(2), torch.zeros(2, 1), alpha=0.03)
