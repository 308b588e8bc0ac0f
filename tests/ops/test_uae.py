"""UAE against numbers by hand, against the sums that define it, in the mean over a whole chain, and planted faults."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.ops.returns import backward_sum, gae, td_lambda, uae

GAMMA = 0.9
LAMBDAS = (0.0, 0.5, 0.95, 1.0)
Estimator = Callable[..., Tensor]


def column(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)[:, None]


def rollout(seed: int, *, steps: int = 8, envs: int = 5, particles: int | None = None) -> dict[str, Tensor]:
    """Random float64 inputs with episode ends inside."""
    g = torch.Generator().manual_seed(seed)
    ended = torch.rand(steps, envs, generator=g) < 0.25
    tail = () if particles is None else (particles,)
    return {
        "r": torch.randn(steps, envs, generator=g, dtype=torch.float64),
        "discount": GAMMA * (~ended).double(),
        "q": torch.randn(steps + 1, envs, *tail, generator=g, dtype=torch.float64),
        "b": torch.randn(steps, envs, generator=g, dtype=torch.float64),
    }


def carrying_a(r: Tensor, discount: Tensor, q: Tensor, b: Tensor, *, lam: float) -> Tensor:
    """The planted fault: the accumulator carries A, as in GAE, and not A - y."""
    return backward_sum(r + discount * q[1:] - b, discount * lam)


# ---- by hand


def test_three_steps_by_hand():
    # delta = 2, 1, 8; y = 7, 2, -2; U = -5 + 1.5/4, -1 + 10/4, 10; A = delta + U'/4
    a = uae(column(1, 2, 4), column(0.5, 0.5, 0.5), column(8, 4, 2, 16), column(1, 2, 4), lam=0.5)
    assert a[:, 0].tolist() == [2.375, 3.5, 8.0]


def test_an_episode_end_by_hand():
    # delta = 2, 0, 8; U_1 = 0 - 2; nothing of the third step enters the first two
    a = uae(column(1, 2, 4), column(0.5, 0.0, 0.5), column(8, 4, 2, 16), column(1, 2, 4), lam=0.5)
    assert a[:, 0].tolist() == [1.5, 0.0, 8.0]


def test_one_step_is_the_td_error_less_the_baseline():
    assert uae(column(1), column(0.5), column(8, 4), column(2), lam=0.5).tolist() == [[1.0]]


# ---- the SARSA(lambda) return


def sarsa_lambda(x: dict[str, Tensor], lam: float) -> Tensor:
    """(1 - lam) sum_{n < N} lam^(n-1) G^(n) + lam^(N-1) G^(N), G^(n) the n-step return ended by q: no recursion."""
    r, discount, q = (x[name].tolist() for name in ("r", "discount", "q"))
    steps, envs = x["r"].shape
    out = torch.zeros(steps, envs, dtype=torch.float64)
    for e, t in itertools.product(range(envs), range(steps)):
        rewards, product, longest = 0.0, 1.0, steps - t
        for n in range(1, longest + 1):
            rewards += product * r[t + n - 1][e]
            product *= discount[t + n - 1][e]
            weight = lam ** (n - 1) * (1 - lam if n < longest else 1)
            out[t, e] += weight * (rewards + product * q[t + n][e])
    return out


def distance_to_sarsa(estimator: Estimator, lam: float) -> float:
    x = rollout(1)
    return (estimator(**x, lam=lam) - (sarsa_lambda(x, lam) - x["b"])).abs().max().item()


@pytest.mark.parametrize("lam", LAMBDAS)
def test_it_is_the_sarsa_lambda_return_less_the_baseline(lam):
    assert distance_to_sarsa(uae, lam) < 1e-12


@pytest.mark.parametrize("lam", [0.5, 0.95, 1.0])
def test_an_accumulator_that_carries_a_is_not_the_sarsa_return(lam):
    assert distance_to_sarsa(carrying_a, lam) > 0.1


@pytest.mark.parametrize("lam", LAMBDAS)
def test_every_particle_is_a_recursion_of_its_own(lam):
    x = rollout(2, particles=3)
    a = uae(**x, lam=lam)
    assert a.shape == (8, 5, 3)
    for k in range(3):
        own = {**x, "q": x["q"][..., k]}
        assert torch.equal(a[..., k], uae(**own, lam=lam))
        assert torch.allclose(a[..., k], sarsa_lambda(own, lam) - x["b"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_values_of_states_in_both_places_give_gae(lam):
    x = rollout(3)
    v = x["q"]
    expected = gae(x["r"], x["discount"], v[:-1], v[1:], x["discount"] == 0, lam=lam)
    assert torch.allclose(uae(x["r"], x["discount"], v, v[:-1], lam=lam), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_a_time_limit_with_its_bootstrap_in_the_reward_gives_gae(lam):
    x = rollout(4)
    v, cut = x["q"], x["discount"] == 0
    final = torch.randn(8, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    everywhere = torch.full_like(x["r"], GAMMA)
    expected = gae(x["r"], everywhere, v[:-1], torch.where(cut, final, v[1:]), cut, lam=lam)
    r = x["r"] + torch.where(cut, GAMMA * final, 0.0)
    assert torch.allclose(uae(r, x["discount"], v, v[:-1], lam=lam), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_no_baseline_gives_the_lambda_return(lam):
    x = rollout(6)
    a = uae(x["r"], x["discount"], x["q"], torch.zeros_like(x["b"]), lam=lam)
    assert torch.allclose(a, td_lambda(x["r"], x["discount"], x["q"][1:], lam=lam), rtol=0, atol=1e-12)


def test_lambda_zero_is_the_reward_and_the_next_q_less_the_baseline():
    x = rollout(7)
    assert torch.equal(uae(**x, lam=0.0), x["r"] + x["discount"] * x["q"][1:] - x["b"])


def test_lambda_one_is_the_monte_carlo_return_less_the_baseline():
    x = rollout(8)
    x["discount"][-1] = 0.0
    returns = backward_sum(x["r"], x["discount"])
    assert torch.allclose(uae(**x, lam=1.0), returns - x["b"], rtol=0, atol=1e-12)


# ---- the mean over everything that a policy can do on a chain of three states

# action 0 moves on, action 1 goes back; past the last state the episode ends and the next begins in state 0
NEXT = torch.tensor([[1, 0], [2, 0], [0, 1]])
ENDS = torch.tensor([[False, False], [False, False], [True, False]])
REWARD = torch.tensor([[0.25, -0.5], [1.0, 0.75], [2.0, -1.0]], dtype=torch.float64)
LOGITS = torch.tensor([[0.3, -0.4], [0.1, 0.8], [-0.5, 0.2]], dtype=torch.float64)
Q = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.5, 2.5]], dtype=torch.float64)  # of no policy
B = torch.tensor([0.7, -1.1, 2.0], dtype=torch.float64)
SHIFT = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
STEPS = 4


class Everything:
    """All action sequences of STEPS + 1 actions from one start, as columns, with their probabilities."""

    def __init__(self, start: int, logits: Tensor = LOGITS) -> None:
        self.actions = torch.tensor(list(itertools.product(range(2), repeat=STEPS + 1))).T
        states = [torch.full_like(self.actions[0], start)]
        for a in self.actions[:-1]:
            states.append(NEXT[states[-1], a])
        self.states = torch.stack(states)
        self.log_pi = torch.log_softmax(logits, -1)[self.states, self.actions]
        self.probability = self.log_pi.sum(0).exp().detach()
        s, a = self.states[:-1], self.actions[:-1]
        self.r, self.discount = REWARD[s, a], GAMMA * (~ENDS[s, a]).double()

    def advantages(self, estimator: Estimator, q: Tensor, b: Tensor, lam: float) -> Tensor:
        return estimator(self.r, self.discount, q[self.states, self.actions], b[self.states[:-1]], lam=lam)


def gae_of_baseline(r: Tensor, discount: Tensor, q: Tensor, b: Tensor, *, lam: float) -> Tensor:
    """GAE with b as its value function; `q` is that of the state here, so that it has a last row."""
    return gae(r, discount, b, q[1:], discount == 0, lam=lam)


def mean_gradient(estimator: Estimator, b: Tensor, lam: float) -> Tensor:
    """sum over trajectories of p sum_t A_t grad log pi(a_t|s_t), `[3, 2]`, exactly."""
    logits = LOGITS.clone().requires_grad_()
    every = Everything(0, logits)
    q = b[:, None].expand(3, 2) if estimator is gae_of_baseline else Q
    a = every.advantages(estimator, q, b, lam)
    (every.probability * (a * every.log_pi[:-1]).sum(0)).sum().backward()
    assert logits.grad is not None
    return logits.grad


def shift_of_gradient(estimator: Estimator, lam: float) -> float:
    """How far the mean gradient moves when the baseline is wrong by SHIFT."""
    return (mean_gradient(estimator, B + SHIFT, lam) - mean_gradient(estimator, B, lam)).abs().max().item()


def test_the_enumeration_is_a_distribution():
    assert Everything(0).probability.sum().item() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_a_wrong_baseline_leaves_the_mean_gradient(lam):
    assert shift_of_gradient(uae, lam) < 1e-12
    assert mean_gradient(uae, B, lam).abs().max() > 0.1


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95])
def test_a_wrong_baseline_moves_the_mean_gradient_of_gae(lam):
    assert shift_of_gradient(gae_of_baseline, lam) > 1e-2


@pytest.mark.parametrize("lam", [0.5, 0.95, 1.0])
def test_a_wrong_baseline_moves_the_mean_gradient_when_the_accumulator_carries_a(lam):
    assert shift_of_gradient(carrying_a, lam) > 1e-2


def true_q() -> Tensor:
    """Q^pi `[3, 2]`, from v = (I - gamma P)^-1 r."""
    pi = LOGITS.softmax(-1)
    kept = GAMMA * (~ENDS).double()
    transition = torch.zeros(3, 3, dtype=torch.float64)
    for s, a in itertools.product(range(3), range(2)):
        transition[s, NEXT[s, a]] += pi[s, a] * kept[s, a]
    v = torch.linalg.solve(torch.eye(3, dtype=torch.float64) - transition, (pi * REWARD).sum(-1))
    return REWARD + kept * v[NEXT]


def bias(estimator: Estimator, q: Tensor, lam: float) -> float:
    """max over (s, a) of | E[A_0 | s, a] - (Q^pi(s, a) - b(s)) |."""
    worst = 0.0
    for s, a in itertools.product(range(3), range(2)):
        every = Everything(s)
        first = every.probability * (every.actions[0] == a)
        mean = (first * every.advantages(estimator, q, B, lam)[0]).sum() / first.sum()
        worst = max(worst, (mean - (true_q()[s, a] - B[s])).abs().item())
    return worst


@pytest.mark.parametrize("lam", LAMBDAS)
def test_with_the_true_q_and_any_baseline_it_is_unbiased(lam):
    assert bias(uae, true_q(), lam) < 1e-12


@pytest.mark.parametrize("lam", LAMBDAS)
def test_a_wrong_q_biases_it(lam):
    assert bias(uae, Q, lam) > 0.1


@pytest.mark.parametrize("lam", [0.5, 0.95, 1.0])
def test_an_accumulator_that_carries_a_is_biased_even_with_the_true_q(lam):
    assert bias(carrying_a, true_q(), lam) > 0.1


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("r", torch.zeros(3)),
        ("r", torch.zeros(0, 2)),
        ("discount", torch.zeros(3, 1)),
        ("b", torch.zeros(4, 2)),
        ("q", torch.zeros(3, 2)),
        ("q", torch.zeros(4, 1)),
        ("q", torch.zeros(4)),
        ("q", torch.zeros(4, 2, 5, 1)),
    ],
)
def test_a_wrong_shape_is_refused_by_name(name, wrong):
    x = {"r": torch.zeros(3, 2), "discount": torch.zeros(3, 2), "q": torch.zeros(4, 2), "b": torch.zeros(3, 2)}
    with pytest.raises(ValueError, match=rf"^{name} has shape"):
        uae(**{**x, name: wrong}, lam=0.5)


@pytest.mark.parametrize("lam", [-0.1, 1.1, float("nan")])
def test_lambda_outside_the_unit_interval_is_refused(lam):
    with pytest.raises(ValueError, match="lam must lie in"):
        uae(**rollout(9), lam=lam)


def test_inputs_are_left_alone_and_carry_no_gradient():
    x = rollout(10)
    x["q"].requires_grad_()
    before = {name: tensor.detach().clone() for name, tensor in x.items()}
    assert not uae(**x, lam=0.5).requires_grad
    assert all(torch.equal(x[name], before[name]) for name in x)
