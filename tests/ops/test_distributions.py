"""The three policy families: one interface, densities that integrate to one, draws that follow them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as library

from bench.ops.distributions import MANY, MARGIN, Beta, Categorical, Family, SquashedGaussian, standard_gamma

LOW, HIGH = torch.tensor([-1.0, 0.0, -4.0]), torch.tensor([1.0, 2.0, 4.0])
FAMILIES: list[Family] = [Beta(LOW, HIGH), SquashedGaussian(LOW, HIGH), Categorical(6)]
BOXES = [Beta(LOW, HIGH), SquashedGaussian(LOW, HIGH)]
LINE = (torch.zeros(1), torch.ones(1))  # a range of one dimension
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
each_box = pytest.mark.parametrize("family", BOXES, ids=lambda f: type(f).__name__)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raws(*shape: int, seed: int = 1) -> Tensor:
    """Of a small spread: no log sigma at its bound, no u at the margin."""
    return 0.3 * torch.randn(*shape, generator=generator(seed))


# ---- the interface


@each_family
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 0)])
def test_any_leading_axes_are_kept(family, lead):
    raw = raws(*lead, 6)
    u = family.sample(raw, generator())
    assert family.log_prob(raw, u).shape == family.kl(raw, raw).shape == lead
    assert family.encode(u).shape == (*lead, family.code_size)
    assert family.mean(raw).shape == family.to_env(u).shape == u.shape


@each_family
def test_rows_do_not_mix(family):
    p, q = raws(2, 3, 6), raws(2, 3, 6, seed=2)
    u = family.sample(p, generator())
    for name, whole, part in [
        ("log_prob", family.log_prob(p, u), family.log_prob(p[1, 2], u[1, 2])),
        ("kl", family.kl(p, q), family.kl(p[1, 2], q[1, 2])),
        ("mean", family.mean(p), family.mean(p[1, 2])),
        ("encode", family.encode(u), family.encode(u[1, 2])),
    ]:
        assert torch.allclose(whole[1, 2], part, rtol=1e-5, atol=1e-6), name


@each_family
def test_the_generator_alone_decides_the_draw(family):
    raw, state = raws(100, 6), torch.get_rng_state()
    first, second = family.sample(raw, generator(3)), family.sample(raw, generator(3))
    assert torch.equal(first, second)
    assert not torch.equal(first, family.sample(raw, generator(4)))
    assert torch.equal(torch.get_rng_state(), state)


@each_family
def test_a_draw_carries_no_gradient_and_its_log_probability_does(family):
    raw = raws(4, 6).requires_grad_()
    u = family.sample(raw, generator())
    assert not u.requires_grad
    family.log_prob(raw, u).sum().backward()
    assert raw.grad.abs().min() > 0


@each_family
def test_float32_stays_float32(family):
    raw = raws(4, 6)
    u = family.sample(raw, generator())
    assert {x.dtype for x in (family.log_prob(raw, u), family.encode(u), family.kl(raw, raw))} == {torch.float32}


@each_family
@pytest.mark.parametrize("width", [5, 7, 12])
def test_a_raw_of_another_width_is_refused(family, width):
    u = family.sample(raws(2, 6), generator())
    for call in (
        lambda raw: family.sample(raw, generator()),
        lambda raw: family.log_prob(raw, u),
        family.mean,
        lambda raw: family.kl(raw, raw),
    ):
        with pytest.raises(ValueError, match="raw has shape"):
            call(raws(2, width))


# ---- densities


def grid(n: int = 20_000) -> Tensor:
    """Midpoints of n equal cells of (0, 1), one dimension."""
    return ((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]


POINTS = [(0.0, 0.0), (2.0, -1.0), (-1.0, -0.25)]
one_dimension = pytest.mark.parametrize(
    "family", [Beta(*LINE), SquashedGaussian(*LINE)], ids=lambda f: type(f).__name__
)


@one_dimension
@pytest.mark.parametrize("point", POINTS)
def test_the_density_of_u_integrates_to_one(family, point):
    u = grid()
    density = family.log_prob(torch.tensor(point, dtype=torch.float64).expand(len(u), 2), u).exp()
    assert density.mean().item() == pytest.approx(1, abs=1e-4)


def test_a_gaussian_without_its_jacobian_does_not_integrate_to_one():
    z = torch.atanh(2 * grid() - 1)
    assert abs(library.Normal(0.0, 1.0).log_prob(z).exp().mean().item() - 1) > 0.1


@one_dimension
def test_kl_is_the_integral_of_the_log_ratio(family):
    u = grid()
    p, q = (torch.tensor(x, dtype=torch.float64).expand(len(u), 2) for x in POINTS[:2])
    log_p, log_q = family.log_prob(p, u), family.log_prob(q, u)
    integral = (log_p.exp() * (log_p - log_q)).mean().item()
    assert family.kl(p[0], q[0]).item() == pytest.approx(integral, rel=1e-3)
    assert family.kl(q[0], p[0]).item() != pytest.approx(integral, rel=1e-1)


def test_the_log_probability_of_an_index_is_the_log_softmax():
    raw = torch.tensor([1.0, 4.0, 3.0]).log()
    family = Categorical(3)
    assert family.log_prob(raw.expand(3, 3), torch.arange(3)).exp().tolist() == pytest.approx([0.125, 0.5, 0.375])


def test_beta_is_that_of_the_library_summed_over_dimensions():
    raw, family = raws(50, 6).double(), Beta(LOW, HIGH)
    p, q = (library.Beta(*(1 + torch.nn.functional.softplus(x)).chunk(2, -1)) for x in (raw, raw.flip(0)))
    u = p.sample()
    assert torch.allclose(family.log_prob(raw, u), p.log_prob(u).sum(-1), rtol=1e-12)
    assert torch.allclose(family.mean(raw), p.mean, rtol=1e-12)
    assert torch.allclose(family.kl(raw, raw.flip(0)), library.kl_divergence(p, q).sum(-1), rtol=1e-12)


def test_beta_is_uniform_at_its_least_concentrated():
    # softplus(-inf) = 0: alpha = beta = 1
    family = Beta(*LINE)
    assert family.log_prob(torch.full((2,), -200.0), torch.tensor([0.25])).item() == pytest.approx(0, abs=1e-6)


def test_squashed_gaussian_is_that_of_the_library_summed_over_dimensions():
    raw, family = raws(50, 6).double(), SquashedGaussian(LOW, HIGH)
    mean, log_std = raw.chunk(2, -1)
    squash = [library.TanhTransform(), library.AffineTransform(0.5, 0.5)]
    u = library.TransformedDistribution(library.Normal(mean, log_std.exp()), squash).sample()
    expected = library.TransformedDistribution(library.Normal(mean, log_std.exp()), squash).log_prob(u).sum(-1)
    assert torch.allclose(family.log_prob(raw, u), expected, rtol=1e-8)
    assert torch.allclose(family.mean(raw), (mean.tanh() + 1) / 2, rtol=1e-12)


def test_log_sigma_is_held_between_its_bounds():
    family = SquashedGaussian(*LINE)
    for wild, held in [(5.0, 2.0), (-30.0, -20.0)]:
        outside, inside = torch.tensor([0.0, wild]), torch.tensor([0.0, held])
        assert torch.equal(family.sample(outside, generator()), family.sample(inside, generator()))
        assert family.kl(outside, inside).item() == 0.0


def test_categorical_kl_is_that_of_the_library():
    p, q = raws(50, 6), raws(50, 6, seed=2)
    expected = library.kl_divergence(library.Categorical(logits=p), library.Categorical(logits=q))
    assert torch.allclose(Categorical(6).kl(p, q), expected, rtol=1e-4, atol=1e-6)


@each_family
def test_kl_is_zero_at_equality_and_positive_elsewhere(family):
    p, q = raws(20, 6).double(), raws(20, 6, seed=2).double()
    assert family.kl(p, p).abs().max() < 1e-12
    assert family.kl(p, q).min() > 1e-3


@pytest.mark.parametrize(
    "family", [Beta(*LINE), SquashedGaussian(*LINE), Categorical(2)], ids=lambda f: type(f).__name__
)
def test_the_second_derivative_of_kl_is_the_fisher_information(family):
    raw = torch.tensor([0.5, -0.25], dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda q: family.kl(raw, q), raw)
    if isinstance(family, Categorical):
        u, cell = torch.arange(2), 1.0
    else:
        u, cell = grid(), 1 / 20_000
    rows = raw.expand(len(u), 2).clone().requires_grad_()
    log_p = family.log_prob(rows, u)
    score = torch.autograd.grad(log_p.sum(), rows)[0]
    weight = cell * log_p.detach().exp()
    assert torch.allclose(hessian, (score * weight[:, None]).T @ score, rtol=1e-3, atol=1e-6)
    assert hessian.diagonal().min() > 1e-2


# ---- draws


@pytest.mark.parametrize("point", [*POINTS, (-200.0, -200.0), (30.0, 5.0)])
def test_beta_draws_follow_the_beta_distribution(point):
    alpha, beta = (1 + math.log1p(math.exp(x)) for x in point)
    u = Beta(*LINE).sample(torch.tensor(point).expand(20_000, 2), generator())[:, 0].numpy()
    assert stats.kstest(u, stats.beta(alpha, beta).cdf).pvalue > 1e-3
    assert stats.kstest(u, stats.beta(beta + 0.5, alpha).cdf).pvalue < 1e-6


@pytest.mark.parametrize("point", POINTS)
def test_squashed_gaussian_draws_follow_their_density(point):
    raw, family = torch.tensor(point).expand(20_000, 2), SquashedGaussian(*LINE)
    z = torch.atanh(2 * family.sample(raw, generator()).double() - 1)[:, 0].numpy()
    assert stats.kstest(z, stats.norm(point[0], math.exp(point[1])).cdf).pvalue > 1e-3


def test_categorical_draws_follow_the_softmax():
    raw = torch.tensor([0.125, 0.5, 0.375]).log()
    u = Categorical(3).sample(raw.expand(4, 4096, 3), generator())
    counts = torch.bincount(u.flatten(), minlength=3).numpy()
    assert stats.chisquare(counts, [2048, 8192, 6144]).pvalue > 1e-3


@pytest.mark.parametrize("extreme", [200.0, -200.0])
def test_saturated_draws_stay_inside_and_have_a_finite_log_probability(extreme):
    for family, raw in [
        (Beta(*LINE), torch.tensor([extreme, -extreme])),
        (SquashedGaussian(*LINE), torch.tensor([extreme, 0.0])),
    ]:
        u = family.sample(raw.expand(1000, 2), generator())
        assert u.min() >= torch.tensor(MARGIN)
        assert u.max() <= torch.tensor(1 - MARGIN)
        for end in (0.0, 1.0):
            assert torch.isfinite(family.log_prob(raw, torch.tensor([end])))


def test_the_library_s_beta_is_infinite_where_ours_is_clamped():
    assert library.Beta(2.0, 2.0).log_prob(torch.tensor(1.0)).item() == -math.inf


# ---- the reparametrised draw


def test_the_reparametrised_draw_is_the_draw_with_its_log_probability():
    raw, family = raws(100, 6).double(), SquashedGaussian(LOW, HIGH)
    u, log_prob = family.rsample(raw, generator(7))
    assert torch.equal(u, family.sample(raw, generator(7)))
    assert torch.allclose(log_prob, family.log_prob(raw, u), rtol=1e-6, atol=1e-6)


def test_where_tanh_saturates_only_the_log_probability_of_z_is_right():
    family, raw = SquashedGaussian(*LINE), torch.tensor([9.0, -3.0])
    u, from_z = family.rsample(raw, generator())
    noise = torch.randn(1, generator=generator()).item()
    z = 9 + math.exp(-3) * noise
    exact = -0.5 * noise**2 + 3 - 0.5 * math.log(2 * math.pi) - (math.log(2) - 2 * z)
    assert from_z.item() == pytest.approx(exact, rel=1e-5)
    assert abs(family.log_prob(raw, u).item() - exact) > 10


def test_the_reparametrised_gradient_is_that_of_the_expectation():
    # E[u] of one dimension by quadrature over the noise, and the mean of d u / d raw over draws
    family, point = SquashedGaussian(*LINE), torch.tensor([0.5, -0.5], dtype=torch.float64)
    raw = point.clone().requires_grad_()
    family.rsample(raw.expand(200_000, 2), generator())[0].mean().backward()

    def expectation(x: Tensor) -> Tensor:
        u = grid()
        return (u[:, 0] * family.log_prob(x.expand(len(u), 2), u).exp()).mean()

    exact = torch.autograd.functional.jacobian(expectation, point)
    assert torch.allclose(raw.grad, exact, rtol=0, atol=2e-3)
    assert exact.abs().min() > 0.01


def test_the_gradient_of_the_reparametrised_log_probability_is_that_of_minus_the_entropy():
    family, point = SquashedGaussian(*LINE), torch.tensor([0.5, -0.5], dtype=torch.float64)
    raw = point.clone().requires_grad_()
    family.rsample(raw.expand(200_000, 2), generator())[1].mean().backward()

    def minus_entropy(x: Tensor) -> Tensor:
        u = grid()
        log_p = family.log_prob(x.expand(len(u), 2), u)
        return (log_p.exp() * log_p).mean()

    assert torch.allclose(raw.grad, torch.autograd.functional.jacobian(minus_entropy, point), rtol=0, atol=1e-2)


# ---- what the environment and the critic get


@each_box
def test_u_is_spread_over_the_range_of_the_environment(family):
    u = torch.tensor([[0.0, 0.0, 0.0], [0.25, 0.5, 0.75], [1.0, 1.0, 1.0]])
    expected = [[-1.0, 0.0, -4.0], [-0.5, 1.0, 2.0], [1.0, 2.0, 4.0]]
    assert family.to_env(u).tolist() == family.encode(u).tolist() == expected


def test_an_index_is_encoded_as_one_hot_and_passed_on_as_it_is():
    u = torch.tensor([[2, 0]])
    assert Categorical(3).encode(u).tolist() == [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]
    assert Categorical(3).to_env(u) is u


def test_the_deterministic_actions():
    assert Categorical(3).mean(torch.tensor([[0.0, 2.0, 1.0]])).tolist() == [1]
    assert SquashedGaussian(*LINE).mean(torch.zeros(2)).tolist() == [0.5]
    assert Beta(*LINE).mean(torch.zeros(2)).tolist() == [0.5]
    # (1 + softplus(x)) / (2 + softplus(x)) with softplus(x) = 2
    assert Beta(*LINE).mean(torch.tensor([math.log(math.exp(2) - 1), -200.0])).item() == pytest.approx(0.75)


@pytest.mark.parametrize("cls", [Beta, SquashedGaussian])
@pytest.mark.parametrize(
    ("low", "high"),
    [([0.0], [0.0]), ([1.0], [0.0]), ([0.0], [math.inf]), ([math.nan], [1.0]), ([0.0], [1.0, 2.0]), ([[0.0]], [[1.0]])],
)
def test_a_range_that_is_none_is_refused(cls, low, high):
    with pytest.raises(ValueError, match="low and high"):
        cls(torch.tensor(low), torch.tensor(high))


def test_no_action_at_all_is_refused():
    with pytest.raises(ValueError, match="num_actions"):
        Categorical(0)


@pytest.mark.parametrize("shape", [1.0, 1.3, 4.0, 60.0])
@pytest.mark.parametrize("draws", [None, 50])
def test_gamma_draws_follow_the_gamma_distribution_few_or_many_at_once(shape, draws):
    generator = torch.Generator().manual_seed(1)
    shapes = torch.tensor([shape, 2.5]).expand(1000, 2)
    x = standard_gamma(shapes, generator, draws)
    assert x.shape == ((1000, 2) if draws is None else (draws, 1000, 2))
    assert (x.numel() < MANY) == (draws is None)
    first, second = x.double()[..., 0].flatten(), x.double()[..., 1].flatten()
    assert stats.kstest(first, stats.gamma(shape).cdf).pvalue > 1e-3
    assert stats.kstest(second, stats.gamma(2.5).cdf).pvalue > 1e-3
    assert stats.kstest(first, stats.gamma(1.2 * shape).cdf).pvalue < 1e-5
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / len(first) ** 0.5


def test_refused_gamma_candidates_are_drawn_again(monkeypatch):
    asked = []
    own = torch._standard_gamma
    monkeypatch.setattr(torch, "_standard_gamma", lambda shape, generator: asked.append(shape) or own(shape, generator))
    x = standard_gamma(torch.tensor([1.0, 50.0]), torch.Generator().manual_seed(0), 100_000)
    assert (x > 0).all()
    (shapes,) = asked
    share = (shapes == 1).sum().item() / 100_000
    assert 0.03 < share < 0.07  # the method accepts 95 % at its worst, a shape of 1
    assert (shapes == 50).sum().item() / 100_000 < 0.002


def test_several_draws_of_a_state_are_independent_and_of_that_state():
    raw = torch.tensor([[-3.0, 4.0], [4.0, -3.0]])
    for family in (
        Beta(torch.zeros(1), torch.ones(1)),
        SquashedGaussian(torch.zeros(1), torch.ones(1)),
        Categorical(2),
    ):
        u = family.sample(raw, torch.Generator().manual_seed(0), 500).double().flatten(1)
        assert u.shape == (500, 2)
        one = family.sample(raw[:1].expand(3000, 2), torch.Generator().manual_seed(1)).double().flatten()
        assert u[:, 0].mean().item() == pytest.approx(one.mean().item(), abs=5 * one.std().item() / 500**0.5 + 1e-9)
        assert len(u[:, 1].unique()) > 1 or isinstance(family, Categorical)
