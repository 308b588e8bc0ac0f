"""DPO with PPO on one continuous task as one writes it down first: the yardstick of the benchmark, not a product.

Plain modules, torch.distributions with their defaults, torch.optim.Adam with its defaults, a call per line of the
method; no trick, and nothing made slow. It makes the updates of `bench.algos.dpo` at the same hyperparameters, in the
same number and size, and a test holds its losses equal to those on the same inputs. It measures nothing and saves
nothing, which `bench.algos.dpo` does.

Source: Ma 2023 and the author's code, as in bench.algos.dpo, with the same choices E1 to E9.
"""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Beta, Normal, kl_divergence
from torch.nn.functional import softplus

from bench.config import RunConfig
from bench.dpo_config import DpoConfig, NormaliseConfig

MARGIN = 1e-6  # as bench.ops.distributions
EPSILON = 1e-8  # added to variances and standard deviations


def mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Actor(nn.Module):
    """A Beta per dimension of the action."""

    def __init__(self, obs_size: int, hidden: list[int], action_size: int):
        super().__init__()
        self.net = mlp(obs_size, hidden, 2 * action_size)

    def forward(self, x: Tensor) -> Beta:
        """The distribution of actions in the unit cube. `[..., n]` -> `[..., d]`."""
        alpha, beta = self.net(x).chunk(2, -1)
        return Beta(1 + softplus(alpha), 1 + softplus(beta))

    @torch.no_grad()
    def sample(self, x: Tensor, size: tuple[int, ...] = ()) -> Tensor:
        """Draws inside the unit cube. `[..., n]` -> `[*size, ..., d]`."""
        u: Tensor = self(x).sample(size)
        return u.clamp(MARGIN, 1 - MARGIN)

    def log_prob(self, x: Tensor, u: Tensor) -> Tensor:
        """log pi(u|x), `[...]`."""
        total: Tensor = self(x).log_prob(u).sum(-1)
        return total


class Critic(nn.Module):
    """A Gaussian of returns per state and action."""

    def __init__(self, obs_size: int, hidden: list[int], action_size: int, floor: float):
        super().__init__()
        self.net, self.floor = mlp(obs_size + action_size, hidden, 2), floor

    def forward(self, x: Tensor, a: Tensor) -> Normal:
        """Args: x: `[..., n]`; a: `[..., d]` as the environment takes it. Returns a distribution of shape `[...]`."""
        out = self.net(torch.cat([x, a], -1))
        return Normal(out[..., 0], softplus(out[..., 1]) + self.floor)


class Residual(nn.Module):
    """g(s, a)."""

    def __init__(self, obs_size: int, hidden: list[int], action_size: int):
        super().__init__()
        self.net = mlp(obs_size + action_size, hidden, 1)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """`[..., n]`, `[..., d]` -> `[...]`."""
        out: Tensor = self.net(torch.cat([x, a], -1))
        return out[..., 0]


class Moments:
    """Running mean and variance."""

    def __init__(self, shape: tuple[int, ...]):
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def add(self, x: np.ndarray | float) -> None:
        """Take in one value."""
        delta, total = x - self.mean, self.count + 1
        self.mean = self.mean + delta / total
        self.var = (self.var * self.count + delta**2 * self.count / total) / total
        self.count = total


class Normaliser:
    """Running normalisation of observations and rewards of one environment, as VecNormalize."""

    def __init__(self, config: NormaliseConfig, obs_size: int, gamma: float):
        self.clip, self.gamma = config.clip, gamma
        self.obs, self.ret = Moments((obs_size,)), Moments(())
        self.total = 0.0

    def see(self, obs: np.ndarray) -> Tensor:
        """Take an observation into the statistics and return it normalised."""
        self.obs.add(obs)
        return self.observation(obs)

    def observation(self, obs: np.ndarray) -> Tensor:
        """Normalised with the present statistics."""
        scaled = ((obs - self.obs.mean) / np.sqrt(self.obs.var + EPSILON)).clip(-self.clip, self.clip)
        return torch.as_tensor(scaled, dtype=torch.float32)

    def reward(self, reward: float, ended: bool) -> float:
        """Over the standard deviation of the discounted return."""
        self.total = self.total * self.gamma + reward
        self.ret.add(self.total)
        if ended:
            self.total = 0.0
        return float((reward / np.sqrt(self.ret.var + EPSILON)).clip(-self.clip, self.clip))


class Estimates(NamedTuple):
    """Of the T steps of an iteration."""

    advantage: Tensor  # [T]
    returns: Tensor  # [T, K]


