"""DAPO as PPO+DA (Wang et al. 2019), and its baseline PPO with V-trace advantages (1/eta = 0).

Per policy version: every actor generates whole roll-outs with the published policy pi_t; they enter the replay;
then M updates, each on roll-outs drawn uniformly from the replay, of

    L = - mean min(w B, clip(w, 1 - e, 1 + e) B) + b 0.5 mean min(w, 3) (V - v)^2 - c H
    B = A / rms(A) - (1/eta) D,    A_i = q_i - V_i (V-trace),    D_i = Q_pi(f)_i,    f = log pi - log pi_t

then the policy is published. Everything in B is a constant under differentiation.
Source: eq. 11, 12, 14, 19, 20, algorithm 1; where paper and released code differ, or leave a choice:

D1  pi_t(a|s) is the probability stored by the actor, so it differs from sample to sample; there is no snapshot.
D2  The product inside D runs from k = 1; 1-step is D = f by horizon = 0, not by c_D = 0.
D3  The advantage is divided by its root mean square over the batch and not centred; D is not scaled.
D4  The last step of a roll-out uses the stored TD(lambda) return of the behaviour values. It is computed
    once, when the actor's chunk is complete, and bootstrapped from the value after the chunk; the original's replay
    memory computes it anew over the open episode with each push. At 896 steps a chunk this cuts more than a tenth
    of the lambda-tail for 2 % of the steps, at 256 (dapo_cpu) for 8 %.
D5  Episode starts reset V-trace, D and the LSTM alike; the stored LSTM state is the one before the
    step.
D6  A time limit bootstraps: gamma V_t(last observation) enters the stored reward, the discount is 0.
D7  The schedule is synchronous: the paper's learner trains on 100 updates while its actors generate the next 14 336
    steps; here the two take turns, with the same reuse and replay. The age of the data is uniform over the same
    K versions, and younger by the half version that a policy acts beside the learner: 914 instead of 964 updates
    on average in the paper's setting. The burn-in of 1024 steps never binds there.
D8  A run whose steps end within a version trains on that rest with updates in proportion.
D9  Steps that the protocol forced (FIRE after a reset) have weight 0 and are cut off from their neighbours.
D10  Adam's epsilon stands beside the bias-corrected root (PyTorch); TensorFlow's, of the released code, beside the
    uncorrected one, which damps about the first hundred updates more.
"""

import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import seeding
from bench.config import DapoConfig, RunConfig
from bench.envs.base import Step, VecEnv
from bench.loop import is_boundary
from bench.nets import ActorCritic
from bench.ops.divergences import DIVERGENCES, multi_step
from bench.ops.losses import categorical_entropy, importance_ratio, ppo_clip, rms_normalise, value_loss, weighted_mean
from bench.ops.returns import td_lambda, vtrace
from bench.replay import RolloutReplay

Batch = dict[str, Tensor]
HEADS = ("h", "c")  # fields that a roll-out needs at its first step only


def _variance(x: Tensor, weight: Tensor) -> Tensor:
    return weighted_mean((x - weighted_mean(x, weight)).square(), weight)


