"""Running statistics against the whole stream, and against VecNormalize written out."""

import copy

import numpy as np
import pytest
import torch
from dpo_cases import Scripted, overrides_of, scripted, trained
from resume_cases import differences

from bench import compose, run
from bench.algos.normalise import Moments, Normaliser
from bench.dpo_config import NormaliseConfig
from bench.envs.base import Step
from bench.loop import interact

BOTH = NormaliseConfig(observations=True, rewards=True, clip=10.0)


def step_of(reward, terminated, truncated=None) -> Step:
    reward, terminated = np.asarray(reward, np.float32), np.asarray(terminated)
    no = np.zeros(len(reward), bool)
    obs = np.zeros((len(reward), 1), np.float32)
    cut = no if truncated is None else np.asarray(truncated)
    return Step(obs, reward, terminated, cut, obs, ~no, reward.astype(float), terminated | cut, cut)


@pytest.mark.parametrize("offset", [0.0, 1e6])  # far from 0 a sum of squares would have lost the variance
def test_moments_are_those_of_the_whole_stream(offset):
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((size, 3)) * [1, 2, 4] + offset) for size in (1, 5, 2, 300)]
    moments = Moments((3,))
    for batch in batches:
        moments.add(batch)
    stream = np.concatenate(batches)
    n, start = len(stream), 1e-4  # as if 1e-4 observations had been seen at mean 0 with variance 1
    mean = stream.sum(0) / (n + start)
    var = (np.square(stream - mean).sum(0) + start * (1 + mean**2)) / (n + start)
    assert moments.count == pytest.approx(n + start)
    assert moments.mean == pytest.approx(mean)
    assert moments.var == pytest.approx(var, rel=1e-6)


def reference(rewards, ends, gamma):
    """VecNormalize of Stable-Baselines3 1.8, with moments recomputed from the whole stream at every step."""
    running, stream, scaled = np.zeros(rewards.shape[1]), [], []
    for reward, end in zip(rewards, ends, strict=True):
        running = running * gamma + reward
        stream.append(running.copy())
        seen = np.concatenate(stream)
        mean = seen.sum() / (len(seen) + 1e-4)
        var = (np.square(seen - mean).sum() + 1e-4 * (1 + mean**2)) / (len(seen) + 1e-4)
        scaled.append(np.clip(reward / np.sqrt(var + 1e-8), -10, 10))
        running[end] = 0
    return np.array(scaled)


def test_rewards_are_divided_by_the_deviation_of_the_return_up_to_and_with_this_step():
    rng = np.random.default_rng(1)
    rewards = (1 + rng.standard_normal((40, 2))).astype(np.float32)
    terminated, truncated = rng.random((40, 2)) < 0.1, rng.random((40, 2)) < 0.1
    normaliser = Normaliser(BOTH, (1,), 2, 0.9)
    scaled = [normaliser.rewards(step_of(*row)) for row in zip(rewards, terminated, truncated, strict=True)]
    assert np.array(scaled) == pytest.approx(reference(rewards, terminated | truncated, 0.9), rel=1e-5)
    assert terminated.any()
    assert truncated.any()


def test_the_return_is_reset_after_an_end_not_before_it():
    normaliser = Normaliser(BOTH, (1,), 2, 0.5)
    normaliser.rewards(step_of([4, 4], [False, False]))
    normaliser.rewards(step_of([4, 4], [True, False]))
    assert normaliser.returns.tolist() == [0, 6]
    stream = np.array([4.0, 4, 6, 6])  # the ended return is counted before it is reset
    assert normaliser.ret is not None
    assert normaliser.ret.mean == pytest.approx(stream.mean(), rel=1e-4)


def test_what_is_normalised_is_clipped():
    normaliser = Normaliser(NormaliseConfig(observations=True, rewards=True, clip=0.5), (1,), 2, 0.9)
    normaliser.see(np.array([[-1.0], [1.0]]))
    assert normaliser.observations(np.array([[9.0], [0.1], [-9.0]]))[:, 0] == pytest.approx([0.5, 0.1, -0.5], rel=1e-3)
    assert normaliser.rewards(step_of([100, -100], [False, False])).tolist() == [0.5, -0.5]


def test_switched_off_nothing_changes_and_frames_never_do():
    plain = Normaliser(NormaliseConfig(observations=False, rewards=False, clip=10.0), (3,), 2, 0.9)
    obs, step = np.full((2, 3), 50.0, np.float32), step_of([100, -100], [False, False])
    plain.see(obs)
    assert plain.observations(obs) is obs
    assert plain.rewards(step) is step.reward
    assert differences(plain, Normaliser(plain.config, (3,), 2, 0.9)) == []
    frames = np.zeros((2, 4, 84, 84), np.uint8)
    pixels = Normaliser(BOTH, (4, 84, 84), 2, 0.9)
    pixels.see(frames)
    assert pixels.observations(frames) is frames


def test_the_statistics_see_every_observation_acted_on_once_and_no_last_one():
    env = Scripted(3)  # acts on 0, 1, 2, 0, 1, 2, 0; the last observation 3 of an episode is only looked back on
    agent = scripted("on_policy", env, "algo.normalise.observations=true")
    for _ in interact(env, agent, np.zeros(1), 6):
        pass
    assert agent.normaliser.obs.count == pytest.approx(7 + 1e-4)
    assert agent.normaliser.obs.mean.tolist() == pytest.approx([6 / 7], rel=1e-3)


def test_evaluation_uses_the_statistics_and_leaves_them():
    env = Scripted(3)
    agent = scripted("on_policy", env, "algo.normalise.observations=true")
    for _ in interact(env, agent, np.zeros(1), 6):
        pass
    before, shifted = copy.deepcopy(agent.normaliser), np.array([[50.0]], np.float32)
    first = agent.mode(shifted)
    assert differences(agent.normaliser, before) == []
    agent.normaliser.obs.mean += 49.0
    assert differences(agent.normaliser, before) == [".obs.mean"]
    assert agent.mode(shifted).tolist() != first.tolist()


@pytest.mark.parametrize("algo", ["dpo", "on_policy", "sac"])
def test_the_checkpoint_holds_the_trainings_statistics_as_plain_data(tmp_path, algo):
    on = ["algo.normalise.observations=true", "algo.normalise.rewards=true"]
    composed = compose.compose(overrides_of(algo, f"store={tmp_path}", *on))
    config = compose.to_run_config(composed)
    path, _ = run.run(config, compose.to_container(composed))
    kept = torch.load(path / "checkpoint.pt", weights_only=True)
    agent, _ = trained(config)
    assert differences(kept["agent"]["normaliser"], agent.normaliser.state_dict()) == []
    assert kept["agent"]["normaliser"]["obs"]["count"] == pytest.approx(config.steps + 1 + 1e-4)
    for name, value in kept["agent"]["policy_net"].items():
        assert torch.equal(value, agent.policy_net.state_dict()[name])
