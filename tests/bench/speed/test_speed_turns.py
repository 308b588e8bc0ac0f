import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.errors import RunError, UserError
from bench.speed import contests, report, sides
from bench.speed.__main__ import main
from bench.speed.clock import Measured, Window
from bench.speed.contests import CONTESTS, Contest, Goal, Side
from bench.speed.turns import Ratio, Turn, answer, command, crowded, ratios, require_peers, turns

PAIR = Contest("pair", "x", (Side("a", "run", ("warm=1",)), Side("b", "atari", (), is_peer=True)), (Goal("a", "b", 2),))


VERSIONS = {"a": {"torch": "2"}, "b": {"stable-baselines3": "1", "torch": "3"}}


def measured(steps: int = 10, wall: float = 1.0, cpu: float = 1.0) -> Measured:
    return Measured(steps, wall, cpu, 100.0, {"emulate": 0.5, "act": 0.1, "train": 0.3, "record": 0.1})


def made(*rates: tuple[float, float]) -> list[Turn]:
    """Rounds with the rates of a and of b."""
    return [
        Turn("pair", side, number, replace(measured(10, 10 / rate), versions=VERSIONS[side]))
        for number, pair in enumerate(rates)
        for side, rate in zip("ab", pair, strict=True)
    ]


def test_sides_take_turns_in_fresh_processes_one_at_a_time():
    asked = []

    def start(words, threads, variables):
        asked.append((words[1 if "sb3" in words[1] else 2], words[-1], threads))
        return measured().plain()

    assert [turn.side for turn in turns(PAIR, 2, 3, Path("peers"), start)] == ["a", "b", "a", "b"]
    assert {threads for _, _, threads in asked} == {3}
    assert {last for _, last, _ in asked} == {"threads=3"}


