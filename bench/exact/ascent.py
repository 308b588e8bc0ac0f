"""Gradient ascent with exact gradients, with and without the state ratio that the algorithm leaves out.

One update of the logits, with the reference policy pi_t fixed for a version of M updates:

    gradient = sum_s w(s) sum_a grad pi(a|s) [ Ahat(s, a) - (1/eta) Dterm(s, a) ]

w = d_pi makes it the gradient of J / rms - (1/eta) D_F(mu_pi, mu_t) (eq. 7 of Wang et al. 2019 with eq. 10); w = d_t is
what an algorithm follows that learns from the states of its data. Dterm = Q_pi(f), or f of the step alone, with
f = log pi - log pi_t.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.config import ExactAscentConfig, RunConfig
from bench.envs.mdp import MDP, Array, discounted_sum, occupancy
from bench.envs.tabular import TASKS
from bench.errors import UserError
from bench.exact.gradients import deviation, log_softmax, softmax, weighted_gradient
from bench.exact.proposition1 import from_log_ratio
from bench.exact.trace import ExactReturn
from bench.seeding import stream

# As in the algorithm. Source: lns/dapo @ bd640ba, ppo.py:145-151.
RMS_OFFSET = 1e-4
MEAN_SQUARE_FLOOR = 1e-8


def normalised_advantage(mdp: MDP, pi: Array, mu_ref: Array) -> Array:
    """A^pi `[S, A]` by its root mean square over the data.

    Args:
        mdp: the process.
        pi: `[S, A]`.
        mu_ref: `[S, A]` occupancy of state and action under the reference policy.
    """
    advantage = deviation(pi, discounted_sum(mdp, pi, mdp.R))
    mean_square = max(float((mu_ref * advantage**2).sum()), MEAN_SQUARE_FLOOR)
    normalised: Array = advantage / (mean_square**0.5 + RMS_OFFSET)
    return normalised


def gradient(
    mdp: MDP, logits: Array, log_ref: Array, *, state_ratio: bool, inv_eta: float, horizon: int | None
) -> Array:
    """The gradient in the logits, `[S, A]`; see the module.

    Args:
        mdp: the process.
        logits: `[S, A]` of the policy.
        log_ref: `[S, A]` log pi_t.
        state_ratio: w = d_pi, else d_t.
        inv_eta: 1/eta.
        horizon: None: Dterm = Q_pi(f), 0: f.
    """
    log_pi, ref = log_softmax(logits), np.exp(log_ref)
    pi, d_ref = np.exp(log_pi), occupancy(mdp, ref)
    gain = normalised_advantage(mdp, pi, d_ref[:, None] * ref)
    if inv_eta > 0:
        f = log_pi - log_ref
        gain = gain - inv_eta * (f if horizon == 0 else discounted_sum(mdp, pi, f))
    return weighted_gradient(occupancy(mdp, pi) if state_ratio else d_ref, pi, gain)


def ascend(config: RunConfig) -> Iterator[dict[str, float]]:
    """The program of algo=exact_ascent: `steps` updates, one row per version, against its reference, lambda = 0.

    A version that `steps` cuts short has its row too.

    Args:
        config: algo is an ExactAscentConfig, env.task one of bench.envs.tabular.TASKS.
    Raises:
        UserError: another task.
    """
    if config.env.task not in TASKS:
        raise UserError(f"env.task is {config.env.task!r}, expected one of {', '.join(sorted(TASKS))}")
    return _ascend(config)


def _ascend(config: RunConfig) -> Iterator[dict[str, float]]:
    algo = config.algo
    assert isinstance(algo, ExactAscentConfig)
    mdp = replace(TASKS[config.env.task](), gamma=algo.gamma)
    exact_return = ExactReturn(mdp)
    rng = np.random.default_rng(stream(config.seed, "logits"))
    logits = algo.init_scale * rng.standard_normal(mdp.R.shape)
    done, version = 0, 0
    while done < config.steps:
        log_ref = log_softmax(logits)
        for _ in range(min(algo.updates_per_version, config.steps - done)):
            logits = logits + algo.learning_rate * gradient(
                mdp, logits, log_ref, state_ratio=algo.state_ratio, inv_eta=algo.inv_eta, horizon=algo.horizon
            )
            done += 1
        version += 1
        pi = softmax(logits)
        bound = from_log_ratio(mdp, pi, np.exp(log_ref), log_softmax(logits) - log_ref, lam=0.0)
        yield {"step": done, "updates": done, "version": version, "exact_return": exact_return(pi), **bound.row()}
