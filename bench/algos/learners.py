"""What DPO and its on-policy baselines share of policy improvement: PPO, A2C and the natural step of TRPO."""

import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bench.algos.collector import Policy
from bench.dpo_config import LearnerConfig
from bench.errors import DivergedError
from bench.ops.losses import actor_critic_loss, ppo_clip
from bench.ops.trust_region import conjugate_gradient, line_search

LOG_RATIO_CLIP = 20.0  # exp of it is still finite; no policy step comes near
T = TypeVar("T")

STD_EPSILON = 1e-8  # MagiFeeney/DPO, storage.py


def standardise(advantage: Tensor) -> Tensor:
    """Minus mean, over the unbiased standard deviation + 1e-8, of each environment over time. `[T, B]`."""
    centred = advantage - advantage.mean(0)
    return centred / (advantage.std(0) + STD_EPSILON)


def minibatches(learner: LearnerConfig, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of each minibatch of each epoch, a new order per epoch."""
    for _ in range(learner.epochs):
        yield from torch.randperm(size, generator=generator).tensor_split(learner.minibatches)


def surrogate(learner: LearnerConfig, log_pi: Tensor, log_mu: Tensor, advantage: Tensor) -> Tensor:
    """The on-policy loss of a minibatch: PPO's clipped one, else the policy gradient's. Scalar.

    Source: Schulman et al. 2017, eq. 7; Mnih et al. 2016, algorithm S3; Ma 2023, released code dpo.py.

    Args:
        log_pi, log_mu, advantage: `[N]`; log_mu is that of the policy that acted.
    """
    one = torch.ones_like(advantage)
    ratio = (log_pi - log_mu).clamp(-LOG_RATIO_CLIP, LOG_RATIO_CLIP).exp()
    if learner.name == "ppo":
        assert learner.clip is not None
        return ppo_clip(ratio, advantage, clip=learner.clip, weight=one)
    return actor_critic_loss(log_pi, one, advantage, rho_bar=1.0, weight=one)


def natural_step(learner: LearnerConfig, policy: Policy, x: Tensor, u: Tensor, advantage: Tensor) -> tuple[Tensor, int]:
    """The line-searched natural gradient step on the surrogate mean[ pi / mu A ]. The policy stays as it is.

    Source: Schulman et al. 2015, section 6 and appendix C.

    Args:
        x, u, advantage: `[N, ...]`, actions drawn from the present policy.
    Returns:
        the step on all parameters, flat, zeros where no scale of it was accepted; and the tries made.
    """
    max_kl, damping, decay = _given(learner.max_kl), _given(learner.damping), _given(learner.backtrack)
    iterations, limit = _given(learner.cg_iterations), _given(learner.backtracks)
    parameters = list(policy.parameters())
    raw = policy(x)
    old_raw, old_log_pi = raw.detach(), policy.family.log_prob(raw, u).detach()
    gain = (torch.exp(policy.family.log_prob(raw, u) - old_log_pi) * advantage).mean()
    gradient = _flat(torch.autograd.grad(gain, parameters, retain_graph=True))
    kl_gradient = _flat(torch.autograd.grad(policy.family.kl(old_raw, raw).mean(), parameters, create_graph=True))

    def product(v: Tensor) -> Tensor:
        return _flat(torch.autograd.grad(kl_gradient @ v, parameters, retain_graph=True)) + damping * v

    if not bool(torch.isfinite(gradient).all()):
        raise DivergedError("the policy gradient is no number any more")
    direction = conjugate_gradient(product, gradient, iterations=iterations)
    curvature = float(direction @ product(direction))
    if not curvature > 0:
        return torch.zeros_like(gradient), 0
    theta = parameters_to_vector(parameters).detach()

    @torch.no_grad()
    def evaluate(step: Tensor) -> tuple[float, float]:
        vector_to_parameters(theta + step, parameters)
        new = policy(x)
        improvement = (torch.exp(policy.family.log_prob(new, u) - old_log_pi) * advantage).mean() - gain
        return float(improvement), float(policy.family.kl(old_raw, new).mean())

    full = direction * math.sqrt(2 * max_kl / curvature)
    step, tries = line_search(evaluate, full, max_kl=max_kl, decay=decay, tries=limit)
    vector_to_parameters(theta, parameters)
    return step, tries


@torch.no_grad()
def move(policy: nn.Module, step: Tensor) -> None:
    """Add a flat step to the parameters."""
    parameters = list(policy.parameters())
    vector_to_parameters(parameters_to_vector(parameters) + step, parameters)


def block_variance(policy: Policy, x: Tensor, u: Tensor, advantage: Tensor, *, block: int) -> float:
    """Variance of the policy gradient of a block of consecutive steps, summed over parameters.

    Args:
        x, u, advantage: `[T, B, ...]`, actions drawn from the present policy.
        block: steps of a block of one environment; a rest is left out. Fewer than two blocks: nan.
    """
    steps, gradients = len(x) // block * block, []
    for b in range(x.shape[1]):
        for first in range(0, steps, block):
            part = slice(first, first + block)
            loss = -(policy.log_prob(x[part, b], u[part, b]) * advantage[part, b]).mean()
            gradients.append(_flat(torch.autograd.grad(loss, list(policy.parameters()))))
    return float(torch.stack(gradients).var(0).sum()) if len(gradients) > 1 else math.nan


@torch.no_grad()
def policy_metrics(
    policy: Policy, x: Tensor, u: Tensor, log_mu: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """How far a policy has moved on the steps it was trained on, and its entropy from one fresh draw per state.

    Args:
        x, u: `[N, ...]` observations and the actions taken.
        log_mu: `[N]` log-probability of these when they were taken.
        generator: of the draws, which no training uses.
    """
    raw = policy(x)
    log_ratio = policy.family.log_prob(raw, u) - log_mu
    entropy = -policy.family.log_prob(raw, policy.family.sample(raw, generator)).mean()
    return {
        "kl": -log_ratio.mean().item(),
        "ratio": log_ratio.clamp(max=LOG_RATIO_CLIP).exp().mean().item(),
        "entropy": entropy.item(),
    }


def require_finite(metrics: dict[str, float], updates: int) -> None:
    """Stop a run whose losses are no numbers any more.

    Raises:
        DivergedError: naming the first of them.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise DivergedError(f"{name} is {value} after {updates} updates of the policy")


def _given(value: T | None) -> T:
    """A value that LearnerConfig has found to be there."""
    assert value is not None
    return value


def _flat(gradients: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])
