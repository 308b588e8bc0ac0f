"""Proposition 1: every piece against loops over its definition; the steps of its proof; the bound on many instances."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from exact_cases import FAMILIES, differences, instances, policy

from bench.envs.mdp import MDP, Array, occupancy, performance, policy_transition
from bench.errors import UserError
from bench.exact import program
from bench.exact import proposition1 as module
from bench.exact.gradients import log_softmax
from bench.exact.proposition1 import proposition1, sweep

PIECES = ("delta2", "divergence", "zeta_1", "zeta_2", "c", "bound", "shift")


# ---- the definitions, by loops and power series, for the logits and for features


def _series_occupancy(mdp: MDP, pi: Array) -> Array:
    total, at = np.zeros(mdp.num_states), mdp.d0.copy()
    weight = 1 - mdp.gamma
    while weight > 1e-18:
        total += weight * at
        after = np.zeros(mdp.num_states)
        for s, a in np.ndindex(*pi.shape):
            after += at[s] * pi[s, a] * mdp.P[s, a]
        at, weight = after, weight * mdp.gamma
    return total


def _advantage(mdp: MDP, pi: Array, reward: Array) -> Array:
    v = np.zeros(mdp.num_states)
    for _ in range(math.ceil(-45 / math.log(mdp.gamma))):  # gamma^n = e^-45
        q = np.array([[reward[s, a] + mdp.gamma * mdp.P[s, a] @ v for a in range(pi.shape[1])] for s in range(len(v))])
        v = np.array([pi[s] @ q[s] for s in range(len(v))])
    return q - v[:, None]


def _score(pi: Array, s: int, a: int, features: Array | None) -> Array:
    """grad log pi(a|s), over all parameters."""
    if features is not None:
        return features[s, a] - sum(pi[s, b] * features[s, b] for b in range(pi.shape[1]))
    gradient = np.zeros(pi.shape)
    gradient[s, a] += 1
    gradient[s] -= pi[s]
    return gradient.ravel()


def brute_force(mdp: MDP, pi: Array, ref: Array, lam: float, features: Array | None) -> SimpleNamespace:
    pairs = list(np.ndindex(*pi.shape))
    d, d_ref = _series_occupancy(mdp, pi), _series_occupancy(mdp, ref)
    gain, cost = _advantage(mdp, pi, mdp.R), _advantage(mdp, pi, np.log(pi) - np.log(ref))
    score = {(s, a): _score(pi, s, a, features) for s, a in pairs}
    true = sum(d[s] * pi[s, a] * (gain[s, a] - lam * cost[s, a]) * score[s, a] for s, a in pairs)
    biased = sum(d_ref[s] * pi[s, a] * (gain[s, a] - lam * cost[s, a]) * score[s, a] for s, a in pairs)
    divergence = sum(d[s] * pi[s, a] * math.log(pi[s, a] / ref[s, a]) for s, a in pairs)
    norms = [sum(pi[s, a] * np.linalg.norm(score[s, a]) for a in range(pi.shape[1])) for s in range(len(d))]
    zeta_1 = max(norms)
    zeta_2 = max(max(abs(gain[s, a]), abs(gain[s, a] - cost[s, a])) for s, a in pairs)
    c = 2 * (mdp.gamma * zeta_1 * zeta_2 / (1 - mdp.gamma)) ** 2
    return SimpleNamespace(
        gradient=true,
        delta2=((true - biased) ** 2).sum(),
        divergence=divergence,
        zeta_1=zeta_1,
        zeta_2=zeta_2,
        c=c,
        bound=c * divergence,
        shift=np.abs(d - d_ref).sum(),
    )


def pair(mdp: MDP, seed: int, distance: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal(mdp.R.shape)
    return policy(None, reference + distance * rng.standard_normal(mdp.R.shape)), policy(None, reference)


SMALL = ["garnet", "chain", "river_swim", "deep_sea"]


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tabular", [True, False])
def test_every_piece_is_that_of_its_definition(family: str, lam: float, tabular: bool) -> None:
    mdp = replace(FAMILIES[family], gamma=0.8)
    pi, ref = pair(mdp, 1)
    features = None if tabular else np.random.default_rng(2).standard_normal((*mdp.R.shape, 3))
    found, expected = proposition1(mdp, pi, ref, lam, features), brute_force(mdp, pi, ref, lam, features)
    for piece in PIECES:
        assert getattr(found, piece) == pytest.approx(getattr(expected, piece), rel=1e-9), piece


def test_the_brute_force_gradient_is_that_of_the_objective() -> None:
    """delta compares with the gradient of J - lambda D, not only with a formula for it."""
    mdp, lam = FAMILIES["garnet"], 0.5
    rng = np.random.default_rng(4)
    logits, ref = rng.standard_normal(mdp.R.shape), policy(None, rng.standard_normal(mdp.R.shape))

    def objective(x: Array) -> float:
        pi = policy(None, x)
        return performance(mdp, pi) - lam * float((occupancy(mdp, pi)[:, None] * pi * np.log(pi / ref)).sum())

    expected = differences(objective, logits).ravel()
    found = brute_force(mdp, policy(None, logits), ref, lam, None).gradient
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


# ---- planted faults


@pytest.mark.parametrize("fault", ["states of pi in place of the data's", "no (1 - gamma)", "transposed transition"])
def test_brute_force_shows_a_state_shift_with(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = replace(FAMILIES["garnet"], gamma=0.8)
    pi, ref = pair(mdp, 1)
    expected = brute_force(mdp, pi, ref, 0.5, None)

    def faulty(mdp: MDP, pi: Array, change: Array) -> Array:
        if fault == "states of pi in place of the data's":
            return occupancy(mdp, pi)
        if fault == "no (1 - gamma)":
            return (occupancy(mdp, pi) - occupancy(mdp, pi - change)) / (1 - mdp.gamma)
        flows = [np.eye(mdp.num_states) - mdp.gamma * policy_transition(mdp, p) for p in (pi, pi - change)]
        d, d_ref = (np.linalg.solve(flow, (1 - mdp.gamma) * mdp.d0) for flow in flows)
        return d - d_ref

    monkeypatch.setattr(module, "occupancy_change", faulty)
    found = proposition1(mdp, pi, ref, 0.5)
    assert found.shift != pytest.approx(expected.shift, rel=1e-3)
    assert found.delta2 != pytest.approx(expected.delta2, rel=1e-3)


def test_brute_force_shows_a_divergence_the_other_way_round() -> None:
    mdp = replace(FAMILIES["garnet"], gamma=0.8)
    pi, ref = pair(mdp, 1)
    expected = brute_force(mdp, pi, ref, 0.5, None)
    assert proposition1(mdp, ref, pi, 0.5).divergence != pytest.approx(expected.divergence, rel=1e-3)


# ---- the steps of the proof


@pytest.mark.parametrize("family", [*SMALL, "four_rooms"])
@pytest.mark.parametrize("distance", [1e-6, 1e-2, 1.0, 10.0])
def test_every_step_of_the_proof_holds(family: str, distance: float) -> None:
    mdp = FAMILIES[family]
    factor = mdp.gamma / (1 - mdp.gamma)
    for seed in range(5):
        pi, ref = pair(mdp, seed, distance)
        found = proposition1(mdp, pi, ref, 0.5)
        d, moved = occupancy(mdp, pi), policy_transition(mdp, pi) - policy_transition(mdp, ref)
        by_flow = factor * np.abs(moved.T @ d).sum()
        by_policies = factor * d @ np.abs(pi - ref).sum(1)
        by_pinsker = factor * math.sqrt(2 * found.divergence)
        slack = 1 + 1e-9
        assert found.shift <= by_flow * slack
        assert by_flow <= by_policies * slack
        assert by_policies <= by_pinsker * slack
        assert math.sqrt(found.delta2) <= found.shift * found.zeta_1 * found.zeta_2 * slack


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_shift_is_the_difference_of_the_occupancies(family: str) -> None:
    mdp = FAMILIES[family]
    pi, ref = pair(mdp, 0)
    np.testing.assert_allclose(
        module.occupancy_change(mdp, pi, pi - ref), occupancy(mdp, pi) - occupancy(mdp, ref), atol=1e-14
    )


def test_one_policy_has_no_bias_and_no_bound() -> None:
    pi, _ = pair(FAMILIES["garnet"], 0)
    found = proposition1(FAMILIES["garnet"], pi, pi, 1.0)
    assert (found.delta2, found.divergence, found.bound, found.shift) == (0, 0, 0, 0)
    assert found.c > 0


def test_actions_that_lead_to_the_same_make_no_bias() -> None:
    found = proposition1(FAMILIES["garnet_mixing"], *pair(FAMILIES["garnet_mixing"], 0), 0.5)
    assert found.shift < 1e-14
    assert found.delta2 < 1e-28
    assert found.bound > 0.1


def test_without_a_future_there_is_no_bias() -> None:
    mdp = replace(FAMILIES["garnet"], gamma=0.0)
    found = proposition1(mdp, *pair(mdp, 0), 0.5)
    assert (found.delta2, found.c) == (0, 0)


def test_a_scale_of_the_parameters_is_one_of_the_features() -> None:
    mdp = FAMILIES["garnet"]
    pi, ref = pair(mdp, 0)
    # Features of one parameter per logit, three times as long, are logits of three times the parameters.
    features = 3 * np.eye(mdp.R.size).reshape(*mdp.R.shape, -1)
    wide = proposition1(mdp, pi, ref, 0.5, features)
    short = module.from_log_ratio(mdp, pi, ref, np.log(pi / ref), 0.5, scale=3.0)
    assert vars(wide) == pytest.approx(vars(short), rel=1e-12)
    assert wide.zeta_1 == pytest.approx(3 * proposition1(mdp, pi, ref, 0.5).zeta_1, rel=1e-12)


# ---- random instances


@pytest.mark.parametrize(
    ("task", "steps"), [("garnet", 6000), ("chain", 2000), ("river_swim", 2000), ("four_rooms", 200)]
)
def test_the_bound_holds_on_10_000_instances_from_1e_6_to_maximal_distance(task: str, steps: int) -> None:
    """The largest ratio is about 0.04: a bound a thousand times tighter would not hold, so this can fail."""
    rows = list(sweep(instances(task, steps)))
    column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    assert all(np.isfinite(x).all() for x in column.values())
    assert (column["delta2"] <= column["bound"]).all()
    assert (column["bound"] > 0).all()
    assert column["distance"].min() < 1e-5
    assert (column["delta2"] / column["bound"]).max() < 0.1
    # Slips bound the shift in a chain, averages over 104 states the divergence in the rooms.
    assert column["shift"].max() > 0.5
    assert column["kl_exact"].max() > 5
    if task == "garnet":
        assert (column["delta2"] / column["bound"]).max() > 1e-3


def test_the_bound_holds_for_policies_that_never_meet() -> None:
    """Two deterministic ways from the start to two traps: the largest shift there is, 2 gamma, at 80 nats."""
    ways = np.zeros((3, 2, 3))
    ways[0, 0, 1] = ways[0, 1, 2] = ways[1, :, 1] = ways[2, :, 2] = 1
    mdp = MDP(P=ways, R=[[0, 0], [1, 0], [0, 1]], d0=[1, 0, 0], gamma=0.99)
    logits = np.array([[40.0, -40.0], [1.0, 0.0], [1.0, 0.0]])
    log_pi, log_ref = log_softmax(logits), log_softmax(logits * np.array([[-1], [1], [1]]))
    found = module.from_log_ratio(mdp, np.exp(log_pi), np.exp(log_ref), log_pi - log_ref, 0.0)
    assert found.shift == pytest.approx(2 * 0.99, rel=1e-12)
    assert found.divergence == pytest.approx(0.01 * 80, rel=1e-12)
    assert 0 < found.delta2 < found.bound


def test_close_policies_have_their_bias_to_first_order() -> None:
    """Ten times closer, a hundred times less of delta^2 and of D: no digits are lost on the way to 1e-6."""
    mdp = FAMILIES["garnet"]
    rng = np.random.default_rng(0)
    logits, direction = rng.standard_normal((2, *mdp.R.shape))
    log_ref = log_softmax(logits)

    def at(distance: float) -> module.Bound:
        log_pi = log_softmax(logits + distance * direction)
        return module.from_log_ratio(mdp, np.exp(log_pi), np.exp(log_ref), log_pi - log_ref, 0.5)

    near, nearer = at(1e-5), at(1e-6)
    assert near.delta2 / nearer.delta2 == pytest.approx(100, rel=1e-3)
    assert near.divergence / nearer.divergence == pytest.approx(100, rel=1e-3)


def test_instances_repeat_by_seed_and_do_not_depend_on_how_many_follow() -> None:
    some, more, other = (list(sweep(instances("garnet", n, seed))) for n, seed in ((5, 0), (9, 0), (5, 1)))
    assert some == more[:5]
    assert some != other
    assert [row["step"] for row in more] == list(range(1, 10))


def test_instances_draw_what_the_configuration_allows() -> None:
    rows = list(program("proposition1")(instances("garnet", 300)))
    assert {row["states"] for row in rows} == set(range(2, 9))
    assert {row["actions"] for row in rows} == {2, 3, 4}
    assert {row["gamma"] for row in rows} == {0.5, 0.9, 0.99}
    assert {row["lam"] for row in rows} == {0.0, 0.5, 1.0}
    assert all(0.1 <= row["reward_scale"] <= 10 for row in rows)


# ---- bad input


def test_a_task_without_a_family_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(UserError, match=r"env.task is 'deep_sea_5', .* allowed: chain, four_rooms, garnet, river_swim"):
        sweep(instances("deep_sea_5", 1))


def test_a_lambda_that_zeta_2_does_not_cover_is_refused() -> None:
    with pytest.raises(UserError, match=r"lambda is 1\.5, expected 0 <= lambda <= 1"):
        proposition1(FAMILIES["garnet"], *pair(FAMILIES["garnet"], 0), 1.5)


def test_an_action_that_the_reference_never_takes_is_named() -> None:
    mdp = FAMILIES["chain"]
    pi, ref = np.full((5, 2), 0.5), np.full((5, 2), 0.5)
    ref[3] = [1, 0]
    with pytest.raises(UserError, match=r"in state 3, action 1 has probability 0\.5, and 0 under the reference"):
        proposition1(mdp, pi, ref, 0.0)
