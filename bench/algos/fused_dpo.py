"""DPO for several seeds at once: S agents that learn in lockstep, their networks stacked (bench.algos.stacked).

Each agent is a `Dpo` as it would be alone, with its own environments, replay, normaliser, generators. Its parameters
are views of the stacked ones, so that it is scored, saved and hashed by itself. What costs time is done for all seeds
in one product: acting, critic, baseline, policy. Losses are means per seed, summed over seeds, and Adam works number by
number, so that no seed feels another. The equations and choices stand in bench.algos.dpo.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.adam import Adam
from bench.algos.collector import Rollout
from bench.algos.dpo import Dpo
from bench.algos.dpo_values import ActionValues, Batch
from bench.algos.learners import minibatches, policy_metrics, require_finite, standardise, surrogate
from bench.algos.stacked import StackedNet, StackedPolicy
from bench.envs.base import Step
from bench.errors import DivergedError
from bench.keeping import Rows
from bench.ops.losses import gaussian_nll, kl_policy_loss
from bench.precision import Working

MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam's state, beside its count of steps


class StackedValues(ActionValues):
    """Critics, targets and residuals of S seeds: as `ActionValues`, with S before the states, and losses `[S]`."""

    def __init__(self, members: Sequence[ActionValues], policy: Any, precision: str):
        self.config, self.policy = members[0].config, policy
        nets: dict[str, Any] = {
            name: StackedNet([getattr(member, name) for member in members]) for name in ("critic", "residual", "target")
        }
        self.critic, self.residual, self.target = nets["critic"], nets["residual"], nets["target"]
        self.working = {name: Working(net, precision) for name, net in nets.items()}
        cfg = self.config
        self.optimizers = {
            name: Adam(nets[name].parameters(), lr=rate, eps=cfg.adam_eps)
            for name, rate in (("critic", cfg.learning_rate), ("residual", cfg.baseline_learning_rate))
        }

    def learn(self, batch: Batch, generators: Any) -> Tensor:
        """One update of each critic on replayed steps. Returns their losses `[S]`."""
        with torch.no_grad():
            u_next = self.policy.family.sample(self.policy(batch["x_next"]), generators)
        return self._follow(self.critic_loss(batch, u_next))

    def learn_returns(self, x: Tensor, u: Tensor, returns: Tensor) -> Tensor:
        """One update of each on its iteration's own returns `[S, N, K]`. Returns their losses `[S]`."""
        mean, sigma = self.value(self.net("critic"), x, u)
        if self.config.critic == "mse":
            return self._follow((mean - returns.mean(-1)).square().mean(-1))
        return self._follow(torch.stack([gaussian_nll(*of) for of in zip(mean, sigma, returns, strict=True)]))

    def _follow(self, losses: Tensor) -> Tensor:
        self.working["critic"].step(self.optimizers["critic"], losses.sum())
        self.working["target"].follow(self.working["critic"], self.config.tau)  # E9
        return losses.detach()

    def learn_baseline(self, batch: Batch, generators: Any) -> Tensor:
        """One update of each g on replayed steps. Returns their losses `[S]`."""
        with torch.no_grad():
            q, _ = self.value(self.net("critic"), batch["x"], batch["u"])
        losses = (self.baseline(batch["x"], generators)[0] - q).square().mean(-1)
        self.working["residual"].step(self.optimizers["residual"], losses.sum())
        return losses.detach()


