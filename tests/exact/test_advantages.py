"""Moments of GAE and UAE: against every trajectory of a finite process, against iteration, and what theory says."""

import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exact_cases import FAMILIES, policy

from bench.envs.mdp import MDP, Array, action_values, occupancy
from bench.errors import UserError
from bench.exact import advantages, program
from bench.exact.advantages import Estimator, Instance, baseline_of, gae, measure, moments, optimal_baseline, uae
from bench.exact.gradients import performance_gradient
from bench.exact_config import UaeVarianceConfig
from bench.ops import returns

LAMBDAS = [0.0, 0.5, 0.95, 1.0]
LAYERS = [[0], [1, 2], [3, 4], [5]]  # the last one absorbs and pays nothing


def layered() -> tuple[MDP, Array, Array, Array]:
    """A process that is over after three steps, a policy, and a wrong Q and b that are 0 at the end."""
    rng = np.random.default_rng(0)
    p, r = np.zeros((6, 2, 6)), rng.standard_normal((6, 2))
    for here, after in zip(LAYERS, [*LAYERS[1:], LAYERS[-1]], strict=True):
        for s in here:
            p[s][:, after] = rng.dirichlet(np.ones(len(after)), size=2)
    q, b = rng.standard_normal((6, 2)), rng.standard_normal(6)
    r[5], q[5], b[5] = 0, 0, 0
    return MDP(P=p, R=r, d0=np.eye(6)[0], gamma=0.75), policy(None, rng.standard_normal((6, 2))), q, b


def trajectories(mdp: MDP, pi: Array, s: int, a: int, steps: int) -> Iterator[tuple[float, list[tuple[int, int]]]]:
    if steps == 0:
        yield 1.0, [(s, a)]
        return
    for t, c in np.ndindex(*pi.shape):
        if mdp.P[s, a, t]:
            for weight, rest in trajectories(mdp, pi, t, c, steps - 1):
                yield mdp.P[s, a, t] * pi[t, c] * weight, [(s, a), *rest]


def enumerated(mdp: MDP, pi: Array, name: str, q: Array, b: Array, lam: float) -> tuple[Array, Array]:
    """Mean and variance of what the algorithm's own operators make of every trajectory."""
    mean, variance = np.zeros(pi.shape), np.zeros(pi.shape)
    for s, a in np.ndindex(*pi.shape):
        weights, paths = zip(*trajectories(mdp, pi, s, a, 3), strict=True)
        states, actions = np.array(paths).transpose(2, 1, 0)  # [T + 1, trajectories]
        r, values, own = (torch.tensor(x) for x in (mdp.R[states, actions][:-1], q[states, actions], b[states]))
        discount = torch.full_like(r, mdp.gamma)
        if name == "uae":
            x = returns.uae(r, discount, values, own[:-1], lam=lam)[0].numpy()
        else:
            x = returns.gae(r, discount, own[:-1], own[1:], torch.zeros_like(r), lam=lam)[0].numpy()
        mean[s, a] = weights @ x
        variance[s, a] = weights @ (x - mean[s, a]) ** 2
    return mean, variance


def estimator(mdp: MDP, name: str, q: Array, b: Array) -> Estimator:
    return gae(mdp, b) if name == "gae" else uae(mdp, q, b)


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("name", ["gae", "uae"])
def test_moments_are_those_of_all_trajectories_through_the_algorithms_own_operators(name: str, lam: float) -> None:
    mdp, pi, q, b = layered()
    found, expected = moments(mdp, pi, estimator(mdp, name, q, b), lam), enumerated(mdp, pi, name, q, b, lam)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-13)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-13)
    assert found[1][:3].min() > 1e-3  # something to compare


def test_an_accumulator_that_counts_the_baseline_again_has_other_moments() -> None:
    """The planted fault: UAE whose steps after the first are r + gamma Q - b, as GAE's are."""
    mdp, pi, q, b = layered()
    wrong = Estimator(start=np.zeros(q.shape), now=mdp.R - b[:, None], after=q)
    mean, variance = enumerated(mdp, pi, "uae", q, b, 0.5)
    assert np.abs(moments(mdp, pi, wrong, 0.5)[0] - mean).max() > 1e-2
    assert np.abs(moments(mdp, pi, wrong, 0.5)[1] - variance).max() > 1e-2


def ends() -> list[tuple[str, float]]:
    return [(family, lam) for family in ("garnet", "chain", "river_swim") for lam in LAMBDAS]


def setting(family: str) -> tuple[MDP, Array, Array, Array]:
    """A process that never ends, a policy, and a wrong Q and b."""
    mdp, rng = replace(FAMILIES[family], gamma=0.8), np.random.default_rng(1)
    return (
        mdp,
        policy(None, rng.standard_normal(mdp.R.shape)),
        rng.standard_normal(mdp.R.shape),
        rng.standard_normal(mdp.num_states),
    )


