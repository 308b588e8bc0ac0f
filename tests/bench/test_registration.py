"""Registered claims, in the plan file as the suite writes it and as the analysis reads it."""

import json
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from command_line import block, tiny_suite

from analysis.__main__ import main
from analysis.archive import write_data
from analysis.load import load_store
from analysis.plan import parse_plan, read_plan
from bench import execute as executing
from bench import registration, suite
from bench.compose import compose, to_suite_config
from bench.errors import UserError
from bench.files import write_atomically
from bench.plan import expand
from bench.registration import sha256

FIRST, SECOND = "full_over_1step", "full_over_ppo"


def plan_of(store, *words, seeds=2):
    tiny = tiny_suite(block("ppo,da_1step,da_full", "CartPole-v1", 4096, seeds=seeds))
    return expand(to_suite_config(compose([*tiny, f"store={store}", *words], "suite")))


def edited(plan, **claims):
    """The plan with changed claims. Args: claims: id -> changes; None takes it out."""
    kept = [replace(claim, **(claims.get(claim.id) or {})) for claim in plan.suite.check.claims]
    kept = [claim for claim in kept if claims.get(claim.id, {}) is not None]
    return replace(plan, suite=replace(plan.suite, check=replace(plan.suite.check, claims=kept)))


def run_one(plan, state="running"):
    path = Path(plan.suite.store) / plan.runs[0].run_dir
    write_atomically(path / "config.yaml", "")
    write_atomically(path / "status.json", json.dumps({"state": state}))


def on_disk(plan):
    return json.loads(plan.path.read_text())


def read(plan):
    return read_plan(Path(plan.suite.store), plan.suite.check.name, plan.suite.scale.name)


@pytest.fixture
def clock(monkeypatch):
    """Set what time it is, to the second."""

    def at(second):
        monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 1, 0, 0, second, 0, 1, 0)))

    at(0)
    return at


def test_a_frozen_plan_registers_its_claims_word_for_word(tmp_path, clock):
    plan = plan_of(tmp_path)
    plan.freeze()
    found = on_disk(plan)["registered"]
    assert found["at"] == "2026-01-01T00:00:00Z"
    assert found["seeds"] == {"ppo/CartPole-v1": 2, "da_1step/CartPole-v1": 2, "da_full/CartPole-v1": 2}
    assert found.keys() == {"at", "commit", "dirty", "claims", "seeds"}
    for claim in plan.suite.check.claims:
        said = json.loads(json.dumps(asdict(claim)))
        assert found["claims"][claim.id] == {"sha256": sha256(said), "claim": said, "at": "2026-01-01T00:00:00Z"}
    assert set(read(plan).registrations.values()) == {"registered"}
    assert len(read(plan).registrations) == len(plan.suite.check.claims)


