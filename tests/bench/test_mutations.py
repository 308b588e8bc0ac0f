"""Mutated command lines run, or are refused in one sentence that names what is wrong, and then nothing is written.

`python -m tests.faults.mutations` tries thousands; here are a small sample, and each that once went wrong.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as command_line
from tests.faults import bases, forked, mutations
from tests.faults.forked import Case

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.integration


def base(start: str) -> str:
    """The first base of runs that begins so."""
    return next(line for line in bases.RUNS if line.startswith(start))


DAPO, DPO, PPO = base("algo=dapo env=classic"), base("algo=dpo env=mujoco"), base("algo=on_policy env=classic")
ASCENT, MOMENTS, FIT = base("algo=exact_ascent"), base("algo=uae_variance"), base("algo=baseline_fit")
ATARI, PLAN = base("algo=dapo env=atari"), next(line for line in bases.SUITES if "check=alpha" in line)

# Base, what is added to it, what is said; "" where it runs.
REFUSED = [
    (DAPO, "threads=9223372036854775808", "threads is 9223372036854775808; allowed: whole numbers below 2^53"),
    (DAPO, "threads=100000", "threads is 100000; allowed: 1 to 256"),
    (DAPO, "algo.rho_v=1e308", "algo.rho_v is 1e+308; allowed: 0, or numbers from about 1e-38 to 3e38"),
    (DAPO, "algo.reuse=5e-324", "algo.reuse is 5e-324; allowed: 0, or numbers from"),
    (DAPO, "env.num_envs=100000", "env.num_envs is 100000; allowed: 1 to 4096"),
    (DAPO, "algo.name=dpo", "algo.name is 'dpo'; allowed: a2c, dapo, impala, ppo"),
    (DAPO, "logger.name=nope", "logger.name is 'nope'; allowed: none, wandb"),
    (DAPO, "env.suite=atari", "env.suite is 'atari'; allowed: classic; to change it choose env=atari"),
    (DAPO, "env.suite=${oc.decode:'['}", "env.suite"),
    (DAPO, "=1", "cannot read '=1' as key=value: it names no key"),
    (DAPO, "hparams=[1]", "hparams is '[1]'; allowed: the name of a preset of conf/hparams"),
    (DAPO, "logger=../../conf/algo/dapo", "logger is '../../conf/algo/dapo'; allowed: the name of a preset"),
    (DAPO, "algo/released=0.5", "algo/released is '0.5'; allowed: the name of a preset"),
    (DAPO, "store=loop", "loop"),
    (DAPO, f"run_dir={'x' * 300}", "run_dir is"),
    (DAPO, "hydra.run.dir=file", "cannot take 'hydra.run.dir=file'; allowed of Hydra's own keys: hydra.searchpath"),
    (DAPO, "+hydra.callbacks.a._target_=nope", "cannot take '+hydra.callbacks.a._target_=nope'"),
    (DAPO, "hydra.launcher._target_=nope", "cannot take 'hydra.launcher._target_=nope'"),
    (DAPO, "hydra.sweeper.params={seed:1}", "cannot take 'hydra.sweeper.params={seed:1}'"),
    (DAPO, "hydra.searchpath=[nope]", "hydra.searchpath in command-line, path=nope is not available"),
    (DAPO, "--info=nope", "argument --info/-i: invalid choice: 'nope'"),
    (DAPO, "logger=nope --info", "available in logger: none, wandb"),
    (DAPO, "steps=x --help", "steps is 'x'"),
    (DAPO, "--resolve", "--resolve belongs to --cfg"),
    (DAPO, "--shell-completion", "cannot take --shell-completion"),
    (DAPO, "--cfg=job --run", "cannot take --cfg and --run together"),
    (ATARI, "env.protocol.noop_max=2147483647", "env.protocol.noop_max is 2147483647; allowed: at most 10000"),
    (ATARI, "env.protocol.max_frames=4294967296", "env.protocol.max_frames is 4294967296; allowed: 1 to 2^31 - 1"),
    (ASCENT, "algo.name=on_policy", "algo.name is 'on_policy'; allowed: exact_ascent"),
    (DPO, "algo.name=on_policy", "algo.name is 'on_policy'; allowed: dpo"),
    (DPO, "algo.hidden=[[1]]", "algo.hidden is [[1]]; allowed: a list of numbers"),
    (
        DPO,
        "env.num_envs=64",
        "steps is 64; allowed: 1024 and more, the steps of one iteration: algo.learner",
    ),
    (PLAN, "seeds=2147483648", "seeds is 2147483648; allowed: null, or 1 to 1000"),
    (PLAN, "check.arms.a0.overrides=[1]", "check alpha, arm a0, task CartPole-v1: cannot read '1' as key=value"),
    (PLAN, "tasks.0=[1]", "cannot read 'tasks.0=[1]'"),
    (PLAN, "logger=[1]", "logger is '[1]'; allowed: the name of a preset"),
]
FAILED = [
    (DPO, "algo.critic_samples=9007199254740991", "not enough memory; the largest sizes are algo.critic_samples=90071"),
    (DAPO, "algo.learning_rate=1e30", "after"),
    (PPO, "algo.learning_rate=3e38", "the policy has no probabilities any more"),
    (MOMENTS, "algo.init_scale=1e6", "the configuration of algo=uae_variance leads out of 64 bits: float division"),
    (FIT, "algo.init_scale=4096", "optimal_variance is nan at step 5"),
]


def case(line: str, more: str, *names: str) -> Case:
    """A base with other words, which take the place of those of the same key."""
    words = more.split()
    keys = {word.partition("=")[0] for word in words}
    kept = [word for word in line.split() if word.partition("=")[0] not in keys]
    return Case(0, "bench.suite" if line in bases.SUITES else "bench", (*kept, *words), frozenset(names))


@pytest.fixture(scope="module")
def outcomes():
    """Of all of them, by base and words: they share the imports."""
    listed = [*REFUSED, *FAILED]
    by_case = {case(line, more, says): (line, more) for line, more, says in listed}
    return {by_case[done]: outcome for done, outcome in forked.judge_all(by_case)}


@pytest.mark.parametrize(("line", "more", "says"), REFUSED, ids=[more[:40] for _, more, _ in REFUSED])
def test_what_once_ended_in_a_traceback_is_refused(outcomes, line, more, says):
    outcome = outcomes[line, more]
    assert (outcome.verdict, outcome.faults) == ("refused", []), outcome.said
    assert says in outcome.said


@pytest.mark.parametrize(("line", "more", "says"), FAILED, ids=[more for _, more, _ in FAILED])
def test_a_run_that_cannot_go_on_fails_with_a_sentence(outcomes, line, more, says):
    outcome = outcomes[line, more]
    assert (outcome.verdict, outcome.faults) == ("failed", []), outcome.said
    assert says in outcome.said


def test_a_sample_of_mutations_runs_or_is_refused():
    said = subprocess.run(
        [sys.executable, "-m", "tests.faults.mutations", "--count", "100", "--seed", "11"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", said.stdout, re.M))
    assert sum(map(int, counts.values())) == 100
    assert int(counts["ran"]) > 10
    assert int(counts["refused"]) > 10


# --- the generator and the judge themselves -----------------------------------------------------------------------


def test_a_case_is_found_again_by_its_seed_and_number():
    assert [mutations.case(3, n) for n in range(8)] == list(mutations.cases(3, 8))
    assert mutations.case(3, 5) != mutations.case(4, 5)


def test_cases_reach_every_group_of_keys_and_both_command_lines():
    tried = list(mutations.cases(0, 2000))
    words = {word.lstrip("+~").partition("=")[0] for case in tried for word in case.words}
    assert {case.module for case in tried} == {"bench", "bench.suite"}
    for prefix in ("algo.learner.", "algo.released.", "env.protocol.", "env.evaluation.", "executor.", "check.", "--"):
        assert any(word.startswith(prefix) for word in words), prefix


@pytest.fixture
def judged(monkeypatch):
    """What the judge makes of a command line that does something else."""

    def judge(main) -> forked.Outcome:
        monkeypatch.setattr(command_line, "main", main)
        [(_, outcome)] = forked.judge_all([Case(0, "bench", ("steps=1",), frozenset({"steps"}))])
        return outcome

    return judge


def refuse(said: str, code: int = 2) -> None:
    """End as a refusal does."""
    print(said, file=sys.stderr)
    sys.exit(code)


def test_the_judge_finds_a_good_refusal_good(judged):
    assert judged(lambda: refuse("error: steps is 1; allowed: 2")) == ("refused", "error: steps is 1; allowed: 2\n", [])


@pytest.mark.parametrize(
    ("main", "fault"),
    [
        (lambda: refuse("steps is 1"), "not one sentence"),
        (lambda: refuse("error: steps is 1\nand more"), "more than one line"),
        (lambda: refuse("error: something is wrong"), "names none of"),
        (lambda: (Path("left").write_text(""), refuse("error: steps is 1")), "written: ['cwd/left']"),
        (lambda: Path("file").unlink() or refuse("error: steps is 1"), "gone: ['cwd/file']"),
        (lambda: refuse("error: steps is 1", 1), "no run is recorded as failed"),
        (lambda: 1 / 0, "a traceback"),
        (lambda: None, "exit status 0, states []"),
    ],
)
def test_the_judge_finds_what_a_command_line_does_wrong(judged, main, fault):
    assert any(found.startswith(fault) for found in judged(main).faults)


def test_the_judge_finds_a_number_that_is_none(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss,entropy\n1,,2.0\n2,nan,1.0\n")
    assert forked._not_finite(tmp_path / "metrics.csv") == ["loss"]
