import json
from dataclasses import replace

import pytest
from command_line import TINY_SUITE
from filelock import FileLock
from test_compose import presets

from bench import plan as planning
from bench.compose import compose, identity, run_name, to_container, to_run_config, to_suite_config
from bench.errors import UserError
from bench.files import write_atomically
from bench.plan import expand


def plan(*overrides):
    return expand(to_suite_config(compose(list(overrides), "suite")))


SMOKE = plan("scale=smoke")


@pytest.mark.parametrize("scale", presets("scale"))
@pytest.mark.parametrize("check", presets("check"))
def test_every_check_expands_at_every_scale_it_has(check, scale):
    suite = to_suite_config(compose([f"check={check}", f"scale={scale}"], "suite"))
    if scale not in suite.check.scales:
        pytest.skip("the check has no such scale")
    made = expand(suite)
    budget = suite.check.scales[scale]
    wanted = {(arm, task, seed) for arm in budget.arms for task in budget.tasks for seed in range(budget.seeds)}
    assert {(run.arm, run.task, run.seed) for run in made.runs} == wanted
    assert len(made.runs) == len(wanted)
    assert len({run.hash for run in made.runs}) == len({run.run_dir for run in made.runs}) == len(wanted)
    assert {run.steps for run in made.runs} == {budget.steps}


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
    assert paper.budget.steps % 14_336 == 0
    assert {run.device for run in paper.runs} == {"cuda"}
    assert {run.device for run in SMOKE.runs} == {"cpu"}


def test_seeds_come_before_tasks_so_that_what_is_done_when_time_is_up_is_balanced():
    runs = plan("scale=quick").runs
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    arms = len({run.arm for run in runs})
    for start in range(0, len(runs), arms):
        assert len({run.task for run in runs[start : start + arms]}) == 1


def test_a_check_can_be_made_small_by_overrides():
    tiny = plan(*TINY_SUITE, "check.scales.smoke.arms=[ppo,da_full]", "check.scales.smoke.seeds=2")
    assert [(run.arm, run.task, run.seed) for run in tiny.runs] == [
        ("ppo", "CartPole-v1", 0),
        ("da_full", "CartPole-v1", 0),
        ("ppo", "CartPole-v1", 1),
        ("da_full", "CartPole-v1", 1),
    ]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("check.scales.smoke.arms=[foo]", "'foo'"),
        ("check.scales.smoke.tasks=[Qbret]", "'Qbret'"),
        ("check.scales.smoke.seeds=0", "seeds is 0"),
        ("check.scales.smoke.arms=[]", "arms"),
        ("check.scales.smoke.steps=1e6", "1_000_000"),
        ("check.scales.smoke.steps=10", "steps"),
        ('check.base=["env=classic"]', "'Qbert'"),
        ('check.arms.ppo.overrides=["algo=dappo"]', "algo/dappo"),
        ('check.arms.ppo.overrides=["+algo.foo=1"]', "algo.foo"),
        ("check.claims.0.contrast=[foo]", "'foo'"),
        ("check.claims.0.tasks=[Qbret]", "'Qbret'"),
        ("executor.slots=0", "executor.slots is 0"),
        ("store=", "store"),
        ("check=foo", "available in check: "),
        ("seed=1", "there is no key 'seed'"),
        ("+check.foo=1", "check.foo"),
    ],
)
def test_a_wrong_check_is_refused_by_name(override, says):
    with pytest.raises(UserError) as caught:
        plan("scale=smoke", override)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


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
    assert (kept["scale"], kept["scientific"], kept["steps"]) == ("smoke", False, 3072)
    assert kept["runs"][0].keys() == {"arm", "task", "seed", "steps", "hash", "run_dir"}
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


def test_claims_stand_once_a_run_of_them_exists(tmp_path):
    first = frozen(tmp_path)
    claims = [replace(first.suite.check.claims[0], margin=0.0), *first.suite.check.claims[1:]]
    changed = replace(first, suite=replace(first.suite, check=replace(first.suite.check, claims=claims)))
    changed.freeze()  # nothing has been run: a claim may still be mended
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    with pytest.raises(UserError, match=r"claims of multi_step at scale smoke differ from those frozen in .* 1 runs"):
        first.freeze()
    changed.freeze()  # the frozen ones


def test_planned_runs_are_not_taken_out_once_one_exists_and_may_be_added(tmp_path):
    first = frozen(tmp_path)
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    with pytest.raises(UserError, match=r"3 of the runs that .* plans are no longer in multi_step at scale smoke"):
        replace(first, runs=first.runs[3:]).freeze()
    frozen(tmp_path, "check.scales.smoke.seeds=2")
    assert len(json.loads(first.path.read_text())["runs"]) == 12


def test_a_planned_run_that_never_ended_may_be_mended_and_a_finished_one_may_not(tmp_path):
    first = frozen(tmp_path)
    mended = replace(first, runs=(replace(first.runs[0], hash="other"), *first.runs[1:]))
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    mended.freeze()
    first.freeze()
    write_atomically(tmp_path / first.runs[0].run_dir / "status.json", '{"state": "done"}')
    with pytest.raises(UserError, match="1 of the runs that"):
        mended.freeze()
