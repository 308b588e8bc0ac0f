"""What can be configured of a run: one dataclass per group, name, type, unit and meaning.

Values and their sources stand in conf/, never here: a key that no YAML gives is an error. Checks that one key
alone can decide are made where the key is declared, checks across groups in `RunConfig`.
"""

import math
from dataclasses import dataclass

from bench import envs
from bench.errors import UserError

# Keys of bench.ops.divergences.DIVERGENCES, repeated here (and held equal by a test) to plan without torch.
DIVERGENCES = ("entropy", "kl")
# Keys of bench.algos.ALGOS that DapoConfig configures, for the same reason.
DAPO_NAMES = ("dapo", "ppo")


def require(ok: bool, key: str, found: object, allowed: str) -> None:
    """Refuse a value in one sentence: the key, what was found, what is allowed."""
    if not ok:
        raise UserError(f"{key} is {found!r}; allowed: {allowed}")


def require_positive(config: object, prefix: str, *keys: str) -> None:
    """Refuse the first of these keys that is not above 0."""
    for key in keys:
        require(getattr(config, key) > 0, f"{prefix}.{key}", getattr(config, key), "a number above 0")


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


SUITE_CONFIGS = {"atari": AtariConfig, "classic": EnvConfig, "tabular": TabularConfig}  # keys of bench.envs.SUITES


@dataclass(kw_only=True)
class AlgoConfig:
    """An algorithm; the name is its key in bench.algos.ALGOS."""

    name: str


