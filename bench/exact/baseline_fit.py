"""DPO's residual baseline on finite MDPs: what training on a replay makes of it, measured exactly on held-out states.

    b(s) = E_{a~pi} [ (1 + g(s, a)) Q^pi(s, a) ],  g trained on the mean of ( b(s) - Q^pi(s, a) )^2 over replayed (s, a)

Held-out numbers are averages under pi over the states that no update sees, with the noise of b's own samples:

    residual = E (Q - b)^2,   variance = E || grad log pi ||^2 (Q - b)^2

Of all functions of the state, V^pi has the least residual and b* (bench.exact.advantages) the least variance. The least
training loss has the mean of Q over the actions of the replay, whose policies are older (`replay_mean`): neither of
the two.

Source: MagiFeeney/DPO @ 2e00ca2, model.py:93-103, dpo.py:123-134 (baseline and loss); the rest is ours.
D1 The critic is exact: Q^pi in b, as the target, and for the fit of the critic that lends its hidden layers.
D2 Rewards are scaled so that Q^pi has standard deviation 1 under pi: DPO divides them by a running one of the return.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from bench.config import RunConfig
from bench.envs.landscapes import LANDSCAPES, Landscape
from bench.envs.mdp import Array, action_values, occupancy
from bench.exact.advantages import optimal_baseline, spread, squared_scores
from bench.exact.ascent import normalised_advantage
from bench.exact.gradients import softmax
from bench.exact_config import BaselineFitConfig
from bench.seeding import generator, stream


@dataclass(frozen=True)
class Problem:
    """A policy, what older policies left in the replay, and which states training may see."""

    features: Array  # [S, d]
    pi: Array  # [S, A]
    q: Array  # [S, A] Q^pi
    occupancy: Array  # [S] of pi
    stale: Array  # [S, A] the older policies' occupancy of states and actions
    held_out: np.ndarray  # [S] bool

    @property
    def replay(self) -> Array:
        """Shares of the replay `[S, A]`: the older policies' states and actions, none of the held-out states."""
        seen: Array = np.where(self.held_out[:, None], 0, self.stale)
        shares: Array = seen / seen.sum()
        return shares


def problem(land: Landscape, algo: BaselineFitConfig, rng: np.random.Generator) -> Problem:
    """Policy iteration with soft steps; the replay holds the older policies in equal parts.

    Args:
        land: the process, with the discount of the algorithm.
        algo: versions, version_step, init_scale, held_out.
        rng: draws the first policy and the split of the states.
    """
    mdp = land.mdp
    logits, stale = algo.init_scale * rng.standard_normal(mdp.R.shape), np.zeros(mdp.R.shape)
    for _ in range(algo.versions):
        pi = softmax(logits)
        pairs = occupancy(mdp, pi)[:, None] * pi
        stale += pairs / algo.versions
        logits = logits + algo.version_step * normalised_advantage(mdp, pi, pairs)
    pi = softmax(logits)
    d, held_out = occupancy(mdp, pi), np.zeros(mdp.num_states, dtype=bool)
    held_out[rng.permutation(mdp.num_states)[: max(1, round(algo.held_out * mdp.num_states))]] = True
    q = action_values(mdp, pi)  # D1
    return Problem(
        features=land.features,
        pi=pi,
        q=q / spread(d[:, None] * pi, q),  # D2
        occupancy=d,
        stale=stale,
        held_out=held_out,
    )


# ---- what a baseline is worth


def moments_of(case: Problem, b: Array, noise: Array, states: np.ndarray) -> tuple[float, float]:
    """Residual and variance of a baseline, averages under pi over these states. See the module.

    Args:
        case: the problem.
        b: `[S]` mean of the baseline.
        noise: `[S]` its variance, from samples that are independent of the action.
        states: `[S]` bool.
    """
    d = np.where(states, case.occupancy, 0)
    squares = d[:, None] / d.sum() * case.pi * ((case.q - b[:, None]) ** 2 + noise[:, None])
    return float(squares.sum()), float((squares * squared_scores(case.pi)).sum())


def sampled(pi: Array, x: Array, samples: int) -> tuple[Array, Array]:
    """Mean and variance `[S]` of the average of x(s, a) over that many actions of pi. Args: pi, x: `[S, A]`."""
    mean = (pi * x).sum(1)
    return mean, (pi * (x - mean[:, None]) ** 2).sum(1) / samples


def worth(case: Problem, b: Array, noise: Array) -> dict[str, float]:
    """A baseline's part of a row of metrics.csv: its moments over those of V^pi, and those of b* for comparison."""
    row: dict[str, float] = {}
    value, exact = (case.pi * case.q).sum(1), np.zeros(len(b))
    for name, states in (("heldout", case.held_out), ("fitted", ~case.held_out)):
        residual, variance = moments_of(case, b, noise, states)
        of_value = moments_of(case, value, exact, states)
        row[f"{name}_residual"], row[f"{name}_variance"] = residual / of_value[0], variance / of_value[1]
    best = moments_of(case, optimal_baseline(case.pi, case.q), exact, case.held_out)[1]
    return row | {"optimal_variance": best / moments_of(case, value, exact, case.held_out)[1]}


# ---- the network and its training


