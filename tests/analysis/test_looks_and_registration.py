"""How verdicts treat looks (seeds=auto) and exploratory claims."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.sequential import levels
from analysis.verdicts import judge
from analysis.worlds import Design, claim

LOOKS = (4, 8)


def scores(a: list[float]) -> np.ndarray:
    """`[2, seeds, 1]`: a per seed, and zero."""
    return np.stack([np.array(a, dtype=float), np.zeros(len(a))])[..., None]


def judged(a: list[float], looks: tuple[int, ...] = LOOKS, **changes):
    design = Design(("a", "b"), 1, len(a), (claim(**changes),), looks=looks)
    return judge(design.plan, design.scored(scores(a)), {})[0]


CLEAR = [4.9, 5.0, 5.1, 5.0]


def test_the_first_look_that_decides_stands_whatever_comes_later():
    found = judged([*CLEAR, -50.0, 50.0, -50.0, 50.0])
    assert (found.verdict, found.n, found.estimate) == ("supported", 4, 5.0)
    assert "Look 1 of 2, after 4 seeds" in found.reason
    assert judged([*CLEAR, -50.0, 50.0, -50.0, 50.0], looks=()).verdict == "inconclusive"


def test_an_early_look_has_the_level_of_its_spent_alpha():
    early = judged(CLEAR)
    level = levels(LOOKS, 0.05)[0]
    assert level < 0.01
    assert f"{100 * (1 - level):.3g} %" in early.interval_kind
    plain = judged(CLEAR, looks=())
    assert early.interval[1] - early.interval[0] > plain.interval[1] - plain.interval[0]
    assert early.p == plain.p
    assert early.p_holm == pytest.approx(early.p * 0.05 / level)


def test_a_look_whose_seeds_are_not_all_planned_is_not_taken():
    found = judged([0.4, 0.6, 0.5, 0.5, 5.0, 5.0])  # of the second look only two seeds of four
    assert (found.verdict, found.n) == ("inconclusive", 4)


def test_no_decision_at_the_last_look_says_so():
    found = judged([0.0, 1.0, 0.5, 0.6, 0.1, 0.9, 0.4, 0.5])
    assert found.verdict == "inconclusive"
    assert "Look 2 of 2, after 8 seeds" in found.reason
    assert "contains the margin" in found.reason


def test_looks_share_alpha_among_the_claims():
    design = Design(("a", "b"), 1, 4, (claim(), claim(id="other", contrast=["b", "a"])), looks=LOOKS)
    found = {item.id: item for item in judge(design.plan, design.scored(scores(CLEAR)), {})}
    level = levels(LOOKS, 0.025)[0]
    assert found["claim"].p_holm == pytest.approx(found["claim"].p * 0.05 / level)


def test_tuning_seeds_come_before_the_seeds_of_a_look():
    best = claim(contrast=["best(a, b)", "b"])
    design = Design(("a", "b"), 1, 6, (best,), tuning_seeds=2, looks=LOOKS)
    found = judge(design.plan, design.scored(scores([9.0, 9.0, *CLEAR])), {})[0]
    assert (found.verdict, found.n) == ("supported", 4)


def with_exploratory(a: list[float], exploratory: tuple[str, ...]):
    claims = tuple(claim(id=name) for name in ("first", "second", "third"))
    design = Design(("a", "b"), 1, len(a), claims)
    states = {name: "exploratory" if name in exploratory else "registered" for name in ("first", "second", "third")}
    plan = replace(design.plan, registrations=states)
    return {item.id: item for item in judge(plan, design.scored(scores(a)), {})}


def test_registered_claims_do_not_pay_for_exploratory_ones():
    found = with_exploratory([1.0, 2.0, 1.5, 1.2], ("third",))
    assert found["first"].p_holm == pytest.approx(2 * found["first"].p)
    assert found["third"].p_holm == pytest.approx(3 * found["third"].p)


def test_an_exploratory_claim_is_judged_and_says_what_it_is():
    found = with_exploratory(CLEAR, ("third",))
    assert (found["third"].verdict, found["third"].registration) == ("supported", "exploratory")
    assert found["third"].reason.endswith("Exploratory: stated or edited when runs of it existed.")
    assert "Exploratory" not in found["first"].reason
