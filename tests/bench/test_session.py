"""A session that is broken off anywhere and taken up in a new one goes on as if it had not been."""

import io

import pytest
import torch

from bench import session
from bench.compose import compose, to_run_config

pytestmark = pytest.mark.integration

CASES = {
    "ppo on CartPole": ("algo=ppo env=classic steps=4096", 4),
    "dapo with LSTM on CartPole": ("algo=dapo env=classic algo.recurrent=true steps=2048", 4),
    "dapo with fresh data": ("algo=dapo env=classic steps=2048 algo.fresh_every=1 algo.fresh_steps=256", 4),
    "dapo, exact, on a finite MDP": ("algo=dapo env=tabular env.task=chain algo.estimator=exact steps=2048", 4),
    "ppo on Hopper": ("algo=on_policy learner=ppo hparams=on_policy_cpu env=mujoco env.task=Hopper-v5 steps=4096", 3),
    "a2c on Pendulum of dm_control": (
        "algo=on_policy learner=a2c hparams=on_policy_cpu env=dmc env.task=pendulum-swingup steps=2048",
        3,
    ),
    "dpo on delayed Hopper": (
        "algo=dpo learner=ppo hparams=dpo_cpu env=mujoco env.task=Hopper-v5 env.reward=delayed env.reward_delay=10 "
        "env.evaluation.every=500 steps=1536",
        3,
    ),
    "dpo (TRPO) on CartPole": (
        "algo=dpo learner=trpo hparams=dpo_cpu_discrete env=classic env.task=CartPole-v1 steps=1536",
        3,
    ),
    "sac on Pendulum": ("algo=sac env=mujoco env.task=InvertedPendulum-v5 algo.random_steps=300 steps=1000", 3),
    "dapo with LSTM on Breakout": ("algo=dapo hparams=dapo_cpu env=atari env.task=Breakout steps=1200", 2),
    "ppo with sticky actions": (
        "algo=ppo hparams=dapo_cpu env=atari env.task=Pong env/protocol=machado2018 steps=1200",
        2,
    ),
}


def config(case):
    return to_run_config(compose([*CASES[case][0].split(), "logger=none"]))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def follow(made, until=None):
    """The rows and games of a session, to its end or to a step."""
    found = []
    for progress in made:
        found += [progress.row] if progress.row else []
        found += progress.episodes
        if until and progress.done >= until:
            break
    return found


@pytest.mark.parametrize("case", CASES)
def test_broken_off_and_taken_up_it_ends_with_the_same_bits(case):
    torch.set_num_threads(1)
    whole = session.make(config(case))
    expected = follow(whole)
    assert len(expected) > 1
    steps, parts = config(case).steps, CASES[case][1]
    found, state = [], None
    for part in range(1, parts + 1):
        made = session.make(config(case))
        if state is not None:
            made.load_state_dict(through_a_file(state))
        found += follow(made, until=None if part == parts else part * (steps // parts) + 37 * part)
        state = made.state_dict()
        made.close()
    assert found == expected
    assert made.params_sha256() == whole.params_sha256()
    whole.close()


def test_a_state_that_leads_to_another_observation_is_refused():
    made = session.make(config("ppo on CartPole"))
    follow(made, until=100)
    state = through_a_file(made.state_dict())
    state["env"]["obs"] = "0" * 64
    with pytest.raises(ValueError, match="observation"):
        session.make(config("ppo on CartPole")).load_state_dict(state)


def test_an_exact_program_begins_anew():
    made = session.make(to_run_config(compose(["algo=proposition1", "env=exact", "steps=10", "logger=none"])))
    assert len(follow(made)) == 10
    assert made.state_dict() is None
