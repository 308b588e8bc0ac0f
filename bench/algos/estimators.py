"""Estimates of D beside the sampled one: exact on a finite MDP, and the 1-step one with the noise of the sampled."""

import torch
from torch import Tensor

from bench.config import DapoConfig
from bench.envs.base import VecEnv
from bench.envs.mdp import MDP
from bench.envs.tabular import TabularVecEnv
from bench.keeping import Kept
from bench.ops.divergences import DIVERGENCES
from bench.ops.losses import weighted_mean


def variance(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted variance over all steps, a scalar. Args: x, weight: the same shape."""
    return weighted_mean((x - weighted_mean(x, weight)).square(), weight)


@torch.no_grad()
def discounted_sums(p: Tensor, pi: Tensor, f: Tensor, *, gamma: float, c: float, horizon: int | None) -> Tensor:
    """What the sampled D estimates when pi itself acts, for several f, `[K, S, A]`.

        D(s, a) = f(s, a) + E_pi[ sum_{l=1..horizon} gamma^l c^(l-1) f(s_l, a_l) | s_0 = s, a_0 = a ]

    With c = 1 and no horizon it is Q_pi(f), the gradient of the divergence of occupancies.
    Source: Wang et al. 2019, eq. 12 and Lemma 1 (the operator of eq. 10); a linear solve where horizon is None.

    Args:
        p: `[S, A, S]` transition probabilities.
        pi: `[S, A]` policy.
        f: `[K, S, A]`.
        gamma: discount.
        c: what each further step is multiplied by, c_D where it is below 1.
        horizon: number of future terms, or None for all.
    """
    if horizon == 0:
        return f.clone()
    own = (pi * f).sum(-1)  # [K, S]
    moves = torch.einsum("sa,sat->st", pi, p)
    if horizon is None:
        flow = torch.eye(len(p), dtype=p.dtype, device=p.device) - gamma * c * moves
        future = torch.linalg.solve(flow, own.T).T
    else:
        future = own
        for _ in range(horizon - 1):
            future = own + gamma * c * future @ moves.T
    return f + gamma * torch.einsum("sat,kt->ksa", p, future)


class ExactDivergence(Kept):
    """D without sampling, roll-out ends or caps of ratios; f is against the policy that acted.

    The reach is that of the sampled D: a step further on counts c_D times less. c_D = 1 is Q_pi(f), as far as gamma.

    It keeps the table of every policy whose data the replay may still hold, by the number of its chunk.
    """

    KEPT = ("published",)

    def __init__(self, mdp: MDP, config: DapoConfig, device: torch.device):
        self.p = torch.tensor(mdp.P, device=device)
        self.states = torch.eye(mdp.num_states, device=device)  # observations of all states
        self.f = DIVERGENCES[config.divergence]
        self.gamma, self.c, self.horizon = config.gamma, min(1.0, config.c_d), config.horizon
        self.published: dict[int, Tensor] = {}  # log-probabilities, [S, A] float64

    def publish(self, chunk: int, log_policy: Tensor, oldest: int) -> None:
        """Keep the policy that generates this chunk, and none that came before the chunk `oldest`."""
        self.published = {number: table for number, table in self.published.items() if number >= oldest}
        self.published[chunk] = log_policy

    @torch.no_grad()
    def __call__(self, obs: Tensor, action: Tensor, chunk: Tensor, log_policy: Tensor) -> Tensor:
        """D of each step, in single precision.

        Args:
            obs: `[T, N, S]` one-hot.
            action, chunk: `[T, N]`; chunk is the number that the step's policy was published under.
            log_policy: `[S, A]` of the policy being trained.
        """
        numbers, column = torch.unique(chunk, return_inverse=True)
        log_mu = torch.stack([self.published[number] for number in numbers.tolist()])
        f = self.f(log_policy.expand_as(log_mu), log_mu)
        q = discounted_sums(self.p, log_policy.exp(), f, gamma=self.gamma, c=self.c, horizon=self.horizon)
        return q[column, obs.argmax(-1), action].float()


def exact_divergence(config: DapoConfig, env: VecEnv, device: torch.device) -> ExactDivergence | None:
    """What `estimator: exact` asks for, or nothing."""
    if config.estimator != "exact":
        return None
    assert isinstance(env, TabularVecEnv)
    assert not config.recurrent
    return ExactDivergence(env.mdp, config, device)


@torch.no_grad()
def with_variance_of(f: Tensor, full: Tensor, weight: Tensor, generator: torch.Generator) -> Tensor:
    """f + noise, with the variance of `full` in the mean: the 1-step divergence, as noisy as the full one.

    The noise is normal and independent, of variance max(0, Var(full) - Var(f)): where the full one varies less, D = f.

    Args:
        f, full: 1-step and full divergence of the same steps.
        weight: the steps that the variances are taken over.
        generator: of the noise.
    """
    missing = (variance(full, weight) - variance(f, weight)).clamp(min=0)
    return f + missing.sqrt() * torch.randn(f.shape, generator=generator).to(f)
