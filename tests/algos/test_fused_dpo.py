"""Several seeds that learn together end where each ends alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dpo_cases import configured, trained

from bench import algos, compose, envs, seeding
from bench.algos.fused_dpo import Block
from bench.errors import DivergedError

STEPS = 96


def agents_of(seeds, *overrides, learner="ppo"):
    config = configured("dpo", *overrides, learner=learner, steps=STEPS)
    made = []
    for seed in seeds:
        env = envs.make(config.env, 1)
        made.append((algos.make(replace(config, seed=seed), env), env, seed))
    return made, config


def together(seeds, *overrides, learner="ppo", steps=STEPS):
    """Agents and rows of seeds that learn as one block."""
    made, config = agents_of(seeds, *overrides, learner=learner)
    agents, worlds = [agent for agent, _, _ in made], [env for _, env, _ in made]
    block = Block(agents, config.precision)
    obs = [env.reset(seeding.env_seeds(seed, env.num_envs)) for _, env, seed in made]
    rows = [[] for _ in seeds]
    for _ in range(steps // worlds[0].num_envs):
        taken = [env.step(action) for env, action in zip(worlds, block.act(obs), strict=True)]
        obs = [step.obs for step in taken]
        for mine, told in zip(rows, block.observe(taken), strict=True):
            if told:
                mine.append(told)
    block.give()
    for env in worlds:
        env.close()
    return agents, rows


def parameters(agent):
    nets = agent.policy_net, *agent.values.networks()
    return torch.cat([p.detach().flatten() for net in nets for p in net.parameters()])


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
@pytest.mark.parametrize("overrides", [(), ("algo.critic=mse",), ("algo.residual=false", "algo.omega=0.0")])
def test_a_block_ends_where_its_seeds_end_alone(learner, overrides):
    agents, rows = together((0, 1, 2), *overrides, learner=learner)
    for seed, (agent, told) in enumerate(zip(agents, rows, strict=True)):
        alone, expected = trained(configured("dpo", f"seed={seed}", *overrides, learner=learner, steps=STEPS))
        torch.testing.assert_close(parameters(agent), parameters(alone), rtol=1e-4, atol=1e-5)
        assert [row.keys() for row in told] == [row.keys() for row in expected]
        for row, other in zip(told, expected, strict=True):
            assert row == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_seeds_of_a_block_differ():
    agents, _ = together((0, 1))
    assert not torch.equal(parameters(agents[0]), parameters(agents[1]))


def test_a_seed_does_not_feel_its_neighbours():
    small, _ = together((3, 2))
    large, _ = together((0, 1, 2, 3, 4, 5))
    torch.testing.assert_close(parameters(small[0]), parameters(large[3]), rtol=1e-4, atol=1e-5)


def test_moments_come_back_to_the_agents_that_are_saved():
    agents, _ = together((0, 1))
    alone, _ = trained(configured("dpo", "seed=1", steps=STEPS))
    for ours, theirs in (
        (agents[1].optimizer, alone.optimizer),
        (agents[1].values.optimizers["critic"], alone.values.optimizers["critic"]),
    ):
        state, other = ours.state_dict()["state"], theirs.state_dict()["state"]
        assert state.keys() == other.keys()
        for i, moments in other.items():
            assert float(state[i]["step"]) == float(moments["step"])
            torch.testing.assert_close(state[i]["exp_avg"], moments["exp_avg"], rtol=1e-3, atol=1e-5)


def test_a_block_computes_in_bfloat16():
    agents, rows = together((0, 1), "precision=bf16")
    assert all(np.isfinite(value) for told in rows for row in told for value in row.values())
    for agent in agents:  # what scores is what was learnt
        lowered = agent.acting.net.body.layers[0].weight
        assert lowered.dtype == torch.bfloat16
        assert torch.equal(lowered, agent.policy_net.net.body.layers[0].weight.to(torch.bfloat16))


def test_a_seed_that_diverges_leaves_the_others_as_they_are():
    made, config = agents_of((0, 1))
    block = Block([agent for agent, _, _ in made], config.precision)
    with torch.no_grad():
        made[0][0].policy_net.net.body.layers[0].bias.fill_(torch.nan)
    obs = [env.reset(seeding.env_seeds(seed, 1)) for _, env, seed in made]
    first, second = block.act(obs)
    assert isinstance(first, DivergedError)
    assert np.isfinite(second).all()


def test_with_discrete_actions_too():
    config = compose.to_run_config(
        compose.compose(["algo=dpo", "env=classic", "hparams=dpo_cpu_discrete", "logger=none", "steps=600"])
    )
    config.algo.learner.steps = 64
    worlds = [envs.make(config.env, 1) for _ in range(2)]
    agents = [algos.make(replace(config, seed=seed), env) for seed, env in enumerate(worlds)]
    block = Block(agents, config.precision)
    obs = [env.reset(seeding.env_seeds(seed, env.num_envs)) for seed, env in enumerate(worlds)]
    told = []
    for count in range(128 // worlds[0].num_envs):
        actions = block.act(obs)
        if any(isinstance(action, DivergedError) for action in actions):
            break
        steps = [env.step(action) for env, action in zip(worlds, actions, strict=True)]
        obs = [step.obs for step in steps]
        if count == 80 // worlds[0].num_envs:
            with torch.no_grad():
                agents[0].values.critic.body.layers[0].bias.fill_(torch.nan)
        told = block.observe(steps)
        if any(isinstance(row, DivergedError) for row in told):
            break
    assert isinstance(told[0], DivergedError)
    assert not isinstance(told[1], DivergedError)
    assert torch.isfinite(parameters(agents[1])).all()
