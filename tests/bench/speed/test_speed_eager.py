"""The yardstick is the method: its losses and updates are those of bench.algos.dpo on the same inputs."""

import numpy as np
import pytest
import torch

from bench import algos, envs
from bench.ops.returns import uae
from bench.speed import eager_dpo
from tests.algos.dpo_cases import configured, trained

N, S = 8, 4  # replayed steps, draws of the baseline
LOW, HIGH = np.array([-3.0], np.float32), np.array([3.0], np.float32)  # of InvertedPendulum


def copied(source: torch.nn.Module, target: torch.nn.Module) -> None:
    with torch.no_grad():
        for one, other in zip(source.parameters(), target.parameters(), strict=True):
            other.copy_(one)


@pytest.fixture
def both():
    """Our agent after a few updates, and the eager one with its networks."""
    ours, _ = trained(configured("dpo", steps=64))
    eager = eager_dpo.EagerDpo(ours.config, 4, LOW, HIGH)
    copied(ours.policy_net, eager.actor)
    for source, target in zip(ours.values.networks(), (eager.critic, eager.target, eager.residual), strict=True):
        copied(source, target)
    return ours, eager


def inputs() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(5)
    return {
        "x": torch.randn(N, 4, generator=g),
        "u": torch.rand(N, 1, generator=g),
        "r": torch.randn(N, generator=g),
        "x_next": torch.randn(N, 4, generator=g),
        "done": (torch.rand(N, generator=g) < 0.5).float(),
    }


def draws(*size: int) -> torch.Tensor:
    return torch.rand(*size, 1, generator=torch.Generator().manual_seed(6)).clamp(0.01, 0.99)


def hand_out(monkeypatch, family, *given: torch.Tensor) -> None:
    """The next draws of our policy are these."""
    queue = list(given)
    monkeypatch.setattr(family, "sample", lambda raw, generator, *count: queue.pop(0))


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    assert float(one.detach()) == pytest.approx(float(other.detach()), rel=1e-4)


def test_the_loss_of_the_critic_is_ours(both):
    ours, eager = both
    batch, u_next = inputs(), draws(N)
    same(ours.values.critic_loss(batch, u_next), eager.critic_loss(**batch, u_next=u_next))


def test_the_likelihood_of_returns_is_ours(both):
    ours, eager = both
    batch, returns = inputs(), torch.randn(N, 3, generator=torch.Generator().manual_seed(7))
    expected = eager.return_loss(batch["x"], batch["u"], returns)
    same(ours.values.fit_returns(batch["x"], batch["u"], returns), expected)


def test_the_loss_of_the_baseline_is_ours(both, monkeypatch):
    ours, eager = both
    batch, drawn = inputs(), draws(S, N)
    hand_out(monkeypatch, ours.policy_net.family, drawn)
    same(ours.values.fit_baseline(batch, torch.Generator()), eager.baseline_loss(batch["x"], batch["u"], drawn))


def test_the_losses_of_the_policy_are_ours(both, monkeypatch):
    from bench.algos.learners import surrogate

    ours, eager = both
    batch, u, drawn = inputs(), draws(N), draws(S, N)
    monkeypatch.setattr(ours, "_replayed", lambda stream: (batch, torch.Generator()))
    hand_out(monkeypatch, ours.policy_net.family, u, drawn)
    same(ours.off_policy_loss()[0], eager.off_policy_loss(batch["x"], u, drawn))
    log_mu, advantage = torch.full((N,), -0.3), batch["r"]
    log_pi = ours.policy_net.log_prob(batch["x"], u)
    expected = eager.policy_loss(batch["x"], u, log_mu, advantage)
    same(surrogate(ours.config.learner, log_pi, log_mu, advantage), expected)


def test_a_faulty_yardstick_is_found(both):
    ours, eager = both
    batch, u_next = inputs(), draws(N)
    batch["done"] = 1 - batch["done"]
    wrong = eager.critic_loss(**batch, u_next=u_next)
    assert float(wrong.detach()) != pytest.approx(float(ours.values.critic_loss(inputs(), u_next).detach()), rel=1e-2)


def test_advantages_are_those_of_the_estimator():
    g = torch.Generator().manual_seed(8)
    r, b, q = torch.randn(6, generator=g), torch.randn(6, generator=g), torch.randn(7, 3, generator=g)
    discount = torch.tensor([0.9, 0.9, 0.0, 0.9, 0.9, 0.9])
    found = eager_dpo.unified_advantages(r, discount, q, b, lam=0.5, nu=0.25)
    ours = uae(r[:, None], discount[:, None], q[:, None], b[:, None], lam=0.5)[:, 0]
    mixed = 0.25 * (q[:-1] - b[:, None]) + 0.75 * ours
    torch.testing.assert_close(found.advantage, mixed.mean(-1))
    torch.testing.assert_close(found.returns, mixed + b[:, None])


def test_it_makes_as_many_updates_of_each_kind(monkeypatch):
    config, counts = configured("dpo", steps=64), {"critic": 0, "other": 0}

    def counted(optimizer, loss, name, inner=eager_dpo.descend):
        counts[name] += 1
        inner(optimizer, loss)

    critic = eager_dpo.EagerDpo.step_critic
    monkeypatch.setattr(eager_dpo, "descend", lambda optimizer, loss: counted(optimizer, loss, "other"))
    monkeypatch.setattr(
        eager_dpo.EagerDpo,
        "step_critic",
        lambda self, loss: [counts.__setitem__("critic", counts["critic"] + 1), critic(self, loss)],
    )
    assert list(eager_dpo.train(config)) == list(range(1, 65))
    ours, rows = trained(config)
    assert counts["critic"] == ours.values.updates
    learner = config.algo.learner
    assert counts["other"] == counts["critic"] + ours.policy_updates + len(rows) * learner.baseline_updates


def test_it_normalises_as_we_do():
    config = configured("dpo", steps=64)
    env = envs.make(config.env, 1)
    ours = algos.make(config, env).normaliser
    theirs = eager_dpo.Normaliser(config.algo.normalise, 4, config.algo.gamma)
    rng = np.random.default_rng(0)
    for obs in rng.normal(size=(20, 4)).astype(np.float32):
        ours.see(obs[None])
        np.testing.assert_allclose(theirs.see(obs), ours.observations(obs[None])[0], rtol=1e-5, atol=1e-6)
    env.close()
