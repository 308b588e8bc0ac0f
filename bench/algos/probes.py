"""Measurements on a run that do not change it: the gradient's variance, and its bias against fresh data."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench import envs, seeding
from bench.algos.actor import HEADS, Actor, Batch
from bench.algos.estimators import variance
from bench.config import DapoConfig, RunConfig
from bench.keeping import Kept
from bench.loop import is_boundary
from bench.nets import ActorCritic
from bench.ops.losses import unclipped_loss, weighted_mean
from bench.replay import RolloutReplay

if TYPE_CHECKING:
    from bench.algos.dapo import Dapo


def cut(batch: Batch, rollouts: slice) -> Batch:
    """Some of the roll-outs of a batch."""
    return {name: x[rollouts] if name in HEADS else x[:, rollouts] for name, x in batch.items()}


def _flat_gradient(loss: Tensor, net: ActorCritic, *, retain: bool = False) -> Tensor:
    grads = torch.autograd.grad(
        loss, list(net.parameters()), retain_graph=retain, allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.flatten().float() for g in grads])


# --- of every update -----------------------------------------------------------------------------------------------


@torch.no_grad()
def of_batch(batch: Batch, log_pi: Tensor, ratio: Tensor, advantage: Tensor, d: Tensor, clip: float) -> Batch:
    """How far the policy is from the one that acted, and the spread of what moves it. `[T, N]` each -> scalars."""
    weight = batch["weight"]
    return {
        "kl": weighted_mean(batch["log_mu"] - log_pi, weight),
        "ratio": weighted_mean(ratio, weight),
        "clipped": weighted_mean(((ratio - 1).abs() > clip).float(), weight),
        "advantage_rms": weighted_mean(advantage.square(), weight).sqrt(),
        "d_mean": weighted_mean(d, weight),
        "d_var": variance(d, weight),
    }


# --- variance ------------------------------------------------------------------------------------------------------


def variances(agent: "Dapo") -> dict[str, float]:
    """Variances of D and of the policy gradient, of this run and of the 1-step and full sampled forms.

    The same batch and parameters for all three, so that their ratio is the estimator's and not the training's.
    Drawn from a generator of its own, so that measuring does not change the run.
    """
    batch = agent.sample("diagnostics")
    with torch.no_grad():
        log_pi, ratio, v, _ = agent.evaluate(batch)
        _, advantage = agent.value_targets(batch, v, ratio)
        advantage = agent.scaled(advantage, batch["weight"])
        ds: dict[int | str | None, Tensor] = {
            horizon: agent.sampled_divergence(batch, log_pi, ratio, horizon) for horizon in (0, None)
        }
        own = agent.config.horizon if agent.config.estimator == "sampled" else "own"
        if own not in ds:
            ds[own] = agent.divergence(batch, log_pi, ratio, "diagnostics")
    gradient = dict(zip(ds, gradient_variances(agent, batch, advantage, list(ds.values())), strict=True))
    forms = {"": own, "_1step": 0, "_full": None}
    return {
        **{f"pg_var{name}": gradient[form] for name, form in forms.items()},
        **{f"d_var{name}": variance(ds[form], batch["weight"]).item() for name, form in forms.items() if name},
    }


def gradient_variances(agent: "Dapo", batch: Batch, advantage: Tensor, ds: list[Tensor]) -> list[float]:
    """For each D: variance over roll-outs of the policy gradient, summed over parameters.

    sum |g|^2 - N |mean g|^2, over N - 1: the sample variance without keeping all gradients. A roll-out's loss is
    the mean over its own acted steps.
    """
    totals: list[Tensor] = []
    squares = [0.0] * len(ds)
    for n in range(agent.rollouts):
        one = cut(batch, slice(n, n + 1))
        log_pi, ratio, _, _ = agent.evaluate(one)
        for k, d in enumerate(ds):
            loss = agent.policy_loss(log_pi, ratio, advantage[:, n : n + 1], d[:, n : n + 1], one["weight"])
            gradient = _flat_gradient(loss, agent.computing, retain=k + 1 < len(ds))
            totals = totals if k < len(totals) else [*totals, torch.zeros_like(gradient)]
            totals[k] += gradient
            squares[k] += gradient.square().sum().item()
    n = agent.rollouts
    return [(s - total.square().sum().item() / n) / (n - 1) for s, total in zip(squares, totals, strict=True)]


# --- bias ----------------------------------------------------------------------------------------------------------


class Fresh(Kept):
    """The replay's policy gradient against that of fresh data of the present policy: the total bias of the former.

    It holds what the state ratio leaves out, and all else in which the replay's estimate differs: truncated ratios,
    stored tails under older values, and that the parameters were fitted to that very replay.

    Fresh data comes from environments of its own, which go on from one comparison to the next (so that their states
    are those of play under way), acted in by the policy that has just been trained. From both sides the gradient of
    - mean w A: reward advantage alone, no clip, as many roll-outs on either side. On fresh data w = 1. All advantages
    are divided by one number, the replay's root mean square if the run normalises. Each side is estimated twice, from
    two halves of the actors, which share no trajectory: r1, r2 from the replay, f1, f2 fresh.

    The fresh environments are in the midst of episodes that an older policy began, which draws f towards r a little.
    Only ratios to fresh_grad2 compare between runs: the common scale is the run's own.
    """

    KEPT = ("env", "actor", "generators", "obs", "start")

    def __init__(self, run: RunConfig, net: ActorCritic):
        assert isinstance(run.algo, DapoConfig)
        length, num_envs = run.algo.rollout_length, run.env.num_envs
        self.steps = run.algo.fresh_steps // num_envs // length * length  # of each actor
        self.halves = (range(num_envs // 2), range(num_envs // 2, num_envs))
        self.env = envs.make(run.env, run.threads)
        self.generators = {name: seeding.generator(run.seed, name) for name in ("fresh", "fresh_replay")}
        self.actor = Actor(net, run.algo, num_envs, self.generators["fresh"])
        self.obs, self.start = (
            self.env.reset(seeding.env_seeds(run.seed, num_envs, "fresh")),
            np.ones(num_envs, dtype=bool),
        )

    def generate(self) -> RolloutReplay:
        """New steps of the present policy."""
        for _ in range(self.steps):
            step = self.env.step(self.actor.act(self.obs, self.start))
            self.actor.observe(step)
            self.obs, self.start = step.obs, is_boundary(step)
        data = RolloutReplay(self.steps, self.env.num_envs)
        data.extend(self.actor.take())
        return data

    def compare(self, agent: "Dapo") -> dict[str, float]:
        """Squared distance of the two mean gradients, what noise alone would give for it, and how far the policies are.

        fresh_bias2 = (r1 - f1) . (r2 - f2), whose mean is the squared norm of the difference of means;
        fresh_noise2 = |r1 - r2|^2 / 4 + |f1 - f2|^2 / 4, the same of two halves that differ by noise alone;
        fresh_grad2 = f1 . f2; fresh_kl = mean over replayed steps of w log w - w + 1, KL(pi || mu) in the mean over mu.
        """
        length, data = agent.config.rollout_length, self.generate()
        old, new = [], []
        for half in self.halves:
            offset, actor = data.newest(self.steps, length, half)
            new.append(_advantage_gradient(agent, agent.to_device(data.take(offset, actor, length, HEADS))))
            drawn = agent.replay.sample(len(offset), length, self.generators["fresh_replay"], HEADS, half)
            old.append(_advantage_gradient(agent, agent.to_device(drawn)))
        scale = 1.0
        if agent.config.normalise_advantage:
            scale = float(np.mean([side["square"].item() for side in old])) ** 0.5 + 1e-4
        r1, r2, f1, f2 = (side["gradient"] / scale for side in (*old, *new))
        return {
            "fresh_bias2": ((r1 - f1) @ (r2 - f2)).item(),
            "fresh_noise2": ((r1 - r2).square().sum() / 4 + (f1 - f2).square().sum() / 4).item(),
            "fresh_grad2": (f1 @ f2).item(),
            "fresh_kl": float(np.mean([side["kl"].item() for side in old])),
        }


def _advantage_gradient(agent: "Dapo", batch: Batch) -> Batch:
    """Gradient of - mean w A with the raw advantage, mean of A^2, and mean KL to what acted, over the acted steps."""
    weight = batch["weight"]
    total = torch.zeros(())
    sums: Batch = {}
    for first in range(0, weight.shape[1], agent.rollouts):  # in pieces of a training batch: memory
        piece = cut(batch, slice(first, first + agent.rollouts))
        share = piece["weight"].sum()
        log_pi, ratio, v, _ = agent.evaluate(piece)
        _, advantage = agent.value_targets(piece, v, ratio)
        loss = unclipped_loss(ratio, advantage, weight=piece["weight"])
        with torch.no_grad():
            kl = weighted_mean(ratio * (log_pi - piece["log_mu"]) - ratio + 1, piece["weight"])
        parts = {
            "gradient": _flat_gradient(loss, agent.computing),
            "square": weighted_mean(advantage.square(), piece["weight"]),
            "kl": kl,
        }
        sums = {name: sums.get(name, 0) + share * part for name, part in parts.items()}
        total = total.to(share) + share
    return {name: part / total.clamp(min=1) for name, part in sums.items()}
