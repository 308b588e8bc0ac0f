"""What can be configured of the algorithms for continuous actions: DPO, on-policy actor-critics, SAC."""

import math
from dataclasses import dataclass

from bench.algo_config import AlgoConfig
from bench.errors import require, require_finite, require_numbers, require_positive

LEARNERS = ("a2c", "ppo", "trpo")
POLICIES = ("beta", "categorical", "squashed_gaussian")  # classes of bench.ops.distributions
# Keys of a learner that are null with the others.
OWN_KEYS = {
    "ppo": ("clip",),
    "trpo": ("max_kl", "damping", "cg_iterations", "backtrack", "backtracks", "value_updates", "value_batch"),
}
ADVANTAGES = ("gae", "uae")
CRITICS = ("gaussian", "mse")


def _require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, key, value, ", ".join(choices))


def _require_fraction(config: object, *names: str) -> None:
    for name in names:
        require(0 <= getattr(config, name) <= 1, f"algo.{name}", getattr(config, name), f"0 <= {name} <= 1")


@dataclass(kw_only=True)
class LearnerConfig:
    """How an iteration's own data improve the policy."""

    name: str  # ppo | a2c | trpo
    steps: int  # agent steps per environment and iteration, T
    epochs: int  # passes over them
    minibatches: int  # per pass
    value_updates: int | None  # TRPO's critic updates on minibatches drawn anew; else one per minibatch
    value_batch: int | None  # steps of such a minibatch
    baseline_updates: int  # updates of the residual baseline per iteration; without effect on algo=on_policy
    clip: float | None  # PPO's epsilon
    max_kl: float | None  # TRPO's trust region, nats
    damping: float | None  # added to the Fisher matrix
    cg_iterations: int | None  # conjugate gradient steps
    backtrack: float | None  # factor between two tries of the line search
    backtracks: int | None  # tries

    def __post_init__(self) -> None:
        _require_choice("algo.learner.name", self.name, LEARNERS)
        require_positive(self, "algo.learner", "epochs", "minibatches")
        require(self.steps > 1, "algo.learner.steps", self.steps, "2 and more, over which advantages are standardised")
        require(self.baseline_updates >= 0, "algo.learner.baseline_updates", self.baseline_updates, "0 or more")
        for learner, keys in OWN_KEYS.items():
            for key in keys:
                value = getattr(self, key)
                fits = value is None if learner != self.name else value is not None and 0 < value < math.inf
                allowed = "null" if learner != self.name else "a finite number above 0"
                require(fits, f"algo.learner.{key}", value, f"{allowed} with learner={self.name}")
        if self.name == "trpo":
            for key in ("epochs", "minibatches"):
                require(getattr(self, key) == 1, f"algo.learner.{key}", getattr(self, key), "1 with learner=trpo")
            assert self.backtrack is not None
            require(self.backtrack < 1, "algo.learner.backtrack", self.backtrack, "below 1")


@dataclass(kw_only=True)
class NormaliseConfig:
    """Running normalisation of what the learner sees; scores stay raw."""

    observations: bool  # by running mean and standard deviation of each number (never of pixels, which are scaled)
    rewards: bool  # by the running standard deviation of the discounted return
    clip: float  # bound on both after it

    def __post_init__(self) -> None:
        require_positive(self, "algo.normalise", "clip")


@dataclass(kw_only=True)
class OnPolicyConfig(AlgoConfig):
    """PPO, A2C or TRPO with a value network and GAE, in DPO's protocol: same networks, optimiser, normalisation."""

    learner: LearnerConfig
    policy: str  # beta | squashed_gaussian | categorical
    hidden: list[int]  # widths of the hidden layers of every network, tanh
    gamma: float  # discount
    lam: float  # lambda of GAE, of UAE
    learning_rate: float  # Adam, of all networks unless said otherwise
    adam_eps: float
    normalise: NormaliseConfig

    def __post_init__(self) -> None:
        own = "dpo" if isinstance(self, DpoConfig) else "on_policy"
        require(self.name == own, "algo.name", self.name, own)
        _require_choice("algo.policy", self.policy, POLICIES)
        require_numbers(self, "algo", "hidden")
        require(bool(self.hidden) and min(self.hidden) > 0, "algo.hidden", self.hidden, "a list of widths above 0")
        require(0 <= self.gamma < 1, "algo.gamma", self.gamma, "0 <= gamma < 1")
        _require_fraction(self, "lam")
        require_positive(self, "algo", "learning_rate", "adam_eps")
        require_finite(self, "algo", "learning_rate", "adam_eps")


@dataclass(kw_only=True)
class DpoReleasedConfig:
    """Where the author's released code departs from the method; all false is the method.

    Source: MagiFeeney/DPO @ 2e00ca2 (model.py, main.py, ReplayBuffer.py).
    """

    unscaled_baseline_actions: bool  # b averages over actions in (0, 1) instead of the environment's
    reset_next_state: bool  # the replayed successor of a cut episode is the first state of the next one
    zero_final_state: bool  # a cut episode bootstraps from a state of zeros (before the replay is full)


