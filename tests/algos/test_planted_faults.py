"""Faults that are easy to make in the update rule, planted and caught."""

import pytest
import torch
from dapo_cases import configured, trained
from torch import Tensor

from bench.algos.dapo import Dapo

Batch = dict[str, Tensor]


def moved_agent(agent_class: type[Dapo] = Dapo, *overrides: str) -> tuple[Dapo, Batch]:
    """An agent in the middle of learning, and a batch whose roll-outs cross ends and whose ratios are not 1."""
    agent, _ = trained(configured("algo.learning_rate=1e-2", "algo.rollout_length=8", *overrides), agent_class)
    batch = agent.sample("diagnostics")
    assert (batch["discount"][:-1] == 0).any()
    assert (agent.evaluate(batch)[1] - 1).abs().max() > 0.05
    return agent, batch


# --- the formulas once more, by plain loops that let gradients through where they are told to ----------------------


def constant(x: Tensor, name: str, flowing: str) -> Tensor:
    return x if name == flowing else x.detach()


def written_out(agent: Dapo, batch: Batch, flowing: str = "", ratio_shift: int = 0) -> Tensor:
    """L of the paper; gradients flow through the quantity that is named, too."""
    cfg = agent.config
    log_pi, ratio, v, _ = agent.evaluate(batch)
    w, length = ratio.detach().roll(ratio_shift, 0), len(v)
    f = constant(log_pi - batch["log_mu"], "f", flowing)
    inner = ratio if flowing == "D" else w
    d = []
    u = torch.zeros_like(f[0])
    for i in reversed(range(length)):
        d.insert(0, f[i] + batch["discount"][i] * u)
        u = inner[i].clamp(max=cfg.rho_d) * f[i] + batch["discount"][i] * inner[i].clamp(max=cfg.c_d) * u
    d = torch.stack(d)  # carries what flows through f or through the ratios, else nothing
    w = ratio.detach()
    own = constant(v, "target", flowing)
    target = [own[-1] + w[-1].clamp(max=1) * (batch["ret"][-1] - own[-1])]
    q = [batch["ret"][-1]]
    for i in reversed(range(length - 1)):
        g, rho = batch["discount"][i], w[i].clamp(max=1)
        q.insert(0, batch["r"][i] + g * target[0])
        after = target[0] - own[i + 1]
        target.insert(0, own[i] + rho * (batch["r"][i] + g * own[i + 1] - own[i]) + g * rho * after)
    a = torch.stack(q).detach() - constant(v, "A", flowing)
    b = a / (a.detach().square().mean().sqrt() + 1e-4) - cfg.inv_eta * d
    policy = -torch.minimum(ratio * b, ratio.clamp(0.8, 1.2) * b).mean()
    value = 0.5 * (w.clamp(max=3) * (v - torch.stack(target)) ** 2).mean()
    return policy + cfg.value_coef * value


def gradient(agent: Dapo, loss: Tensor) -> Tensor:
    grads = torch.autograd.grad(loss, list(agent.net.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in grads])


def distance(agent: Dapo, batch: Batch, **fault) -> float:
    """Relative distance of the shipped gradient from that of the formulas."""
    reference = gradient(agent, written_out(agent, batch, **fault))
    return ((gradient(agent, agent.loss(batch)[0]) - reference).norm() / reference.norm()).item()


VALUES = "algo.value_coef=0.5"


def test_the_gradient_of_the_loss_is_that_of_the_formulas():
    assert distance(*moved_agent(Dapo, VALUES)) < 1e-4


@pytest.mark.parametrize("flowing", ["f", "D", "A", "target"])
def test_a_forgotten_stop_gradient_is_caught(flowing):
    assert distance(*moved_agent(Dapo, VALUES), flowing=flowing) > 1e-3


def test_a_ratio_shifted_by_one_step_in_d_is_caught():
    assert distance(*moved_agent(Dapo, VALUES), ratio_shift=1) > 1e-3


def test_the_released_codes_shift_of_ratio_and_f_is_caught():
    assert distance(*moved_agent(Dapo, VALUES, "algo.released.shifted_divergence=true")) > 1e-3


# --- what follows an end must not reach what is before it ----------------------------------------------------------


class NoStartInD(Dapo):
    """Planted fault: the sum over the future runs through the end of an episode."""

    def sampled_divergence(self, batch, log_pi, ratio, horizon):
        return super().sampled_divergence(unmarked(self, batch), log_pi, ratio, horizon)


class NoStartInVtrace(Dapo):
    """Planted fault: V-trace runs through the end of an episode."""

    def value_targets(self, batch, v, ratio):
        return super().value_targets(unmarked(self, batch), v, ratio)


def unmarked(agent: Dapo, batch: Batch) -> Batch:
    return {**batch, "discount": torch.full_like(batch["discount"], agent.config.gamma)}


def reaches_back(agent: Dapo, batch: Batch) -> dict[str, bool]:
    """Whether what comes after the last end of each roll-out changes D, v and A of the steps up to that end."""
    ended = (batch["discount"] == 0).flip(0).cumsum(0).flip(0) > 0  # an end is at or after the step
    assert ended[:-1].any()
    log_pi, ratio, v, _ = agent.evaluate(batch)
    noise = torch.where(ended, 0.0, 0.3)
    moved = {**batch, "ret": batch["ret"] + noise, "r": batch["r"] + noise}
    d = [agent.divergence(batch, log_pi + shift, ratio + 0.0) for shift in (0.0, noise)]
    targets = [agent.value_targets(x, y, ratio) for x, y in ((batch, v), (moved, v + noise))]
    results = {"D": d, "v": [t[0] for t in targets], "A": [t[1] for t in targets]}
    return {name: bool(((x - y).abs()[ended] > 1e-6).any()) for name, (x, y) in results.items()}


def test_nothing_reaches_back_over_an_end():
    assert reaches_back(*moved_agent()) == {"D": False, "v": False, "A": False}


def test_a_dropped_start_flag_in_the_divergence_is_caught():
    assert reaches_back(*moved_agent(NoStartInD)) == {"D": True, "v": False, "A": False}


def test_a_dropped_start_flag_in_v_trace_is_caught():
    assert reaches_back(*moved_agent(NoStartInVtrace)) == {"D": False, "v": True, "A": True}
