"""Finite Markov decision processes as data, and everything about them that a linear solve gives exactly.

Every process goes on for ever: where the source ends an episode, the state returns to the start
distribution. So values and occupancies are those of one infinite stream, and a sampled environment that is
cut after some steps bootstraps (see `bench.envs.tabular`).

Notation as in Wang et al. 2019, section 2: the occupancy d_pi is normalised (sums to one), and
J(pi) = (1 - gamma) times the expected discounted return. Policies are `[S, A]`, rows sum to one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import UserError

Array = NDArray[np.float64]

TOLERANCE = 1e-9  # on the sums of probability rows


def _frozen(x: ArrayLike) -> Array:
    array = np.array(x, dtype=np.float64)
    array.setflags(write=False)
    return array


def _fault(p: Array) -> tuple[tuple[int, ...], str] | None:
    """Where the first row of p that is no distribution stands, and what is wrong with it."""
    sums = p.sum(-1)
    # Written so that NaN is a fault too.
    bad = ~((p >= 0).all(-1) & (np.abs(sums - 1) <= TOLERANCE))
    if not bad.any():
        return None
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    if not (p[where] >= 0).all():
        return where, f"hold {p[where].min():g}, expected no number below 0"
    return where, f"sum to {float(sums[where]):.10g}, expected 1"


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite MDP. Derive variants with `dataclasses.replace(mdp, R=2 * mdp.R, gamma=0.9)`.

    P: `[S, A, S]` transition probabilities. R: `[S, A]` expected rewards. d0: `[S]` start distribution.
    gamma: discount in [0, 1). Arrays are copied to read-only float64.
    Raises UserError if they do not fit together.
    """

    P: Array
    R: Array
    d0: Array
    gamma: float

    def __post_init__(self) -> None:
        """Freeze the arrays and refuse what is not an MDP."""
        for name in ("P", "R", "d0"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        if self.P.ndim != 3 or self.P.shape[0] != self.P.shape[2] or 0 in self.P.shape:
            raise UserError(f"MDP: P has shape {list(self.P.shape)}, expected [S, A, S]")
        if self.R.shape != self.P.shape[:2]:
            raise UserError(f"MDP: R has shape {list(self.R.shape)}, expected {list(self.P.shape[:2])}")
        if self.d0.shape != self.P.shape[:1]:
            raise UserError(f"MDP: d0 has shape {list(self.d0.shape)}, expected {list(self.P.shape[:1])}")
        if not np.all(np.isfinite(self.R)):
            raise UserError("MDP: R holds a number that is not finite")
        if fault := _fault(self.P):
            (s, a), what = fault
            raise UserError(f"MDP: the transition probabilities P[{s}, {a}, :] of state {s}, action {a} {what}")
        if fault := _fault(self.d0):
            raise UserError(f"MDP: the start probabilities d0 {fault[1]}")
        if not 0 <= self.gamma < 1:
            raise UserError(f"MDP: gamma is {self.gamma}, expected 0 <= gamma < 1")

    @property
    def num_states(self) -> int:
        """S."""
        return int(self.P.shape[0])

    @property
    def num_actions(self) -> int:
        """A."""
        return int(self.P.shape[1])


# ---- exact solutions


def _policy(mdp: MDP, pi: ArrayLike) -> Array:
    policy = np.asarray(pi, dtype=np.float64)
    if policy.shape != mdp.R.shape:
        raise ValueError(f"pi has shape {list(policy.shape)}, expected {list(mdp.R.shape)}")
    if fault := _fault(policy):
        raise ValueError(f"the probabilities pi[{fault[0][0]}, :] of a policy {fault[1]}")
    return policy


def _flow_matrix(mdp: MDP, pi: ArrayLike) -> Array:
    return np.eye(mdp.num_states) - mdp.gamma * policy_transition(mdp, pi)


def policy_transition(mdp: MDP, pi: ArrayLike) -> Array:
    """P_pi[s, s'] = sum_a pi(a|s) P(s'|s, a), `[S, S]`. Raises ValueError if pi is no policy of it."""
    transition: Array = np.einsum("sa,sat->st", _policy(mdp, pi), mdp.P)
    return transition


def occupancy(mdp: MDP, pi: ArrayLike) -> Array:
    """d_pi(s) = (1 - gamma) E sum_t gamma^t 1[s_t = s], `[S]`, sums to one.

    Solves the flow equation d = (1 - gamma) d0 + gamma P_pi' d. Source: Wang et al. 2019, section 2.
    """
    return np.linalg.solve(_flow_matrix(mdp, pi).T, (1 - mdp.gamma) * mdp.d0).astype(np.float64)


def discounted_sum(mdp: MDP, pi: ArrayLike, f: ArrayLike) -> Array:
    """Q_pi(f)(s, a) = E_pi[ sum_l gamma^l f(s_l, a_l) | s_0 = s, a_0 = a ], `[S, A]`.

    Source: Wang et al. 2019, Lemma 1 (the operator of eq. 10).

    Args:
        mdp: the process; its own rewards play no part.
        pi: `[S, A]`.
        f: `[S, A]`.
    Raises:
        ValueError: a wrong shape.
    """
    values = np.asarray(f, dtype=np.float64)
    if values.shape != mdp.R.shape:
        raise ValueError(f"f has shape {list(values.shape)}, expected {list(mdp.R.shape)}")
    per_state = np.linalg.solve(_flow_matrix(mdp, pi), (_policy(mdp, pi) * values).sum(1))
    q: Array = values + mdp.gamma * mdp.P @ per_state
    return q


def action_values(mdp: MDP, pi: ArrayLike) -> Array:
    """Q^pi, `[S, A]`: the discounted sum of the rewards."""
    return discounted_sum(mdp, pi, mdp.R)


def state_values(mdp: MDP, pi: ArrayLike) -> Array:
    """V^pi(s) = sum_a pi(a|s) Q^pi(s, a), `[S]`."""
    values: Array = (_policy(mdp, pi) * action_values(mdp, pi)).sum(1)
    return values


def performance(mdp: MDP, pi: ArrayLike) -> float:
    """J(pi) = sum_{s,a} d_pi(s) pi(a|s) R(s, a) = (1 - gamma) d0 . V^pi."""
    return float((1 - mdp.gamma) * mdp.d0 @ state_values(mdp, pi))


def optimal_values(mdp: MDP) -> tuple[Array, Array]:
    """Q* `[S, A]` and one optimal deterministic policy `[S, A]`, by policy iteration.

    Source: Howard 1960. An action is exchanged only for a clearly better one, so rounding cannot make it
    cycle among equals.
    """
    states = np.arange(mdp.num_states)
    actions = mdp.R.argmax(1)
    while True:
        policy = np.eye(mdp.num_actions)[actions]
        q = action_values(mdp, policy)
        better = q.max(1) > q[states, actions] + 1e-12 * (1 + np.abs(q).max())
        if not better.any():
            return q, policy
        actions = np.where(better, q.argmax(1), actions)
