"""What planned seeds can decide, against statsmodels and against the referee's own words after the runs."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic as synth
from statsmodels.stats.power import TTestPower

from analysis import stats
from analysis.load import load_store
from analysis.plan import parse_plan
from analysis.power import Design, Spread, claim_power, power, reduced, seeds_of, spread
from analysis.scores import run_curves, score_runs
from analysis.study import analyse

ARMS = ["ppo", "da_full"]
A, B = [5.0, 9.0, 6.0, 8.0], [1.0, 4.0, 3.0, 4.0]  # differences 4, 5, 3, 4: mean 4, variance 2/3


def design(*claims: dict[str, Any], seeds: int = 4, tasks: tuple[str, ...] = ("Qbert",), **plan: Any) -> Design:
    """`seeds` of both arms on every task."""
    made = parse_plan(synth.make_plan(ARMS, list(tasks), 1, list(claims) or [synth.claim()], **plan), "plan")
    return Design(made, {(run.arm, run.task): seeds for run in made.runs})


def study(root: Path, claim: dict[str, Any], tasks: tuple[str, ...] = ("Qbert",), **changes: Any):
    """Scored runs of arms that score A and B, and their plan. Args: changes: of the plan."""
    content = synth.make_plan(ARMS, list(tasks), len(A), [claim], **changes)
    synth.write_plan(root, content)
    values = {("da_full", i): x for i, x in enumerate(A)} | {("ppo", i): x for i, x in enumerate(B)}
    synth.write_constant_runs(root, content, values)
    plan = parse_plan(content, "plan")
    store = load_store(root, plan)
    return score_runs(store, run_curves(store)), plan


def only(made: Design, known: Spread | None = None):
    (claim,) = made.plan.claims
    return claim_power(claim, made, known)


def known(value: float, sd: float, n: int = 20) -> Spread:
    return Spread(value, sd, n, "pilot")


def test_the_spread_is_that_of_the_differences_of_a_seed_and_not_of_its_arms(tmp_path: Path) -> None:
    scored, plan = study(tmp_path, synth.claim())
    found = spread(plan.claims[0], ["Qbert"], scored, plan, "store")
    assert found == Spread(4.0, math.sqrt(2 / 3), 4, "store")
    unpaired = math.sqrt(np.var(A, ddof=1) + np.var(B, ddof=1))
    assert unpaired > 2.2 > 2 * found.sd  # what one would plan with who forgot the pairs


def test_the_spread_of_several_tasks_is_that_of_the_statistic_that_judges_them(tmp_path: Path) -> None:
    scored, plan = study(tmp_path, synth.claim(), tasks=("Qbert", "Gravitar"))
    scored.loc[(scored["task"] == "Gravitar") & (scored["arm"] == "da_full"), "score"] += [0.0, 2.0, 0.0, 2.0]
    found = spread(plan.claims[0], ["Qbert", "Gravitar"], scored, plan, "store")
    assert found is not None
    judged = stats.difference(np.array([[4.0, 4.0], [5.0, 7.0], [3.0, 3.0], [4.0, 6.0]]), 0.05)
    assert (found.value, found.sd) == pytest.approx((judged.value, judged.sd), rel=0.05)


def test_seeds_without_a_number_are_left_out_and_one_seed_has_no_spread(tmp_path: Path) -> None:
    scored, plan = study(tmp_path, synth.claim())
    scored.loc[(scored["seed"] == 0) & (scored["arm"] == "ppo"), "score"] = math.nan
    found = spread(plan.claims[0], ["Qbert"], scored, plan, "store")
    assert found is not None
    assert (found.n, found.value, found.sd) == (3, 4.0, 1.0)
    scored.loc[scored["seed"] > 1, "score"] = math.nan
    assert spread(plan.claims[0], ["Qbert"], scored, plan, "store") is None


def test_known_runs_that_lack_one_of_the_tasks_say_nothing(tmp_path: Path) -> None:
    scored, plan = study(tmp_path, synth.claim())
    assert spread(plan.claims[0], ["Qbert", "Gravitar"], scored, plan, "store") is None
    assert spread(plan.claims[0], ["Gravitar"], scored, plan, "store") is None


@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_what_the_seeds_detect_is_what_statsmodels_says(seeds: int) -> None:
    found = only(design(seeds=seeds), known(2.0, 3.0))
    effect = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8)
    assert found.detectable == pytest.approx(3.0 * effect, rel=1e-3)


def test_the_seeds_that_are_needed_are_what_statsmodels_says() -> None:
    found = only(design(seeds=5), known(2.0, 3.0))  # 1.5 from the margin of 0.5, half an sd
    assert found.needed == math.ceil(TTestPower().solve_power(effect_size=0.5, alpha=0.05, power=0.8)) == 34
    assert found.outcome == "more seeds"
    assert only(design(seeds=34), known(2.0, 3.0)).outcome == "decidable"
    assert only(design(seeds=33), known(2.0, 3.0)).outcome == "more seeds"


def test_a_refutation_counts_as_a_decision() -> None:
    assert only(design(seeds=34), known(-1.0, 3.0)).outcome == "decidable"
    less = synth.claim(direction="less")
    assert only(design(less, seeds=34), known(1.0, 3.0)).outcome == "decidable"
    assert only(design(less, seeds=34), known(0.5, 3.0)).outcome == "more seeds"


def test_an_estimate_on_the_margin_is_never_decided() -> None:
    found = only(design(seeds=20), known(0.5, 3.0))
    assert (found.outcome, found.needed) == ("undecidable", None)


def test_alpha_is_shared_by_the_claims_that_are_decided_together() -> None:
    one = synth.claim()
    others = [
        synth.claim(id="b"),
        synth.claim(id="c", direction="every_below"),
        synth.claim(id="d", contrast=["da_1step"]),
    ]
    together = design(one, *others, seeds=10)
    assert together.family == 2  # not the universal one, nor the one without an arm
    found = power(together, {"full_over_ppo": known(2.0, 3.0)})
    effect = TTestPower().solve_power(nobs=10, alpha=0.025, power=0.8)
    assert found[0].detectable == pytest.approx(3.0 * effect, rel=1e-3)
    assert [item.outcome for item in found[2:]] == ["decidable", "not run"]


def test_an_equivalence_must_hold_at_both_ends_of_its_margin() -> None:
    equal = synth.claim(direction="equal", margin=2.0)
    found = only(design(equal, seeds=20), known(0.5, 1.0))
    effect = TTestPower().solve_power(nobs=20, alpha=0.05, power=0.9)
    assert found.detectable == pytest.approx(effect, rel=1e-3)
    assert found.outcome == "decidable"  # effect is 0.76, the estimate 1.5 from the nearer end
    assert only(design(equal, seeds=4), known(0.5, 1.0)).outcome == "more seeds"
    assert only(design(equal, seeds=20), known(3.0, 1.0)).outcome == "decidable"  # by lying outside


def test_without_known_runs_effects_are_in_standard_deviations_and_one_of_them_must_be_found() -> None:
    needed = math.ceil(TTestPower().solve_power(effect_size=1.0, alpha=0.05, power=0.8))
    found = only(design(seeds=needed))
    assert (found.outcome, found.needed, found.spread) == ("decidable", needed, None)
    assert found.detectable == pytest.approx(TTestPower().solve_power(nobs=needed, alpha=0.05, power=0.8), rel=1e-3)
    assert only(design(seeds=needed - 1)).outcome == "more seeds"
    assert only(design(seeds=1)).detectable is None


def test_seeds_that_choose_an_arm_do_not_judge_it() -> None:
    chosen = synth.claim(contrast=["best(da_full, ppo)", "ppo"])
    made = design(chosen, seeds=10, tuning_seeds=3)
    assert seeds_of(made.plan.claims[0], made) == 7


def test_the_arm_or_task_with_the_fewest_seeds_counts() -> None:
    made = design(seeds=10, tasks=("Qbert", "Gravitar"))
    fewer = replace(made, seeds={**made.seeds, ("ppo", "Gravitar"): 6})
    assert seeds_of(made.plan.claims[0], fewer) == 6


def test_too_few_steps_or_a_scale_that_decides_nothing_cannot_be_made_up_for_by_seeds() -> None:
    gated = synth.claim(min_budget=0.5)
    short = {"paper": "dapo", "figure": 2, "hours": 4.0, "steps_per_hour": 1000, "runs": 5}
    found = only(design(gated, seeds=100, reference=short), known(5.0, 1.0))
    assert (found.outcome, found.note) == ("undecidable", "needs 50 % of a reported run's steps")
    assert only(design(seeds=100, scale="smoke"), known(5.0, 1.0)).outcome == "undecidable"
    assert only(design(gated, seeds=100), known(5.0, 1.0)).outcome == "decidable"


def test_a_design_can_be_reduced_to_fewer_seeds_tasks_and_steps() -> None:
    made = design(synth.claim(tasks=["Gravitar"]), seeds=10, tasks=("Qbert", "Gravitar"))
    smaller = reduced(made, 5, ("Qbert",), 100)
    assert smaller.seeds == {("ppo", "Qbert"): 5, ("da_full", "Qbert"): 5}
    assert smaller.plan.steps() == (100, 100)
    assert only(smaller).outcome == "not run"
    assert reduced(made, None, None, None).seeds == made.seeds


@pytest.mark.parametrize(
    "changes", [{"margin": 3.9}, {"direction": "equal", "margin": 4.1}, {"direction": "less", "margin": 0.0}]
)
def test_the_plan_foretells_what_the_referee_says_of_the_same_runs(tmp_path: Path, changes: dict[str, Any]) -> None:
    scored, plan = study(tmp_path, synth.claim(**changes))
    found = only(design(synth.claim(**changes)), spread(plan.claims[0], ["Qbert"], scored, plan, "store"))
    (said,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert found.detectable == pytest.approx(said.detectable)
    if changes["margin"] == 3.9:
        assert found.needed == said.seeds_for_80_power
    assert (found.outcome == "decidable") == (said.verdict in ("supported", "refuted"))
