"""The divergence as a cost in the reward: the function f of one step, and its discounted sum over the future.

f is the derivative of a divergence D(pi, mu) = sum_a F(pi(a|s), mu(a|s)) with respect to pi(a|s), at the action taken;
a term in it that depends on the state alone changes no gradient, since sum_a grad pi(a|s) = 0. It is a constant under
differentiation (Wang et al. 2019, eq. 10 and section 5), so nothing here carries a gradient.

Every f takes `log_pi`, the log-probability of the action taken under the policy being trained, and `log_mu`, the same
under the policy that acted, as stored when it acted, of the same shape; other shapes raise ValueError.
"Released code" is lns/dapo @ bd640ba, ppo.py:193-212; its clips are not in the paper.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.ops.returns import backward_sum, require_rollout, require_shape

# Bounds of exponents, released code. A probability ratio or root beyond them counts as at the bound.
REVERSE_KL_CLIP = 3.0  # of log mu - log pi
HELLINGER_CLIP = 3.0  # of (log mu - log pi) / 2
ZERO_POTENTIAL_CLIP = 3.0  # of -log pi / 2 and -log mu / 2: probabilities below exp(-6)
TV_CLIP = 3.0  # of log mu: probabilities below exp(-3)


@torch.no_grad()
def kl(log_pi: Tensor, log_mu: Tensor) -> Tensor:
    """f = log pi - log mu, of the conditional relative entropy F = pi log(pi / mu) - pi. Zero at pi = mu.

    Source: Wang et al. 2019, section 5; released code "KL". No clip.
    """
    require_shape(tuple(log_pi.shape), log_mu=log_mu)
    return log_pi - log_mu


@torch.no_grad()
def reverse_kl(log_pi: Tensor, log_mu: Tensor) -> Tensor:
    """f = 1 - mu / pi, of F = mu log(mu / pi) + pi. Zero at pi = mu; never above 1.

    Source: released code "rKL", with REVERSE_KL_CLIP.
    """
    require_shape(tuple(log_pi.shape), log_mu=log_mu)
    return 1 - (log_mu - log_pi).clamp(-REVERSE_KL_CLIP, REVERSE_KL_CLIP).exp()


@torch.no_grad()
def hellinger(log_pi: Tensor, log_mu: Tensor) -> Tensor:
    """f = 1 - sqrt(mu / pi), of the squared Hellinger distance F = ( sqrt(pi) - sqrt(mu) )^2. Zero at pi = mu.

    Source: released code "Hellinger", with HELLINGER_CLIP.
    """
    require_shape(tuple(log_pi.shape), log_mu=log_mu)
    return 1 - (0.5 * (log_mu - log_pi)).clamp(-HELLINGER_CLIP, HELLINGER_CLIP).exp()


@torch.no_grad()
def tv(log_pi: Tensor, log_mu: Tensor) -> Tensor:
    """f = mu sign(pi - mu) / 2, of the total variation weighted by mu, F = mu |pi - mu| / 2. Zero at pi = mu.

    The total variation itself, F = |pi - mu| / 2, would have no factor mu: this one weighs likely actions more.
    Source: released code "TV", with TV_CLIP.
    """
    require_shape(tuple(log_pi.shape), log_mu=log_mu)
    return 0.5 * log_mu.clamp(-TV_CLIP, TV_CLIP).exp() * (log_pi - log_mu).sign()


@torch.no_grad()
def zero_potential(log_pi: Tensor, log_mu: Tensor) -> Tensor:
    """f = mu^(-1/2) - pi^(-1/2), of the Bregman divergence of -2 sqrt(x), F = ( sqrt(pi) - sqrt(mu) )^2 / sqrt(mu).

    -2 sum sqrt(x) is the Tsallis entropy of order 1/2 up to sign and constants. Zero at pi = mu.
    Source: Wang et al. 2019, section 4 (0-potential, as promising); released code "INF", with ZERO_POTENTIAL_CLIP.
    """
    require_shape(tuple(log_pi.shape), log_mu=log_mu)
    root_mu, root_pi = ((-0.5 * x).clamp(-ZERO_POTENTIAL_CLIP, ZERO_POTENTIAL_CLIP).exp() for x in (log_mu, log_pi))
    return root_mu - root_pi


@torch.no_grad()
def entropy(log_pi: Tensor, _log_mu: Tensor | None = None) -> Tensor:
    """f = log pi, of the negative entropy F = pi log pi - pi: the PPO+Entropy arm. Not zero at pi = mu.

    No reference policy enters, so there is no 1-step divergence of it: f of the step alone is the usual entropy bonus.
    Source: Wang et al. 2019, section 5.2.1, summed over the future; released code "Entropy".
    """
    return log_pi.clone()


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "entropy": entropy,
    "hellinger": hellinger,
    "kl": kl,
    "reverse_kl": reverse_kl,
    "tv": tv,
    "zero_potential": zero_potential,
}


@torch.no_grad()
def multi_step(
    f: Tensor,
    discount: Tensor,
    ratio: Tensor,
    *,
    c_bar: float,
    rho_bar: float = 1.0,
    horizon: int | None = None,
    shifted: bool = False,
) -> Tensor:
    """Off-policy estimate of Q_pi(f): the divergence of this step and of the steps after it.

        D_i = f_i + sum_{j=1..n} (prod_{k=i..i+j-1} discount_k) (prod_{k=i+1..i+j-1} c_k) rho_{i+j} f_{i+j}
        rho = min(rho_bar, ratio),  c = min(c_bar, ratio),  n = horizon, or to the end of the roll-out

    computed as D_i = f_i + discount_i U_{i+1}, U_i = rho_i f_i + discount_i c_i U_{i+1}.

    Source: Wang et al. 2019, eq. 12 with the product from k=1 of section 5. The own step has no ratio: it
    multiplies the whole estimate in the loss. Nothing is bootstrapped past the roll-out.

    Args:
        f: `[T, B]` function of the step, see DIVERGENCES.
        discount: `[T, B]` gamma, or 0 where the episode ended after the step, by a time limit too.
        ratio: `[T, B]` pi(a|s) / mu(a|s).
        c_bar, rho_bar: caps, `math.inf` for none.
        horizon: number of future steps kept. 0 is the 1-step divergence D = f, which c_bar = 0 is not
            (the step j = 1 has no c). None: all.
        shifted: the released code's recursion, U_i = rho_i f_{i+1} + discount_i c_i U_{i+1}, the last one
            U_{T-1} = rho_{T-1} f_{T-1}: every ratio is paired with the f of the step after it, and f_{i+1} is left out.
    Raises:
        ValueError: a wrong shape, a negative cap or a negative horizon.
    """
    require_rollout("f", f)
    require_shape(tuple(f.shape), discount=discount, ratio=ratio)
    if rho_bar < 0 or c_bar < 0:
        raise ValueError(f"rho_bar and c_bar must not be negative, got {rho_bar} and {c_bar}")
    if horizon is not None and horizon < 0:
        raise ValueError(f"horizon must not be negative, got {horizon}")
    d = f.clone()
    if horizon == 0:
        return d
    own = ratio.clamp(max=rho_bar) * (torch.cat([f[1:], f[-1:]]) if shifted else f)
    decay = discount * ratio.clamp(max=c_bar)
    if horizon is None or horizon >= len(f) - 1:
        future = backward_sum(own, decay)
    else:
        future = own.clone()
        for _ in range(horizon - 1):
            # The last row has nothing after it, and stays its own term.
            future = torch.cat([torch.addcmul(own[:-1], decay[:-1], future[1:]), own[-1:]])
    d[:-1].addcmul_(discount[:-1], future[1:])
    return d
