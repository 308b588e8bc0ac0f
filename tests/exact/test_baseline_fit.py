"""DPO's residual baseline: its loss by hand, what it is worth by loops, what training sees and what it may change."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bench import exact_config
from bench.envs.landscapes import LANDSCAPES
from bench.envs.mdp import Array
from bench.errors import UserError
from bench.exact import baseline_fit, program
from bench.exact.advantages import optimal_baseline
from bench.exact.baseline_fit import Fit, Problem, baseline_loss, moments_of, problem, reference, sampled, worth
from bench.exact_config import FITS, BaselineFitConfig

KEYS: dict[str, object] = {
    "name": "baseline_fit",
    "baseline": "learned",
    "width": 8,
    "depth": 1,
    "trunk": "own",
    "learning_rate": 3e-4,
    "batch_size": 256,
    "samples": 30,
    "gamma": 0.99,
    "versions": 10,
    "version_step": 0.1,
    "init_scale": 0.5,
    "held_out": 0.3,
    "critic_updates": 20,
    "critic_learning_rate": 1e-3,
    "report_every": 10,
}


def algo(**changed: object) -> BaselineFitConfig:
    return BaselineFitConfig(**{**KEYS, **changed})  # type: ignore[arg-type]


def drawn(task: str = "smooth", seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    return problem(LANDSCAPES[task](rng, 0.9), algo(), rng)


def tiny() -> Problem:
    """Three states, two actions, the last state held out."""
    return Problem(
        features=np.array([[-1.0], [0.0], [1.0]]),
        pi=np.array([[0.5, 0.5], [0.25, 0.75], [0.125, 0.875]]),
        q=np.array([[1.0, 3.0], [2.0, -2.0], [4.0, 0.5]]),
        occupancy=np.array([0.25, 0.25, 0.5]),
        stale=np.array([[0.125, 0.125], [0.25, 0.0], [0.25, 0.25]]),
        held_out=np.array([False, False, True]),
    )


# ---- the loss


def test_the_loss_and_its_gradient_are_those_of_the_hand() -> None:
    g = torch.tensor([[1.0, -0.5], [0.0, 0.0]], requires_grad=True)
    q = torch.tensor([[2.0, 4.0], [1.0, 8.0]], requires_grad=True)
    shares, target = torch.tensor([[0.25, 0.75], [0.5, 0.5]]), torch.tensor([1.0, 4.0], requires_grad=True)
    # b = 0.25 * 2 * 2 + 0.75 * 0.5 * 4 = 2.5 and 0.5 + 4 = 4.5
    loss = baseline_loss(g, q, shares, target)
    assert float(loss.detach()) == (1.5**2 + 0.5**2) / 2
    loss.backward()
    assert g.grad is not None
    # 2 (b - target) share Q / N
    assert g.grad.tolist() == [[1.5 * 0.5, 1.5 * 3.0], [0.5 * 0.5, 0.5 * 4.0]]
    assert q.grad is None
    assert target.grad is None


def test_the_least_loss_has_the_mean_of_q_over_the_actions_of_the_replay() -> None:
    """A table of g, full batch: not V^pi, and what `replay_mean` and the learned baseline of UAE's check stand for."""
    case = tiny()
    g = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    q, pi, replay = (torch.tensor(x) for x in (case.q, case.pi, case.replay))
    states, actions = torch.cartesian_prod(torch.arange(2), torch.arange(2)).T
    optimiser = torch.optim.LBFGS([g], max_iter=200, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        weight = replay[states, actions] * len(states)  # the loss is a mean
        root = weight.sqrt()
        loss = baseline_loss(g[states], root[:, None] * q[states], pi[states], root * q[states, actions])
        loss.backward()
        return loss

    optimiser.step(closure)
    b = (case.pi * (1 + g.detach().numpy()) * case.q).sum(1)
    perfect, noise = reference(case, "replay_mean", 1)
    np.testing.assert_allclose(b[:2], perfect[:2], atol=1e-6)
    assert perfect[:2].tolist() == [2.0, 2.0]
    assert not noise.any()
    assert reference(case, "value", 1)[0][1] == -1.0


# ---- what a baseline is worth


def test_moments_are_those_of_loops_over_states_actions_and_samples() -> None:
    case, x, samples = tiny(), np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 2.0]]), 2
    states = np.array([True, False, True])
    residual = variance = 0.0
    for s, a in itertools.product((0, 2), range(2)):
        score = np.eye(2)[a] - case.pi[s]
        for others in itertools.product(range(2), repeat=samples):
            weight = case.occupancy[s] / 0.75 * case.pi[s, a] * math.prod(case.pi[s, c] for c in others)
            error = case.q[s, a] - np.mean([x[s, c] for c in others])
            residual += weight * error**2
            variance += weight * (score @ score) * error**2
    found = moments_of(case, *sampled(case.pi, x, samples), states)
    assert found == pytest.approx((residual, variance), rel=1e-12)


