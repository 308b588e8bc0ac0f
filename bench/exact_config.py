"""What can be configured of the programs on finite MDPs about DPO's advantage estimator and its baseline."""

import math
from dataclasses import dataclass

from bench.algo_config import AlgoConfig
from bench.errors import require, require_finite, require_numbers, require_positive

ADVANTAGE_ESTIMATORS = ("gae", "uae")
BASELINES = ("action_mean", "learned", "optimal", "value", "zero")
FITS = ("learned", "none", "optimal", "replay_mean", "value", "zero_residual")
LANDSCAPES = ("four_rooms", "smooth")  # keys of bench.envs.landscapes.LANDSCAPES, held equal by a test
MOST_LAYERS = 64
TRUNKS = ("own", "shared_frozen", "shared_tuned")


@dataclass(kw_only=True)
class UaeVarianceConfig(AlgoConfig):
    """Exact bias and variance of an advantage estimate over lambda, of one random policy; a step is a lambda.

    "Spread" is a standard deviation under the policy's occupancy: of V over states, of Q over states and actions.
    """

    estimator: str  # gae | uae
    baseline: str  # of Q^pi: value (V^pi) | action_mean (unweighted) | learned (stale actions) | optimal | zero
    baseline_noise: float  # what is added to each state's baseline, in spreads of V
    critic_noise: float  # what is added to each Q(s, a) that UAE bootstraps from, in spreads of Q
    staleness: float  # scale of the difference between the logits of the policy and of the one in the replay
    perturbation: float  # of the test of invariance: what is added to the baseline once more, in spreads of V
    lambdas: list[float]  # one row each
    gamma: float  # discount
    init_scale: float  # standard deviation of the policy's logits
    batch_steps: int  # independent steps that a gradient is averaged over

    def __post_init__(self) -> None:
        allowed = ", ".join(ADVANTAGE_ESTIMATORS)
        require(self.name == "uae_variance", "algo.name", self.name, "uae_variance")
        require(self.estimator in ADVANTAGE_ESTIMATORS, "algo.estimator", self.estimator, allowed)
        require(self.baseline in BASELINES, "algo.baseline", self.baseline, ", ".join(BASELINES))
        require(0 <= self.gamma < 1, "algo.gamma", self.gamma, "0 <= gamma < 1")
        require_numbers(self, "algo", "lambdas")
        for lam in self.lambdas:
            require(0 <= lam <= 1, "algo.lambdas", self.lambdas, "0 <= lambda <= 1")
        require(bool(self.lambdas), "algo.lambdas", self.lambdas, "one number and more")
        require_finite(self, "algo", "baseline_noise", "critic_noise", "staleness", "init_scale")
        require_positive(self, "algo", "perturbation", "batch_steps")
        require(
            self.estimator == "uae" or self.critic_noise == 0,
            "algo.critic_noise",
            self.critic_noise,
            "0 with algo.estimator=gae, which has no Q",
        )


@dataclass(kw_only=True)
class BaselineFitConfig(AlgoConfig):
    """DPO's residual baseline, trained on a replay of older policies, measured on held-out states; a step is an update.

    b(s) = E_{a~pi} (1 + g(s, a)) Q^pi(s, a), g a network, Q^pi exact.
    """

    baseline: (
        str  # learned, or a reference: value (V^pi) | optimal | replay_mean | zero_residual (g = 0, sampled) | none (0)
    )
    width: int  # of g's hidden layers
    depth: int  # hidden layers of g
    trunk: str  # g's hidden layers: own | shared_frozen (a fitted critic's) | shared_tuned (the same, trained on)
    learning_rate: float  # Adam
    batch_size: int  # replayed states and actions per update
    samples: int  # actions that b(s) is averaged over, in training and in use
    gamma: float  # discount
    versions: int  # older policies in the replay
    version_step: float  # what a version adds to the logits, in advantages of unit root mean square
    init_scale: float  # standard deviation of the first policy's logits
    held_out: float  # share of the states that no update sees
    critic_updates: int  # full-batch updates of the critic that lends its hidden layers
    critic_learning_rate: float  # Adam
    report_every: int  # updates per row

    def __post_init__(self) -> None:
        require(self.name == "baseline_fit", "algo.name", self.name, "baseline_fit")
        require(self.baseline in FITS, "algo.baseline", self.baseline, ", ".join(FITS))
        require(self.trunk in TRUNKS, "algo.trunk", self.trunk, ", ".join(TRUNKS))
        require(0 <= self.gamma < 1, "algo.gamma", self.gamma, "0 <= gamma < 1")
        require(0 < self.held_out < 1, "algo.held_out", self.held_out, "0 < share < 1")
        for key in ("learning_rate", "critic_learning_rate"):
            require(0 < getattr(self, key) < math.inf, f"algo.{key}", getattr(self, key), "a finite number above 0")
        require_finite(self, "algo", "version_step", "init_scale")
        require(self.depth <= MOST_LAYERS, "algo.depth", self.depth, f"1 to {MOST_LAYERS}")
        require_positive(
            self, "algo", "width", "depth", "batch_size", "samples", "versions", "critic_updates", "report_every"
        )
