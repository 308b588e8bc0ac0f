"""DPO: what every switch does, exactly, and that nothing else moves."""

import math

import numpy as np
import pytest
import torch
from dpo_cases import (
    LEARNERS,
    SMALL,
    Scripted,
    configured,
    equal,
    make_constant,
    parameters_of,
    play,
    scripted,
    trained,
)
from resume_cases import Play, restored, through_file

from bench import algos, compose
from bench.algos import dpo, dpo_values
from bench.algos.learners import standardise
from bench.envs.base import Step
from bench.ops.returns import uae
from bench.precision import Working

HALF = ["algo.gamma=0.5", "algo.critic=mse", "algo.residual=false"]  # the one state is worth 1 / (1 - 0.5) = 2


def collected(agent, env, steps):
    """The agent's roll-out after some steps of an iteration."""
    play(agent, env, steps)
    return agent.collector.take()


def whole_replay(agent):
    return {name: field[: agent.replay.size].flatten(0, 1) for name, field in agent.replay.fields.items()}


def inverse_softplus(y: float) -> float:
    return math.log(math.expm1(y))


# --- time limits ------------------------------------------


@pytest.mark.parametrize("advantage", ["uae", "gae"])
def test_the_estimates_of_a_true_critic_do_not_see_a_time_limit(advantage):
    env = Scripted(2, one_state=True)
    agent = scripted("dpo", env, *HALF, f"algo.advantage={advantage}", "algo.nu=0.0", "algo.lam=1.0")
    rollout = collected(agent, env, 6)
    make_constant(agent.values.critic, 2.0)
    estimates, returns, _ = agent.estimate(rollout)
    assert estimates[:, 0].tolist() == [0] * 6
    assert returns[:, 0, 0].tolist() == [2] * 6


@pytest.mark.parametrize("advantage", ["uae", "gae"])
def test_a_time_limit_taken_for_an_end_lowers_the_estimates(advantage):
    env = Scripted(2, one_state=True, terminates=True)
    agent = scripted("dpo", env, *HALF, f"algo.advantage={advantage}", "algo.nu=0.0", "algo.lam=1.0")
    rollout = collected(agent, env, 6)
    make_constant(agent.values.critic, 2.0)
    estimates, returns, _ = agent.estimate(rollout)
    assert estimates[:, 0].tolist() == [-0.5, -1] * 3
    assert returns[:, 0, 0].tolist() == [1.5, 1] * 3


@pytest.mark.parametrize(("terminates", "loss"), [(False, 0.0), (True, 0.5)])  # every other target is 1, not 2
def test_the_critics_target_of_a_cut_step_keeps_the_future(terminates, loss):
    env = Scripted(2, one_state=True, terminates=terminates)
    agent = scripted("dpo", env, *HALF)
    play(agent, env, 6)
    make_constant(agent.values.critic, 2.0)
    make_constant(agent.values.target, 2.0)
    batch = whole_replay(agent)
    assert agent.values.critic_loss(batch, batch["u"]).item() == loss


@pytest.mark.parametrize(("terminates", "value"), [(False, 2.0), (True, 4 / 3)])  # 4/3 = 1 + 0.5 (1/2) 4/3
def test_the_critic_learns_what_an_endless_task_is_worth_only_if_limits_bootstrap(terminates, value):
    env = Scripted(2, one_state=True, terminates=terminates)
    agent = scripted(
        "dpo", env, *HALF, "algo.learning_rate=0.01", "algo.tau=0.1", "algo.learner.steps=500", "algo.lam=0.0",
        "algo.batch_size=32", steps=500,
    )  # fmt: skip
    play(agent, env, 500)
    batch = whole_replay(agent)
    assert agent.values.value(agent.values.critic, batch["x"], batch["u"])[0].mean().item() == pytest.approx(
        value, abs=0.1
    )


# --- the true last observation, and the released code's departures ---


