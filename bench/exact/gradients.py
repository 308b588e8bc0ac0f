"""Exact gradients on a finite MDP: of <f, mu_pi>, of the performance and of the divergence of occupancies.

Policies are softmax: log pi(a|s) = x(s, a) . theta - log sum. Without features the parameters are the logits
`[S, A]`; with features `[S, A, d]` they are theta `[d]`. Everything is a linear solve, nothing a difference.
"""

import numpy as np
from numpy.typing import ArrayLike

from bench.envs.mdp import MDP, Array, discounted_sum, occupancy
from bench.errors import UserError


def log_softmax(logits: ArrayLike) -> Array:
    """log pi `[S, A]` of these logits: finite where pi underflows, exact to its own size where pi is almost 1."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(-1, keepdims=True)
    others = np.exp(shifted)
    np.put_along_axis(others, others.argmax(-1)[..., None], 0.0, axis=-1)
    log_pi: Array = shifted - np.log1p(others.sum(-1, keepdims=True))
    return log_pi


def softmax(logits: ArrayLike) -> Array:
    """pi `[S, A]` of these logits."""
    pi: Array = np.exp(log_softmax(logits))
    return pi


def logits_of(features: ArrayLike, theta: ArrayLike) -> Array:
    """x(s, a) . theta, `[S, A]`. Args: features: `[S, A, d]`. theta: `[d]`."""
    logits: Array = np.asarray(features, dtype=np.float64) @ np.asarray(theta, dtype=np.float64)
    return logits


def deviation(pi: Array, x: Array) -> Array:
    """x(s, a, ...) - sum_b pi(b|s) x(s, b, ...): the advantage of values, the score grad log pi of features.

    Counted from the most probable action, so that it keeps its digits when a policy is all but deterministic.

    Args:
        pi: `[S, A]`.
        x: `[S, A, ...]`.
    """
    top = x[np.arange(len(pi)), pi.argmax(1)][:, None]
    relative = x - top
    mean = np.einsum("sa,sa...->s...", pi, relative)
    result: Array = relative - mean[:, None]
    return result


def weighted_gradient(weight: Array, pi: Array, g: Array, features: Array | None = None) -> Array:
    """sum_s weight(s) sum_a g(s, a) grad pi(a|s), as an array of the parameters' shape.

    Args:
        weight: `[S]`, may be negative.
        pi: `[S, A]`.
        g: `[S, A]`, held constant; what it adds to all actions of a state does not matter.
        features: `[S, A, d]`; None: the parameters are the logits.
    """
    per_logit: Array = weight[:, None] * pi * deviation(pi, g)
    if features is None:
        return per_logit
    gradient: Array = np.einsum("sa,sad->d", per_logit, deviation(pi, features))
    return gradient


def lemma1(mdp: MDP, pi: Array, f: Array, features: Array | None = None) -> Array:
    """Gradient of sum_{s,a} f(s, a) mu_pi(s, a), f held constant: sum_s d_pi(s) sum_a Q_pi(f)(s, a) grad pi(a|s).

    Source: Wang et al. 2019, Lemma 1.

    Args:
        mdp: the process.
        pi: `[S, A]`.
        f: `[S, A]`.
        features: `[S, A, d]`, or None for the gradient in the logits.
    Raises:
        ValueError: a wrong shape, or pi is no policy.
    """
    return weighted_gradient(occupancy(mdp, pi), pi, discounted_sum(mdp, pi, f), features)


def performance_gradient(mdp: MDP, pi: Array, features: Array | None = None) -> Array:
    """Gradient of J(pi) = <r, mu_pi>. Source: Wang et al. 2019, section 3.1. Args, Raises: see `lemma1`."""
    return lemma1(mdp, pi, mdp.R, features)


# ---- the divergence of occupancies


def log_ratio(pi: ArrayLike, pi_ref: ArrayLike) -> Array:
    """f = log pi - log pi_ref `[S, A]`, 0 where both are 0.

    D = E log(pi / pi_ref) is infinite where the policy has mass and the reference none. Where the reference alone has
    mass D is finite, but f is not, and neither are zeta_2 nor the gradient at a policy.

    Raises:
        UserError: one of the two, with its state and action.
    """
    new, ref = np.asarray(pi, dtype=np.float64), np.asarray(pi_ref, dtype=np.float64)
    if new.shape != ref.shape:
        raise ValueError(f"pi has shape {list(new.shape)}, pi_ref {list(ref.shape)}")
    lone = (new > 0) != (ref > 0)
    if lone.any():
        s, a = (int(i) for i in np.argwhere(lone)[0])
        found = f"in state {s}, action {a} has probability {new[s, a]:g}, and {ref[s, a]:g} under the reference"
        if new[s, a] > 0:
            raise UserError(f"the divergence of the policy from its reference is infinite: {found}")
        raise UserError(f"log(pi / pi_ref), a cost of the divergence's gradient, is infinite: {found}")
    both = new > 0
    f: Array = np.log(np.where(both, new, 1)) - np.log(np.where(both, ref, 1))
    return f


def kl_per_state(pi: Array, pi_ref: Array, f: Array) -> Array:
    """sum_a pi f `[S]`, with f = log pi - log pi_ref given.

    Computed as sum_a (pi f - (pi - pi_ref)), the same sum, whose terms are all >= 0: the divergence of policies at a
    distance of 1e-6 is 1e-12, the difference of terms of 1e-6.
    """
    kl: Array = (pi * f - policy_change(pi, pi_ref, f)).sum(1)
    return kl


def policy_change(pi: Array, pi_ref: Array, f: Array) -> Array:
    """pi - pi_ref `[S, A]` by f = log pi - log pi_ref, to full relative precision."""
    change: Array = np.where(f > 0, -pi * np.expm1(-np.maximum(f, 0)), pi_ref * np.expm1(np.minimum(f, 0)))
    return change


def divergence(mdp: MDP, pi: Array, pi_ref: Array) -> float:
    """D_F(mu_pi, mu_ref) = E_{s~d_pi, a~pi} log(pi / pi_ref), F the conditional entropy of the occupancy.

    Source: Wang et al. 2019, section 5 and appendix B.1. Raises: see `log_ratio`.
    """
    f = log_ratio(pi, pi_ref)
    return float(occupancy(mdp, pi) @ kl_per_state(pi, pi_ref, f))


def divergence_gradient(mdp: MDP, pi: Array, pi_ref: Array, features: Array | None = None) -> Array:
    """Gradient of D_F(mu_pi, mu_ref), F the conditional entropy: Lemma 1 with f = log pi - log pi_ref.

    That f itself moves with pi adds nothing: E_pi grad log pi = 0. Source: Wang et al. 2019, eq. 10 and section 5.

    Args:
        mdp: the process.
        pi, pi_ref: `[S, A]`; pi_ref is held constant.
        features: see `lemma1`.
    Raises:
        UserError: see `log_ratio`.
    """
    return lemma1(mdp, pi, log_ratio(pi, pi_ref), features)


def one_step_gradient(mdp: MDP, pi: Array, pi_ref: Array, features: Array | None = None) -> Array:
    """Gradient of the conditional divergence sum_s d_ref(s) KL(pi || pi_ref)(s): no future, and states stay.

    Source: Wang et al. 2019, section 2 (conditional divergence) and the 1-step form of section 3.2.
    Args, Raises: see `divergence_gradient`.
    """
    return weighted_gradient(occupancy(mdp, pi_ref), pi, log_ratio(pi, pi_ref), features)


def _log_state_ratio(mdp: MDP, pi: Array, pi_ref: Array) -> Array:
    d, d_ref = occupancy(mdp, pi), occupancy(mdp, pi_ref)
    # A solve leaves rounding where a state is never visited.
    visited, visited_ref = d > 1e-15, d_ref > 1e-15
    if (visited != visited_ref).any():
        s = int(np.argwhere(visited != visited_ref)[0, 0])
        raise UserError(
            f"the divergence of occupancies is infinite: state {s} has occupancy {d[s]:g} under the policy, "
            f"{d_ref[s]:g} under the reference"
        )
    ratio: Array = np.log(np.where(visited, d, 1)) - np.log(np.where(visited, d_ref, 1))
    return ratio


def occupancy_divergence(mdp: MDP, pi: Array, pi_ref: Array) -> float:
    """KL(mu_pi || mu_ref) = E_{mu_pi} [ log(pi / pi_ref) + log(d_pi / d_ref) ], F the entropy of the occupancy itself.

    Source: Wang et al. 2019, section 2. The conditional entropy of section 5 leaves out the second term.

    Raises:
        UserError: see `log_ratio`; a state that one policy alone visits.
    """
    d = occupancy(mdp, pi)
    return divergence(mdp, pi, pi_ref) + float(d @ _log_state_ratio(mdp, pi, pi_ref))


def occupancy_divergence_gradient(mdp: MDP, pi: Array, pi_ref: Array, features: Array | None = None) -> Array:
    """Gradient of KL(mu_pi || mu_ref): Lemma 1 with f = log(pi / pi_ref) + log(d_pi / d_ref).

    Source: Wang et al. 2019, eq. 10 with F(mu) = sum mu log mu. Args: see `divergence_gradient`. Raises: see
    `occupancy_divergence`.
    """
    f = log_ratio(pi, pi_ref) + _log_state_ratio(mdp, pi, pi_ref)[:, None]
    return lemma1(mdp, pi, f, features)
