"""What can be configured of a run: one dataclass per group, name, type, unit and meaning.

Values and their sources stand in conf/, never here: a key that no YAML gives is an error. Checks that one key
alone can decide are made where the key is declared, checks across groups in `RunConfig`.
"""

import math
from dataclasses import dataclass

from bench.algo_config import AlgoConfig
from bench.blocks import require_block
from bench.dpo_config import DpoConfig, OnPolicyConfig, SacConfig
from bench.env_config import CONTINUOUS_SUITES, AtariConfig, EnvConfig
from bench.errors import require, require_numbers, require_path, require_positive, require_representable
from bench.exact_config import LANDSCAPES, BaselineFitConfig, UaeVarianceConfig
from bench.schedule import collect_per_env

# Keys of bench.ops.divergences.DIVERGENCES, repeated here (and held equal by a test) to plan without torch.
DIVERGENCES = ("entropy", "hellinger", "kl", "reverse_kl", "tv", "zero_potential")
NO_ONE_STEP = ("entropy",)  # of these: no reference policy, so f of the step alone is no divergence of two policies
# Keys of bench.algos.ALGOS that DapoConfig configures, for the same reason.
DAPO_NAMES = ("a2c", "dapo", "impala", "ppo")
POLICY_LOSSES = ("inside", "outside", "unclipped", "actor_critic")
ESTIMATORS = ("sampled", "exact", "matched_variance")
SAMPLING = ("uniform", "once")
PRECISIONS = ("fp32", "bf16")
MOST_THREADS = 256  # more than any machine gains from; each takes memory, and thousands all of it


@dataclass(kw_only=True)
class ReleasedConfig:
    """Where the authors' released code departs from their formulas; all false is the paper.

    Source: lns/dapo @ bd640ba (utils.py, actors.py, base_agent.py, data_server.py).
    """

    shifted_divergence: bool  # D pairs the ratio of a step with f of the next one, and so leaves out f of i + 1
    unmasked_returns: bool  # q_i = r_i + gamma v_{i+1} also where step i + 1 begins another episode
    unmarked_starts: bool  # V-trace, D and the learner's LSTM run through episode boundaries
    late_state: bool  # the LSTM state stored with a step is the one after it


@dataclass(kw_only=True)
class DapoConfig(AlgoConfig):
    """Divergence-augmented policy optimisation (Wang et al. 2019) and its baselines; symbols are the paper's.

    "Steps" without more are agent steps; "trained steps" count a step each time it is trained on.
    """

    recurrent: bool  # LSTM on single frames, else feed-forward
    divergence: str  # f(s, a), key of bench.ops.divergences.DIVERGENCES
    inv_eta: float  # 1/eta, weight of D per nat against a unit-RMS advantage; 0 = PPO
    horizon: int | None  # future terms kept in D; 0 = 1-step, null = to the end of the roll-out
    c_d: float  # cap of the importance-ratio product inside D
    rho_d: float  # cap of the importance ratio at the term itself inside D
    estimator: str  # of D: sampled | exact (env=tabular: its mean by a linear solve) | matched_variance (D = f + noise)
    policy_loss: str  # inside (PPO+DA) | outside | unclipped (eq. 13) | actor_critic (V-trace policy gradient)
    normalise_advantage: bool  # divide the advantage by its root mean square over the batch
    weight_values: bool  # importance ratio in the value loss
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
    overlap: bool  # a version is trained in a second thread while the policy published before it acts
    reuse: float  # trained steps per generated step
    burn_in: int  # generated steps before the first update
    replay_capacity: int  # steps kept per actor, first in first out
    sampling: str  # of roll-outs: uniform (with replacement, from the replay) | once (each of the newest version once)
    learning_rate: float  # Adam, at the start
    lr_horizon: int  # trained steps over which it falls linearly to 0
    adam_eps: float
    max_grad_norm: float  # global norm
    diagnostics_every: int  # policy versions between measurements of the gradient's variance; 0 = never
    fresh_every: int  # policy versions between comparisons of the replay's gradient with a fresh one; 0 = never
    fresh_steps: int  # agent steps generated for such a comparison, on environments of its own
    released: ReleasedConfig

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
        for key in ("inv_eta", "value_coef", "entropy_coef", "burn_in", "diagnostics_every", "fresh_every"):
            require(0 <= getattr(self, key) < math.inf, f"algo.{key}", getattr(self, key), "0 or more")
        for key in ("reuse", "learning_rate", "adam_eps"):
            require(getattr(self, key) < math.inf, f"algo.{key}", getattr(self, key), "a finite number")
        require(self.name in DAPO_NAMES, "algo.name", self.name, ", ".join(DAPO_NAMES))
        require(self.name == "dapo" or self.inv_eta == 0, "algo.inv_eta", self.inv_eta, f"0 with algo={self.name}")
        require(self.estimator in ESTIMATORS, "algo.estimator", self.estimator, ", ".join(ESTIMATORS))
        if self.estimator == "matched_variance":
            require(self.horizon is None, "algo.horizon", self.horizon, "null with algo.estimator=matched_variance")
            one_step = self.divergence not in NO_ONE_STEP
            require(one_step, "algo.divergence", self.divergence, "one with a 1-step form with matched_variance")
        require(self.policy_loss in POLICY_LOSSES, "algo.policy_loss", self.policy_loss, ", ".join(POLICY_LOSSES))
        require(self.sampling in SAMPLING, "algo.sampling", self.sampling, ", ".join(SAMPLING))
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
            self.horizon != 0 or self.divergence not in NO_ONE_STEP,
            "algo.horizon",
            self.horizon,
            f"null or 1 and more with algo.divergence={self.divergence}, which has no 1-step form; the usual entropy "
            "bonus is algo.entropy_coef",
        )
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
        """Steps that each actor generates per policy version."""
        return collect_per_env(
            updates_per_version=self.updates_per_version,
            batch_size=self.batch_size,
            rollout_length=self.rollout_length,
            reuse=self.reuse,
            num_envs=num_envs,
        )