def test_the_hash_is_of_what_a_claim_says_not_of_its_order():
    assert sha256({"a": 1.0, "b": None}) == sha256({"b": None, "a": 1.0})
    assert sha256({"a": 1.0, "b": None}) != sha256({"a": 1.1, "b": None})
    assert sha256({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # printf '{}' | sha256sum


def test_an_edit_before_any_run_registers_anew_and_leaves_the_others_their_time(tmp_path, clock):
    plan = plan_of(tmp_path)
    plan.freeze()
    clock(7)
    plan.freeze()
    assert on_disk(plan)["registered"]["at"] == "2026-01-01T00:00:00Z"
    changed = edited(plan, **{FIRST: {"margin": 0.3}})
    changed.freeze()
    claims = on_disk(plan)["registered"]["claims"]
    assert claims[FIRST]["claim"]["margin"] == 0.3
    assert (claims[FIRST]["at"][-3:], claims[SECOND]["at"][-3:]) == ("07Z", "00Z")
    assert read(plan).registrations[FIRST] == "registered"
    assert f"{FIRST}.edited" not in read(plan).registrations


def test_an_edit_after_a_run_is_judged_beside_what_was_registered(tmp_path, clock):
    plan = plan_of(tmp_path)
    plan.freeze()
    run_one(plan)
    before = on_disk(plan)["registered"]
    clock(9)
    new = replace(plan.suite.check.claims[0], id="after_the_fact")
    changed = edited(plan, **{FIRST: {"margin": 0.0}})
    claims = [*changed.suite.check.claims, new]
    replace(changed, suite=replace(changed.suite, check=replace(changed.suite.check, claims=claims))).freeze()
    assert on_disk(plan)["registered"] == before
    found = read(plan)
    margins = {claim.id: claim.margin for claim in found.claims}
    assert (margins[FIRST], margins[f"{FIRST}.edited"]) == (0.02, 0.0)
    states = found.registrations
    assert (states[FIRST], states[f"{FIRST}.edited"]) == ("registered", "exploratory")
    assert (states[SECOND], states["after_the_fact"]) == ("registered", "exploratory")
    assert f"{SECOND}.edited" not in states
    plan.freeze()  # taken back
    assert set(read(plan).registrations.values()) == {"registered"}


def test_a_claim_that_is_taken_out_after_a_run_stays_judged(tmp_path):
    plan = plan_of(tmp_path)
    plan.freeze()
    run_one(plan)
    edited(plan, **{FIRST: None}).freeze()
    assert FIRST not in {claim["id"] for claim in on_disk(plan)["check"]["claims"]}
    assert FIRST in {claim.id for claim in read(plan).claims}
    assert read(plan).registrations[FIRST] == "registered"


def test_a_registered_claim_that_was_edited_by_hand_is_exploratory(tmp_path):
    plan = plan_of(tmp_path)
    plan.freeze()
    content = on_disk(plan)
    for where in (content["registered"]["claims"][FIRST]["claim"], content["check"]["claims"][0]):
        where["margin"] = 0.0
    plan.path.write_text(json.dumps(content))
    assert read(plan).registrations == {**dict.fromkeys(read(plan).registrations, "registered"), FIRST: "exploratory"}


def test_a_list_of_runs_without_a_registered_seed_is_refused_as_survivors_only(tmp_path):
    plan = plan_of(tmp_path, seeds=3)
    plan.freeze()
    content = on_disk(plan)
    whole = content["runs"]
    content["runs"] = [run for run in whole if (run["arm"], run["seed"]) != ("ppo", 1)]
    plan.path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"3 seeds of arm ppo on CartPole-v1 and lists 2 of them, without seed 1; restore"
    ):
        read(plan)
    with pytest.raises(UserError, match="survivors only"):
        read(plan)
    # The fault, better hidden: another seed in its place.
    content["runs"] = [{**run, "seed": 7} if (run["arm"], run["seed"]) == ("ppo", 1) else run for run in whole]
    plan.path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="survivors only"):
        read(plan)
    content["runs"] = [run for run in whole if run["arm"] != "da_1step"]
    plan.path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="arm da_1step on CartPole-v1 and lists 0 of them"):
        read(plan)


def test_seeds_that_are_added_after_runs_are_counted_from_then_on(tmp_path):
    plan = plan_of(tmp_path)
    plan.freeze()
    run_one(plan)
    plan_of(tmp_path, seeds=4).freeze()
    assert on_disk(plan)["registered"]["seeds"]["ppo/CartPole-v1"] == 4
    assert set(read(plan).registrations.values()) == {"registered"}


def test_where_runs_are_there_already_nothing_can_be_registered(tmp_path):
    plan = plan_of(tmp_path)
    plan.freeze()
    run_one(plan)
    plan.path.unlink()
    plan.freeze()
    assert on_disk(plan)["registered"]["claims"] == {}
    assert set(read(plan).registrations.values()) == {"exploratory"}
    assert {claim.id for claim in read(plan).claims} == {claim.id for claim in plan.suite.check.claims}


def test_a_plan_that_was_begun_before_there_were_registrations_keeps_its_claims_without_a_hash(tmp_path):
    plan = plan_of(tmp_path)
    plan.freeze()
    run_one(plan)
    old = on_disk(plan)
    del old["registered"]
    for claim in old["check"]["claims"]:
        for key in registration.LATER:
            del claim[key]
    plan.path.write_text(json.dumps({**old, "begun": True}))
    assert read(plan).registrations == {}
    assert {claim.protocol for claim in read(plan).claims} == {""}
    plan.freeze()
    found = read(plan)
    assert found.registrations == {}
    assert len(found.claims) == len(plan.suite.check.claims)
    assert {claim.paper for claim in found.claims} == {"dapo", "this_project"}
    edited(plan, **{FIRST: {"margin": 0.0}}).freeze()
    assert read(plan).registrations == {f"{FIRST}.edited": "exploratory"}
    assert next(claim.margin for claim in read(plan).claims if claim.id == FIRST) == 0.02


def test_a_registration_that_is_none_is_refused_in_one_sentence(tmp_path):
    plan = plan_of(tmp_path)
    plan.freeze()
    for wrong in ([], {"claims": {FIRST: {}}}, {"claims": [FIRST]}, {"claims": {}, "seeds": {"ppo": "two"}}):
        plan.path.write_text(json.dumps(on_disk(plan) | {"registered": wrong}))
        if wrong:
            with pytest.raises(UserError, match="has a registration that cannot be read"):
                read(plan)


