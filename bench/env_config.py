"""What can be configured of an environment: suite, task, copies, and how an Atari game is played."""

from dataclasses import dataclass
from math import inf

from bench import envs
from bench.errors import require, require_positive

REWARDS = ("delayed", "dense", "sparse")  # how a continuous task pays the learner: bench.envs.rewards
CONTINUOUS_SUITES = ("dmc", "mujoco")  # their actions are vectors


@dataclass(kw_only=True)
class EnvConfig:
    """A suite of environments, a task of it, and how many copies one run steps together."""

    suite: str  # key of bench.envs.SUITES
    task: str  # a task of that suite
    num_envs: int  # actors: sub-environments stepped together

    def __post_init__(self) -> None:
        envs.check_task(self.suite, self.task)
        require_positive(self, "env", "num_envs")


@dataclass(kw_only=True)
class AtariProtocol:
    """How an Atari game is played and scored; two scores are comparable only under equal protocols."""

    name: str
    repeat_action_probability: float  # sticky actions
    frame_skip: int  # frames per agent step
    noop_max: int  # random no-op frames after a reset, 0 .. noop_max - 1
    full_action_space: bool  # all 18 actions instead of the game's own
    life_loss_terminates: bool  # a lost life ends the learner's episode, not the game
    fire_sequence: bool  # press FIRE, then action 2, after every reset of a game that has FIRE
    sign_rewards: bool  # the learner sees the sign of the reward; scores stay raw
    no_reward_limit: int  # agent steps without reward after which the game is reset; 0 = none
    max_frames: int  # frames after which the game is reset
    limits_terminate: bool  # True: both limits are terminal for the learner; False: they bootstrap

    def __post_init__(self) -> None:
        require_positive(self, "env.protocol", "frame_skip", "max_frames")
        require(
            0 <= self.repeat_action_probability < 1,
            "env.protocol.repeat_action_probability",
            self.repeat_action_probability,
            "0 <= p < 1",
        )
        require(self.noop_max >= 0, "env.protocol.noop_max", self.noop_max, "0 or more")
        require(self.no_reward_limit >= 0, "env.protocol.no_reward_limit", self.no_reward_limit, "0 or more")


@dataclass(kw_only=True)
class AtariConfig(EnvConfig):
    """A game of the Arcade Learning Environment."""

    frame_stack: int  # frames per observation
    protocol: AtariProtocol

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "env", "frame_stack")


@dataclass(kw_only=True)
class TabularConfig(EnvConfig):
    """A finite MDP with exact solutions."""

    max_steps: int  # time limit of an episode, agent steps

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "env", "max_steps")


@dataclass(kw_only=True)
class EvaluationConfig:
    """Episodes of the deterministic policy, in environments of their own, scored by their raw return."""

    every: int  # agent steps between evaluations; 0 = never
    episodes: int  # full episodes per evaluation

    def __post_init__(self) -> None:
        require(self.every >= 0, "env.evaluation.every", self.every, "0 (never) and more")
        require_positive(self, "env.evaluation", "episodes")


@dataclass(kw_only=True)
class ContinuousConfig(EnvConfig):
    """A task of continuous control: how it pays the learner, and how its policy is scored."""

    reward: str  # dense: the task's own | sparse | delayed; scores stay dense (bench.envs.rewards)
    reward_delay: int  # agent steps between payments of reward=delayed
    reward_quantum: float  # dense return between payments of reward=sparse
    evaluation: EvaluationConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.reward in REWARDS, "env.reward", self.reward, ", ".join(REWARDS))
        require_positive(self, "env", "reward_delay")
        require(0 < self.reward_quantum < inf, "env.reward_quantum", self.reward_quantum, "a number above 0")


SUITE_CONFIGS = {  # keys of bench.envs.SUITES
    "atari": AtariConfig,
    "classic": EnvConfig,
    "dmc": ContinuousConfig,
    "mujoco": ContinuousConfig,
    "tabular": TabularConfig,
}