def _require_range(key: str, ends: list[float]) -> None:
    require(all(-300 <= end <= 300 for end in ends), key, ends, "-300 to 300, powers of ten that 64 bits hold")
    require(len(ends) == 2 and ends[0] <= ends[1], key, ends, "two numbers, the smaller first")


@dataclass(kw_only=True)
class Proposition1Config(AlgoConfig):
    """Exact instances of Proposition 1 (Wang et al. 2019, appendix B.1); a step is an instance, a seed a sample.

    Each instance draws, uniformly or log-uniformly, from these ranges. Lists hold numbers to choose from.
    """

    gammas: list[float]  # discount
    lambdas: list[float]  # weight of the divergence in the objective, 1/eta
    log10_distance: list[float]  # scale of the difference between the two policies' logits, log10
    log10_logits: list[float]  # scale of the reference policy's logits, log10
    log10_rewards: list[float]  # scale of the rewards, log10 (moves zeta_2)
    log10_features: list[float]  # scale of the policy's features, log10 (moves zeta_1)

    def __post_init__(self) -> None:
        require(self.name == "proposition1", "algo.name", self.name, "proposition1")
        ranges = ("log10_distance", "log10_logits", "log10_rewards", "log10_features")
        require_numbers(self, "algo", "gammas", "lambdas", *ranges)
        for gamma in self.gammas:
            require(0 <= gamma < 1, "algo.gammas", self.gammas, "0 <= gamma < 1")
        for lam in self.lambdas:
            require(0 <= lam <= 1, "algo.lambdas", self.lambdas, "0 <= lambda <= 1, which zeta_2 covers")
        for key in ("gammas", "lambdas"):
            require(bool(getattr(self, key)), f"algo.{key}", getattr(self, key), "one number and more")
        for key in ranges:
            _require_range(f"algo.{key}", getattr(self, key))


