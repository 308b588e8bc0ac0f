"""How fast runs are: what they share, where in a run its speed can be read, and one real measurement."""

import json
from pathlib import Path

import pytest
from command_line import block as block_of
from command_line import tiny_suite

from bench import rates
from bench.compose import compose, to_suite_config
from bench.machine import machine
from bench.measure import Rate, learnt_rate, measure, signature
from bench.metrics import METRICS
from bench.plan import expand
from bench.rates import Kept, Speed, finished_rates, pilot_rates, resolve, speeds


def metrics(tmp_path: Path, *rows: dict[str, float], torn: str = "") -> Path:
    lines = [",".join(METRICS), *(",".join(str(row.get(name, "")) for name in METRICS) for row in rows)]
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(lines) + "\n" + torn)
    return path


def learnt(step: int, wall: float) -> dict[str, float]:
    return {"step": step, "wall_s": wall, "version": step // 100, "updates": step}


def test_runs_that_differ_in_seed_length_or_a_fraction_share_a_rate():
    one = ["algo=dpo", "env=mujoco", "algo.alpha=0.03", "steps=4096", "env.task=Hopper-v5", "seed=3"]
    other = ["env=mujoco", "algo=dpo", "algo.alpha=1e-4", "steps=8192", "env.task=Hopper-v5", "seed=4", "store=x"]
    assert signature(one) == signature(other) == "algo=dpo algo.alpha=~ env=mujoco env.task=Hopper-v5"


@pytest.mark.parametrize(
    "word",
    [
        "env.task=Walker2d-v5",
        "algo.width=64",
        "algo.reuse=2.0",
        "algo.alpha=0.0",
        "algo.alpha=1.0",
        "algo=sac",
        "x=true",
    ],
)
def test_runs_that_differ_in_a_task_a_count_or_a_switch_do_not(word):
    base = ["algo=dpo", "env.task=Hopper-v5", "algo.width=256", "algo.reuse=1.5", "algo.alpha=0.03", "x=false"]
    assert signature([*base, word]) != signature(base)


def test_the_last_word_on_a_key_counts():
    assert signature(["algo=ppo", "algo=dapo"]) == signature(["algo=dapo"])


def test_a_rate_is_read_where_the_run_has_learnt_from_what_it_collected(tmp_path):
    path = metrics(tmp_path, learnt(2048, 10.0), {"step": 3000, "wall_s": 10.5, "eval_return": 5.0})
    assert learnt_rate(path) == (204.8, 1)
    everything = 3000 / 10.5  # a planted fault: the last row is an evaluation, half-way through collecting
    assert everything > 1.3 * 204.8


def test_between_two_rows_the_slow_start_does_not_count(tmp_path):
    path = metrics(tmp_path, learnt(100, 5.0), learnt(200, 6.0), learnt(300, 7.0))
    assert learnt_rate(path) == (100.0, 3)


def test_random_steps_before_the_first_update_do_not_count(tmp_path):
    collected = {"step": 2048, "wall_s": 0.1, "version": 0, "updates": 0}
    path = metrics(tmp_path, collected, learnt(4096, 10.0), learnt(6144, 30.0))
    assert learnt_rate(path) == (102.4, 2)


def test_rows_of_a_program_count_though_it_has_no_versions(tmp_path):
    assert learnt_rate(metrics(tmp_path, {"step": 50, "wall_s": 2.0}, {"step": 100, "wall_s": 3.0})) == (50.0, 2)


def test_no_row_a_torn_row_and_no_file_have_no_rate(tmp_path):
    assert learnt_rate(tmp_path / "metrics.csv") is None
    assert learnt_rate(metrics(tmp_path)) is None
    assert learnt_rate(metrics(tmp_path, torn="2048,10")) is None


def plan_of(*words: str):
    return expand(to_suite_config(compose(list(words), "suite")))


TINY = plan_of(*tiny_suite(block_of("ppo,da_full", "CartPole-v1", 8192)))


def finish(store: Path, run, rate: float, hardware: dict[str, str]) -> None:
    folder = store / run.run_dir
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": "done", "rate": rate}))
    (folder / "manifest.json").write_text(json.dumps({"hardware": hardware}))


def test_finished_runs_of_this_machine_say_how_fast_it_is_and_those_of_another_do_not(tmp_path):
    cpu, host = machine()
    finish(tmp_path, TINY.runs[0], 500.0, {"cpu": cpu, "host": host})
    finish(tmp_path, TINY.runs[1], 900.0, {"cpu": cpu, "host": "another"})
    assert finished_rates(TINY.runs, tmp_path) == {signature(TINY.runs[0].overrides): Rate(500.0)}


def test_what_is_known_best_comes_first_and_a_pilot_is_brought_to_this_machines_speed():
    names = {name: f"algo=dpo env=mujoco {name}=1" for name in "abcde"}
    pilot = {names["a"]: 100.0, names["b"]: 200.0, names["c"]: 300.0}
    measured = {
        names["a"]: Rate(50.0, 0.25),
        names["c"]: Rate(900.0, is_bound=True),
        "algo=sac env=dmc": Rate(9.0, is_bound=True),
    }
    found = resolve(
        [*names.values(), "algo=sac env=dmc", "algo=ppo env=atari"], {names["d"]: Rate(70.0)}, measured, pilot
    )
    assert found[names["a"]] == Speed(50.0, 0.25, "measured")
    assert found[names["b"]] == Speed(100.0, 0.25, "pilot")  # half as fast here, as a was
    assert found[names["c"]] == Speed(150.0, 0.25, "pilot")  # better than a bound
    assert found[names["d"]].origin == "finished"
    assert found[names["e"]] == Speed(50.0, 0.25, "alike")  # all differ as much: the slowest
    assert found["algo=sac env=dmc"] == Speed(9.0, 0.25, "at most")
    assert found["algo=ppo env=atari"] == Speed(0.0, 0.25, "unknown")
    assert found["algo=ppo env=atari"].hours(10) == float("inf")
    bound = found["algo=sac env=dmc"]
    assert bound.hours(9) < bound.most_hours(9) == float("inf")  # a budget does not count on the least time
    assert found[names["a"]].hours(180_000) == pytest.approx(1.0 + 0.25 / 3600)


def test_the_run_that_differs_least_stands_for_one_that_nothing_is_known_of():
    known = {
        "algo=dpo env=mujoco x=1 y=1": 10.0,
        "algo=dpo env=mujoco x=2 y=2": 20.0,
        "algo=ppo env=mujoco x=2 y=1": 1.0,
    }
    assert resolve(["algo=dpo env=mujoco x=2 y=3"], {}, {}, known)["algo=dpo env=mujoco x=2 y=3"].per_second == 20.0


def test_packed_results_say_how_fast_their_runs_were():
    found = pilot_rates(Path(__file__).parent.parent.parent / "results")
    run = next(run for run in plan_of("check=state_shift", "scale=cpu").runs if run.arm == "with_ratio")
    assert 1000 < found[signature(run.overrides)] < 1e6
    assert pilot_rates(Path("nowhere")) == {}


def test_what_was_measured_is_kept_for_this_machine_and_as_many_runs_at_once(tmp_path):
    kept = Kept(tmp_path / "rates.json", {"cpu": 2}, {"x": Rate(5.0, 0.5)}, {"x": 60.0, "y": 60.0})
    kept.write()
    again = Kept(tmp_path / "rates.json", {"cpu": 2}).read()
    assert (again.rates, again.tried) == (kept.rates, kept.tried)
    other = Kept(tmp_path / "rates.json", {"cpu": 4}).read()
    assert (other.rates, other.tried) == ({}, {})
    Kept(tmp_path / "rates.json", {"cpu": 4}, {"z": Rate(1.0)}, {}).write()
    assert Kept(tmp_path / "rates.json", {"cpu": 2}).read().rates == kept.rates


@pytest.mark.parametrize("content", ["", "[]", "{", '{"MACHINE": 3}', '{"MACHINE": {"rates": {"x": {"speed": 1}}}}'])
def test_rates_that_cannot_be_read_are_measured_again(tmp_path, content):
    kept = Kept(tmp_path / "rates.json", {"cpu": 2})
    kept.path.write_text(content.replace("MACHINE", " | ".join([*machine(), "2 cpu"])))
    assert kept.read().rates == {}


def test_a_store_that_is_not_there_or_may_not_be_written_keeps_nothing_and_is_no_error(tmp_path):
    Kept(tmp_path / "absent/rates.json", {"cpu": 2}, {"x": Rate(5.0)}, {}).write()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "rates.json").mkdir()
    Kept(tmp_path / "rates.json", {"cpu": 2}, {"x": Rate(5.0)}, {}).write()