@dataclass(kw_only=True)
class DpoConfig(OnPolicyConfig):
    """Distillation policy optimisation (Ma 2023); symbols as in docs of bench.algos.dpo."""

    advantage: str  # uae | gae (which bootstraps with the baseline)
    residual: bool  # learn g in b(s) = E[(1 + g) Q]; false: g = 0
    baseline_samples: int  # fresh actions in that mean
    baseline_learning_rate: float
    critic: str  # gaussian (KL, likelihood) | mse (its mean alone)
    critic_samples: int  # particles drawn from the critic
    sigma_floor: float  # least standard deviation of the critic
    sigma_fixed: float | None  # the standard deviation instead of a learned one
    mask_terminal_sigma: bool  # the target of a terminal step is a point (sigma_floor) instead of gamma sigma'
    nu: float  # weight of Q - b in the advantage, 1 - nu of the estimator
    omega: float  # weight of the on-policy loss, 1 - omega of the off-policy one
    alpha: float  # temperature of the off-policy loss
    clamp_advantage: bool  # only positive advantages in the off-policy loss
    utd: float  # critic updates per agent step
    tau: float  # Polyak rate of the target critic
    batch_size: int  # of replayed steps
    replay_capacity: int  # agent steps kept, all environments together
    diagnostics_every: int  # iterations between measurements of the gradient's variance; 0 = never
    released: DpoReleasedConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_choice("algo.advantage", self.advantage, ADVANTAGES)
        _require_choice("algo.critic", self.critic, CRITICS)
        _require_fraction(self, "nu", "omega", "tau")
        require_positive(self, "algo", "baseline_samples", "baseline_learning_rate", "critic_samples", "batch_size")
        require_positive(self, "algo", "tau")
        require_finite(self, "algo", "alpha", "utd", "sigma_floor", "baseline_learning_rate", "diagnostics_every")
        require(
            self.replay_capacity >= self.batch_size,
            "algo.replay_capacity",
            self.replay_capacity,
            "algo.batch_size and more",
        )
        if self.sigma_fixed is not None:
            require(0 < self.sigma_fixed < math.inf, "algo.sigma_fixed", self.sigma_fixed, "null or a number above 0")
            require(self.critic == "gaussian", "algo.sigma_fixed", self.sigma_fixed, "null with algo.critic=mse")
        pointed = self.critic == "gaussian" and self.gamma == 0
        require(not pointed, "algo.gamma", self.gamma, "above 0 with algo.critic=gaussian: its target is else a point")
        sharp = self.mask_terminal_sigma and self.sigma_floor == 0
        require(
            not sharp,
            "algo.sigma_floor",
            self.sigma_floor,
            "above 0 with mask_terminal_sigma, whose KL is else infinite",
        )
        if self.released.unscaled_baseline_actions:
            require(
                self.policy != "categorical",
                "algo.policy",
                self.policy,
                "beta, squashed_gaussian with unscaled_baseline_actions",
            )


@dataclass(kw_only=True)
class SacConfig(AlgoConfig):
    """Soft actor-critic (Haarnoja et al. 2018b), the off-policy yardstick: twin critics, learned temperature."""

    hidden: list[int]  # widths of the hidden layers, relu
    gamma: float  # discount
    learning_rate: float  # Adam, of policy, critics and temperature
    adam_eps: float
    utd: float  # updates per agent step
    tau: float  # Polyak rate of the target critics
    batch_size: int
    replay_capacity: int  # agent steps kept, all environments together
    random_steps: int  # agent steps of uniformly random actions before the first update
    target_entropy: float | None  # nats; null: minus the number of action dimensions
    report_every: int  # agent steps between two rows of metrics
    normalise: NormaliseConfig

    def __post_init__(self) -> None:
        require(self.name == "sac", "algo.name", self.name, "sac")
        require_numbers(self, "algo", "hidden")
        require(bool(self.hidden) and min(self.hidden) > 0, "algo.hidden", self.hidden, "a list of widths above 0")
        require(0 <= self.gamma < 1, "algo.gamma", self.gamma, "0 <= gamma < 1")
        require_positive(self, "algo", "learning_rate", "adam_eps", "tau", "batch_size", "report_every")
        finite = self.target_entropy is None or math.isfinite(self.target_entropy)
        require(finite, "algo.target_entropy", self.target_entropy, "null or a finite number")
        _require_fraction(self, "tau")
        require_finite(self, "algo", "learning_rate", "adam_eps", "utd", "random_steps")
        require(
            self.replay_capacity >= self.batch_size,
            "algo.replay_capacity",
            self.replay_capacity,
            "algo.batch_size and more",
        )
