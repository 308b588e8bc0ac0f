"""DAPO's update and its acting as graphs: a tape of their operations, run again without Python, gives the same bits."""

import pytest
import torch
from dapo_cases import configured, trained
from resume_cases import through_file
from tapes import Taping

from bench import envs, seeding
from bench.algos.dapo import Dapo
from bench.graphs import Forward, Static
from bench.loop import interact


class WithRate(Dapo):
    """Its optimiser reads the rate from a tensor, as on CUDA."""

    def __init__(self, run, env):
        super().__init__(run, env)
        rate = torch.tensor(self.config.learning_rate)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=rate, eps=self.config.adam_eps, fused=True)


class Graphed(WithRate):
    def __init__(self, run, env):
        super().__init__(run, env)
        self.taping = Taping()
        self.graph = Static(self._step, self._changes, self.taping)
        self.actor.net = Forward(self.actor.net, self.taping)


class Aging:
    """Planted fault: a number of Python inside the update."""

    def loss(self, batch):
        loss, metrics = super().loss(batch)
        return loss * (1 + self.updates), metrics


class AgingPlain(Aging, WithRate):
    pass


class AgingGraphed(Aging, Graphed):
    pass


CASES = {
    "dapo": [],
    "recurrent": ["algo.recurrent=true"],
    "bf16": ["algo.recurrent=true", "precision=bf16"],
    "released": ["algo.recurrent=true", "algo/released=code"],
    "hellinger": ["algo.divergence=hellinger", "algo.horizon=2"],
    "overlap": ["algo.recurrent=true", "algo.overlap=true"],
    "impala": ["algo=impala", "algo.reuse=1.0", "algo.updates_per_version=4"],
}


@pytest.mark.parametrize("name", CASES)
def test_graphs_learn_the_same(name):
    config = configured(*CASES[name], "algo.diagnostics_every=2", steps=160)
    plain, rows = trained(config, WithRate)
    graphed, told = trained(config, Graphed)
    assert graphed.taping.captures == 2
    assert plain.parameters_sha256() == graphed.parameters_sha256()
    assert repr(rows) == repr(told)


def test_a_number_of_python_inside_the_update_is_found():
    config = configured(steps=96)
    plain, graphed = (trained(config, kind)[0] for kind in (AgingPlain, AgingGraphed))
    assert plain.parameters_sha256() != graphed.parameters_sha256()


@pytest.mark.integration
def test_graphs_learn_the_same_from_frames():
    words = ["env=atari", "env.task=Breakout", "algo.updates_per_version=2", "algo.reuse=2.0"]
    config = configured(*words, "algo.diagnostics_every=0", steps=96)
    shas = {trained(config, kind)[0].parameters_sha256() for kind in (WithRate, Graphed)}
    assert len(shas) == 1


def test_a_loaded_agent_is_captured_anew_and_goes_on_bit_for_bit():
    config = configured("algo.recurrent=true", steps=320)
    env = envs.make(config.env, 1)
    agent = Graphed(config, env)
    loop = interact(env, agent, seeding.env_seeds(0, 4), 320)
    for _ in range(12):
        event = next(loop)
    other, used = Graphed(config, env), Graphed(config, env)  # one that has a graph already
    used._update(agent.sample("diagnostics"))
    assert used.taping.captures == 1
    state = through_file(agent.state_dict())
    other.load_state_dict(state)
    used.load_state_dict(state)
    now = event.position
    for _ in range(12):
        actions = [each.act(now.obs, now.start) for each in (agent, other, used)]
        step = env.step(actions[0])
        for each, action in zip((agent, other, used), actions, strict=True):
            each.observe(now.obs, action, now.start, step)
        now = type(event)(0, now.obs, step, {}).position
    env.close()
    assert agent.version == 3
    assert used.taping.captures == 3
    assert len({each.parameters_sha256() for each in (agent, other, used)}) == 1


# --- on a device -----------------------------------------------------------------------------------------------------


class Uncaptured(Dapo):
    """Without graphs."""

    def __init__(self, run, env):
        super().__init__(run, env)
        self.graph = None
        self.actor.net = self.actor.net.net


@pytest.mark.gpu
@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_graphs_learn_the_same_from_frames(precision, overlap):
    words = ["env=atari", "env.task=Breakout", "algo.recurrent=true", "device=cuda", f"precision={precision}"]
    config = configured(*words, f"algo.overlap={overlap}", "algo.diagnostics_every=0", steps=160)
    (plain, rows), (graphed, told) = (trained(config, kind) for kind in (Uncaptured, Dapo))
    assert graphed.graph.replay is not None
    for a, b in zip(plain.net.parameters(), graphed.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)
    assert [row["updates"] for row in rows] == [row["updates"] for row in told]
