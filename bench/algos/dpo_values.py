"""What DPO learns of actions: the distributional critic with its target, and the residual baseline.

The equations and the numbered choices (E1, E4, E8, E9) stand in bench.algos.dpo.
"""

import torch
from torch import Tensor, nn

from bench.adam import Adam
from bench.algos.collector import Policy
from bench.dpo_config import DpoConfig
from bench.keeping import Kept
from bench.mlps import Net
from bench.ops.losses import gaussian_kl, gaussian_nll
from bench.precision import Working

Batch = dict[str, Tensor]  # fields of replayed steps, [N, ...] each

CHUNK = 512  # states whose baseline is computed at once: the actions of more do not fit a cache


class ActionValues(Kept):
    """Critic N(mu, sigma)(s, a), its Polyak target, and g(s, a) of the baseline b(s) = E_pi [ (1 + g) mu ].

    Args:
        policy: the network that computes, which others train.
        precision: of these networks (bench.precision).
    """

    KEPT = ("critic", "target", "residual", "optimizers", "updates", "trained")

    def __init__(
        self,
        config: DpoConfig,
        policy: Policy,
        obs_shape: tuple[int, ...],
        init: torch.Generator,
        device: torch.device,
        precision: str,
    ):
        self.config, self.policy = config, policy
        code, outputs = policy.family.code_size, 2 if config.critic == "gaussian" else 1
        self.critic = Net(obs_shape, config.hidden, outputs, init, code=code).to(device)
        self.residual = Net(obs_shape, config.hidden, 1, init, code=code).to(device)
        self.target = Net(obs_shape, config.hidden, outputs, init, code=code).to(device)
        self.target.load_state_dict(self.critic.state_dict())
        self.target.requires_grad_(False)
        self.working = {
            name: Working(net, precision)
            for name, net in (("critic", self.critic), ("residual", self.residual), ("target", self.target))
        }
        self.optimizers = {
            name: Adam(net.parameters(), lr=rate, eps=config.adam_eps)
            for name, net, rate in (
                ("critic", self.critic, config.learning_rate),
                ("residual", self.residual, config.baseline_learning_rate),
            )
        }
        self.updates = self.trained = 0  # of the critic, and the steps that they saw

    def net(self, name: str) -> nn.Module:
        """The network of that name that computes."""
        return self.working[name].net

    def refresh(self) -> None:
        """Bring the networks that compute to those that are kept, after these were loaded."""
        for working in self.working.values():
            working.refresh()

    # --- critic ------------------------------------------------------------------------------------------------

    def value(self, net: nn.Module, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """mu and sigma of a critic at drawn actions, `[N]` each or `[S, N]`."""
        out = net(x, self.policy.family.encode(u))
        if self.config.critic == "mse":
            return out[..., 0], torch.zeros_like(out[..., 0])
        if self.config.sigma_fixed is not None:
            return out[..., 0], torch.full_like(out[..., 0], self.config.sigma_fixed)
        return out[..., 0], nn.functional.softplus(out[..., 1]) + self.config.sigma_floor  # E4

    def critic_loss(self, batch: Batch, u_next: Tensor) -> Tensor:
        """Of replayed steps `[N]`, with the actions drawn at their next states; `[S]` losses of `[S, N]` of S seeds."""
        cfg, alive = self.config, 1 - batch["done"]
        with torch.no_grad():
            mean_next, sigma_next = self.value(self.net("target"), batch["x_next"], u_next)
            mean_target, sigma_target = batch["r"] + cfg.gamma * alive * mean_next, cfg.gamma * sigma_next
            if cfg.mask_terminal_sigma:
                sigma_target = torch.where(alive > 0, sigma_target, cfg.sigma_floor)  # E4
        mean, sigma = self.value(self.net("critic"), batch["x"], batch["u"])
        if cfg.critic == "mse":
            return (mean - mean_target).square().mean(-1)
        return gaussian_kl(mean_target, sigma_target, mean, sigma).mean(-1)

    def update_critic(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """One update on replayed steps. Returns its loss."""
        with torch.no_grad():
            u_next = self.policy.family.sample(self.policy(batch["x_next"]), generator)
        return self._step_critic(self.critic_loss(batch, u_next), len(u_next))

    def fit_returns(self, x: Tensor, u: Tensor, returns: Tensor) -> Tensor:
        """One update on the iteration's own returns `[N, K]`. Returns its loss."""
        mean, sigma = self.value(self.net("critic"), x, u)
        if self.config.critic == "mse":
            return self._step_critic((mean - returns.mean(-1)).square().mean(), len(u))
        return self._step_critic(gaussian_nll(mean, sigma, returns), len(u))

    def _step_critic(self, loss: Tensor, steps: int) -> Tensor:
        self.working["critic"].step(self.optimizers["critic"], loss)
        self.working["target"].follow(self.working["critic"], self.config.tau)  # E9
        self.updates += 1
        self.trained += steps
        return loss.detach()

    # --- baseline ----------------------------------------------------------------------------------------------

    def baseline(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """b(s), differentiable in g alone, and E_pi Q over the same draws. `[N, ...]` -> `[N]` each."""
        cfg, family, critic = self.config, self.policy.family, self.net("critic")
        with torch.no_grad():
            raw = self.policy(x)
            u = family.sample(raw, generator, cfg.baseline_samples)
            code = family.encode(u)
            q = critic(x, code)[..., 0]
            v = q.mean(0)
            if cfg.released.unscaled_baseline_actions:
                code = u  # E1
                q = critic(x, code)[..., 0]
        if not cfg.residual:
            return q.mean(0), v
        return ((1 + self.net("residual")(x, code)[..., 0]) * q).mean(0), v

    @torch.no_grad()
    def baselines(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same of many observations, without gradient."""
        pieces = [self.baseline(piece, generator) for piece in torch.split(x, CHUNK)]
        b, v = (torch.cat(part) for part in zip(*pieces, strict=True))
        return b, v

    def fit_baseline(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """One update of g on replayed steps. Returns its loss."""
        with torch.no_grad():
            q, _ = self.value(self.net("critic"), batch["x"], batch["u"])
        loss = (self.baseline(batch["x"], generator)[0] - q).square().mean()
        self.working["residual"].step(self.optimizers["residual"], loss)
        return loss.detach()

    def networks(self) -> tuple[Net, Net, Net]:
        """Critic, target and g."""
        return self.critic, self.target, self.residual
