import json
import math
from pathlib import Path
from typing import Any

import pytest
import synthetic as synth
from scipy import stats as sp

from analysis import tables, terminal
from analysis.measure import Verdict
from analysis.study import Study, analyse
from bench.errors import UserError

ARMS = ["ppo", "da_full"]


def study(
    root: Path,
    a: list[float],
    b: list[float],
    claims: list[dict[str, Any]] | None = None,
    *,
    tasks: tuple[str, ...] = ("Qbert",),
    skip: tuple[tuple[str, int], ...] = (),
    **plan: Any,
) -> Study:
    """A store where da_full scores a[seed] and ppo b[seed] on every task."""
    content = synth.make_plan(ARMS, list(tasks), len(a), claims or [synth.claim()], **plan)
    synth.write_plan(root, content)
    values = {("da_full", i): x for i, x in enumerate(a)} | {("ppo", i): x for i, x in enumerate(b)}
    synth.write_constant_runs(root, content, values, skip)
    return analyse(root, "multi_step", content["scale"])


def only(result: Study) -> Verdict:
    (verdict,) = result.verdicts
    return verdict


def test_a_clear_difference_is_supported_with_the_interval_by_hand(tmp_path: Path) -> None:
    v = only(study(tmp_path, [5.0, 6.0, 7.0], [1.0, 1.0, 1.0]))
    half = 4.302652729749464 / math.sqrt(3)
    assert (v.verdict, v.estimate, v.n) == ("supported", 5.0, 3)
    assert v.interval == pytest.approx([5 - half, 5 + half])
    assert v.p_holm == v.p == pytest.approx(sp.ttest_1samp([4.0, 5.0, 6.0], 0.5).pvalue)
    assert v.interval_kind == "95 % Student-t, paired by task and seed"
    assert v.runs == {"planned": 6, "used": 6, "failed": 0, "running": 0, "missing": 0, "unscored": 0, "left_out": 0}


def test_no_better_than_the_margin_is_refuted_not_merely_insignificant(tmp_path: Path) -> None:
    assert only(study(tmp_path, [1.0, 1.01, 0.99], [1.0, 1.0, 1.0])).verdict == "refuted"


def test_an_interval_around_the_margin_is_inconclusive_and_says_how_many_seeds_it_takes(tmp_path: Path) -> None:
    v = only(study(tmp_path, [1.0, 3.0, 2.0, 2.5], [1.0, 1.0, 1.0, 1.0]))
    assert v.verdict == "inconclusive"
    assert "contains the margin" in v.reason
    effect = (1.125 - 0.5) / v_sd([0.0, 2.0, 1.0, 1.5])
    from statsmodels.stats.power import TTestPower

    n = v.seeds_for_80_power
    assert n is not None
    assert TTestPower().power(effect, n, 0.05) >= 0.8 > TTestPower().power(effect, n - 1, 0.05)


def v_sd(x: list[float]) -> float:
    mean = sum(x) / len(x)
    return math.sqrt(sum((value - mean) ** 2 for value in x) / (len(x) - 1))


def test_pairing_by_seed_removes_what_the_seeds_share(tmp_path: Path) -> None:
    # Seeds differ by hundreds, the pairs all by 4 to 6: unpaired nothing could be seen.
    assert only(study(tmp_path, [105.0, 504.0, 906.0], [100.0, 500.0, 900.0])).verdict == "supported"


def test_one_seed_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    v = only(study(tmp_path, [500.0], [1.0]))
    assert (v.verdict, v.interval, v.p, v.n) == ("inconclusive", None, None, 1)
    assert v.estimate == 499.0
    assert "n = 1: no interval" in v.reason


def test_a_missing_run_blocks_supported(tmp_path: Path) -> None:
    whole = only(study(tmp_path / "whole", [5.0, 6.0, 7.0], [1.0, 1.0, 1.0]))
    v = only(study(tmp_path / "holed", [5.0, 6.0, 7.0], [1.0, 1.0, 1.0], skip=(("da_full", 1),)))
    assert whole.verdict == "supported"
    assert v.verdict == "inconclusive"
    assert (v.runs["missing"], v.runs["used"], v.runs["planned"], v.pairs) == (1, 5, 6, 2)
    assert "1 of 6 runs lack a number (1 missing)" in v.reason