def test_packed_results_hold_the_registration(tmp_path):
    plan = plan_of(tmp_path / "store")
    plan.freeze()
    run_one(plan)
    edited(plan, **{FIRST: {"margin": 0.0}}).freeze()
    frozen = read(plan)
    folder = tmp_path / "results" / "multi_step-smoke"
    write_data(folder, on_disk(plan), frozen, load_store(tmp_path / "store", frozen))
    packed = read_plan(tmp_path / "results", "multi_step", "smoke")
    assert packed.registrations == frozen.registrations
    assert packed.claims == frozen.claims


def test_looks_are_those_of_a_claims_own_seeds(tmp_path):
    content = replace(plan_of(tmp_path, seeds=20), looks=(5, 10, 15, 20)).content()
    content["most_seeds"] |= {"ppo/CartPole-v1": 12}
    plan = parse_plan(json.loads(json.dumps(content)), "here")
    full, ppo = ("da_full", "CartPole-v1"), ("ppo", "CartPole-v1")
    assert plan.looks_at([full]) == (5, 10, 15, 20)
    assert plan.looks_at([full, ppo]) == (5, 10, 12)
    assert replace(plan, tuning_seeds=3).looks_at([full], first=3) == (5, 10, 15, 17)
    assert replace(plan, tuning_seeds=3).looks_at([full]) == (8, 13, 18, 20)
    assert replace(plan, looks=()).looks_at([full]) == ()


def test_two_plans_together_have_registered_what_both_did_alike(tmp_path, clock):
    plan = plan_of(tmp_path)
    ours = plan.freeze()
    clock(5)
    theirs = edited(plan_of(tmp_path / "other", seeds=3), **{FIRST: {"margin": 0.3}}).freeze()
    found = registration.united(ours, theirs)
    assert FIRST not in found["claims"]
    assert found["claims"][SECOND]["at"] == "2026-01-01T00:00:05Z"
    assert found["seeds"]["ppo/CartPole-v1"] == 3


# --- the command ----------------------------------------------------------------------------------------------------


def said(capsys, *words):
    status = main(["register", *words])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


def test_register_writes_the_plan_and_says_what_is_registered_and_when(tmp_path, clock, capsys):
    words = ["check=alpha,multi_step", "scale=smoke", f"store={tmp_path}"]
    status, lines, _ = said(capsys, *words)
    assert status == 0
    alpha = json.loads((tmp_path / "checks/alpha/smoke.json").read_text())
    name, entry = next(iter(alpha["registered"]["claims"].items()))
    assert lines[0] == f"alpha  {name}  {entry['sha256'][:12]}  registered now"
    assert {line.split()[0] for line in lines} == {"alpha", "multi_step"}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    clock(30)
    _, lines, _ = said(capsys, *words)
    assert lines[0].endswith("registered 2026-01-01T00:00:00Z")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before


def test_register_after_runs_changes_no_registration_and_no_list_of_runs(tmp_path, capsys):
    words = ["check=multi_step", "scale=smoke", f"store={tmp_path}"]
    plan = expand(to_suite_config(compose(["scale=smoke", f"store={tmp_path}", "seeds=3"], "suite")))
    edited(plan, **{FIRST: {"margin": 0.3}, SECOND: None}).freeze()
    run_one(plan)
    before = on_disk(plan)
    _, lines, _ = said(capsys, *words)
    after = on_disk(plan)
    assert (after["registered"], after["runs"]) == (before["registered"], before["runs"])
    assert [line.split("  ", 3)[3] for line in lines if f"  {FIRST}  " in line or f"  {SECOND}  " in line][1:] == [
        "exploratory: edited after runs of the plan were made",
        "exploratory: new after runs of the plan were made",
    ]
    assert read(plan).registrations[SECOND] == "exploratory"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["check=multi_step"], "register needs scale, store"),
        (["check=foo", "scale=smoke", "store=x"], "available in check: "),
        (["check=multi_step", "scale=huge", "store=x"], "available in scale: "),
        (["check=bias_bound", "scale=quick", "store=x"], "has no scale 'quick'"),
    ],
)
def test_a_wrong_register_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    status, lines, error = said(capsys, *words)
    assert (status, lines) == (2, [])
    assert says in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_first_run_of_a_check_registers_its_claims(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(executing, "execute", lambda *_: [])
    tiny = tiny_suite(block("ppo,da_full", "CartPole-v1", 4096))
    assert suite.main(["run", *tiny, f"store={tmp_path}"]) == 0
    assert FIRST in json.loads((tmp_path / "checks/multi_step/smoke.json").read_text())["registered"]["claims"]
