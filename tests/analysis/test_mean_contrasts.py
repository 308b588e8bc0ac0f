"""mean(arm, arm, ...) in a contrast: main effects and interactions of a factorial, by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic as synth

from analysis import stats
from analysis.cells import claim_cells
from analysis.measure import Verdict
from analysis.plan import parse_plan
from analysis.study import Study, analyse

ARMS = ["f11", "f10", "f01", "f00"]
MAIN = ["mean(f11, f10)", "mean(f01, f00)"]
TASK = "CartPole-v1"
# Seed s: 100 + 16 for the first factor + 4 for the second + 8 for both, in thirds that differ by seed.
SCORES = {
    "f11": [128.0, 130.0, 126.0],
    "f10": [116.0, 118.0, 117.0],
    "f01": [104.0, 104.0, 104.0],
    "f00": [100.0, 101.0, 99.0],
}


def study(
    root: Path,
    contrast: list[str],
    *,
    skip: tuple[tuple[str, int], ...] = (),
    scores: dict[str, list[float]] = SCORES,
    **changes: Any,
) -> Study:
    content = synth.make_plan(list(scores), [TASK], 3, [synth.claim(contrast=contrast, margin=2.0, **changes)])
    synth.write_plan(root, content)
    for run in content["runs"]:
        if (run["arm"], run["seed"]) not in skip:
            synth.write_run(root, run, [(990, scores[run["arm"]][run["seed"]])])
    return analyse(root, "multi_step", "gpu")


def judged(root: Path, contrast: list[str], **options: Any) -> Verdict:
    (verdict,) = study(root, contrast, **options).verdicts
    return verdict


def test_two_means_are_a_main_effect_paired_by_seed(tmp_path: Path) -> None:
    v = judged(tmp_path, MAIN)
    by_seed = np.array([122.0 - 102.0, 124.0 - 102.5, 121.5 - 101.5])
    expected = stats.student_t(by_seed)
    assert v.estimate == pytest.approx(by_seed.mean())
    assert v.interval == pytest.approx([expected.low, expected.high])
    assert (v.n, v.pairs, v.verdict) == (3, 3, "supported")
    assert v.runs["planned"] == v.runs["used"] == 12


def test_four_entries_are_an_interaction(tmp_path: Path) -> None:
    v = judged(tmp_path, ["f11", "f10", "f01", "f00"])
    assert v.estimate == pytest.approx(np.mean([12 - 4, 12 - 3, 9 - 5]))
    wide = {**SCORES, **{f"{arm}x": [value + 50 for value in values] for arm, values in SCORES.items()}}
    means = [f"mean({arm}, {arm}x)" for arm in ARMS]
    assert judged(tmp_path / "of_means", means, scores=wide).estimate == pytest.approx(v.estimate)


def test_pooling_the_runs_of_a_mean_would_be_another_number(tmp_path: Path) -> None:
    """The planted fault: eight numbers against four, as if the arms of one seed were independent runs."""
    v = judged(tmp_path, MAIN)
    pooled = stats.student_t(np.array(SCORES["f11"] + SCORES["f10"]) - np.array(SCORES["f01"] + SCORES["f00"]))
    assert v.interval is not None
    assert abs((v.interval[1] - v.interval[0]) - (pooled.high - pooled.low)) > 1.0


def test_of_a_mean_only_the_lost_member_is_imputed(tmp_path: Path) -> None:
    v = judged(tmp_path, MAIN, skip=(("f10", 2),))
    low = stats.student_t(np.array([20.0, 21.5, (126.0 + 99.0) / 2 - 101.5]))  # the lowest of any arm
    high = stats.student_t(np.array([20.0, 21.5, (126.0 + 130.0) / 2 - 101.5]))
    assert v.interval == pytest.approx([min(low.low, high.low), max(low.high, high.high)])
    assert v.estimate == pytest.approx((20.0 + 21.5) / 2)  # of the seeds with all four
    assert (v.pairs, v.runs["missing"]) == (2, 1)
    assert "The worst-case imputation gives the same verdict." in v.reason


def test_a_lost_run_never_leaves_a_mean_of_the_others(tmp_path: Path) -> None:
    """The planted fault: numpy.nanmean of the members would call seed 2 whole and take f11 for the mean of both."""
    found = study(tmp_path, MAIN, skip=(("f10", 2),))
    cells = claim_cells(found.scored, found.plan.claims[0], found.plan)
    assert np.isnan(cells.sides[0][:, 0]).tolist() == [False, False, True]
    assert np.nanmean(cells.terms[0], axis=0)[2, 0] == 126.0


def test_a_member_without_any_number_leaves_no_interval(tmp_path: Path) -> None:
    v = judged(tmp_path, MAIN, skip=tuple(("f00", seed) for seed in range(3)))
    assert (v.verdict, v.interval) == ("inconclusive", None)
    assert "An arm has no number on a task" in v.reason


def test_a_mean_needs_all_its_members_on_a_task(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, [TASK, "Acrobot-v1"], 2, [synth.claim(contrast=MAIN)])
    content["runs"] = [run for run in content["runs"] if (run["arm"], run["task"]) != ("f01", "Acrobot-v1")]
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(990, SCORES[run["arm"]][run["seed"]])])
    found = analyse(tmp_path, "multi_step", "gpu")
    assert [row["task"] for row in found.verdicts[0].tasks] == [TASK]


def test_an_unknown_member_is_one_sentence(tmp_path: Path) -> None:
    v = judged(tmp_path, ["mean(f11, f1O)", "mean(f01, f00)"])
    assert (v.verdict, v.reason) == ("not run", "Arm f1O is not planned at scale gpu.")


def test_a_mean_needs_no_tuning_seeds_and_uses_none(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, [TASK], 3, [synth.claim(contrast=MAIN)], tuning_seeds=1)
    assert parse_plan(content, "here").tuning_seeds == 1
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(990, SCORES[run["arm"]][run["seed"]])])
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert (v.n, v.chosen) == (3, {})


def test_means_of_shares_keep_an_interval_with_a_width(tmp_path: Path) -> None:
    v = judged(tmp_path, MAIN, metric="collapsed", normalise=None)
    assert v.estimate == 0.0
    assert v.interval is not None
    assert v.interval[0] < -0.1 < 0.1 < v.interval[1]
