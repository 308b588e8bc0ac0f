"""What fits a budget, on plans small enough to be fitted by hand: runs of an hour, one at a time."""

import pytest

from bench.budget import Cell, Choice, Chooser, Offer, wall_hours

ONE = {"cpu": 1}


def cell(task="t", seeds=4, steps=100, arm="a", names=None, done=(), device="cpu", hours=0.01):
    """Runs of `hours` per step."""
    named = tuple(names or (f"{arm}-{task}-{seed}" for seed in range(seeds)))
    return Cell(arm, task, device, steps, named, frozenset(done), lambda steps: hours * steps)


def offer(name="check", *cells, needs=None, claims=None, least=2, accepts=lambda steps: True, made=False, **planned):
    """A check. Args: needs: claim -> seeds that decide it; claims: claim -> tasks without which it is lost."""
    cells = cells or (cell(),)

    def decides(choice):
        if choice.steps:
            return frozenset()
        seeds = choice.seeds or max(len(cell.names) for cell in cells)
        kept = set(choice.tasks or (cell.task for cell in cells))
        return frozenset(
            claim
            for claim, needed in (needs or {}).items()
            if seeds >= needed and kept >= set((claims or {}).get(claim, ()))
        )

    return Offer(name, tuple(cells), least, decides, accepts, made, Choice(**planned))


def fitted(budget, *offers, slots=ONE):
    chooser = Chooser(list(offers), slots)
    choices = chooser.fit(budget)
    assert chooser.hours() <= budget
    return choices, chooser


def test_what_fits_is_left_as_it_is():
    choices, chooser = fitted(4.0, offer())
    assert choices == {"check": Choice()}
    assert chooser.explain() == []


def test_hours_are_those_of_the_slots_and_not_the_sum():
    three = offer("check", cell(seeds=3))
    assert wall_hours([three], {"check": Choice()}, {"cpu": 1}) == 3.0
    assert wall_hours([three], {"check": Choice()}, {"cpu": 2}) == 2.0
    assert wall_hours([three], {"check": Choice()}, {"cpu": 9}) == 1.0
    assert wall_hours([three], {"check": None}, {"cpu": 9}) == 0.0


def test_a_long_run_at_the_end_is_waited_for():
    cells = cell("short", seeds=1, steps=50), cell("shorter", seeds=1, steps=10), cell("long", seeds=1, steps=200)
    assert wall_hours([offer("check", *cells)], {"check": Choice()}, {"cpu": 2}) == pytest.approx(2.1)


def test_devices_work_side_by_side_and_one_that_is_missing_takes_for_ever():
    both = offer("check", cell("t", seeds=2), cell("u", seeds=3, device="cuda"))
    assert wall_hours([both], {"check": Choice()}, {"cpu": 1, "cuda": 1}) == 3.0
    assert wall_hours([both], {"check": Choice()}, {"cpu": 1, "cuda": 0}) == float("inf")


def test_a_run_is_made_once_and_not_again_when_it_is_done():
    first, second = offer("first", cell(names="wxyz")), offer("second", cell(names="wxyz"))
    assert wall_hours([first, second], {"first": Choice(), "second": Choice()}, ONE) == 4.0
    assert wall_hours([first, second], {"first": Choice(seeds=1), "second": Choice()}, ONE) == 4.0
    assert wall_hours([offer("check", cell(names="wxyz", done="wy"))], {"check": Choice()}, ONE) == 2.0
    # with other steps they are other runs
    assert wall_hours([offer("check", cell(names="wxyz", done="wy"))], {"check": Choice(steps=50)}, ONE) == 2.0


def test_more_seeds_than_planned_are_runs_that_nobody_has_made():
    assert wall_hours([offer("check", cell(names="wxyz", done="wxyz"))], {"check": Choice(seeds=6)}, ONE) == 2.0


def test_seeds_that_no_claim_needs_go_first_and_no_more_of_them_than_must():
    check = offer("check", cell(seeds=20), needs={"claim": 8})
    assert fitted(12.0, check)[0] == {"check": Choice(seeds=12)}
    choices, chooser = fitted(8.0, check)
    assert choices == {"check": Choice(seeds=8)}
    assert chooser.explain() == ["check: 8 seeds instead of 20; no decidable claim is lost"]


def test_the_check_that_saves_the_most_is_cut_and_the_others_left_alone():
    large, small = (
        offer("large", cell(seeds=20), needs={"c": 5}),
        offer("small", cell(seeds=8, arm="b"), needs={"c": 5}),
    )
    assert fitted(20.0, large, small)[0] == {"large": Choice(seeds=12), "small": Choice()}


def test_a_task_that_no_claim_names_goes_before_a_claim_does():
    cells = cell("named", seeds=5), cell("free", seeds=5, steps=200)
    check = offer("check", *cells, needs={"claim": 5}, claims={"claim": ["named"]})
    choices, chooser = fitted(5.0, check)
    assert choices == {"check": Choice(tasks=("named",))}
    assert chooser.explain() == ["check: without free; no decidable claim is lost"]


def test_the_most_expensive_task_goes_whatever_is_known_of_its_results():
    cells = cell("cheap", seeds=5), cell("dear", seeds=5, steps=200)
    for named in ("cheap", "dear"):
        check = offer("check", *cells, needs={"claim": 5}, claims={"claim": [named]}, accepts=lambda steps: False)
        assert fitted(5.0, check)[0]["check"].tasks == ("cheap",)


def test_a_claim_dies_with_its_task_and_the_cut_says_so():
    check = offer("check", cell("t", seeds=2), cell("u", seeds=2, steps=200), needs={"on_u": 2}, claims={"on_u": ["u"]})
    choices, chooser = fitted(2.0, check)
    assert choices == {"check": Choice(tasks=("t",))}
    assert chooser.explain() == ["check: without u; no longer decidable: on_u"]


