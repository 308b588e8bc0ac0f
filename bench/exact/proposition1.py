"""Proposition 1 of Wang et al. 2019 on finite MDPs: the bias of leaving out the state ratio, and its bound, exactly.

The gradient of f = J - lambda D has weights d_pi(s); the algorithm's has d_ref(s), the states of its data. With

    delta   = || sum_s (d_pi - d_ref)(s) E_{a~pi} [ (A - lambda AA) grad log pi ] ||
    D       = E_{s~d_pi, a~pi} log(pi / pi_ref)
    zeta_1  = max_s E_{a~pi} || grad log pi(a|s) ||
    zeta_2  = max( max |A|, max |A - AA| )
    c       = 2 ( gamma zeta_1 zeta_2 / (1 - gamma) )^2

it says delta^2 <= c D. A is the advantage of the rewards under pi, AA that of the pseudo-reward log(pi / pi_ref). The
two maxima in zeta_2 cover every lambda in [0, 1]: A - lambda AA lies between A and A - AA.

Source: Wang et al. 2019, appendix B.1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from bench.config import Proposition1Config, RunConfig
from bench.envs import mdp_builders as builders
from bench.envs.mdp import MDP, Array, discounted_sum, occupancy, policy_transition
from bench.errors import UserError
from bench.exact.gradients import (
    deviation,
    kl_per_state,
    log_ratio,
    log_softmax,
    logits_of,
    policy_change,
    weighted_gradient,
)
from bench.seeding import stream


@dataclass(frozen=True)
class Bound:
    """The quantities of Proposition 1 for one pair of policies."""

    delta2: float  # squared bias of the gradient, in the units of J per parameter, squared
    divergence: float  # D, nats
    zeta_1: float
    zeta_2: float
    c: float
    bound: float  # c D
    shift: float  # || d_pi - d_ref ||_1, 0 to 2

    def row(self) -> dict[str, float]:
        """The same by the names of metrics.csv."""
        return {
            "shift": self.shift,
            "delta2": self.delta2,
            "kl_exact": self.divergence,
            "bound": self.bound,
            "zeta_1": self.zeta_1,
            "zeta_2": self.zeta_2,
        }


def proposition1(mdp: MDP, pi: Array, pi_ref: Array, lam: float, features: Array | None = None) -> Bound:
    """Every quantity of the proposition, for gradients in the logits, or in theta with features.

    Args:
        mdp: the process.
        pi: `[S, A]`, the new policy.
        pi_ref: `[S, A]`, the policy of the data.
        lam: lambda = 1/eta, 0 to 1.
        features: `[S, A, d]` of a policy that is softmax in x(s, a) . theta.
    Raises:
        UserError: an action that one of the policies alone never takes; lambda out of range.
    """
    return from_log_ratio(mdp, pi, pi_ref, log_ratio(pi, pi_ref), lam, features)


def from_log_ratio(
    mdp: MDP, pi: Array, pi_ref: Array, f: Array, lam: float, features: Array | None = None, scale: float = 1.0
) -> Bound:
    """`proposition1` for policies whose log-ratio is known better than their probabilities tell.

    Args:
        mdp, pi, pi_ref, lam, features: see `proposition1`.
        f: `[S, A]` log pi - log pi_ref.
        scale: logits are scale * theta, so gradients in theta are as many times as long; with features, scale them.
    Raises:
        UserError: lambda out of range.
    """
    if not 0 <= lam <= 1:
        raise UserError(f"lambda is {lam}, expected 0 <= lambda <= 1, which zeta_2 covers")
    change = occupancy_change(mdp, pi, policy_change(pi, pi_ref, f))
    reward_advantage = deviation(pi, discounted_sum(mdp, pi, mdp.R))
    cost_advantage = deviation(pi, discounted_sum(mdp, pi, f))
    bias = scale * weighted_gradient(change, pi, reward_advantage - lam * cost_advantage, features)
    divergence = float(occupancy(mdp, pi) @ kl_per_state(pi, pi_ref, f))
    zeta_1 = scale * float((pi * _score_norms(pi, features)).sum(1).max())
    zeta_2 = float(max(np.abs(reward_advantage).max(), np.abs(reward_advantage - cost_advantage).max()))
    c = 2 * (mdp.gamma * zeta_1 * zeta_2 / (1 - mdp.gamma)) ** 2
    return Bound(
        delta2=float((bias**2).sum()),
        divergence=divergence,
        zeta_1=zeta_1,
        zeta_2=zeta_2,
        c=c,
        bound=c * divergence,
        shift=float(np.abs(change).sum()),
    )


def occupancy_change(mdp: MDP, pi: Array, change: Array) -> Array:
    """d_pi - d_ref `[S]`, by the resolvent identity: it keeps the digits that subtracting two solves loses.

        d_pi - d_ref = gamma (I - gamma P_ref')^-1 (P_pi - P_ref)' d_pi

    Source: Wang et al. 2019, appendix B.1 (the step before Pinsker's inequality).

    Args:
        mdp: the process.
        pi: `[S, A]`.
        change: `[S, A]` pi - pi_ref.
    """
    moved = np.einsum("sa,sat->t", occupancy(mdp, pi)[:, None] * change, mdp.P)
    flow = np.eye(mdp.num_states) - mdp.gamma * policy_transition(mdp, pi - change)
    return np.linalg.solve(flow.T, mdp.gamma * moved).astype(np.float64)


def _score_norms(pi: Array, features: Array | None) -> Array:
    """|| grad log pi(a|s) ||, `[S, A]`. In the logits it is the unit vector of a less pi(.|s), in the block of s."""
    if features is None:
        features = np.broadcast_to(np.eye(pi.shape[1]), (*pi.shape, pi.shape[1]))
    norms: Array = np.linalg.norm(deviation(pi, features), axis=2)
    return norms


# ---- random instances


def _garnet(rng: np.random.Generator, gamma: float) -> MDP:
    states, actions = int(rng.integers(2, 9)), int(rng.integers(2, 5))
    branching = int(rng.integers(1, states + 1))
    return builders.garnet(states, actions, branching, int(rng.integers(2**31)), gamma=gamma)


@cache
def _rooms(gamma: float) -> MDP:
    return builders.four_rooms(gamma=gamma)


FAMILIES: dict[str, Callable[[np.random.Generator, float], MDP]] = {
    "chain": lambda rng, gamma: builders.chain(int(rng.integers(2, 11)), gamma=gamma),
    "four_rooms": lambda rng, gamma: _rooms(gamma),
    "garnet": _garnet,
    "river_swim": lambda rng, gamma: builders.river_swim(int(rng.integers(3, 11)), gamma=gamma),
}


def sweep(config: RunConfig) -> Iterator[dict[str, float]]:
    """The program of algo=proposition1: one row per random instance, `steps` of them.

    Args:
        config: algo is a Proposition1Config, env.task names a family.
    Raises:
        UserError: a task without a family.
    """
    assert isinstance(config.algo, Proposition1Config)
    if config.env.task not in FAMILIES:
        raise UserError(
            f"env.task is {config.env.task!r}, of which algo=proposition1 has no random instances; "
            f"allowed: {', '.join(sorted(FAMILIES))}"
        )
    rng = np.random.default_rng(stream(config.seed, "instances"))
    family, algo = FAMILIES[config.env.task], config.algo
    return ({"step": step + 1, **instance(rng, family, algo)} for step in range(config.steps))


def instance(
    rng: np.random.Generator, family: Callable[[np.random.Generator, float], MDP], algo: Proposition1Config
) -> dict[str, float]:
    """One random MDP, two random policies of it, and their row.

    The reference's logits are normal with the scale drawn for logits; those of the new policy differ from them by
    normal numbers with the scale drawn for the distance. In half of the instances every logit is a parameter of its
    own; in the other half both lie in the span of normal features of 1 to min(2 S A, 32) dimensions. The scale drawn
    for features multiplies either kind and divides the parameters: it changes the gradients, not the policies.
    """
    gamma, lam = float(rng.choice(algo.gammas)), float(rng.choice(algo.lambdas))
    distance, logits, rewards, scale = (
        float(10 ** rng.uniform(low, high))
        for low, high in (algo.log10_distance, algo.log10_logits, algo.log10_rewards, algo.log10_features)
    )
    plain = family(rng, gamma)
    mdp = MDP(P=plain.P, R=rewards * plain.R, d0=plain.d0, gamma=gamma)
    features, directions = None, rng.standard_normal((2, *mdp.R.shape))
    if rng.random() < 0.5:
        dims = int(rng.integers(1, min(2 * mdp.R.size, 32) + 1))
        features = rng.standard_normal((*mdp.R.shape, dims))
        directions = np.stack([logits_of(features, theta) for theta in rng.standard_normal((2, dims)) / dims**0.5])
    log_ref = log_softmax(logits * directions[0])
    log_pi = log_softmax(logits * directions[0] + distance * directions[1])
    found = from_log_ratio(mdp, np.exp(log_pi), np.exp(log_ref), log_pi - log_ref, lam, features, scale)
    return {
        **found.row(),
        "gamma": gamma,
        "lam": lam,
        "distance": distance,
        "reward_scale": rewards,
        "states": mdp.num_states,
        "actions": mdp.num_actions,
    }
