"""PPO, A2C and TRPO in DPO's protocol, and the trust-region step that they share."""

import math

import pytest
import torch
from dpo_cases import Scripted, configured, equal, make_constant, parameters_of, play, scripted, trained
from torch.func import functional_call

from bench import envs, nets
from bench.algos import learners, on_policy
from bench.algos.collector import Policy
from bench.errors import DivergedError
from bench.ops.distributions import Beta

LEARNERS = ["a2c", "ppo", "trpo"]


def collected(agent, env, steps):
    play(agent, env, steps)
    return agent.collector.take()


# --- time limits -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminates", "advantage", "target"), [(False, [0] * 6, [2] * 6), (True, [-0.5, -1] * 3, [1.5, 1] * 3)]
)
def test_a_time_limit_bootstraps_and_an_end_does_not(terminates, advantage, target):
    env = Scripted(2, one_state=True, terminates=terminates)  # worth 1 / (1 - 0.5) = 2 where it never ends
    agent = scripted("on_policy", env, "algo.gamma=0.5", "algo.lam=1.0")
    make_constant(agent.value_net, 2.0)
    estimates, targets = agent.estimate(collected(agent, env, 6))
    assert estimates[:, 0].tolist() == advantage
    assert targets[:, 0].tolist() == target


@pytest.mark.parametrize(("terminates", "value"), [(False, 2.0), (True, 4 / 3)])  # 4/3 = 1 + 0.5 (1/2) 4/3
def test_the_value_network_learns_what_an_endless_task_is_worth_only_if_limits_bootstrap(terminates, value):
    env = Scripted(2, one_state=True, terminates=terminates)
    settings = ["algo.gamma=0.5", "algo.lam=0.0", "algo.learning_rate=0.01", "algo.learner.steps=8"]
    agent = scripted("on_policy", env, *settings, steps=1600)
    play(agent, env, 1600)
    assert agent.value_net(torch.ones(1, 1)).item() == pytest.approx(value, abs=0.1)


def test_the_bootstrap_is_the_value_of_the_true_last_observation(monkeypatch):
    env = Scripted(3)  # observations 0, 1, 2, and 3 at the cut
    agent = scripted("on_policy", env, "algo.gamma=0.5", "algo.lam=0.0")
    rollout = collected(agent, env, 4)
    monkeypatch.setattr(agent.value, "net", lambda x: x)
    estimates, _ = agent.estimate(rollout)
    assert estimates[:, 0].tolist() == [1 + 0.5 - 0, 1 + 1.0 - 1, 1 + 1.5 - 2, 1 + 0.5 - 0]


# --- whole runs ------------------------------------------------------------------------


