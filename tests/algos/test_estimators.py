"""D by a linear solve and D with the noise of the sampled one, against exact values."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from dapo_cases import SMALL, configured, trained

from bench import compose
from bench.algos.dapo import Dapo
from bench.algos.estimators import discounted_sums, variance, with_variance_of
from bench.envs import mdp as mdps
from bench.envs.tabular import TASKS
from bench.errors import UserError
from bench.ops.divergences import multi_step


def small_mdp(gamma: float = 0.9) -> mdps.MDP:
    return replace(TASKS["garnet_small"](), gamma=gamma)


def random_policy(mdp: mdps.MDP, seed: int) -> np.ndarray:
    weights = np.exp(np.random.default_rng(seed).standard_normal(mdp.R.shape))
    return weights / weights.sum(1, keepdims=True)


# --- exact -----------------------------------------------------------------------------------------------------------


def test_discounted_sums_are_those_of_the_mdp():
    mdp = small_mdp()
    pi, f = random_policy(mdp, 0), np.random.default_rng(1).standard_normal((3, *mdp.R.shape))
    q = discounted_sums(torch.tensor(mdp.P), torch.tensor(pi), torch.tensor(f), gamma=0.9, c=1.0, horizon=None)
    for k in range(3):
        np.testing.assert_allclose(q[k], mdps.discounted_sum(mdp, pi, f[k]), atol=1e-12)


@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_a_horizon_keeps_so_many_future_terms(horizon):
    mdp = small_mdp()
    pi, f = random_policy(mdp, 0), np.random.default_rng(1).standard_normal(mdp.R.shape)
    q = discounted_sums(
        torch.tensor(mdp.P), torch.tensor(pi), torch.tensor(f)[None], gamma=0.9, c=1.0, horizon=horizon
    )[0]
    expected, reached = f.copy(), mdp.P  # distribution over states after l steps
    for step in range(1, horizon + 1):
        expected += 0.9**step * reached @ (pi * f).sum(1)
        reached = reached @ np.einsum("sa,sat->st", pi, mdp.P)
    np.testing.assert_allclose(q, expected, atol=1e-12)


def exact_agent(*overrides: str, steps: int = 320) -> Dapo:
    tabular = ["env=tabular", "env.task=garnet_small", "algo.estimator=exact"]
    return trained(compose.to_run_config(compose.compose([*SMALL, *tabular, *overrides, f"steps={steps}"])))[0]


def test_the_stored_tables_are_of_the_policies_that_acted():
    agent = exact_agent()
    batch = agent.sample("replay")
    assert len(batch["chunk"].unique()) > 3
    for t in range(8):
        for n in range(4):
            table = agent.exact.published[batch["chunk"][t, n].item()]
            s, a = batch["obs"][t, n].argmax(), batch["action"][t, n]
            assert table[s, a].item() == pytest.approx(batch["log_mu"][t, n].item(), abs=1e-6)


@pytest.mark.parametrize("divergence", ["kl", "hellinger"])
def test_the_exact_divergence_is_q_of_f_against_the_policy_that_acted(divergence):
    agent = exact_agent(f"algo.divergence={divergence}", "algo.gamma=0.9", "algo.c_d=1.0")
    mdp, batch = small_mdp(0.9), agent.sample("replay")
    log_pi, ratio, _, _ = agent.evaluate(batch)
    d = agent.divergence(batch, log_pi, ratio)
    pi = agent.policy(np.eye(5, dtype=np.float32))
    for t in range(8):
        for n in range(4):
            mu = agent.exact.published[batch["chunk"][t, n].item()].exp().numpy()
            f = np.log(pi / mu) if divergence == "kl" else 1 - np.sqrt(mu / pi)
            s, a = batch["obs"][t, n].argmax().item(), batch["action"][t, n].item()
            assert d[t, n].item() == pytest.approx(mdps.discounted_sum(mdp, pi, f)[s, a], abs=1e-6)
    assert d.abs().max() > 0.01
    assert not d.requires_grad


def test_with_horizon_zero_the_exact_divergence_is_f_of_the_step():
    agent = exact_agent("algo.horizon=0")
    batch = agent.sample("replay")
    log_pi, ratio, _, _ = agent.evaluate(batch)
    torch.testing.assert_close(agent.divergence(batch, log_pi, ratio), (log_pi - batch["log_mu"]), rtol=0, atol=1e-6)


def test_tables_of_policies_that_the_replay_has_forgotten_are_forgotten():
    agent = exact_agent(steps=1600)
    held = set(agent.replay.fields["chunk"].unique().tolist())
    assert held <= set(agent.exact.published)
    assert len(agent.exact.published) <= 64 // 8 + 1


@pytest.mark.parametrize("c", [1.0, 0.5])
def test_on_policy_the_sampled_divergence_is_the_exact_one_in_the_mean(c):
    mdp, gamma, steps, copies = small_mdp(0.8), 0.8, 60, 6000
    pi, f = random_policy(mdp, 0), np.random.default_rng(1).standard_normal(mdp.R.shape)
    rng = np.random.default_rng(2)
    s = rng.integers(5, size=copies)
    first, seen = [], []
    for t in range(steps):
        a = (pi[s].cumsum(1) < rng.random((copies, 1))).sum(1)
        first = first or [s, a]
        seen.append(f[s, a])
        s = (mdp.P[s, a].cumsum(1) < rng.random((copies, 1)) * (1 - 1e-12)).sum(1)
        assert t < steps
    x = torch.tensor(np.stack(seen))
    d = multi_step(x, torch.full_like(x, gamma), torch.ones_like(x), c_bar=c, rho_bar=math.inf)[0].numpy()
    tables = (torch.tensor(mdp.P), torch.tensor(pi), torch.tensor(f)[None])
    exact = discounted_sums(*tables, gamma=gamma, c=c, horizon=None)
    for state in range(5):
        for action in range(2):
            sample = d[(first[0] == state) & (first[1] == action)]
            error = sample.std(ddof=1) / np.sqrt(len(sample))
            assert abs(sample.mean() - exact[0, state, action].item()) < 4 * error
            assert error < 0.1


def test_the_exact_estimator_is_refused_where_there_is_no_finite_mdp():
    with pytest.raises(UserError, match=r"algo.estimator is 'exact'; allowed: exact only with env=tabular"):
        configured("algo.estimator=exact")
    with pytest.raises(UserError, match=r"only with env=tabular and algo.recurrent=false"):
        exact_agent("algo.recurrent=true")


# --- matched variance ------------------------------------------------------------------------------------------------


def test_the_noise_makes_up_for_the_missing_variance_and_leaves_the_mean():
    g = torch.Generator().manual_seed(0)
    f, full, weight = torch.randn(8, 4, generator=g), 3 * torch.randn(8, 4, generator=g), torch.ones(8, 4)
    weight[3:5] = 0
    draws = torch.stack([with_variance_of(f, full, weight, g) for _ in range(4000)])
    mean_variance = torch.stack([variance(d, weight) for d in draws]).mean().item()
    # the variance of 24 draws about their own mean is 23/24 of the noise's
    missing = variance(full, weight) - variance(f, weight)
    assert mean_variance == pytest.approx((variance(f, weight) + missing * 23 / 24).item(), rel=0.02)
    assert (draws.mean(0) - f).abs().max().item() < 5 * (missing / 4000).sqrt().item()


def test_where_the_full_divergence_varies_less_there_is_no_noise():
    f = torch.arange(8.0).reshape(4, 2)
    d = with_variance_of(f, torch.zeros(4, 2), torch.ones(4, 2), torch.Generator())
    assert torch.equal(d, f)


def test_the_matched_divergence_of_a_run_is_the_one_step_one_with_noise_of_its_own_stream():
    agent, _ = trained(configured("algo.estimator=matched_variance"))
    batch = agent.sample("replay")
    log_pi, ratio, _, _ = agent.evaluate(batch)
    one_step, full = (agent.sampled_divergence(batch, log_pi, ratio, horizon) for horizon in (0, None))
    others = {name: g.get_state() for name, g in agent.generators.items() if name != "noise"}
    draws = torch.stack([agent.divergence(batch, log_pi, ratio) for _ in range(2000)])
    assert all(torch.equal(agent.generators[name].get_state(), state) for name, state in others.items())
    one = torch.ones_like(full)
    assert variance(full, one) > variance(one_step, one)
    assert draws.var(0).mean().item() == pytest.approx((variance(full, one) - variance(one_step, one)).item(), rel=0.1)
    assert not draws.requires_grad


def test_measuring_a_run_with_noise_does_not_change_it():
    noisy = ["algo.estimator=matched_variance"]
    measured, rows = trained(configured(*noisy, "algo.diagnostics_every=1"))
    unmeasured, _ = trained(configured(*noisy, "algo.diagnostics_every=0"))
    assert all(row["pg_var"] > 0 for row in rows)
    assert measured.parameters_sha256() == unmeasured.parameters_sha256()
