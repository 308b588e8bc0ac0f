"""The estimators in the mean over all trajectories of a small MDP, against its exact values.

Every roll-out of three steps is a column, weighted by its probability under the policy that acts, so a mean
has no sampling error: unbiased means equal to 1e-12.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.envs import mdp as mdps
from bench.envs import mdp_builders as builders
from bench.envs.mdp import MDP, Array
from bench.ops.divergences import kl, multi_step
from bench.ops.returns import gae, td_lambda, vtrace

STEPS = 3
STATE_ACTIONS = list(itertools.product(range(3), range(2)))


def random_policy(seed: int) -> Array:
    weights = np.exp(np.random.default_rng(seed).standard_normal((3, 2)))
    return weights / weights.sum(1, keepdims=True)


def trajectories(mdp: MDP, mu: Array, start: int, first: int | None = None) -> dict[str, torch.Tensor]:
    """All roll-outs of STEPS actions from `start`, as `[T, B]` columns, each with its probability under mu.

    With `first` the first action is given and its probability is left out. `next` is the state after a step.
    """
    states, actions, nexts, weights = [], [], [], []
    spaces = [range(mdp.num_actions), range(mdp.num_states)] * STEPS
    for choice in itertools.product(*spaces):
        a, after = choice[::2], choice[1::2]
        s = (start, *after[:-1])
        if first is not None and a[0] != first:
            continue
        weight = 1.0
        for t in range(STEPS):
            weight *= mdp.P[s[t], a[t], after[t]] * (1.0 if t == 0 and first is not None else mu[s[t], a[t]])
        if weight > 0:
            states.append(s)
            actions.append(a)
            nexts.append(after)
            weights.append(weight)
    columns = [torch.tensor(x).T for x in (states, actions, nexts)]
    return dict(zip(("s", "a", "next"), columns, strict=True)) | {"weight": torch.tensor(weights).double()}


def small() -> tuple[MDP, Array, Array]:
    mdp = replace(builders.garnet(3, 2, 2, seed=4), gamma=0.9)
    return mdp, random_policy(0), random_policy(1)


def table(values: Array) -> torch.Tensor:
    return torch.tensor(np.array(values))


@pytest.mark.parametrize("start", range(3))
def test_vtrace_without_caps_is_the_value_of_the_target_policy(start: int) -> None:
    mdp, pi, mu = small()
    x = trajectories(mdp, mu, start)
    assert x["weight"].sum().item() == pytest.approx(1)
    r, ratio = table(mdp.R)[x["s"], x["a"]], table(pi / mu)[x["s"], x["a"]]
    tail = r[-1] + mdp.gamma * table(mdps.state_values(mdp, pi))[x["next"][-1]]
    critic = table(np.random.default_rng(5).standard_normal(3))[x["s"]]  # any: it drops out
    discount = torch.full_like(r, mdp.gamma)
    v_target, _ = vtrace(r, discount, critic, ratio, tail, rho_bar=math.inf, c_bar=math.inf)
    exact = mdps.state_values(mdp, pi)[start]
    assert (x["weight"] @ v_target[0]).item() == pytest.approx(exact, abs=1e-12)
    capped, _ = vtrace(r, discount, critic, ratio, tail)
    assert abs((x["weight"] @ capped[0]).item() - exact) > 1e-3  # the caps are a bias: the equality sees it


@pytest.mark.parametrize(("start", "first"), STATE_ACTIONS)
def test_the_q_of_vtrace_without_caps_is_that_of_the_target_policy(start: int, first: int) -> None:
    mdp, pi, mu = small()
    x = trajectories(mdp, mu, start, first)
    r, ratio = table(mdp.R)[x["s"], x["a"]], table(pi / mu)[x["s"], x["a"]]
    tail = r[-1] + mdp.gamma * table(mdps.state_values(mdp, pi))[x["next"][-1]]
    critic = table(np.random.default_rng(5).standard_normal(3))[x["s"]]
    _, q = vtrace(r, torch.full_like(r, mdp.gamma), critic, ratio, tail, rho_bar=math.inf, c_bar=math.inf)
    exact = mdps.action_values(mdp, pi)[start, first]
    assert (x["weight"] @ q[0]).item() == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("start", "first"), STATE_ACTIONS)
def test_on_policy_lambda_returns_and_gae_are_exact_in_the_mean(start: int, first: int, lam: float) -> None:
    mdp, pi, _ = small()
    x = trajectories(mdp, pi, start, first)
    v = table(mdps.state_values(mdp, pi))
    r = table(mdp.R)[x["s"], x["a"]]
    discount, done = torch.full_like(r, mdp.gamma), torch.zeros_like(r, dtype=torch.bool)
    q = mdps.action_values(mdp, pi)[start, first]
    returns = td_lambda(r, discount, v[x["next"]], lam=lam)
    advantages = gae(r, discount, v[x["s"]], v[x["next"]], done, lam=lam)
    assert (x["weight"] @ returns[0]).item() == pytest.approx(q, abs=1e-12)
    assert (x["weight"] @ advantages[0]).item() == pytest.approx(q - v[start].item(), abs=1e-12)


def q_of_f_to_the_end(mdp: MDP, pi: Array, f: Array) -> Array:
    """Q_pi(f) over STEPS steps, nothing beyond: f + gamma P (pi f + gamma P (...))."""
    q = f
    for _ in range(STEPS - 1):
        q = f + mdp.gamma * mdp.P @ (pi * q).sum(1)
    return q


@pytest.mark.parametrize(("start", "first"), STATE_ACTIONS)
def test_the_divergence_without_caps_is_q_of_f_up_to_the_end_of_the_rollout(start: int, first: int) -> None:
    mdp, pi, mu = small()
    x = trajectories(mdp, mu, start, first)
    log_pi, log_mu = (table(np.log(p))[x["s"], x["a"]] for p in (pi, mu))
    f, ratio = kl(log_pi, log_mu), torch.exp(log_pi - log_mu)
    discount = torch.full_like(f, mdp.gamma)
    d = multi_step(f, discount, ratio, c_bar=math.inf, rho_bar=math.inf)
    exact = q_of_f_to_the_end(mdp, pi, np.log(pi / mu))[start, first]
    assert (x["weight"] @ d[0]).item() == pytest.approx(exact, abs=1e-12)
    # The range of eq. 12, k from 0, weights the future by the own ratio: it estimates something else.
    from_zero = f[0] + ratio[0] * (d[0] - f[0])
    assert abs((x["weight"] @ from_zero).item() - exact) > 1e-4


def test_what_the_end_of_the_rollout_leaves_out_is_of_order_gamma_to_the_steps() -> None:
    mdp, pi, mu = small()
    f = np.log(pi / mu)
    left_out = np.abs(mdps.discounted_sum(mdp, pi, f) - q_of_f_to_the_end(mdp, pi, f)).max()
    assert 0 < left_out <= mdp.gamma**STEPS / (1 - mdp.gamma) * np.abs(f).max()