def test_the_interval_with_a_missing_run_is_the_envelope_of_the_worst_cases_by_hand(tmp_path: Path) -> None:
    v = only(study(tmp_path, [5.0, 6.0, 7.0], [1.0, 1.0, 1.0], skip=(("da_full", 1),)))
    against = sp.ttest_1samp([4.0, 0.0, 6.0], 0).confidence_interval(0.95)  # the lowest score seen, 1
    favour = sp.ttest_1samp([4.0, 6.0, 6.0], 0).confidence_interval(0.95)  # the highest, 7
    assert v.interval == pytest.approx([min(against.low, favour.low), max(against.high, favour.high)])
    assert v.estimate == 5.0


def test_a_missing_run_does_not_block_what_the_worst_case_supports_too(tmp_path: Path) -> None:
    a, b = [9.0 + 0.01 * i for i in range(12)], [1.0 + 0.01 * i for i in range(12)]
    v = only(study(tmp_path, a, b, skip=(("da_full", 3),)))
    assert v.verdict == "supported"
    assert "worst-case imputation gives the same verdict" in v.reason


def test_a_run_without_a_finished_game_is_not_a_survivor_mean(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 4, [synth.claim()])
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        survivor = run["arm"] == "ppo" or run["seed"] in (0, 1)
        games = [(990, 5.0 + run["seed"] if run["arm"] == "da_full" else 1.0)] if survivor else []
        synth.write_run(tmp_path, run, games)
    v = only(analyse(tmp_path, "multi_step", "gpu"))
    assert v.verdict == "inconclusive"
    assert (v.runs["unscored"], v.n, v.pairs) == (2, 4, 2)


def test_nothing_run_is_not_run(tmp_path: Path) -> None:
    skip = tuple((arm, seed) for arm in ARMS for seed in range(3))
    v = only(study(tmp_path, [1.0] * 3, [1.0] * 3, skip=skip))
    assert (v.verdict, v.estimate, v.runs["missing"]) == ("not run", None, 6)


def test_an_arm_that_the_scale_does_not_plan_is_not_run(tmp_path: Path) -> None:
    v = only(study(tmp_path, [5.0] * 3, [1.0] * 3, [synth.claim(contrast=["da_full", "da_1step"])]))
    assert v.verdict == "not run"
    assert "Arm da_1step is not planned at scale gpu" in v.reason


def test_a_tiny_budget_is_inconclusive_and_says_the_fraction(tmp_path: Path) -> None:
    reference = {"paper": "dapo", "figure": 2, "hours": 4.0, "steps_per_hour": 100_000, "runs": 5}
    v = only(study(tmp_path, [5.0, 6.0, 7.0], [1.0] * 3, [synth.claim(min_budget=0.25)], reference=reference))
    assert (v.verdict, v.budget_fraction) == ("inconclusive", 0.0025)
    assert "The runs cover 0.25 % of the paper's budget; the claim needs 25 %." in v.reason
    assert v.seeds_for_80_power is not None


def test_the_same_runs_at_the_needed_budget_are_supported(tmp_path: Path) -> None:
    assert only(study(tmp_path, [5.0, 6.0, 7.0], [1.0] * 3, [synth.claim(min_budget=1.0)])).verdict == "supported"


def test_smoke_decides_nothing_and_says_so(tmp_path: Path) -> None:
    result = study(tmp_path, [5.0, 6.0, 7.0], [1.0] * 3, scale="smoke")
    assert only(result).verdict == "inconclusive"
    assert "Scale smoke says nothing scientific" in only(result).reason
    assert "Scale smoke says nothing scientific" in terminal.verdict_text(result)


