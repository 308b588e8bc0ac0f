"""Value targets against numbers by hand, against the sums that define them, and against planted faults."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.ops.returns import backward_sum, gae, td_lambda, vtrace

GAMMA = 0.99


def rollout(seed: int, steps: int = 9, envs: int = 4, ends: float = 0.25) -> dict[str, Tensor]:
    """Random float64 inputs, ratios on both sides of every cap, episode ends inside."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    terminated = torch.rand(steps, envs, generator=g) < ends
    truncated = (torch.rand(steps, envs, generator=g) < ends) & ~terminated
    return {
        "r": normal(steps, envs),
        "v": normal(steps, envs),
        "v_next": normal(steps, envs),
        "ratio": torch.exp(normal(steps, envs)),
        "discount": GAMMA * (~terminated).double(),
        "done": terminated | truncated,
        "tail_return": normal(envs),
    }


def vtrace_inputs(x: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x[name] for name in ("r", "discount", "v", "ratio", "tail_return")}


# ---- the definitions, as plain sums


def vtrace_by_sums(x: dict[str, Tensor], rho_bar: float, c_bar: float) -> Tensor:
    """v_i = V_i + sum_{j>=i} (prod_{k=i..j-1} discount_k c_k) delta_j; the last delta is that of the tail."""
    discount = x["discount"]
    steps, envs = x["r"].shape
    out = torch.empty(steps, envs, dtype=torch.float64)
    for b in range(envs):
        for i in range(steps):
            total = x["v"][i, b].item()
            for j in range(i, steps):
                product = 1.0
                for k in range(i, j):
                    product *= discount[k, b].item() * min(c_bar, x["ratio"][k, b].item())
                own = (
                    x["tail_return"][b].item()
                    if j == steps - 1
                    else x["r"][j, b].item() + discount[j, b].item() * x["v"][j + 1, b].item()
                )
                total += product * min(rho_bar, x["ratio"][j, b].item()) * (own - x["v"][j, b].item())
            out[i, b] = total
    return out


def td_lambda_by_n_step_returns(x: dict[str, Tensor], lam: float) -> Tensor:
    """R_i = (1 - lam) sum_n lam^(n-1) G^n, the longest return taking the weight that is left.

    G^n sums n rewards and bootstraps with v_next; a return ends at the end of its episode.
    """
    steps, envs = x["r"].shape
    out = torch.empty(steps, envs, dtype=torch.float64)
    for b in range(envs):
        for i in range(steps):
            last = next((j for j in range(i, steps) if x["done"][j, b]), steps - 1)
            total, rewards, discount = 0.0, 0.0, 1.0
            for n, j in enumerate(range(i, last + 1), start=1):
                rewards += discount * x["r"][j, b].item()
                discount *= x["discount"][j, b].item()
                weight = lam ** (n - 1) if j == last else (1 - lam) * lam ** (n - 1)
                total += weight * (rewards + discount * x["v_next"][j, b].item())
            out[i, b] = total
    return out


def gae_by_sums(x: dict[str, Tensor], lam: float) -> Tensor:
    """A_i = sum_l (gamma lam)^l delta_{i+l}, up to the end of the episode or of the roll-out."""
    steps, envs = x["r"].shape
    out = torch.zeros(steps, envs, dtype=torch.float64)
    for b in range(envs):
        for i in range(steps):
            for j in range(i, steps):
                delta = x["r"][j, b] + x["discount"][j, b] * x["v_next"][j, b] - x["v"][j, b]
                out[i, b] += (GAMMA * lam) ** (j - i) * delta
                if x["done"][j, b]:
                    break
    return out


def same(actual: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(actual, reference, rtol=1e-11, atol=1e-11)


# ---- by hand


def test_the_recursion_by_hand_leaves_its_input_alone() -> None:
    x, decay = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0.5], [2.0], [64.0]])
    assert backward_sum(x, decay).flatten().tolist() == [1 + 0.5 * 10, 2 + 2 * 4, 4]
    assert x.flatten().tolist() == [1, 2, 4]


def test_vtrace_of_three_steps_by_hand() -> None:
    column = torch.tensor([[1.0], [1.0], [1.0]])
    v_target, q = vtrace(
        r=torch.tensor([[1.0], [2.0], [100.0]]),
        discount=0.5 * column,
        v=torch.tensor([[2.0], [4.0], [8.0]]),
        ratio=torch.tensor([[0.5], [2.0], [0.25]]),
        tail_return=torch.tensor([16.0]),
    )
    # last: 8 + .25 (16 - 8) = 10; middle: 4 + (2 + 4 - 4) + .5 (10 - 8) = 7;
    # first: 2 + .5 (1 + 2 - 2) + .5 .5 (7 - 4) = 3.25. The last reward is inside the tail return.
    assert v_target.flatten().tolist() == [3.25, 7.0, 10.0]
    assert q.flatten().tolist() == [1 + 0.5 * 7, 2 + 0.5 * 10, 16]