def linear(inputs: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    """PyTorch's default layer, drawn from a generator of its own: weights and biases within 1 / sqrt(inputs) of 0."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=rng)
    assert isinstance(layer, nn.Linear)
    return layer


def trunk(inputs: int, width: int, depth: int, rng: torch.Generator) -> nn.Sequential:
    """Hidden layers with tanh. Source: MagiFeeney/DPO @ 2e00ca2, network.py."""
    sizes = [inputs] + [width] * depth
    pairs = pairwise(sizes)
    return nn.Sequential(*(part for a, b in pairs for part in (linear(a, b, rng), nn.Tanh())))


def baseline_loss(g: Tensor, q: Tensor, shares: Tensor, target: Tensor) -> Tensor:
    """Mean of ( b(s) - Q(s, a) )^2 with b(s) = sum_a share(s, a) (1 + g(s, a)) Q(s, a).

    Args:
        g, q: `[N, A]`; no gradient flows through q.
        shares: `[N, A]` of the actions among the samples of b.
        target: `[N]` Q of the replayed actions.
    """
    b = (shares * (1 + g) * q.detach()).sum(-1)
    return (b - target.detach()).square().mean()


class Fit:
    """The residual network and its optimiser."""

    def __init__(self, case: Problem, algo: BaselineFitConfig, seed: int) -> None:
        """Build the network; where its hidden layers are a critic's, fit that critic first."""
        self.case, self.algo = case, algo
        states, actions = case.q.shape
        one_hot = torch.eye(actions).expand(states, actions, actions)
        features = torch.tensor(case.features, dtype=torch.float32)[:, None].expand(states, actions, -1)
        self.inputs = torch.cat([features, one_hot], -1)  # [S, A, d + A]
        self.q, self.pi = (torch.tensor(x, dtype=torch.float32) for x in (case.q, case.pi))
        self.replay = torch.tensor(case.replay.ravel())
        self.rng, init = generator(seed, "minibatches"), generator(seed, "init")
        size = self.inputs.shape[-1]
        self.trunk, self.head = trunk(size, algo.width, algo.depth, init), linear(algo.width, 1, init)
        self.critic_error = float("nan")
        if algo.trunk != "own":
            self.critic_error = self._fit_critic(linear(algo.width, 1, init))
        trained = [self.head] if algo.trunk == "shared_frozen" else [self.trunk, self.head]
        parameters = [p for module in trained for p in module.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=algo.learning_rate)

    def _fit_critic(self, head: nn.Linear) -> float:
        """Fit trunk and head to Q^pi on the replay. Returns the share of the variance of Q^pi that is left there."""
        weight = self.replay.float().view_as(self.q)
        parameters = [*self.trunk.parameters(), *head.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=self.algo.critic_learning_rate)
        offset = (weight * self.q).sum()  # a constant teaches the hidden layers nothing
        for _ in range(self.algo.critic_updates):
            loss = (weight * (head(self.trunk(self.inputs)).squeeze(-1) + offset - self.q).square()).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return float(loss.detach() / (weight * (self.q - offset).square()).sum())

    def residual(self, states: Tensor) -> Tensor:
        """g `[N, A]` in these states `[N]`."""
        g: Tensor = self.head(self.trunk(self.inputs[states])).squeeze(-1)
        return g

    def update(self) -> float:
        """One step of Adam on a minibatch of the replay. Returns its loss."""
        algo, actions = self.algo, self.q.shape[1]
        drawn = torch.multinomial(self.replay, algo.batch_size, replacement=True, generator=self.rng)
        s, a = drawn // actions, drawn % actions
        samples = torch.multinomial(self.pi[s], algo.samples, replacement=True, generator=self.rng)
        shares = nn.functional.one_hot(samples, actions).float().mean(1)
        # A state's g is computed once, however often it was drawn.
        unique, place = s.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        loss = baseline_loss(self.residual(unique)[place], self.q[s], shares, self.q[s, a])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())

    @torch.no_grad()
    def row(self) -> dict[str, float]:
        """What the baseline is worth now."""
        g = self.residual(torch.arange(len(self.q))).numpy().astype(np.float64)
        row = worth(self.case, *sampled(self.case.pi, (1 + g) * self.case.q, self.algo.samples))
        return row if np.isnan(self.critic_error) else row | {"critic_error": self.critic_error}


def reference(case: Problem, kind: str, samples: int) -> tuple[Array, Array]:
    """Mean and noise `[S]` of a baseline without training. Args: kind: of bench.exact_config.FITS, not learned."""
    exact = np.zeros(len(case.q))
    if kind == "zero_residual":
        return sampled(case.pi, case.q, samples)
    if kind == "optimal":
        return optimal_baseline(case.pi, case.q), exact
    if kind == "replay_mean":
        return (case.stale * case.q).sum(1) / case.stale.sum(1), exact
    return (case.pi * case.q).sum(1) if kind == "value" else exact, exact


def fit(config: RunConfig) -> Iterator[dict[str, float]]:
    """The program of algo=baseline_fit: rows along `steps` updates, one row for a reference.

    Args:
        config: algo is a BaselineFitConfig, env.task a landscape.
    """
    algo = config.algo
    assert isinstance(algo, BaselineFitConfig)
    rng = np.random.default_rng(stream(config.seed, "problem"))
    case = problem(LANDSCAPES[config.env.task](rng, algo.gamma), algo, rng)
    return _rows(case, algo, config.seed, config.steps)


def _rows(case: Problem, algo: BaselineFitConfig, seed: int, steps: int) -> Iterator[dict[str, float]]:
    if algo.baseline != "learned":
        yield {"step": steps, **worth(case, *reference(case, algo.baseline, algo.samples))}
        return
    net, losses = Fit(case, algo, seed), list[float]()
    for step in range(1, steps + 1):
        losses.append(net.update())
        if step % algo.report_every == 0 or step == steps:
            yield {"step": step, "updates": step, "baseline_loss": sum(losses) / len(losses), **net.row()}
            losses.clear()
