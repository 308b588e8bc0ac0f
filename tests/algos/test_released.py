"""The released code's departures: which number each one changes, and that it changes no other."""

import numpy as np
import pytest
import torch
from dapo_cases import Scripted, configured, trained

from bench import compose
from bench.algos.actor import HEADS
from bench.algos.dapo import Dapo
from bench.loop import interact
from bench.ops.divergences import kl, multi_step

FLAGS = ("shifted_divergence", "unmasked_returns", "unmarked_starts", "late_state")
QUIET = ["algo.burn_in=1_000_000_000", "algo.gamma=0.5"]  # nothing is learnt: all agents keep the same network


def played(*flags: str, truncates: bool = False, recurrent: bool = False, steps: int = 64) -> Dapo:
    """An agent that has played episodes of 5 steps and learnt nothing."""
    released = [f"algo.released.{flag}=true" for flag in flags]
    config = configured(*QUIET, *released, f"algo.recurrent={recurrent}", steps=steps)
    env = Scripted(4, 5, truncates=truncates)
    agent = Dapo(config, env)
    for _ in interact(env, agent, np.arange(4), config.steps):
        pass
    return agent


def rollouts(agent: Dapo) -> dict[str, torch.Tensor]:
    """All 16 steps of every actor as one roll-out each, under a policy that has moved."""
    offset, actor = agent.replay.newest(16, 16)
    return agent.replay.take(offset, actor, 16, HEADS)


def fields_that_differ(a: Dapo, b: Dapo) -> set[str]:
    return {name for name in a.replay.fields if not torch.equal(a.replay.fields[name], b.replay.fields[name])}


# Steps 4, 9 and 14 end an episode.
ENDS = torch.tensor([4, 9, 14])


def test_without_a_flag_no_raw_reward_is_kept_and_the_preset_of_the_paper_has_no_flag():
    agent = played()
    assert "raw" not in agent.replay.fields
    assert not any(getattr(agent.config.released, flag) for flag in FLAGS)


def test_the_preset_of_the_released_code_sets_all_four():
    config = compose.to_run_config(compose.compose(["hparams=dapo_released_code"]))
    assert all(getattr(config.algo.released, flag) for flag in FLAGS)


def test_the_shifted_divergence_changes_d_alone():
    paper, code = played(), played("shifted_divergence")
    assert fields_that_differ(paper, code) == set()
    batch = rollouts(paper)
    log_pi = batch["log_mu"] + 0.3 * torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    ratio, v = torch.exp(log_pi - batch["log_mu"]), torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    for x, y in zip(paper.value_targets(batch, v, ratio), code.value_targets(batch, v, ratio), strict=True):
        assert torch.equal(x, y)
    d = code.divergence(batch, log_pi, ratio)
    f = kl(log_pi, batch["log_mu"])
    assert torch.equal(d, multi_step(f, batch["discount"], ratio, c_bar=0.5, shifted=True))
    assert torch.equal(paper.divergence(batch, log_pi, ratio), multi_step(f, batch["discount"], ratio, c_bar=0.5))
    assert not torch.allclose(d, paper.divergence(batch, log_pi, ratio))
    assert torch.equal(d[-1], f[-1])


@pytest.mark.parametrize("truncates", [False, True])
def test_unmasked_returns_change_q_at_the_ends_alone(truncates):
    paper, code = played(truncates=truncates), played("unmasked_returns", truncates=truncates)
    assert set(code.replay.fields) - set(paper.replay.fields) == {"raw"}
    assert fields_that_differ(paper, code) == set()
    batch, ratio = rollouts(code), torch.ones(16, 4)
    v = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    (target, a), (same_target, b) = paper.value_targets(batch, v, ratio), code.value_targets(batch, v, ratio)
    assert torch.equal(target, same_target)
    changed = ~torch.isclose(a, b)
    assert changed[ENDS].all()
    assert changed.sum() == 3 * 4
    # q = r + gamma v of the next episode's first step, in place of r, which a time limit's bootstrap is part of
    torch.testing.assert_close((b + v)[ENDS], 1.0 + 0.5 * target[ENDS + 1])
    assert torch.equal((a + v)[ENDS].isclose(torch.ones(3, 4)), torch.full((3, 4), not truncates))


@pytest.mark.parametrize("truncates", [False, True])
def test_unmarked_starts_change_starts_discounts_and_bootstraps_and_no_return(truncates):
    paper, code = played(truncates=truncates), played("unmarked_starts", truncates=truncates)
    assert fields_that_differ(paper, code) == {"start", "discount"} | ({"r"} if truncates else set())
    assert not code.replay.fields["start"].any()
    assert (code.replay.fields["discount"] == 0.5).all()
    assert (code.replay.fields["r"] == 1).all()
    assert (paper.replay.fields["discount"][ENDS] == 0).all()


def test_with_unmarked_starts_v_trace_and_d_run_through_the_ends():
    ratio, later = torch.full((16, 4), 0.5), torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    v = torch.zeros(16, 4)
    other = v.clone()
    other[5:] = later[5:]  # what follows the first end
    for flags, passes in (((), False), (("unmarked_starts",), True)):
        agent = played(*flags)
        batch = rollouts(agent)
        before, after = (agent.value_targets(batch, x, ratio)[0][:5] for x in (v, other))
        assert torch.equal(before, after) != passes
        d, moved = (agent.divergence(batch, batch["log_mu"] + x, ratio)[:5] for x in (v, other))
        assert torch.equal(d, moved) != passes


def test_with_unmarked_starts_the_learners_lstm_runs_through_the_ends():
    for flags, agrees in (((), True), (("unmarked_starts",), False)):
        agent = played(*flags, recurrent=True)
        torch.nn.init.orthogonal_(agent.net.policy.weight, 10.0)  # else states hardly show
        agent.replay = type(agent.replay)(64, 4)
        env = Scripted(4, 5, truncates=False)
        for _ in interact(env, agent, np.arange(4), 64):
            pass
        batch = rollouts(agent)
        error = (agent.evaluate(batch)[0] - batch["log_mu"]).abs()
        assert error[:5].max() < 1e-5  # the first episode
        assert (error[5:].max() < 1e-5) == agrees


def test_with_unmarked_starts_a_rollout_that_begins_at_a_start_begins_with_the_zero_state():
    agent = played("unmarked_starts", recurrent=True)
    assert (agent.replay.fields["h"][ENDS[:2] + 1] == 0).all()
    assert (agent.replay.fields["h"][ENDS] != 0).any()


def test_the_late_state_is_that_of_the_next_step_and_nothing_else_changes():
    paper, code = played(recurrent=True), played("late_state", recurrent=True)
    assert fields_that_differ(paper, code) == {"h", "c"}
    for name in ("h", "c"):
        assert torch.equal(code.replay.fields[name][:15], paper.replay.fields[name][1:16])
        assert (paper.replay.fields[name][0] == 0).all()


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_changes_a_run_with_an_lstm(flag):
    plain, _ = trained(configured("algo.recurrent=true", steps=160))
    flagged, _ = trained(configured("algo.recurrent=true", f"algo.released.{flag}=true", steps=160))
    assert plain.parameters_sha256() != flagged.parameters_sha256()