def test_vtrace_takes_nothing_from_the_next_episode_by_hand() -> None:
    v_target, q = vtrace(
        r=torch.tensor([[1.0], [2.0]]),
        discount=torch.tensor([[0.0], [0.5]]),
        v=torch.tensor([[4.0], [64.0]]),
        ratio=torch.tensor([[0.5], [1.0]]),
        tail_return=torch.tensor([32.0]),
    )
    assert v_target.flatten().tolist() == [4 + 0.5 * (1 - 4), 32]
    assert q.flatten().tolist() == [1, 32]


def test_td_lambda_by_hand() -> None:
    ones = torch.ones(3, 1)
    returns = td_lambda(torch.tensor([[1.0], [2.0], [4.0]]), 0.5 * ones, torch.tensor([[8.0], [16.0], [32.0]]), lam=0.5)
    # last 4 + 16 = 20; middle 2 + .5 (8 + 10) = 11; first 1 + .5 (4 + 5.5) = 5.75
    assert returns.flatten().tolist() == [5.75, 11, 20]


def test_td_lambda_of_a_cut_step_bootstraps_and_ignores_what_follows_by_hand() -> None:
    ones = torch.ones(2, 1)
    returns = td_lambda(
        torch.tensor([[1.0], [64.0]]),
        0.5 * ones,
        torch.tensor([[8.0], [0.0]]),
        lam=0.5,
        done=torch.tensor([[True], [False]]),
    )
    assert returns.flatten().tolist() == [1 + 0.5 * 8, 64]


def test_gae_by_hand() -> None:
    v = torch.tensor([[2.0], [4.0], [8.0]])
    v_next = torch.tensor([[4.0], [16.0], [32.0]])
    advantage = gae(
        r=torch.tensor([[1.0], [2.0], [4.0]]),
        discount=torch.full((3, 1), 0.5),
        v=v,
        v_next=v_next,
        done=torch.tensor([[False], [True], [False]]),
        lam=0.5,
    )
    # deltas 1 + 2 - 2 = 1, 2 + 8 - 4 = 6 (cut: bootstrapped), 4 + 16 - 8 = 12
    assert advantage.flatten().tolist() == [1 + 0.25 * 6, 6, 12]


# ---- against the definitions


@pytest.mark.parametrize(("rho_bar", "c_bar"), [(1.0, 1.0), (2.0, 0.5), (math.inf, math.inf), (1.0, 0.0)])
@pytest.mark.parametrize("seed", range(5))
def test_vtrace_is_its_sum(seed: int, rho_bar: float, c_bar: float) -> None:
    x = rollout(seed)
    v_target, q = vtrace(**vtrace_inputs(x), rho_bar=rho_bar, c_bar=c_bar)
    reference = vtrace_by_sums(x, rho_bar, c_bar)
    same(v_target, reference)
    same(q[:-1], x["r"][:-1] + x["discount"][:-1] * reference[1:])
    assert torch.equal(q[-1], x["tail_return"])


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_td_lambda_is_the_mixture_of_n_step_returns(seed: int, lam: float) -> None:
    x = rollout(seed)
    returns = td_lambda(x["r"], x["discount"], x["v_next"], lam=lam, done=x["done"])
    same(returns, td_lambda_by_n_step_returns(x, lam))


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_gae_is_its_sum(seed: int, lam: float) -> None:
    x = rollout(seed)
    same(gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=lam), gae_by_sums(x, lam))


def test_td_lambda_needs_no_flag_where_every_end_has_discount_zero() -> None:
    x = rollout(0)
    ended = x["discount"] == 0
    with_flags = td_lambda(x["r"], x["discount"], x["v_next"], lam=0.9, done=ended)
    assert ended.any()
    same(td_lambda(x["r"], x["discount"], x["v_next"], lam=0.9), with_flags)


# ---- identities


