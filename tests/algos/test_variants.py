"""The other losses, the other sampling, IMPALA and A2C."""

from collections import Counter

import numpy as np
import pytest
import torch
from dapo_cases import SMALL, configured, trained

from bench import compose, envs, seeding
from bench.algos.dapo import Dapo
from bench.errors import UserError
from bench.loop import interact
from bench.ops import losses
from bench.ops.returns import action_returns


class Spy(Dapo):
    """Keeps the batches of every version."""

    def _learn(self):
        self.versions = [*getattr(self, "versions", []), []]
        return super()._learn()

    def _update(self, batch):
        self.versions[-1].append((batch, self.evaluate(batch)))
        return super()._update(batch)


def preset(*overrides: str, steps: int = 2048) -> compose.RunConfig:
    return compose.to_run_config(compose.compose([*overrides, f"steps={steps}", "algo.diagnostics_every=0"]))


# --- every roll-out once ---------------------------------------------------------------------------------------------

ONCE = ["algo.sampling=once", "algo.reuse=1.0", "algo.updates_per_version=4"]


def steps_of(batches: list) -> Counter:
    return Counter(row.numpy().tobytes() for batch, _ in batches for row in batch["obs"].flatten(0, 1))


def test_once_trains_on_every_step_of_the_newest_version_once_in_random_order():
    agent, rows = trained(configured(*ONCE, steps=320), Spy)
    assert len(rows) == 320 // 128 + 1
    orders = []
    for batches in agent.versions[:2]:
        counts = steps_of(batches)
        assert len(batches) == 4
        assert sum(counts.values()) == 128
        assert set(counts.values()) == {1}
        orders.append([batch["obs"][0, n, 0].item() for batch, _ in batches for n in range(4)])
    assert not steps_of(agent.versions[0]) & steps_of(agent.versions[1])
    assert orders[0] != sorted(orders[0])
    assert rows[-1]["reuse"] == 1.0


def test_once_trains_on_the_rest_of_a_run_with_smaller_batches():
    # 128 steps make a version; 56 more are 14 per actor: one whole roll-out of 8 each, 6 steps left out
    agent, rows = trained(configured(*ONCE, "algo.batch_size=24", "algo.updates_per_version=4", steps=96 + 56), Spy)
    assert [len(batches) for batches in agent.versions] == [4, 2]
    assert [batch["obs"].shape[1] for batch, _ in agent.versions[1]] == [3, 1]
    assert agent.trained == 96 + 32
    assert rows[-1]["updates"] == 6


def test_once_makes_no_update_of_a_rest_shorter_than_a_rollout():
    agent, rows = trained(configured(*ONCE, steps=128 + 12), Spy)
    assert len(rows) == 1
    assert agent.updates == 4


def test_once_keeps_no_more_than_the_newest_version():
    agent, _ = trained(configured(*ONCE, steps=320))
    assert agent.replay.capacity == 32


def test_uniform_sampling_repeats_steps():
    agent, _ = trained(configured(steps=64), Spy)
    assert max(steps_of(agent.versions[0]).values()) > 1


def test_once_without_whole_batches_is_refused():
    with pytest.raises(UserError, match=r"algo.sampling is 'once'; allowed: uniform; once needs reuse 1"):
        configured("algo.sampling=once")


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["inside", "outside", "unclipped", "actor_critic"])
def test_the_configured_policy_loss_is_taken(form):
    agent, _ = trained(configured(f"algo.policy_loss={form}", steps=96))
    g = torch.Generator().manual_seed(0)
    log_pi, log_mu, a, d = (torch.randn(5, 3, generator=g) for _ in range(4))
    w, one = torch.exp(log_pi - log_mu), torch.ones(5, 3)
    expected = {
        "inside": losses.ppo_clip(w, a - 0.5 * d, clip=0.2, weight=one),
        "outside": losses.outside_loss(w, a, d, inv_eta=0.5, clip=0.2, weight=one),
        "unclipped": losses.unclipped_loss(w, a - 0.5 * d, weight=one),
        "actor_critic": losses.actor_critic_loss(log_pi, w, a - 0.5 * d, rho_bar=1.0, weight=one),
    }
    assert agent.policy_loss(log_pi, w, a, d, one) == expected[form]
    assert len({value.item() for value in expected.values()}) == 4


def test_the_advantage_is_left_alone_where_it_is_not_normalised():
    agent, _ = trained(configured("algo.normalise_advantage=false", steps=32))
    a = torch.tensor([[3.0, -4.0]])
    assert torch.equal(agent.scaled(a, torch.ones(1, 2)), a)


def test_the_value_loss_is_weighted_only_where_it_is_asked_for():
    for weighted in (True, False):
        agent, _ = trained(configured(f"algo.weight_values={weighted}", steps=320))
        batch = agent.sample("replay")
        _, ratio, v, _ = agent.evaluate(batch)
        target, _ = agent.value_targets(batch, v, ratio)
        w = ratio.clamp(max=3.0) if weighted else 1.0
        expected = 0.5 * (w * (v - target) ** 2).mean().item()
        assert agent.loss(batch)[1]["loss_value"].item() == pytest.approx(expected, rel=1e-5)
        assert (ratio - 1).abs().max() > 0.01


@pytest.mark.parametrize("name", ["reverse_kl", "hellinger", "tv", "zero_potential"])
def test_every_divergence_makes_a_run_of_its_own(name):
    other, _ = trained(configured(f"algo.divergence={name}", steps=96))
    plain, _ = trained(configured(steps=96))
    assert other.parameters_sha256() != plain.parameters_sha256()


