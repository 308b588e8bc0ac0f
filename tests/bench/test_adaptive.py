"""seeds=auto on runs whose games are written by hand: what stops it, what does not, and what a kill leaves."""

import json
import signal
from collections.abc import Sequence

import pytest
import yaml
from command_line import block, call, one_sentence, tiny_suite

from bench import adaptive, execute, suite
from bench.compose import compose, to_suite_config
from bench.plan import expand

SEEDS = 8  # looks at 3, 4, 6 and 8
DECIDED = [100.0, 100.1, 99.9, 100.0, 100.1, 99.9, 100.0, 100.1]
UNDECIDED = [3.0, -0.5, 3.0, 3.0, -0.5, 2.0, -0.5, -0.5]  # in sight of a decision at every look
FUTILE = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]


def claim(**changes):
    found = {"id": "better", "statement": "s", "source": "here", "paper": "this_project", "section": "''"}
    found |= {"contrast": "[da_full,ppo]", "pairing": "task_and_seed", "tasks": "null", "metric": "score"}
    found |= {"protocol": "training_games", "normalise": "none", "direction": "greater", "margin": "0.0"}
    found |= {"alpha": "0.05", "min_budget": "0.0"} | changes
    return "{" + ",".join(f"{key}:{value}" for key, value in found.items()) + "}"


UNIVERSAL = {"contrast": "[ppo]", "pairing": "none", "direction": "every_below", "margin": "10.0"}


def words(store, *claims, seeds=SEEDS, more=()):
    blocks = [block("ppo,da_full", "CartPole-v1", 4096, seeds=seeds), *more]
    stated = f"check.claims=[{','.join(claims or [claim()])}]"
    return [*tiny_suite(*blocks), stated, f"store={store}", "scale.scientific=true", "seeds=auto"]


def made(store, run, value):
    """A finished run whose games all returned `value`."""
    path = store / run.run_dir
    path.mkdir(parents=True)
    env = {"suite": "classic", "task": run.task, "num_envs": 1}
    content = {"algo": {"name": run.arm}, "env": env, "seed": run.seed, "steps": run.steps}
    (path / "config.yaml").write_text(yaml.safe_dump(content))
    (path / "manifest.json").write_text(json.dumps({"hash": run.hash}))
    rows = [f"{step},{value},8,0,0,0" for step in range(64, run.steps + 1, 64)]
    (path / "episodes.csv").write_text("\n".join(["step,return,length,env,truncated,lives", *rows]) + "\n")
    sha = f"{run.arm}{run.task}{run.seed}"
    done = {"state": "done", "step": run.steps, "steps": run.steps, "wall_s": 1.0, "rate": 1.0, "params_sha256": sha}
    (path / "status.json").write_text(json.dumps(done))


class Machine:
    """In place of the executor: ppo returns 0, da_full the difference of its seed. `kill_at`: of its runs."""

    def __init__(self, store, differences: Sequence[float]):
        self.store, self.differences, self.batches, self.kill_at = store, differences, [], None

    def __call__(self, runs, *_):
        self.batches.append([(run.arm, run.task, run.seed) for run in runs])
        for i, run in enumerate(runs):
            if i == self.kill_at:
                raise KeyboardInterrupt
            made(self.store, run, self.differences[run.seed] if run.arm == "da_full" else 0.0)
        return []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    found = Machine(tmp_path, DECIDED)
    monkeypatch.setattr(execute, "execute", found)
    return found


def frozen(store):
    return json.loads((store / "checks/multi_step/smoke.json").read_text())


def seeds_made(batches):
    return [sorted({seed for _, _, seed in batch}) for batch in batches]


@pytest.mark.parametrize(
    ("judged", "at"),
    [(20, (5, 10, 15, 20)), (8, (3, 4, 6, 8)), (10, (3, 5, 8, 10)), (4, (3, 4)), (3, (3,)), (1, (1,))],
)
def test_looks_are_quarters_of_the_seeds_from_three_on(judged, at):
    assert adaptive.looks(judged) == at


def test_a_decision_at_the_first_look_ends_it(tmp_path, machine, capsys):
    assert suite.main(["run", *words(tmp_path)]) == 0
    assert seeds_made(machine.batches) == [[0, 1, 2]]
    plan = frozen(tmp_path)
    assert (plan["looks"], plan["most_seeds"]["ppo/CartPole-v1"]) == ([3, 4, 6, 8], 8)
    assert {run["seed"] for run in plan["runs"]} == {0, 1, 2}
    assert capsys.readouterr().err.splitlines() == [
        "multi_step: look 1 of 4, 3 of 8 seeds: claims 1 decided, 0 futile, 0 open; needs no more"
    ]