def test_the_value_is_worth_1_and_sampling_it_costs_one_over_the_samples() -> None:
    case = drawn()
    exact = worth(case, *reference(case, "value", 30))
    assert [exact[f"{name}_{what}"] for name in ("heldout", "fitted") for what in ("residual", "variance")] == [1.0] * 4
    noisy = worth(case, *reference(case, "zero_residual", 30))
    assert noisy["heldout_residual"] == pytest.approx(1 + 1 / 30, rel=1e-12)
    assert noisy["heldout_variance"] > 1


def test_no_baseline_beats_the_value_in_residual_or_the_optimal_one_in_variance() -> None:
    case, rng = drawn(), np.random.default_rng(3)
    zero = np.zeros(len(case.q))
    value, best = (case.pi * case.q).sum(1), optimal_baseline(case.pi, case.q)
    at_best = worth(case, best, zero)
    assert at_best["heldout_variance"] == at_best["optimal_variance"] < 1 < at_best["heldout_residual"]
    for scale in (1e-3, 0.1, 1.0):
        change = scale * rng.standard_normal(len(value))
        assert worth(case, value + change, zero)["heldout_residual"] > 1
        assert worth(case, best + change, zero)["heldout_variance"] > at_best["optimal_variance"]


def test_no_baseline_is_far_worse() -> None:
    case = drawn()
    row = worth(case, *reference(case, "none", 30))
    expected = (case.pi * case.q**2).sum(1) @ np.where(case.held_out, case.occupancy, 0)
    advantage = (case.pi * (case.q - (case.pi * case.q).sum(1, keepdims=True)) ** 2).sum(1)
    of_value = advantage @ np.where(case.held_out, case.occupancy, 0)
    assert row["heldout_residual"] == pytest.approx(expected / of_value, rel=1e-12)
    assert row["heldout_residual"] > 10


# ---- the problem


def test_the_problem_is_scaled_split_and_stale() -> None:
    case = drawn()
    weight = case.occupancy[:, None] * case.pi
    assert math.sqrt((weight * case.q**2).sum() - (weight * case.q).sum() ** 2) == pytest.approx(1, rel=1e-9)
    assert case.held_out.sum() == round(0.3 * 200)
    assert case.replay.sum() == pytest.approx(1, rel=1e-12)
    assert case.stale.sum() == pytest.approx(1, rel=1e-12)
    assert not case.replay[case.held_out].any()
    assert (case.stale[case.held_out] > 0).all()  # what a replay without the split would hold
    stale = case.stale / case.stale.sum(1, keepdims=True)
    assert np.abs(stale - case.pi).max() > 0.05
    # The present policy is the better one: it takes better actions than those of the replay.
    assert (weight * case.q).sum() > (case.occupancy[:, None] * stale * case.q).sum()


# ---- training


def parameters(module: nn.Module) -> list[Array]:
    return [p.detach().numpy().copy() for p in module.parameters()]


def moved(before: list[Array], after: list[Array]) -> list[bool]:
    return [bool((one != other).any()) for one, other in zip(before, after, strict=True)]


@pytest.mark.parametrize(("trunk", "trained"), [("own", True), ("shared_tuned", True), ("shared_frozen", False)])
def test_updates_move_the_head_and_the_hidden_layers_only_where_they_are_not_frozen(trunk: str, trained: bool) -> None:
    net = Fit(drawn(), algo(trunk=trunk, depth=2), 0)
    before = parameters(net.trunk), parameters(net.head)
    net.update()
    assert moved(before[0], parameters(net.trunk)) == [trained] * 4
    assert moved(before[1], parameters(net.head)) == [True] * 2


def test_a_shared_trunk_is_a_critics_that_was_fitted_and_an_own_one_is_not() -> None:
    own, shared, longer = (
        Fit(drawn(), algo(trunk=trunk, critic_updates=n, width=16, critic_learning_rate=1e-2), 0)
        for trunk, n in (("own", 2), ("shared_tuned", 2), ("shared_tuned", 150))
    )
    assert math.isnan(own.critic_error)
    assert longer.critic_error < 0.5 < shared.critic_error
    assert all(moved(parameters(own.trunk), parameters(shared.trunk)))
    assert not any(moved(parameters(own.head), parameters(shared.head)))  # the head is the residual's own
    assert "critic_error" not in own.row()
    assert longer.row()["critic_error"] == longer.critic_error


