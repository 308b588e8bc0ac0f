"""DAPO as PPO+DA (Wang et al. 2019) and its relatives: PPO with V-trace advantages, IMPALA, A2C.

Per policy version: every actor generates whole roll-outs with the published policy pi_t (bench.algos.actor); they enter
the replay; then M updates, each on roll-outs drawn uniformly from the replay, of

    L = - mean min(w B, clip(w, 1 - e, 1 + e) B) + b 0.5 mean min(w, 3) (V - v)^2 - c H
    B = A / rms(A) - (1/eta) D,    A_i = q_i - V_i (V-trace),    D_i = Q_pi(f)_i,    f = log pi - log pi_t

then the policy is published. Everything in B is a constant under differentiation. Other forms of the first term
(`policy_loss`) stand in bench.ops.losses, other f (`divergence`) in bench.ops.divergences, other estimates of D
(`estimator`) in bench.algos.estimators. PPO has 1/eta = 0; IMPALA (Espeholt et al. 2018) is the V-trace actor-critic on
the newest version, once; A2C (Mnih et al. 2016) is that with one update per version, so that w = 1.
Source: eq. 11, 12, 14, 19, 20, algorithm 1; where paper and released code differ, or leave a choice:

D1  The product inside D runs from k = 1; 1-step is D = f by horizon = 0, not by c_D = 0.
D2  The advantage is divided by its root mean square over the batch and not centred; D is not scaled.
D3  Episode starts reset V-trace, D and the LSTM alike, and q: the discount is 0 before a start.
D4  The schedule is synchronous: the paper's learner trains on 100 updates while its actors generate the next 14 336
    steps; here the two take turns, with the same reuse and replay. The age of the data is uniform over the same
    K versions, and younger by the half version that a policy acts beside the learner: 914 instead of 964 updates
    on average in the paper's setting. The burn-in of 1024 steps never binds there. With `overlap` a version is trained
    while the policy published before it acts, as in the paper; but steps enter the replay a version at a time: 1014.
D5  A run whose steps end within a version trains on that rest with updates in proportion. With `sampling: once` on its
    whole roll-outs, the last batch as small as it comes.
D6  Adam's epsilon stands beside the bias-corrected root (PyTorch); TensorFlow's, of the released code, beside the
    uncorrected one, which damps about the first hundred updates more.
D7  `released` puts back where the released code departs from the formulas: `shifted_divergence` in D,
    `unmasked_returns` in q alone, whose reward then has no bootstrap of a time limit; the other two in the actor.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import graphs, seeding
from bench.algos import probes
from bench.algos.actor import HEADS, Actor, Batch
from bench.algos.estimators import exact_divergence, with_variance_of
from bench.algos.learners import require_finite
from bench.algos.overlap import Beside, frames_of
from bench.config import DapoConfig, RunConfig
from bench.envs.base import Step, VecEnv
from bench.keeping import Kept, Rows
from bench.nets import ActorCritic, sha256
from bench.ops import losses
from bench.ops.divergences import DIVERGENCES, multi_step
from bench.ops.losses import importance_ratio, rms_normalise, weighted_mean
from bench.ops.returns import action_returns, vtrace
from bench.precision import Working
from bench.replay import RolloutReplay

STREAMS = ("policy", "replay", "diagnostics", "noise")


class Dapo(Kept):
    """Actor and learner of one run."""

    KEPT = ("net", "optimizer", "generators", "generated", "trained", "updates", "version", "chunks")
    MEMORY = ("replay", "actor", "exact", "fresh", "frames", "beside")

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
        self.working = Working(self.net, run.precision)
        assert isinstance(self.working.net, ActorCritic)
        self.computing = self.working.net
        self.optimizer = graphs.adam(self.net, self.config.learning_rate, self.config.adam_eps)  # D6
        self.generators = {name: seeding.generator(run.seed, name) for name in STREAMS}
        self.num_envs = env.num_envs
        self.last = run.steps // env.num_envs * env.num_envs  # steps that the run generates
        self.rollouts = self.config.batch_size // self.config.rollout_length  # of an update
        self.collect = self.config.collect_per_env(env.num_envs)
        capacity = min(self.config.replay_capacity, max(self.collect, run.steps // env.num_envs))
        capacity = self.collect if self.config.sampling == "once" else capacity
        self.replay = RolloutReplay(capacity, env.num_envs)
        self.beside = Beside(self.computing, run.threads) if self.config.overlap else None  # D4
        self.frames = frames_of(env, capacity, self.collect if self.beside else 0, self.device)
        acting = graphs.acting(self.beside.net if self.beside else self.computing)
        self.actor = Actor(acting, self.config, env.num_envs, self.generators["policy"], self.frames)
        self.exact = exact_divergence(self.config, env, self.device)
        self.fresh = probes.Fresh(run, self.computing) if self.config.fresh_every else None
        captured = self.device.type == "cuda" and self.config.estimator == "sampled"  # others need the host's numbers
        self.graph = graphs.Static(self._step, self._changes) if captured else None
        self.generated = self.trained = self.updates = self.version = self.chunks = 0

    # --- acting ------------------------------------------------------------------------------------------------

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Sample an action per environment from the published policy."""
        if self.exact and not self.actor.steps:
            self.exact.publish(self.chunks, self._log_policy(self.exact.states), self._oldest_chunk())
        return self.actor.act(obs, start)

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        """Add what the action led to; learn when the version's roll-outs are complete."""
        self.actor.observe(step)
        self.generated += self.num_envs
        if len(self.actor.steps) == self.collect:
            return self._learn()
        # So that its row of metrics has a step of its own: the last step has the row of the last version.
        return self._trained_beside() if self.generated == self.last - self.num_envs else {}

    def finish(self) -> dict[str, float]:
        """Learn from an incomplete version at the end of the run."""
        metrics = self._learn() if self.actor.steps else {}
        return {**metrics, **self._trained_beside()}

    def policy(self, obs: np.ndarray) -> np.ndarray:
        """Action probabilities of the present network, which has no LSTM. `[N, d]` -> `[N, A]` float64."""
        return self._log_policy(torch.from_numpy(obs).to(self.device)).exp().cpu().numpy()

    @torch.no_grad()
    def _log_policy(self, obs: Tensor) -> Tensor:
        if self.config.recurrent:
            raise ValueError("a policy with an LSTM depends on more than the observation: set algo.recurrent=false")
        start = torch.zeros(1, len(obs), dtype=torch.bool, device=self.device)
        logits: Tensor = self.computing(obs.unsqueeze(0), self.net.initial_state(len(obs), self.device), start)[0][0]
        return logits.double().log_softmax(-1)

    # --- learning ----------------------------------------------------------------------------------------------

    def _learn(self) -> dict[str, float]:
        """Move the chunk into the replay, make the version's updates, publish. Returns the version's metrics.

        With `overlap` the updates are only begun, and what is published and told is the version before.
        """
        steps, generated, before = len(self.actor.steps), self.generated, self._trained_beside()
        self._store_chunk()
        if self.beside:
            self.beside.publish(self.computing, self.updates)
        if generated < self.config.burn_in or self.replay.size < self.config.rollout_length:
            return before
        if not self.beside:
            return self._train(steps, generated)
        self.beside.start(lambda: self._train(steps, generated))
        return before

    def _trained_beside(self) -> dict[str, float]:
        """Metrics of the version that was trained beside the actors, once it is complete."""
        return self.beside.result() if self.beside else {}

    def _train(self, steps: int, generated: int) -> dict[str, float]:
        """The updates of a version. Args: its steps per actor; agent steps of the run when they were complete."""
        rows = Rows()
        for batch in self._batches(steps):
            rows.append(self._update(batch))
            if self.beside and self.beside.stopped:
                return {}
        if not rows:
            return {}
        metrics = rows.means()
        require_finite({"grad_norm": metrics["grad_norm"]}, self.updates)
        metrics |= self._measure()
        self.version += 1
        return {
            "version": self.version,
            "updates": self.updates,
            "trained": self.trained,
            "reuse": self.trained / generated,
            "lr": self._learning_rate(),
            **metrics,
        }

    def _store_chunk(self) -> None:
        chunk = self.actor.take()
        chunk["born"] = torch.full_like(chunk["action"], self.beside.published if self.beside else self.updates)
        if self.exact:
            chunk["chunk"] = torch.full_like(chunk["action"], self.chunks)
        self.replay.extend(chunk)
        self.chunks += 1

    def _oldest_chunk(self) -> int:
        first = self.replay.next - self.replay.size
        return int(self.replay.fields["chunk"][first, 0]) if self.replay.size else 0

    def _batches(self, steps: int) -> Iterator[Batch]:
        """The batches of a version that has generated so many steps per actor."""
        length = self.config.rollout_length
        if self.config.sampling == "uniform":
            for _ in range(self.config.updates_per_version * steps // self.collect):  # D4, D5
                yield self.sample("replay")
            return
        offset, actor = self.replay.newest(steps, length)
        order = torch.randperm(len(offset), generator=self.generators["replay"])
        for n in torch.split(order, self.rollouts) if len(order) else ():  # D5
            yield self.to_device(self.replay.take(offset[n], actor[n], length, HEADS))

    def sample(self, generator: str) -> Batch:
        """A batch of roll-outs, drawn uniformly from the replay with the generator of that name."""
        return self.to_device(
            self.replay.sample(self.rollouts, self.config.rollout_length, self.generators[generator], HEADS)
        )

    def to_device(self, batch: Batch) -> Batch:
        """The batch where the network is, with observations instead of the numbers of their frames."""
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        if self.frames and batch["obs"].dtype == torch.int64:  # those of environments beside the run are frames already
            batch["obs"] = self.frames.take(batch["obs"])
        return batch

    def evaluate(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Present log-probabilities of the stored actions, ratios to the stored ones, values, entropies; `[T, N]`."""
        logits, v, _ = self.computing(batch["obs"], (batch["h"], batch["c"]), batch["start"])  # D3
        log_pi = logits.log_softmax(-1).gather(-1, batch["action"].unsqueeze(-1)).squeeze(-1)
        ratio = importance_ratio(log_pi, batch["log_mu"], clip=self.config.log_ratio_clip)
        return log_pi, ratio, v, losses.categorical_entropy(logits)

    def value_targets(self, batch: Batch, v: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """Value target and raw advantage, `[T, N]` each, without gradient."""
        cfg, v, tail = self.config, v.detach(), batch["ret"][-1]
        v_target, q = vtrace(
            batch["r"], batch["discount"], v, ratio.detach(), tail, rho_bar=cfg.rho_v, c_bar=cfg.c_v
        )  # D3
        if cfg.released.unmasked_returns:
            q = action_returns(batch["raw"], torch.full_like(v, cfg.gamma), v_target, tail)  # D7
        return v_target, q - v

    def scaled(self, advantage: Tensor, weight: Tensor) -> Tensor:
        """The advantage as it enters the policy loss."""
        return rms_normalise(advantage, weight) if self.config.normalise_advantage else advantage  # D2

    def sampled_divergence(self, batch: Batch, log_pi: Tensor, ratio: Tensor, horizon: int | None) -> Tensor:
        """D with so many future terms, from the roll-outs themselves, `[T, N]`, without gradient."""
        cfg = self.config
        f = DIVERGENCES[cfg.divergence](log_pi.detach(), batch["log_mu"])
        return multi_step(
            f,
            batch["discount"],  # D3
            ratio.detach(),
            c_bar=cfg.c_d,
            rho_bar=cfg.rho_d,
            horizon=horizon,  # D1
            shifted=cfg.released.shifted_divergence,  # D7
        )

    def divergence(self, batch: Batch, log_pi: Tensor, ratio: Tensor, generator: str = "noise") -> Tensor:
        """D as this run estimates it, `[T, N]`, without gradient. Args: generator: name of that of the noise."""
        if self.exact:
            return self.exact(batch["obs"], batch["action"], batch["chunk"], self._log_policy(self.exact.states))
        if self.config.estimator == "sampled":
            return self.sampled_divergence(batch, log_pi, ratio, self.config.horizon)
        f, full = (self.sampled_divergence(batch, log_pi, ratio, horizon) for horizon in (0, None))
        return with_variance_of(f, full, batch["weight"], self.generators[generator])

    def policy_loss(self, log_pi: Tensor, ratio: Tensor, advantage: Tensor, d: Tensor, weight: Tensor) -> Tensor:
        """The first term of L in the form that was configured. Args: advantage: as `scaled` returns it."""
        cfg = self.config
        if cfg.policy_loss == "outside":
            return losses.outside_loss(ratio, advantage, d, inv_eta=cfg.inv_eta, clip=cfg.clip, weight=weight)
        b = advantage - cfg.inv_eta * d
        if cfg.policy_loss == "unclipped":
            return losses.unclipped_loss(ratio, b, weight=weight)
        if cfg.policy_loss == "actor_critic":
            return losses.actor_critic_loss(log_pi, ratio, b, rho_bar=cfg.rho_v, weight=weight)
        return losses.ppo_clip(ratio, b, clip=cfg.clip, weight=weight)

    def loss(self, batch: Batch) -> tuple[Tensor, Batch]:
        """L of a batch, and the metrics that come with it, as tensors."""
        cfg, weight = self.config, batch["weight"]
        log_pi, ratio, v, entropy = self.evaluate(batch)
        v_target, advantage = self.value_targets(batch, v, ratio)
        d = self.divergence(batch, log_pi, ratio)
        loss_policy = self.policy_loss(log_pi, ratio, self.scaled(advantage, weight), d, weight)
        value_ratio = ratio if cfg.weight_values else None
        loss_value = losses.value_loss(v, v_target, value_ratio, ratio_cap=cfg.value_ratio_cap, weight=weight)
        mean_entropy = weighted_mean(entropy, weight)
        metrics = {
            "loss_policy": loss_policy.detach(),
            "loss_value": loss_value.detach(),
            "entropy": mean_entropy.detach(),
            **probes.of_batch(batch, log_pi, ratio, advantage, d, cfg.clip),
        }
        return loss_policy + cfg.value_coef * loss_value - cfg.entropy_coef * mean_entropy, metrics

    def _update(self, batch: Batch) -> Batch:
        """One gradient step. Returns its metrics as tensors, so that nothing waits for the device."""
        graphs.set_rate(self.optimizer, self._learning_rate())
        metrics = (self.graph or self._step)(batch)
        metrics["staleness"] = weighted_mean((self.updates - batch["born"]).float(), batch["weight"])
        self.updates += 1
        self.trained += batch["r"].numel()
        return metrics

    def _step(self, batch: Batch) -> Batch:
        """What of an update is the device's alone."""
        loss, metrics = self.loss(batch)
        norm = self.working.step(self.optimizer, loss, self.config.max_grad_norm)
        assert norm is not None
        metrics["grad_norm"] = norm
        return metrics

    def _changes(self) -> list[Tensor]:
        return graphs.optimised(self.optimizer, list(self.computing.parameters()))

    def _learning_rate(self) -> float:
        """Linear in the trained steps, whatever the length of this run: a short run is the start of a long one."""
        return self.config.learning_rate * max(0.0, 1 - self.trained / self.config.lr_horizon)

    def _measure(self) -> dict[str, float]:
        """What the probes say, in the versions in which they are due."""
        cfg = self.config
        metrics: dict[str, float] = {}
        if cfg.diagnostics_every and self.version % cfg.diagnostics_every == 0:
            metrics |= probes.variances(self)
        if self.fresh and self.version % cfg.fresh_every == 0:
            metrics |= self.fresh.compare(self)
        return metrics

    # --- state -------------------------------------------------------------------------------------------------

    def parameters_sha256(self) -> str:
        """Hash of all parameters by name."""
        self._settle()
        return sha256(self.net)

    def learnt(self) -> dict[str, Any]:
        """See `Kept`."""
        self._settle()
        return super().learnt()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Kept`."""
        self._settle()
        super().load_state_dict(state)
        self.working.refresh()
        if self.graph:
            self.graph.forget()  # the optimiser's moments are other tensors now

    def close(self) -> None:
        """Give up a training under way."""
        if self.beside:
            self.beside.close()

    def _settle(self) -> None:
        """Wait for the training under way, which changes nothing but when it is complete."""
        if self.beside:
            self.beside.wait()
