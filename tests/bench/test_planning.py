"""A plan with its hours, its power and its budget, on small checks made of real ones."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import block, call, tiny_suite

from bench import planning
from bench.budget import Choice, wall_hours
from bench.compose import compose, to_suite_config
from bench.errors import UserError
from bench.files import write_atomically
from bench.plan import expand
from bench.planning import applied, chosen, commands, fit, look_ahead, report

RESULTS = str(Path(__file__).parent.parent.parent / "results")
# Two tasks, two arms, six seeds; both checks share the runs of ppo and da_full on CartPole.
BLOCKS = block("ppo,da_full", "CartPole-v1,river_swim", 8192, seeds=6)
SMALL = [*tiny_suite(BLOCKS), "scale.scientific=true", "measure_seconds=0", f"pilot={RESULTS}"]


def plan_of(*words, check="multi_step"):
    return expand(to_suite_config(compose([word for word in words if word] + [f"check={check}"], "suite")))


def missing(*plans):
    return {run.run_dir: (run, "missing") for plan in plans for run in plan.runs}


def outlook_of(*plans):
    return look_ahead(plans, missing(*plans), plans[0].suite)


PLAN = plan_of(*SMALL)


def said(capsys, *plans, **changes) -> str:
    suite = replace(plans[0].suite, **changes)
    assert report(plans, missing(*plans), suite) == 0
    return capsys.readouterr().out


def test_a_plan_says_runs_steps_hours_and_the_power_of_each_claim(capsys):
    shown = said(capsys, PLAN)
    lines: dict[str, list[str]] = {}
    for line in map(str.split, filter(str.strip, shown.splitlines())):
        lines.setdefault(line[0], line)
    assert "ppo, da_full on CartPole-v1, river_swim: 6 seeds; 8,192 steps" in shown
    assert lines["multi_step"][1:4] == ["24", "-", "196,608"]
    claim = lines["full_over_ppo_on_small_tasks"]
    assert claim[1:4] == ["6", ">", "0.05"]
    assert 0 < float(claim[4]) < 1  # detects
    assert claim[6] == "20"  # seeds of the pilot
    assert claim[-1] in ("decidable", "seeds")
    assert "Not run at this scale" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_without_a_pilot_effects_are_in_standard_deviations_and_hours_unknown(capsys, tmp_path):
    shown = said(capsys, plan_of(*SMALL[:-1], f"pilot={tmp_path}"))
    assert " sd " in shown
    assert "24 runs unknown" in shown


def test_a_plan_starts_and_writes_nothing(capsys, tmp_path):
    said(capsys, plan_of(*SMALL, f"store={tmp_path / 'store'}"), budget="1h")
    assert list(tmp_path.iterdir()) == []


def test_a_budget_names_what_it_costs_and_the_commands_that_run_it(capsys):
    takes = chosen(outlook_of(PLAN), "9h").hours()
    shown = said(capsys, PLAN, budget=f"{60 * takes / 2:.4f}min")
    assert "is cut to" in shown
    assert "check=multi_step scale=smoke" in shown
    assert "tasks=[" in shown or "seeds=" in shown


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_the_commands_run_exactly_what_was_chosen_and_it_fits(share):
    outlook = outlook_of(PLAN)
    whole = chosen(outlook, "9h").hours()
    chooser = chosen(outlook, f"{60 * whole * share:.4f}min")
    assert chooser.hours() <= whole * share
    reduced = applied(PLAN, chooser.choices)
    (command,) = commands([PLAN], chooser.choices)
    words = [word for word in shlex.split(command)[4:] if word.partition("=")[0] in ("seeds", "tasks", "steps")]
    assert words
    assert plan_of(*SMALL, *words).runs == reduced.runs
    assert len(reduced.runs) < len(PLAN.runs) or reduced.runs[0].steps < PLAN.runs[0].steps


def test_checks_that_are_run_alike_share_a_command():
    other = replace(PLAN, suite=replace(PLAN.suite, check=replace(PLAN.suite.check, name="other")))
    third = replace(PLAN, suite=replace(PLAN.suite, check=replace(PLAN.suite.check, name="third")))
    choices = {"multi_step": Choice(), "other": Choice(seeds=3, tasks=("CartPole-v1",)), "third": Choice()}
    assert commands([PLAN, other, third], choices) == [
        "python -m bench.suite run check=multi_step,third scale=smoke",
        "python -m bench.suite run check=other scale=smoke seeds=3 'tasks=[CartPole-v1]'",
    ]
    assert commands([PLAN, other], {"multi_step": None, "other": Choice(steps=4096)}) == [
        "python -m bench.suite run check=other scale=smoke steps=4096"
    ]


def test_runs_that_two_checks_share_take_their_time_once(capsys):
    shared = block("ppo,da_full", "CartPole-v1", 8192, seeds=6)
    plans = [plan_of(*tiny_suite(shared)[1:], *SMALL[-3:], check=check) for check in ("multi_step", "bias_bound")]
    alone, both = chosen(outlook_of(plans[0]), "9h").hours(), chosen(outlook_of(*plans), "9h").hours()
    assert both < 1.9 * alone
    assert "all, each run once" in said(capsys, *plans)


def test_a_budget_below_the_smallest_plan_is_refused_in_one_sentence():
    with pytest.raises(UserError) as caught:
        fit([PLAN], replace(PLAN.suite, budget="0.0001min"))
    assert str(caught.value).startswith(
        "budget is 0.0001min, and even the smallest plan of these checks takes at least "
    )
    with pytest.raises(UserError, match="a time that is not known here"):
        fit([plan_of(*SMALL[:-1], "pilot=nowhere")], replace(PLAN.suite, budget="9h", pilot="nowhere"))


def test_what_a_budget_chose_is_gone_on_with_and_not_made_smaller(tmp_path):
    first = plan_of(*SMALL, f"store={tmp_path}", "seeds=3", "tasks=[CartPole-v1]")
    first.freeze()
    whole = plan_of(*SMALL, f"store={tmp_path}")
    assert planning._made(whole) is None  # none of its runs was made
    write_atomically(tmp_path / first.runs[0].run_dir / "config.yaml", "")
    assert planning._made(whole) == Choice(seeds=3, tasks=("CartPole-v1",))
    assert planning._made(first) == Choice()  # as is asked for
    (again,) = fit([whole], replace(whole.suite, budget="9h"))
    assert again.runs == first.runs
    again.freeze()


def test_a_part_of_a_plan_takes_its_own_time_and_has_no_budget_of_its_own():
    mine = missing(PLAN)
    for name in list(mine)[::2]:
        del mine[name]
    whole, part = outlook_of(PLAN), look_ahead([PLAN], mine, PLAN.suite)
    shown = [wall_hours(outlook.offers, {"multi_step": Choice()}, {"cpu": 1}) for outlook in (whole, part)]
    assert shown[1] == pytest.approx(shown[0] / 2, rel=0.2)
    sharded = plan_of(*SMALL, "shard=1/2")
    with pytest.raises(UserError, match=r"budget is 9h with shard 1/2, and each machine would choose for itself"):
        fit([sharded], replace(sharded.suite, budget="9h"))


def test_steps_are_not_cut_below_what_a_run_needs():
    (offer,) = outlook_of(PLAN).offers
    assert offer.accepts(8192)
    assert not offer.accepts(8)


def test_what_other_steps_would_decide_is_not_the_checks_question():
    (prospect,) = outlook_of(PLAN).prospects
    assert prospect.decides(Choice())
    assert prospect.decides(Choice(steps=4096)) == frozenset()
    assert prospect.decides(Choice(tasks=("CartPole-v1",))) == frozenset()  # its claims name both


# --- a store with runs ----------------------------------------------------------------------------------------------

STORED = ["check=state_shift", "scale=smoke", "logger=none", "scale.scientific=true", "measure_seconds=0"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    place = tmp_path_factory.mktemp("stored")
    assert call(place, "bench.suite", "run", *STORED, "store=store").returncode == 0
    return place / "store"


@pytest.mark.integration
def test_the_store_says_how_fast_runs_are_and_how_much_they_spread(stored):
    plan = plan_of(*STORED[1:], f"store={stored}", "seeds=5", "pilot=nowhere", check="state_shift")
    runs = {run.run_dir: (run, run.state(stored)) for run in plan.runs}
    assert sorted(state for _, state in runs.values()) == ["done"] * 12 + ["missing"] * 18
    outlook = look_ahead([plan], runs, plan.suite)
    powers = {power.claim.id: power for power in outlook.prospects[0].powers()}
    found = powers["ratio_does_not_matter_under_small_shift"]
    assert (found.seeds, found.spread.n, found.spread.source) == (5, 2, "store")
    assert {outlook.speeds.speed(run).origin for run in plan.runs} == {"finished"}
    assert 0 < chosen(outlook, "1h").hours() < 0.1


@pytest.mark.integration
def test_what_was_read_of_the_store_is_read_again_only_when_there_is_more_of_it(stored, monkeypatch):
    plan = plan_of(*STORED[1:], f"store={stored}", "pilot=nowhere", check="state_shift")
    runs = {run.run_dir: (run, "done") for run in plan.runs}

    def powers():
        (prospect,) = look_ahead([plan], runs, plan.suite).prospects
        return prospect.powers()

    first = powers()
    assert len(list(stored.glob("scored/state_shift-smoke-*.csv"))) == 1
    asked = []
    monkeypatch.setattr("analysis.load.load_store", lambda *arguments: asked.append(arguments))
    assert powers() == first
    assert asked == []
    runs[plan.runs[0].run_dir] = (plan.runs[0], "failed")
    with pytest.raises(AttributeError):  # of the None that it got instead of a store
        powers()
    assert len(asked) == 1


@pytest.mark.integration
def test_of_store_and_pilot_the_one_with_more_seeds_is_believed(stored):
    plan = plan_of(*STORED[1:], f"store={stored}", f"pilot={RESULTS}", check="state_shift")
    runs = {run.run_dir: (run, "done") for run in plan.runs}
    (prospect,) = look_ahead([plan], runs, plan.suite).prospects
    (found,) = [power for power in prospect.powers() if power.spread]
    assert (found.spread.n, found.spread.source) == (20, "results cpu")


@pytest.mark.integration
def test_a_plan_of_a_store_that_may_only_be_read_keeps_no_rates_and_works(stored, tmp_path):
    (tmp_path / "rates.json").mkdir()  # where nothing can be written, even by the superuser
    result = call(tmp_path, "bench.suite", "plan", *STORED[:-1], f"store={tmp_path}", "measure_seconds=30")
    assert result.returncode == 0, result.stderr
    assert "100% measured" in result.stdout
    assert result.stderr == "measuring the speed of 6 kinds of runs, for 30 s at most\n"


@pytest.mark.integration
def test_the_second_plan_measures_nothing(tmp_path):
    for said in ("measuring the speed of 6 kinds of runs, for 30 s at most\n", ""):
        result = call(tmp_path, "bench.suite", "plan", *STORED[:-1], "store=.", "measure_seconds=30")
        assert result.returncode == 0, result.stderr
        assert result.stderr == said
    (kept,) = json.loads((tmp_path / "rates.json").read_text()).values()
    assert len(kept["rates"]) == 6
