"""What counts as 0 and what as 1 on a task, so that scores of different tasks have a common unit.

* Atari: a random agent and the human tester (analysis/reported/atari_human_random.csv).
* Classic control: the worst and the best return that the environment's own rules allow.
* MuJoCo: a uniformly random policy, measured (RANDOM), and the published PPO at 1M steps (`published_ppo`), so 1 is
  what PPO learns in the paper's budget; others may pass it. On the inverted pendulum the rules' own 0 and 1000.
* dm_control: 0 and 1000, which its rewards in [0, 1] over 1000 steps allow.
* Tabular: the exact expected return, over an episode of max_steps from the start distribution, of the uniform policy
  and of the policy that is optimal for the process's discount.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from analysis import reported

# Gymnasium's own limits: 500 steps at +1, 500 steps at -1, 200 steps at -1.
CLASSIC = {"CartPole-v1": (0.0, 500.0), "Acrobot-v1": (-500.0, 0.0), "MountainCar-v0": (-200.0, 0.0)}
# InvertedPendulum-v5: at most 1000 steps at +1.
CLASSIC |= {"InvertedPendulum-v5": (0.0, 1000.0)}
DM_CONTROL = (0.0, 1000.0)
# Mean return of a uniformly random policy: gymnasium 1.4.0, mujoco 3.17.0, reset seeds 0 to n - 1, action space seeded
# with 0; n = 50 episodes for Ant (standard error 16), HalfCheetah (13), Swimmer (1.3), 100 for the others (at most 4).
RANDOM = {
    "Ant-v5": -70.3,
    "HalfCheetah-v5": -278.5,
    "Hopper-v5": 16.7,
    "Humanoid-v5": 112.6,
    "InvertedDoublePendulum-v5": 49.1,
    "Reacher-v5": -43.3,
    "Swimmer-v5": -0.6,
    "Walker2d-v5": 1.8,
}
NONE = (math.nan, math.nan)


@cache
def published_ppo() -> dict[str, float]:
    """MuJoCo task without its version -> return of PPO after 1M steps.

    Source: Tianshou's examples/mujoco (10 runs each, largest mean test return in training; -v3, or -v2 where there is
    no -v3): one implementation and one protocol for all tasks. Ours are -v5, whose rewards differ a little; a unit
    needs no more.
    """
    rows = reported.read("mujoco_published.csv")
    rows = rows[(rows["implementation"] == "PPO (Tianshou)") & (rows["steps"] == 1e6)]
    return {str(row["env"]): float(row["score"]) for row in rows.to_dict("records")}


def expected_return(transition: np.ndarray, reward: np.ndarray, start: np.ndarray, steps: int) -> float:
    """Expected sum of rewards over `steps` steps: sum_{t < steps} start' P^t r.

    Args: transition: `[S, S]` of a policy; reward: `[S]` its expected reward; start: `[S]` start distribution.
    """
    total, states = 0.0, np.asarray(start, dtype=float)
    for _ in range(steps):
        total += float(states @ reward)
        states = states @ transition
    return total


@cache
def tabular_range(task: str, max_steps: int) -> tuple[float, float]:
    """Expected return of an episode of the uniform and of the discounted-optimal policy."""
    from bench.envs import mdp as mdps
    from bench.envs.tabular import TASKS

    mdp = TASKS[task]()
    uniform = np.full(mdp.R.shape, 1 / mdp.num_actions)
    low, high = (
        expected_return(mdps.policy_transition(mdp, pi), (pi * mdp.R).sum(1), mdp.d0, max_steps)
        for pi in (uniform, mdps.optimal_values(mdp)[1])
    )
    return low, high


def task_range(task: str, env: dict[str, Any] | None = None) -> tuple[float, float]:
    """(raw score that counts as 0, raw score that counts as 1); NaN where a task has none.

    Args: env: the run's configuration of its environment; dm_control needs suite, a tabular task max_steps too.
    """
    if task in reported.human_random():
        human, random = reported.human_random()[task]
        return random, human
    if task in CLASSIC:
        return CLASSIC[task]
    if task in RANDOM:
        return RANDOM[task], published_ppo()[task.rpartition("-")[0]]
    if env and env.get("suite") == "dmc":
        return DM_CONTROL
    if env and env.get("suite") == "tabular" and env.get("max_steps"):
        low, high = tabular_range(task, int(env["max_steps"]))
        return (low, high) if high > low else NONE
    return NONE


def relative_scale(baseline: float, human: float | None, random: float) -> float | None:
    """Denominator of the DAPO paper's relative score: max(human, baseline) - random; None where it is not positive.

    Source: Wang et al. 2019, Figure 1; the authors' tools/atari.R. Without a human score the baseline alone counts.
    """
    scale = (baseline if human is None else max(human, baseline)) - random
    return scale if scale > 0 else None


def relative_score(proposed: float, baseline: float, human: float | None, random: float) -> float | None:
    """The DAPO paper's relative score: (proposed - baseline) / `relative_scale`; None where that is None.

    Args: raw scores; random: the baseline's first bin in the paper, the random agent's score where it is known.
    """
    scale = relative_scale(baseline, human, random)
    return None if scale is None else (proposed - baseline) / scale


def unit_of(how: str, task: str, ends: tuple[float, float], baseline: float = math.nan) -> tuple[float, float] | None:
    """(zero, one unit) of a claim on a task, in raw score: x counts as (x - zero) / unit. None where it has none.

    Args: how: task | human | range | relative | none; ends: as from `task_range`; baseline: mean raw score of the arm
    that a relative score is measured from.
    """
    if how == "none":
        return 0.0, 1.0
    is_atari = task in reported.human_random()
    if how == "relative":
        if not is_atari or math.isnan(baseline):
            return None
        human, random = reported.human_random()[task]
        scale = relative_scale(baseline, human, random)
        return None if scale is None else (baseline, scale)
    if math.isnan(ends[0]) or how == ("range" if is_atari else "human"):
        return None
    return ends[0], ends[1] - ends[0]
