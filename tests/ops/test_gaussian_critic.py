"""The two losses of the Gaussian critic against torch.distributions and their stationary points."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from bench.ops.losses import gaussian_kl, gaussian_nll


def doubles(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def gaussians(seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mean = 3 * torch.randn(50, 2, generator=g, dtype=torch.float64)
    return mean, torch.exp(torch.randn(50, 2, generator=g, dtype=torch.float64))


def test_kl_by_hand():
    # log(2/1) + (1 + 4) / 8 - 1/2
    assert gaussian_kl(doubles(3), doubles(1), doubles(1), doubles(2)).item() == pytest.approx(math.log(2) + 0.125)


def test_kl_is_that_of_the_library_and_not_the_reverse():
    (mean_p, sigma_p), (mean_q, sigma_q) = gaussians(0), gaussians(1)
    ours = gaussian_kl(mean_p, sigma_p, mean_q, sigma_q)
    p, q = Normal(mean_p, sigma_p), Normal(mean_q, sigma_q)
    assert torch.allclose(ours, kl_divergence(p, q), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(ours, kl_divergence(q, p), rtol=0.1)


def test_kl_of_equal_gaussians_is_exactly_zero():
    mean, sigma = gaussians(2)
    assert torch.equal(gaussian_kl(mean.float(), sigma.float(), mean.float(), sigma.float()), torch.zeros(50, 2))


def gradient(mean_q: float, sigma_q: float) -> tuple[float, float]:
    """Of KL( N(1, 0.5) || N(mean_q, sigma_q) ) in the second Gaussian, the critic."""
    critic = doubles(mean_q, sigma_q).requires_grad_()
    gaussian_kl(doubles(1), doubles(0.5), critic[:1], critic[1:]).sum().backward()
    assert critic.grad is not None
    return critic.grad[0].item(), critic.grad[1].item()


def test_kl_is_stationary_at_the_target():
    assert gradient(1.0, 0.5) == (0.0, 0.0)


@pytest.mark.parametrize(("mean", "sign"), [(0.0, -1), (0.75, -1), (1.25, 1), (3.0, 1)])
def test_descent_moves_the_mean_to_the_target(mean, sign):
    assert sign * gradient(mean, 0.5)[0] > 0.1


@pytest.mark.parametrize(("sigma", "sign"), [(0.25, -1), (0.45, -1), (0.6, 1), (2.0, 1)])
def test_descent_moves_sigma_to_the_target(sigma, sign):
    assert sign * gradient(1.0, sigma)[1] > 0.1


def test_a_wrong_mean_widens_the_critic():
    # the best sigma given the mean is sqrt(sT^2 + (mT - m)^2)
    assert gradient(2.0, 0.5)[1] < -0.1
    assert gradient(2.0, math.sqrt(0.25 + 1.0))[1] == pytest.approx(0, abs=1e-12)


def test_kl_shapes_must_agree():
    one, two = torch.ones(1), torch.ones(2)
    for name in ("sigma_p", "mean_q", "sigma_q"):
        arguments = {"mean_p": two, "sigma_p": two, "mean_q": two, "sigma_q": two, name: one}
        with pytest.raises(ValueError, match=rf"^{name} has shape"):
            gaussian_kl(**arguments)


def test_nll_by_hand():
    # errors -1, 1, 2 sigmas: 0.5 (1 + 1 + 4 + 0) / 4 + log sigma averaged + 0.5 log 2 pi
    nll = gaussian_nll(doubles(0, 4), doubles(2, 1), doubles(-2, 2, 6, 4).view(2, 2))
    assert nll.item() == pytest.approx(0.75 + 0.5 * math.log(2) + 0.5 * math.log(2 * math.pi))


def test_nll_is_that_of_the_library():
    mean, sigma = (x[:, 0] for x in gaussians(3))
    particles = torch.randn(50, 7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = -Normal(mean[:, None], sigma[:, None]).log_prob(particles).mean()
    assert gaussian_nll(mean, sigma, particles).item() == pytest.approx(expected.item(), rel=1e-12)


def test_nll_is_stationary_at_the_moments_of_the_particles_of_each_state():
    particles = doubles(1, 2, 6, -3, 0, 0).view(2, 3)
    critic = torch.stack([particles.mean(1), particles.std(1, correction=0)]).requires_grad_()
    gaussian_nll(critic[0], critic[1], particles).backward()
    assert torch.allclose(critic.grad, torch.zeros(2, 2, dtype=torch.float64), rtol=0, atol=1e-14)
    wide = (2 * critic.detach()).requires_grad_()
    gaussian_nll(wide[0], wide[1], particles).backward()
    assert wide.grad[1].min() > 0.01


def test_particles_are_constants():
    particles = torch.ones(2, 3, requires_grad=True)
    sigma = torch.ones(2, requires_grad=True)
    gaussian_nll(torch.zeros(2), sigma, particles).backward()
    assert particles.grad is None


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 1)])
def test_nll_wants_particles_per_state(shape):
    with pytest.raises(ValueError, match=r"^particles has shape"):
        gaussian_nll(torch.zeros(2), torch.ones(2), torch.zeros(shape))


def test_nll_wants_a_sigma_per_state():
    with pytest.raises(ValueError, match=r"^sigma has shape"):
        gaussian_nll(torch.zeros(2), torch.ones(1), torch.zeros(2, 3))