def test_a_side_may_have_variables_of_its_own(monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    kept = next(side for side in CONTESTS[0].sides if side.name == "Stable-Baselines3, memory kept")
    names = "('MALLOC_MMAP_MAX_', 'MKL_NUM_THREADS')"
    show = f"import json, os; print(json.dumps([os.environ.get(name) for name in {names}]))"
    assert answer([sys.executable, "-c", show], 3, kept.environment) == ["0", "3"]
    assert answer([sys.executable, "-c", show], 3) == [None, "3"]


def test_ratios_are_taken_within_a_round():
    found = ratios(PAIR, made((4, 2), (40, 10), (9, 3)), "wall")  # the machine was ten times faster in the second
    assert [ratio.values for ratio in found] == [pytest.approx((2, 4, 3))]
    assert found[0].median == pytest.approx(3)
    assert found[0].verdict == "met"


def test_a_round_that_is_not_complete_does_not_count():
    assert [ratio.values for ratio in ratios(PAIR, made((4, 2), (40, 10))[:-1], "wall")] == [pytest.approx((2,))]
    assert ratios(PAIR, made((4, 2))[:1], "wall") == []


def test_a_ratio_below_its_target_misses_it():
    assert Ratio("pair", Goal("a", "b", 2.0), (1.9, 1.8, 2.5)).verdict == "missed"
    assert Ratio("pair", Goal("a", "b", None), (1.9,)).verdict == "no target"


def test_a_rate_may_have_a_target_of_its_own():
    alone = Contest("pair", "x", PAIR.sides, (Goal("a", None, 5),))
    found = ratios(alone, made((4, 2), (8, 2)), "wall")
    assert [(ratio.values, ratio.verdict) for ratio in found] == [(pytest.approx((4, 8)), "met")]


def test_processor_time_is_asked_for_and_not_used_where_sides_use_it_differently():
    turn = [Turn("pair", "a", 0, measured(10, 1, 0.5)), Turn("pair", "b", 0, measured(10, 1, 1))]
    assert ratios(PAIR, turn, "cpu")[0].values == pytest.approx((2,))
    by_wall = Contest("pair", "x", PAIR.sides, PAIR.goals, by_wall=True)
    assert ratios(by_wall, turn, "cpu")[0].values == pytest.approx((1,))


def test_what_a_side_waited_is_told():
    assert crowded([Turn("pair", "a", 0, measured(10, 2, 1.5)), Turn("pair", "b", 0, measured(10, 2, 2))]) == 0.25
    assert Measured(1, 1.0, 0.0, 1.0).crowded == 0  # not known


@pytest.mark.parametrize(("contest", "threads"), [(PAIR, 2), (replace(PAIR, by_wall=True), 1), (PAIR, 1)])
def test_what_nobody_measured_is_no_zero(contest, threads):
    cpu = 0.0 if threads == 1 and not contest.by_wall else 0.5
    turn = list(turns(contest, 1, threads, Path("peers"), lambda *_: measured(10, 1, cpu).plain()))
    assert [one.waited for one in turn] == [None, None]
    assert crowded(turn) == 0
    cells = [line.split("|")[-3].strip() for line in report.rates_table([contest], turn, "wall").splitlines()[2:]]
    assert cells == ["-", "-"]


def test_the_window_begins_after_the_warm_up_and_ends_before_what_follows(monkeypatch):
    now = iter([1.0, 5.0, 6.0, 8.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    window = Window(20, 40)
    for done in (10, 20, 30, 40, 50):
        window.see(done)
    found = window.measured()
    assert (found.steps, found.wall_s, found.parts) == (20, 3.0, {})


def test_parts_and_the_rest_fill_the_window():
    class Env:
        def step(self, x):
            return sum(range(x))

    env, window = Env(), Window(1, 2)
    window.watch(env, "step", "emulate")
    env.step(10)  # before it
    window.see(1)
    assert env.step(20_000) == sum(range(20_000))
    window.see(2)
    env.step(10)  # after it
    found = window.measured()
    assert 0 < found.parts["emulate"] < found.wall_s
    assert sum(found.parts.values()) == pytest.approx(found.wall_s)


def test_an_empty_window_is_an_error():
    window = Window(10)
    window.see(10)
    with pytest.raises(ValueError, match="the window is empty: 10 steps were made, and it begins with 10"):
        window.measured()


def test_the_clock_runs_to_the_end_or_to_a_step():
    assert (sides.window_of("warm=5").first, sides.window_of("warm=5").last) == (5, None)
    assert (sides.window_of("window=5-9").first, sides.window_of("window=5-9").last) == (5, 9)
    with pytest.raises(UserError, match="the second word is 'warm'; allowed: warm=N or window=N-M"):
        sides.window_of("warm")


def test_a_side_that_fails_is_told_in_one_sentence():
    with pytest.raises(RunError, match=r"failed with exit status 2, saying: error: the side is 'x'"):
        answer([*command(Side("x", "x", ("warm=0",)), 1, Path())], 1)


def test_a_program_that_does_not_start_is_told_in_one_sentence(tmp_path):
    (tmp_path / "python").write_bytes(b"\0")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(RunError, match="python does not start: Exec format error"):
        answer([str(tmp_path / "python")], 1)


def test_an_interrupted_measurement_is_kept(tmp_path, monkeypatch, capsys):
    def start(*_):
        yield from made((4, 2), (8, 2))[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.speed.__main__.turns", start)
    monkeypatch.setattr(contests, "CONTESTS", (PAIR, replace(PAIR, name="later")))
    assert main(["contest=all", "peers=" + sys.executable, f"out={tmp_path}/out"]) == 130
    (path,) = (tmp_path / "out").glob("*.json")
    kept = json.loads(path.read_text())
    assert len(kept["turns"]) == 3
    assert kept["ratios"][0]["values"] == [pytest.approx(2)]
    assert "later" not in capsys.readouterr().out


def test_a_contest_that_fails_does_not_end_the_others(tmp_path, monkeypatch, capsys):
    def start(contest, rounds, threads, peers):
        if contest.name == "emulator":
            raise RunError("a side failed")
        return iter(made((4, 2)))

    monkeypatch.setattr("bench.speed.__main__.turns", start)
    monkeypatch.setattr(contests, "CONTESTS", (*[c for c in CONTESTS if c.name == "emulator"], PAIR))
    assert main(["contest=emulator,pair", f"peers={sys.executable}", f"out={tmp_path}/out"]) == 1
    said = capsys.readouterr()
    assert "error: emulator: a side failed" in said.err
    assert "| a / b" in said.out
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_absent_peers_are_refused_only_where_they_are_needed():
    with pytest.raises(UserError, match="`make speed` installs"):
        require_peers(PAIR.sides, Path("/nowhere/python"))
    require_peers(PAIR.sides[:1], Path("/nowhere/python"))


def test_every_side_of_ours_composes_and_is_named_by_its_goals():
    for contest in CONTESTS:
        names = {side.name for side in contest.sides}
        assert {name for goal in contest.goals for name in (goal.side, goal.over or goal.side)} <= names
        for side in contest.sides:
            if not side.is_peer:
                assert side.kind in sides.SIDES
                words = [word for word in side.words if not word.startswith(("warm=", "window="))]
                sides.configured([*words, "logger=none"])


def test_contests_are_chosen_by_name_and_measured_once(monkeypatch):
    later = Contest("later", "x", PAIR.sides, PAIR.goals)
    monkeypatch.setattr(contests, "CONTESTS", (PAIR, later))
    assert contests.chosen("all") == [PAIR, later]
    assert contests.chosen("later,pair,later") == [later, PAIR]
    with pytest.raises(UserError, match="contest is 'none'; allowed: all, pair, later"):
        contests.chosen("pair,none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_what_needs_a_gpu_is_left_out_and_refused_without_one():
    assert "dapo_gpu" not in {contest.name for contest in contests.chosen("all")}
    with pytest.raises(UserError, match="contest=dapo_gpu needs a CUDA device, and PyTorch sees none here"):
        contests.chosen("dapo_gpu")


def test_what_was_measured_is_kept_as_data_and_as_a_table(tmp_path):
    turn = made((4, 2), (40, 10))
    of = report.origin(1, 2)
    path = report.write(tmp_path, of, [PAIR], turn, ratios(PAIR, turn, "wall"), "wall")
    kept = json.loads(path.with_suffix(".json").read_text())
    assert kept["hardware"]["cpu"]
    assert (kept["threads"], kept["rounds"]) == (1, 2)
    assert [entry["steps"] for entry in kept["turns"]] == [10] * 4
    assert kept["ratios"][0]["values"] == pytest.approx([2, 4])
    text = path.read_text()
    assert "| pair    | a / b | 3.00   | 2.00 to 4.00 | 2      | met     |" in text
    assert "50.000 (" in text  # 0.5 s of 10 steps
    assert "Versions of ours: torch 2.\n" in text
    assert "Versions of the peers: stable-baselines3 1, torch 3.\n" in text


@pytest.mark.integration
def test_a_tiny_run_of_ours_is_measured_with_its_parts():
    words = ["algo=ppo", "env=classic", "env.task=CartPole-v1", "steps=2048"]
    found = sides.timed_run(Window(512), words)
    assert found.steps == 1536
    assert set(found.parts) == {"emulate", "act", "train", "record"}
    assert min(found.parts.values()) > 0
    assert sum(found.parts.values()) == pytest.approx(found.wall_s)
    assert found.peak_mb > 10


@pytest.mark.integration
def test_a_side_in_a_process_of_its_own_tells_its_rate_and_versions():
    words = ["warm=64", "algo=dpo", "env=mujoco", "env.task=InvertedPendulum-v5", "learner=ppo", "steps=600"]
    small = ["algo.hidden=[8]", "algo.learner.steps=128", "algo.learner.epochs=1", "algo.learner.minibatches=2"]
    found = answer(command(Side("eager", "eager", (*words, *small)), 1, Path()), 1)
    assert found["steps"] == 536
    assert found["versions"]["torch"]


@pytest.mark.integration
def test_the_games_of_a_run_are_those_of_its_record():
    games = sides.learned(Window(0), ["algo=ppo", "env=classic", "env.task=CartPole-v1", "steps=2048"])
    steps, scores = zip(*games, strict=True)
    assert sorted(steps) == list(steps)
    assert 2048 >= steps[-1] > 1500
    assert 8 <= min(scores) <= max(scores) <= 500