@dataclass(kw_only=True)
class DapoConfig(AlgoConfig):
    """Divergence-augmented policy optimisation (Wang et al. 2019); symbols are the paper's.

    "Steps" without more are agent steps; "trained steps" count a step each time it is trained on.
    """

    recurrent: bool  # LSTM on single frames, else feed-forward
    divergence: str  # f(s, a), key of bench.ops.divergences.DIVERGENCES
    inv_eta: float  # 1/eta, weight of D per nat against a unit-RMS advantage; 0 = PPO
    horizon: int | None  # future terms kept in D; 0 = 1-step, null = to the end of the roll-out
    c_d: float  # cap of the importance-ratio product inside D
    rho_d: float  # cap of the importance ratio at the term itself inside D
    gamma: float  # discount
    lam: float  # lambda of the stored TD(lambda) return
    rho_v: float  # V-trace cap of rho
    c_v: float  # V-trace cap of c
    clip: float  # PPO's epsilon
    value_coef: float  # b, weight of the value loss
    entropy_coef: float  # weight of the entropy bonus
    value_ratio_cap: float  # cap of the importance ratio in the value loss
    log_ratio_clip: float  # bound of |log pi - log pi_t|
    batch_size: int  # trained steps per update
    rollout_length: int  # steps per roll-out
    updates_per_version: int  # M, updates between two publications of the policy
    reuse: float  # trained steps per generated step
    burn_in: int  # generated steps before the first update
    replay_capacity: int  # steps kept per actor, first in first out
    learning_rate: float  # Adam, at the start
    lr_horizon: int  # trained steps over which it falls linearly to 0
    adam_eps: float
    max_grad_norm: float  # global norm
    diagnostics_every: int  # policy versions between measurements of the gradient's variance; 0 = never

    def __post_init__(self) -> None:
        require_positive(
            self,
            "algo",
            "c_d",
            "rho_d",
            "rho_v",
            "c_v",
            "clip",
            "value_ratio_cap",
            "log_ratio_clip",
            "batch_size",
            "rollout_length",
            "updates_per_version",
            "reuse",
            "replay_capacity",
            "learning_rate",
            "lr_horizon",
            "adam_eps",
            "max_grad_norm",
        )
        for key in ("inv_eta", "value_coef", "entropy_coef", "burn_in", "diagnostics_every"):
            require(0 <= getattr(self, key) < math.inf, f"algo.{key}", getattr(self, key), "0 or more")
        for key in ("reuse", "learning_rate", "adam_eps"):
            require(getattr(self, key) < math.inf, f"algo.{key}", getattr(self, key), "a finite number")
        require(self.name in DAPO_NAMES, "algo.name", self.name, ", ".join(DAPO_NAMES))
        require(self.name != "ppo" or self.inv_eta == 0, "algo.inv_eta", self.inv_eta, "0 with algo=ppo")
        require(0 <= self.gamma < 1, "algo.gamma", self.gamma, "0 <= gamma < 1")
        require(0 <= self.lam <= 1, "algo.lam", self.lam, "0 <= lambda <= 1")
        require(
            self.horizon is None or self.horizon >= 0,
            "algo.horizon",
            self.horizon,
            "null (full), 0 (1-step) or the number of future terms",
        )
        require(self.divergence in DIVERGENCES, "algo.divergence", self.divergence, ", ".join(DIVERGENCES))
        require(
            self.batch_size % self.rollout_length == 0,
            "algo.rollout_length",
            self.rollout_length,
            f"a divisor of algo.batch_size ({self.batch_size})",
        )
        require(
            self.diagnostics_every == 0 or self.batch_size > self.rollout_length,
            "algo.diagnostics_every",
            self.diagnostics_every,
            "0 with one roll-out per batch, which has no variance over roll-outs",
        )
        require(
            not (self.recurrent and self.rollout_length == 1),
            "algo.rollout_length",
            self.rollout_length,
            "2 or more with an LSTM (algo.recurrent=true), which learns over roll-outs",
        )

    def collect_per_env(self, num_envs: int) -> int:
        """Steps that each actor generates per policy version: whole roll-outs, rounded down.

        The paper's setting (16 actors, 100 updates of 1024 trained steps) gives 896, an actual reuse of 7.14; the
        actual one is in metrics.csv.
        """
        exact = self.updates_per_version * self.batch_size / (self.reuse * num_envs)
        return int(exact // self.rollout_length) * self.rollout_length


@dataclass(kw_only=True)
class LoggerConfig:
    """Where the run directory is mirrored to."""

    name: str  # wandb | none
    mode: str  # offline | online
    project: str
    entity: str | None

    def __post_init__(self) -> None:
        require(self.mode in ("offline", "online"), "logger.mode", self.mode, "offline, online")


@dataclass(kw_only=True)
class RunConfig:
    """One training run. Identity: everything but logger and paths (bench.compose.identity)."""

    algo: AlgoConfig
    env: EnvConfig
    logger: LoggerConfig
    seed: int  # root of every random stream of the run
    steps: int  # agent steps to generate, all actors together, rounded down to whole steps of all of them
    threads: int  # CPU threads; 1 is bitwise repeatable
    device: str  # cpu | cuda
    store: str  # folder of all runs
    run_dir: str | None  # null = named after the identity, inside the store

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", self.seed, "0 <= seed < 2^31")
        require(self.threads > 0, "threads", self.threads, "1 and more")
        require(self.store != "", "store", self.store, "the path of a folder")
        require(
            type(self.env) is SUITE_CONFIGS[self.env.suite],
            "env.suite",
            self.env.suite,
            f"the one that is chosen with env={self.env.suite}",
        )
        require(self.steps > 0, "steps", self.steps, "1 agent step and more")
        require(self.device in ("cpu", "cuda"), "device", self.device, "cpu, cuda")
        if isinstance(self.algo, DapoConfig):
            self._check_dapo(self.algo)

    def _check_dapo(self, algo: DapoConfig) -> None:
        collect = algo.collect_per_env(self.env.num_envs)
        require(
            collect >= algo.rollout_length,
            "algo.rollout_length",
            algo.rollout_length,
            f"at most {algo.updates_per_version * algo.batch_size / (algo.reuse * self.env.num_envs):g}, what "
            "each actor generates per version: updates_per_version * batch_size / (reuse * num_envs)",
        )
        require(
            algo.replay_capacity >= collect,
            "algo.replay_capacity",
            algo.replay_capacity,
            f"at least {collect}, the steps that one version adds per actor",
        )
        require(
            self.steps // self.env.num_envs >= algo.rollout_length,
            "steps",
            self.steps,
            f"at least one roll-out per actor ({self.env.num_envs * algo.rollout_length})",
        )
