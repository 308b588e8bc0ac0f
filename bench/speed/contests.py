"""What is measured against what, at which hyperparameters, and the ratio that is aimed at."""

from dataclasses import dataclass

import torch

from bench.errors import UserError

ATARI = ("algo=ppo", "env=atari", "env.task=Breakout", "env/protocol=ppo2017", "hparams=ppo_sb3_atari")
DPO = ("algo=dpo", "env=mujoco", "env.task=Walker2d-v5", "learner=ppo", "env.evaluation.every=0")
HOPPER = (  # Stable-Baselines3 2.9's defaults (ppo.py, policies.py), which normalise nothing
    *("algo=on_policy", "env=mujoco", "env.task=Hopper-v5", "learner=ppo", "env.evaluation.every=0"),
    *("algo.hidden=[64,64]", "algo.policy=squashed_gaussian", "algo.learner.steps=2048", "algo.learner.epochs=10"),
    *("algo.learner.minibatches=32", "algo.adam_eps=1e-5"),
    *("algo.normalise.observations=false", "algo.normalise.rewards=false"),
)
# Training from the first version on; the cost of an update does not depend on how much there is to draw from.
DAPO = ("algo=dapo", "env=atari", "env.task=Breakout", "hparams=dapo_cpu", "algo.burn_in=0")
BF16 = "precision=bf16"
PAPER = 14_336  # steps of a version: 16 actors x 896
PAPER_DAPO = ("algo=dapo", "env=atari", "env.task=Breakout", "hparams=dapo_neurips2019", "device=cuda")
WITHIN, LONGER = "window=2048-4096", "steps=5120"  # a run that overlaps catches up with its training at its end
SEEDS = 8  # in one program
# A quarter of an iteration with a quarter of its updates: as much work a step, and rows of metrics to take times from.
QUARTER = ("algo.learner.steps=512", "algo.learner.minibatches=2", "algo.learner.baseline_updates=3")
# glibc keeps what is freed, as bench.memory has it in our own processes.
KEPT = (("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", str(2**31 - 1)))


@dataclass(frozen=True)
class Side:
    """One of those that are compared, started anew for each round."""

    name: str
    kind: str  # of bench.speed.sides, or of bench/speed/sb3.py
    words: tuple[str, ...]  # of its command line
    is_peer: bool = False  # lives in the peers' environment
    environment: tuple[tuple[str, str], ...] = ()  # variables that it has beside the others'


@dataclass(frozen=True)
class Goal:
    """A ratio of two sides' rates, or a rate."""

    side: str
    over: str | None  # None: the rate of the side itself
    target: float | None  # at least this; None: measured only

    @property
    def name(self) -> str:
        """As tables say it."""
        return f"{self.side} / {self.over}" if self.over else f"{self.side}, steps per second"


@dataclass(frozen=True)
class Contest:
    """Sides that do the same work, measured in turn."""

    name: str
    about: str
    sides: tuple[Side, ...]
    goals: tuple[Goal, ...]
    by_wall: bool = False  # processor time says nothing here: the sides use it differently
    on_gpu: bool = False  # needs one
    threads: int | None = None  # that each side has, whatever was asked for

    def clock(self, asked: str) -> str:
        """`wall` or `cpu`, by which rates are taken where `asked` is."""
        return "wall" if self.by_wall else asked


def _ours(name: str, kind: str, warm: int, steps: int, *words: str) -> Side:
    return Side(name, kind, (f"warm={warm}", f"steps={warm + steps}", *words))


def _peer(name: str, kind: str, task: str, warm: int, steps: int, *environment: tuple[str, str]) -> Side:
    return Side(name, kind, (task, f"warm={warm}", f"steps={warm + steps}"), True, environment)


