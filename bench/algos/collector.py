"""The acting half of DPO and its on-policy baselines: a policy, what it sees normalised, and the steps it has taken."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.algos.normalise import Normaliser
from bench.dpo_config import OnPolicyConfig
from bench.envs.base import Step, VecEnv
from bench.errors import DivergedError
from bench.keeping import Kept, Rows
from bench.mlps import Net
from bench.ops import distributions
from bench.ops.distributions import Family


def family_of(name: str, env: VecEnv, device: torch.device) -> Family:
    """The policy's distribution for the actions of an environment."""
    if env.action_range is None:
        return distributions.Categorical(env.num_actions)
    low, high = (torch.from_numpy(end).to(device) for end in env.action_range)
    return distributions.Beta(low, high) if name == "beta" else distributions.SquashedGaussian(low, high)


class Policy(nn.Module):
    """A network and the distribution over actions that its outputs parametrise."""

    def __init__(self, family: Family, obs_shape: tuple[int, ...], hidden: Sequence[int], generator: torch.Generator):
        super().__init__()
        self.family = family
        self.net = Net(obs_shape, hidden, family.size, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Parameters of the distribution. `[N, ...]` -> `[N, size]`."""
        raw: Tensor = self.net(x)
        return raw

    def log_prob(self, x: Tensor, u: Tensor) -> Tensor:
        """log pi(u|x), `[N]`, differentiable in the network."""
        return self.family.log_prob(self(x), u)


class Rollout(NamedTuple):
    """The steps of an iteration, time first. What is after an end is masked by the discount."""

    x: Tensor  # [T, B, ...] normalised observations acted on
    u: Tensor  # [T, B, d] or [T, B] actions as the policy drew them
    r: Tensor  # [T, B] normalised rewards
    discount: Tensor  # [T, B] gamma, 0 where the episode ended or was cut
    cut: Tensor  # [T, B] bool, cut by a limit: its reward still lacks the bootstrap
    final: Tensor  # [M, ...] normalised last observations of the M cut steps, in the order of cut.nonzero()
    x_last: Tensor  # [B, ...] what follows the last step


class Transition(NamedTuple):
    """One step of all environments, normalised, as replay keeps it."""

    x: Tensor  # [B, ...]
    u: Tensor  # [B, ...]
    r: Tensor  # [B]
    x_next: Tensor  # [B, ...] the step's own next observation
    x_reset: Tensor  # [B, ...] what is acted on next: after an end, the first observation of what follows
    done: Tensor  # [B] float, 1 where the episode terminated


class Collector(Kept):
    """Acts with a policy that somebody else trains, and keeps an iteration's steps."""

    KEPT = ("x", "steps", "final")  # policy, generator and normaliser are kept by the owner

    def __init__(self, policy: Policy, config: OnPolicyConfig, env: VecEnv, generator: torch.Generator):
        self.policy, self.config, self.generator = policy, config, generator
        self.device = next(policy.parameters()).device
        self.normaliser = Normaliser(config.normalise, env.obs_shape, env.num_envs, config.gamma)
        self.x: Tensor | None = None  # what is acted on next
        self.steps = Rows()  # fields of a roll-out, [B, ...] each
        self.final: list[Tensor] = []  # normalised last observations of cut steps

    @torch.no_grad()
    def act(self, obs: np.ndarray) -> np.ndarray:
        """Sample an action per environment."""
        if self.x is None:
            self.normaliser.see(obs)
            self.x = self._tensor(self.normaliser.observations(obs))
        raw = self.policy(self.x)
        if not bool(torch.isfinite(raw).all()):
            raise DivergedError("the policy's outputs are no numbers any more")
        u = self.policy.family.sample(raw, self.generator)
        self.steps.append({"x": self.x, "u": u})
        action: np.ndarray = self.policy.family.to_env(u).cpu().numpy()
        return action

    def observe(self, step: Step) -> Transition:
        """Add what the last action led to."""
        x_next, x_reset, r = (self._tensor(part) for part in self.normaliser.transition(step))
        ended = step.terminated | step.truncated
        discount = self._tensor(np.where(ended, np.float32(0), np.float32(self.config.gamma)))
        cut = self._tensor(step.truncated)
        row = self.steps[-1]
        row.update(r=r, discount=discount, cut=cut)
        if step.truncated.any():
            self.final.append(x_next[cut])
        self.x = x_reset
        return Transition(row["x"], row["u"], r, x_next, x_reset, self._tensor(step.terminated).float())

    def take(self) -> Rollout:
        """The steps since the last call; begins the next iteration."""
        assert self.x is not None
        columns = self.steps.columns()
        final = torch.cat(self.final) if self.final else self.x[:0]
        self.steps.clear()
        self.final.clear()
        return Rollout(**columns, final=final, x_last=self.x)

    @torch.no_grad()
    def mode(self, obs: np.ndarray) -> np.ndarray:
        """Deterministic actions on raw observations, with the statistics of training, which stay as they are."""
        x = self._tensor(self.normaliser.observations(obs))
        action: np.ndarray = self.policy.family.to_env(self.policy.family.mean(self.policy(x))).cpu().numpy()
        return action

    def _tensor(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(self.device)
