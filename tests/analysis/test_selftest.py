"""The self-test of the referee: its worlds have the truth that they say, its rows find a referee that is wrong."""

import numpy as np
import pytest

from analysis import selftest, selftest_rules, stats
from analysis.selftest import Rate, judged
from analysis.selftest_rows import ROWS
from analysis.selftest_rules import Count, Row, count, of_claim
from analysis.worlds import WORLDS, Design, claim, losses


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", list(WORLDS))
def test_every_world_has_mean_zero(name):
    x = WORLDS[name](rng(), (1, 200_000, 5))
    assert abs(x.mean()) < 0.02


@pytest.mark.parametrize(
    "name", [name for name in WORLDS if name not in ("skewed", "rare failures", "rare failures of A")]
)
def test_a_world_that_is_judged_is_symmetric_about_its_truth(name):
    x = WORLDS[name](rng(), (1, 100_000, 5))[0]
    assert abs(stats.iqm(x)) < 0.02
    assert np.mean(x > 0) == pytest.approx(0.5, abs=0.01)


def test_dependent_tasks_share_half_of_their_variance():
    x = WORLDS["dependent tasks"](rng(), (1, 50_000, 2))[0]
    assert np.corrcoef(x.T)[0, 1] == pytest.approx(0.5, abs=0.02)


def test_bad_runs_are_lost_more_often():
    scores = WORLDS["normal"](rng(), (1, 100_000, 1))
    lost = losses(rng(), scores)
    assert lost.mean() == pytest.approx(0.06, abs=0.01)
    assert scores[lost].mean() < -0.5


def test_a_design_is_judged_as_planned():
    design = Design(("a", "b"), 2, 4, (claim(),), spread=0.5)
    frame = design.scored(design.scores(rng(), lambda _, shape: np.zeros(shape), [1.0, 0.0]))
    values = frame.pivot_table(index="arm", columns="task", values="score")
    assert values.loc["a"].tolist() == [0.5, 1.5]
    assert values.loc["b"].tolist() == [0.0, 0.0]


def test_lost_runs_stay_in_the_frame_without_a_number():
    design = Design(("a", "b"), 1, 3, (claim(),))
    frame = design.scored(np.zeros((2, 3, 1)), np.array([True, False, False, False, False, False]).reshape(2, 3, 1))
    assert (len(frame), frame["score"].isna().sum(), (frame["state"] == "failed").sum()) == (6, 1, 1)


def row(rule: str, world: str = "normal", seeds: int = 5) -> Row:
    return next(item for item in ROWS if (item.rule, item.world, item.seeds) == (rule, world, seeds))


@pytest.mark.parametrize("seeds", [5, 20])
def test_a_rule_that_is_right_holds(seeds):
    right = row("greater, one task", seeds=seeds)
    found = judged(right, [count(right, 150, rng())], len(ROWS))
    assert found.holds
    assert found.rates["false support"].hits <= 12


def test_episodes_taken_for_runs_are_found_out():
    wrong = row("20 episodes of a run taken for runs")
    found = judged(wrong, [count(wrong, 200, rng())], len(ROWS))
    assert not found.holds
    assert found.cells()["holds"] == "shown"  # it is what the referee does not do


def test_a_survivors_mean_is_found_out():
    wrong = row("survivors only", seeds=20)
    assert not judged(wrong, [count(wrong, 400, rng())], 1).holds


def test_a_referee_with_too_narrow_intervals_does_not_hold(monkeypatch):
    honest = stats.student_t

    def narrow(x: np.ndarray, alpha: float = 0.05) -> stats.Estimate:
        return honest(x, 0.4)

    monkeypatch.setattr(stats, "student_t", narrow)
    design = Design(("a", "b"), 1, 5, (claim(),))
    wrong = Row("greater, one task", "normal", 5, of_claim(design, "normal", [0.5, 0.0], [1.5, 0.0]))
    assert not judged(wrong, [count(wrong, 200, rng())], 1).holds


def test_a_fault_too_small_for_a_row_is_found_in_all_rows_of_its_rule():
    some = [judged(Row("rule", str(i), 5, lambda *_: ("", None)), [Count(400, 16, 8)], 100) for i in range(20)]
    assert all(item.holds for item in some)  # 4 % where 2.5 % are claimed
    (together,) = selftest.pooled(some)
    assert not together.holds
    assert together.rates["false support"] == Rate(320, 8000)


def test_a_rate_has_its_exact_interval():
    assert str(Rate(0, 20)) == "0.0 [0.0, 16.8]"
    assert str(Rate(50, 1000)) == "5.0 [3.7, 6.5]"


def test_counts_add_up():
    total = Count(10, 1, 2, 5, 3, 10, 9) + Count(10, 0, 1, 5, 2, 10, 10)
    assert total.pairs() == {
        "false support": (1, 20),
        "false refutation": (3, 20),
        "support of nothing": (0, 0),
        "power": (5, 10),
        "coverage": (19, 20),
    }


def test_a_claimed_rate_that_fails_is_said_and_ends_in_1(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "measure", lambda reps, seed: [judged(bad, [Count(reps, reps)], 1)])
    monkeypatch.setattr(selftest, "_faults", lambda: [("fault", True, "said")])
    bad = Row("rule", "world", 5, lambda *_: ("supported", None))
    from analysis import __main__ as cli

    assert cli.main(["selftest", "reps=100"]) == 1
    said = capsys.readouterr().out
    assert "1 rows and 1 rules: 2 have a rate that does not hold" in said
    assert "NO" in said


def test_the_rows_cover_what_is_promised():
    rules = " ".join(item.rule for item in ROWS if item.claimed)
    for word in (
        "greater",
        "less",
        "equal",
        "interaction",
        "share",
        "best(",
        "Holm",
        "seeds=auto",
        "reported",
        "lost runs",
    ):
        assert word in rules
    worlds = {item.world for item in ROWS if item.claimed}
    assert worlds >= {"normal", "heavy tails", "bimodal seeds", "dependent tasks", "unequal spread"}
    assert selftest_rules.MARGIN > 0