# A window is a whole number of iterations: 1 024 steps of PPO and of DAPO on Atari, 2 048 of DPO and PPO on MuJoCo; it
# takes about ten seconds, of DPO more, so that three rounds of all contests take a quarter of an hour.
CONTESTS = (
    Contest(
        "ppo_atari",
        "PPO, Breakout, 8 environments x 128 steps, 4 epochs of minibatches of 256",
        (
            _peer("Stable-Baselines3", "atari", "Breakout", 1024, 3072),
            _peer("Stable-Baselines3, memory kept", "atari", "Breakout", 1024, 3072, *KEPT),
            _ours("ours fp32", "run", 1024, 5120, *ATARI),
            _ours("ours bf16", "run", 1024, 6144, *ATARI, BF16),
        ),
        (
            Goal("ours fp32", "Stable-Baselines3", 1.6),
            Goal("ours bf16", "Stable-Baselines3", 3.0),
            Goal("ours fp32", "Stable-Baselines3, memory kept", None),
            Goal("ours bf16", "Stable-Baselines3, memory kept", None),
            Goal("Stable-Baselines3, memory kept", "Stable-Baselines3", None),
        ),
    ),
    Contest(
        "emulator",
        "Breakout, 8 environments, random actions: the bare vector emulator, and environments on top of one",
        (
            _ours("emulator", "raw", 1600, 12_800, *ATARI),
            _ours("ours", "env", 1600, 12_800, *ATARI),
            _peer("Stable-Baselines3", "env", "Breakout", 800, 8000),
        ),
        (Goal("ours", "emulator", 0.9), Goal("ours", "Stable-Baselines3", None)),
    ),
    Contest(
        "dpo",
        "DPO with PPO, Walker2d-v5, the author's hyperparameters",
        (
            _ours("eager", "eager", 512, 2048, *DPO),
            _ours("eager unchecked", "unchecked", 512, 2048, *DPO),
            _ours("ours fp32", "run", 512, 2048, *DPO),
            _ours("ours bf16", "run", 512, 2048, *DPO, BF16),
        ),
        (
            Goal("ours fp32", "eager", 1.4),
            Goal("ours bf16", "eager", 2.5),
            Goal("ours fp32", "eager unchecked", None),
            Goal("ours bf16", "eager unchecked", None),
        ),
    ),
    Contest(
        "ppo_mujoco",
        "PPO, Hopper-v5, the defaults of Stable-Baselines3",
        (
            _peer("Stable-Baselines3", "mujoco", "Hopper-v5", 2048, 8192),
            _ours("ours fp32", "run", 2048, 8192, *HOPPER),
            _ours("ours bf16", "run", 2048, 8192, *HOPPER, BF16),
        ),
        (Goal("ours fp32", "Stable-Baselines3", 1.0), Goal("ours bf16", "Stable-Baselines3", None)),
    ),
    Contest(
        "dapo",
        "DAPO (convolutions and LSTM), Breakout, hparams=dapo_cpu",
        (
            _ours("ours fp32", "run", 1024, 2048, *DAPO),
            _ours("ours bf16", "run", 1024, 3072, *DAPO, BF16),
        ),
        (Goal("ours bf16", "ours fp32", None),),
    ),
    Contest(
        "overlap",
        "DAPO as above, training beside collecting, on two cores",
        (
            Side("in turn", "run", (WITHIN, *DAPO, LONGER, "algo.overlap=false")),
            Side("overlapped", "run", (WITHIN, *DAPO, LONGER, "algo.overlap=true")),
        ),
        (Goal("overlapped", "in turn", None),),
        by_wall=True,
    ),
    Contest(
        "seeds",
        f"DPO as above in iterations of a quarter, {SEEDS} seeds in one program, steps of all of them together",
        (
            _ours("one seed", "seeds", 512, 1536, *DPO, *QUARTER),
            _ours(f"{SEEDS} seeds", "seeds", 512, 512, *DPO, *QUARTER, f"seeds_per_process={SEEDS}"),
        ),
        (Goal(f"{SEEDS} seeds", "one seed", None),),
        by_wall=True,
    ),
    Contest(
        "dapo_gpu",
        "DAPO in the paper's setting with 16 cores and a GPU; 7.1 trained steps for each that is generated",
        (
            _ours("fp32", "run", 8 * PAPER, 8 * PAPER, *PAPER_DAPO),
            _ours("bf16", "run", 8 * PAPER, 8 * PAPER, *PAPER_DAPO, BF16),
        ),
        (Goal("fp32", None, None), Goal("bf16", None, 30_000), Goal("bf16", "fp32", None)),
        by_wall=True,
        on_gpu=True,
        threads=16,
    ),
)


def lacking(contest: Contest) -> str | None:
    """What keeps a contest from being measured here; None: nothing."""
    if contest.on_gpu and not torch.cuda.is_available():
        return "a CUDA device, and PyTorch sees none here"
    return None


def chosen(names: str) -> list[Contest]:
    """The contests of these names, separated by commas, each once, or `all` that can be measured here.

    Errors: `UserError`.
    """
    known = {contest.name: contest for contest in CONTESTS}
    if names == "all":
        return [contest for contest in CONTESTS if lacking(contest) is None]
    for name in names.split(","):
        if name not in known:
            raise UserError(f"contest is {name!r}; allowed: all, {', '.join(known)}")
        if needs := lacking(known[name]):
            raise UserError(f"contest={name} needs {needs}")
    return [known[name] for name in dict.fromkeys(names.split(","))]
