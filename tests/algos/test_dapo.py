"""The update rule and the schedule of DAPO, on the shipped class."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from dapo_cases import Scripted, configured, train_scripted, trained

from bench import algos, compose, envs, seeding
from bench.algos import probes
from bench.algos.dapo import Dapo
from bench.errors import DivergedError
from bench.loop import interact

# --- identities ----------------------------------------------------------------------------------------------------


def test_before_the_policy_moves_da_and_ppo_take_the_same_step():
    one_update = ["algo.updates_per_version=1", "algo.reuse=1.0"]
    da, _ = trained(configured("algo=dapo", *one_update, steps=32))
    ppo, _ = trained(configured("algo=ppo", *one_update, steps=32))
    assert da.updates == ppo.updates == 1
    assert da.parameters_sha256() == ppo.parameters_sha256()


def test_once_the_policy_has_moved_da_and_ppo_differ():
    da, _ = trained(configured("algo=dapo", steps=64))
    ppo, _ = trained(configured("algo=ppo", steps=64))
    assert da.parameters_sha256() != ppo.parameters_sha256()


def test_one_step_and_multi_step_divergence_differ():
    full, _ = trained(configured("algo=dapo"))
    one, _ = trained(configured("algo=dapo", "algo.horizon=0"))
    assert full.parameters_sha256() != one.parameters_sha256()


# As good as no learning, roll-outs that cross episodes, and a policy head large enough for every state to matter.
FROZEN = ["algo.recurrent=true", "algo.learning_rate=1e-30", "algo.updates_per_version=1", "algo.reuse=1.0"]


def recomputed_error(agent_class: type[Dapo], *env_overrides: str) -> float:
    config = configured(*FROZEN, *env_overrides, steps=640)
    env = envs.make(config.env, 1)
    agent = agent_class(config, env)
    torch.nn.init.orthogonal_(agent.net.policy.weight, 10.0)
    for _ in interact(env, agent, seeding.env_seeds(0, env.num_envs), config.steps):
        pass
    env.close()
    batch = agent.to_device(agent.replay.sample(64, 8, agent.generators["replay"], ("h", "c")))
    assert (batch["discount"][:-1] == 0).any(), "a roll-out must cross an end for this to prove anything"
    log_pi = agent.evaluate(batch)[0]
    return ((log_pi - batch["log_mu"]) * batch["weight"]).abs().max().item()


@pytest.mark.parametrize("env", [["env=classic"], ["env=atari", "env.task=Breakout"]])
def test_the_learner_recomputes_the_stored_probabilities_of_the_unchanged_policy(env):
    assert recomputed_error(Dapo, *env) < 1e-4


class StateAfterStep(Dapo):
    """Planted fault, the released code's: stores the LSTM state after the step."""

    def act(self, obs, start):
        action = super().act(obs, start)
        self.actor.steps[-1].update(h=self.actor.state[0], c=self.actor.state[1])
        return action


class NoStarts(Dapo):
    """Planted fault, the released code's: start flags never reach the learner."""

    def act(self, obs, start):
        action = super().act(obs, start)
        self.actor.steps[-1]["start"] = torch.zeros(len(start), dtype=torch.bool)
        return action


@pytest.mark.parametrize("fault", [StateAfterStep, NoStarts])
def test_a_wrong_state_or_a_missing_start_shows_in_the_recomputed_probabilities(fault):
    assert recomputed_error(fault, "env=classic") > 1e-3