@pytest.mark.parametrize("learner", LEARNERS)
def test_equal_seeds_give_equal_parameters_and_others_do_not(learner):
    first, again, other = (
        trained(configured("on_policy", f"seed={seed}", learner=learner))[0].parameters_sha256() for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(("learner", "updates", "steps"), [("a2c", 3, 96), ("ppo", 12, 192), ("trpo", 3, 48)])
def test_updates_and_trained_steps_are_counted(learner, updates, steps):
    _, rows = trained(configured("on_policy", learner=learner))
    assert [row["version"] for row in rows] == [1, 2, 3]
    assert (rows[-1]["updates"], rows[-1]["trained"]) == (updates, steps)


def test_an_epoch_takes_every_step_once_in_a_new_order():
    config = configured("on_policy", "algo.learner.epochs=3", "algo.learner.minibatches=4").algo.learner
    parts = list(learners.minibatches(config, 10, torch.Generator().manual_seed(0)))
    assert [len(part) for part in parts] == [3, 3, 2, 2] * 3
    epochs = [torch.cat(parts[i : i + 4]).tolist() for i in (0, 4, 8)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_surrogates_first_gradient_is_the_policy_gradient_for_ppo_and_a2c():
    log_pi, advantage = torch.tensor([-1.0, -2.0], requires_grad=True), torch.tensor([4.0, -2.0])
    for learner in ("a2c", "ppo"):
        config = configured("on_policy", learner=learner).algo.learner
        loss = learners.surrogate(config, log_pi, log_pi.detach(), advantage)
        assert torch.autograd.grad(loss, log_pi)[0].tolist() == [-2, 1]


def test_ppo_stops_at_its_clip_and_a2c_does_not():
    log_mu, advantage = torch.tensor([0.0]), torch.tensor([1.0])
    gradients = []
    for learner in ("a2c", "ppo"):
        log_pi = torch.tensor([0.5], requires_grad=True)
        loss = learners.surrogate(configured("on_policy", learner=learner).algo.learner, log_pi, log_mu, advantage)
        gradients.append(torch.autograd.grad(loss, log_pi)[0].item())
    assert gradients == [-1, 0]


def test_a_loss_that_is_no_number_stops_the_run():
    with pytest.raises(DivergedError, match="loss_value is nan after 7 updates of the policy"):
        learners.require_finite({"lr": 1.0, "loss_value": math.nan}, 7)


def test_a_hash_sees_every_parameter_and_its_module():
    a, b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    before = nets.sha256(a, b)
    assert nets.sha256(b, a) != before
    with torch.no_grad():
        b.bias += 1e-6
    assert nets.sha256(a, b) != before


# --- TRPO ------------------------------------------------------------------------------


def spied_iteration(monkeypatch, config):
    """Policies before and after the first iteration of TRPO on the real task, and what it was made on."""
    seen = {}

    def spy(learner, policy, x, u, advantage):
        seen.update(policy=policy, x=x, raw=policy(x).detach(), before=parameters_of(policy))
        return learners.natural_step(learner, policy, x, u, advantage)

    monkeypatch.setattr(on_policy, "natural_step", spy)
    env = envs.make(config.env, 1)
    agent = on_policy.OnPolicy(config, env)
    rows = play(agent, env, 32)
    env.close()
    return seen, rows


def test_trpo_moves_and_stays_within_its_region(monkeypatch):
    for max_kl in (0.1, 0.001):
        config = configured("on_policy", f"algo.learner.max_kl={max_kl}", learner="trpo")
        seen, rows = spied_iteration(monkeypatch, config)
        with torch.no_grad():
            kl = seen["policy"].family.kl(seen["raw"], seen["policy"](seen["x"])).mean().item()
        assert max_kl / 20 < kl <= max_kl
        assert 1 <= rows[0]["line_search"] <= 10


def test_trpo_leaves_the_policy_as_it_is_when_no_step_is_accepted(monkeypatch):
    search = learners.line_search
    monkeypatch.setattr(learners, "line_search", lambda *a, **k: search(*a, **{**k, "max_kl": -1.0}))
    seen, rows = spied_iteration(monkeypatch, configured("on_policy", learner="trpo"))
    assert equal(seen["before"], parameters_of(seen["policy"]))
    assert rows[0]["line_search"] == 10


def tiny(seed):
    generator = torch.Generator().manual_seed(seed)
    policy = Policy(Beta(torch.zeros(1), torch.ones(1)), (2,), [2], generator).double()
    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        u = policy.family.sample(policy(x), generator)
    return policy, x, u, torch.randn(6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_natural_step_is_the_dense_solution_of_the_fisher_system(seed):
    policy, x, u, advantage = tiny(seed)
    config = configured("on_policy", "algo.learner.cg_iterations=50", learner="trpo").algo.learner
    step, tries = learners.natural_step(config, policy, x, u, advantage)
    names, shapes = zip(*((name, p.shape) for name, p in policy.named_parameters()), strict=True)
    theta = torch.cat([p.detach().flatten() for p in policy.parameters()])

    def raw(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        named = {n: part.view(shape) for n, part, shape in zip(names, parts, shapes, strict=True)}
        return functional_call(policy, named, (x,))

    old = raw(theta).detach()
    fisher = torch.autograd.functional.hessian(lambda v: policy.family.kl(old, raw(v)).mean(), theta)
    fisher += 0.1 * torch.eye(len(theta), dtype=torch.float64)
    log_mu = policy.family.log_prob(old, u)
    gradient = torch.autograd.functional.jacobian(
        lambda v: ((policy.family.log_prob(raw(v), u) - log_mu).exp() * advantage).mean(), theta
    )
    direction = torch.linalg.solve(fisher, gradient)
    full = direction * math.sqrt(2 * 0.1 / (direction @ fisher @ direction).item())
    assert torch.allclose(step, 0.8 ** (tries - 1) * full, rtol=1e-3, atol=1e-4)  # |r| < 1e-5 over the damping
    assert step.abs().max() > 1e-3


def test_the_natural_step_itself_moves_nothing():
    policy, x, u, advantage = tiny(0)
    before = parameters_of(policy)
    step, _ = learners.natural_step(configured("on_policy", learner="trpo").algo.learner, policy, x, u, advantage)
    assert equal(before, parameters_of(policy))
    learners.move(policy, step)
    moved = torch.cat([(new - old).flatten() for old, new in zip(before, parameters_of(policy), strict=True)])
    assert torch.allclose(moved, step)


def test_without_advantages_there_is_no_step():
    policy, x, u, advantage = tiny(0)
    config = configured("on_policy", learner="trpo").algo.learner
    step, tries = learners.natural_step(config, policy, x, u, torch.zeros_like(advantage))
    assert (step.abs().max().item(), tries) == (0, 0)


def test_the_variance_of_block_gradients_is_that_of_the_blocks():
    policy, x, u, advantage = tiny(0)
    rollout = [part.double().unflatten(0, (6, 1)) for part in (x, u, advantage)]
    gradients = []
    for block in (slice(0, 3), slice(3, 6)):
        loss = -(policy.log_prob(x[block], u[block]) * advantage[block]).mean()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.parameters()))]))
    direct = (gradients[0] - gradients[1]).square().sum().item() / 2
    assert learners.block_variance(policy, *rollout, block=3) == pytest.approx(direct)
    assert math.isnan(learners.block_variance(policy, *rollout, block=4))


def test_a_policy_of_no_numbers_stops_the_run_before_it_acts():
    env = Scripted(3)
    agent = scripted("on_policy", env)
    with torch.no_grad():
        next(agent.policy_net.parameters()).fill_(math.nan)
    with pytest.raises(DivergedError, match="the policy's outputs are no numbers any more"):
        play(agent, env, 1)


def test_a_natural_step_of_no_numbers_is_none():
    env = Scripted(3)
    agent = scripted("on_policy", env, "algo.learner.steps=16", learner="trpo")
    x, u = torch.zeros(4, 1), torch.full((4, 1), 0.5)
    with pytest.raises(DivergedError, match="the policy gradient is no number any more"):
        learners.natural_step(agent.config.learner, agent.policy_net, x, u, torch.full((4,), math.nan))