@pytest.mark.parametrize(("family", "lam"), ends())
@pytest.mark.parametrize("name", ["gae", "uae"])
def test_moments_of_endless_streams_are_those_of_iterating_the_second_moment(
    name: str, family: str, lam: float
) -> None:
    """Y = x(z, z') + k Y': E Y and E Y^2 pair by pair, from Y = 0, for 0.8^200 = 4e-20."""
    mdp, pi, q, b = setting(family)
    parts, k = estimator(mdp, name, q, b), mdp.gamma * lam
    move = np.einsum("sat,tc->satc", mdp.P, pi)
    x = parts.now[..., None, None] + mdp.gamma * parts.after
    mean, second = np.zeros(pi.shape), np.zeros(pi.shape)
    for _ in range(200):
        second = (move * (x**2 + 2 * k * x * mean + k**2 * second)).sum((2, 3))
        mean = (move * (x + k * mean)).sum((2, 3))
    found = moments(mdp, pi, parts, lam)
    np.testing.assert_allclose(found[0], parts.start + mean, atol=1e-12)
    np.testing.assert_allclose(found[1], second - mean**2, atol=1e-11)


# ---- what theory says


@pytest.mark.parametrize(("family", "lam"), ends())
def test_uae_with_the_baseline_for_q_is_gae(family: str, lam: float) -> None:
    mdp, pi, _, b = setting(family)
    one = moments(mdp, pi, gae(mdp, b), lam)
    other = moments(mdp, pi, uae(mdp, np.broadcast_to(b[:, None], mdp.R.shape), b), lam)
    np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.mark.parametrize(("family", "lam"), ends())
def test_with_exact_q_uae_is_unbiased_whatever_the_baseline_and_lambda(family: str, lam: float) -> None:
    mdp, pi, _, b = setting(family)
    q = action_values(mdp, pi)
    np.testing.assert_allclose(moments(mdp, pi, uae(mdp, q, b), lam)[0], q - b[:, None], atol=1e-13)


@pytest.mark.parametrize("family", ["garnet", "chain"])
def test_lambda_1_is_the_return_less_the_baseline_for_both(family: str) -> None:
    mdp, pi, q, b = setting(family)
    one, other = moments(mdp, pi, gae(mdp, b), 1.0), moments(mdp, pi, uae(mdp, q, b), 1.0)
    np.testing.assert_allclose(one, other, atol=1e-12)
    np.testing.assert_allclose(one[0], action_values(mdp, pi) - b[:, None], atol=1e-12)


def test_lambda_0_bootstraps_after_one_step() -> None:
    mdp, pi, q, b = setting("garnet")
    np.testing.assert_allclose(moments(mdp, pi, gae(mdp, b), 0.0)[0], mdp.R + mdp.gamma * mdp.P @ b - b[:, None])
    expected = mdp.R + mdp.gamma * mdp.P @ (pi * q).sum(1) - b[:, None]
    np.testing.assert_allclose(moments(mdp, pi, uae(mdp, q, b), 0.0)[0], expected)


@pytest.mark.parametrize(("family", "lam"), ends())
def test_with_exact_values_uae_has_the_larger_variance_by_a_known_amount(family: str, lam: float) -> None:
    """gamma^2 (1 - lambda^2) E A(z')^2 per step, k^2 as much for each later one."""
    mdp, pi, _, _ = setting(family)
    q = action_values(mdp, pi)
    v = (pi * q).sum(1)
    step = mdp.gamma**2 * (1 - lam**2) * mdp.P @ (pi * (q - v[:, None]) ** 2).sum(1)
    more, total = np.zeros(pi.shape), step
    for _ in range(200):
        more, total = more + total, (mdp.gamma * lam) ** 2 * mdp.P @ (pi * total).sum(1)
    difference = moments(mdp, pi, uae(mdp, q, v), lam)[1] - moments(mdp, pi, gae(mdp, v), lam)[1]
    np.testing.assert_allclose(difference, more, atol=1e-12)
    assert lam == 1 or difference.min() > 0


