"""Faults that no honest set of runs holds: each is refused or caught by its name, and its honest twin is not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic as synth

from analysis import __main__ as cli
from analysis import integrity, planted
from analysis.archive import read_runs, read_store
from analysis.plan import archive_folder, read_plan
from analysis.plan import planned as planned_checks
from analysis.study import analyse
from bench.errors import UserError

NO_ROWS = pd.DataFrame({"step": [1]})
RESULTS = Path(__file__).resolve().parents[2] / "results"


def games(returns: list[float], length: int = 50) -> pd.DataFrame:
    steps = (np.arange(len(returns)) + 1) * length
    rows = pd.DataFrame({"step": steps, "return": returns, "length": length, "env": 0})
    return rows.assign(truncated=0, lives=0)


def found(returns: list[float], task: str = "Alien", **changes: object) -> integrity.Found:
    run = integrity.Found(
        task=task,
        suite="atari",
        together=1,
        planned=1000,
        reached=1000.0,
        fingerprint="sha",
        episodes=games(returns),
        metrics=pd.DataFrame({"step": [500, 1000]}),
    )
    return replace(run, **changes)  # type: ignore[arg-type]


def fault(returns: list[float], task: str = "Alien", **changes: object) -> str:
    return integrity.run_fault(found(returns, task, **changes))


def test_every_planted_fault_is_caught_by_its_name_and_a_sound_store_is_left_alone(tmp_path: Path) -> None:
    rows = planted.planted(tmp_path)
    assert [sentence for _, caught, sentence in rows if not caught] == []
    assert {name for name, _, _ in rows} == {"no fault", *integrity.FAULTS}
    assert rows[0][0] == "no fault"


def test_every_fault_says_what_it_means_and_what_to_do() -> None:
    for name, (meaning, remedy) in integrity.FAULTS.items():
        assert name in integrity.__doc__  # type: ignore[operator]
        assert meaning.endswith(".")
        assert remedy


def test_a_name_that_is_no_fault_cannot_be_said() -> None:
    with pytest.raises(KeyError):
        integrity.named("something else", "detail")


def test_an_honest_run_has_no_fault() -> None:
    assert fault([110.0, 20.0, 60.0, 20.0]) == ""


def test_a_run_without_a_hash_of_its_parameters_has_no_fingerprint() -> None:
    assert fault([110.0], fingerprint="").startswith("no fingerprint: ")


def test_clipped_returns_are_told_by_their_last_digit() -> None:
    assert fault([11.0, 2.0, 6.0, 20.0]).startswith(
        "clipped returns taken for scores: returns such as 11, 2, 6 in 3 of 4"
    )


@pytest.mark.parametrize(
    ("returns", "task"),
    [
        ([11.0, 2.0, 0.0], "Alien"),  # two games that scored
        ([11.0, 2.0, 6.0], "Breakout"),  # whose score moves by 1
        ([110.0, 20.0, 60.0], "Alien"),  # scores
        ([111.0, 222.0, 333.0], "Alien"),  # more than one per step: not clipped
        ([0.5, 1.5, 2.5], "Alien"),  # no sums of signs
    ],
)
def test_what_is_no_proof_of_clipping_is_left_alone(returns: list[float], task: str) -> None:
    assert fault(returns, task) == ""


def test_games_with_an_odd_last_digit_are_known_from_measurement() -> None:
    units = integrity.score_units()
    assert (units["Alien"], units["Qbert"], units["Seaquest"]) == (10, 5, 10)
    assert not {"Breakout", "Pong", "Freeway", "Enduro", "Montezuma"} & units.keys()
    assert set(units.values()) == {5, 10}


@pytest.mark.parametrize(
    ("task", "value"),
    [
        ("Pong", 22),
        ("Boxing", -101),
        ("DoubleDunk", 25),
        ("Freeway", 35),
        ("Freeway", -1),
        ("Tennis", 25),
        ("Skiing", 1),
    ],
)
def test_a_return_that_a_game_cannot_give_is_another_game(task: str, value: int) -> None:
    said = fault([0.0, float(value)], task)
    assert said.startswith(f"another game: a return of {value}; {task} gives ")


@pytest.mark.parametrize(
    ("task", "value"), [("Pong", -21), ("Boxing", 100), ("Freeway", 34), ("Tennis", -24), ("Skiing", -17000)]
)
def test_the_ends_of_a_game_are_its_own(task: str, value: int) -> None:
    assert fault([float(value)], task) == ""


def test_a_task_of_another_suite_has_no_limits_of_games() -> None:
    assert fault([300.0], "Pong", suite="classic") == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reached": 4000.0}, "status.json says step 4000, 1000 were planned"),
        ({"metrics": pd.DataFrame({"step": [2000, 4000]})}, "metrics.csv goes to step 4000, the run only to 1000"),
        ({"episodes": games([10.0], 4000)}, "episodes.csv goes to step 4000, the run only to 1000"),
        ({"episodes": games([10.0], 1200).assign(step=900)}, "its games add up to 1200 steps"),
    ],
)
def test_frames_are_told_from_agent_steps(changes: dict[str, object], said: str) -> None:
    assert fault([10.0], **changes).startswith(f"frames taken for steps: {said}")


def test_a_short_run_of_many_actors_may_end_a_step_late() -> None:
    assert fault([], planned=10, reached=64.0, together=64, metrics=pd.DataFrame({"step": [64]})) == ""


def test_the_episodes_of_its_own_evaluations_are_no_training_games() -> None:
    rows = pd.DataFrame({"step": [300, 600, 900], "eval_return": [20.0, 35.0, 50.0]})
    assert fault([10.0, 30.0, 40.0, 30.0, 50.0, 50.0], metrics=rows).startswith("evaluations taken for runs: ")
    assert fault([10.0, 30.0, 40.0, 30.0, 50.0, 60.0], metrics=rows) == ""


def test_evaluations_that_are_all_alike_prove_nothing() -> None:
    rows = pd.DataFrame({"step": [300, 600, 900], "eval_return": [500.0, 500.0, 500.0]})
    assert fault([500.0, 500.0, 500.0], metrics=rows) == ""


def test_equal_games_of_two_seeds_are_one_run_whatever_their_parameters() -> None:
    twins, own = integrity.Twins(), games([10.0, 20.0, 30.0, 40.0, 50.0])
    assert twins.fault("a", "t", 0, "x", own, NO_ROWS) == ""
    assert (
        twins.fault("a", "t", 1, "y", own, NO_ROWS) == "seed counted twice: its games are those of seed 0, one by one"
    )
    assert twins.fault("b", "t", 1, "z", own, NO_ROWS) == ""  # another arm may be the same computation


def test_equal_metrics_of_two_seeds_are_one_run_whatever_their_games() -> None:
    twins, rows = integrity.Twins(), pd.DataFrame({"step": range(30), "grad_norm": np.random.default_rng(0).random(30)})
    first, second = games([10.0, 20.0, 30.0, 40.0, 50.0]), games([11.0, 20.0, 30.0, 40.0, 50.0])
    assert twins.fault("a", "t", 0, "x", first, rows) == ""
    said = twins.fault("a", "t", 1, "y", second, rows.assign(wall_s=1.0))
    assert said == "seed counted twice: its metrics.csv is that of seed 0, number by number"
    assert twins.fault("a", "t", 2, "z", second.iloc[:2], rows.assign(grad_norm=0.5)) == ""  # too alike to prove it


def test_a_gap_among_the_seeds_of_a_plan_is_a_run_that_was_taken_out(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo", "da_full"], ["Alien"], 4, [synth.claim()])
    content["runs"] = [run for run in content["runs"] if (run["arm"], run["seed"]) != ("ppo", 1)]
    synth.write_plan(tmp_path, content)
    with pytest.raises(UserError, match=r"survivors only: .* asks for 4 seeds of arm ppo on Alien .* without seed 1"):
        read_plan(tmp_path, "multi_step", "gpu")


def test_few_games_that_are_all_alike_are_no_proof() -> None:
    twins, none = integrity.Twins(), games([0.0] * 8)
    assert twins.fault("a", "Enduro", 0, "x", none, NO_ROWS) == ""
    assert twins.fault("a", "Enduro", 1, "y", none, NO_ROWS) == ""


def test_no_committed_run_holds_a_fault() -> None:
    counted = 0
    for check, scales in planned_checks(RESULTS).items():
        for scale in scales:
            plan, folder = read_plan(RESULTS, check, scale), archive_folder(RESULTS, check, scale)
            counted += len(read_store(folder, plan, read_runs(folder, plan)).runs)
    assert counted > 0


def make(root: Path) -> Path:
    content = synth.make_plan(["ppo", "da_full"], ["CartPole-v1"], 6, [synth.claim(margin=5.0)], scale="cpu")
    content["check"]["reference"] = None
    synth.write_plan(root, content)
    for run in content["runs"]:
        rng = np.random.default_rng([run["seed"], run["arm"] == "ppo"])
        top = 140.0 if run["arm"] == "da_full" else 100.0
        synth.write_run(root, run, [(20 * i, round(float(rng.normal(top, 8.0)), 2)) for i in range(1, 50)])
    return root


def test_deleted_run_directories_are_missing_runs_and_never_a_mean_of_survivors(tmp_path: Path) -> None:
    store = make(tmp_path / "store")
    (whole,) = analyse(store, "multi_step", "cpu").verdicts
    for seed in (0, 3):
        shutil.rmtree(store / f"runs/da_full-CartPole-v1-s{seed}")
    (verdict,) = analyse(store, "multi_step", "cpu").verdicts
    assert (verdict.runs["planned"], verdict.runs["used"], verdict.runs["missing"]) == (12, 10, 2)
    assert "2 of 12 runs lack a number (2 missing)" in verdict.reason
    assert "imputed" in verdict.interval_kind
    assert whole.interval
    assert verdict.interval
    low, high = verdict.interval
    assert high - low > 2 * (whole.interval[1] - whole.interval[0])
    assert low < 0  # the lost runs may have had the lowest number of any arm


def test_a_pack_of_a_store_with_lost_runs_shows_them_too(tmp_path: Path) -> None:
    store, results = make(tmp_path / "store"), tmp_path / "results"
    shutil.rmtree(store / "runs/da_full-CartPole-v1-s0")
    assert cli.main(["archive", "check=all", f"store={store}", f"results={results}", "scale=cpu", "--partial"]) == 0
    (verdict,) = analyse(results, "multi_step", "cpu").verdicts
    assert (verdict.runs["missing"], "imputed" in verdict.interval_kind) == (1, True)


def test_a_run_that_a_pack_lost_cannot_be_written_out_of_it(tmp_path: Path) -> None:
    store, results = make(tmp_path / "store"), tmp_path / "results"
    assert cli.main(["archive", "check=all", f"store={store}", f"results={results}", "scale=cpu"]) == 0
    folder = results / "multi_step-cpu"
    plan = json.loads((folder / "plan.json").read_text())
    gone = plan["runs"].pop(5)  # the last seed: no gap
    plan.pop("registered", None)
    (folder / "plan.json").write_text(json.dumps(plan))
    lines = (folder / "runs.csv").read_text().splitlines(keepends=True)
    (folder / "runs.csv").write_text("".join(line for line in lines if gone["run_dir"] not in line))
    with pytest.raises(UserError, match=r"survivors only: .*configs.json holds 1 runs .* arm ppo, .* seed 5"):
        analyse(results, "multi_step", "cpu")


def test_a_plan_with_fewer_seeds_than_were_registered_is_refused(tmp_path: Path) -> None:
    store = planted.write_store(tmp_path / "store")
    path = store / "checks" / "multi_step" / "cpu.json"
    plan = json.loads(path.read_text())
    plan["runs"].pop()
    path.write_text(json.dumps(plan))
    with pytest.raises(UserError, match="survivors only"):
        analyse(store, "multi_step", "cpu")
