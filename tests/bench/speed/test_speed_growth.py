import csv
import json
from pathlib import Path

import pytest

from analysis.load import load_store
from analysis.plan import read_plan
from bench.composed import suite_config
from bench.errors import RunError
from bench.plan import expand
from bench.speed import growth
from bench.speed.growth import AXES, Axis, Grown, chosen, grown, main, table, write
from bench.speed.report import origin, stem
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
    made = list(growth.measure([SQUARE, LINE], 2, "cpu"))
    assert [spent for _, _, spent in made[:6]] == [1.0, 4.0, 16.0, 1.0, 2.0, 4.0]
    of = origin(1, 2) | {"dirty": True}
    text = write(tmp_path, of, made, "cpu")
    assert "square" in text
    assert ", with changes, threads=1, rounds=2, cpu time" in text.splitlines()[0]
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem(of)}.{end}" for end in ("csv", "md", "png")}
    with (tmp_path / f"{stem(of)}.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (RunError("it failed"), 1)])
def test_what_was_measured_before_the_end_is_kept(error, status, tmp_path, monkeypatch, capsys):
    def cost(size, clock):
        if size == 4:
            raise error
        return float(size)

    monkeypatch.setattr(growth, "AXES", (LINE, Axis("broken", "sides", (1, 2, 4), cost), SQUARE))
    assert main([f"out={tmp_path}/made", "rounds=1"]) == status
    (path,) = (tmp_path / "made").glob("*.csv")
    assert len(path.read_text().splitlines()) == 1 + 3 + 2
    broken = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| broken"))
    assert [cell.strip() for cell in broken.split("|")[4:7]] == ["1.00", "-", "-"]


def test_a_single_size_has_no_slope(tmp_path):
    assert "| -        | -          | -" in write(tmp_path, origin(1, 1), [(LINE, 1, 1.0)], "cpu")


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(growth, "measure", lambda *_: pytest.fail("it was measured"))
    assert main([f"out={tmp_path}/file"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: out is '{tmp_path}/file' (File exists); allowed: a folder")
    assert said.count("\n") == 1


@pytest.mark.parametrize("word", ["axis=nothing", "rounds=0", "rounds=x", "clock=sun", "what=1", "rounds"])
def test_a_bad_word_is_one_sentence(word, capsys):
    assert main([word]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_axes_are_chosen_by_names_of_one_word_and_measured_once():
    assert [axis.name for axis in chosen("batch,steps,batch")] == ["batch", "steps"]
    assert chosen("all") == list(AXES)
    assert len({axis.name for axis in AXES}) == len(AXES)
    assert all(axis.name.isidentifier() for axis in AXES)


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
