"""Losses and the small functions they are made of. A loss is to be minimised; means are weighted means.

`weight` is 1 where the agent chose the action and 0 where the protocol forced it.
"""

import math

import torch
from torch import Tensor

from bench.ops.returns import require_shape


def weighted_mean(x: Tensor, weight: Tensor) -> Tensor:
    """sum(weight x) / sum(weight), and 0 where all weights are 0. Never waits for the device.

    Args:
        x, weight: the same shape; weights are not negative.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(x.shape), weight=weight)
    total = weight.sum()
    return (weight * x).sum() / torch.where(total > 0, total, torch.ones_like(total))


def importance_ratio(log_pi: Tensor, log_mu: Tensor, *, clip: float) -> Tensor:
    """exp( clip(log pi - log mu, -clip, clip) ), differentiable in log_pi.

    Source: the authors' code of Wang et al. 2019 (clip 10; not in the paper).

    Args:
        log_pi: log-probability of the action taken, under the policy being trained.
        log_mu: the same as stored by the actor, same shape; a constant.
        clip: bound on the log-ratio, in nats.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(log_pi.shape), log_mu=log_mu)
    return torch.exp((log_pi - log_mu.detach()).clamp(-clip, clip))


@torch.no_grad()
def rms_normalise(a: Tensor, weight: Tensor, *, eps: float = 1e-4, floor: float = 1e-8) -> Tensor:
    """a / ( sqrt( max(mean a^2, floor) ) + eps ): a scale, no centring.

    Source: the authors' code of Wang et al. 2019 (not in the paper); without it the divergence weight has
    no fixed unit.

    Args:
        a: advantages of the whole batch, any shape.
        weight: same shape; the steps the mean is taken over. All steps are scaled.
        eps, floor: values of that code.
    Raises:
        ValueError: the shapes differ.
    """
    return a / (weighted_mean(a.square(), weight).clamp(min=floor).sqrt() + eps)


def ppo_clip(ratio: Tensor, advantage: Tensor, *, clip: float, weight: Tensor) -> Tensor:
    """- mean min( w B, clip(w, 1 - clip, 1 + clip) B ), B a constant.

    Source: Wang et al. 2019, eq. 19 (there the quantity to maximise); Schulman et al. 2017, eq. 7. With
    B = normalised advantage - D / eta it is PPO+DA, with B = the advantage alone PPO.

    Args:
        ratio: w, carries the gradient; any shape.
        advantage: B, same shape, detached here.
        clip: half-width of the interval around 1.
        weight: same shape.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(ratio.shape), advantage=advantage)
    b = advantage.detach()
    return -weighted_mean(torch.minimum(ratio * b, ratio.clamp(1 - clip, 1 + clip) * b), weight)


def unclipped_loss(ratio: Tensor, advantage: Tensor, *, weight: Tensor) -> Tensor:
    """- mean w B, B a constant.

    Source: Wang et al. 2019, eq. 13, whose gradient E[ w (D - eta A) grad log pi ] is eta times this one's with
    B = A - D / eta; the authors' code, "pgis".

    Args:
        ratio: w, carries the gradient; any shape.
        advantage: B, same shape, detached here.
        weight: same shape.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(ratio.shape), advantage=advantage)
    return -weighted_mean(ratio * advantage.detach(), weight)


def outside_loss(
    ratio: Tensor, advantage: Tensor, divergence: Tensor, *, inv_eta: float, clip: float, weight: Tensor
) -> Tensor:
    """- mean min( w A, clip(w, 1 - clip, 1 + clip) A ) + (1/eta) mean w D: only the advantage is clipped.

    Source: the authors' code of Wang et al. 2019 ("ppo" with a divergence, ppo.py:226), not in the paper.

    Args:
        ratio: w, carries the gradient; any shape.
        advantage, divergence: A and D, same shape, detached here.
        inv_eta: 1/eta.
        clip: half-width of the interval around 1.
        weight: same shape.
    Raises:
        ValueError: the shapes differ.
    """
    clipped = ppo_clip(ratio, advantage, clip=clip, weight=weight)
    return clipped + inv_eta * -unclipped_loss(ratio, divergence, weight=weight)