def test_a_check_that_decides_nothing_is_left_out_before_another_loses_a_claim():
    open_question, decided = offer("open", cell(seeds=5)), offer("decided", cell(seeds=5, arm="b"), needs={"claim": 5})
    choices, chooser = fitted(5.0, open_question, decided)
    assert choices == {"open": None, "decided": Choice()}
    assert chooser.explain() == ["open: left out; no decidable claim is lost"]


def test_the_fewest_claims_per_hour_are_given_up():
    dear = offer("dear", cell(seeds=10, steps=200), needs={"one": 10})
    cheap = offer("cheap", cell(seeds=5, arm="b"), needs={"two": 5, "three": 5})
    choices, chooser = fitted(6.0, dear, cheap)
    assert choices == {"dear": None, "cheap": Choice()}
    assert chooser.explain() == ["dear: left out; no longer decidable: one"]


def test_what_a_cut_has_left_without_a_claim_is_not_run_at_all():
    first = offer("first", cell(seeds=10), needs={"claim": 10})
    second = offer("second", cell(seeds=10, arm="b"), needs={"x": 9, "y": 9})
    assert fitted(18.0, first, second)[0] == {"first": None, "second": Choice()}


def test_a_single_check_shrinks_to_fewer_seeds_tasks_and_steps_and_is_still_run():
    check = offer("check", cell("t", seeds=4), cell("u", seeds=4))
    assert fitted(0.5, check)[0] == {"check": Choice(seeds=2, tasks=("t",), steps=25)}


def test_steps_are_halved_only_where_the_configuration_accepts_it_and_all_runs_are_as_long():
    refused = Chooser([offer("check", cell(seeds=2), accepts=lambda steps: steps >= 60)], ONE)
    assert refused.fit(1.0) == {"check": None}
    unequal = Chooser([offer("check", cell("t", seeds=2), cell("u", seeds=2, steps=300))], ONE)
    assert unequal.fit(1.0) == {"check": None}
    assert unequal.least == 2.0


def test_nothing_is_chosen_when_the_smallest_plan_does_not_fit_and_its_hours_are_said():
    chooser = Chooser([offer("check", cell(seeds=4))], ONE)
    assert chooser.fit(0.1) == {"check": None}
    assert chooser.least == 0.5  # two seeds of a quarter of the steps
    assert chooser.hours() == 0.0


def test_a_check_of_unknown_length_is_left_out_and_that_is_why():
    unknown = offer("unknown", cell(hours=float("inf")))
    choices, chooser = fitted(9.0, unknown, offer("known", cell(arm="b")))
    assert choices == {"unknown": None, "known": Choice()}
    assert chooser.explain() == ["unknown: left out; how long its runs take is not known"]


def test_of_a_check_the_tasks_of_known_length_are_run():
    check = offer("check", cell("t"), cell("u", hours=float("inf")), needs={"on_u": 2}, claims={"on_u": ["u"]})
    choices, chooser = fitted(9.0, check)
    assert choices == {"check": Choice(tasks=("t",))}
    assert chooser.explain() == ["check: without u; how long its runs take is not known"]


def test_a_check_of_which_runs_were_made_waits_or_stays_as_it_was_planned():
    made = offer("made", cell(seeds=10), needs={"x": 2}, made=True, seeds=6)
    other = offer("other", cell(seeds=10, arm="b"), needs={"y": 5})
    choices, chooser = fitted(11.0, made, other)
    assert choices == {"made": Choice(seeds=6), "other": Choice(seeds=5)}
    assert chooser.explain()[0] == "made: goes on as it was begun, 6 seeds instead of 10"
    assert Chooser([made], ONE).fit(5.0) == {"made": None}


def test_seeds_that_choose_arms_are_kept_on_top_of_two_that_judge():
    check = offer("check", cell(seeds=10), least=5, accepts=lambda steps: False)
    assert fitted(5.0, check)[0] == {"check": Choice(seeds=5)}
    assert Chooser([check], ONE).fit(4.0) == {"check": None}


def test_no_claim_is_won_by_leaving_out_the_tasks_that_speak_against_it():
    cells = cell("for", seeds=4), cell("against", seeds=4, steps=200)

    def decides(choice):
        return frozenset({"cherry"}) if choice.tasks == ("for",) else frozenset({"both"})

    check = Offer("check", cells, 2, decides, lambda steps: False)
    chooser = Chooser([check], ONE)
    assert chooser.decided(check, Choice(tasks=("for",))) == frozenset()
    assert chooser.fit(11.9)["check"].tasks is None


@pytest.mark.parametrize("budget", [0.3, 0.7, 1.5, 3.1, 4.9, 7.7, 12.3, 18.8, 25.0])
def test_a_budget_is_never_exceeded_and_the_same_question_has_the_same_answer(budget):
    def offers():
        return [
            offer("a", cell("t", seeds=6), cell("u", seeds=6, steps=70), needs={"x": 3, "y": 6}),
            offer("b", cell("t", seeds=9, arm="b", hours=0.005), needs={"x": 4, "y": 8}),
            offer("c", cell("t", seeds=3, arm="c", hours=0.02), needs={"x": 3}),
            offer("d", cell("t", seeds=2, arm="d"), needs={}),
        ]

    first, second = Chooser(offers(), {"cpu": 2}), Chooser(offers(), {"cpu": 2})
    assert first.fit(budget) == second.fit(budget)
    assert wall_hours(offers(), first.choices, {"cpu": 2}) <= budget
    assert first.explain() == second.explain()