@pytest.mark.parametrize(("switch", "x_next"), [("false", [1, 2, 3, 1]), ("true", [1, 2, 0, 1])])
def test_replay_keeps_the_true_last_observation_or_as_released_the_next_episodes_first(switch, x_next):
    env = Scripted(3)
    agent = scripted("dpo", env, f"algo.released.reset_next_state={switch}")
    play(agent, env, 4)
    kept = whole_replay(agent)
    assert kept["x"][:, 0].tolist() == [0, 1, 2, 0]
    assert kept["x_next"][:, 0].tolist() == x_next
    assert kept["done"].tolist() == [0] * 4


def value_is_the_observation(x, code):
    return x[..., :1].expand(*code.shape[:-1], 1)


@pytest.mark.parametrize(("switch", "cut"), [("false", 1 + 0.5 * 3), ("true", 1)])
def test_a_cut_step_bootstraps_at_its_last_observation_or_as_released_at_zeros(switch, cut):
    env = Scripted(3)  # observations 0, 1, 2 and 3 at the cut
    settings = ["algo.nu=0.0", "algo.lam=0.0", f"algo.released.zero_final_state={switch}"]
    agent = scripted("dpo", env, *HALF, *settings)
    rollout = collected(agent, env, 4)
    agent.values.working["critic"].net = value_is_the_observation
    assert agent.estimate(rollout)[1][:, 0, 0].tolist() == [1 + 0.5 * 1, 1 + 0.5 * 2, cut, 1 + 0.5 * 1]


@pytest.mark.parametrize("advantage", ["uae", "gae"])
def test_each_cut_copy_gets_the_value_of_its_own_last_observation(advantage):
    class Uneven(Scripted):
        def _obs(self, t):
            return super()._obs(t) * np.array([[1.0], [8.0]], np.float32)

    env = Uneven(2, num_envs=2)
    agent = scripted("dpo", env, *HALF, "algo.nu=0.0", "algo.lam=0.0", f"algo.advantage={advantage}")
    rollout = collected(agent, env, 8)
    agent.values.working["critic"].net = value_is_the_observation
    assert agent.estimate(rollout)[1][..., 0].tolist() == [[1.5, 5], [2, 9], [1.5, 5], [2, 9]]


def sum_of_code(x, code):
    return code.sum(-1, keepdim=True)


def test_the_baseline_averages_over_actions_of_the_environment_or_as_released_of_the_unit_interval():
    env, x, b = Scripted(3), torch.zeros(5, 1), {}
    for switch in ("false", "true"):
        agent = scripted("dpo", env, *HALF, f"algo.released.unscaled_baseline_actions={switch}")
        agent.values.working["critic"].net = sum_of_code
        b[switch], _ = agent.values.baseline(x, torch.Generator().manual_seed(1))
    assert torch.allclose(b["false"], -2 + 8 * b["true"])
    assert 0 < b["true"].min() < b["true"].max() < 1


def test_unscaled_baseline_actions_change_the_baseline_and_nothing_else():
    env, result = Scripted(3), {}
    for switch in ("false", "true"):
        agent = scripted("dpo", env, "algo.utd=0.0", "algo.nu=0.0", f"algo.released.unscaled_baseline_actions={switch}")
        result[switch] = agent.estimate(collected(agent, env, 16))
    (a, returns, metrics), (a_released, returns_released, metrics_released) = result["false"], result["true"]
    assert torch.allclose(returns, returns_released, atol=1e-5)  # the SARSA(lambda) return has no baseline
    assert (a - a_released).abs().min() > 1e-4
    assert {name for name in metrics if metrics[name] != metrics_released[name]} <= {"advantage_rms", "baseline_gap"}


# --- baseline ------------------------------------------


def drawn(agent, x, seed):
    raw = agent.policy_net(x)
    return agent.policy_net.family.sample(raw.expand(4, *raw.shape), torch.Generator().manual_seed(seed))


def test_without_a_residual_the_baseline_is_the_mean_of_q_over_drawn_actions():
    env, x = Scripted(3), torch.arange(5.0)[:, None]
    agent = scripted("dpo", env, "algo.residual=false")
    q = torch.stack([agent.values.value(agent.values.critic, x, u)[0] for u in drawn(agent, x, 1)])
    assert q.std(0).min() > 0
    assert torch.allclose(agent.values.baseline(x, torch.Generator().manual_seed(1))[0], q.mean(0))


