"""An agent that is loaded into a new one goes on bit for bit, from any step; and what is not kept is found."""

import copy

import dapo_cases
import dpo_cases
import numpy as np
import pytest
import torch
from dpo_cases import LEARNERS, Scripted
from resume_cases import Play, differences, restored, through_file

from bench import algos, compose, envs
from bench.algos.actor import Actor
from bench.algos.collector import Collector
from bench.algos.dapo import Dapo
from bench.algos.dpo import Dpo
from bench.algos.dpo_values import ActionValues
from bench.algos.estimators import ExactDivergence
from bench.algos.normalise import Moments, Normaliser
from bench.algos.on_policy import OnPolicy
from bench.algos.overlap import Beside
from bench.algos.probes import Fresh
from bench.algos.sac import Sac
from bench.config import RunConfig

DAPO = [
    *dapo_cases.SMALL,
    "algo.replay_capacity=16",
    "algo.diagnostics_every=2",
    "steps=320",
]  # two versions of 8 steps
FRESH = ["algo.fresh_every=2", "algo.fresh_steps=64"]
CHAIN = ["env=tabular", "env.task=chain"]
NORMALISED = ["algo.normalise.observations=true", "algo.normalise.rewards=true"]


def on_pendulum(algo: str, learner: str = "ppo", *overrides: str) -> list[str]:
    steps = ["algo.report_every=7"] if algo == "sac" else ["algo.learner.steps=8"]
    return dpo_cases.overrides_of(algo, *NORMALISED, *steps, *overrides, learner=learner)


def discrete(algo: str, learner: str) -> list[str]:
    words = [f"algo={algo}", "env=classic", "env.num_envs=2", f"hparams={algo}_discrete", "logger=none", "steps=128"]
    single = ["algo.learner.epochs=1", "algo.learner.minibatches=1"] if learner == "trpo" else []
    return [*words, *LEARNERS[learner], *dpo_cases.SMALL[algo], "algo.learner.steps=8", *single]


def configured(overrides: list[str]) -> RunConfig:
    return compose.to_run_config(compose.compose(overrides))


CASES = {
    "dapo": DAPO,
    "ppo": [*DAPO, "algo=ppo"],
    "impala": [*DAPO, "algo=impala", "algo.updates_per_version=1"],
    "a2c": [*DAPO, "algo=a2c", "algo.updates_per_version=1"],
    "recurrent": [*DAPO, "algo.recurrent=true"],
    "overlap": [*DAPO, "algo.overlap=true"],
    "overlap recurrent fresh": [*DAPO, "algo.overlap=true", "algo.recurrent=true", *FRESH],
    "bf16": [*DAPO, "algo.recurrent=true", "precision=bf16"],
    "recurrent fresh": [*DAPO, "algo.recurrent=true", *FRESH],
    "tabular recurrent": [*DAPO, *CHAIN, "algo.recurrent=true"],
    "tabular fresh": [*DAPO, *CHAIN, *FRESH],
    "exact": [*DAPO, *CHAIN, "algo.estimator=exact"],
    "matched variance": [*DAPO, *CHAIN, "algo.estimator=matched_variance"],
    "released": [*DAPO, "algo.recurrent=true", "algo/released=code"],
    "once": [*DAPO, "algo.sampling=once", "algo.reuse=1.0", "algo.batch_size=16", "algo.updates_per_version=2"],
    **{f"{algo} {learner}": on_pendulum(algo, learner) for algo in ("dpo", "on_policy") for learner in LEARNERS},
    **{f"discrete {algo} {learner}": discrete(algo, learner) for algo in ("dpo", "on_policy") for learner in LEARNERS},
    "dpo mse gae": on_pendulum("dpo", "ppo", "algo.critic=mse", "algo.advantage=gae", "algo.diagnostics_every=2"),
    "dpo half": on_pendulum("dpo", "ppo", "algo.utd=0.5"),
    "sac": on_pendulum("sac"),
    "sac half": on_pendulum("sac", "ppo", "algo.utd=0.5"),
}
POINTS = (3, 8, 21)  # before the first update, between two versions, within a later one with DAPO's replay full
END = 35