def test_training_never_reads_a_held_out_state() -> None:
    """Their features are no numbers: one read, and every parameter would be none either."""
    case = drawn()
    blind = replace(case, features=np.where(case.held_out[:, None], math.nan, case.features))
    net = Fit(blind, algo(), 0)
    for _ in range(20):
        assert math.isfinite(net.update())
    assert all(np.isfinite(p).all() for p in parameters(net.trunk))
    leaky = Fit(replace(blind, held_out=np.zeros(200, dtype=bool)), algo(), 0)  # the planted fault
    assert math.isnan(leaky.update())


def test_the_loss_of_an_update_is_that_of_the_replay_in_the_mean() -> None:
    """At g = 0: E_replay (V - Q)^2 + the noise of the samples, over 200 minibatches within 4 standard errors."""
    case = drawn()
    net = Fit(case, algo(samples=5, learning_rate=1e-30), 0)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    losses = np.array([net.update() for _ in range(200)])
    mean, noise = sampled(case.pi, case.q, 5)
    expected = (case.replay * ((mean[:, None] - case.q) ** 2 + noise[:, None])).sum()
    assert abs(losses.mean() - expected) < 4 * losses.std() / math.sqrt(200)
    assert losses.std() / math.sqrt(200) < 0.05 * expected


def test_training_lowers_the_loss_and_the_residual_on_states_that_it_sees() -> None:
    net = Fit(drawn(), algo(width=64, learning_rate=3e-3), 0)
    before, losses = net.row()["fitted_residual"], [net.update() for _ in range(300)]
    assert net.row()["fitted_residual"] < 0.4 * before
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])


def test_layers_begin_as_pytorchs_and_draw_from_their_own_generator_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, same = (baseline_fit.linear(16, 1000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert (torch.get_rng_state() == state).all()
    assert (one.weight == same.weight).all()
    theirs = nn.Linear(16, 1000)
    for ours, default in ((one.weight, theirs.weight), (one.bias, theirs.bias)):
        assert float(ours.detach().abs().max()) <= 0.25
        assert float(ours.detach().std()) == pytest.approx(float(default.detach().std()), rel=0.05)


def test_a_trunk_has_as_many_hidden_layers_of_that_width() -> None:
    shapes = [tuple(p.shape) for p in baseline_fit.trunk(5, 8, 3, torch.Generator()).parameters()]
    assert shapes == [(8, 5), (8,), (8, 8), (8,), (8, 8), (8,)]


# ---- the program


def config(task: str = "smooth", seed: int = 0, steps: int = 25, **changed: object) -> SimpleNamespace:
    return SimpleNamespace(algo=algo(**changed), env=SimpleNamespace(task=task), seed=seed, steps=steps)


def rows(**changed: object) -> list[dict[str, float]]:
    return list(program("baseline_fit")(config(**changed)))  # type: ignore[arg-type]


def test_rows_come_every_so_many_updates_and_at_the_end() -> None:
    assert [(row["step"], row["updates"]) for row in rows()] == [(10, 10), (20, 20), (25, 25)]
    assert all(math.isfinite(value) for row in rows(trunk="shared_tuned") for value in row.values())


@pytest.mark.parametrize("kind", [kind for kind in FITS if kind != "learned"])
def test_a_reference_is_one_row_on_the_same_problem(kind: str) -> None:
    (row,) = rows(baseline=kind)
    assert row["step"] == 25
    assert "baseline_loss" not in row
    learned = rows()[-1]
    assert row["optimal_variance"] == learned["optimal_variance"]
    assert row["heldout_variance"] != learned["heldout_variance"]


def test_runs_repeat_by_seed_on_both_landscapes() -> None:
    for task in sorted(LANDSCAPES):
        assert rows(task=task) == rows(task=task)
        assert rows(task=task) != rows(task=task, seed=1)


def test_the_schema_knows_the_landscapes() -> None:
    assert set(exact_config.LANDSCAPES) == set(LANDSCAPES)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "fit"}, "algo.name is 'fit'; allowed: baseline_fit"),
        (
            {"baseline": "mean"},
            "algo.baseline is 'mean'; allowed: learned, none, optimal, replay_mean, value, zero_residual",
        ),
        ({"trunk": "shared"}, "algo.trunk is 'shared'; allowed: own, shared_frozen, shared_tuned"),
        ({"gamma": 1.0}, "algo.gamma is 1.0"),
        ({"held_out": 0.0}, "algo.held_out is 0.0"),
        ({"learning_rate": math.inf}, "algo.learning_rate is inf"),
        ({"version_step": -0.1}, "algo.version_step is -0.1"),
        ({"depth": 0}, "algo.depth is 0"),
        ({"samples": 0}, "algo.samples is 0"),
    ],
)
def test_a_value_out_of_range_is_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        algo(**changed)
    assert says in str(caught.value)
