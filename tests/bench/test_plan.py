import itertools
import json
from dataclasses import replace

import pytest
from command_line import block, tiny_suite
from filelock import FileLock
from test_compose import presets

from bench import plan as planning
from bench.check_config import contrast_entry
from bench.compose import compose, to_container, to_run_config, to_suite_config
from bench.errors import UserError
from bench.files import write_atomically
from bench.identity import identity, run_name
from bench.plan import expand


def plan(*overrides):
    return expand(to_suite_config(compose(list(overrides), "suite")))


SMOKE = plan("scale=smoke")
BLOCK = "check.scales.smoke.blocks.0"


def named_by(claim, check):
    """Arms and tasks that a claim is about; tasks None: whatever is planned."""
    return {arm for entry in claim.contrast for arm in contrast_entry(entry, list(check.arms))[1]}, set(
        claim.tasks or []
    )


@pytest.mark.parametrize("name", presets("check"))
def test_every_check_expands_at_every_scale_to_its_blocks_and_plans_what_its_claims_name(name):
    cells = {}
    for scale in ("smoke", "cpu", "gpu", "paper"):
        made = plan(f"check={name}", f"scale={scale}")
        check = made.suite.check
        wanted = {
            (arm, task, seed, block.steps)
            for block in check.scales[scale].blocks
            for arm, task, seed in itertools.product(block.arms, block.tasks, range(block.seeds))
        }
        assert {(run.arm, run.task, run.seed, run.steps) for run in made.runs} == wanted
        assert len(made.runs) == len(wanted) == len({run.hash for run in made.runs})
        cells[scale] = {(run.arm, run.task) for run in made.runs}
    for claim in check.claims:
        arms, tasks = named_by(claim, check)
        assert any(
            {(arm, task) for arm in arms for task in tasks} <= planned and arms <= {arm for arm, _ in planned}
            for planned in cells.values()
        ), claim.id


@pytest.mark.parametrize("run", SMOKE.runs, ids=lambda run: f"{run.arm}-{run.task}")
def test_the_planned_hash_is_the_one_that_the_run_computes_itself(run):
    composed = compose([*run.overrides, "logger=none", "store=elsewhere"])
    to_run_config(composed)
    container = to_container(composed)
    assert run.hash == identity(container)
    assert run.run_dir == f"runs/{run_name(container)}"
    assert (container["seed"], container["env"]["task"], container["steps"]) == (run.seed, run.task, run.steps)
    assert run.hash != identity(to_container(compose([*run.overrides, "seed=77"])))


def test_the_longest_budget_ends_with_whole_versions_of_the_papers_schedule():
    paper = plan("scale=paper")
    assert {run.steps % 14_336 for run in paper.runs} == {0}
    assert {run.device for run in paper.runs} == {"cuda"}
    assert {run.device for run in SMOKE.runs} == {"cpu"}


def test_seeds_come_before_tasks_so_that_what_is_done_when_time_is_up_is_balanced():
    runs = plan("scale=quick").runs
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    arms = len({run.arm for run in runs})
    for start in range(0, len(runs), arms):
        assert len({run.task for run in runs[start : start + arms]}) == 1