def actor_critic_loss(log_pi: Tensor, ratio: Tensor, advantage: Tensor, *, rho_bar: float, weight: Tensor) -> Tensor:
    """- mean min(rho_bar, w) A log pi, w and A constants: the V-trace policy gradient, at w = 1 that of A2C.

    Source: Espeholt et al. 2018, section 4.2 (A = r + gamma v' - V); Mnih et al. 2016, algorithm S3.

    Args:
        log_pi: log-probability of the action taken, carries the gradient; any shape.
        ratio: w, same shape, detached here.
        advantage: A, same shape, detached here.
        rho_bar: cap of w.
        weight: same shape.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(log_pi.shape), ratio=ratio, advantage=advantage)
    return -weighted_mean(ratio.detach().clamp(max=rho_bar) * advantage.detach() * log_pi, weight)


def value_loss(
    v: Tensor, target: Tensor, ratio: Tensor | None, *, ratio_cap: float = math.inf, weight: Tensor
) -> Tensor:
    """0.5 mean( min(w, ratio_cap) (v - target)^2 ), w and target constants.

    Source: Wang et al. 2019, eq. 14; the cap (3) is in the authors' code only. Without w: Espeholt et al. 2018.

    Args:
        v: values of the critic, carries the gradient; any shape.
        target: same shape, detached here.
        ratio: w, same shape, detached here; None for 1.
        ratio_cap: upper bound on w.
        weight: same shape.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(v.shape), target=target)
    error = (v - target.detach()).square()
    if ratio is not None:
        require_shape(tuple(v.shape), ratio=ratio)
        error = ratio.detach().clamp(max=ratio_cap) * error
    return 0.5 * weighted_mean(error, weight)


def categorical_entropy(logits: Tensor) -> Tensor:
    """- sum_a p_a log p_a of the softmax of finite logits, in nats.

    Args:
        logits: `[..., A]`. Returns `[...]`.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1)


def gaussian_kl(mean_p: Tensor, sigma_p: Tensor, mean_q: Tensor, sigma_q: Tensor) -> Tensor:
    """KL( N(mean_p, sigma_p) || N(mean_q, sigma_q) ) element by element, in nats, differentiable in all four.

        log(sigma_q / sigma_p) + ( sigma_p^2 + (mean_p - mean_q)^2 ) / (2 sigma_q^2) - 1/2

    With p the target (held constant by the caller) and q the critic it is the off-policy critic's loss.

    Source: Ma 2023, the authors' code, dpo.py:103-121.

    Args:
        mean_p, sigma_p, mean_q, sigma_q: the same shape; standard deviations, above 0.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(mean_p.shape), sigma_p=sigma_p, mean_q=mean_q, sigma_q=sigma_q)
    ratio = sigma_p / sigma_q
    # one ratio for both of its roles: equal distributions then give 0 to the last bit
    return 0.5 * (ratio.square() + ((mean_p - mean_q) / sigma_q).square() - 1) - ratio.log()


def gaussian_nll(mean: Tensor, sigma: Tensor, particles: Tensor) -> Tensor:
    """- mean log N(x; mean, sigma) over states and particles x, the particles constants: the on-policy critic's loss.

    Source: Ma 2023, the authors' code, dpo.py:92-99.

    Args:
        mean, sigma: `[N]`, carry the gradient; sigma above 0.
        particles: `[N, K]`, detached here.
    Raises:
        ValueError: a wrong shape.
    """
    require_shape(tuple(mean.shape), sigma=sigma)
    if mean.ndim != 1 or particles.ndim != 2 or len(particles) != len(mean):
        raise ValueError(f"particles has shape {list(particles.shape)}, expected {list(mean.shape)} + [K]")
    error = (particles.detach() - mean[:, None]) / sigma[:, None]
    return 0.5 * error.square().mean() + sigma.log().mean() + 0.5 * math.log(2 * math.pi)


def kl_policy_loss(log_pi: Tensor, advantage: Tensor, *, alpha: float) -> Tensor:
    """mean log pi(a|s) stopgrad( alpha log pi(a|s) - A ), with a drawn from pi.

    Its gradient is in the mean that of alpha KL( pi || exp(A / alpha) / Z ); its value means nothing. The draw is not
    reparametrised.

    Source: Ma 2023, the authors' code, dpo.py:55-62.

    Args:
        log_pi: log-probability of actions drawn from pi itself, carries the gradient; any shape.
        advantage: A, same shape, detached here: max(Q - b, 0), or Q - b.
        alpha: weight of the entropy, 0 or more; at 0 it is the policy gradient of A, and no divergence.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(log_pi.shape), advantage=advantage)
    return (log_pi * (alpha * log_pi - advantage).detach()).mean()