@pytest.mark.parametrize("g", [0.0, 1.0])
def test_a_constant_residual_scales_that_mean(g):
    env, x = Scripted(3), torch.arange(5.0)[:, None]
    agent = scripted("dpo", env)
    make_constant(agent.values.residual, g)
    q = torch.stack([agent.values.value(agent.values.critic, x, u)[0] for u in drawn(agent, x, 1)])
    assert torch.allclose(agent.values.baseline(x, torch.Generator().manual_seed(1))[0], (1 + g) * q.mean(0))


def test_fitting_the_baseline_moves_the_residual_alone():
    env = Scripted(3)
    agent = scripted("dpo", env)
    play(agent, env, 16)
    others, residual = (
        parameters_of(agent.policy_net, agent.values.critic, agent.values.target),
        parameters_of(agent.values.residual),
    )
    agent.values.fit_baseline(*agent._replayed("baseline"))
    assert equal(others, parameters_of(agent.policy_net, agent.values.critic, agent.values.target))
    assert not equal(residual, parameters_of(agent.values.residual))


def test_a_baseline_is_the_same_however_many_states_are_computed_at_once(monkeypatch):
    agent, x = scripted("dpo", Scripted(3), *HALF), torch.arange(6.0)[:, None]
    make_constant(agent.values.critic, 3.0)
    monkeypatch.setattr(dpo_values, "CHUNK", 4)
    assert agent.values.baselines(x, agent.generators["improve"])[0].tolist() == [3] * 6


# --- estimates ------------------------------------------


def test_nu_mixes_q_less_the_baseline_with_the_unified_estimate(monkeypatch):
    env, found = Scripted(3), {}
    for nu in (0.0, 0.25, 1.0):
        agent = scripted("dpo", env, "algo.critic=mse", "algo.utd=0.0", f"algo.nu={nu}")
        rollout = collected(agent, env, 7)
        monkeypatch.setattr(agent.values, "baseline", lambda x, generator: (0.5 * x[:, 0], 2 * x[:, 0]))
        before = agent.generators["improve"].get_state()
        found[nu], returns, _ = agent.estimate(rollout)
        assert torch.allclose(returns[..., 0], found[nu] + 0.5 * rollout.x[..., 0], atol=1e-6)  # mixed as they are
        agent.generators["improve"].set_state(before)
    u_last = agent.policy_net.family.sample(agent.policy_net(rollout.x_last), agent.generators["improve"])
    x, u = torch.cat([rollout.x, rollout.x_last[None]]), torch.cat([rollout.u, u_last[None]])
    q, b = (
        agent.values.value(agent.values.critic, x.flatten(0, 1), u.flatten(0, 1))[0][:, None].detach(),
        0.5 * rollout.x[..., 0],
    )
    r = rollout.r + torch.where(rollout.cut, 0.99 * 2 * 3, 0.0)  # the mean of Q, not b, after a cut at observation 3
    direct = uae(r, rollout.discount, q, b, lam=0.95)
    assert torch.allclose(found[1.0], q[:-1] - b, atol=1e-6)
    assert torch.allclose(found[0.0], direct, atol=1e-6)
    assert torch.allclose(found[0.25], 0.25 * found[1.0] + 0.75 * found[0.0], atol=1e-6)


def test_particles_have_the_critics_mean_and_deviation():
    agent = scripted("dpo", Scripted(3), "algo.critic_samples=20000")
    q = agent._particles(torch.tensor([[2.0]]), torch.tensor([[0.5]]))
    assert q.shape == (1, 1, 20000)
    assert q.mean().item() == pytest.approx(2, abs=0.02)
    assert q.std().item() == pytest.approx(0.5, abs=0.02)