def test_the_loss_of_a_batch_equals_the_formula_written_out():
    agent, _ = trained(configured("algo=dapo", steps=320))
    batch = agent.sample("replay")
    cfg = agent.config
    with torch.no_grad():
        log_pi, ratio, v, _ = agent.evaluate(batch)
        v_target, advantage = agent.value_targets(batch, v, ratio)
        d = agent.divergence(batch, log_pi, ratio)
        scaled = agent.scaled(advantage, batch["weight"])
        loss = agent.policy_loss(log_pi, ratio, scaled, d, batch["weight"])
    T, N = v.shape
    x = {name: value.double().numpy() for name, value in batch.items() if name in ("r", "discount", "ret", "log_mu")}
    f = (log_pi - batch["log_mu"]).double().numpy()
    w, val = np.exp(f), v.double().numpy()
    for n in range(N):
        target = np.zeros(T)
        target[-1] = val[-1, n] + min(1, w[-1, n]) * (x["ret"][-1, n] - val[-1, n])
        q = np.zeros(T)
        q[-1] = x["ret"][-1, n]
        for i in range(T - 2, -1, -1):
            g, c = x["discount"][i, n], min(1, w[i, n])
            target[i] = (
                val[i, n] + c * (x["r"][i, n] + g * val[i + 1, n] - val[i, n]) + g * c * (target[i + 1] - val[i + 1, n])
            )
            q[i] = x["r"][i, n] + g * target[i + 1]
        np.testing.assert_allclose(v_target[:, n], target, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(advantage[:, n], q - val[:, n], rtol=2e-5, atol=2e-5)
        for i in range(T):
            total, weight = f[i, n], 1.0
            for j in range(i + 1, T):
                weight *= x["discount"][j - 1, n]
                total += weight * min(1, w[j, n]) * f[j, n]
                weight *= min(0.5, w[j, n])
            assert d[i, n].item() == pytest.approx(total, abs=1e-5)
    a = advantage.double().numpy()
    expected = a / (np.sqrt((a**2).mean()) + 1e-4) - cfg.inv_eta * d.double().numpy()
    surrogate = np.minimum(w * expected, w.clip(0.8, 1.2) * expected)
    assert loss.item() == pytest.approx(-surrogate.mean(), abs=1e-5)


def test_stored_returns_are_td_lambda_returns_of_the_behaviour_values():
    agent = Dapo(configured(), Scripted(4, 1000, truncates=False))
    env = Scripted(4, 1000, truncates=False)
    obs, start = env.reset(np.arange(4)), np.ones(4, bool)
    for _ in range(8):
        action = agent.act(obs, start)
        step = env.step(action)
        values = [s["v"] for s in agent.actor.steps]
        agent.observe(obs, action, start, step)
        obs, start = step.obs, np.zeros(4, bool)
    v = torch.stack(values)[:, 0].tolist()  # the observation never changes, nor does the value before the update
    expected = v[0]
    returns = []
    for _ in range(8):
        expected = 1.0 + 0.99 * (0.1 * v[0] + 0.9 * expected)
        returns.append(expected)
    np.testing.assert_allclose(agent.replay.fields["ret"][:8, 0], returns[::-1], rtol=1e-5)


# --- ends and forced steps -------------------------------------------------------------------------------------------

VALUE = [
    "algo.gamma=0.5",
    "algo.value_coef=1.0",
    "algo.learning_rate=1e-2",
    "algo.lr_horizon=1_000_000_000",
    "algo.max_grad_norm=1000",
]


class TruncationEnds(Dapo):
    """Planted fault: a time limit is treated as the end of the world."""

    def observe(self, obs, action, start, step):
        return super().observe(
            obs,
            action,
            start,
            step._replace(terminated=step.terminated | step.truncated, truncated=np.zeros_like(step.truncated)),
        )


def value_of(agent: Dapo) -> float:
    obs = torch.ones(1, 1, 1)
    return agent.net(obs, agent.net.initial_state(1), torch.zeros(1, 1, dtype=torch.bool))[1].item()


def test_a_time_limit_bootstraps_so_that_a_never_ending_task_keeps_its_value():
    agent = train_scripted(Scripted(4, 4, truncates=True), configured(*VALUE, steps=3200))
    assert value_of(agent) == pytest.approx(2.0, abs=0.05)  # 1 / (1 - gamma)


def test_a_time_limit_taken_for_an_end_drops_the_value():
    agent = train_scripted(Scripted(4, 4, truncates=True), configured(*VALUE, steps=3200), TruncationEnds)
    # one observation for all four steps: the mean of 1, 1.5, 1.75 and 1.875
    assert value_of(agent) < 1.7


def test_a_real_end_does_not_bootstrap():
    agent = train_scripted(Scripted(4, 4, truncates=False), configured(*VALUE, steps=3200))
    assert value_of(agent) < 1.7


def test_what_happens_in_forced_steps_teaches_nothing():
    config = configured(steps=320)
    quiet = train_scripted(Scripted(4, 8, truncates=False, forced=3, forced_reward=0.0), config)
    loud = train_scripted(Scripted(4, 8, truncates=False, forced=3, forced_reward=100.0), config)
    assert quiet.parameters_sha256() == loud.parameters_sha256()


class ForcedCounts(Dapo):
    """Planted fault: forced steps are learnt from."""

    def observe(self, obs, action, start, step):
        return super().observe(obs, action, start, step._replace(acted=np.ones_like(step.acted)))


def test_a_learner_that_counts_forced_steps_is_told_apart():
    config = configured(steps=320)
    quiet = train_scripted(Scripted(4, 8, truncates=False, forced=3, forced_reward=0.0), config, ForcedCounts)
    loud = train_scripted(Scripted(4, 8, truncates=False, forced=3, forced_reward=100.0), config, ForcedCounts)
    assert quiet.parameters_sha256() != loud.parameters_sha256()


# --- schedule ------------------------------------------------------------------------------------------------------


def test_every_version_makes_m_updates_and_keeps_the_reuse():
    agent, rows = trained(configured(steps=320))
    assert [row["updates"] for row in rows] == [7 * k for k in range(1, 11)]
    assert rows[-1]["reuse"] == 7.0
    assert agent.trained == 7 * 320


def test_a_rest_of_a_version_is_trained_on_in_proportion():
    agent, rows = trained(configured(steps=320 + 16))  # half a version: 4 of 8 steps per actor
    assert rows[-1]["updates"] == 70 + 3  # floor(7 / 2)
    assert agent.generated == 336


def test_nothing_is_learnt_during_the_burn_in():
    _, rows = trained(configured("algo.burn_in=96", steps=320))
    assert [row["step"] if "step" in row else row["version"] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_learning_rate_falls_with_trained_steps_and_not_with_the_length_of_the_run():
    _, short = trained(configured("algo.lr_horizon=4480", steps=160))
    _, long = trained(configured("algo.lr_horizon=4480", steps=320))
    assert [row["lr"] for row in short] == [row["lr"] for row in long][:5]
    assert long[-1]["lr"] == pytest.approx(0.003 * 0.5)


def test_staleness_is_that_of_a_learner_running_beside_its_actors():
    # The replay holds K versions. Age in the asynchronous original is uniform on [0, K M], mean K M / 2; here the
    # K versions are 0 .. K - 1 publications old, plus the updates since the last: (K - 1) M / 2 + (M - 1) / 2.
    agent, rows = trained(configured("algo.replay_capacity=64", "algo.rollout_length=8", steps=3200))
    k, m = 64 // agent.collect, 7
    measured = np.mean([row["staleness"] for row in rows[20:]])
    assert measured == pytest.approx((k - 1) * m / 2 + (m - 1) / 2, rel=0.05)
    assert measured == pytest.approx(k * m / 2, rel=0.07)


def test_the_papers_setting_generates_896_steps_per_actor_and_version():
    config = compose.to_run_config(compose.compose(["hparams=dapo_neurips2019"]))
    assert config.algo.collect_per_env(config.env.num_envs) == 896


def test_measuring_the_gradients_variance_does_not_change_the_run():
    measured, rows = trained(configured("algo.diagnostics_every=1"))
    unmeasured, _ = trained(configured("algo.diagnostics_every=0"))
    assert all(row["pg_var"] > 0 for row in rows)
    assert measured.parameters_sha256() == unmeasured.parameters_sha256()


def test_the_policy_that_acts_does_not_change_within_a_version():
    config = configured(steps=320)
    env = envs.make(config.env, 1)
    agent = algos.make(config, env)
    hashes = []
    for event in interact(env, agent, seeding.env_seeds(0, 4), 128):
        hashes.append((agent.parameters_sha256(), bool(event.metrics)))
    env.close()
    for (before, _), (after, learnt) in pairwise(hashes):
        assert (before != after) == learnt


# --- randomness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [["env=classic"], ["env=tabular"], ["env=classic", "algo.recurrent=true"]])
def test_the_same_seed_gives_the_same_parameters_bit_for_bit(task):
    torch.set_num_threads(1)
    first, _ = trained(configured(*task))
    torch.rand(7)  # global state must not matter
    np.random.rand(7)
    second, _ = trained(configured(*task))
    assert first.parameters_sha256() == second.parameters_sha256()


def test_another_seed_gives_other_parameters():
    assert trained(configured("seed=1"))[0].parameters_sha256() != trained(configured("seed=2"))[0].parameters_sha256()


def test_the_gradients_variance_is_the_sample_variance_over_roll_outs():
    agent, _ = trained(configured("algo=dapo"))
    state = agent.generators["diagnostics"].get_state()
    measured = probes.variances(agent)
    agent.generators["diagnostics"].set_state(state)
    batch = agent.sample("diagnostics")
    log_pi, ratio, v, _ = agent.evaluate(batch)
    _, advantage = agent.value_targets(batch, v, ratio)
    for name, horizon in (("", None), ("_full", None), ("_1step", 0)):
        d = agent.sampled_divergence(batch, log_pi, ratio, horizon)
        b = agent.scaled(advantage, batch["weight"]) - agent.config.inv_eta * d
        assert measured[f"pg_var{name}"] == pytest.approx(variance_over_rollouts(agent, ratio, b), rel=1e-4)
    assert measured["pg_var_1step"] != measured["pg_var_full"]


def variance_over_rollouts(agent: Dapo, ratio: torch.Tensor, b: torch.Tensor) -> float:
    gradients = []
    for n in range(b.shape[1]):  # the loss of one roll-out, cut out of the batch
        surrogate = torch.minimum(ratio[:, n] * b[:, n], ratio[:, n].clamp(0.8, 1.2) * b[:, n])
        grads = torch.autograd.grad(
            -surrogate.mean(), list(agent.net.parameters()), retain_graph=True, allow_unused=True
        )
        gradients.append(torch.cat([g.flatten() for g in grads if g is not None]))
    return torch.stack(gradients).var(dim=0).sum().item()


def test_a_run_whose_gradient_is_no_number_stops_and_says_when():
    with pytest.raises(DivergedError, match=r"^grad_norm is nan after \d+ updates of the policy$"):
        trained(configured("algo.learning_rate=1e30", "algo.lr_horizon=1_000_000_000", "algo.diagnostics_every=0"))