def test_the_one_step_form_of_a_divergence_without_one_is_refused():
    sentence = "algo.horizon is 0; allowed: null or 1 and more with algo.divergence=entropy, which has no 1-step form"
    with pytest.raises(UserError, match=sentence):
        configured("algo.divergence=entropy", "algo.horizon=0")
    configured("algo.divergence=entropy", "algo.horizon=1")


# --- IMPALA and A2C --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", ["classic", "tabular", "atari"])
@pytest.mark.parametrize("algo", ["impala", "a2c"])
def test_the_actor_critics_compose_out_of_the_box(algo, env):
    config = preset(f"algo={algo}", f"env={env}")
    algo_config, n = config.algo, config.env.num_envs
    assert algo_config.reuse == 1
    trained_per_version = algo_config.updates_per_version * algo_config.batch_size
    assert n * algo_config.collect_per_env(n) == trained_per_version
    assert (algo_config.updates_per_version == 1) == (algo == "a2c")


def test_other_algorithms_are_not_touched_by_the_presets_of_the_actor_critics():
    for algo in ("dapo", "ppo"):
        config = preset(f"algo={algo}", "env=classic").algo
        assert (config.reuse, config.updates_per_version, config.sampling) == (7.0, 28, "uniform")


def test_in_a2c_the_ratio_is_one_and_v_trace_is_the_n_step_return():
    agent, rows = trained(preset("algo=a2c", "env=classic"), Spy)
    assert all(row["ratio"] == pytest.approx(1, abs=1e-6) for row in rows)
    assert all(row["staleness"] == 0 for row in rows)
    crossed = 0
    for batch, (log_pi, ratio, v, _) in (batches[0] for batches in agent.versions):
        target, a = agent.value_targets(batch, v, torch.ones_like(ratio))
        assert (log_pi - batch["log_mu"]).abs().max() < 1e-5
        value = batch["ret"][-1]  # r + gamma V(after), lambda = 0
        for i in range(len(v) - 1, -1, -1):
            value = value if i == len(v) - 1 else batch["r"][i] + batch["discount"][i] * value
            torch.testing.assert_close(target[i], value, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(a[i], value - v[i].detach(), rtol=1e-4, atol=1e-4)
        crossed += int((batch["discount"] == 0).sum())
    assert crossed > 10


def test_the_gradient_of_an_a2c_update_is_that_of_its_textbook_loss():
    agent, _ = trained(preset("algo=a2c", "env=classic"), Spy)
    batch = agent.versions[-1][0][0]
    log_pi, ratio, v, entropy = agent.evaluate(batch)
    target, a = agent.value_targets(batch, v, ratio)
    # the policies of versions differ: of the last one the ratio is no longer 1, so it is put back
    ones = torch.ones_like(ratio)
    loss = agent.policy_loss(log_pi, ones, agent.scaled(a, ones), torch.zeros_like(a), batch["weight"])
    assert loss.item() == pytest.approx(-(a * log_pi).mean().item(), rel=1e-5)
    assert torch.equal(agent.scaled(a, ones), a)
    q = action_returns(batch["r"], batch["discount"], target, batch["ret"][-1])
    torch.testing.assert_close(a, q - v.detach())
    total, metrics = agent.loss(batch)
    cfg = agent.config
    value = 0.5 * ((v - target) ** 2).mean()
    assert metrics["loss_value"].item() == pytest.approx(value.item(), rel=1e-5)
    expected = metrics["loss_policy"] + cfg.value_coef * value - 0.01 * entropy.mean()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_impala_trains_on_data_of_its_own_version_up_to_three_updates_old():
    agent, rows = trained(preset("algo=impala", "env=classic"), Spy)
    assert [len(batches) for batches in agent.versions] == [4] * 4
    assert all(row["staleness"] == 1.5 for row in rows)
    assert rows[-1]["reuse"] == 1.0
    assert any(abs(row["ratio"] - 1) > 1e-4 for row in rows)


def test_a_divergence_weight_is_refused_with_a_baseline():
    with pytest.raises(UserError, match=r"algo.inv_eta is 0.5; allowed: 0 with algo=a2c"):
        preset("algo=a2c", "env=classic", "algo.inv_eta=0.5")


# --- the policy as a table -------------------------------------------------------------------------------------------


def test_the_policy_is_that_which_acts_in_double_precision():
    config = compose.to_run_config(compose.compose([*SMALL, "env=tabular", "env.task=garnet_small", "steps=96"]))
    env = envs.make(config.env, 1)
    agent = Dapo(config, env)
    states, tables = np.eye(5, dtype=np.float32), []
    for event in interact(env, agent, seeding.env_seeds(0, 4), 96):
        tables += [agent.policy(states)] if event.generated == 4 or event.metrics else []
    table = tables[-2]  # published after the second version, it acted in the third
    assert table.dtype == np.float64
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-14)
    newest = agent.replay.take(*agent.replay.newest(8, 8), 8)
    s, a = newest["obs"].argmax(-1).numpy(), newest["action"].numpy()
    np.testing.assert_allclose(np.log(table)[s, a], newest["log_mu"], atol=1e-6)
    assert np.abs(tables[-1] - table).max() > 1e-4


def test_a_policy_with_an_lstm_is_no_function_of_the_observation():
    agent, _ = trained(configured("algo.recurrent=true", steps=32))
    with pytest.raises(ValueError, match="depends on more than the observation"):
        agent.policy(np.zeros((1, 4), np.float32))
