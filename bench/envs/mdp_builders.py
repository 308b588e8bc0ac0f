"""Finite Markov decision processes from the literature, and random ones.

Every process goes on for ever, see `bench.envs.mdp`.
"""

import numpy as np

from bench.envs.mdp import MDP
from bench.errors import UserError


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


def garnet_mixing(num_states: int, num_actions: int, branching: int, seed: int, *, gamma: float = 0.99) -> MDP:
    """A Garnet whose actions pay differently and lead to the same: no policy can shift the occupancy.

    Every action has the transitions that `garnet` gives to action 0.

    Source: ours, the end of the scale of state shifts.

    Args, Raises: see `garnet`.
    """
    drawn = garnet(num_states, num_actions, branching, seed, gamma=gamma)
    return MDP(P=drawn.P[:, :1].repeat(num_actions, axis=1), R=drawn.R, d0=drawn.d0, gamma=gamma)


def _require_length(name: str, n: int) -> None:
    if n < 2:
        raise UserError(f"{name}: n is {n}, expected at least 2")


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
    _require_length("chain", n)
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
    _require_length("river_swim", n)
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
    _require_length("deep_sea", n)
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