def test_what_stays_undecided_gets_all_seeds(tmp_path, machine, capsys):
    machine.differences = UNDECIDED
    assert suite.main(["run", *words(tmp_path)]) == 0
    assert seeds_made(machine.batches) == [[0, 1, 2], [3], [4, 5], [6, 7]]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert said[0].endswith("claims 0 decided, 0 futile, 1 open; goes on to 4 seeds")
    assert said[-1].endswith("0 decided, 0 futile, 0 open, 1 undecided with all their seeds; needs no more")
    assert frozen(tmp_path)["registered"]["seeds"] == {"ppo/CartPole-v1": 8, "da_full/CartPole-v1": 8}


def test_what_more_seeds_would_hardly_decide_is_given_up(tmp_path, machine, capsys):
    machine.differences = FUTILE
    assert suite.main(["run", *words(tmp_path)]) == 0
    assert seeds_made(machine.batches) == [[0, 1, 2]]
    assert "0 decided, 1 futile, 0 open; needs no more" in capsys.readouterr().err


def test_one_open_claim_keeps_the_others_going(tmp_path, machine):
    machine.differences = UNDECIDED
    suite.main(["run", *words(tmp_path, claim(id="far", direction="less", margin="50.0"), claim())])
    assert seeds_made(machine.batches)[-1] == [6, 7]


def test_a_statement_about_every_run_is_supported_by_all_planned_seeds_alone(tmp_path, machine, capsys):
    suite.main(["run", *words(tmp_path, claim(**UNIVERSAL))])
    assert seeds_made(machine.batches)[-1] == [6, 7]
    assert "1 decided, 0 futile, 0 open; needs no more" in capsys.readouterr().err.splitlines()[-1]


def test_one_run_refutes_it_and_ends_the_search(tmp_path, machine):
    suite.main(["run", *words(tmp_path, claim(**{**UNIVERSAL, "contrast": "[da_full]"}))])
    assert seeds_made(machine.batches) == [[0, 1, 2]]


def test_claims_that_no_seeds_decide_ask_for_none(tmp_path, machine, capsys):
    suite.main(["run", *words(tmp_path, claim(min_budget="0.5"))])
    assert seeds_made(machine.batches) == [[0, 1, 2]]
    assert "0 open, 1 beyond this scale; needs no more" in capsys.readouterr().err


def test_a_block_with_few_seeds_does_not_hold_up_the_rest(tmp_path, machine, capsys):
    machine.differences = UNDECIDED
    few = block("ppo,da_full", "river_swim", 4096, seeds=3)
    claims = claim(tasks="[CartPole-v1]"), claim(id="few", tasks="[river_swim]")
    suite.main(["run", *words(tmp_path, *claims, more=[few])])
    assert [task for _, task, _ in machine.batches[0]].count("river_swim") == 6
    assert not any(task == "river_swim" for batch in machine.batches[1:] for _, task, _ in batch)
    assert "1 open, 1 undecided with all their seeds; goes on to 4" in capsys.readouterr().err.splitlines()[0]


def test_tuning_seeds_come_on_top(tmp_path, machine):
    suite.main(["run", *words(tmp_path), "check.tuning_seeds=2"])
    assert frozen(tmp_path)["looks"] == [3, 5, 6]
    assert seeds_made(machine.batches) == [[0, 1, 2, 3, 4]]


def test_a_killed_suite_goes_on_where_it_was(tmp_path, machine, capsys):
    machine.differences, machine.kill_at = UNDECIDED, 4
    assert suite.main(["run", *words(tmp_path)]) == 130
    assert "the same command goes on with what is left" in capsys.readouterr().err
    machine.kill_at = None
    assert suite.main(["run", *words(tmp_path)]) == 0
    first, *rest = machine.batches
    assert len(first) == 6
    assert rest[0] == first[4:]
    assert seeds_made(rest[1:]) == [[3], [4, 5], [6, 7]]


