import json
import math

import numpy as np
import pytest

from analysis import stats
from bench.errors import UserError
from bench.speed import learning
from bench.speed.__main__ import main, parse


def test_games_are_counted_where_they_end():
    found = learning.quarters([[25, 1.0], [26, 3.0], [50, 5.0], [100, 7.0]], 100)
    assert found[:2] == [1.0, 4.0]
    assert math.isnan(found[2])
    assert found[3] == 7.0


def test_a_game_that_ends_after_the_steps_asked_for_is_of_the_last_quarter():
    assert learning.quarters([[104, 2.0]], 100)[3] == 2.0  # whole steps of all environments


@pytest.mark.parametrize(("text", "found"), [("3", [3]), ("0,2-4", [0, 2, 3, 4]), ("5-5,1", [1, 5])])
def test_seeds_are_numbers_and_ranges(text, found):
    assert learning.seeds(text) == found


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1"])
def test_other_seeds_are_refused(text):
    with pytest.raises(UserError, match="seeds is"):
        learning.seeds(text)


def keep(folder, side, seed, score, steps=100, commit="abc"):
    games = [[steps // 4 * quarter, float(score)] for quarter in (1, 2, 3, 4)]
    kept = {"games": games, "origin": {"commit": commit, "dirty": False}}
    (folder / f"{side}-s{seed}.json").write_text(json.dumps(kept))


def test_the_table_compares_what_is_there(tmp_path):
    for seed, score in enumerate((10.0, 10.2, 9.8, 10.0)):
        keep(tmp_path, "sb3", seed, score)
        keep(tmp_path, "fp32", seed, score + 0.1)
    keep(tmp_path, "bf16", 0, 10.0)
    text = learning.write(tmp_path, 100).read_text()
    line = next(line for line in text.splitlines() if line.startswith("| fp32 - sb3"))
    value, interval, margin, verdict = (cell.strip() for cell in line.split("|")[2:6])
    assert (value, margin, verdict) == ("+0.10", "1.00", "equal")
    low, high = map(float, interval.split(" to "))
    assert low < 0.1 < high
    assert "needs 2 seeds of both" in text
    assert "Commit abc." in text
    assert "Warning" not in text


def test_runs_of_several_sources_are_told(tmp_path):
    keep(tmp_path, "sb3", 0, 1.0)
    keep(tmp_path, "fp32", 0, 1.0, commit="def")
    (tmp_path / "fp32-s1.json").write_text(json.dumps({"games": [[1, 2.0]]}))
    text = learning.write(tmp_path, 100).read_text()
    assert all(f"Commit {commit}." in text for commit in ("abc", "def", "unknown"))
    assert "Warning: the runs are of several sources" in text


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.5, 0.9, "equal"), (0.1, 0.9, "equal"), (0.5, 1.5, "differ"), (-3, -2, "differ"), (-0.5, 1.5, "open")],
)
def test_an_interval_says_equal_different_or_nothing(low, high, verdict):
    assert learning.verdict(low, high, 1.0) == verdict


def test_the_interval_is_that_of_the_referee():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.25, 1.0, 2.0])
    expected = stats.welch(a, b)
    assert learning.welch(a, b) == pytest.approx((expected.low, expected.high))
    assert learning.welch(np.ones(2), np.zeros(2)) == (1.0, 1.0)


def test_a_side_without_a_finished_game_is_said_to_have_none():
    text = learning.markdown({"sb3": np.full((3, 4), np.nan)}, 100, [])
    assert text.count("no game") == 4
    assert text.count("needs 2 seeds of both") == 3


def test_runs_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(learning, "answer", lambda words, threads: asked.append(words) or {"games": [[1, 2.0]]})
    keep(tmp_path, "fp32", 0, 1.0, 400)
    learning.make(tmp_path, learning.sides("fp32,bf16"), [0, 1], 400, tmp_path)
    assert [(f"seed={seed}" in words, "precision=bf16" in words) for seed, words in zip((0, 1, 1), asked, strict=True)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("bf16-s0.json", "bf16-s1.json", "fp32-s0.json", "fp32-s1.json"),
    ]
    made = json.loads((tmp_path / "bf16-s1.json").read_text())["origin"]
    assert {"commit", "dirty", "hardware", "threads", "rounds"} <= made.keys()
    assert np.array_equal(learning.scores(tmp_path, 400)["bf16"][:, 0], [2.0, 2.0])


def test_an_interrupted_comparison_keeps_the_table_of_what_is_there(tmp_path, monkeypatch, capsys):
    answers = iter([{"games": [[1, 2.0]]}])

    def answer(words, threads):
        for found in answers:
            return found
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "answer", answer)
    assert main(["learning=true", "seeds=0-1", "steps=400", "side=fp32", f"out={tmp_path}"]) == 130
    assert "| fp32 | 1 " in capsys.readouterr().out
    assert (tmp_path / "400-steps" / "learning.md").exists()


@pytest.mark.parametrize("kind", [["contest=dapo"], ["learning=true", "side=fp32"]])
def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(kind, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([*kind, f"out={tmp_path}/file/below"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: out is '{tmp_path}/file/below")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["contest=none"], "contest is 'none'; allowed: all, ppo_atari"),
        (["rounds=0"], "rounds is '0'; allowed: a whole number from 1 on"),
        (["rounds"], "rounds is ''; allowed: a value"),
        (["rounds=1", "rounds=2"], "rounds is '2'; allowed: one value"),
        (["rnds=1"], "there is no key 'rnds'; allowed: contest"),
        (["clock=sun", "contest=dapo"], "clock is 'sun'; allowed: wall, cpu"),
        (["learning=yes"], "learning is 'yes'; allowed: true"),
        (["learning=true", "seeds=x"], "seeds is 'x'"),
        (["learning=true", "side=x"], "side is 'x'; allowed: all, sb3, fp32, bf16"),
        (["learning=true", "contest=dpo"], "there is no key 'contest'; allowed: learning"),
        (["contest=ppo_atari", "peers=/nowhere"], "peers is '/nowhere', which is not there; `make speed`"),
        (["contest=ppo_atari", "peers=/tmp"], "peers is '/tmp', which is no program; allowed: the Python"),
        (["learning=true", "peers=/tmp"], "peers is '/tmp', which is no program; allowed: the Python"),
    ],
)
def test_bad_options_are_one_sentence(words, sentence, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {sentence}")
    assert said.count("\n") == 1


def test_the_usage_is_printed(capsys):
    assert main(["--help"]) == 0
    assert "learning=true" in capsys.readouterr().out


def test_numbers_may_be_grouped():
    assert parse(["learning=true", "steps=1_000_000"]).whole("steps") == 1_000_000
