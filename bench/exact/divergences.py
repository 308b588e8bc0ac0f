"""The family of divergences between policies: their values state by state, their slopes, and their exact gradients.

The slope is the derivative of a state's divergence in pi(a|s), up to a constant. An algorithm uses it as f, the cost of
a step (bench.ops.divergences has the same slopes on tensors). Summed over the future, it is the gradient of the
occupancy-weighted divergence for kl and entropy alone: for the others `gradient` adds what a state contributes as a
whole.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import entr, rel_entr

from bench.envs.mdp import MDP, Array, occupancy
from bench.errors import UserError
from bench.exact.gradients import deviation, lemma1, weighted_gradient


@dataclass(frozen=True)
class Divergence:
    """Functions of (pi, pi_ref), both `[S, A]`; infinite where the divergence is, 0 where an action is never taken."""

    terms: Callable[[Array, Array], Array]  # [S, A] whose sum over actions is the divergence of a state
    slope: Callable[[Array, Array], Array]  # [S, A] its derivative in pi(a|s), up to a constant


def _zero_potential(pi: Array, ref: Array) -> Array:
    return (np.sqrt(pi) - np.sqrt(ref)) ** 2 / np.sqrt(ref)


# Sources: f-divergences (kl, reverse_kl, hellinger) as in Belousov and Peters, whom Wang et al. 2019 cite in section 4
# along with the 0-potential, here the Bregman divergence of -2 sum sqrt(p); slopes as in lns/dapo @ bd640ba,
# ppo.py:195-209. Its tv is the total variation weighted by pi_ref once more.
FAMILY = {
    "kl": Divergence(rel_entr, lambda pi, ref: np.log(pi) - np.log(ref)),
    "reverse_kl": Divergence(lambda pi, ref: rel_entr(ref, pi), lambda pi, ref: 1 - ref / pi),
    "hellinger": Divergence(
        lambda pi, ref: (np.sqrt(pi) - np.sqrt(ref)) ** 2,
        lambda pi, ref: 1 - np.sqrt(ref / pi),
    ),
    "tv": Divergence(lambda pi, ref: ref * np.abs(pi - ref) / 2, lambda pi, ref: ref * np.sign(pi - ref) / 2),
    "zero_potential": Divergence(_zero_potential, lambda pi, ref: ref**-0.5 - pi**-0.5),
    "entropy": Divergence(lambda pi, _: -entr(pi), lambda pi, _: np.log(pi)),
}


def _evaluate(function: Callable[[Array, Array], Array], what: str, pi: Array, pi_ref: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where((pi > 0) | (pi_ref > 0), function(pi, pi_ref), 0.0)
    if not np.isfinite(found).all():
        s, a = (int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise UserError(
            f"{what} is infinite: in state {s}, action {a} has probability {pi[s, a]:g}, "
            f"and {pi_ref[s, a]:g} under the reference"
        )
    return found


def per_state(name: str, pi: Array, pi_ref: Array) -> Array:
    """The divergence of pi(.|s) from pi_ref(.|s), `[S]`.

    Args:
        name: key of FAMILY.
        pi, pi_ref: `[S, A]`.
    Raises:
        UserError: it is infinite, naming state and action.
    """
    values: Array = _evaluate(FAMILY[name].terms, f"the divergence {name}", pi, pi_ref).sum(1)
    return values


def slope(name: str, pi: Array, pi_ref: Array) -> Array:
    """f(s, a), `[S, A]`. Args: see `per_state`. Raises: UserError where it is infinite."""
    return _evaluate(FAMILY[name].slope, f"the slope of the divergence {name}", pi, pi_ref)


def value(mdp: MDP, name: str, pi: Array, pi_ref: Array) -> float:
    """sum_s d_pi(s) D(pi(.|s), pi_ref(.|s)). Args, Raises: see `per_state`."""
    return float(occupancy(mdp, pi) @ per_state(name, pi, pi_ref))


def gradient(mdp: MDP, name: str, pi: Array, pi_ref: Array, features: Array | None = None) -> Array:
    """Gradient of `value`: Lemma 1 with f(s, a) = slope(s, a) - E_pi slope(s, .) + D(s).

    For kl and entropy that f is the slope itself.

    Args:
        mdp: the process.
        name, pi, pi_ref: see `per_state`.
        features: see `bench.exact.gradients.lemma1`.
    Raises:
        UserError: the divergence or its slope is infinite.
    """
    f = deviation(pi, slope(name, pi, pi_ref)) + per_state(name, pi, pi_ref)[:, None]
    return lemma1(mdp, pi, f, features)


def one_step_gradient(mdp: MDP, name: str, pi: Array, pi_ref: Array, features: Array | None = None) -> Array:
    """Gradient of sum_s d_ref(s) D(pi(.|s), pi_ref(.|s)), d_ref held constant. Args, Raises: see `gradient`."""
    return weighted_gradient(occupancy(mdp, pi_ref), pi, slope(name, pi, pi_ref), features)
