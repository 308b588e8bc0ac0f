"""The divergence as a cost in the reward: the function f of one step, and its discounted sum over the future.

f is the derivative of the divergence of occupancies; it is a constant under differentiation
(Wang et al. 2019, eq. 10 and section 5), so nothing here carries a gradient.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.ops.returns import backward_sum, require_rollout, require_shape


@torch.no_grad()
def kl(log_pi: Tensor, log_mu: Tensor) -> Tensor:
    """f = log pi - log mu: conditional relative entropy of the occupancies.

    Source: Wang et al. 2019, section 5.

    Args:
        log_pi: log-probability of the action taken, under the policy being trained.
        log_mu: the same under the policy that acted, as stored when it acted. Same shape.
    Raises:
        ValueError: the shapes differ.
    """
    require_shape(tuple(log_pi.shape), log_mu=log_mu)
    return log_pi - log_mu


@torch.no_grad()
def entropy(log_pi: Tensor, _log_mu: Tensor | None = None) -> Tensor:
    """f = log pi: the PPO+Entropy arm. Not the usual entropy bonus, it is summed over the future.

    Source: Wang et al. 2019, section 5.2.1.

    Args:
        log_pi: log-probability of the action taken, under the policy being trained.
    """
    return log_pi.clone()


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"kl": kl, "entropy": entropy}


@torch.no_grad()
def multi_step(
    f: Tensor,
    discount: Tensor,
    ratio: Tensor,
    *,
    c_bar: float,
    rho_bar: float = 1.0,
    horizon: int | None = None,
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
    own = ratio.clamp(max=rho_bar) * f
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
