"""PPO, A2C and TRPO with a value network and GAE, in DPO's protocol: the baselines that DPO is compared with.

Per iteration: T steps, A = GAE(V), standardised over each environment's steps, then the learner's epochs on its loss,
each with an update of V on its squared distance to A + V. Networks, optimiser, normalisation and sizes are DPO's
(bench.algos.dpo), without replay, critic of actions, or decay and clipping of anything.
Source: Schulman et al. 2017, algorithm 1; Mnih et al. 2016, algorithm S3; Schulman et al. 2015; Schulman et al. 2016
(GAE); a time limit bootstraps with V of the true last observation.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import seeding
from bench.adam import Adam
from bench.algos.collector import Collector, Policy, Rollout, family_of
from bench.algos.learners import (
    minibatches,
    move,
    natural_step,
    policy_metrics,
    require_finite,
    standardise,
    surrogate,
)
from bench.config import RunConfig
from bench.dpo_config import OnPolicyConfig
from bench.envs.base import Step, VecEnv
from bench.keeping import Kept, Rows
from bench.mlps import Net
from bench.nets import sha256
from bench.ops.returns import gae
from bench.precision import Working

STREAMS = ("policy", "improve", "diagnostics")


class OnPolicy(Kept):
    """Actor and learner of one run."""

    KEPT = (
        "policy_net",
        "value_net",
        "optimizers",
        "normaliser",
        "generators",
        "iterations",
        "policy_updates",
        "trained",
    )
    MEMORY = ("collector",)

    def __init__(self, run: RunConfig, env: VecEnv):
        assert isinstance(run.algo, OnPolicyConfig)
        self.config, self.device = run.algo, torch.device(run.device)
        cfg, init = self.config, seeding.generator(run.seed, "init")
        family = family_of(cfg.policy, env, self.device)
        self.policy_net = Policy(family, env.obs_shape, cfg.hidden, init).to(self.device)
        self.value_net = Net(env.obs_shape, cfg.hidden, 1, init).to(self.device)
        self.policy, self.value = Working(self.policy_net, run.precision), Working(self.value_net, run.precision)
        acting = self.policy.net
        assert isinstance(acting, Policy)
        self.acting = acting
        self.optimizers = {
            name: Adam(net.parameters(), lr=cfg.learning_rate, eps=cfg.adam_eps)
            for name, net in (("policy", self.policy_net), ("value", self.value_net))
        }
        self.generators = {name: seeding.generator(run.seed, name) for name in STREAMS}
        self.collector = Collector(self.acting, cfg, env, self.generators["policy"])
        self.normaliser = self.collector.normaliser
        self.iterations = self.policy_updates = self.trained = 0

    # --- acting ------------------------------------------------------------------------------------------------

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Sample an action per environment."""
        return self.collector.act(obs)

    def mode(self, obs: np.ndarray) -> np.ndarray:
        """Deterministic actions, for evaluation."""
        return self.collector.mode(obs)

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        """Add what the action led to; improve the policy when the iteration is complete."""
        self.collector.observe(step)
        return self._improve() if len(self.collector.steps) == self.config.learner.steps else {}

    def finish(self) -> dict[str, float]:
        """Steps of an incomplete iteration are not learnt from."""
        return {}

    # --- improvement -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def estimate(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Advantages and value targets, `[T, B]` each."""
        steps, envs = rollout.r.shape
        v = self.value.net(rollout.x.flatten(0, 1))[..., 0].unflatten(0, (steps, envs))
        v_next = torch.cat([v[1:], self.value.net(rollout.x_last)[None, :, 0]])
        r = rollout.r.clone()
        if len(rollout.final):
            r[rollout.cut] += self.config.gamma * self.value.net(rollout.final)[..., 0]
        advantage = gae(r, rollout.discount, v, v_next, rollout.discount == 0, lam=self.config.lam)
        return advantage, advantage + v

    def _improve(self) -> dict[str, float]:
        cfg, learner, rollout = self.config, self.config.learner, self.collector.take()
        advantage, returns = self.estimate(rollout)
        x, u = rollout.x.flatten(0, 1), rollout.u.flatten(0, 1)
        a, returns = standardise(advantage).flatten(), returns.flatten()
        with torch.no_grad():
            log_mu = self.acting.log_prob(x, u)
        rows = Rows()
        if learner.name == "trpo":
            step, tries = natural_step(learner, self.policy_net, x, u, a)  # E10 of bench.algos.dpo
            move(self.policy_net, step)
            self.policy.refresh()
            self.policy_updates += 1
            assert learner.value_updates
            assert learner.value_batch
            for _ in range(learner.value_updates):
                i = torch.randint(len(a), (learner.value_batch,), generator=self.generators["improve"])
                loss = self._fit(x[i], returns[i])
                rows.append({"loss_value": loss, "line_search": torch.tensor(float(tries))})
        else:
            for i in minibatches(learner, len(a), self.generators["improve"]):
                loss_policy = surrogate(learner, self.acting.log_prob(x[i], u[i]), log_mu[i], a[i])
                self.policy.step(self.optimizers["policy"], loss_policy)
                self.policy_updates += 1
                rows.append({"loss_policy": loss_policy.detach(), "loss_value": self._fit(x[i], returns[i])})
        self.iterations += 1
        metrics = {
            "version": self.iterations,
            "updates": self.policy_updates,
            "trained": self.trained,
            "lr": cfg.learning_rate,
            **rows.means(),
            "advantage_rms": advantage.square().mean().sqrt().item(),
            **policy_metrics(self.acting, x, u, log_mu, self.generators["diagnostics"]),
        }
        require_finite(metrics, self.policy_updates)
        return metrics

    def _fit(self, x: Tensor, returns: Tensor) -> Tensor:
        loss: Tensor = (self.value.net(x)[..., 0] - returns).square().mean()
        self.value.step(self.optimizers["value"], loss)
        self.trained += len(returns)
        return loss.detach()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        super().load_state_dict(state)
        self.policy.refresh()
        self.value.refresh()

    def parameters_sha256(self) -> str:
        """Hash of all parameters by name."""
        return sha256(self.policy_net, self.value_net)