@given(st.integers(0, 2**31), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_on_policy_vtrace_is_the_return_ended_by_the_stored_one(seed: int, steps: int, ends: float) -> None:
    x = rollout(seed, steps=steps, ends=ends)
    v_target, q = vtrace(**vtrace_inputs(x | {"ratio": torch.ones_like(x["r"])}))
    same(v_target[:-1], x["r"][:-1] + x["discount"][:-1] * v_target[1:])
    same(v_target[-1], x["tail_return"])
    same(q, v_target)


@given(st.integers(0, 2**31), st.floats(0.0, 4.0))
@settings(max_examples=50, deadline=None)
def test_vtrace_of_an_action_never_taken_by_the_target_is_the_critic(seed: int, v_scale: float) -> None:
    x = rollout(seed)
    v = v_scale * x["v"]
    v_target, _ = vtrace(**vtrace_inputs(x | {"ratio": torch.zeros_like(v), "v": v}))
    same(v_target, v)


@given(st.integers(0, 2**31), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_gae_at_lambda_one_is_the_monte_carlo_return_minus_v(seed: int, steps: int, ends: float) -> None:
    x = rollout(seed, steps=steps, ends=ends)
    # Inside an episode v_next is the critic at the next state, so the sum of deltas telescopes.
    inside = ~x["done"][:-1]
    x["v_next"][:-1] = torch.where(inside, x["v"][1:], x["v_next"][:-1])
    returns = td_lambda(x["r"], x["discount"], x["v_next"], lam=1.0, done=x["done"])
    same(gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=1.0), returns - x["v"])


@given(st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_gae_is_the_lambda_return_minus_v(seed: int, lam: float) -> None:
    x = rollout(seed)
    inside = ~x["done"][:-1]
    x["v_next"][:-1] = torch.where(inside, x["v"][1:], x["v_next"][:-1])
    returns = td_lambda(x["r"], x["discount"], x["v_next"], lam=lam, done=x["done"])
    same(gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=lam), returns - x["v"])


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_lambda_zero_looks_one_step_ahead(seed: int) -> None:
    x = rollout(seed)
    one_step = x["r"] + x["discount"] * x["v_next"]
    same(td_lambda(x["r"], x["discount"], x["v_next"], lam=0.0), one_step)
    same(gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=0.0), one_step - x["v"])


@given(st.integers(0, 2**31), st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_what_follows_an_end_changes_nothing_before_it(seed: int, end: int) -> None:
    x, y = rollout(seed), rollout(seed + 1)
    x["discount"][end - 1], x["done"][end - 1] = 0.0, True
    other = {name: torch.cat([x[name][:end], y[name][end:]]) for name in x if name != "tail_return"}
    other["tail_return"] = y["tail_return"]
    for before, after in zip(vtrace(**vtrace_inputs(x)), vtrace(**vtrace_inputs(other)), strict=True):
        assert torch.equal(before[:end], after[:end])
    advantages = [gae(z["r"], z["discount"], z["v"], z["v_next"], z["done"], lam=0.9) for z in (x, other)]
    assert torch.equal(advantages[0][:end], advantages[1][:end])


def test_a_cut_folded_into_the_reward_is_an_episode_end_with_bootstrap() -> None:
    x = rollout(3)
    cut = 4
    x["discount"][cut] = 0.0
    bootstrapped = x["r"][cut] + GAMMA * x["v_next"][cut]
    x["r"][cut] = bootstrapped
    v_target, q = vtrace(**vtrace_inputs(x))
    rho = x["ratio"][cut].clamp(max=1.0)
    same(q[cut], bootstrapped)
    same(v_target[cut], x["v"][cut] + rho * (bootstrapped - x["v"][cut]))


# ---- planted faults: the comparison above sees them


def shifted_ratio(x: dict[str, Tensor]) -> Tensor:
    """Pair every step with the ratio of the next one."""
    return vtrace(**vtrace_inputs(x | {"ratio": x["ratio"].roll(-1, 0)}))[0]


def no_episode_ends(x: dict[str, Tensor]) -> Tensor:
    """Let the recursion run through the ends of episodes."""
    return vtrace(**vtrace_inputs(x | {"discount": torch.full_like(x["r"], GAMMA)}))[0]


def swapped_caps(x: dict[str, Tensor]) -> Tensor:
    return vtrace(**vtrace_inputs(x), rho_bar=0.5, c_bar=1.0)[0]


def tail_without_ratio(x: dict[str, Tensor]) -> Tensor:
    """Take the stored return whole, whatever the ratio of the last step."""
    v_target = vtrace(**vtrace_inputs(x), rho_bar=1.0, c_bar=0.5)[0]
    v_target[-1] = x["tail_return"]
    return v_target


@pytest.mark.parametrize("fault", [shifted_ratio, no_episode_ends, swapped_caps, tail_without_ratio])
def test_a_faulty_vtrace_is_caught(fault) -> None:
    x = rollout(0)
    with pytest.raises(AssertionError):
        same(fault(x), vtrace_by_sums(x, 1.0, 0.5))


def test_a_gae_that_runs_through_a_time_limit_is_caught() -> None:
    x = rollout(0)
    assert (x["done"] & (x["discount"] > 0)).any()
    faulty = gae(x["r"], x["discount"], x["v"], x["v_next"], x["discount"] == 0, lam=0.95)
    with pytest.raises(AssertionError):
        same(faulty, gae_by_sums(x, 0.95))


def test_lambda_returns_that_run_through_a_time_limit_are_caught() -> None:
    x = rollout(0)
    with pytest.raises(AssertionError):
        same(td_lambda(x["r"], x["discount"], x["v_next"], lam=0.9), td_lambda_by_n_step_returns(x, 0.9))


# ---- gradients, types, refusals


def test_no_gradient_flows_and_inputs_are_left_alone() -> None:
    x = {name: t.requires_grad_() if t.is_floating_point() else t for name, t in rollout(0).items()}
    copies = {name: t.detach().clone() for name, t in x.items()}
    results = [
        *vtrace(**vtrace_inputs(x)),
        td_lambda(x["r"], x["discount"], x["v_next"], lam=0.9, done=x["done"]),
        gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=0.9),
    ]
    assert not any(result.requires_grad for result in results)
    assert all(torch.equal(x[name], copies[name]) for name in x)


