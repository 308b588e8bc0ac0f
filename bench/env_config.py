"""What can be configured of an environment: suite, task, copies, and how an Atari game is played."""

from dataclasses import dataclass
from math import inf

from bench import envs
from bench.errors import require, require_positive

REWARDS = ("delayed", "dense", "sparse")  # how a continuous task pays the learner: bench.envs.rewards
MOST_COPIES = 4096  # stepped one after another in one process: more would only wait for each other
MOST_FRAMES = 10_000
CONTINUOUS_SUITES = ("dmc", "mujoco")  # their actions are vectors


@dataclass(kw_only=True)
class EnvConfig:
    """A suite of environments, a task of it, and how many copies one run steps together."""

    suite: str  # key of bench.envs.SUITES
    task: str  # a task of that suite
    num_envs: int  # actors: sub-environments stepped together

    def __post_init__(self) -> None:
        suites = [name for name, config in SUITE_CONFIGS.items() if config is type(self)]
        allowed = f"{' or '.join(suites)}; to change it choose env={self.suite}"
        require(self.suite in suites, "env.suite", self.suite, allowed)
        envs.check_task(self.suite, self.task)
        require(0 < self.num_envs <= MOST_COPIES, "env.num_envs", self.num_envs, f"1 to {MOST_COPIES}")


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
        require(0 < self.max_frames < 2**31, "env.protocol.max_frames", self.max_frames, "1 to 2^31 - 1")
        require_positive(self, "env.protocol", "frame_skip")
        require(
            0 <= self.repeat_action_probability < 1,
            "env.protocol.repeat_action_probability",
            self.repeat_action_probability,
            "0 <= p < 1",
        )
        for key in ("noop_max", "frame_skip"):  # which the emulator makes in one go, deaf to signals
            found = getattr(self, key)
            require(0 <= found <= MOST_FRAMES, f"env.protocol.{key}", found, f"at most {MOST_FRAMES}, and not below 0")
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
        require(0 < self.episodes <= MOST_COPIES, "env.evaluation.episodes", self.episodes, f"1 to {MOST_COPIES}")


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