@dataclass(kw_only=True)
class ExactAscentConfig(AlgoConfig):
    """Gradient ascent with exact gradients on a finite MDP, towards eq. 7 of Wang et al. 2019; a step is an update.

    The reference policy pi_t stays for `updates_per_version` updates, as the data of a replay do.
    """

    state_ratio: bool  # weigh states by d_pi (the true gradient); false: by d_t, as the algorithm does
    inv_eta: float  # 1/eta, weight of the divergence against advantages of unit root mean square; 0 = none
    horizon: int | None  # null: Q_pi(f), the gradient of the divergence of occupancies; 0: f of the step alone
    gamma: float  # discount
    learning_rate: float  # on logits, against advantages of unit root mean square
    updates_per_version: int  # M
    init_scale: float  # standard deviation of the first policy's logits

    def __post_init__(self) -> None:
        require(self.name == "exact_ascent", "algo.name", self.name, "exact_ascent")
        require_positive(self, "algo", "learning_rate", "updates_per_version")
        require(0 <= self.gamma < 1, "algo.gamma", self.gamma, "0 <= gamma < 1")
        require(0 <= self.inv_eta < math.inf, "algo.inv_eta", self.inv_eta, "0 or more")
        require(0 <= self.init_scale < math.inf, "algo.init_scale", self.init_scale, "0 or more")
        require(self.horizon in (None, 0), "algo.horizon", self.horizon, "null (full) or 0 (1-step)")