@pytest.mark.parametrize("steps", [1, 2, 32])
def test_float32_agrees_with_float64(steps: int) -> None:
    x = rollout(1, steps=steps)
    low = {name: t.float() if t.is_floating_point() else t for name, t in x.items()}

    def results(z: dict[str, Tensor]) -> list[Tensor]:
        return [
            *vtrace(**vtrace_inputs(z)),
            td_lambda(z["r"], z["discount"], z["v_next"], lam=0.9, done=z["done"]),
            gae(z["r"], z["discount"], z["v"], z["v_next"], z["done"], lam=0.9),
        ]

    for single, double in zip(results(low), results(x), strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_bfloat16() -> None:
    x = {name: t.bfloat16() if t.is_floating_point() else t for name, t in rollout(1).items()}
    assert {t.dtype for t in vtrace(**vtrace_inputs(x))} == {torch.bfloat16}


def test_everything_stays_on_the_device_and_never_waits_for_it() -> None:
    """Tensors of the meta device have no data: reading a number of them raises."""
    x = {name: t.to("meta") for name, t in rollout(1).items()}
    results = [
        *vtrace(**vtrace_inputs(x)),
        td_lambda(x["r"], x["discount"], x["v_next"], lam=0.9, done=x["done"]),
        gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=0.9),
    ]
    assert {result.device.type for result in results} == {"meta"}


@pytest.mark.parametrize("name", ["discount", "v", "ratio"])
def test_vtrace_names_the_argument_of_the_wrong_shape(name: str) -> None:
    x = vtrace_inputs(rollout(0))
    with pytest.raises(ValueError, match=rf"{name} has shape \[9, 1\], expected \[9, 4\]"):
        vtrace(**(x | {name: x[name][:, :1]}))


def test_wrong_inputs_are_refused_by_name() -> None:
    x = rollout(0)
    with pytest.raises(ValueError, match=r"tail_return has shape \[4, 1\], expected \[4\]"):
        vtrace(**(vtrace_inputs(x) | {"tail_return": x["tail_return"][:, None]}))
    with pytest.raises(ValueError, match=r"r has shape \[4\], expected \[T, B\]"):
        vtrace(**(vtrace_inputs(x) | {"r": x["tail_return"]}))
    with pytest.raises(ValueError, match=r"r has dtype torch\.int64"):
        vtrace(**(vtrace_inputs(x) | {"r": x["r"].long()}))
    with pytest.raises(ValueError, match="c_bar"):
        vtrace(**vtrace_inputs(x), c_bar=-1.0)
    with pytest.raises(ValueError, match="v_next has shape"):
        td_lambda(x["r"], x["discount"], x["v_next"][1:], lam=0.9)
    with pytest.raises(ValueError, match="done has shape"):
        gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"][1:], lam=0.9)
    with pytest.raises(ValueError, match="lam must lie"):
        gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=1.5)


def test_flags_may_be_numbers() -> None:
    x = rollout(0)
    numbers = x["done"].double()
    same(
        gae(x["r"], x["discount"], x["v"], x["v_next"], numbers, lam=0.9),
        gae(x["r"], x["discount"], x["v"], x["v_next"], x["done"], lam=0.9),
    )
