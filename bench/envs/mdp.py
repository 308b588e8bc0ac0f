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


def _rows_are_distributions(p: Array) -> bool:
    return bool(np.all(p >= 0) and np.all(np.abs(p.sum(-1) - 1) <= TOLERANCE))


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
        if not _rows_are_distributions(self.P):
            raise UserError("MDP: a row P[s, a, :] is not a probability distribution (>= 0, sum 1)")
        if not _rows_are_distributions(self.d0):
            raise UserError("MDP: d0 is not a probability distribution (>= 0, sum 1)")
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
    if not _rows_are_distributions(policy):
        raise ValueError("pi has a row that is not a probability distribution")
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


# ---- builders


def garnet(num_states: int, num_actions: int, branching: int, seed: int, *, gamma: float = 0.99) -> MDP:
    """A random MDP: every (s, a) leads to `branching` distinct states, drawn without replacement.

    Probabilities are the gaps between branching - 1 uniform points in [0, 1]. Rewards are standard normal,
    fixed per (s, a). The start is uniform.

    Source: Archibald, McKinnon, Thomas 1995; Bhatnagar et al. 2009, section 8 (without their drift). The
    variance 1 of the rewards and the start distribution are ours.

    Args:
        num_states, num_actions: S, A.
        branching: 1 .. S.
        seed: of the process itself, not of its episodes.
        gamma: discount.
    Raises:
        UserError: branching out of range.
    """
    if not 1 <= branching <= num_states:
        raise UserError(f"garnet: branching is {branching}, expected 1 to {num_states} (the states)")
    rng = np.random.default_rng(seed)
    p = np.zeros((num_states, num_actions, num_states))
    for s in range(num_states):
        for a in range(num_actions):
            cuts = np.sort(rng.random(branching - 1))
            p[s, a, rng.permutation(num_states)[:branching]] = np.diff(cuts, prepend=0.0, append=1.0)
    rewards = rng.standard_normal((num_states, num_actions))
    return MDP(P=p, R=rewards, d0=np.full(num_states, 1 / num_states), gamma=gamma)


def chain(n: int, *, gamma: float = 0.99) -> MDP:
    """A chain: action 0 goes forward, action 1 back to the start; with probability 0.2 the other happens.

    The end pays 10 for going forward (and staying), going back pays 2 anywhere. R is the expectation over
    the slip, so forward pays 0.8 * 0 + 0.2 * 2 before the end.

    Source: Strens 2000, section 4 (n = 5).

    Args:
        n: number of states, at least 2.
        gamma: discount.
    Raises:
        UserError: n below 2.
    """
    if n < 2:
        raise UserError(f"chain: n is {n}, expected at least 2")
    slip = 0.2
    forward, back = np.zeros((n, n)), np.zeros((n, n))
    forward[np.arange(n), np.minimum(np.arange(n) + 1, n - 1)] = 1
    back[:, 0] = 1
    pays = np.zeros((n, 2))
    pays[-1, 0] = 10
    pays[:, 1] = 2
    p = np.stack([(1 - slip) * forward + slip * back, slip * forward + (1 - slip) * back], axis=1)
    return MDP(P=p, R=(1 - slip) * pays + slip * pays[:, ::-1], d0=np.eye(n)[0], gamma=gamma)


