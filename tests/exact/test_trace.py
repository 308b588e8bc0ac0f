"""The exact trace of a training run: its rows are direct calls, whatever float32 does to a policy."""

import json
from dataclasses import replace

import numpy as np
import pytest
from exact_cases import FAMILIES, policy

from bench.envs.mdp import Array, optimal_values
from bench.errors import UserError
from bench.exact.proposition1 import proposition1
from bench.exact.trace import ExactReturn, Trace

MDP = FAMILIES["garnet"]


def versions(n: int) -> list[Array]:
    rng = np.random.default_rng(0)
    return [policy(None, rng.standard_normal(MDP.R.shape)) for _ in range(n)]


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_rows_equal_direct_calls(lag: int) -> None:
    pis = versions(6)
    trace = Trace(MDP, pis[0], lag)
    for i, pi in enumerate(pis[1:], start=1):
        row = trace.add(pi)
        last, stale = (proposition1(MDP, pi, pis[j], 0.0) for j in (i - 1, max(0, i - lag)))
        expected = {
            "exact_return": ExactReturn(MDP)(pi),
            **last.row(),
            "delta2_stale": stale.delta2,
            "kl_stale": stale.divergence,
            "bound_stale": stale.bound,
        }
        assert row == pytest.approx(expected, rel=1e-12)


def test_an_unchanged_policy_leaves_no_trace() -> None:
    pi = versions(1)[0]
    row = Trace(MDP, pi, 2).add(pi)
    assert (row["shift"], row["delta2"], row["kl_exact"], row["bound_stale"]) == (0, 0, 0, 0)


def test_the_exact_return_is_0_for_the_uniform_and_1_for_an_optimal_policy() -> None:
    exact_return = ExactReturn(MDP)
    assert exact_return(np.full(MDP.R.shape, 1 / 3)) == 0
    assert exact_return(optimal_values(MDP)[1]) == pytest.approx(1, abs=1e-12)


def test_an_mdp_without_anything_to_gain_has_no_exact_return() -> None:
    with pytest.raises(UserError, match="the uniform policy is optimal"):
        ExactReturn(replace(MDP, R=np.ones(MDP.R.shape)))


def test_float32_is_renormalised() -> None:
    pis = versions(2)
    exact = Trace(MDP, pis[0], 1).add(pis[1])
    rounded = Trace(MDP, pis[0].astype(np.float32), 1).add(pis[1].astype(np.float32))
    assert rounded == pytest.approx(exact, rel=1e-4)


def test_probabilities_that_underflowed_give_finite_rows() -> None:
    pis = versions(2)
    pis[1][2] = [1, 0, 0]
    row = Trace(MDP, pis[0], 1).add(pis[1])
    assert np.isfinite(list(row.values())).all()
    assert row["delta2"] <= row["bound"]
    back = Trace(MDP, pis[1], 1).add(pis[0])
    assert np.isfinite(list(back.values())).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pi: pi[:, :2], r"the policy has shape \[5, 2\], expected \[5, 3\]"),
        (lambda pi: 2 * pi, "no distribution"),
        (lambda pi: pi * np.nan, "no distribution"),
    ],
)
def test_what_is_no_policy_is_refused(change, message: str) -> None:
    pi = versions(1)[0]
    with pytest.raises(ValueError, match=message):
        Trace(MDP, pi, 1).add(change(pi))


def test_a_lag_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="lag is 0, expected at least 1"):
        Trace(MDP, versions(1)[0], 0)


@pytest.mark.parametrize("seen", [0, 1, 4])
def test_a_loaded_trace_gives_the_rows_of_the_other(seen: int) -> None:
    first, *pis = versions(7)
    trace, other, forgetful = Trace(MDP, first, 3), Trace(MDP, pis[-1], 3), Trace(MDP, pis[-1], 3)
    for pi in pis[:seen]:
        trace.add(pi)
    other.load_state_dict(json.loads(json.dumps(trace.state_dict())))
    rows, same, different = ([one.add(pi) for pi in pis[seen:]] for one in (trace, other, forgetful))
    assert same == rows  # every bit
    assert different != rows
