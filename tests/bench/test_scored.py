"""What is known of claims is kept beside the runs, and found anew when anything that it rests on changes."""

from dataclasses import replace

import pytest

from analysis.plan import parse_plan
from analysis.power import Spread
from bench import scored
from bench.composed import suite_config
from bench.plan import expand
from bench.scored import Knowledge

MADE = expand(suite_config(["check=state_shift", "scale=smoke"]))
PLAN = parse_plan(MADE.content(), "here")
CLAIM = next(claim for claim in PLAN.claims if claim.direction != "every_below")


@pytest.fixture
def known(monkeypatch, tmp_path):
    """Makes what is known, of a store of its own; `asked` are the claims whose runs were looked at."""
    asked = []

    def looked_at(claim, tasks, _scored, _plan, where):
        asked.append(claim.id)
        return Spread(0.5, 0.25, 3, where) if "spread" in where else None

    monkeypatch.setattr("analysis.power.spread", looked_at)

    def make(plan=PLAN, done=(), code="code", where="spread"):
        found = Knowledge(tmp_path, tmp_path / "pilot", plan, frozenset(done), code)
        vars(found)["runs"] = [scored.Known(plan, None, where)]
        return found

    make.asked = asked
    return make


def test_a_spread_is_found_once_and_kept(known):
    first = known()
    assert first.spread(CLAIM, ["a"]) == first.spread(CLAIM, ["a"]) == Spread(0.5, 0.25, 3, "spread")
    first.keep()
    assert known().spread(CLAIM, ["a"]) == Spread(0.5, 0.25, 3, "spread")
    assert known.asked == [CLAIM.id]


def test_that_nothing_is_known_is_kept_too(known):
    first = known(where="nothing")
    assert first.spread(CLAIM, ["a"]) is None
    first.keep()
    assert known(where="nothing").spread(CLAIM, ["a"]) is None
    assert len(known.asked) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"done": [PLAN.runs[0].run_dir]},
        {"code": "other code"},
        {"plan": replace(PLAN, runs=PLAN.runs[1:])},
        {"plan": replace(PLAN, claims=(replace(CLAIM, margin=0.3),))},
    ],
)
def test_whatever_changes_it_is_found_anew(known, changes):
    first = known()
    first.spread(CLAIM, ["a"])
    first.keep()
    known(**changes).spread(CLAIM, ["a"])
    assert len(known.asked) == 2


def test_other_tasks_and_other_claims_are_other_questions(known):
    first = known()
    for claim, tasks in ((CLAIM, ["a"]), (CLAIM, ["b"]), (replace(CLAIM, alpha=0.01), ["a"])):
        first.spread(claim, tasks)
    assert len(known.asked) == 3
    assert first.spread(CLAIM, []) is None
    assert len(known.asked) == 3


def test_a_damaged_file_is_found_anew(known, tmp_path):
    first = known()
    first.spread(CLAIM, ["a"])
    first.keep()
    (path,) = (tmp_path / scored.KEPT).glob("*.json")
    path.write_text('{"x": {"of": 1}}')
    assert known().spread(CLAIM, ["a"]) == Spread(0.5, 0.25, 3, "spread")


def test_no_store_is_made(known, tmp_path):
    absent = replace(known(), store=tmp_path / "absent")
    vars(absent)["runs"] = []
    absent.spread(CLAIM, ["a"])
    absent.keep()
    assert not (tmp_path / "absent").exists()
