"""Training beside acting: the same bits whoever is faster, the metrics of the schedule, faults, saving and closing."""

import threading
import time

import numpy as np
import pytest
import torch
from dapo_cases import configured, trained
from resume_cases import through_file

from bench import envs, seeding
from bench.algos.dapo import Dapo
from bench.algos.overlap import Beside, SharedFrames
from bench.errors import DivergedError, UserError
from bench.frames import Frames
from bench.loop import interact
from bench.nets import ActorCritic

OVERLAP = "algo.overlap=true"


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "training"]


class SlowLearner(Dapo):
    """Acts long before the training is complete."""

    def _update(self, batch):
        time.sleep(0.003)
        return super()._update(batch)


class SlowActor(Dapo):
    """Is trained long before the next action."""

    def act(self, obs, start):
        time.sleep(0.005)
        return super().act(obs, start)


class Inline(Dapo):
    """Makes each training at once, in the loop's own thread."""

    def __init__(self, run, env):
        super().__init__(run, env)

        def start(train):
            self.beside.metrics = train()

        self.beside.start = start


class Broken(Dapo):
    """Planted fault: the third version cannot be trained."""

    error: Exception = RuntimeError("no memory left")

    def _update(self, batch):
        if self.version == 2:
            raise self.error
        return super()._update(batch)


class Diverging(Broken):
    error = FloatingPointError("grad_norm is nan")


# --- the schedule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["algo.recurrent=true", "precision=bf16"], ["algo=impala", "algo.reuse=1.0"]])
def test_results_do_not_depend_on_who_is_faster(words):
    small = ["algo.updates_per_version=1"] if words[:1] == ["algo=impala"] else []
    config = configured(OVERLAP, *words, *small, steps=328)
    runs = [trained(config, kind) for kind in (Dapo, SlowLearner, SlowActor, Inline)]
    (first, rows), *others = runs
    for agent, told in others:
        assert agent.parameters_sha256() == first.parameters_sha256()
        assert repr(told) == repr(rows)
    assert not workers()


def test_a_version_is_trained_on_what_was_generated_before_and_acts_one_chunk_later():
    agent = Dapo(configured(OVERLAP), env := envs.make(configured().env, 1))
    acting, learnt = [], []
    for event in interact(env, agent, seeding.env_seeds(0, 4), 320):
        acting.append(agent.beside.published)
        learnt.append(event.metrics.get("version"))
    env.close()
    # 10 chunks of 8 steps; version v is trained during chunk v + 1 and published at its end.
    assert acting[6::8] == [0, 0, 7, 14, 21, 28, 35, 42, 49, 56]
    # The row of version v comes with the end of chunk v + 1; that of the last but one a step before the last has its.
    assert [learnt.index(version) + 1 for version in range(1, 11)] == [16, 24, 32, 40, 48, 56, 64, 72, 79, 80]
    assert agent.updates == 70


def test_the_policy_that_acts_does_not_change_while_it_is_trained():
    config = configured(OVERLAP)
    agent = SlowLearner(config, env := envs.make(config.env, 1))
    hashes = []
    for _ in interact(env, agent, seeding.env_seeds(0, 4), 128):
        hashes.append(b"".join(p.detach().numpy().tobytes() for p in agent.actor.net.parameters()))
    env.close()
    assert [len(set(hashes[first : first + 8])) for first in (7, 15)] == [1, 1]
    assert hashes[7] == hashes[0]
    assert hashes[15] != hashes[7]


def test_staleness_is_a_version_more_than_in_turns():
    words = ["algo.replay_capacity=64", "algo.rollout_length=8", "algo.diagnostics_every=0"]
    turns, beside = (
        np.mean([row["staleness"] for row in trained(configured(*words, word, steps=1600))[1][20:]])
        for word in ("algo.overlap=false", OVERLAP)
    )
    assert beside - turns == pytest.approx(7, abs=1.5)


def test_reuse_counts_the_steps_that_were_generated_when_the_training_began():
    _, rows = trained(configured(OVERLAP, "algo.diagnostics_every=0"))
    assert rows[0]["reuse"] == 7.0
    assert [row["reuse"] for row in rows] == [row["trained"] / (32 * row["version"]) for row in rows]