class Dapo:
    """Actor and learner of one run."""

    def __init__(self, run: RunConfig, env: VecEnv):
        assert isinstance(run.algo, DapoConfig)
        self.config = run.algo
        self.device = torch.device(run.device)
        self.net = ActorCritic(
            env.obs_shape,
            env.num_actions,
            recurrent=self.config.recurrent,
            generator=seeding.generator(run.seed, "init"),
        ).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.net.parameters(), lr=self.config.learning_rate, eps=self.config.adam_eps, fused=True
        )  # D10
        self.generators = {name: seeding.generator(run.seed, name) for name in ("policy", "replay", "diagnostics")}
        self.num_envs = env.num_envs
        self.rollouts = self.config.batch_size // self.config.rollout_length  # of an update
        self.collect = self.config.collect_per_env(env.num_envs)
        capacity = min(self.config.replay_capacity, max(self.collect, run.steps // env.num_envs))
        self.replay = RolloutReplay(capacity, env.num_envs)
        self.state = self.net.initial_state(env.num_envs, self.device)
        self.chunk: list[Batch] = []  # steps of the version being generated, [actors, ...] each
        self.generated = self.trained = self.updates = self.version = 0

    # --- acting ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Sample an action per environment from the published policy and keep what the learner will need."""
        x = torch.from_numpy(obs)
        h, c = self.state
        logits, value, self.state = self.net(
            x.to(self.device).unsqueeze(0), self.state, torch.from_numpy(start).to(self.device).unsqueeze(0)
        )
        log_p = logits[0].log_softmax(-1).cpu()
        action = torch.multinomial(log_p.exp(), 1, generator=self.generators["policy"])
        self.chunk.append(
            {
                "obs": x,
                "action": action[:, 0],
                "log_mu": log_p.gather(1, action)[:, 0],  # D1
                "v": value[0].cpu(),
                "start": torch.from_numpy(start),
                "h": h.cpu(),
                "c": c.cpu(),
            }
        )  # D5
        return action[:, 0].numpy()

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        """Add what the action led to; learn when the version's roll-outs are complete."""
        reward = torch.from_numpy(step.reward)
        if step.truncated.any():
            last = self._value(step.final_obs, np.zeros_like(start))
            reward = reward + self.config.gamma * last * torch.from_numpy(step.truncated)  # D6
        discount = self.config.gamma * torch.from_numpy(~is_boundary(step)).float()
        self.chunk[-1].update(r=reward, discount=discount, weight=torch.from_numpy(step.acted).float())  # D9
        self.generated += self.num_envs
        self.last_obs, self.last_start = step.obs, is_boundary(step)
        return self._learn() if len(self.chunk) == self.collect else {}

    def finish(self) -> dict[str, float]:
        """Learn from an incomplete version at the end of the run."""
        return self._learn() if self.chunk else {}

    @torch.no_grad()
    def _value(self, obs: np.ndarray, start: np.ndarray) -> Tensor:
        """Value of observations that follow the last step, from the actors' present LSTM state. `[actors]`."""
        _, value, _ = self.net(
            torch.from_numpy(obs).to(self.device).unsqueeze(0),
            self.state,
            torch.from_numpy(start).to(self.device).unsqueeze(0),
        )
        now: Tensor = value[0].cpu()
        return now

    # --- learning ----------------------------------------------------------------------------------------------

    def _learn(self) -> dict[str, float]:
        """Move the chunk into the replay, make the version's updates, publish. Returns the version's metrics."""
        updates = self.config.updates_per_version * len(self.chunk) // self.collect  # D7, D8
        self._store_chunk()
        if updates == 0 or self.generated < self.config.burn_in or self.replay.size < self.config.rollout_length:
            return {}
        rows = [self._update() for _ in range(updates)]
        metrics = {name: torch.stack([row[name] for row in rows]).mean().item() for name in rows[0]}
        if not math.isfinite(metrics["grad_norm"]):
            raise FloatingPointError(f"the gradient norm is {metrics['grad_norm']} after {self.updates} updates")
        if self.config.diagnostics_every and self.version % self.config.diagnostics_every == 0:
            metrics |= self._diagnose()
        self.version += 1
        return {
            "version": self.version,
            "updates": self.updates,
            "trained": self.trained,
            "reuse": self.trained / self.generated,
            "lr": self._learning_rate(),
            **metrics,
        }

    @torch.no_grad()
    def _store_chunk(self) -> None:
        chunk = {name: torch.stack([step[name] for step in self.chunk]) for name in self.chunk[0]}
        v = chunk.pop("v")
        v_next = torch.cat([v[1:], self._value(self.last_obs, self.last_start).unsqueeze(0)])
        chunk["ret"] = td_lambda(chunk["r"], chunk["discount"], v_next, lam=self.config.lam)  # D4
        chunk["born"] = torch.full_like(chunk["action"], self.updates)
        self.replay.extend(chunk)
        self.chunk = []

    def _sample(self, generator: str) -> Batch:
        batch = self.replay.sample(self.rollouts, self.config.rollout_length, self.generators[generator], HEADS)
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def _evaluate(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Present log-probabilities of the stored actions, values and entropies, `[T, N]` each, with gradient."""
        logits, v, _ = self.net(batch["obs"], (batch["h"], batch["c"]), batch["start"])
        log_pi = logits.log_softmax(-1).gather(-1, batch["action"].unsqueeze(-1)).squeeze(-1)
        return log_pi, v, categorical_entropy(logits)

    def _value_targets(self, batch: Batch, v: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """Value target and raw advantage, `[T, N]` each, without gradient."""
        v_target, q = vtrace(
            batch["r"],
            batch["discount"],
            v.detach(),
            ratio.detach(),
            batch["ret"][-1],
            rho_bar=self.config.rho_v,
            c_bar=self.config.c_v,
        )
        return v_target, q - v.detach()

    def _divergence(self, batch: Batch, log_pi: Tensor, ratio: Tensor, horizon: int | None) -> Tensor:
        """D with so many future terms, `[T, N]`, without gradient."""
        f = DIVERGENCES[self.config.divergence](log_pi.detach(), batch["log_mu"])
        return multi_step(
            f, batch["discount"], ratio.detach(), c_bar=self.config.c_d, rho_bar=self.config.rho_d, horizon=horizon
        )  # D2

    def _augmented(self, batch: Batch, advantage: Tensor, d: Tensor) -> Tensor:
        """B, the divergence-augmented advantage of the clipped surrogate, `[T, N]`."""
        return rms_normalise(advantage, batch["weight"]) - self.config.inv_eta * d  # D3

    def _update(self) -> Batch:
        """One gradient step. Returns its metrics as tensors, so that nothing waits for the device."""
        cfg = self.config
        batch = self._sample("replay")
        weight = batch["weight"]
        log_pi, v, entropy = self._evaluate(batch)
        ratio = importance_ratio(log_pi, batch["log_mu"], clip=cfg.log_ratio_clip)
        v_target, advantage = self._value_targets(batch, v, ratio)
        d = self._divergence(batch, log_pi, ratio, cfg.horizon)
        loss_policy = ppo_clip(ratio, self._augmented(batch, advantage, d), clip=cfg.clip, weight=weight)
        loss_value = value_loss(v, v_target, ratio, ratio_cap=cfg.value_ratio_cap, weight=weight)
        mean_entropy = weighted_mean(entropy, weight)
        loss = loss_policy + cfg.value_coef * loss_value - cfg.entropy_coef * mean_entropy
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = nn.utils.clip_grad_norm_(self.net.parameters(), cfg.max_grad_norm)
        self.optimizer.param_groups[0]["lr"] = self._learning_rate()
        self.optimizer.step()
        staleness = weighted_mean((self.updates - batch["born"]).float(), weight)
        self.updates += 1
        self.trained += cfg.batch_size
        with torch.no_grad():
            return {
                "loss_policy": loss_policy.detach(),
                "loss_value": loss_value.detach(),
                "entropy": mean_entropy.detach(),
                "grad_norm": grad_norm.detach(),
                "staleness": staleness,
                "kl": weighted_mean(batch["log_mu"] - log_pi, weight),
                "ratio": weighted_mean(ratio, weight),
                "clipped": weighted_mean(((ratio - 1).abs() > cfg.clip).float(), weight),
                "advantage_rms": weighted_mean(advantage.square(), weight).sqrt(),
                "d_mean": weighted_mean(d, weight),
                "d_var": _variance(d, weight),
            }

    def _learning_rate(self) -> float:
        """Linear in the trained steps, whatever the length of this run: a short run is the start of a long one."""
        return self.config.learning_rate * max(0.0, 1 - self.trained / self.config.lr_horizon)

    # --- measuring ---------------------------------------------------------------------------------------------

    def _diagnose(self) -> dict[str, float]:
        """Variances of D and of the policy gradient, of this arm and of its 1-step and full forms on the same batch.

        The same batch and parameters for all three, so that their ratio is the estimator's and not the training's.
        Drawn from a generator of its own, so that measuring does not change the run.
        """
        batch = self._sample("diagnostics")
        with torch.no_grad():
            log_pi, v, _ = self._evaluate(batch)
            ratio = importance_ratio(log_pi, batch["log_mu"], clip=self.config.log_ratio_clip)
            _, advantage = self._value_targets(batch, v, ratio)
        forms = {"": self.config.horizon, "_1step": 0, "_full": None}
        ds = {horizon: self._divergence(batch, log_pi, ratio, horizon) for horizon in set(forms.values())}
        variances = self._gradient_variances(batch, [self._augmented(batch, advantage, d) for d in ds.values()])
        gradient = dict(zip(ds, variances, strict=True))
        spread = {horizon: _variance(d, batch["weight"]).item() for horizon, d in ds.items()}
        return {
            **{f"pg_var{name}": gradient[horizon] for name, horizon in forms.items()},
            **{f"d_var{name}": spread[horizon] for name, horizon in forms.items() if name},
        }

    def _gradient_variances(self, batch: Batch, augmented: list[Tensor]) -> list[float]:
        """For each B: variance over roll-outs of the policy gradient, summed over parameters.

        sum |g|^2 - N |mean g|^2, over N - 1: the sample variance without keeping all gradients. A roll-out's loss is
        the mean over its own acted steps.
        """
        cfg = self.config
        parameters = list(self.net.parameters())
        totals = [torch.zeros(sum(p.numel() for p in parameters), device=self.device) for _ in augmented]
        squares = [0.0] * len(augmented)
        for n in range(self.rollouts):
            one = {name: x[n : n + 1] if name in HEADS else x[:, n : n + 1] for name, x in batch.items()}
            log_pi, _, _ = self._evaluate(one)
            ratio = importance_ratio(log_pi, one["log_mu"], clip=cfg.log_ratio_clip)
            for k, b in enumerate(augmented):
                loss = ppo_clip(ratio, b[:, n : n + 1], clip=cfg.clip, weight=one["weight"])
                grads = torch.autograd.grad(
                    loss, parameters, retain_graph=k + 1 < len(augmented), allow_unused=True, materialize_grads=True
                )
                gradient = torch.cat([g.flatten() for g in grads])
                totals[k] += gradient
                squares[k] += gradient.square().sum().item()
        n = self.rollouts
        return [(s - total.square().sum().item() / n) / (n - 1) for s, total in zip(squares, totals, strict=True)]

    # --- keeping -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimiser, counters and generators (not the replay)."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counters": {name: getattr(self, name) for name in ("generated", "trained", "updates", "version")},
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
        }

    def parameters_sha256(self) -> str:
        """Hash of all parameters by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.net.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