def test_holm_over_the_check_can_undo_a_lone_success(tmp_path: Path) -> None:
    a, b = [1.9, 2.3, 2.6], [1.0, 1.0, 1.0]
    alone = only(study(tmp_path / "one", a, b, [synth.claim(margin=0.0)]))
    many = [synth.claim(id=f"c{i}", margin=0.0 if i == 0 else 1.27) for i in range(4)]
    family = study(tmp_path / "four", a, b, many)
    assert alone.verdict == "supported"
    assert 0.0125 < alone.p < 0.05
    first = next(v for v in family.verdicts if v.id == "c0")
    assert first.p == alone.p
    assert first.p_holm == pytest.approx(4 * first.p)
    assert first.verdict == "inconclusive"
    assert "After Holm over 4 claims" in first.reason


def test_several_games_are_human_normalised_and_have_the_seed_as_their_unit(tmp_path: Path) -> None:
    a = [2000.0, 2100.0, 2200.0, 2300.0, 2400.0]
    claims = [synth.claim(normalise=None, margin=0.05)]
    v = only(study(tmp_path, a, [100.0] * 5, claims, tasks=("Qbert", "Gravitar")))
    assert v.verdict == "supported"
    assert v.unit == "human-normalised"
    assert v.interval_kind == "95 % Student-t of the IQM, bootstrap of whole seeds, paired by task and seed"
    # The middle half of 5 x 2 differences: without the two smallest and the two largest.
    scale = [13455.0 - 163.9, 3351.4 - 173.0]
    d = sorted((x - 100) / s for x in a for s in scale)
    assert v.estimate == pytest.approx(sum(d[2:-2]) / 6)


def test_two_games_that_say_the_same_are_one_piece_of_evidence(tmp_path: Path) -> None:
    a = [5.0, 6.0, 10.0, 7.0]
    one = only(study(tmp_path / "one", a, [1.0] * 4))
    two = only(study(tmp_path / "two", a, [1.0] * 4, tasks=("Qbert", "Gravitar")))
    assert two.interval is not None
    assert one.interval is not None
    assert two.interval[1] - two.interval[0] > 0.7 * (
        one.interval[1] - one.interval[0]
    )  # copies: not a root of two less


def test_a_game_without_human_score_makes_a_human_normalised_claim_not_comparable(tmp_path: Path) -> None:
    v = only(study(tmp_path, [5.0] * 3, [1.0] * 3, [synth.claim(normalise=None)], tasks=("Qbert", "Pooyan")))
    assert v.verdict == "not comparable"
    assert "Pooyan" in v.reason


def test_variances_are_compared_as_a_log_ratio(tmp_path: Path) -> None:
    v = only(
        study(tmp_path, [1.0, 1.1, 1.2], [1.0] * 3, [synth.claim(metric="d_variance", normalise=None, margin=0.0)])
    )
    assert v.estimate == pytest.approx(1.0)  # 1.0 against 0.1
    assert v.unit == "log10"


@pytest.mark.parametrize("direction", ["greater", "equal"])
def test_seeds_that_all_agree_decide_nothing_and_the_reason_says_what_they_leave_open(
    tmp_path: Path, direction: str
) -> None:
    v = only(study(tmp_path, [5.0] * 4, [1.0] * 4, [synth.claim(direction=direction, margin=9.0)]))
    assert (v.verdict, v.p) == ("inconclusive", 1.0)
    assert "All 4 seeds give the same number: no spread to judge by; up to 52.7 % of seeds may give another" in v.reason


def test_a_claim_that_cannot_be_decided_here_does_not_ease_the_others_adjustment(tmp_path: Path) -> None:
    short = synth.claim(id="short", min_budget=2.0, margin=-0.0)
    made = {v.id: v for v in study(tmp_path, [1.0, 1.4, 1.2], [0.1] * 3, [synth.claim(), short]).verdicts}
    assert (made["short"].p, made["short"].verdict) == (1.0, "inconclusive")
    assert made["full_over_ppo"].p_holm == pytest.approx(2 * made["full_over_ppo"].p)


def test_a_less_claim_is_the_mirror_image(tmp_path: Path) -> None:
    assert only(study(tmp_path, [1.0] * 3, [5.0, 6.0, 7.0], [synth.claim(direction="less")])).verdict == "supported"
    assert only(study(tmp_path / "b", [5.0, 6.0, 7.0], [1.0] * 3, [synth.claim(direction="less")])).verdict == "refuted"