@pytest.mark.parametrize(("family", "lam"), ends())
def test_an_error_of_the_critic_biases_uae_as_its_mean_over_actions_biases_gae(family: str, lam: float) -> None:
    mdp, pi, error, b = setting(family)
    q = action_values(mdp, pi)
    of_uae = moments(mdp, pi, uae(mdp, q + error, b), lam)[0] - (q - b[:, None])
    wrong = (pi * (q + error)).sum(1)
    of_gae = moments(mdp, pi, gae(mdp, wrong), lam)[0] - (q - wrong[:, None])
    np.testing.assert_allclose(of_uae, of_gae, atol=1e-13)
    ahead, total = (1 - lam) * mdp.gamma * mdp.P @ (pi * error).sum(1), np.zeros(pi.shape)
    for _ in range(200):
        total, ahead = total + ahead, mdp.gamma * lam * mdp.P @ (pi * ahead).sum(1)
    np.testing.assert_allclose(of_uae, total, atol=1e-13)


# ---- baselines


def scores(pi: Array) -> Array:
    """grad log pi(a|s) in the logits of s, `[S, A, A]`."""
    return np.eye(pi.shape[1]) - pi[:, None, :]


def test_squared_scores_are_those_of_the_gradient() -> None:
    pi = policy(None, np.random.default_rng(0).standard_normal((3, 4)))
    np.testing.assert_allclose(advantages.squared_scores(pi), (scores(pi) ** 2).sum(-1), atol=1e-15)


@pytest.mark.parametrize("step", [1e-3, -1e-3, 1.0])
def test_no_other_baseline_has_a_lower_variance_than_the_optimal_one(step: float) -> None:
    _, pi, q, _ = setting("garnet")

    def variance(b: Array) -> Array:
        return (pi * (scores(pi) ** 2).sum(-1) * (q - b[:, None]) ** 2).sum(1)

    best = optimal_baseline(pi, q)
    assert (variance(best + step) > variance(best)).all()
    assert (variance((pi * q).sum(1)) > variance(best)).all()  # V^pi is another one


def test_the_learned_baseline_has_the_least_loss_on_the_replays_actions() -> None:
    _, pi, q, other = setting("garnet")
    stale = policy(None, np.random.default_rng(5).standard_normal(pi.shape))

    def loss(b: Array) -> Array:
        return (stale * (q - b[:, None]) ** 2).sum(1)

    learned = baseline_of("learned", pi, q, stale)
    for kind in ("value", "action_mean", "optimal", "zero"):
        assert (loss(baseline_of(kind, pi, q, stale)) > loss(learned)).all()
    assert (loss(learned + 1e-3 * other) > loss(learned)).all()
    np.testing.assert_array_equal(baseline_of("learned", pi, q, pi), baseline_of("value", pi, q, stale))


# ---- rows