class Block:
    """S agents of one configuration and of equal age that learn together.

    Args:
        agents: of observations that are vectors, with learner ppo or a2c. Their parameters become views, and their
            moments are here until `give`.
        precision: as theirs (bench.precision).
    """

    def __init__(self, agents: Sequence[Dpo], precision: str):
        first = agents[0]
        self.agents, self.config, self.num_envs, self.device = agents, first.config, first.num_envs, first.device
        master = StackedPolicy([agent.policy_net.net for agent in agents], first.policy_net.family)
        self.policy = Working(master, precision)
        self.acting: Any = self.policy.net
        self.values = StackedValues([agent.values for agent in agents], self.acting, precision)
        rate, eps = self.config.learning_rate, self.config.adam_eps
        self.optimizer = Adam(master.parameters(), lr=rate, eps=eps)
        self._take()

    # --- moments -----------------------------------------------------------------------------------------------

    def _optimizers(self) -> list[tuple[Adam, list[Adam]]]:
        """Each optimiser of the block, and those of the agents in its place."""
        of_values = [
            (ours, [agent.values.optimizers[name] for agent in self.agents])
            for name, ours in self.values.optimizers.items()
        ]
        return [(self.optimizer, [agent.optimizer for agent in self.agents]), *of_values]

    def _take(self) -> None:
        for ours, theirs in self._optimizers():
            for i, parameter in enumerate(_parameters(ours)):
                states = [their.state.get(_parameters(their)[i]) for their in theirs]
                held = [state for state in states if state]
                if len(held) == len(theirs):
                    moments = {name: torch.stack([state[name] for state in held]) for name in MOMENTS}
                    ours.state[parameter] = {"step": held[0]["step"].clone(), **moments}

    def give(self) -> None:
        """Bring each agent's optimisers up to date, to be saved or to go into another block."""
        for ours, theirs in self._optimizers():
            for i, parameter in enumerate(_parameters(ours)):
                if state := ours.state.get(parameter):
                    for seed, their in enumerate(theirs):
                        moments = {name: state[name][seed].clone() for name in MOMENTS}
                        their.state[_parameters(their)[i]] = {"step": state["step"].clone(), **moments}

    # --- acting ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, obs: Sequence[np.ndarray]) -> list[np.ndarray | DivergedError]:
        """An action per environment of each seed, or why a seed has none. Args: obs: `[B, d]` of each seed."""
        collectors = [agent.collector for agent in self.agents]
        for collector, seen in zip(collectors, obs, strict=True):
            if collector.x is None:
                collector.normaliser.see(seen)
                collector.x = torch.from_numpy(collector.normaliser.observations(seen)).to(self.device)
        raws = self.acting(torch.stack([collector.x for collector in collectors if collector.x is not None]))
        actions: list[np.ndarray | DivergedError] = []
        for collector, raw in zip(collectors, raws, strict=True):
            if not bool(torch.isfinite(raw).all()):
                actions.append(DivergedError("the policy's outputs are no numbers any more"))
                continue
            assert collector.x is not None
            family = collector.policy.family
            u = family.sample(raw, collector.generator)
            collector.steps.append({"x": collector.x, "u": u})
            actions.append(family.to_env(u).cpu().numpy())
        return actions

    def observe(self, steps: Sequence[Step]) -> list[dict[str, float] | DivergedError]:
        """Take in the step of each seed and learn. Returns the metrics of each, or how it diverged."""
        for agent, step in zip(self.agents, steps, strict=True):
            agent._remember(agent.collector.observe(step))
        first = self.agents[0]
        if first.replay.size * self.num_envs >= self.config.batch_size:
            for agent in self.agents:
                agent.due += self.config.utd * self.num_envs
            while first.due >= 1:
                losses = self.values.learn(*self._replayed("critic"))
                for agent, loss in zip(self.agents, losses, strict=True):
                    agent.due -= 1
                    agent.rows.append({"loss_critic": loss})
                    self._count(agent, self.config.batch_size)
        if len(first.collector.steps) == self.config.learner.steps:
            return self._improve()
        return [{} for _ in self.agents]

    def _replayed(self, stream: str) -> tuple[Batch, list[torch.Generator]]:
        """Steps `[S, N, ...]`, each seed's from its own replay with its own generator, and the generators."""
        batches, generators = zip(*(agent._replayed(stream) for agent in self.agents), strict=True)
        return {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}, list(generators)

    @staticmethod
    def _count(agent: Dpo, steps: int) -> None:
        agent.values.updates += 1
        agent.values.trained += steps

    # --- improvement -------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Bring the networks that the agents compute with by themselves to their masters, which have changed."""
        for agent in self.agents:
            agent.policy.refresh()
            agent.values.refresh()

    def _improve(self) -> list[dict[str, float] | DivergedError]:
        cfg, agents = self.config, self.agents
        rollouts = [agent.collector.take() for agent in agents]
        fits = Rows()
        for _ in range(cfg.learner.baseline_updates if cfg.residual else 0):
            fits.append({"loss_baseline": self.values.learn_baseline(*self._replayed("baseline"))})
        self._publish()
        advantages, returns, estimated = zip(*map(Dpo.estimate, agents, rollouts), strict=True)
        x = torch.stack([rollout.x.flatten(0, 1) for rollout in rollouts])
        u = torch.stack([rollout.u.flatten(0, 1) for rollout in rollouts])
        a = torch.stack([standardise(advantage).flatten() for advantage in advantages])  # E6
        with torch.no_grad():
            log_mu = self.acting.family.log_prob(self.acting(x), u)
        rows = self._epochs(x, u, a, torch.stack([r.flatten(0, 1) for r in returns]), log_mu)
        self._publish()
        return [
            self._told(seed, rollout, log_mu[seed], estimated[seed], rows, fits)
            for seed, rollout in enumerate(rollouts)
        ]

    def _told(
        self, seed: int, rollout: Rollout, log_mu: Tensor, estimated: dict[str, float], rows: Rows, fits: Rows
    ) -> dict[str, float] | DivergedError:
        """The metrics of one seed's iteration. Args: rows, fits: of all seeds, `[S]` a number."""
        agent = self.agents[seed]
        agent.iterations += 1
        x, u = rollout.x.flatten(0, 1), rollout.u.flatten(0, 1)
        try:
            metrics = estimated | {
                "version": agent.iterations,
                "updates": agent.policy_updates,
                "trained": agent.values.trained,
                "lr": self.config.learning_rate,
                **_means(rows, seed),
                **policy_metrics(agent.acting, x, u, log_mu, agent.generators["diagnostics"]),
                **agent.rows.means(),
                **_means(fits, seed),
            }
            require_finite(metrics, agent.policy_updates)
        except DivergedError as error:
            return error
        except FloatingPointError as error:
            return DivergedError(str(error))
        finally:
            agent.rows.clear()
        return metrics

    def _epochs(self, x: Tensor, u: Tensor, a: Tensor, returns: Tensor, log_mu: Tensor) -> Rows:
        """The learner's epochs over the iterations' steps `[S, N, ...]`. Returns losses, `[S]` each."""
        cfg, rows = self.config, Rows()
        orders = (minibatches(cfg.learner, a.shape[1], agent.generators["improve"]) for agent in self.agents)
        for order in zip(*orders, strict=True):
            xs, us, advantage, targets, log_mus = (_chosen(of, order) for of in (x, u, a, returns, log_mu))
            row, losses = {}, torch.zeros(len(self.agents), device=self.device)
            if cfg.omega > 0:
                log_pi = self.acting.family.log_prob(self.acting(xs), us)
                parts = zip(log_pi, log_mus, advantage, strict=True)
                row["loss_policy"] = torch.stack([surrogate(cfg.learner, *part) for part in parts])
                losses = losses + cfg.omega * row["loss_policy"]
            if cfg.omega < 1:
                row["loss_off"], row["positive"] = self._off_policy_losses()
                losses = losses + (1 - cfg.omega) * row["loss_off"]
            self.policy.step(self.optimizer, losses.sum())
            row["loss_return"] = self.values.learn_returns(xs, us, targets)
            for agent in self.agents:
                agent.policy_updates += 1
                self._count(agent, xs.shape[1])
            rows.append({name: value.detach() for name, value in row.items()})
        return rows

    def _off_policy_losses(self) -> tuple[Tensor, Tensor]:
        """L_off of each seed on its replayed states and fresh actions, and the share of positive advantages."""
        batch, generators = self._replayed("replay")
        x, family, values = batch["x"], self.acting.family, self.values
        raw = self.acting(x)
        u = family.sample(raw, generators)
        with torch.no_grad():
            draws: Any = generators
            advantage = values.value(values.net("critic"), x, u)[0] - values.baseline(x, draws)[0]
            positive = (advantage > 0).float().mean(-1)
            if self.config.clamp_advantage:
                advantage = advantage.clamp(min=0)
        parts = zip(family.log_prob(raw, u), advantage, strict=True)
        return torch.stack([kl_policy_loss(*part, alpha=self.config.alpha) for part in parts]), positive


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return list(optimizer.param_groups[0]["params"])


def _chosen(values: Tensor, order: Sequence[Tensor]) -> Tensor:
    """Rows of each seed. Args: values: `[S, N, ...]`; order: `[n]` of each seed. Returns `[S, n, ...]`."""
    return torch.stack([of.index_select(0, i.to(of.device)) for of, i in zip(values, order, strict=True)])


def _means(rows: Rows, seed: int) -> dict[str, float]:
    return {name: column[:, seed].mean().item() for name, column in rows.columns().items()}
