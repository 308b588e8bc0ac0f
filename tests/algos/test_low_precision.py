"""precision=bf16 for continuous actions: hidden layers compute in bfloat16, what is kept is float32."""

import math

import pytest
import torch
from dpo_cases import LEARNERS, configured, equal, parameters_of, play, trained
from resume_cases import through_file

from bench import algos, envs

AGENTS = [*((algo, learner) for algo in ("dpo", "on_policy") for learner in LEARNERS), ("sac", "ppo")]


def masters(agent):
    if agent.config.name == "sac":
        return [agent.policy_net, agent.critics, agent.targets]
    return [agent.policy_net, *(agent.values.networks() if agent.config.name == "dpo" else [agent.value_net])]


def workings(agent):
    if agent.config.name == "sac":
        return list(agent.working.values())
    return [agent.policy, *(agent.values.working.values() if agent.config.name == "dpo" else [agent.value])]


@pytest.mark.parametrize(("algo", "learner"), AGENTS)
def test_a_run_learns_in_bfloat16_and_keeps_float32(algo, learner):
    low, rows = trained(configured(algo, "precision=bf16", learner=learner))
    full, _ = trained(configured(algo, learner=learner))
    assert rows
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert {part.dtype for part in parameters_of(*masters(low))} == {torch.float32}
    assert not equal(parameters_of(*masters(low)), parameters_of(*masters(full)))
    for working in workings(low):
        assert {part.dtype for part in working.net.parameters()} == {torch.float32, torch.bfloat16}
        for part, master in zip(working.net.parameters(), working.master.parameters(), strict=True):
            assert torch.equal(part, master.to(part.dtype))
    for working in workings(full):
        assert working.net is working.master


@pytest.mark.parametrize(("algo", "learner"), AGENTS)
def test_it_goes_on_from_a_checkpoint_bit_for_bit(algo, learner):
    config, ends = configured(algo, "precision=bf16", learner=learner), []
    env = envs.make(config.env, 1)
    agent = algos.make(config, env)
    play(agent, env, 64, config.seed)
    state = through_file(agent.state_dict())
    other = algos.make(config, env)
    other.load_state_dict(state)
    for one in (agent, other):
        rows = play(one, env, 32, seed=5)
        ends.append((one.parameters_sha256(), rows))
    env.close()
    assert ends[0] == ends[1]