@pytest.mark.integration
def test_a_real_run_is_measured_beside_another_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = TINY.runs[0]
    found = measure([run], {"cpu": 2}, 60)[signature(run.overrides)]
    assert 100 < found.per_second < 1e6
    assert not found.is_bound
    assert found.startup is not None
    assert found.startup > 0
    assert list(tmp_path.glob("bench-measure-*")) == []


@pytest.mark.integration
def test_a_run_that_fails_has_no_rate_and_one_on_a_missing_device_is_not_tried():
    broken = plan_of(*tiny_suite(block_of("ppo", "CartPole-v1", 8192, "algo.learning_rate=1e30"))).runs[0]
    assert measure([broken], {"cpu": 1}, 60) == {}
    assert measure([TINY.runs[0]], {"cpu": 0}, 60) == {}
    assert measure([TINY.runs[0]], {"cpu": 1}, 0) == {}


def test_a_rate_is_measured_once_and_again_only_for_more_seconds(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(rates, "measure", lambda runs, slots, seconds: asked.append((len(runs), seconds)) or {})
    suite = plan_of(
        *tiny_suite(block_of("ppo,da_full", "CartPole-v1", 8192)), f"store={tmp_path}", "pilot=nowhere"
    ).suite
    runs = {run.run_dir: (run, "missing") for run in TINY.runs}
    for seconds in (30, 30, 20, 50):
        suite.measure_seconds = seconds
        speeds(runs, suite, {"cpu": 2})
    assert asked == [(2, 30), (2, 50)]


def test_one_of_each_unknown_kind_is_measured_first_then_a_short_run_of_each_known_one_then_the_most_hours():
    prior = {name: Speed(1.0, 0, "pilot") for name in ("algo=a x=1", "algo=a x=2", "algo=a x=3")}
    prior |= {name: Speed(0, 0, "unknown") for name in ("algo=b x=1", "algo=b x=2", "algo=c x=1")}
    steps = {"algo=a x=1": [100, 100], "algo=a x=2": [50], "algo=a x=3": [900], "algo=c x=1": [5]}
    order = rates._order(steps | {"algo=b x=1": [10], "algo=b x=2": [20]}, prior)
    assert set(order[:2]) == {"algo=b x=2", "algo=c x=1"}
    assert order[2:] == ["algo=b x=1", "algo=a x=2", "algo=a x=3", "algo=a x=1"]
