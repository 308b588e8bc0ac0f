"""Soft actor-critic: its targets and losses in numbers, and whole runs."""

import math

import numpy as np
import pytest
import torch
from dpo_cases import Scripted, configured, equal, make_constant, parameters_of, play, scripted, trained
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from bench.errors import DivergedError

HALF = ["algo.gamma=0.5", "algo.random_steps=0"]


def whole_replay(agent):
    return {name: field[: agent.replay.size].flatten(0, 1) for name, field in agent.replay.fields.items()}


def set_alpha(agent, alpha):
    with torch.no_grad():
        agent.temperature["log_alpha"].fill_(math.log(alpha) if alpha else -math.inf)


def generator():
    return torch.Generator().manual_seed(1)


# --- targets -----------------------------------------------------------------------------


@pytest.mark.parametrize(("terminates", "targets"), [(False, [2] * 4), (True, [2, 1] * 2)])
def test_a_time_limit_bootstraps_and_an_end_does_not(terminates, targets):
    env = Scripted(2, one_state=True, terminates=terminates)  # worth 1 / (1 - 0.5) = 2 where it never ends
    agent = scripted("sac", env, *HALF)
    play(agent, env, 4)
    set_alpha(agent, 0)
    for critic in agent.targets:
        make_constant(critic, 2.0)
    assert agent.target(whole_replay(agent), generator()).tolist() == targets


@pytest.mark.parametrize(("terminates", "value"), [(False, 2.0), (True, 4 / 3)])  # 4/3 = 1 + 0.5 (1/2) 4/3
def test_the_critics_learn_what_an_endless_task_is_worth_only_if_limits_bootstrap(terminates, value):
    env = Scripted(2, one_state=True, terminates=terminates)
    settings = ["algo.learning_rate=0.01", "algo.tau=0.1", "algo.batch_size=32"]
    agent = scripted("sac", env, *HALF, *settings, steps=400)
    agent.optimizers["temperature"].param_groups[0]["lr"] = 0.0
    set_alpha(agent, 1e-6)
    play(agent, env, 400)
    batch = whole_replay(agent)
    assert agent.values("critics", batch["x"], batch["u"]).mean().item() == pytest.approx(value, abs=0.15)


def test_replay_keeps_the_true_last_observation():
    env = Scripted(3)
    agent = scripted("sac", env)
    play(agent, env, 4)
    kept = whole_replay(agent)
    assert kept["x"][:, 0].tolist() == [0, 1, 2, 0]
    assert kept["x_next"][:, 0].tolist() == [1, 2, 3, 1]
    assert kept["done"].tolist() == [0] * 4


def test_the_target_takes_the_smaller_of_two_values_less_the_scaled_log_density():
    env = Scripted(3)
    agent = scripted("sac", env, *HALF)
    play(agent, env, 4)
    for critic, value in zip(agent.targets, (5.0, 3.0), strict=True):
        make_constant(critic, value)
    set_alpha(agent, 0.25)
    batch = whole_replay(agent)
    _, log_pi = agent.family.rsample(agent.policy_net(batch["x_next"]), generator())
    assert torch.allclose(agent.target(batch, generator()), 1 + 0.5 * (3 - 0.25 * log_pi))
    assert not agent.target(batch, generator()).requires_grad


# --- policy and temperature ------------------------------------------------------------------


def test_the_policys_loss_by_hand_and_its_gradient_in_the_policy_alone():
    agent, x = scripted("sac", Scripted(3)), torch.arange(4.0)[:, None]
    for critic, value in zip(agent.critics, (5.0, 3.0), strict=True):
        make_constant(critic, value)
    set_alpha(agent, 0.25)
    loss, log_pi, q = agent.policy_loss(x, generator())
    assert q.item() == 3
    assert loss.item() == pytest.approx(0.25 * log_pi.mean().item() - 3)
    others = parameters_of(agent.critics, agent.targets, agent.temperature)
    agent.working["policy"].step(agent.optimizers["policy"], loss)
    assert all(p.grad is None for net in (agent.critics, agent.temperature) for p in net.parameters())
    assert equal(others, parameters_of(agent.critics, agent.targets, agent.temperature))


def test_the_policy_climbs_the_critics_along_its_own_actions():
    agent, x = scripted("sac", Scripted(3), "algo.learning_rate=0.01"), torch.ones(64, 1)
    set_alpha(agent, 0)
    agent.values = lambda critics, x, u: torch.stack([u[:, 0], u[:, 0] + 1])  # the higher the action the better
    before = agent.mode(np.ones((1, 1), np.float32)).item()
    for _ in range(50):
        agent.working["policy"].step(agent.optimizers["policy"], agent.policy_loss(x, generator())[0])
    assert agent.mode(np.ones((1, 1), np.float32)).item() > before + 1


