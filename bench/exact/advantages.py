"""Bias and variance of GAE and UAE on finite MDPs, exactly, for any baseline and any error of the critic.

Both estimates are a number at the start and a discounted sum along the policy's infinite stream z_l = (s_l, a_l),

    X = c(z_0) + sum_l (gamma lambda)^l [ u(z_l) + gamma v(z_{l+1}) ]
    GAE:  c = 0,      u = r - b,  v = b
    UAE:  c = Q - b,  u = r - Q,  v = Q

so their conditional moments solve linear systems over pairs, with M[z, z'] = P(s'|s, a) pi(a'|s') and k = gamma lambda:

    m = u + gamma M v + k M m
    var = Var_{z'|z}[ gamma v(z') + k m(z') ] + k^2 M var

What follows, and is tested: with Q = Q^pi, UAE is unbiased for Q^pi - b, with any b and lambda; with b = V^pi both are
unbiased for the advantage A, and a step of UAE has the variance gamma^2 E[Var V(s') + A(z')^2] where one of GAE has
gamma^2 E[Var V(s') + lambda^2 A(z')^2]: below lambda = 1 UAE's variance is the larger one. An error e of the critic
biases UAE by (1 - lambda) gamma M (I - k M)^-1 e, one of GAE's baseline by the same with its mean over actions.

Source: Schulman et al. 2016, eq. 16 (GAE); MagiFeeney/DPO @ 2e00ca2, storage.py:64-92 (UAE); the rest is ours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bench.config import RunConfig
from bench.envs.mdp import MDP, Array, action_values, occupancy, policy_transition
from bench.envs.tabular import TASKS
from bench.exact.gradients import deviation, softmax, weighted_gradient
from bench.exact_config import UaeVarianceConfig
from bench.seeding import stream


@dataclass(frozen=True)
class Estimator:
    """An estimate X of the form above, each part `[S, A]`."""

    start: Array  # c
    now: Array  # u
    after: Array  # v


def gae(mdp: MDP, baseline: Array) -> Estimator:
    """GAE with baseline and bootstrap b `[S]`."""
    b = np.broadcast_to(baseline[:, None], mdp.R.shape)
    return Estimator(start=np.zeros(mdp.R.shape), now=mdp.R - b, after=b)


def uae(mdp: MDP, critic: Array, baseline: Array) -> Estimator:
    """UAE with critic Q `[S, A]` and baseline b `[S]`."""
    return Estimator(start=critic - baseline[:, None], now=mdp.R - critic, after=critic)


def expected(mdp: MDP, pi: Array, estimator: Estimator, lam: float) -> Array:
    """E[X | s, a], `[S, A]`. Args: see `moments`."""
    return estimator.start + _tail(mdp, pi, estimator, lam)


def _tail(mdp: MDP, pi: Array, estimator: Estimator, lam: float) -> Array:
    """m of the module: solved for what it is worth to arrive in a state, E_a[ gamma v + k m ] = arrival `[S]`."""
    k = mdp.gamma * lam
    flow = np.eye(mdp.num_states) - k * policy_transition(mdp, pi)
    arrival = np.linalg.solve(flow, (pi * (mdp.gamma * estimator.after + k * estimator.now)).sum(1))
    tail: Array = estimator.now + mdp.P @ arrival
    return tail


def moments(mdp: MDP, pi: Array, estimator: Estimator, lam: float) -> tuple[Array, Array]:
    """Mean and variance of X given (s, a), each `[S, A]`.

    Args:
        mdp: the process; gamma is its own.
        pi: `[S, A]`.
        estimator: what is estimated.
        lam: lambda, 0 to 1.
    """
    k, tail = mdp.gamma * lam, _tail(mdp, pi, estimator, lam)
    ahead = mdp.gamma * estimator.after + k * tail
    of_state = (pi * ahead).sum(1)
    within = (pi * (ahead - of_state[:, None]) ** 2).sum(1)
    # Deviations, not a difference of second moments, which loses the digits of a small variance.
    between = (mdp.P * (of_state - (mdp.P @ of_state)[..., None]) ** 2).sum(-1)
    step = mdp.P @ within + between
    flow = np.eye(mdp.num_states) - k**2 * policy_transition(mdp, pi)
    variance: Array = step + k**2 * mdp.P @ np.linalg.solve(flow, (pi * step).sum(1))
    return estimator.start + tail, variance


def squared_scores(pi: Array) -> Array:
    """|| grad log pi(a|s) ||^2 in the logits, `[S, A]`: 1 - 2 pi(a|s) + sum_b pi(b|s)^2."""
    squared: Array = 1 - 2 * pi + (pi**2).sum(1, keepdims=True)
    return squared


def optimal_baseline(pi: Array, q: Array) -> Array:
    """b*(s) = E[ |grad log pi|^2 Q ] / E[ |grad log pi|^2 ] `[S]`, which minimises E |grad log pi|^2 (Q - b)^2.

    The variance of the one-step score-function gradient in the logits, whose blocks are the states. Source: Greensmith,
    Bartlett, Baxter 2004, Theorem 8, state by state.

    Args:
        pi, q: `[S, A]`.
    """
    weight = pi * squared_scores(pi)
    b: Array = (weight * q).sum(1) / weight.sum(1)
    return b


def spread(weight: Array, x: Array) -> float:
    """Standard deviation of x under a distribution of the same shape."""
    mean = float((weight * x).sum())
    return math.sqrt(float((weight * (x - mean) ** 2).sum()))


def baseline_of(kind: str, pi: Array, q: Array, stale: Array) -> Array:
    """A baseline `[S]` made from Q^pi.

    `learned` is what DPO's residual baseline is trained towards: the least mean squared error to Q^pi(s, a) over the
    actions of the replay, of all functions of the state, is their mean, E_{a~stale} Q^pi(s, a); in closed form, as a
    table of g(s, a) can represent it wherever Q^pi(s, .) is not all zero.

    Args:
        kind: one of bench.exact_config.BASELINES.
        pi, q: `[S, A]`.
        stale: `[S, A]` the policy whose actions the replay holds.
    """
    if kind == "optimal":
        return optimal_baseline(pi, q)
    weights = {"value": pi, "action_mean": np.full(pi.shape, 1 / pi.shape[1]), "learned": stale, "zero": 0 * pi}
    b: Array = (weights[kind] * q).sum(1)
    return b


@dataclass(frozen=True)
class Instance:
    """One policy of a process and everything drawn for it."""

    mdp: MDP
    pi: Array  # [S, A]
    q: Array  # [S, A] Q^pi
    critic: Array  # [S, A] what UAE takes for it
    baseline: Array  # [S]
    perturbation: Array  # [S]


def draw(mdp: MDP, algo: UaeVarianceConfig, seed: int) -> Instance:
    """A random softmax policy and its noise; of a seed all arms have one policy and, in spreads, the same noise."""
    rng = {
        name: np.random.default_rng(stream(seed, name))
        for name in ("logits", "stale", "baseline", "critic", "perturbation")
    }
    logits = algo.init_scale * rng["logits"].standard_normal(mdp.R.shape)
    pi, stale = softmax(logits), softmax(logits + algo.staleness * rng["stale"].standard_normal(mdp.R.shape))
    q, d = action_values(mdp, pi), occupancy(mdp, pi)
    spread_v, spread_q = spread(d, (pi * q).sum(1)), spread(d[:, None] * pi, q)
    noise = algo.baseline_noise * spread_v * rng["baseline"].standard_normal(mdp.num_states)
    return Instance(
        mdp=mdp,
        pi=pi,
        q=q,
        critic=q + algo.critic_noise * spread_q * rng["critic"].standard_normal(mdp.R.shape),
        baseline=baseline_of(algo.baseline, pi, q, stale) + noise,
        perturbation=algo.perturbation * spread_v * rng["perturbation"].standard_normal(mdp.num_states),
    )


def _estimator(name: str, case: Instance, baseline: Array) -> Estimator:
    return gae(case.mdp, baseline) if name == "gae" else uae(case.mdp, case.critic, baseline)


def measure(case: Instance, name: str, lam: float, batch_steps: int) -> dict[str, float]:
    """One lambda's row of metrics.csv. Averages are over the policy's occupancy of states and actions.

    E (X - A)^2 = advantage_bias2 + advantage_offset2 + advantage_variance: the first is what differs between the
    actions of a state, the second the mean over them, which no gradient sees. Numbers on advantages are shares of
    E A^2, those on gradients of |grad J|^2.

    Args:
        case: as from `draw`.
        name: gae | uae.
        lam: lambda.
        batch_steps: see `UaeVarianceConfig`.
    """
    mdp, pi, d = case.mdp, case.pi, occupancy(case.mdp, case.pi)
    advantage, weight = deviation(pi, case.q), d[:, None] * pi
    mean, variance = moments(mdp, pi, _estimator(name, case, case.baseline), lam)
    moved = expected(mdp, pi, _estimator(name, case, case.baseline + case.perturbation), lam)
    bias = mean - advantage
    offset = (pi * bias).sum(1)
    true, found, wrong, shift = (weighted_gradient(d, pi, x) for x in (advantage, mean, bias, moved - mean))
    scale, length = float((weight * advantage**2).sum()), float((true**2).sum())
    second = float((weight * squared_scores(pi) * (mean**2 + variance)).sum())
    parts = {
        "advantage_bias2": float((weight * deviation(pi, bias) ** 2).sum()) / scale,
        "advantage_offset2": float(d @ offset**2) / scale,
        "advantage_variance": float((weight * variance).sum()) / scale,
    }
    gradient_bias2 = float((wrong**2).sum()) / length
    gradient_variance = (second - float((found**2).sum())) / length
    return {
        "trace_decay": lam,
        **parts,
        "advantage_mse": sum(parts.values()),
        "gradient_bias2": gradient_bias2,
        "gradient_variance": gradient_variance,
        "gradient_error": gradient_bias2 + gradient_variance / batch_steps,
        "gradient_shift": math.sqrt(float((shift**2).sum()) / length),
    }


def sweep_lambdas(config: RunConfig) -> Iterator[dict[str, float]]:
    """The program of algo=uae_variance: one row per lambda, in the order given, all of one policy.

    Args:
        config: algo is a UaeVarianceConfig, env.task one of bench.envs.tabular.TASKS, steps the number of lambdas.
    """
    algo = config.algo
    assert isinstance(algo, UaeVarianceConfig)
    case = draw(replace(TASKS[config.env.task](), gamma=algo.gamma), algo, config.seed)
    return (
        {"step": step + 1, **measure(case, algo.estimator, lam, algo.batch_steps)}
        for step, lam in enumerate(algo.lambdas)
    )
