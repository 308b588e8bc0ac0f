import math

import numpy as np
import pytest

from analysis import ranges, reported
from bench.envs import mdp as mdps
from bench.envs.tabular import TASKS


def test_games_are_ranged_from_random_to_human_and_control_by_its_own_rules() -> None:
    assert ranges.task_range("Qbert") == (163.9, 13455.0)
    assert ranges.task_range("CartPole-v1") == (0.0, 500.0)
    assert ranges.task_range("Acrobot-v1") == (-500.0, 0.0)
    assert all(math.isnan(end) for end in ranges.task_range("Pooyan"))


def test_mujoco_is_ranged_from_random_to_published_ppo_and_dm_control_by_its_rewards() -> None:
    assert ranges.task_range("Hopper-v5") == (16.7, 2609.3)  # Tianshou, PPO, 1M steps
    assert ranges.task_range("Reacher-v5") == (-43.3, -4.1)
    assert ranges.task_range("InvertedPendulum-v5") == (0.0, 1000.0)
    assert ranges.task_range("cartpole-swingup", {"suite": "dmc"}) == (0.0, 1000.0)
    assert math.isnan(ranges.task_range("Pusher-v5", {"suite": "mujoco"})[0])
    for task in ranges.RANDOM:
        low, high = ranges.task_range(task)
        assert low < high


def test_every_published_end_of_a_range_is_one_row() -> None:
    table = reported.read("mujoco_published.csv").query("implementation == 'PPO (Tianshou)' and steps == 1e6")
    assert len(table) == table["env"].nunique() == len(ranges.published_ppo())


def test_the_expected_return_by_hand() -> None:
    # Two states that swap; only the second pays: 0 + 1 + 0 over three steps.
    swap, pays = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.0, 1.0])
    assert ranges.expected_return(swap, pays, np.array([1.0, 0.0]), 3) == 1.0


def test_the_ends_of_a_tabular_task_are_what_sampled_policies_earn() -> None:
    low, high = ranges.tabular_range("garnet_small", 20)
    mdp, rng = TASKS["garnet_small"](), np.random.default_rng(0)
    best = mdps.optimal_values(mdp)[1]
    for end, pi in ((low, np.full(mdp.R.shape, 1 / mdp.num_actions)), (high, best)):
        state = rng.choice(mdp.num_states, p=mdp.d0, size=4000)
        total = np.zeros(4000)
        for _ in range(20):
            action = (rng.random(4000)[:, None] > pi[state].cumsum(1)).sum(1)
            total += mdp.R[state, action]
            state = (rng.random(4000)[:, None] > mdp.P[state, action].cumsum(1)).sum(1)
        assert end == pytest.approx(total.mean(), abs=4 * total.std() / math.sqrt(4000))


def test_a_longer_episode_has_another_range() -> None:
    env = {"suite": "tabular", "max_steps": 20}
    assert ranges.task_range("chain", env) != ranges.task_range("chain", env | {"max_steps": 21})


@pytest.mark.parametrize(
    ("how", "task", "ends", "expected"),
    [
        ("none", "Pooyan", ranges.NONE, (0.0, 1.0)),
        ("task", "CartPole-v1", (0.0, 500.0), (0.0, 500.0)),
        ("range", "CartPole-v1", (0.0, 500.0), (0.0, 500.0)),
        ("human", "CartPole-v1", (0.0, 500.0), None),
        ("range", "Qbert", (163.9, 13455.0), None),
        ("task", "Pooyan", ranges.NONE, None),
        ("relative", "CartPole-v1", (0.0, 500.0), None),
    ],
)
def test_a_claim_has_the_unit_that_it_names_or_none(
    how: str, task: str, ends: tuple[float, float], expected: tuple[float, float] | None
) -> None:
    assert ranges.unit_of(how, task, ends) == expected


def test_a_relative_score_starts_from_the_baseline_and_ends_at_human_or_baseline() -> None:
    assert ranges.unit_of("relative", "Qbert", ranges.NONE, 1163.9) == (1163.9, 13455.0 - 163.9)
    assert ranges.unit_of("relative", "Qbert", ranges.NONE, 20163.9) == (20163.9, 20000.0)


def test_the_papers_relative_score_by_hand() -> None:
    assert ranges.relative_score(proposed=6.0, baseline=2.0, human=10.0, random=2.0) == 0.5
    assert ranges.relative_score(proposed=20.0, baseline=12.0, human=10.0, random=4.0) == 1.0


def test_without_human_score_the_baseline_alone_is_the_denominator() -> None:
    assert ranges.relative_score(proposed=6.0, baseline=4.0, human=None, random=2.0) == 1.0


def test_a_denominator_that_is_not_positive_gives_no_relative_score() -> None:
    assert ranges.relative_score(proposed=6.0, baseline=1.0, human=1.5, random=2.0) is None