def test_a_suite_that_is_killed_at_a_look_does_not_look_at_earlier_ones_again(tmp_path, machine, monkeypatch, capsys):
    machine.differences = UNDECIDED
    real = adaptive.Course.goes_on

    def killed(course):
        if course.place == 1:
            raise KeyboardInterrupt
        return real(course)

    monkeypatch.setattr(adaptive.Course, "goes_on", killed)
    assert suite.main(["run", *words(tmp_path)]) == 130
    monkeypatch.setattr(adaptive.Course, "goes_on", real)
    capsys.readouterr()
    assert suite.main(["run", *words(tmp_path)]) == 0
    assert capsys.readouterr().err.startswith("multi_step: look 2 of 4, 4 of 8 seeds")
    assert seeds_made(machine.batches) == [[0, 1, 2], [3], [4, 5], [6, 7]]


def test_the_same_command_again_trains_nothing(tmp_path, machine, capsys):
    for _ in range(2):
        assert suite.main(["run", *words(tmp_path)]) == 0
    assert len(machine.batches) == 1
    first, again = capsys.readouterr().err.splitlines()
    assert first == again


def test_runs_that_failed_are_told_by_the_status_and_not_tried_at_every_look(tmp_path, machine, monkeypatch, capsys):
    def failing(runs, *_):
        machine([run for run in runs if run.arm == "ppo"])
        return [run for run in runs if run.arm != "ppo"]

    monkeypatch.setattr(execute, "execute", failing)
    assert suite.main(["run", *words(tmp_path)]) == 1
    assert seeds_made(machine.batches) == [[0, 1, 2], [3], [4, 5], [6, 7]]
    assert "1 undecided with all their seeds" in capsys.readouterr().err.splitlines()[-1]


def test_what_was_begun_with_looks_goes_on_with_them_and_nothing_else_gets_them(tmp_path, machine, capsys):
    suite.main(["run", *words(tmp_path)])
    capsys.readouterr()
    assert suite.main(["run", *words(tmp_path)[:-1]]) == 2
    assert "was begun with looks at 3, 4, 6, 8 seeds; allowed: seeds=auto with as many" in capsys.readouterr().err
    assert suite.main(["run", *words(tmp_path, seeds=20)]) == 2
    other = [*words(tmp_path / "other")[:-1], "seeds=3"]
    machine.store = tmp_path / "other"
    assert suite.main(["run", *other]) == 0
    capsys.readouterr()
    assert suite.main(["run", *words(tmp_path / "other")]) == 2
    assert "was begun with a single look; allowed: no seeds=auto" in capsys.readouterr().err


def test_a_plan_shows_the_most_seeds():
    assert len(expand(to_suite_config(compose(words("store"), "suite"))).runs) == 2 * SEEDS


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("executor=slurm", "executor is 'slurm'; allowed: local with seeds=auto"),
        ("shard=1/2", "shard is '1/2'; allowed: null with seeds=auto"),
        ("budget=8h", "budget is '8h'; allowed: null with seeds=auto"),
        ("seeds=automatic", "seeds is 'automatic'; allowed: null, or 1 to 1000, or auto"),
        ("check.tuning_seeds=8", "all among its 8 tuning seeds"),
    ],
)
def test_what_cannot_look_on_the_way_is_refused_in_one_sentence(tmp_path, machine, capsys, word, says):
    assert suite.main(["run", *words(tmp_path), word]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
def test_real_runs_are_made_looked_at_and_registered(tmp_path):
    tiny = block("ppo,da_full", "river_swim", 1024, seeds=4)
    stated = claim(margin="1e6", metric="entropy", protocol="versions")  # differs from seed to seed
    words_ = [*tiny_suite(tiny), f"check.claims=[{stated}]", "scale.scientific=true", "store=store"]
    result = call(tmp_path, "bench.suite", "run", *words_, "seeds=auto")
    assert result.returncode == 0, result.stderr
    assert "multi_step: look 1 of 2, 3 of 4 seeds: claims 1 decided" in result.stderr
    plan = frozen(tmp_path / "store")
    assert len(plan["runs"]) == 6
    assert list(plan["registered"]["claims"]) == ["better"]
    status = call(tmp_path, "bench.suite", "status", *words_, "seeds=auto").stdout
    assert "6 runs: 6 done" in status  # what no look asked for is not missing
    assert "multi_step: seeds=auto, 3 of at most 4 seeds asked for so far, looks at 3, 4" in status
    assert "looks at 3, 4 seeds" in one_sentence(call(tmp_path, "bench.suite", "run", *words_))
