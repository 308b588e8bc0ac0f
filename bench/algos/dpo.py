"""Distillation policy optimisation (Ma 2023): one policy improved from its own data and from replayed states.

Every step enters the roll-out and the replay, and is followed by `utd` updates of the critic N(mu, sigma)(s, a) on

    KL( N(r + gamma (1 - done) mu'(s', a'), gamma sigma'(s', a')) || N(mu, sigma)(s, a) ),    a' ~ pi

with a Polyak target mu', sigma'. An iteration of T steps ends with updates of g on (b(s) - mu(s, a))^2 over the replay,

    b(s) = E_{a ~ pi} [ (1 + g(s, a)) mu(s, a) ],
    A_k = nu (Q_k - b) + (1 - nu) UAE(Q_k, b),    Q_k ~ N(mu, sigma)(s, a), k = 1 .. K,

and with the learner's epochs on omega L_on + (1 - omega) L_off, where L_on is PPO's or A2C's with mean_k A_k,
standardised, TRPO takes omega times its step, and over replayed states, with a ~ pi,

    L_off = mean log pi(a|s) stopgrad( alpha log pi(a|s) - max(mu(s, a) - b(s), 0) );

each is accompanied by an update of the critic on the likelihood of A_k + b. Estimators and losses stand in bench.ops.
Source: Ma 2023 (arXiv 2302.00533), of which only the abstracts and the author's code, MagiFeeney/DPO @ 2e00ca2, could
be read; where the code departs from the method, or leaves a choice:

E1  b averages over the actions as the critic sees them (`released.unscaled_baseline_actions`: over their unit draws).
E2  A cut episode is replayed with its true last observation (`released.reset_next_state`: with the first one of the
    next episode).
E3  It bootstraps with E_pi mu at that observation (`released.zero_final_state`: with a state of zeros, which is what
    the code reads until its replay is full), and no estimate runs across it.
E4  The target's sigma keeps gamma sigma' where the episode terminated (`mask_terminal_sigma`: nothing but the floor, as
    a strict Bellman target has). sigma is softplus plus `sigma_floor`.
E5  Draws of a Beta are kept as drawn and inside (1e-6, 1 - 1e-6); log pi is their density in the unit cube.
E6  Advantages are standardised over each environment's T steps, once per iteration.
E7  Discrete actions are one-hot for critic and g, behind a hidden layer; frames are scaled to [0, 1] and have a trunk
    per network. The code fed the index as a number, and raw bytes.
E8  With `advantage: gae` b takes the place of V, in every bootstrap, and so enters the critic's returns; nu (Q - b)
    stays. With `critic: mse` there is one particle, mu.
E9  The target critic follows every update of the critic, of either kind. The learner sees no decay, no clipping of
    gradients, no entropy bonus.
E10 With `precision=bf16` TRPO's step and the measured variances of gradients are those of the float32 policy: a search
    along a line needs steps that bfloat16 does not resolve.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import seeding
from bench.adam import Adam
from bench.algos.collector import Collector, Policy, Rollout, Transition, family_of
from bench.algos.dpo_values import ActionValues, Batch
from bench.algos.learners import (
    block_variance,
    minibatches,
    move,
    natural_step,
    policy_metrics,
    require_finite,
    standardise,
    surrogate,
)
from bench.config import RunConfig
from bench.dpo_config import DpoConfig
from bench.envs.base import Step, VecEnv
from bench.frames import Frames
from bench.keeping import Kept, Rows
from bench.nets import sha256
from bench.ops.losses import kl_policy_loss
from bench.ops.returns import gae, td_lambda, uae
from bench.precision import Working
from bench.replay import RolloutReplay

STREAMS = ("policy", "replay", "critic", "baseline", "improve", "diagnostics")
BLOCK = 64  # steps of a block whose gradient variance is measured
CENTRAL = 1.6449  # half-width of a Gaussian's central 90 %, in standard deviations


class Dpo(Kept):
    """Actor, critic, baseline and replay of one run."""

    KEPT = (
        "policy_net",
        "values",
        "optimizer",
        "normaliser",
        "generators",
        "iterations",
        "policy_updates",
        "due",
    )
    MEMORY = ("replay", "frames", "collector", "rows")

    def __init__(self, run: RunConfig, env: VecEnv):
        assert isinstance(run.algo, DpoConfig)
        self.config, self.device, self.num_envs = run.algo, torch.device(run.device), env.num_envs
        cfg, init = self.config, seeding.generator(run.seed, "init")
        family = family_of(cfg.policy, env, self.device)
        # E5: the family keeps draws inside; E7: Net has one-hot actions and frames of its own
        self.policy_net = Policy(family, env.obs_shape, cfg.hidden, init).to(self.device)
        self.policy = Working(self.policy_net, run.precision)  # E10
        acting = self.policy.net
        assert isinstance(acting, Policy)
        self.acting = acting
        self.values = ActionValues(cfg, self.acting, env.obs_shape, init, self.device, run.precision)  # E1, E4, E9
        self.optimizer = Adam(self.policy_net.parameters(), lr=cfg.learning_rate, eps=cfg.adam_eps)
        self.generators = {name: seeding.generator(run.seed, name) for name in STREAMS}
        self.collector = Collector(self.acting, cfg, env, self.generators["policy"])
        self.normaliser = self.collector.normaliser
        held = max(1, min(cfg.replay_capacity, run.steps) // env.num_envs)
        self.replay = RolloutReplay(held, env.num_envs)
        pixels = len(env.obs_shape) == 3
        self.frames = Frames(env.num_envs, env.obs_shape, held + 1) if pixels else None
        self.iterations = self.policy_updates = 0
        self.due = 0.0  # critic updates owed
        self.rows = Rows()  # of critic updates since the last iteration

    # --- acting ------------------------------------------------------------------------------------------------

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Sample an action per environment."""
        return self.collector.act(obs)

    def mode(self, obs: np.ndarray) -> np.ndarray:
        """Deterministic actions, for evaluation."""
        return self.collector.mode(obs)

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        """Add what the action led to; update the critic; improve the policy when the iteration is complete."""
        self._remember(self.collector.observe(step))
        if self.replay.size * self.num_envs >= self.config.batch_size:
            self.due += self.config.utd * self.num_envs
            while self.due >= 1:
                self.due -= 1
                self.rows.append({"loss_critic": self.values.update_critic(*self._replayed("critic"))})
        return self._improve() if len(self.collector.steps) == self.config.learner.steps else {}

    def finish(self) -> dict[str, float]:
        """Steps of an incomplete iteration are not learnt from."""
        return {}

    def _remember(self, t: Transition) -> None:
        x, x_next = t.x, t.x_reset if self.config.released.reset_next_state else t.x_next  # E2
        if self.frames:  # numbers of frames in the place of frames
            x = self.frames.push(x.cpu().numpy()) if self.frames.seen is None else self.frames.ids
            x_next = self.frames.push(x_next.cpu().numpy(), between=True)
            self.frames.push(t.x_reset.cpu().numpy())
        fields = {"x": x, "u": t.u, "r": t.r, "x_next": x_next, "done": t.done}
        self.replay.extend({name: value.cpu().unsqueeze(0) for name, value in fields.items()})

    def _replayed(self, stream: str) -> tuple[Batch, torch.Generator]:
        """Steps drawn from the replay with the generator of that name, and the generator."""
        batch = self.replay.sample(self.config.batch_size, 1, self.generators[stream])
        batch = {name: value[0] for name, value in batch.items()}
        if self.frames:
            batch |= {name: self.frames.take(batch[name]) for name in ("x", "x_next")}
        return {name: value.to(self.device) for name, value in batch.items()}, self.generators[stream]

    # --- improvement -------------------------------------------------------------------------------------------

    def _improve(self) -> dict[str, float]:
        cfg, learner = self.config, self.config.learner
        rollout = self.collector.take()
        fits = Rows()
        for _ in range(learner.baseline_updates if cfg.residual else 0):
            fits.append({"loss_baseline": self.values.fit_baseline(*self._replayed("baseline"))})
        advantage, returns, metrics = self.estimate(rollout)
        x, u = rollout.x.flatten(0, 1), rollout.u.flatten(0, 1)
        a, returns = standardise(advantage).flatten(), returns.flatten(0, 1)  # E6
        with torch.no_grad():
            log_mu = self.acting.log_prob(x, u)
        if learner.name == "trpo":
            rows = Rows([self._improve_by_trust_region(x, u, a, returns)])
        else:
            rows = Rows(self._improve_by_minibatches(x, u, a, returns, log_mu))
        self.iterations += 1
        metrics |= {
            "version": self.iterations,
            "updates": self.policy_updates,
            "trained": self.values.trained,
            "lr": cfg.learning_rate,
            **rows.means(),
            **policy_metrics(self.acting, x, u, log_mu, self.generators["diagnostics"]),
            **self.rows.means(),
            **fits.means(),
        }
        self.rows.clear()
        require_finite(metrics, self.policy_updates)
        return metrics

    @torch.no_grad()
    def estimate(self, rollout: Rollout) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Advantages `[T, B]`, returns `[T, B, K]` for the critic, and metrics of both."""
        cfg, generator = self.config, self.generators["improve"]
        steps, envs = rollout.r.shape
        x, u = rollout.x.flatten(0, 1), rollout.u.flatten(0, 1)
        mean, sigma = (part.view(steps, envs) for part in self.values.value(self.values.net("critic"), x, u))
        u_last = self.acting.family.sample(self.acting(rollout.x_last), generator)
        mean_last, sigma_last = self.values.value(self.values.net("critic"), rollout.x_last, u_last)
        q = self._particles(torch.cat([mean, mean_last[None]]), torch.cat([sigma, sigma_last[None]]))
        b, v = (part.view(steps, envs) for part in self.values.baselines(x, generator))
        b_last, v_last = self.values.baselines(rollout.x_last, generator)
        b_final, v_final = b_last[:0], v_last[:0]
        if len(rollout.final):
            b_final, v_final = self.values.baselines(self._final(rollout), generator)
        r, r_gae = self._bootstrapped(rollout, v_final), self._bootstrapped(rollout, b_final)
        by_uae = uae(r, rollout.discount, q, b, lam=cfg.lam)
        by_gae = gae(r_gae, rollout.discount, b, torch.cat([b[1:], b_last[None]]), rollout.discount == 0, lam=cfg.lam)
        estimates = by_uae if cfg.advantage == "uae" else by_gae.unsqueeze(-1)  # E8
        mixed = cfg.nu * (q[:-1] - b.unsqueeze(-1)) + (1 - cfg.nu) * estimates
        advantage = mixed.mean(-1)
        metrics = {
            "advantage_rms": advantage.square().mean().sqrt().item(),
            "q_mean": mean.mean().item(),
            "q_sigma": sigma.mean().item(),
            "q_sigma_min": sigma.min().item(),
            "baseline_gap": (b - v).mean().item(),
        }
        if cfg.critic == "gaussian":
            complete = td_lambda(r, rollout.discount, torch.cat([mean[1:], mean_last[None]]), lam=1.0)
            inside = ((complete - mean).abs() <= CENTRAL * sigma).float().mean().item()
            metrics["critic_calibration"] = abs(inside - 0.9)
        if cfg.diagnostics_every and self.iterations % cfg.diagnostics_every == 0:
            metrics |= self._gradient_variances(rollout, {"pg_var_uae": by_uae.mean(-1), "pg_var_gae": by_gae})
        return advantage, mixed + b.unsqueeze(-1), metrics

    def _particles(self, mean: Tensor, sigma: Tensor) -> Tensor:
        if self.config.critic == "mse":
            return mean.unsqueeze(-1)
        size = (*mean.shape, self.config.critic_samples)
        noise = torch.randn(size, generator=self.generators["improve"]).to(self.device)
        return mean.unsqueeze(-1) + sigma.unsqueeze(-1) * noise

    def _final(self, rollout: Rollout) -> Tensor:
        """What follows the cut steps, `[M, ...]`."""
        return torch.zeros_like(rollout.final) if self.config.released.zero_final_state else rollout.final  # E3

    def _bootstrapped(self, rollout: Rollout, value: Tensor) -> Tensor:
        """Rewards, those of cut steps with the discounted value `[M]` of what was to follow."""
        r = rollout.r.clone()
        r[rollout.cut] += self.config.gamma * value
        return r

    def _improve_by_minibatches(
        self, x: Tensor, u: Tensor, a: Tensor, returns: Tensor, log_mu: Tensor
    ) -> Iterator[dict[str, Tensor]]:
        cfg = self.config
        for i in minibatches(cfg.learner, len(a), self.generators["improve"]):
            loss, row = torch.zeros((), device=self.device), {}
            if cfg.omega > 0:
                row["loss_policy"] = surrogate(cfg.learner, self.acting.log_prob(x[i], u[i]), log_mu[i], a[i])
                loss = loss + cfg.omega * row["loss_policy"]
            if cfg.omega < 1:
                row["loss_off"], row["positive"] = self.off_policy_loss()
                loss = loss + (1 - cfg.omega) * row["loss_off"]
            self.policy.step(self.optimizer, loss)
            self.policy_updates += 1
            row["loss_return"] = self.values.fit_returns(x[i], u[i], returns[i])
            yield {name: value.detach() for name, value in row.items()}

    def _improve_by_trust_region(self, x: Tensor, u: Tensor, a: Tensor, returns: Tensor) -> dict[str, Tensor]:
        cfg, learner = self.config, self.config.learner
        row: dict[str, Tensor] = {}
        if cfg.omega > 0:
            step, tries = natural_step(learner, self.policy_net, x, u, a)  # E10
            move(self.policy_net, cfg.omega * step)
            self.policy.refresh()
            row["line_search"] = torch.tensor(float(tries))
        if cfg.omega < 1:
            row["loss_off"], row["positive"] = self.off_policy_loss()
            self.policy.step(self.optimizer, (1 - cfg.omega) * row["loss_off"])
        self.policy_updates += 1
        assert learner.value_updates
        assert learner.value_batch
        fits = []
        for _ in range(learner.value_updates):
            i = torch.randint(len(a), (learner.value_batch,), generator=self.generators["improve"])
            fits.append(self.values.fit_returns(x[i], u[i], returns[i]))
        row["loss_return"] = torch.stack(fits).mean()
        return {name: value.detach() for name, value in row.items()}

    def off_policy_loss(self) -> tuple[Tensor, Tensor]:
        """L_off on replayed states and fresh actions, and the share of positive advantages there."""
        batch, generator = self._replayed("replay")
        x, family = batch["x"], self.acting.family
        raw = self.acting(x)
        u = family.sample(raw, generator)
        with torch.no_grad():
            advantage = self.values.value(self.values.net("critic"), x, u)[0] - self.values.baseline(x, generator)[0]
            positive = (advantage > 0).float().mean()
            if self.config.clamp_advantage:
                advantage = advantage.clamp(min=0)
        return kl_policy_loss(family.log_prob(raw, u), advantage, alpha=self.config.alpha), positive

    @torch.enable_grad()
    def _gradient_variances(self, rollout: Rollout, candidates: dict[str, Tensor]) -> dict[str, float]:
        """Of the policy gradient with UAE and with GAE on the same steps, critic and baseline (nu = 0)."""
        measured = {
            name: block_variance(self.policy_net, rollout.x, rollout.u, a, block=min(BLOCK, len(a) // 2))
            for name, a in candidates.items()
        }
        return {name: value for name, value in measured.items() if math.isfinite(value)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        super().load_state_dict(state)
        self.policy.refresh()
        self.values.refresh()

    def parameters_sha256(self) -> str:
        """Hash of all parameters by name."""
        return sha256(self.policy_net, *self.values.networks())