def test_advantages_are_standardised_for_each_environment_over_time():
    advantage = torch.tensor([[0.0, 100.0], [2.0, 100.0], [4.0, 400.0]])
    result = standardise(advantage)
    assert torch.allclose(result.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(result.std(0), torch.ones(2))
    assert torch.equal(standardise(advantage * torch.tensor([1.0, 3.0]))[:, 0], result[:, 0])


def test_the_learner_is_given_the_standardised_advantages(monkeypatch):
    env = Scripted(3, num_envs=2)
    agent = scripted("dpo", env, "algo.learner.steps=4", "algo.omega=1.0", learner="a2c")
    advantage = torch.tensor([[0.0, 100.0], [2.0, 100.0], [4.0, 400.0], [6.0, 0.0]])
    monkeypatch.setattr(agent, "estimate", lambda rollout: (advantage, torch.zeros(4, 2, 3), {}))
    given = []

    def spy(learner, log_pi, log_mu, a):
        given.extend(a.tolist())
        return -(a * log_pi).mean()

    monkeypatch.setattr(dpo, "surrogate", spy)
    play(agent, env, 8)
    assert sorted(given) == sorted(standardise(advantage).flatten().tolist())


# --- critic ------------------------------------------


def test_the_mse_critic_has_one_particle_and_no_sigma(monkeypatch):
    def never(*_, **__):
        raise AssertionError("sigma was used")

    monkeypatch.setattr(dpo_values, "gaussian_kl", never)
    monkeypatch.setattr(dpo_values, "gaussian_nll", never)
    agent, rows = trained(configured("dpo", "algo.critic=mse"))
    assert len(rows) == 3
    assert rows[-1]["q_sigma"] == 0
    assert "critic_calibration" not in rows[-1]
    env = Scripted(3)
    agent = scripted("dpo", env, "algo.critic=mse")
    assert agent.estimate(collected(agent, env, 7))[1].shape == (7, 1, 1)
    monkeypatch.undo()
    monkeypatch.setattr(dpo_values, "gaussian_kl", never)
    with pytest.raises(AssertionError, match="sigma was used"):
        trained(configured("dpo"))


def test_sigma_is_never_below_its_floor():
    agent, x, u = scripted("dpo", Scripted(3), "algo.sigma_floor=0.25"), torch.zeros(2, 1), torch.full((2, 1), 0.5)
    make_constant(agent.values.critic, 1.0, -1e4)
    assert agent.values.value(agent.values.critic, x, u)[1].tolist() == [0.25, 0.25]
    make_constant(agent.values.critic, 1.0, inverse_softplus(2.0))
    assert agent.values.value(agent.values.critic, x, u)[1].tolist() == pytest.approx([2.25, 2.25])


def test_a_fixed_sigma_is_used_as_it_is_and_learns_nothing():
    env = Scripted(3)
    agent = scripted("dpo", env, "algo.sigma_fixed=0.5", "algo.sigma_floor=0.25")
    play(agent, env, 16)
    before = agent.values.critic.body.layers[-1].weight[1].clone()
    agent.values.update_critic(*agent._replayed("critic"))
    assert agent.values.value(agent.values.critic, torch.zeros(1, 1), torch.full((1, 1), 0.5))[1].tolist() == [0.5]
    assert torch.equal(agent.values.critic.body.layers[-1].weight[1], before)


@pytest.mark.parametrize(("switch", "after_an_end"), [("false", 1.0), ("true", 0.125)])
def test_the_targets_sigma_after_an_end_is_a_switch(switch, after_an_end, monkeypatch):
    env = Scripted(2, terminates=True)
    agent = scripted("dpo", env, "algo.gamma=0.5", "algo.sigma_floor=0.125", f"algo.mask_terminal_sigma={switch}")
    play(agent, env, 4)
    make_constant(agent.values.target, 3.0, inverse_softplus(2.0 - 0.125))  # sigma' = 2
    given = {}

    def spy(mean_p, sigma_p, mean_q, sigma_q):
        given.update(mean=mean_p.tolist(), sigma=sigma_p.tolist())
        return mean_q

    monkeypatch.setattr(dpo_values, "gaussian_kl", spy)
    batch = whole_replay(agent)
    agent.values.critic_loss(batch, batch["u"])
    assert given["sigma"] == pytest.approx([1.0, after_an_end] * 2)
    assert given["mean"] == pytest.approx([2.5, 1.0] * 2)


def test_the_critics_gradient_is_zero_at_its_target_and_nowhere_near():
    env = Scripted(4, one_state=True)
    agent = scripted("dpo", env, "algo.gamma=0.5", "algo.sigma_floor=0.0")
    play(agent, env, 8)
    batch = whole_replay(agent)
    make_constant(agent.values.target, 2.0, inverse_softplus(1.0))
    gradients = []
    for mean, sigma in ((2.0, 0.5), (2.5, 0.5), (2.0, 0.75)):
        make_constant(agent.values.critic, mean, inverse_softplus(sigma))
        loss = agent.values.critic_loss(batch, batch["u"])
        gradient = torch.autograd.grad(loss, agent.values.critic.body.layers[-1].bias)[0]
        gradients.append(gradient.abs().max().item())
    assert gradients[0] < 1e-6
    assert min(gradients[1:]) > 0.1


def test_the_target_moves_by_tau_after_every_update_of_the_critic():
    env = Scripted(3)
    agent = scripted("dpo", env, "algo.tau=0.25")
    play(agent, env, 16)
    batch, generator = agent._replayed("critic")
    for update in (
        lambda: agent.values.update_critic(batch, generator),
        lambda: agent.values.fit_returns(batch["x"], batch["u"], torch.full((8, 3), 5.0)),
    ):
        target, critic = parameters_of(agent.values.target), parameters_of(agent.values.critic)
        update()
        assert not equal(critic, parameters_of(agent.values.critic))
        for old, new, source in zip(
            target, parameters_of(agent.values.target), parameters_of(agent.values.critic), strict=True
        ):
            assert torch.allclose(new, 0.75 * old + 0.25 * source, atol=1e-7)


@pytest.mark.parametrize(("utd", "updates"), [(0.0, 0), (0.5, 12), (1.0, 25), (2.0, 50)])
def test_critic_updates_per_step_begin_with_a_whole_batch(utd, updates):
    env = Scripted(3)
    agent = scripted("dpo", env, f"algo.utd={utd}", "algo.learner.steps=64")
    play(agent, env, 32)  # the 8th step fills a batch: 25 steps are followed by updates
    assert agent.values.updates == updates


# --- the two losses of the policy ------------------------------------------


def never_called(*_, **__):
    raise AssertionError("it was called")


@pytest.mark.parametrize("learner", ["ppo", "a2c", "trpo"])
def test_omega_one_has_no_off_policy_loss(learner, monkeypatch):
    monkeypatch.setattr(dpo.Dpo, "off_policy_loss", never_called)
    _, rows = trained(configured("dpo", "algo.omega=1.0", learner=learner))
    assert len(rows) == 3
    assert "loss_off" not in rows[0]
    with pytest.raises(AssertionError, match="it was called"):
        trained(configured("dpo", "algo.omega=0.75", learner=learner))


@pytest.mark.parametrize(("learner", "name"), [("ppo", "surrogate"), ("a2c", "surrogate"), ("trpo", "natural_step")])
def test_omega_zero_has_no_on_policy_loss(learner, name, monkeypatch):
    monkeypatch.setattr(dpo, name, never_called)
    _, rows = trained(configured("dpo", "algo.omega=0.0", learner=learner))
    assert len(rows) == 3
    assert {"loss_policy", "line_search"}.isdisjoint(rows[0])
    with pytest.raises(AssertionError, match="it was called"):
        trained(configured("dpo", "algo.omega=0.25", learner=learner))


def test_omega_weighs_the_on_policy_loss(monkeypatch):
    gradients = {}
    for omega in (0.0, 0.25, 1.0):
        env = Scripted(3)
        agent = scripted("dpo", env, f"algo.omega={omega}", "algo.learner.steps=16", learner="a2c")

        def spy(
            working, optimizer, loss, agent=agent, omega=omega
        ):  # nothing descends: all three see the same networks
            if optimizer is agent.optimizer:
                gradient = torch.autograd.grad(loss, agent.policy_net.parameters())
                gradients[omega] = torch.cat([part.flatten() for part in gradient])

        monkeypatch.setattr(Working, "step", spy)
        play(agent, env, 16)
    mixed = 0.25 * gradients[1.0] + 0.75 * gradients[0.0]
    assert torch.allclose(gradients[0.25], mixed, atol=1e-6)
    assert (gradients[1.0] - gradients[0.0]).abs().max() > 1e-3


def test_omega_weighs_the_natural_step(monkeypatch):
    env = Scripted(3)
    agent = scripted("dpo", env, "algo.omega=0.25", "algo.learner.steps=16", learner="trpo")
    monkeypatch.setattr(Working, "step", lambda working, optimizer, loss: None)
    size = sum(p.numel() for p in agent.policy_net.parameters())
    monkeypatch.setattr(dpo, "natural_step", lambda *_: (torch.ones(size), 1))
    before = parameters_of(agent.policy_net)
    play(agent, env, 16)
    for old, new in zip(before, parameters_of(agent.policy_net), strict=True):
        assert torch.allclose(new, old + 0.25)


def test_the_clamp_lets_positive_advantages_through_alone(monkeypatch):
    env, given = Scripted(3), {}
    for switch in ("true", "false"):
        agent = scripted("dpo", env, "algo.utd=0.0", "algo.residual=false", f"algo.clamp_advantage={switch}")
        play(agent, env, 16)
        monkeypatch.setattr(
            dpo, "kl_policy_loss", lambda log_pi, a, *, alpha, s=switch: given.update({s: a, "alpha": alpha})
        )
        agent.off_policy_loss()
    assert given["false"].min() < 0 < given["false"].max()
    assert torch.equal(given["true"], given["false"].clamp(min=0))
    assert given["alpha"] == 0.03


def test_the_off_policy_loss_has_a_gradient_in_the_policy_alone():
    env = Scripted(3)
    agent = scripted("dpo", env)
    play(agent, env, 16)
    nets = [agent.policy_net, agent.values.critic, agent.values.target, agent.values.residual]
    for net in nets:
        net.zero_grad(set_to_none=True)
    agent.off_policy_loss()[0].backward()
    assert [any(p.grad is not None for p in net.parameters()) for net in nets] == [True, False, False, False]


# --- whole runs ------------------------------------------


@pytest.mark.parametrize("learner", ["ppo", "a2c", "trpo"])
def test_equal_seeds_give_equal_parameters_and_others_do_not(learner):
    first, again, other = (
        trained(configured("dpo", f"seed={seed}", learner=learner))[0].parameters_sha256() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_diagnostics_leave_the_run_as_it_is():
    plain, rows = trained(configured("dpo", "algo.learner.steps=48"))
    measured, measured_rows = trained(configured("dpo", "algo.learner.steps=48", "algo.diagnostics_every=2"))
    assert plain.parameters_sha256() == measured.parameters_sha256()
    assert "pg_var_uae" not in rows[0]
    assert measured_rows[0]["pg_var_uae"] > 0
    assert measured_rows[0]["pg_var_gae"] > 0
    assert "pg_var_uae" not in measured_rows[1]


@pytest.mark.parametrize("policy", ["beta", "squashed_gaussian"])
def test_actions_lie_in_the_environments_range(policy):
    env = Scripted(3, num_envs=2)
    agent = scripted("dpo", env, f"algo.policy={policy}")
    obs = env.reset(np.zeros(2))
    for action in (agent.act(obs, None), agent.mode(obs)):
        assert action.shape == (2, 1)
        assert action.dtype == np.float32
        assert (action > -2).all()
        assert (action < 6).all()


def discrete(learner, *overrides):
    words = ["algo=dpo", "env=classic", "env.num_envs=2", "hparams=dpo_discrete", "logger=none", "steps=128"]
    single = ["algo.learner.epochs=1", "algo.learner.minibatches=1"] if learner == "trpo" else []
    return compose.to_run_config(compose.compose([*words, *LEARNERS[learner], *SMALL["dpo"], *single, *overrides]))


@pytest.mark.parametrize("learner", ["ppo", "a2c", "trpo"])
def test_a_discrete_task_runs_with_a_categorical_policy(learner):
    agent, rows = trained(discrete(learner, "env.task=CartPole-v1"))
    assert len(rows) == 2
    assert rows[-1]["entropy"] == pytest.approx(math.log(2), abs=0.1)
    assert agent.values.critic.body.layers[0].in_features == 4 + 2  # observation, one-hot action


class Games:
    """Stacks of random frames, as an emulator gives them; two actions; the first copy ends every fifth step."""

    num_envs, obs_shape, obs_dtype, num_actions, action_range = 2, (4, 84, 84), np.dtype(np.uint8), 2, None

    def reset(self, seeds):
        self.rng, self.steps, self.seen = np.random.default_rng(0), 0, []
        self.obs = self.rng.integers(0, 256, (2, 4, 84, 84), np.uint8)
        return self.obs

    def step(self, actions):
        self.steps += 1
        new = self.rng.integers(0, 256, (2, 1, 84, 84), np.uint8)
        final = np.concatenate([self.obs[:, 1:], new], 1)
        ended = np.array([self.steps % 5 == 0, False])
        fresh = self.rng.integers(0, 256, (2, 4, 84, 84), np.uint8)
        following = np.where(ended[:, None, None, None], fresh, final)
        self.seen.append((self.obs, final, following))
        self.obs = following
        return Step(
            following, np.ones(2, np.float32), ended, ~ended & False, final, ~ended | True, np.ones(2), ended, ended
        )


@pytest.mark.parametrize("released", [False, True])
def test_frames_run_and_are_kept_once(released):
    reset = [f"algo.released.reset_next_state={released}"]
    config = discrete("a2c", "algo.learner.steps=6", "algo.batch_size=4", "algo.replay_capacity=16", *reset)
    env = Games()
    agent = algos.make(config, env)
    row = play(agent, env, 24)[-1]
    assert math.isfinite(row["loss_critic"])
    assert agent.normaliser.obs is None
    assert agent.replay.capacity == 8
    fields = {name: field.roll(-agent.replay.next, 0) for name, field in agent.replay.fields.items()}
    for t, (obs, final, following) in enumerate(env.seen[-8:]):
        assert np.array_equal(agent.frames.take(fields["x"][t]).numpy(), obs)
        assert np.array_equal(agent.frames.take(fields["x_next"][t]).numpy(), following if released else final)
    batch, _ = agent._replayed("critic")
    assert batch["x"].dtype == torch.uint8
    assert batch["x"].shape == batch["x_next"].shape == (4, 4, 84, 84)
    stored = 2 * 4 + 12 * 2 + 2 * 4  # the first stacks, a frame per step and copy, two new games
    assert agent.frames.next == stored + (-2 if released else 0)


def test_frames_are_kept_by_a_checkpoint():
    config = discrete("a2c", "algo.learner.steps=6", "algo.batch_size=4", "algo.replay_capacity=16")
    played = Play(config, Games())
    played.go(10)
    saved = played.agents[0].state_dict()
    forgetful = {**saved, "memory": {**saved["memory"], "frames": algos.make(config, Games()).frames.state_dict()}}
    played.join(restored(config, Games(), through_file(saved)))
    played.join(restored(config, Games(), through_file(forgetful)))
    played.go(9)
    first, again, other = played.finish()
    assert again == first
    assert other != first


@pytest.mark.parametrize("learner", ["a2c", "trpo"])
def test_trained_steps_are_those_that_the_critic_saw(learner):
    more = ["algo.learner.value_updates=3", "algo.learner.value_batch=5"] if learner == "trpo" else []
    env = Scripted(3)
    agent = scripted("dpo", env, "algo.learner.steps=16", "algo.batch_size=8", *more, learner=learner)
    play(agent, env, 16)
    assert agent.values.trained == 9 * 8 + (3 * 5 if more else 16)
