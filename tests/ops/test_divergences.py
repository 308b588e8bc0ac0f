"""The multi-step divergence against the sum that defines it, and against the faults of the released code."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.ops.divergences import DIVERGENCES, entropy, kl, multi_step

GAMMA = 0.99
CAPS = [0.0, 0.5, 1.0, math.inf]


def rollout(seed: int, steps: int = 9, envs: int = 4, ends: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """f, discount, ratio: random float64, ratios on both sides of every cap, episode ends inside."""
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(steps, envs, generator=g, dtype=torch.float64)
    ended = torch.rand(steps, envs, generator=g) < ends
    ratio = torch.exp(torch.randn(steps, envs, generator=g, dtype=torch.float64))
    return f, GAMMA * (~ended).double(), ratio


def by_sums(
    f: Tensor,
    discount: Tensor,
    ratio: Tensor,
    *,
    c_bar: float,
    rho_bar: float = 1.0,
    horizon: int | None = None,
    first_k: int = 1,
) -> Tensor:
    """f_i + sum_j gamma^j (prod_{k=first_k..j-1} c_{i+k}) rho_{i+j} f_{i+j}, up to the end of the episode."""
    steps, envs = f.shape
    out = torch.empty(steps, envs, dtype=torch.float64)
    for b in range(envs):
        for i in range(steps):
            total = f[i, b].item()
            for j in range(1, steps - i):
                ended = discount[i + j - 1, b].item() == 0
                if ended or (horizon is not None and j > horizon):
                    break
                product = GAMMA**j
                for k in range(first_k, j):
                    product *= min(c_bar, ratio[i + k, b].item())
                total += product * min(rho_bar, ratio[i + j, b].item()) * f[i + j, b].item()
            out[i, b] = total
    return out


def same(actual: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(actual, reference, rtol=1e-11, atol=1e-11)


# ---- by hand


def test_three_steps_by_hand() -> None:
    f = torch.tensor([[1.0], [2.0], [4.0]])
    discount = torch.full((3, 1), 0.5)
    ratio = torch.tensor([[64.0], [2.0], [0.5]])
    # D_2 = 4; D_1 = 2 + .5 .5 4 = 3; D_0 = 1 + .5 1 2 + .25 .5 .5 4 = 2.25 (own ratio plays no part)
    assert multi_step(f, discount, ratio, c_bar=0.5).flatten().tolist() == [2.25, 3, 4]
    assert multi_step(f, discount, ratio, c_bar=0.5, horizon=1).flatten().tolist() == [2, 3, 4]
    assert multi_step(f, discount, ratio, c_bar=0.5, rho_bar=2.0).flatten().tolist() == [3.25, 3, 4]


def test_an_episode_end_stops_the_sum_by_hand() -> None:
    f = torch.tensor([[1.0], [2.0], [4.0]])
    discount = torch.tensor([[0.5], [0.0], [0.5]])
    assert multi_step(f, discount, torch.ones(3, 1), c_bar=1.0).flatten().tolist() == [2, 2, 4]


def test_the_functions_of_one_step_by_hand() -> None:
    log_pi, log_mu = torch.tensor([-1.0, -0.5]), torch.tensor([-0.5, -2.0])
    assert kl(log_pi, log_mu).tolist() == [-0.5, 1.5]
    assert entropy(log_pi).tolist() == [-1.0, -0.5]
    assert set(DIVERGENCES) >= {"kl", "entropy"}
    assert all(f(log_pi, log_mu).shape == (2,) for f in DIVERGENCES.values())


# ---- against the definition


@pytest.mark.parametrize("horizon", [None, 0, 1, 3, 8, 100])
@pytest.mark.parametrize("c_bar", CAPS)
@pytest.mark.parametrize("seed", range(3))
def test_the_recursion_is_the_sum(seed: int, c_bar: float, horizon: int | None) -> None:
    x = rollout(seed)
    same(multi_step(*x, c_bar=c_bar, horizon=horizon), by_sums(*x, c_bar=c_bar, horizon=horizon))


@given(
    st.integers(0, 2**31),
    st.integers(1, 10),
    st.floats(0, 1),
    st.floats(0, 2),
    st.floats(0, 2),
    st.none() | st.integers(0, 12),
)
@settings(max_examples=60, deadline=None)
def test_the_recursion_is_the_sum_for_any_caps_and_ends(
    seed: int, steps: int, ends: float, c_bar: float, rho_bar: float, horizon: int | None
) -> None:
    x = rollout(seed, steps=steps, envs=2, ends=ends)
    caps = {"c_bar": c_bar, "rho_bar": rho_bar}
    same(multi_step(*x, **caps, horizon=horizon), by_sums(*x, **caps, horizon=horizon))


# ---- identities


@pytest.mark.parametrize("c_bar", CAPS)
def test_horizon_zero_is_f_whatever_the_caps(c_bar: float) -> None:
    f, discount, ratio = rollout(0)
    assert torch.equal(multi_step(f, discount, ratio, c_bar=c_bar, horizon=0), f)


def test_a_cap_of_zero_still_keeps_the_next_step() -> None:
    f, discount, ratio = rollout(0)
    next_step = discount[:-1] * ratio[1:].clamp(max=1) * f[1:]
    same(multi_step(f, discount, ratio, c_bar=0.0)[:-1], f[:-1] + next_step)
    assert next_step.abs().max() > 0.1


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_on_policy_it_is_the_discounted_sum(seed: int) -> None:
    f, discount, _ = rollout(seed)
    d = multi_step(f, discount, torch.ones_like(f), c_bar=1.0)
    same(d[:-1], f[:-1] + discount[:-1] * d[1:])
    assert torch.equal(d[-1], f[-1])


def test_the_same_policy_has_no_divergence() -> None:
    log_pi = -torch.rand(6, 3, dtype=torch.float64)
    d = multi_step(kl(log_pi, log_pi), torch.full_like(log_pi, GAMMA), torch.ones_like(log_pi), c_bar=0.5)
    assert torch.equal(d, torch.zeros_like(d))


@given(st.integers(0, 2**31), st.floats(-4, 4))
@settings(max_examples=50, deadline=None)
def test_it_is_linear_in_f(seed: int, factor: float) -> None:
    f, discount, ratio = rollout(seed)
    g = rollout(seed + 1)[0]
    mixed = multi_step(f + factor * g, discount, ratio, c_bar=0.5, horizon=4)
    parts = [multi_step(h, discount, ratio, c_bar=0.5, horizon=4) for h in (f, g)]
    same(mixed, parts[0] + factor * parts[1])


@given(st.integers(0, 2**31), st.integers(0, 8))
@settings(max_examples=50, deadline=None)
def test_the_own_ratio_and_all_before_it_play_no_part(seed: int, own: int) -> None:
    f, discount, ratio = rollout(seed)
    other = ratio.clone()
    other[: own + 1] *= 3
    d, changed = (multi_step(f, discount, w, c_bar=math.inf, rho_bar=math.inf) for w in (ratio, other))
    assert torch.equal(d[own:], changed[own:])


def test_a_horizon_past_the_end_is_the_full_sum() -> None:
    x = rollout(2, ends=0.0)
    full = multi_step(*x, c_bar=0.5)
    assert torch.equal(multi_step(*x, c_bar=0.5, horizon=8), full)
    assert not torch.equal(multi_step(*x, c_bar=0.5, horizon=7), full)


# ---- planted faults: the comparison above sees them


def released_code(f: Tensor, discount: Tensor, ratio: Tensor) -> Tensor:
    """U_i = rho_i f_{i+1} + gamma c_i U_{i+1}: f one step off its ratio (spec 1.9 item 3)."""
    d, u = f.clone(), ratio[-1].clamp(max=1) * f[-1]
    for i in range(len(f) - 2, -1, -1):
        # u is U_{i+1} here; the released recursion pairs rho_i with f_{i+1}.
        d[i] = f[i] + discount[i] * u
        u = ratio[i].clamp(max=1) * f[i + 1] + discount[i] * ratio[i].clamp(max=0.5) * u
    return d


def shifted_ratio(f: Tensor, discount: Tensor, ratio: Tensor) -> Tensor:
    return multi_step(f, discount, ratio.roll(1, 0), c_bar=0.5)


def no_start_flag(f: Tensor, discount: Tensor, ratio: Tensor) -> Tensor:
    return multi_step(f, torch.full_like(discount, GAMMA), ratio, c_bar=0.5)


def flag_one_step_late(f: Tensor, discount: Tensor, ratio: Tensor) -> Tensor:
    return multi_step(f, discount.roll(1, 0), ratio, c_bar=0.5)


def product_from_zero(f: Tensor, discount: Tensor, ratio: Tensor) -> Tensor:
    """The range of the paper's eq. 12, which weights by the own step's c."""
    return by_sums(f, discount, ratio, c_bar=0.5, first_k=0)


@pytest.mark.parametrize("fault", [released_code, shifted_ratio, no_start_flag, flag_one_step_late, product_from_zero])
def test_a_faulty_divergence_is_caught(fault) -> None:
    x = rollout(0)
    assert (x[1][:-1] == 0).any()
    with pytest.raises(AssertionError):
        same(fault(*x), by_sums(*x, c_bar=0.5))


def test_shifted_is_the_recursion_of_the_released_code() -> None:
    x = rollout(0)
    same(multi_step(*x, c_bar=0.5, shifted=True), released_code(*x))


def test_shifted_leaves_out_the_next_f_by_hand() -> None:
    f = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    discount, ratio = torch.full((4, 1), 0.5), torch.tensor([[64.0], [0.25], [0.5], [1.0]])
    # U_3 = 1 8; U_2 = .5 8 + .5 .5 8 = 6; U_1 = .25 4 + .5 .25 6 = 1.75; D_i = f_i + .5 U_{i+1}: no f_1 in D_0
    assert multi_step(f, discount, ratio, c_bar=0.5, shifted=True).flatten().tolist() == [1.875, 5, 8, 8]
    assert multi_step(f, discount, ratio, c_bar=0.5, horizon=0, shifted=True).flatten().tolist() == [1, 2, 4, 8]


def test_the_fault_of_the_released_code_is_the_one_described() -> None:
    """With c = 0 it gives f_i + gamma rho_{i+1} f_{i+2}; without the shift it has f_{i+1}."""
    f, _, ratio = rollout(0)
    d = multi_step(f, torch.full_like(f, GAMMA), ratio, c_bar=0.0, shifted=True)
    same(d[:-2], f[:-2] + GAMMA * ratio[1:-1].clamp(max=1) * f[2:])


# ---- gradients, types, refusals


@pytest.mark.parametrize("horizon", [None, 0, 2])
def test_no_gradient_flows(horizon: int | None) -> None:
    log_pi, log_mu = (-torch.rand(5, 3).requires_grad_() for _ in range(2))
    assert not any(f(log_pi, log_mu).requires_grad for f in DIVERGENCES.values())
    d = multi_step(log_pi, torch.ones(5, 3), torch.exp(log_pi - log_mu), c_bar=0.5, horizon=horizon)
    assert not d.requires_grad


@pytest.mark.parametrize("horizon", [None, 0, 2])
def test_the_result_shares_no_memory_with_f(horizon: int | None) -> None:
    f, discount, ratio = rollout(0)
    before = f.clone()
    multi_step(f, discount, ratio, c_bar=0.5, horizon=horizon).zero_()
    entropy(f).zero_()
    assert torch.equal(f, before)


@pytest.mark.parametrize("horizon", [None, 0, 3])
def test_float32_agrees_with_float64(horizon: int | None) -> None:
    x = rollout(0, steps=32)
    single = multi_step(*(t.float() for t in x), c_bar=0.5, horizon=horizon)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), multi_step(*x, c_bar=0.5, horizon=horizon), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("horizon", [None, 0, 3])
def test_it_stays_on_the_device_and_never_waits_for_it(horizon: int | None) -> None:
    x = [t.to("meta") for t in rollout(0)]  # has no data: reading a number of it raises
    assert multi_step(*x, c_bar=0.5, horizon=horizon).device.type == "meta"


def test_wrong_inputs_are_refused_by_name() -> None:
    f, discount, ratio = rollout(0)
    with pytest.raises(ValueError, match="horizon must not be negative, got -1"):
        multi_step(f, discount, ratio, c_bar=0.5, horizon=-1)
    with pytest.raises(ValueError, match="rho_bar and c_bar must not be negative"):
        multi_step(f, discount, ratio, c_bar=-0.5)
    with pytest.raises(ValueError, match=r"ratio has shape \[8, 4\], expected \[9, 4\]"):
        multi_step(f, discount, ratio[1:], c_bar=0.5)
    with pytest.raises(ValueError, match=r"f has shape \[9\], expected \[T, B\]"):
        multi_step(f[:, 0], discount, ratio, c_bar=0.5)
    with pytest.raises(ValueError, match="log_mu has shape"):
        kl(f, f[1:])