def test_a_check_can_be_made_small_by_overrides():
    tiny = plan(*tiny_suite(block("ppo,da_full", "CartPole-v1", 4096)), f"{BLOCK}.seeds=2")
    assert [(run.arm, run.task, run.seed) for run in tiny.runs] == [
        ("ppo", "CartPole-v1", 0),
        ("da_full", "CartPole-v1", 0),
        ("ppo", "CartPole-v1", 1),
        ("da_full", "CartPole-v1", 1),
    ]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (f"{BLOCK}.arms=[foo]", "'foo'"),
        (f"{BLOCK}.tasks=[Qbret]", "'Qbret'"),
        (f"{BLOCK}.seeds=0", "seeds is 0"),
        (f"{BLOCK}.arms=[]", "arms"),
        (f"{BLOCK}.tasks=[]", "tasks"),
        ("check.scales.smoke.blocks=[]", "one block and more"),
        (f"{BLOCK}.steps=1e6", "1_000_000"),
        (f"{BLOCK}.steps=10", "steps is 10; allowed: at least one roll-out"),
        ("check.tasks.Qbert.env=classic", "'Qbert'"),
        ("check.tasks.Qbert.env=atar", "env/atar"),
        ('check.arms.ppo.overrides=["algo=dappo"]', "algo/dappo"),
        ('check.arms.ppo.overrides=["+algo.foo=1"]', "algo.foo"),
        ('check.arms.ppo.overrides=["algo=proposition1"]', "need env=exact"),
        ("check.claims.0.contrast=[foo,ppo]", "'foo'"),
        ("check.claims.0.contrast=[ppo]", "pairing is 'task_and_seed'; allowed: none with 1 entries"),
        ("check.claims.0.contrast=[ppo,foo,ppo,ppo]", "'foo'"),
        (
            'check.tuning_seeds=1 check.claims.0.contrast=["best(ppo,foo)",ppo]',
            "claim full_over_1step names the arm 'foo'",
        ),
        (
            'check.tuning_seeds=1 check.claims.0.contrast=["worst(ppo)",ppo]',
            "'worst(ppo)' is no arm; allowed: an arm, best",
        ),
        ('check.claims.0.contrast=["best(ppo,da_full)",ppo]', "check.tuning_seeds above 0"),
        ("check.claims.0.tasks=[Qbret]", "'Qbret'"),
        ("check.claims.0.direction=every_above", "every_below"),
        ("executor.slots=0", "executor.slots is 0"),
        ("store=", "store"),
        ("check=foo", "available in check: "),
        ("seed=1", "there is no key 'seed'"),
        ("+check.foo=1", "check.foo"),
    ],
)
def test_a_wrong_check_is_refused_by_name(override, says):
    with pytest.raises(UserError) as caught:
        plan("scale=smoke", *override.split())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_blocks_that_plan_the_same_run_are_refused_in_one_sentence():
    first, second = block("ppo", "CartPole-v1", 4096), block("ppo,da_full", "CartPole-v1,river_swim", 8192)
    with pytest.raises(UserError) as caught:
        plan(*tiny_suite(first, second))
    assert str(caught.value) == "check multi_step plans arm ppo, task CartPole-v1, seed 0 in two blocks of smoke"
    assert len(plan(*tiny_suite(first, block("ppo,da_full", "river_swim", 8192))).runs) == 3


def test_a_contrast_names_an_arm_or_a_choice_among_arms():
    arms = ["a", "b", "c"]
    assert contrast_entry("a", arms) == ("", ("a",))
    assert contrast_entry("best(a, b)", arms) == ("best", ("a", "b"))
    assert contrast_entry("tuned()", arms) == ("tuned", ("a", "b", "c"))
    for wrong in ("best(a", "worst(a,b)", "best(a)(b)"):
        with pytest.raises(UserError, match="is no arm"):
            contrast_entry(wrong, arms)


def test_blocks_may_differ_in_steps_suite_and_hyperparameters():
    instances = block("instances", "garnet", 50, "hparams=default_exact")
    made = plan(*tiny_suite(instances, block("ppo", "garnet,CartPole-v1", 4096, "algo.clip=0.1"), check="bias_bound"))
    assert [(run.arm, run.task, run.steps) for run in made.runs] == [
        ("instances", "garnet", 50),
        ("ppo", "garnet", 4096),
        ("ppo", "CartPole-v1", 4096),
    ]
    assert [run.run_dir.split("-")[0] for run in made.runs] == ["runs/proposition1", "runs/ppo", "runs/ppo"]
    for run in made.runs:
        assert run.hash == identity(to_container(compose(list(run.overrides))))
    assert made.content()["reference_config"] == {}  # the check has no reference


def test_a_scale_that_the_check_does_not_have_is_refused():
    suite = to_suite_config(compose(["scale=smoke"], "suite"))
    unknown = replace(suite, scale=replace(suite.scale, name="huge"))
    with pytest.raises(UserError, match="no scale 'huge'; it has: smoke"):
        expand(unknown)


