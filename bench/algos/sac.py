"""Soft actor-critic (Haarnoja et al. 2018b): the off-policy yardstick beside DPO.

Every step enters the replay and is followed by `utd` updates on a batch of it, with a' ~ pi(.|s'), a ~ pi(.|s):

    y = r + gamma (1 - done) ( min_j Q'_j(s', a') - alpha log pi(a'|s') ),
    critics      sum_j mean (Q_j - y)^2,
    policy       mean[ alpha log pi(a|s) - min_j Q_j(s, a) ],  a reparametrised: a = squash(m(s) + sigma(s) noise),
    temperature  mean[ -alpha (log pi(a|s) + H) ] over log alpha, the entropy's target H;

then the target critics Q'_1, Q'_2 follow by Polyak averaging. Until `random_steps` the actions are uniform and nothing
is learnt. Networks, replay, normalisation and distributions are those of bench.algos.dpo, with relu for tanh.
Source: Haarnoja et al. 2018b (arXiv 1812.05905), algorithm 1, eq. 5-9 and 17-18, restated from memory. Choices:

S1  log pi is the density of u in (0, 1)^d; that of the paper's a = 2 u - 1 is smaller by d log 2. `target_entropy` is
    meant for a, as the paper's -d is, so H = target_entropy - d log 2. Metrics give the entropy of u, as elsewhere.
S2  done is a termination alone: a cut episode bootstraps with its true last observation, which is what replay keeps.
S3  The critics' squared errors lack the paper's factor 1/2, which Adam's step cancels.
S4  log alpha begins at 0. Critics, policy and temperature step in this order, each with the newest of the others.
S5  Policy and temperature use the same draw of a; the policy's gradient is that of both critics' smaller one.
S6  Updates begin with the first step of the policy, and with a whole batch in the replay; none are made up for.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import seeding
from bench.adam import Adam
from bench.algos.collector import family_of
from bench.algos.learners import require_finite
from bench.algos.normalise import Normaliser
from bench.config import RunConfig
from bench.dpo_config import SacConfig
from bench.envs.base import Step, VecEnv
from bench.errors import DivergedError
from bench.keeping import Kept, Rows
from bench.mlps import Net
from bench.nets import sha256
from bench.ops.distributions import SquashedGaussian
from bench.precision import Working
from bench.replay import RolloutReplay


class Sac(Kept):
    """Actor, twin critics, temperature and replay of one run."""

    KEPT = (
        "policy_net",
        "critics",
        "targets",
        "temperature",
        "optimizers",
        "normaliser",
        "generators",
        "generated",
        "updates",
        "reports",
        "due",
    )
    MEMORY = ("replay", "x", "u", "rows")

    def __init__(self, run: RunConfig, env: VecEnv):
        assert isinstance(run.algo, SacConfig)
        self.config, self.device, self.num_envs = run.algo, torch.device(run.device), env.num_envs
        cfg, init = self.config, seeding.generator(run.seed, "init")
        family = family_of("squashed_gaussian", env, self.device)
        assert isinstance(family, SquashedGaussian)
        self.family, shape, relu = family, env.obs_shape, torch.relu
        self.policy_net = Net(shape, cfg.hidden, family.size, init, activation=relu).to(self.device)
        self.critics, self.targets = (
            nn.ModuleList(Net(shape, cfg.hidden, 1, init, code=family.code_size, activation=relu) for _ in range(2)).to(
                self.device
            )
            for _ in range(2)
        )
        self.targets.load_state_dict(self.critics.state_dict())
        self.targets.requires_grad_(False)
        self.working = {
            name: Working(net, run.precision)
            for name, net in (("policy", self.policy_net), ("critics", self.critics), ("targets", self.targets))
        }
        self.temperature = nn.ParameterDict({"log_alpha": nn.Parameter(torch.zeros((), device=self.device))})  # S4
        dimensions = env.num_actions
        wanted = -float(dimensions) if cfg.target_entropy is None else cfg.target_entropy
        self.target_entropy = wanted - dimensions * math.log(2)  # S1
        self.optimizers = {
            name: Adam(net.parameters(), lr=cfg.learning_rate, eps=cfg.adam_eps)
            for name, net in (("policy", self.policy_net), ("critics", self.critics), ("temperature", self.temperature))
        }
        self.generators = {name: seeding.generator(run.seed, name, run.device) for name in ("policy", "update")}
        self.generators["replay"] = seeding.generator(run.seed, "replay")  # which lies in the computer's own memory
        self.normaliser = Normaliser(cfg.normalise, env.obs_shape, env.num_envs, cfg.gamma)
        self.replay = RolloutReplay(max(1, min(cfg.replay_capacity, run.steps) // env.num_envs), env.num_envs)
        self.x: Tensor | None = None  # what is acted on next
        self.u: Tensor | None = None  # what was done last
        self.generated = self.updates = self.reports = 0
        self.due = 0.0  # updates owed
        self.rows = Rows()  # of the updates since the last report

    @property
    def alpha(self) -> Tensor:
        """The temperature."""
        alpha: Tensor = self.temperature["log_alpha"].exp()
        return alpha

    # --- acting ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Sample an action per environment, from the uniform distribution at first."""
        if self.x is None:
            self.normaliser.see(obs)
            self.x = self._tensor(self.normaliser.observations(obs))
        generator = self.generators["policy"]
        if self.generated < self.config.random_steps:
            size = (self.num_envs, self.family.code_size)
            self.u = torch.rand(size, generator=generator, device=self.device)
        else:
            raw = self.net("policy")(self.x)
            if not bool(torch.isfinite(raw).all()):
                raise DivergedError(f"the policy's outputs are no numbers any more after {self.updates} updates")
            self.u = self.family.sample(raw, generator)
        action: np.ndarray = self.family.to_env(self.u).cpu().numpy()
        return action

    @torch.no_grad()
    def mode(self, obs: np.ndarray) -> np.ndarray:
        """Deterministic actions on raw observations, for evaluation; the statistics stay as they are."""
        raw = self.net("policy")(self._tensor(self.normaliser.observations(obs)))
        action: np.ndarray = self.family.to_env(self.family.mean(raw)).cpu().numpy()
        return action

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        """Add what the action led to; update everything; report from time to time."""
        self._remember(step)
        policy_acted = self.generated >= self.config.random_steps
        self.generated += self.num_envs
        if policy_acted and self.replay.size * self.num_envs >= self.config.batch_size:  # S6
            self.due += self.config.utd * self.num_envs
            while self.due >= 1:
                self.due -= 1
                self._update()
        if self.generated // self.config.report_every <= self.reports:
            return {}
        self.reports = self.generated // self.config.report_every
        return self._report()

    def finish(self) -> dict[str, float]:
        """Nothing is left to learn from; report the updates since the last row."""
        return self._report()

    def _remember(self, step: Step) -> None:
        assert self.x is not None
        assert self.u is not None
        x_next, x_reset, r = (self._tensor(part) for part in self.normaliser.transition(step))
        done = self._tensor(step.terminated.astype(np.float32))  # S2
        fields = {"x": self.x, "u": self.u, "r": r, "x_next": x_next, "done": done}
        self.replay.extend({name: value.cpu().unsqueeze(0) for name, value in fields.items()})
        self.x = x_reset

    def _tensor(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(self.device)

    # --- learning ----------------------------------------------------------------------------------------------

    def net(self, name: str) -> nn.Module:
        """The network of that name that computes."""
        return self.working[name].net

    def values(self, name: str, x: Tensor, u: Tensor) -> Tensor:
        """Both values of drawn actions, `[2, N]`, by `critics` or `targets`."""
        critics, code = self.net(name), self.family.encode(u)
        assert isinstance(critics, nn.ModuleList)
        return torch.stack([critic(x, code)[..., 0] for critic in critics])

    @torch.no_grad()
    def target(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """y of replayed steps, `[N]`."""
        u_next, log_pi = self.family.rsample(self.net("policy")(batch["x_next"]), generator)
        soft = self.values("targets", batch["x_next"], u_next).amin(0) - self.alpha * log_pi
        return batch["r"] + self.config.gamma * (1 - batch["done"]) * soft

    def policy_loss(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Of replayed states; with log pi `[N]` of the actions drawn, and the mean of their smaller value."""
        u, log_pi = self.family.rsample(self.net("policy")(x), generator)
        q = self.values("critics", x, u).amin(0)
        return (self.alpha.detach() * log_pi - q).mean(), log_pi.detach(), q.detach().mean()

    def temperature_loss(self, log_pi: Tensor) -> Tensor:
        """Its descent raises alpha while the entropy of u is below its target. Args: log_pi: `[N]`."""
        return -self.alpha * (log_pi + self.target_entropy).mean()  # S1

    def _update(self) -> None:
        batch = self.replay.sample(self.config.batch_size, 1, self.generators["replay"])
        batch = {name: value[0].to(self.device) for name, value in batch.items()}
        y = self.target(batch, self.generators["update"])
        loss_critic = (self.values("critics", batch["x"], batch["u"]) - y).square().mean(1).sum()  # S3
        self.working["critics"].step(self.optimizers["critics"], loss_critic)
        loss_policy, log_pi, q = self.policy_loss(batch["x"], self.generators["update"])
        self.working["policy"].step(self.optimizers["policy"], loss_policy)
        self._descend_temperature(log_pi)  # S5
        self.working["targets"].follow(self.working["critics"], self.config.tau)
        self.updates += 1
        row = {"loss_policy": loss_policy, "loss_critic": loss_critic, "q_mean": q, "entropy": -log_pi.mean()}
        self.rows.append({name: value.detach() for name, value in row.items()})

    def _descend_temperature(self, log_pi: Tensor) -> None:
        optimizer = self.optimizers["temperature"]
        optimizer.zero_grad(set_to_none=True)
        self.temperature_loss(log_pi).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _report(self) -> dict[str, float]:
        if not self.rows:
            return {}
        metrics = {
            "version": self.updates,  # every update is acted with at once
            "updates": self.updates,
            "trained": self.updates * self.config.batch_size,
            "lr": self.config.learning_rate,
            **self.rows.means(),
            "alpha": self.alpha.item(),
        }
        self.rows.clear()
        require_finite(metrics, self.updates)
        return metrics

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        super().load_state_dict(state)
        for working in self.working.values():
            working.refresh()

    def parameters_sha256(self) -> str:
        """Hash of all parameters by name."""
        return sha256(self.policy_net, self.critics, self.targets, self.temperature)
