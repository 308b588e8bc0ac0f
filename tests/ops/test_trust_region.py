"""Conjugate gradient against dense solves, the line search against a parabola, both on a softmax policy."""

import pytest
import torch
from torch import Tensor

from bench.ops.distributions import Categorical
from bench.ops.trust_region import conjugate_gradient, line_search


def spd(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """A symmetric positive definite matrix and a right-hand side."""
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=g, dtype=torch.float64)
    return root @ root.T + 0.5 * torch.eye(n, dtype=torch.float64), torch.randn(n, generator=g, dtype=torch.float64)


@pytest.mark.parametrize(("seed", "n"), [(0, 1), (1, 2), (2, 5), (3, 12)])
def test_it_solves_random_systems(seed, n):
    a, g = spd(seed, n)
    x = conjugate_gradient(lambda v: a @ v, g, iterations=2 * n, tolerance=1e-24)
    assert torch.allclose(x, torch.linalg.solve(a, g), rtol=0, atol=1e-9)


def test_n_different_eigenvalues_take_n_iterations_and_no_fewer():
    a, g = torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)), torch.ones(3, dtype=torch.float64)
    expected = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)
    assert torch.allclose(conjugate_gradient(lambda v: a @ v, g, iterations=3), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(conjugate_gradient(lambda v: a @ v, g, iterations=2), expected, rtol=0, atol=1e-2)


def test_it_stops_at_the_tolerance():
    products = 0

    def product(v: Tensor) -> Tensor:
        nonlocal products
        products += 1
        return 4 * v

    assert conjugate_gradient(product, torch.ones(5), iterations=10).tolist() == [0.25] * 5
    assert products == 1
    assert conjugate_gradient(product, torch.zeros(5), iterations=10).tolist() == [0.0] * 5
    assert products == 1


def test_the_right_hand_side_is_left_alone_and_carries_no_gradient():
    a, g = spd(4, 3)
    before = g.clone()
    assert not conjugate_gradient(lambda v: a @ v, g.requires_grad_(), iterations=3).requires_grad
    assert torch.equal(g.detach(), before)


@pytest.mark.parametrize("diagonal", [[1.0, -2.0], [0.0, 0.0], [1.0, float("nan")]])
def test_a_product_that_is_not_positive_definite_is_refused(diagonal):
    with pytest.raises(ValueError, match="positive definite"):
        conjugate_gradient(lambda v: torch.tensor(diagonal) * v, torch.ones(2), iterations=2)


# ---- the line search, along a parabola with its top at 1: improvement 2 x - x^2, KL x^2 / 2


def parabola(x: Tensor) -> tuple[float, float]:
    return (2 * x - x.square()).item(), (x.square() / 2).item()


@pytest.mark.parametrize(
    ("start", "max_kl", "accepted", "tried"),
    [
        (1.0, 1.0, 1.0, 1),  # both hold at once
        (4.0, 10.0, 1.0, 3),  # 4 and 2 do not improve (2 x - x^2 is -8, then exactly 0)
        (4.0, 0.25, 0.5, 4),  # 1 improves but has KL 0.5; 0.5 has 0.125
        (4.0, 0.5, 1.0, 3),  # the KL may equal the bound
    ],
)
def test_the_first_scale_that_satisfies_both_is_accepted(start, max_kl, accepted, tried):
    step, tries = line_search(parabola, torch.tensor([start]), max_kl=max_kl, decay=0.5, tries=10)
    assert (step.tolist(), tries) == ([accepted], tried)


def test_zeros_are_returned_when_no_scale_satisfies_both():
    step = torch.tensor([4.0])
    assert line_search(parabola, step, max_kl=0.25, decay=0.5, tries=3)[0].tolist() == [0.0]
    found, tries = line_search(parabola, -step, max_kl=10.0, decay=0.5, tries=10)  # downhill
    assert (found.tolist(), tries, step.tolist()) == ([0.0], 10, [4.0])


@pytest.mark.parametrize("answer", [(float("nan"), 0.0), (1.0, float("nan"))])
def test_nan_is_never_accepted(answer):
    assert line_search(lambda _: answer, torch.ones(1), max_kl=1.0, decay=0.5, tries=2)[0].tolist() == [0.0]


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_a_decay_that_does_not_shorten_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        line_search(parabola, torch.ones(1), max_kl=1.0, decay=decay, tries=2)


def test_no_try_at_all_is_refused():
    with pytest.raises(ValueError, match="tries"):
        line_search(parabola, torch.ones(1), max_kl=1.0, decay=0.5, tries=0)


# ---- both, on a softmax policy over 3 actions, linear in the 2 features of 4 states

FAMILY = Categorical(3)
DAMPING = 0.1
MAX_KL = 0.01


class Policy:
    """The pieces of one natural step in float64: features, surrogate, divergence."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(6)
        self.features = torch.randn(4, 2, generator=g, dtype=torch.float64)
        self.theta = torch.randn(6, generator=g, dtype=torch.float64)
        self.actions = torch.tensor([0, 2, 1, 1])
        self.advantage = torch.tensor([1.0, -0.5, 2.0, 0.25], dtype=torch.float64)

    def raw(self, theta: Tensor) -> Tensor:
        return self.features @ theta.view(2, 3)

    def kl(self, theta: Tensor) -> Tensor:
        return FAMILY.kl(self.raw(self.theta), self.raw(theta)).mean()

    def surrogate(self, theta: Tensor) -> Tensor:
        old = FAMILY.log_prob(self.raw(self.theta), self.actions)
        return ((FAMILY.log_prob(self.raw(theta), self.actions) - old).exp() * self.advantage).mean()

    def gradient(self) -> Tensor:
        theta = self.theta.clone().requires_grad_()
        return torch.autograd.grad(self.surrogate(theta), theta)[0]

    def fisher_product(self, v: Tensor) -> Tensor:
        """Through the second derivative of the divergence, as a network needs it."""
        theta = self.theta.clone().requires_grad_()
        first = torch.autograd.grad(self.kl(theta), theta, create_graph=True)[0]
        return torch.autograd.grad(first @ v, theta)[0] + DAMPING * v

    def fisher(self) -> Tensor:
        """Dense, mean over states of sum_a pi(a|s) score score^T: no divergence, no second derivative."""
        pi = self.raw(self.theta).softmax(-1)
        total = DAMPING * torch.eye(6, dtype=torch.float64)
        for s in range(4):
            for a in range(3):
                score = torch.outer(self.features[s], torch.eye(3, dtype=torch.float64)[a] - pi[s]).flatten()
                total += pi[s, a] * torch.outer(score, score) / 4
        return total


def test_the_natural_step_of_a_softmax_policy_is_the_dense_solution():
    policy = Policy()
    step = conjugate_gradient(policy.fisher_product, policy.gradient(), iterations=20, tolerance=1e-24)
    assert torch.allclose(step, torch.linalg.solve(policy.fisher(), policy.gradient()), rtol=0, atol=1e-10)


def test_the_natural_step_improves_the_surrogate_within_the_region():
    policy = Policy()
    x = conjugate_gradient(policy.fisher_product, policy.gradient(), iterations=20)
    longest = (2 * MAX_KL / (x @ policy.fisher_product(x))).sqrt() * x

    def evaluate(step: Tensor) -> tuple[float, float]:
        new = policy.theta + step
        return (policy.surrogate(new) - policy.surrogate(policy.theta)).item(), policy.kl(new).item()

    step, _ = line_search(evaluate, 8 * longest, max_kl=MAX_KL, decay=0.8, tries=20)
    improvement, kl = evaluate(step)
    assert improvement > 0
    assert 0.3 * MAX_KL < kl <= MAX_KL
    assert evaluate(8 * longest)[1] > MAX_KL