def test_the_plan_file_holds_what_the_analysis_needs(tmp_path):
    made = plan("scale=smoke", f"store={tmp_path}")
    made.freeze()
    kept = json.loads((tmp_path / "checks/multi_step/smoke.json").read_text())
    assert kept["check"]["arms"].keys() == {"ppo", "da_1step", "da_full"}
    assert kept["check"]["tasks"].keys() == {"Qbert", "Gravitar"}
    assert {claim["id"] for claim in kept["check"]["claims"]} >= {"full_over_1step", "full_over_ppo"}
    assert kept["check"]["tasks"]["Qbert"] == {"env": "atari", "tag": "hard, dense reward"}
    assert kept["check"]["tuning_seeds"] == 0
    assert kept.keys() == {"check", "scale", "scientific", "runs", "reference_config", "registered"}
    assert (kept["scale"], kept["scientific"]) == ("smoke", False)
    assert {run["steps"] for run in kept["runs"]} == {3072}
    assert kept["runs"][0].keys() == {"arm", "task", "seed", "steps", "hash", "configuration", "run_dir"}
    assert kept["reference_config"]["da_full"]["algo"]["batch_size"] == 1024  # the paper's, not this scale's
    assert kept["reference_config"]["da_full"]["env"]["protocol"]["name"] == "dapo2019"


def test_planning_writes_nothing(tmp_path):
    plan("scale=smoke", f"store={tmp_path / 'store'}")
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_a_run_tells_a_killed_one_from_a_running_one(tmp_path):
    run = SMOKE.runs[0]
    path = tmp_path / run.run_dir
    assert run.state(tmp_path) == "missing"
    path.mkdir(parents=True)
    write_atomically(path / "status.json", json.dumps({"state": "running", "step": 8}))
    assert run.state(tmp_path) == "interrupted"
    with FileLock(path / ".lock"):
        assert run.state(tmp_path) == "running"
    write_atomically(path / "status.json", json.dumps({"state": "done"}))
    assert run.state(tmp_path) == "done"
    assert run.state(tmp_path) in planning.STATES


def frozen(tmp_path, *overrides):
    made = plan("scale=smoke", f"store={tmp_path}", *overrides)
    made.freeze()
    return made


def test_planned_runs_are_not_taken_out_once_one_exists_and_may_be_added(tmp_path):
    first = frozen(tmp_path)
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    with pytest.raises(UserError, match=r"3 of the runs that .* plans are no longer in multi_step at scale smoke"):
        replace(first, runs=first.runs[3:]).freeze()
    frozen(tmp_path, f"{BLOCK}.seeds=2")
    assert len(json.loads(first.path.read_text())["runs"]) == 12


def test_a_planned_run_that_never_ended_may_be_mended_and_a_finished_one_may_not(tmp_path):
    first = frozen(tmp_path)
    mended = replace(first, runs=(replace(first.runs[0], configuration="other"), *first.runs[1:]))
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    mended.freeze()
    first.freeze()
    write_atomically(tmp_path / first.runs[0].run_dir / "status.json", '{"state": "done"}')
    with pytest.raises(UserError, match="1 of the runs that"):
        mended.freeze()


def test_tuning_seeds_and_reference_stand_once_a_run_exists(tmp_path):
    first = frozen(tmp_path)
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    check = first.suite.check
    with pytest.raises(
        UserError, match=r"tuning seeds of multi_step at scale smoke differ from those frozen in .* 1 runs"
    ):
        replace(first, suite=replace(first.suite, check=replace(check, tuning_seeds=1))).freeze()
    other = replace(check.reference, margin=0.5)
    with pytest.raises(UserError, match="the reference of multi_step at scale smoke differ"):
        replace(first, suite=replace(first.suite, check=replace(check, reference=other))).freeze()


def test_other_sources_do_not_thaw_the_claims(tmp_path):
    first = frozen(tmp_path)
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    registered = json.loads(first.path.read_text())["registered"]
    elsewhere = [replace(run, hash="0" * 64, run_dir=f"{run.run_dir}-new") for run in first.runs]
    moved = replace(first, runs=tuple(elsewhere))
    moved.freeze()  # the same runs of changed sources, none of which exists
    claims = first.suite.check.claims
    softer = replace(first.suite.check, claims=[replace(claims[0], margin=claims[0].margin / 2), *claims[1:]])
    replace(moved, suite=replace(first.suite, check=softer)).freeze()
    assert json.loads(first.path.read_text())["registered"] == registered
