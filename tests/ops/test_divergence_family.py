"""Every f against the numerical derivative of its generating function, numbers by hand, and its clips."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench import config
from bench.ops.divergences import DIVERGENCES, entropy, hellinger, kl, reverse_kl, tv, zero_potential

# F(pi, mu) of one action, as the docstrings state it.
GENERATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "entropy": lambda pi, _: pi * pi.log() - pi,
    "hellinger": lambda pi, mu: (pi.sqrt() - mu.sqrt()) ** 2,
    "kl": lambda pi, mu: pi * (pi / mu).log() - pi,
    "reverse_kl": lambda pi, mu: mu * (mu / pi).log() + pi,
    "tv": lambda pi, mu: mu * (pi - mu).abs() / 2,
    "zero_potential": lambda pi, mu: (pi.sqrt() - mu.sqrt()) ** 2 / mu.sqrt(),
}
OF_TWO_POLICIES = sorted(set(DIVERGENCES) - {"entropy"})


def policies(seed: int, actions: int = 4) -> tuple[Tensor, Tensor]:
    """Logits of two policies, near enough for no clip to bite."""
    g = torch.Generator().manual_seed(seed)
    x = 0.4 * torch.randn(2, actions, generator=g, dtype=torch.float64)
    return x[0], x[1]


def test_the_registry_has_the_keys_of_the_configuration() -> None:
    assert set(DIVERGENCES) == set(config.DIVERGENCES) == set(GENERATORS)


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
@pytest.mark.parametrize("seed", range(5))
def test_f_is_the_derivative_of_its_generating_function(name: str, seed: int) -> None:
    pi, mu = (logits.softmax(-1) for logits in policies(seed))
    step = 1e-6
    difference = (GENERATORS[name](pi + step, mu) - GENERATORS[name](pi - step, mu)) / (2 * step)
    torch.testing.assert_close(DIVERGENCES[name](pi.log(), mu.log()), difference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
@pytest.mark.parametrize("seed", range(3))
def test_f_weights_the_score_to_the_gradient_of_the_divergence(name: str, seed: int) -> None:
    """E_pi[ f grad log pi ] = grad sum_a F(pi(a), mu(a)), by autograd through the softmax."""
    logits, other = policies(seed)
    logits.requires_grad_()
    mu = other.softmax(-1)
    (exact,) = torch.autograd.grad(GENERATORS[name](logits.softmax(-1), mu).sum(), logits)
    log_pi = logits.log_softmax(-1)
    f = DIVERGENCES[name](log_pi, mu.log())
    (weighted,) = torch.autograd.grad((log_pi.exp().detach() * f * log_pi).sum(), logits)
    torch.testing.assert_close(weighted, exact, rtol=1e-10, atol=1e-12)
    (flipped,) = torch.autograd.grad((log_pi.exp().detach() * -f * logits.log_softmax(-1)).sum(), logits)
    assert not torch.allclose(flipped, exact)


@pytest.mark.parametrize("name", OF_TWO_POLICIES)
def test_equal_policies_do_not_diverge(name: str) -> None:
    log_pi = -torch.linspace(0.01, 9.0, 7, dtype=torch.float64)
    assert torch.equal(DIVERGENCES[name](log_pi, log_pi), torch.zeros_like(log_pi))


@pytest.mark.parametrize("name", OF_TWO_POLICIES)
def test_f_has_the_sign_of_the_change(name: str) -> None:
    more, less = torch.tensor([math.log(0.6)]), torch.tensor([math.log(0.3)])
    assert DIVERGENCES[name](more, less).item() > 0 > DIVERGENCES[name](less, more).item()


def test_the_entropy_form_knows_no_reference() -> None:
    log_pi = torch.tensor([math.log(0.25), math.log(0.5)])
    assert torch.equal(entropy(log_pi, log_pi), log_pi)
    assert torch.equal(entropy(log_pi, 3 * log_pi), log_pi)


def test_numbers_by_hand() -> None:
    log_pi = torch.tensor([0.25, 0.16], dtype=torch.float64).log()
    log_mu = torch.tensor([0.16, 0.25], dtype=torch.float64).log()
    expected = {
        "kl": [math.log(25 / 16), -math.log(25 / 16)],
        "reverse_kl": [1 - 16 / 25, 1 - 25 / 16],
        "hellinger": [1 - 4 / 5, 1 - 5 / 4],
        "tv": [0.08, -0.125],
        "zero_potential": [2.5 - 2.0, 2.0 - 2.5],
        "entropy": [math.log(0.25), math.log(0.16)],
    }
    for name, numbers in expected.items():
        assert DIVERGENCES[name](log_pi, log_mu).tolist() == pytest.approx(numbers, abs=1e-12), name


def single(function: Callable[[Tensor, Tensor], Tensor], log_pi: float, log_mu: float) -> float:
    return function(torch.tensor([log_pi], dtype=torch.float64), torch.tensor([log_mu], dtype=torch.float64)).item()


def test_the_clips_of_the_released_code_bite_where_they_should() -> None:
    assert single(reverse_kl, -2.9, 0.0) == pytest.approx(1 - math.exp(2.9))
    assert single(reverse_kl, -9.0, 0.0) == single(reverse_kl, -3.0, 0.0) == pytest.approx(1 - math.exp(3))
    assert single(reverse_kl, 0.0, -9.0) == pytest.approx(1 - math.exp(-3))
    assert single(hellinger, -5.9, 0.0) == pytest.approx(1 - math.exp(2.95))
    assert single(hellinger, -9.0, 0.0) == single(hellinger, -6.0, 0.0) == pytest.approx(1 - math.exp(3))
    assert single(zero_potential, 0.0, -5.9) == pytest.approx(math.exp(2.95) - 1)
    assert single(zero_potential, 0.0, -9.0) == pytest.approx(math.exp(3) - 1)
    assert single(zero_potential, -9.0, 0.0) == pytest.approx(1 - math.exp(3))
    assert single(zero_potential, -9.0, -7.0) == 0  # both at the bound
    assert single(tv, 0.0, -2.9) == pytest.approx(0.5 * math.exp(-2.9))
    assert single(tv, 0.0, -9.0) == pytest.approx(0.5 * math.exp(-3))
    assert single(kl, -50.0, 0.0) == -50  # the KL has none


@pytest.mark.parametrize("name", OF_TWO_POLICIES)
def test_shapes_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"log_mu has shape \[3\], expected \[2\]"):
        DIVERGENCES[name](torch.zeros(2), torch.zeros(3))