def test_an_incomplete_version_at_the_end_is_trained_on():
    agent, rows = trained(configured(OVERLAP, steps=16 * 4 + 4 * 5))
    assert [row["version"] for row in rows] == [1, 2, 3]
    assert agent.updates == 7 + 7 + 7 * 5 // 8


# --- faults, saving, closing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "error"), [(Broken, RuntimeError), (Diverging, DivergedError)])
def test_a_fault_of_the_training_reaches_the_loop(kind, error):
    with pytest.raises(error, match=str(kind.error)):
        trained(configured(OVERLAP), kind)
    assert not workers()


def test_saving_waits_for_the_training_and_keeps_its_metrics():
    config = configured(OVERLAP, "algo.diagnostics_every=0")
    agent = SlowLearner(config, env := envs.make(config.env, 1))
    loop = interact(env, agent, seeding.env_seeds(0, 4), 320)
    for _ in range(9):
        event = next(loop)
        assert not event.metrics
    state = through_file(agent.state_dict())
    env.close()
    assert not workers()
    assert state["updates"] == 7
    assert state["memory"]["beside"]["published"] == 0
    assert state["memory"]["beside"]["metrics"]["version"] == 1
    other = Dapo(config, envs.make(config.env, 1))
    other.load_state_dict(state)
    assert other.beside.result()["version"] == 1
    assert other.beside.result() == {}


def test_closing_ends_the_training_after_the_update_that_it_is_at():
    config = configured(OVERLAP)
    agent = SlowLearner(config, env := envs.make(config.env, 1))
    loop = interact(env, agent, seeding.env_seeds(0, 4), 320)
    for _ in range(8):
        next(loop)
    agent.close()
    env.close()
    assert not workers()
    assert agent.updates < 7


def test_the_training_has_the_threads_of_the_run():
    beside = Beside(ActorCritic((3,), 2, recurrent=False, generator=torch.Generator()), 1)
    beside.start(lambda: {"threads": float(torch.get_num_threads())})
    assert beside.result() == {"threads": 1.0}


@pytest.mark.parametrize("words", [["env=tabular", "env.task=chain"], ["algo=a2c", "algo.updates_per_version=1"]])
def test_where_the_two_must_take_turns_overlap_is_refused(words):
    with pytest.raises(UserError, match=r"^algo\.overlap is True; allowed: false with env=tabular and with algo=a2c$"):
        configured(*words, OVERLAP)


# --- frames ----------------------------------------------------------------------------------------------------------


def test_frames_are_taken_whole_while_others_are_stored():
    rng = np.random.default_rng(0)
    shared, plain = (kind(3, (2, 84, 84), 8) for kind in (SharedFrames, Frames))
    first = rng.integers(0, 256, (3, 2, 84, 84), dtype=np.uint8)
    ids, later = shared.push(first), plain.push(first)
    taken, done = [], threading.Event()

    def take():
        while not done.is_set():
            taken.append(torch.equal(shared.take(ids), torch.from_numpy(first)))

    thread = threading.Thread(target=take)
    thread.start()
    for _ in range(7):  # every one a new game, so that the pool grows
        obs = rng.integers(0, 256, (3, 2, 84, 84), dtype=np.uint8)
        assert torch.equal(shared.push(obs), plain.push(obs))
    done.set()
    thread.join()
    assert torch.equal(ids, later)
    assert all(taken)
    assert len(shared.pool) > 3 * 10  # it did grow


@pytest.mark.integration
def test_runs_on_frames_do_not_depend_on_who_is_faster():
    words = ["env=atari", "env.task=Breakout", "algo.updates_per_version=2", "algo.reuse=2.0", "algo.batch_size=32"]
    config = configured(OVERLAP, *words, "algo.replay_capacity=16", "algo.diagnostics_every=0", steps=32 * 5)
    runs = [trained(config, kind) for kind in (SlowLearner, SlowActor, Inline)]
    assert len({agent.parameters_sha256() for agent, _ in runs}) == 1
    assert len({repr(rows) for _, rows in runs}) == 1