def unified_advantages(r: Tensor, discount: Tensor, q: Tensor, b: Tensor, *, lam: float, nu: float) -> Estimates:
    """The mixed advantages and returns.

    Args:
        r, discount, b: `[T]`.
        q: `[T + 1, K]` particles, the last of the state after the T steps.
        lam, nu: lambda of the estimator, weight of Q - b.
    """
    estimates, u = torch.empty_like(q[:-1]), torch.zeros_like(q[0])
    for t in reversed(range(len(r))):
        delta = r[t] + discount[t] * q[t + 1] - b[t]
        estimates[t] = delta + discount[t] * lam * u
        u = estimates[t] - (q[t] - b[t])
    mixed = nu * (q[:-1] - b[:, None]) + (1 - nu) * estimates
    return Estimates(mixed.mean(-1), mixed + b[:, None])


class EagerDpo:
    """Networks, optimisers and losses.

    Args:
        config: hyperparameters, those of our own run.
        low, high: `[d]` range of the environment's actions; n is obs_size.
    """

    def __init__(self, config: DpoConfig, obs_size: int, low: np.ndarray, high: np.ndarray):
        self.config = config
        self.low, self.span = torch.as_tensor(low), torch.as_tensor(high - low)
        self.actor = Actor(obs_size, config.hidden, len(low))
        self.critic = Critic(obs_size, config.hidden, len(low), config.sigma_floor)
        self.target = copy.deepcopy(self.critic)
        self.residual = Residual(obs_size, config.hidden, len(low))
        rate, baseline_rate = config.learning_rate, config.baseline_learning_rate
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=rate)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=rate)
        self.residual_optimizer = torch.optim.Adam(self.residual.parameters(), lr=baseline_rate)

    def action(self, u: Tensor) -> Tensor:
        """From the unit cube to the environment's range."""
        return self.low + self.span * u

    def critic_loss(self, x: Tensor, u: Tensor, r: Tensor, x_next: Tensor, done: Tensor, u_next: Tensor) -> Tensor:
        """KL(target || critic) on replayed steps. Args: `[N, ...]` each."""
        with torch.no_grad():
            following = self.target(x_next, self.action(u_next))
            mean = r + self.config.gamma * (1 - done) * following.mean
            target = Normal(mean, self.config.gamma * following.stddev)
        loss: Tensor = kl_divergence(target, self.critic(x, self.action(u))).mean()
        return loss

    def return_loss(self, x: Tensor, u: Tensor, returns: Tensor) -> Tensor:
        """Negative log-likelihood of return particles `[N, K]`."""
        density = self.critic(x, self.action(u))
        particles = Normal(density.mean[:, None], density.stddev[:, None])
        loss: Tensor = -particles.log_prob(returns).mean()  # type: ignore[no-untyped-call]
        return loss

    def baseline(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """b(s) and E_pi Q of the same draws. Args: x: `[N, n]`; u: `[S, N, d]` drawn from the policy."""
        states, actions = x.expand(len(u), *x.shape), self.action(u)
        with torch.no_grad():
            q = self.critic(states, actions).mean
        return ((1 + self.residual(states, actions)) * q).mean(0), q.mean(0)

    def baseline_loss(self, x: Tensor, u: Tensor, drawn: Tensor) -> Tensor:
        """Args: x, u: `[N, ...]` replayed; drawn: `[S, N, d]` from the policy."""
        with torch.no_grad():
            q = self.critic(x, self.action(u)).mean
        loss: Tensor = (self.baseline(x, drawn)[0] - q).square().mean()
        return loss

    def policy_loss(self, x: Tensor, u: Tensor, log_mu: Tensor, advantage: Tensor) -> Tensor:
        """PPO's. Args: `[N, ...]` each."""
        clip = self.config.learner.clip
        assert clip is not None
        ratio = (self.actor.log_prob(x, u) - log_mu).exp()
        return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()

    def off_policy_loss(self, x: Tensor, u: Tensor, drawn: Tensor) -> Tensor:
        """On replayed states. Args: u: `[N, d]` drawn from the policy; drawn: `[S, N, d]` too, for the baseline."""
        with torch.no_grad():
            advantage = self.critic(x, self.action(u)).mean - self.baseline(x, drawn)[0]
            advantage = advantage.clamp(min=0)
        log_pi = self.actor.log_prob(x, u)
        loss: Tensor = (log_pi * (self.config.alpha * log_pi - advantage).detach()).mean()
        return loss

    # --- updates -----------------------------------------------------------------------------------------------

    def draw(self, x: Tensor) -> Tensor:
        """The fresh actions of the baseline, `[S, N, d]`."""
        return self.actor.sample(x, (self.config.baseline_samples,))

    def step_critic(self, loss: Tensor) -> None:
        """One update, and the target after it."""
        descend(self.critic_optimizer, loss)
        with torch.no_grad():
            for target, source in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                target.lerp_(source, self.config.tau)

    def update_critic(self, batch: list[Tensor]) -> None:
        """Off-policy."""
        x, u, r, x_next, done = batch
        self.step_critic(self.critic_loss(x, u, r, x_next, done, self.actor.sample(x_next)))

    def update_baseline(self, batch: list[Tensor]) -> None:
        """Of g."""
        x, u = batch[:2]
        descend(self.residual_optimizer, self.baseline_loss(x, u, self.draw(x)))

    def improve(self, replay: "Replay", steps: list[tuple[Tensor, ...]], final: list[Tensor], x_last: Tensor) -> None:
        """The end of an iteration: baseline, estimates, epochs.

        Args:
            steps: T of x, u, r, discount, cut; final: true last observations of the cut ones; x_last: what follows.
        """
        config = self.config
        for _ in range(config.learner.baseline_updates):
            self.update_baseline(replay.sample(config.batch_size))
        x, u, r, discount, cut = (torch.stack(column) for column in zip(*steps, strict=True))
        with torch.no_grad():
            if final:
                r[cut] += config.gamma * self.baseline(torch.stack(final), self.draw(torch.stack(final)))[1]
            states = torch.cat([x, x_last[None]])
            actions = torch.cat([u, self.actor.sample(x_last)[None]])
            q = self.critic(states, self.action(actions)).sample((config.critic_samples,)).T
            b = self.baseline(x, self.draw(x))[0]
            log_mu = self.actor.log_prob(x, u)
        advantage, returns = unified_advantages(r, discount, q, b, lam=config.lam, nu=config.nu)
        advantage = (advantage - advantage.mean()) / (advantage.std() + EPSILON)
        for _ in range(config.learner.epochs):
            for i in torch.randperm(len(x)).tensor_split(config.learner.minibatches):
                replayed = replay.sample(config.batch_size)[0]
                on = self.policy_loss(x[i], u[i], log_mu[i], advantage[i])
                off = self.off_policy_loss(replayed, self.actor.sample(replayed), self.draw(replayed))
                descend(self.actor_optimizer, config.omega * on + (1 - config.omega) * off)
                self.step_critic(self.return_loss(x[i], u[i], returns[i]))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser on a loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class Replay:
    """Steps in arrays, drawn uniformly."""

    def __init__(self, capacity: int, obs_size: int, action_size: int):
        sizes = (obs_size,), (action_size,), (), (obs_size,), ()  # x, u, r, next x, done
        self.columns = [torch.zeros(capacity, *size) for size in sizes]
        self.capacity, self.count = capacity, 0

    def add(self, *step: Tensor | float) -> None:
        """One step, in the place of the oldest."""
        for column, value in zip(self.columns, step, strict=True):
            column[self.count % self.capacity] = value
        self.count += 1

    def sample(self, size: int) -> list[Tensor]:
        """`[size, ...]` of every column."""
        i = torch.randint(min(self.count, self.capacity), (size,))
        return [column[i] for column in self.columns]


def train(run: RunConfig) -> Iterator[int]:
    """Run the whole of it on one environment. Yields the agent steps made."""
    config = run.algo
    assert isinstance(config, DpoConfig)
    torch.manual_seed(run.seed)
    env = gymnasium.make(run.env.task)
    size, low, high = env.observation_space.shape[0], env.action_space.low, env.action_space.high
    agent, normaliser = EagerDpo(config, size, low, high), Normaliser(config.normalise, size, config.gamma)
    replay = Replay(min(config.replay_capacity, run.steps), size, len(low))
    x = normaliser.see(env.reset(seed=run.seed)[0])
    steps: list[tuple[Tensor, ...]] = []
    final: list[Tensor] = []
    for count in range(1, run.steps + 1):
        u = agent.actor.sample(x)
        obs, raw, terminated, truncated, _ = env.step(agent.action(u).numpy())
        ended, cut = terminated or truncated, truncated and not terminated
        x_after = normaliser.see(env.reset()[0] if ended else obs)
        x_next = normaliser.observation(obs) if ended else x_after
        r = normaliser.reward(float(raw), ended)
        replay.add(x, u, r, x_next, float(terminated))
        steps.append((x, u, torch.tensor(r), torch.tensor(0.0 if ended else config.gamma), torch.tensor(cut)))
        final += [x_next] if cut else []
        x = x_after
        if count >= config.batch_size:
            agent.update_critic(replay.sample(config.batch_size))
        if len(steps) == config.learner.steps:
            agent.improve(replay, steps, final, x)
            steps, final = [], []
        yield count
    env.close()
