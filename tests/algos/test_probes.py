"""The comparison of the replay's gradient with a fresh one."""

import numpy as np
import pytest
import torch
from dapo_cases import configured, trained

from bench.algos import probes
from bench.algos.actor import HEADS
from bench.algos.dapo import Dapo
from bench.errors import UserError

FRESH = ["algo.fresh_every=2", "algo.fresh_steps=128"]


@pytest.mark.parametrize("task", [["env=classic"], ["env=tabular"], ["env=classic", "algo.recurrent=true"]])
def test_the_comparison_does_not_change_the_run(task):
    with_probe, rows = trained(configured(*task, *FRESH))
    without, plain = trained(configured(*task))
    assert with_probe.parameters_sha256() == without.parameters_sha256()
    assert ["fresh_bias2" in row for row in rows] == [version % 2 == 0 for version in range(len(rows))]
    assert [{k: v for k, v in row.items() if not k.startswith("fresh_")} for row in rows] == plain


@pytest.mark.integration
def test_it_works_on_atari_with_the_lstm():
    atari = ["env=atari", "env.task=Breakout", "algo.recurrent=true", "algo.updates_per_version=2", "algo.reuse=2.0"]
    agent, rows = trained(configured(*atari, "algo.fresh_every=1", "algo.fresh_steps=32", steps=32))
    without, _ = trained(configured(*atari, steps=32))
    assert all(np.isfinite(row["fresh_bias2"]) and row["fresh_noise2"] > 0 for row in rows)
    assert agent.parameters_sha256() == without.parameters_sha256()


def test_the_numbers_by_hand(monkeypatch):
    agent, _ = trained(configured(*FRESH))
    sides = [[1.0, 2.0], [3.0, 0.0], [0.0, 4.0], [2.0, 2.0]]  # f1, r1, f2, r2 in the order of the calls
    parts = iter(
        {"gradient": torch.tensor(g), "square": torch.tensor((2.0 - 1e-4) ** 2), "kl": torch.tensor(0.25 * k)}
        for k, g in enumerate(sides)
    )
    monkeypatch.setattr(probes, "_advantage_gradient", lambda *_: next(parts))
    found = agent.fresh.compare(agent)
    # halved by the root mean square: f1 = (.5, 1), r1 = (1.5, 0), f2 = (0, 2), r2 = (1, 1)
    assert found["fresh_bias2"] == pytest.approx(1.0 * 1.0 + -1.0 * -1.0, abs=1e-6)
    assert found["fresh_noise2"] == pytest.approx((0.25 + 1) / 4 + (0.25 + 1) / 4, abs=1e-6)
    assert found["fresh_grad2"] == pytest.approx(2.0, abs=1e-6)
    assert found["fresh_kl"] == pytest.approx((0.25 + 0.75) / 2)


def test_the_gradient_is_that_of_the_mean_of_w_a_over_all_rollouts():
    agent, _ = trained(configured(*FRESH))
    offset, actor = agent.replay.newest(64, 8)
    batch = agent.replay.take(offset, actor, 8, HEADS)  # 32 roll-outs, in pieces of 4
    batch["weight"] = (torch.rand(8, 32, generator=torch.Generator().manual_seed(0)) < 0.8).float()
    found = probes._advantage_gradient(agent, batch)
    log_pi, ratio, v, _ = agent.evaluate(batch)
    _, a = agent.value_targets(batch, v, ratio)
    weight = batch["weight"] / batch["weight"].sum()
    grads = torch.autograd.grad(
        -(weight * ratio * a).sum(), list(agent.net.parameters()), materialize_grads=True, allow_unused=True
    )
    torch.testing.assert_close(found["gradient"], torch.cat([g.flatten() for g in grads]), rtol=1e-3, atol=1e-5)
    assert found["square"].item() == pytest.approx((weight * a**2).sum().item(), rel=1e-4)
    k3 = (weight * (ratio * (log_pi - batch["log_mu"]) - ratio + 1)).sum().item()
    assert found["kl"].item() == pytest.approx(k3, rel=1e-3, abs=1e-7)
    assert found["kl"].item() > 0


def test_fresh_data_is_of_the_present_policy_and_of_other_games():
    agent, _ = trained(configured(*FRESH, "algo.recurrent=true"))
    data = agent.fresh.generate()
    assert data.size == 32
    batch = data.take(*data.newest(32, 8), 8, HEADS)
    assert (agent.evaluate(batch)[1] - 1).abs().max() < 1e-4
    assert (agent.evaluate(agent.sample("replay"))[1] - 1).abs().max() > 1e-3
    mine, other = (set(map(bytes, x.fields["obs"].flatten(0, 1).numpy())) for x in (data, agent.replay))
    assert not mine & other
    again = agent.fresh.generate()
    assert not torch.equal(again.fields["obs"], data.fields["obs"])


def test_the_halves_share_no_actor(monkeypatch):
    agent, _ = trained(configured(*FRESH, "env.num_envs=5", "algo.batch_size=40"))
    assert agent.fresh.halves == (range(2), range(2, 5))
    seen = []
    monkeypatch.setattr(agent.replay, "sample", lambda n, length, g, heads, actors: seen.append((n, actors)))
    monkeypatch.setattr(Dapo, "to_device", lambda self, batch: batch)
    part = {"gradient": torch.ones(2), "square": torch.tensor(1.0), "kl": torch.tensor(0.0)}
    monkeypatch.setattr(probes, "_advantage_gradient", lambda *_: part)
    agent.fresh.compare(agent)
    assert seen == [(2 * 3, range(2)), (3 * 3, range(2, 5))]  # 25 of 128 steps per actor: 3 roll-outs of 8


def comparisons(shift: float) -> dict[str, float]:
    """Means of five comparisons of an untrained policy, shifted after the replay was filled."""
    chain = ["env=tabular", "env.task=chain", "algo.burn_in=1_000_000_000", "algo.replay_capacity=1024"]
    agent, _ = trained(configured(*chain, "algo.fresh_every=1", "algo.fresh_steps=2048", steps=4096))
    agent.net.policy.bias.data = torch.tensor([shift, -shift])
    agent.fresh.generate()  # play gets under way
    rows = [agent.fresh.compare(agent) for _ in range(5)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def test_where_the_policy_stays_there_is_no_bias():
    mean = comparisons(0.0)
    assert abs(mean["fresh_bias2"]) < mean["fresh_noise2"]
    assert abs(mean["fresh_kl"]) < 1e-6


def test_where_the_policy_has_moved_far_there_is_bias_above_the_noise():
    mean = comparisons(1.0)
    assert mean["fresh_bias2"] > 2 * mean["fresh_noise2"]
    assert mean["fresh_kl"] == pytest.approx(0.327, abs=0.02)  # of (0.881, 0.119) to (0.5, 0.5), nats


def test_a_comparison_that_cannot_be_made_is_refused():
    with pytest.raises(UserError, match=r"algo.fresh_steps is 31; allowed: 32 and more"):
        configured("algo.fresh_every=1", "algo.fresh_steps=31")
    with pytest.raises(UserError, match=r"env.num_envs is 1; allowed: 2 and more with algo.fresh_every"):
        configured(*FRESH, "env.num_envs=1")
