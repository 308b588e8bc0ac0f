"""Exact measurements of the policies that a training run on a finite MDP publishes."""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.envs.mdp import MDP, Array, optimal_values, performance
from bench.errors import UserError
from bench.exact.proposition1 import proposition1


class ExactReturn:
    """(J(pi) - J(uniform)) / (J* - J(uniform)): 0 is the uniform policy, 1 an optimal one."""

    def __init__(self, mdp: MDP) -> None:
        """Solve for both ends.

        Raises:
            UserError: every policy is worth the same.
        """
        self._mdp = mdp
        self._low = performance(mdp, np.full(mdp.R.shape, 1 / mdp.num_actions))
        self._range = performance(mdp, optimal_values(mdp)[1]) - self._low
        if self._range <= 1e-12 * (1 + np.abs(mdp.R).max()):
            raise UserError("exact_return means nothing on this MDP: the uniform policy is optimal")

    def __call__(self, pi: Array) -> float:
        """Args: pi: `[S, A]`."""
        return (performance(self._mdp, pi) - self._low) / self._range


class Trace:
    """Versions of a policy along a training run, each against the one before it and against the oldest data's."""

    def __init__(self, mdp: MDP, policy: ArrayLike, lag: int) -> None:
        """Begin with the policy that generates the first data.

        Args:
            mdp: the process, with the discount of the algorithm.
            policy: `[S, A]` probabilities, float32 will do.
            lag: versions back to the policy whose data are the oldest that the replay still holds, at least 1.
        Raises:
            ValueError: lag below 1; a policy of another shape, or with a number that is no probability.
        """
        if lag < 1:
            raise ValueError(f"lag is {lag}, expected at least 1")
        self._mdp = mdp
        self._exact_return = ExactReturn(mdp)
        self._past = deque([self._clean(policy)], maxlen=lag)

    def add(self, policy: ArrayLike) -> dict[str, float]:
        """Take the next published policy. Returns its part of a row of metrics.csv, with lambda = 0.

        `*_stale` are against the policy `lag` versions back, or the first while there are fewer.

        Args, Raises: see the constructor.
        """
        new = self._clean(policy)
        last = proposition1(self._mdp, new, self._past[-1], lam=0.0)
        stale = proposition1(self._mdp, new, self._past[0], lam=0.0) if len(self._past) > 1 else last
        self._past.append(new)
        return {
            "exact_return": self._exact_return(new),
            **last.row(),
            "delta2_stale": stale.delta2,
            "kl_stale": stale.divergence,
            "bound_stale": stale.bound,
        }

    def state_dict(self) -> dict[str, Any]:
        """The policies that the next rows are measured against, oldest first, in lists."""
        return {"past": [policy.tolist() for policy in self._past]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self._past.clear()
        self._past.extend(np.array(policy) for policy in state["past"])

    def _clean(self, policy: ArrayLike) -> Array:
        """Probabilities of a float32 softmax in float64: sums of exactly one, and no zero where it underflowed."""
        pi = np.array(policy, dtype=np.float64)
        if pi.shape != self._mdp.R.shape:
            raise ValueError(f"the policy has shape {list(pi.shape)}, expected {list(self._mdp.R.shape)}")
        if not (np.isfinite(pi).all() and (pi >= 0).all() and np.abs(pi.sum(1) - 1).max() < 1e-4):
            raise ValueError("the policy holds a row that is no distribution, to the precision of float32")
        pi = np.maximum(pi, np.finfo(np.float32).tiny)
        cleaned: Array = pi / pi.sum(1, keepdims=True)
        return cleaned