@dataclass(kw_only=True)
class LoggerConfig:
    """Where the run directory is mirrored to."""

    name: str  # wandb | none
    mode: str  # offline | online
    project: str
    entity: str | None

    def __post_init__(self) -> None:
        require(self.name in ("none", "wandb"), "logger.name", self.name, "none, wandb")
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
    precision: str  # fp32 | bf16: of hidden layers; weights that are optimised, heads and losses stay fp32
    seeds_per_process: int  # n: the run is made with those of the n seeds from seed // n * n, learning as one
    store: str  # folder of all runs
    checkpoint_minutes: float  # at least, between two checkpoints that the run can go on from
    run_dir: str | None  # null = named after the identity, inside the store

    def __post_init__(self) -> None:
        require_representable(self)
        require(0 <= self.seed < 2**31, "seed", self.seed, "0 <= seed < 2^31")
        require(0 < self.threads <= MOST_THREADS, "threads", self.threads, f"1 to {MOST_THREADS}")
        require_path("store", self.store)
        if self.run_dir is not None:
            require_path("run_dir", self.run_dir)
        require(self.checkpoint_minutes > 0, "checkpoint_minutes", self.checkpoint_minutes, "a number above 0")
        require(self.steps > 0, "steps", self.steps, "1 agent step and more")
        require(self.device in ("cpu", "cuda"), "device", self.device, "cpu, cuda")
        require(self.precision in PRECISIONS, "precision", self.precision, ", ".join(PRECISIONS))
        require_block(self)
        self._check_actions()
        self._check_sizes()
        if isinstance(self.algo, DapoConfig):
            self._check_dapo(self.algo)
        elif isinstance(self.algo, Proposition1Config | ExactAscentConfig | UaeVarianceConfig | BaselineFitConfig):
            require(self.env.suite == "tabular", "env.suite", self.env.suite, f"tabular with algo={self.algo.name}")
            self._check_exact()

    def _check_actions(self) -> None:
        """Discrete actions need a categorical policy, continuous ones another; no step is forced on it."""
        continuous, suite = self.env.suite in CONTINUOUS_SUITES, f"env={self.env.suite}"
        if isinstance(self.algo, OnPolicyConfig) and continuous:
            allowed = f"beta, squashed_gaussian with {suite}, whose actions are continuous"
            require(self.algo.policy != "categorical", "algo.policy", self.algo.policy, allowed)
        elif isinstance(self.algo, OnPolicyConfig):
            allowed = f"categorical with {suite}, whose actions are discrete (set by hparams={self.algo.name}_discrete)"
            require(self.algo.policy == "categorical", "algo.policy", self.algo.policy, allowed)
        elif isinstance(self.algo, SacConfig):
            require(continuous, "env.suite", self.env.suite, f"{' or '.join(CONTINUOUS_SUITES)} with algo=sac")
        if isinstance(self.algo, OnPolicyConfig) and isinstance(self.env, AtariConfig):
            forced = self.env.protocol.fire_sequence  # steps that the policy did not choose
            require(not forced, "env.protocol.fire_sequence", forced, f"false with algo={self.algo.name}")

    def _check_sizes(self) -> None:
        """What DPO, its baselines and SAC need to learn at all."""
        if isinstance(self.algo, OnPolicyConfig | SacConfig):  # small networks, faster there than on a GPU
            require(self.device == "cpu", "device", self.device, f"cpu with algo={self.algo.name}")
        if isinstance(self.algo, OnPolicyConfig):
            least = self.algo.learner.steps * self.env.num_envs
            parts = self.algo.learner.minibatches
            iteration = "the steps of one iteration: algo.learner.steps * env.num_envs"
            require(parts <= least, "algo.learner.minibatches", parts, f"at most {least}, {iteration}")
            require(self.steps >= least, "steps", self.steps, f"{least} and more, {iteration}")
        if isinstance(self.algo, SacConfig):
            least = self.algo.random_steps + self.env.num_envs
            require(self.steps >= least, "steps", self.steps, f"{least} and more, beyond algo.random_steps")
        if isinstance(self.algo, DpoConfig | SacConfig):
            least = self.algo.batch_size + self.env.num_envs
            enough = f"{least} and more, to hold algo.batch_size + env.num_envs"
            require(self.steps >= least, "steps", self.steps, enough)
            require(self.algo.replay_capacity >= least, "algo.replay_capacity", self.algo.replay_capacity, enough)

    def _check_exact(self) -> None:
        """Programs on finite MDPs."""
        exact = f"fp32 with algo={self.algo.name}, which computes exactly"
        require(self.precision == "fp32", "precision", self.precision, exact)
        if isinstance(self.algo, UaeVarianceConfig):
            rows = len(self.algo.lambdas)
            require(self.steps == rows, "steps", self.steps, f"{rows}, one for each of algo.lambdas")
        if isinstance(self.algo, BaselineFitConfig):
            lands = ", ".join(LANDSCAPES)
            require(self.env.task in LANDSCAPES, "env.task", self.env.task, f"{lands} with algo=baseline_fit")

    def _check_dapo(self, algo: DapoConfig) -> None:
        collect = algo.collect_per_env(self.env.num_envs)
        made = "what each actor generates per version: updates_per_version * batch_size / (reuse * num_envs)"
        exact = algo.updates_per_version * algo.batch_size / (algo.reuse * self.env.num_envs)
        length, held = algo.rollout_length, algo.replay_capacity
        require(collect >= length, "algo.rollout_length", length, f"at most {exact:g}, {made}")
        require(held >= collect, "algo.replay_capacity", held, f"at least {collect}, {made}")
        rollouts = self.env.num_envs * collect // algo.rollout_length
        require(
            algo.sampling == "uniform" or rollouts * algo.rollout_length == algo.updates_per_version * algo.batch_size,
            "algo.sampling",
            algo.sampling,
            f"uniform; once needs reuse 1 and whole batches: num_envs actors generate {rollouts} roll-outs of "
            f"rollout_length={length} per version, updates take {algo.updates_per_version * algo.batch_size} steps, "
            "updates_per_version * batch_size",
        )
        solvable = self.env.suite == "tabular" and not algo.recurrent
        allowed = "exact only with env=tabular and algo.recurrent=false"
        require(algo.estimator != "exact" or solvable, "algo.estimator", algo.estimator, allowed)
        turns = self.env.suite == "tabular" or algo.name == "a2c"  # traced per publication; w = 1
        require(not (algo.overlap and turns), "algo.overlap", True, "false with env=tabular and with algo=a2c")
        if algo.fresh_every:
            require(self.env.num_envs > 1, "env.num_envs", self.env.num_envs, "2 and more with algo.fresh_every > 0")
            least = self.env.num_envs * algo.rollout_length
            allowed = f"{least} and more: env.num_envs * algo.rollout_length"
            require(algo.fresh_steps >= least, "algo.fresh_steps", algo.fresh_steps, allowed)
        require(
            self.steps // self.env.num_envs >= algo.rollout_length,
            "steps",
            self.steps,
            f"at least one roll-out per actor ({self.env.num_envs * length}): env.num_envs * algo.rollout_length",
        )