def case(**changed: object) -> Instance:
    mdp, pi, error, b = setting("garnet")
    q = action_values(mdp, pi)
    parts = {"mdp": mdp, "pi": pi, "q": q, "critic": q + error, "baseline": b, "perturbation": b[::-1]}
    return Instance(**{**parts, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gae", "uae"])
def test_a_row_holds_what_loops_over_the_definition_give(name: str) -> None:
    one, lam = case(), 0.5
    mdp, pi, d = one.mdp, one.pi, occupancy(one.mdp, one.pi)
    mean, variance = moments(mdp, pi, estimator(mdp, name, one.critic, one.baseline), lam)
    moved, _ = moments(mdp, pi, estimator(mdp, name, one.critic, one.baseline + one.perturbation), lam)
    a = one.q - (pi * one.q).sum(1, keepdims=True)
    error = squares = second = 0.0
    gradient, shifted = np.zeros(pi.shape), np.zeros(pi.shape)
    for s, c in np.ndindex(*pi.shape):
        weight, score = d[s] * pi[s, c], scores(pi)[s, c]
        error += weight * ((mean[s, c] - a[s, c]) ** 2 + variance[s, c])
        squares += weight * a[s, c] ** 2
        second += weight * (score @ score) * (mean[s, c] ** 2 + variance[s, c])
        gradient[s] += weight * mean[s, c] * score
        shifted[s] += weight * moved[s, c] * score
    true = performance_gradient(mdp, pi)
    row = measure(one, name, lam, 8)
    length = (true**2).sum()
    assert row["trace_decay"] == lam
    assert row["advantage_mse"] == pytest.approx(error / squares, rel=1e-12)
    assert row["gradient_bias2"] == pytest.approx(((gradient - true) ** 2).sum() / length, rel=1e-9)
    assert row["gradient_variance"] == pytest.approx((second - (gradient**2).sum()) / length, rel=1e-12)
    assert row["gradient_error"] == pytest.approx(row["gradient_bias2"] + row["gradient_variance"] / 8)
    shift = math.sqrt(((shifted - gradient) ** 2).sum() / length)
    assert row["gradient_shift"] == pytest.approx(shift, rel=1e-9, abs=1e-12)


def test_a_bias_that_all_actions_share_moves_no_gradient() -> None:
    row = measure(case(critic=case().q), "uae", 0.5, 8)
    assert row["advantage_offset2"] > 0.1
    assert max(row["advantage_bias2"], row["gradient_bias2"]) < 1e-25


@pytest.mark.parametrize("lam", LAMBDAS)
def test_the_baseline_moves_the_gradient_of_gae_alone(lam: float) -> None:
    """With any critic, right or wrong. GAE is the planted fault of the claim, until lambda = 1."""
    assert measure(case(), "uae", lam, 8)["gradient_shift"] < 1e-13
    assert (measure(case(), "gae", lam, 8)["gradient_shift"] > 1e-3) == (lam < 1)


# ---- the program


KEYS: dict[str, object] = {
    "name": "uae_variance",
    "estimator": "uae",
    "baseline": "value",
    "baseline_noise": 0.0,
    "critic_noise": 0.0,
    "staleness": 1.0,
    "perturbation": 1.0,
    "lambdas": [0.0, 0.5, 1.0],
    "gamma": 0.99,
    "init_scale": 1.0,
    "batch_steps": 2048,
}


def config(task: str = "garnet", seed: int = 0, steps: int = 3, **changed: object) -> SimpleNamespace:
    algo = UaeVarianceConfig(**{**KEYS, **changed})  # type: ignore[arg-type]
    return SimpleNamespace(algo=algo, env=SimpleNamespace(task=task), seed=seed, steps=steps)


def rows(task: str = "garnet", seed: int = 0, **changed: object) -> list[dict[str, float]]:
    return list(program("uae_variance")(config(task, seed, **changed)))


def test_there_is_one_row_per_lambda_in_the_order_given() -> None:
    assert [(row["step"], row["trace_decay"]) for row in rows(lambdas=[1.0, 0.0, 0.5])] == [
        (1, 1.0),
        (2, 0.0),
        (3, 0.5),
    ]


def test_runs_repeat_by_seed_and_estimators_of_a_seed_share_its_policy_and_noise() -> None:
    assert rows(baseline_noise=0.5) == rows(baseline_noise=0.5)
    assert rows(baseline_noise=0.5) != rows(baseline_noise=0.5, seed=1)
    one, other = (rows(baseline_noise=0.5, estimator=name)[-1] for name in ("gae", "uae"))
    for key in ("advantage_variance", "advantage_offset2", "gradient_variance"):
        assert one[key] == pytest.approx(other[key], rel=1e-9)  # lambda = 1: the same estimate


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_noise_counts_in_spreads(noise: float) -> None:
    """On a process with ten times the rewards it is ten times as large, so that no share changes."""
    algo = config(baseline_noise=noise, critic_noise=noise).algo
    small = advantages.draw(FAMILIES["garnet"], algo, 0)
    large = advantages.draw(replace(FAMILIES["garnet"], R=8 * FAMILIES["garnet"].R), algo, 0)
    np.testing.assert_allclose(large.baseline, 8 * small.baseline, rtol=1e-12)
    np.testing.assert_allclose(large.critic, 8 * small.critic, rtol=1e-12)
    np.testing.assert_allclose(large.perturbation, 8 * small.perturbation, rtol=1e-12)
    weight = occupancy(small.mdp, small.pi)[:, None] * small.pi
    plain = advantages.draw(FAMILIES["garnet"], replace(algo, baseline_noise=0.0, critic_noise=0.0), 0)
    drawn = np.random.default_rng(advantages.stream(0, "critic")).standard_normal(small.q.shape)
    spread = math.sqrt((weight * (small.q - (weight * small.q).sum()) ** 2).sum())
    np.testing.assert_allclose(small.critic - plain.critic, noise * spread * drawn, rtol=1e-9)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "gae"}, "algo.name is 'gae'; allowed: uae_variance"),
        ({"estimator": "td"}, "algo.estimator is 'td'; allowed: gae, uae"),
        ({"baseline": "v"}, "algo.baseline is 'v'; allowed: action_mean, learned, optimal, value, zero"),
        ({"gamma": 1.0}, "algo.gamma is 1.0"),
        ({"lambdas": []}, "algo.lambdas is []"),
        ({"lambdas": [0.5, 1.5]}, "algo.lambdas is [0.5, 1.5]"),
        ({"baseline_noise": -1.0}, "algo.baseline_noise is -1.0"),
        ({"staleness": math.inf}, "algo.staleness is inf"),
        ({"batch_steps": 0}, "algo.batch_steps is 0"),
        ({"estimator": "gae", "critic_noise": 0.1}, "algo.critic_noise is 0.1; allowed: 0 with algo.estimator=gae"),
    ],
)
def test_a_value_out_of_range_is_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        config(**changed)  # type: ignore[arg-type]
    assert says in str(caught.value)