def played(config: RunConfig, env, points=POINTS, end=END) -> Play:
    """An agent, and one more from each of these steps on, loaded from what a file holds of it."""
    play = Play(config, env)
    done = 0
    for point in points:
        play.go(point - done)
        done = point
        other = restored(config, env, through_file(play.agents[0].state_dict()))
        assert differences(play.agents[0], other) == []
        play.join(other)
    play.go(end - done)
    return play


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_agent_goes_on_bit_for_bit(name):
    config = configured(CASES[name])
    play = played(config, envs.make(config.env, 1))
    assert play.learnt >= 3
    for agent in play.agents:
        agent.learnt()  # which waits for what is trained beside
    assert all(not differences(play.agents[0], other) for other in play.agents[1:])
    first, *others = play.finish()
    assert others == [first] * len(POINTS)


def test_every_algorithm_is_tried():
    chosen = [word for overrides in CASES.values() for word in overrides if word.startswith("algo=")]
    assert {"dapo", *(word.removeprefix("algo=") for word in chosen)} == set(algos.ALGOS)


@pytest.mark.parametrize("algo", ["dpo", "on_policy", "sac"])
def test_cut_episodes_within_an_iteration_come_back(algo):
    config = configured(on_pendulum(algo, "ppo", "env.num_envs=2"))
    play = played(config, Scripted(3, num_envs=2), points=(4, 7), end=19)
    first, *others = play.finish()
    assert others == [first] * 2


@pytest.mark.integration
@pytest.mark.parametrize("overlap", [False, True])
def test_an_agent_on_frames_with_the_lstm_goes_on_bit_for_bit(overlap):
    atari = ["env=atari", "env.task=Breakout", "algo.recurrent=true", "algo.updates_per_version=2", "algo.reuse=2.0"]
    config = configured([*DAPO, *atari, *FRESH, "algo.fresh_every=1", f"algo.overlap={overlap}"])
    play = played(config, envs.make(config.env, 1), points=(3, 16), end=25)
    first, *others = play.finish()
    assert play.learnt == (2 if overlap else 3)
    assert others == [first] * 2


def test_the_state_can_be_loaded_again_after_an_agent_went_on_from_it():
    config = configured(CASES["dpo ppo"])
    play = Play(config, envs.make(config.env, 1))
    play.go(21)
    state = through_file(play.agents[0].state_dict())
    before = copy.deepcopy(state)
    play.join(restored(config, play.env, state))
    play.go(11)
    assert differences(state, before) == []


# --- planted faults --------------------------------------------------------------------------------------------------

# Runs in which every part has something to keep.
FULL = {
    "dapo": (Dapo, [*DAPO, *CHAIN, *FRESH, "algo.estimator=exact"]),
    "recurrent": (Dapo, [*DAPO, *CHAIN, *FRESH, "algo.recurrent=true", "algo.estimator=matched_variance"]),
    "overlap": (Dapo, [*DAPO, *FRESH, "algo.overlap=true"]),
    "dpo": (Dpo, on_pendulum("dpo", "ppo", "algo.utd=0.3")),
    "on_policy": (OnPolicy, on_pendulum("on_policy")),
    "sac": (Sac, on_pendulum("sac", "ppo", "algo.utd=0.3", "algo.report_every=11")),
}
FRAMES = {(case, "memory.frames") for case in ("dapo", "recurrent", "overlap", "dpo")}  # of pixels: the test above
EXACT = {("recurrent", "memory.exact"), ("overlap", "memory.exact")}
NOTHING = FRAMES | EXACT | {("dapo", "memory.beside"), ("recurrent", "memory.beside")}
HARMLESS = {
    ("recurrent", "chunks"),
    ("overlap", "chunks"),
    ("sac", "memory.u"),
}  # nobody asks for it; the next action takes its place
KEYS = {case: [*kind.KEPT, *(f"memory.{name}" for name in kind.MEMORY)] for case, (kind, _) in FULL.items()}
FAULTS = [(case, key) for case, keys in KEYS.items() for key in keys if (case, key) not in NOTHING]


def without(state, fresh, key):
    """The state, but for one key that is as in an agent that has seen nothing."""
    state, *path = copy.copy(state), *key.split(".")
    if len(path) == 1:
        return {**state, key: fresh[key]}
    return {**state, path[0]: {**state[path[0]], path[1]: fresh[path[0]][path[1]]}}