def river_swim(n: int, *, gamma: float = 0.99) -> MDP:
    """A river: action 0 drifts left for sure, action 1 swims right and mostly stays.

    Right: 0.35 forward, 0.6 stay, 0.05 back inside; 0.6 forward, 0.4 stay at the left bank; 0.6 stay, 0.4
    back at the right bank. Left pays 0.005 at the left bank, right pays 1 at the right bank.

    Source: Strehl and Littman 2008, with the numbers of Osband, Russo, Van Roy 2013 (n = 6). The start is
    the left bank.

    Args:
        n: number of states, at least 2.
        gamma: discount.
    Raises:
        UserError: n below 2.
    """
    if n < 2:
        raise UserError(f"river_swim: n is {n}, expected at least 2")
    p = np.zeros((n, 2, n))
    p[np.arange(n), 0, np.maximum(np.arange(n) - 1, 0)] = 1
    inner = np.arange(1, n - 1)
    for shift, probability in ((1, 0.35), (0, 0.6), (-1, 0.05)):
        p[inner, 1, inner + shift] = probability
    p[0, 1, :2] = 0.4, 0.6
    p[-1, 1, -2:] = 0.4, 0.6
    rewards = np.zeros((n, 2))
    rewards[0, 0], rewards[-1, 1] = 0.005, 1.0
    return MDP(P=p, R=rewards, d0=np.eye(n)[0], gamma=gamma)


ROOMS = (
    ".....#.....",
    ".....#.....",
    "...........",
    ".....#.....",
    ".....#.....",
    "#.####.....",
    ".....###.##",
    ".....#.....",
    ".....#.....",
    "...........",
    ".....#.....",
)


def four_rooms(*, gamma: float = 0.99) -> MDP:
    """Four rooms of 104 cells. Actions up, down, left, right; a wall leaves the agent where it is.

    With probability 2/3 the action does what it says, else one of the three others happens (1/9 each).
    Any action in the goal cell pays 1 and returns to the start cell.

    Source: Sutton, Precup, Singh 1999, section 2. Start (top left corner) and goal (bottom right corner),
    the pay and the return to the start are ours.

    Args:
        gamma: discount.
    """
    cells = [(y, x) for y, row in enumerate(ROOMS) for x, mark in enumerate(row) if mark == "."]
    index = {cell: i for i, cell in enumerate(cells)}
    n = len(cells)
    moves = np.zeros((n, 4, n))
    for (y, x), s in index.items():
        for a, (dy, dx) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            moves[s, a, index.get((y + dy, x + dx), s)] = 1
    # A third is shared by the three others: 2/3 own = 5/9 own + 1/9 of the sum over all four.
    p = 5 / 9 * moves + 1 / 9 * moves.sum(1, keepdims=True)
    start, goal = np.eye(n)[0], n - 1
    p[goal] = start
    rewards = np.zeros((n, 4))
    rewards[goal] = 1
    return MDP(P=p, R=rewards, d0=start, gamma=gamma)


def deep_sea(n: int, *, seed: int = 0, gamma: float = 0.99) -> MDP:
    """A triangle of n rows: every step goes one row down, left or right; only n times right finds treasure.

    Going right costs 0.01 / n and pays 1 from the last cell of the diagonal; the bottom row leads back to
    the top. Which action is "right" is drawn per cell, so that no policy that ignores the state can swim
    down the diagonal. State of (row, column): row (row + 1) / 2 + column, column <= row.

    Source: Osband et al. 2020 (bsuite), deep sea, deterministic. There the bottom ends the episode; take
    max_steps = n for the same scores.

    Args:
        n: rows, at least 2.
        seed: of the action mapping.
        gamma: discount.
    Raises:
        UserError: n below 2.
    """
    if n < 2:
        raise UserError(f"deep_sea: n is {n}, expected at least 2")
    num_states = n * (n + 1) // 2
    p, rewards = np.zeros((num_states, 2, num_states)), np.zeros((num_states, 2))
    right_actions = np.random.default_rng(seed).integers(2, size=num_states)
    for row in range(n):
        below = (row + 1) * (row + 2) // 2
        for column in range(row + 1):
            s = row * (row + 1) // 2 + column
            right = right_actions[s]
            rewards[s, right] = -0.01 / n
            p[s, right, below + column + 1 if row < n - 1 else 0] = 1
            p[s, 1 - right, below + max(column - 1, 0) if row < n - 1 else 0] = 1
    rewards[-1, right_actions[-1]] += 1
    return MDP(P=p, R=rewards, d0=np.eye(num_states)[0], gamma=gamma)