def test_the_density_is_that_of_the_paper_but_for_the_width_of_its_interval():
    agent, raw = scripted("sac", Scripted(3)), torch.tensor([[0.25, -0.5]])
    u, log_pi = agent.family.rsample(raw, generator())
    paper = TransformedDistribution(Normal(raw[:, 0], raw[:, 1].exp()), [TanhTransform()])
    assert log_pi.item() - math.log(2) == pytest.approx(paper.log_prob(2 * u[:, 0] - 1).item(), abs=1e-4)


@pytest.mark.parametrize(("given", "wanted"), [("null", -1.0), ("-3.0", -3.0)])
def test_the_entropys_target_is_moved_to_the_unit_interval(given, wanted):
    agent = scripted("sac", Scripted(3), f"algo.target_entropy={given}")
    assert agent.target_entropy == pytest.approx(wanted - math.log(2))


@pytest.mark.parametrize(("below", "sign"), [(1.0, 1), (-1.0, -1)])
def test_the_temperature_rises_below_the_entropys_target_and_falls_above(below, sign):
    agent = scripted("sac", Scripted(3))
    entropy = agent.target_entropy - below
    agent._descend_temperature(torch.full((4,), -entropy))
    assert math.copysign(1, agent.alpha.item() - 1) == sign
    assert agent.temperature_loss(torch.full((4,), -agent.target_entropy)).item() == 0


def test_targets_move_by_tau_after_every_update():
    env = Scripted(3)
    agent = scripted("sac", env, "algo.tau=0.25")
    assert equal(parameters_of(agent.critics), parameters_of(agent.targets))
    play(agent, env, 16)
    before = parameters_of(agent.targets)
    agent._update()
    for old, new, source in zip(before, parameters_of(agent.targets), parameters_of(agent.critics), strict=True):
        assert torch.allclose(new, 0.75 * old + 0.25 * source, atol=1e-7)


def test_the_two_critics_begin_different():
    agent = scripted("sac", Scripted(3))
    assert not equal(parameters_of(agent.critics[0]), parameters_of(agent.critics[1]))


# --- schedule -----------------------------------------------------------------------------------


def test_actions_are_uniform_at_first_and_the_policys_then():
    env = Scripted(3)
    agent = scripted("sac", env, "algo.random_steps=64", "algo.utd=0.0")
    make_constant(agent.policy_net, 0.5, -20.0)  # one action, z = 0.5 almost surely
    play(agent, env, 96)
    u = whole_replay(agent)["u"][:, 0]
    assert u[:64].std().item() == pytest.approx(math.sqrt(1 / 12), abs=0.05)
    assert u[64:].tolist() == pytest.approx([1 / (1 + math.exp(-1))] * 32, abs=1e-5)


@pytest.mark.parametrize(("random_steps", "utd", "updates"), [(0, 1.0, 25), (16, 1.0, 16), (16, 0.5, 8), (16, 2.0, 32)])
def test_updates_begin_with_the_policys_first_step_and_a_whole_batch(random_steps, utd, updates):
    env = Scripted(3)
    agent = scripted("sac", env, f"algo.random_steps={random_steps}", f"algo.utd={utd}")
    play(agent, env, 32)
    assert agent.updates == updates


def test_a_row_every_so_many_steps_and_one_for_the_rest():
    agent, rows = trained(configured("sac", steps=80))  # rows after 32, 64, and at the end
    assert [row["updates"] for row in rows] == [16, 48, 64]
    assert rows[-1]["trained"] == 64 * 8
    assert rows[-1]["alpha"] == agent.alpha.item() != 1
    assert trained(configured("sac", "algo.random_steps=40", steps=64))[1][0]["updates"] == 24  # none at 32


def test_equal_seeds_give_equal_parameters_and_others_do_not():
    first, again, other = (trained(configured("sac", f"seed={seed}"))[0].parameters_sha256() for seed in (0, 0, 1))
    assert first == again != other


def test_two_environments_are_followed_by_two_updates_and_act_apart():
    env = Scripted(3, num_envs=2)
    agent = scripted("sac", env, "algo.random_steps=0")
    play(agent, env, 32)
    assert agent.updates == 32 - 6  # the fourth step of both fills a batch
    u = agent.replay.fields["u"][:16, :, 0]
    assert (u[:, 0] != u[:, 1]).all()


def test_evaluation_acts_with_the_squashed_mean():
    agent = scripted("sac", Scripted(3))
    make_constant(agent.policy_net, 0.0, 1.0)
    assert agent.mode(np.zeros((3, 1), np.float32)).tolist() == [[2.0]] * 3  # the middle of -2 to 6


def test_a_policy_of_no_numbers_stops_the_run_before_it_acts():
    env = Scripted(3)
    agent = scripted("sac", env, "algo.random_steps=0")
    with torch.no_grad():
        next(agent.policy_net.parameters()).fill_(math.nan)
    with pytest.raises(DivergedError, match="outputs are no numbers any more after 0 updates"):
        play(agent, env, 1)
