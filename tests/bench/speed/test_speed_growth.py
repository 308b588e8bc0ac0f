import csv
import json
from pathlib import Path

import pytest

from analysis.load import load_store
from analysis.plan import read_plan
from bench.composed import suite_config
from bench.plan import expand
from bench.speed import growth
from bench.speed.growth import AXES, Axis, Grown, chosen, grown, main, table, write
from bench.speed.synthetic import fill

SQUARE = Axis("square", "sides", (1, 2, 4), lambda size, _: float(size**2))
LINE = Axis("line", "ends", (1, 2, 4), lambda size, _: float(size))


def test_exponents_are_those_of_a_power_law():
    assert Grown(SQUARE, (1.0, 4.0, 16.0)).exponent == pytest.approx(2)
    assert Grown(SQUARE, (1.0, 4.0, 16.0)).at_the_end == pytest.approx(2)


def test_fixed_costs_hide_no_growth_at_the_end():
    one = Grown(SQUARE, (100.0, 100.0, 400.0))
    assert one.exponent < 1.1 < one.at_the_end


def test_the_least_time_of_a_size_counts():
    made = [(LINE, size, size + late) for late in (1.0, 0.0, 3.0) for size in LINE.sizes]
    (one,) = grown(made)
    assert one.seconds == (1.0, 2.0, 4.0)


def test_the_table_says_what_grows_too_fast():
    lines = table([Grown(SQUARE, (1.0, 4.0, 16.0)), Grown(LINE, (1.0, 2.0, 4.0))]).splitlines()
    assert ["YES" in line for line in lines[2:]] == [True, False]


def test_a_measurement_leaves_numbers_table_and_plot(tmp_path):
    made = growth.measure([SQUARE, LINE], 2, "cpu")
    assert [spent for _, _, spent in made[:6]] == [1.0, 4.0, 16.0, 1.0, 2.0, 4.0]
    assert "square" in write(tmp_path, made, "cpu")
    assert {path.name for path in tmp_path.iterdir()} == {"growth.csv", "growth.md", "growth.png"}
    with (tmp_path / "growth.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12


@pytest.mark.parametrize("word", ["axis=nothing", "rounds=0", "rounds=x", "clock=sun", "what=1", "rounds"])
def test_a_bad_word_is_one_sentence(word, capsys):
    assert main([word]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_axes_are_chosen_by_name_and_only_where_the_configuration_has_them(monkeypatch):
    assert [axis.name for axis in chosen("batch,steps")] == ["batch", "steps"]
    monkeypatch.setattr(growth, "AXES", (*AXES, Axis("absent", "", (1,), SQUARE.cost, needs="no_such_key")))
    assert "absent" not in [axis.name for axis in chosen("all")]
    assert len({axis.name for axis in AXES}) == len(AXES)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("made-up")
    plans = [
        expand(suite_config([f"check={name}", "scale=smoke", f"store={place}", "seeds=2"]))
        for name in ("multi_step", "uae_variance")
    ]
    assert fill(place, plans, games=6) == len({run.run_dir for plan in plans for run in plan.runs})
    return place, plans


def test_made_up_runs_pass_for_finished_ones_without_a_fault(store):
    place, plans = store
    for made in plans:
        assert {run.state(Path(place)) for run in made.runs} == {"done"}
        loaded = load_store(Path(place), read_plan(place, made.suite.check.name, "smoke"))
        assert set(loaded.runs["state"]) == {"done"}, loaded.runs["error"]


def test_made_up_runs_know_who_they_are(store):
    place, (made, _) = store
    for run in made.runs:
        manifest = json.loads((place / run.run_dir / "manifest.json").read_text())
        assert (manifest["hash"], manifest["configuration"]) == (run.hash, run.configuration)