@pytest.fixture(scope="module")
def forgetful():
    """Case -> key -> where an agent that has forgotten it differs at once, and whether what it says later does."""
    found = {}
    for case, (_, overrides) in FULL.items():
        config = configured(overrides)
        play = Play(config, envs.make(config.env, 1))
        fresh = through_file(play.agents[0].state_dict())
        play.go(29)
        state = through_file(play.agents[0].state_dict())
        keys, at_once = [key for name, key in FAULTS if name == case], {}
        for key in keys:
            play.join(restored(config, play.env, without(state, fresh, key)))
            at_once[key] = differences(play.agents[0], play.agents[-1])
        play.join(restored(config, play.env, state))
        play.go(20)
        first, *others, whole = play.finish()
        assert whole == first
        found[case] = {key: (at_once[key], words != first) for key, words in zip(keys, others, strict=True)}
    return found


@pytest.mark.parametrize(("case", "key"), FAULTS)
def test_a_forgotten_part_is_found_and_changes_the_run(forgetful, case, key):
    at_once, later = forgetful[case][key]
    assert at_once
    assert all(key.removeprefix("memory.") in path for path in at_once)  # a normaliser is found in the collector, too
    assert later or (case, key) in HARMLESS


PARTS = {
    Actor: "recurrent",
    ActionValues: "dpo",
    Beside: "overlap",
    Collector: "cut",
    ExactDivergence: "dapo",
    Fresh: "dapo",
    Moments: "dpo",
    Normaliser: "dpo",
}


@pytest.fixture(scope="module")
def midway():
    """Case -> configuration and play, within an iteration; in `cut` an episode was cut in it."""
    found = {}
    for case in set(PARTS.values()):
        config = configured(FULL["on_policy" if case == "cut" else case][1])
        play = Play(config, Scripted(3) if case == "cut" else envs.make(config.env, 1))
        play.go(29)
        found[case] = config, play
    return found


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in part.KEPT])
def test_an_attribute_of_a_part_that_is_not_kept_is_found(midway, monkeypatch, part, name):
    config, play = midway[PARTS[part]]
    monkeypatch.setattr(part, "KEPT", tuple(other for other in part.KEPT if other != name))
    other = restored(config, play.env, through_file(play.agents[0].state_dict()))
    assert any(f".{name}" in path for path in differences(play.agents[0], other))


@pytest.mark.parametrize("case", FULL)
def test_a_state_that_lacks_a_part_is_refused(case):
    config = configured(FULL[case][1])
    agent = algos.make(config, envs.make(config.env, 1))
    for key in KEYS[case]:
        state = through_file(agent.state_dict())
        *outer, name = key.split(".")
        del (state["memory"] if outer else state)[name]
        with pytest.raises(ValueError, match=rf"does not match in {name}$"):
            agent.load_state_dict(state)


@pytest.mark.parametrize("case", FULL)
def test_an_attribute_that_changes_and_is_not_kept_is_found(case):
    kind, overrides = FULL[case]
    config = configured(overrides)
    env = envs.make(config.env, 1)
    play = Play(config, env)

    class Forgetful(kind):
        surprises = 0

        def observe(self, *arguments):
            self.surprises = self.surprises + 1
            return super().observe(*arguments)

    play.agents = [Forgetful(config, env)]
    play.go(3)
    other = Forgetful(config, env)
    other.load_state_dict(through_file(play.agents[0].state_dict()))
    assert differences(play.agents[0], other) == [".surprises"]


# --- the comparison itself -------------------------------------------------------------------------------------------


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 2),
        (1, 1.0),
        (0.0, -0.0),
        ([1], [1, 1]),
        ({"x": 1}, {"y": 1}),
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.tensor([0.0, -0.0])),
        (np.zeros(2), np.zeros(2, np.float32)),
        (seeded(0), seeded(1)),
        (len, repr),
        (torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1)),
    ],
)
def test_two_things_that_differ_are_told_apart(a, b):
    assert differences({"inner": [a]}, {"inner": [b]}) != []
    assert differences({"inner": [a]}, {"inner": [copy.deepcopy(a) if a is not len else len]}) == []


def test_what_cannot_be_looked_into_is_not_taken_to_be_equal():
    with pytest.raises(TypeError, match="nobody knows what a object holds"):
        differences(object(), object())