@pytest.mark.parametrize(
    ("a", "verdict"),
    [([1.0, 1.1, 0.9, 1.05], "supported"), ([5.0, 6.0, 7.0, 6.0], "refuted"), ([1.0, 3.0, 2.0, 0.0], "inconclusive")],
)
def test_an_equivalence_claim_has_two_bounds(tmp_path: Path, a: list[float], verdict: str) -> None:
    assert only(study(tmp_path, a, [1.0] * 4, [synth.claim(direction="equal")])).verdict == verdict


def test_arms_under_different_protocols_are_not_comparable(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 3, [synth.claim()])
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        sticky = {"env.protocol.repeat_action_probability": 0.25} if run["arm"] == "ppo" else {}
        synth.write_run(tmp_path, run, [(990, 5.0 + run["seed"])], config_changes=sticky)
    v = only(analyse(tmp_path, "multi_step", "gpu"))
    assert v.verdict == "not comparable"
    assert "env.protocol.repeat_action_probability 0.25 and 0.0" in v.reason


def test_an_unknown_metric_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'scroe'"):
        study(tmp_path, [1.0], [1.0], [synth.claim(metric="scroe")])


def test_equal_stores_give_equal_verdict_files_without_nan(tmp_path: Path) -> None:
    written = []
    for name in ("x", "y"):
        result = study(tmp_path / name, [5.0, 6.0], [1.0, 2.0], tasks=("Qbert", "Gravitar"), skip=(("ppo", 0),))
        tables.write_tables(result)
        written.append((result.folder / "verdicts.json").read_bytes())
    assert written[0] == written[1]
    content = json.loads(written[0])
    assert list(content) == sorted(content)
    assert content["runs"] == {"planned": 8, "done": 6, "failed": 0, "running": 0, "missing": 2}
    assert not list((tmp_path / "x").rglob(".*"))  # nothing half-written is left


def test_the_printed_table_fits_a_hundred_columns_and_keeps_every_claim(tmp_path: Path) -> None:
    result = study(tmp_path, [5.0, 6.0, 7.0], [1.0] * 3, [synth.claim(id="a_very_long_claim_identifier_" * 2)])
    text = terminal.verdict_text(result)
    assert max(map(len, text.splitlines())) <= 100
    assert "supported" in text
    assert "n = 3" in text  # the sentence on few runs


def test_runs_without_any_number_at_smoke_scale_still_say_what_smoke_is(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 2, [synth.claim()], scale="smoke")
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [])
    v = only(analyse(tmp_path, "multi_step", "smoke"))
    assert (v.verdict, v.interval, v.runs["unscored"]) == ("inconclusive", None, 4)
    assert "Scale smoke says nothing scientific" in v.reason
    assert "nothing to impute from" in v.reason


def test_tasks_that_cancel_are_not_found_alike(tmp_path: Path) -> None:
    """Two tasks that differ by as much in opposite directions, and one that does not: the IQM alone says 0."""
    tasks = ["Qbert", "Gravitar", "Enduro"]
    claim = synth.claim(direction="equal", margin=100.0)
    plan = synth.make_plan(["ppo", "da_full"], tasks, 6, [claim])
    shift = {"Qbert": 300.0, "Gravitar": -300.0, "Enduro": 0.0}
    for run in plan["runs"]:
        value = 1000.0 + run["seed"] + (shift[run["task"]] if run["arm"] == "da_full" else 0.0)
        noise = 7.0 * ((run["seed"] * 5 + len(run["arm"])) % 6)
        synth.write_run(tmp_path, run, [(step, value + noise) for step in range(50, run["steps"] + 1, 50)])
    synth.write_plan(tmp_path, plan)
    (verdict,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert verdict.verdict == "inconclusive"
    assert "Tasks whose own interval lies outside the margin: Qbert (3e+02), Gravitar (-3e+02)." in verdict.reason
