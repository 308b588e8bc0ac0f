"""Claims about one arm, about some tasks, the paper's own value of a statistic, and games that were cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import synthetic as synth

from analysis import reported, stats, tables
from analysis.measure import Verdict
from analysis.paper import paper_estimate
from analysis.plan import parse_plan
from analysis.study import analyse
from analysis.verdicts import judge
from analysis.worlds import Design, claim
from bench.errors import UserError


def ratio_study(root: Path, d_vars: list[float], tasks: tuple[str, ...] = ("Qbert",)):
    """da_full's d_var_full is given per seed, its d_var_1step is always 0.01."""
    claim = synth.claim(contrast=["da_full"], metric="d_variance_ratio", margin=0.5)
    content = synth.make_plan(["da_full"], list(tasks), len(d_vars), [claim])
    synth.write_plan(root, content)
    for run in content["runs"]:
        synth.write_run(root, run, [(run["steps"], 1.0)], d_var=d_vars[run["seed"]])
    return analyse(root, "multi_step", "gpu").verdicts[0]


def test_a_claim_about_one_arm_is_about_its_number(tmp_path: Path) -> None:
    v = ratio_study(tmp_path, [0.1, 0.1, 1.0])  # log10 of the ratio: 1, 1, 2
    expected = stats.student_t(np.array([1.0, 1.0, 2.0]))
    assert (v.estimate, v.n, v.runs["planned"]) == (pytest.approx(4 / 3), 3, 3)
    assert v.interval == pytest.approx([expected.low, expected.high])
    assert v.probability_of_improvement is None


def test_a_clear_ratio_is_supported_and_one_below_the_margin_refuted(tmp_path: Path) -> None:
    assert ratio_study(tmp_path / "a", [1.0, 1.1, 0.9]).verdict == "supported"
    assert ratio_study(tmp_path / "b", [0.01, 0.011, 0.009]).verdict == "refuted"


def test_a_missing_run_of_a_single_arm_blocks_the_verdict(tmp_path: Path) -> None:
    claim = synth.claim(contrast=["da_full"], metric="d_variance_ratio", margin=0.5)
    content = synth.make_plan(["ppo", "da_full"], ["Qbert"], 3, [claim])
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        if (run["arm"], run["seed"]) != ("da_full", 2):  # ppo shows what a lost run could have had: 0
            synth.write_run(tmp_path, run, [(run["steps"], 1.0)], d_var=1.0 if run["arm"] == "da_full" else 0.01)
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert (v.verdict, v.runs["missing"], v.runs["planned"]) == ("inconclusive", 1, 3)


def test_a_claim_on_one_task_ignores_the_others(tmp_path: Path) -> None:
    claim = synth.claim(tasks=["Qbert"])
    content = synth.make_plan(["ppo", "da_full"], ["Qbert", "Gravitar"], 3, [claim])
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        gain = {"Qbert": 5.0, "Gravitar": -500.0}[run["task"]] if run["arm"] == "da_full" else 0.0
        synth.write_run(tmp_path, run, [(run["steps"], gain + run["seed"])])
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert (v.estimate, v.runs["planned"], [row["task"] for row in v.tasks]) == (5.0, 6, ["Qbert"])


def test_a_claim_names_one_arm_two_or_four() -> None:
    content = synth.make_plan(["ppo"], ["Qbert"], 1, [synth.claim(contrast=["ppo", "da_full", "da_1step"])])
    with pytest.raises(UserError, match="one arm, two or four"):
        parse_plan(content, "plan")


REFERENCE = {"paper": "dapo", "figure": 2, "hours": 4.6, "steps_per_hour": 12_600_000, "runs": 5}


def estimate(metric: str, tasks: list[str], steps: int, normalise: str = "none") -> float | None:
    claim = synth.claim(metric=metric, normalise=normalise)
    plan = parse_plan(synth.make_plan(["ppo", "da_full"], tasks, 1, [claim], steps=steps, reference=REFERENCE), "plan")
    return paper_estimate(plan.claims[0], plan, tasks)


def test_the_papers_own_score_is_the_difference_of_its_median_curves() -> None:
    step = 25_000_000
    ours, theirs = (reported.dapo_curve("DoubleDunk", method, 12_600_000) for method in ("PPO+DA", "PPO"))
    expected = reported.value_at(ours, step) - reported.value_at(theirs, step)
    assert estimate("score", ["DoubleDunk"], step) == pytest.approx(expected)
    assert expected == pytest.approx(11.0, abs=0.1)  # as stated beside the claim in conf/check/multi_step.yaml


@pytest.mark.parametrize(("steps", "stated"), [(25_001_984, 0.014), (55_996_416, 0.30)])
def test_the_papers_own_areas_are_those_stated_beside_the_claim(steps: int, stated: float) -> None:
    games = ["DoubleDunk", "Enduro", "Qbert", "Gravitar", "MontezumaRevenge"]
    assert estimate("auc", games, steps, "human") == pytest.approx(stated, abs=0.006)


def test_the_paper_has_no_value_where_it_reports_no_curve() -> None:
    assert estimate("score", ["Alien"], 1_000_000) is None
    assert estimate("d_variance", ["Qbert"], 1_000_000) is None


def test_a_game_that_was_cut_with_lives_left_is_not_scored_and_one_without_lives_is(tmp_path: Path) -> None:
    content = synth.make_plan(["da_full"], ["Qbert"], 1, [])
    synth.write_plan(tmp_path, content)
    folder = synth.write_run(tmp_path, content["runs"][0], [])
    header = "step,return,length,env,truncated,lives\n"
    (folder / "episodes.csv").write_text(header + "500,7,10,0,1,3\n990,4,10,0,1,0\n1000,8,10,1,0,0\n")
    scored = analyse(tmp_path, "multi_step", "gpu").scored
    assert (scored.loc[0, "score"], scored.loc[0, "games"], scored.loc[0, "cut_games"]) == (6.0, 2, 1)


def test_runs_of_different_commits_are_said_to_be(tmp_path: Path) -> None:
    content = synth.make_plan(["da_full"], ["Qbert"], 2, [])
    synth.write_plan(tmp_path, content)
    folders = [synth.write_run(tmp_path, run, [(run["steps"], 1.0)]) for run in content["runs"]]
    assert tables.mixed_sources(analyse(tmp_path, "multi_step", "gpu")) == []
    manifest = json.loads((folders[1] / "manifest.json").read_text())
    (folders[1] / "manifest.json").write_text(json.dumps(manifest | {"commit": "beef"}))
    (sentence,) = tables.mixed_sources(analyse(tmp_path, "multi_step", "gpu"))
    assert "2 different commits" in sentence


def four_arms(root: Path, gains: dict[str, list[float]], skip: tuple[tuple[str, int], ...] = ()):
    claim = synth.claim(contrast=["a", "b", "c", "d"], margin=1.0)
    content = synth.make_plan(list(gains), ["Qbert"], 3, [claim])
    synth.write_plan(root, content)
    for run in content["runs"]:
        if (run["arm"], run["seed"]) not in skip:
            synth.write_run(root, run, [(run["steps"], gains[run["arm"]][run["seed"]])])
    return analyse(root, "multi_step", "gpu").verdicts[0]


# (a - b) - (c - d) = 10 - 1, 10 - 2, 10 - 3, whatever the seeds share.
FOUR = {"a": [110.0, 510.0, 10.0], "b": [100.0, 500.0, 0.0], "c": [71.0, 12.0, 8.0], "d": [70.0, 10.0, 5.0]}


def test_four_arms_are_a_difference_of_differences_paired_by_seed(tmp_path: Path) -> None:
    v = four_arms(tmp_path, FOUR)
    expected = stats.student_t(np.array([9.0, 8.0, 7.0]))
    assert (v.estimate, v.n, v.runs["planned"], v.verdict) == (8.0, 3, 12, "supported")
    assert v.interval == pytest.approx([expected.low, expected.high])
    assert (v.tasks[0]["mean_a"], v.tasks[0]["mean_b"]) == (10.0, 2.0)
    assert v.probability_of_improvement is None


def test_a_lost_run_among_four_is_imputed_against_the_sign_of_its_side(tmp_path: Path) -> None:
    v = four_arms(tmp_path, FOUR, skip=(("d", 0),))
    ends = []
    for lost in (0.0, 510.0):  # the lowest and the highest score seen
        d = np.array([10.0 - (71.0 - lost), 8.0, 7.0])
        ends.append(stats.student_t(d))
    assert v.interval == pytest.approx([min(e.low for e in ends), max(e.high for e in ends)])
    assert (v.verdict, v.estimate, v.runs["missing"]) == ("inconclusive", 7.5, 1)


def universal(root: Path, ratios: list[list[float]], skip: tuple[int, ...] = (), **plan):
    """proposition1 runs whose delta2 / bound are these; the claim: every one below 1."""
    claim = synth.claim(contrast=["proposition1"], metric="bound_ratio", direction="every_below", margin=0.0)
    other = synth.claim(id="other", contrast=["proposition1"], metric="bias", direction="less", margin=0.0)
    content = synth.make_plan(["proposition1"], ["garnet_small"], len(ratios), [claim, other], **plan)
    content["check"]["reference"] = None
    synth.write_plan(root, content)
    for run in content["runs"]:
        if run["seed"] not in skip:
            values = ratios[run["seed"]]
            synth.write_run(root, run, [], metrics={"delta2": values, "bound": [1.0] * len(values)})
    verdicts = {v.id: v for v in analyse(root, "multi_step", content["scale"]).verdicts}
    return verdicts["full_over_ppo"], verdicts["other"]


def test_a_universal_claim_holds_when_every_run_is_below(tmp_path: Path) -> None:
    v, _ = universal(tmp_path, [[0.1, 0.01], [0.001, 0.5], [0.1, 0.25]])
    assert (v.verdict, v.p, v.interval, v.n) == ("supported", 0.0, None, 3)
    assert v.estimate == pytest.approx(np.log10(0.5))
    # No violation in 3 runs: 1 - 0.05^(1/3).
    assert f"at most {100 * (1 - 0.05 ** (1 / 3)):.3g} %" in v.reason


def test_a_single_violating_run_refutes_it(tmp_path: Path) -> None:
    ratios = [[0.01] * 3 for _ in range(20)]
    ratios[13][1] = 1.5
    v, _ = universal(tmp_path, ratios)
    assert v.verdict == "refuted"
    assert v.estimate == pytest.approx(np.log10(1.5))
    assert "1 of 20 runs are not below 0" in v.reason


def test_a_run_at_the_margin_is_not_below_it(tmp_path: Path) -> None:
    assert universal(tmp_path, [[0.1], [1.0]])[0].verdict == "refuted"


def test_a_lost_run_leaves_a_universal_claim_open_unless_it_is_refuted_already(tmp_path: Path) -> None:
    assert universal(tmp_path / "a", [[0.1], [0.1], [0.1]], skip=(1,))[0].verdict == "inconclusive"
    assert universal(tmp_path / "b", [[0.1], [0.1], [2.0]], skip=(1,))[0].verdict == "refuted"


def test_a_universal_claim_is_no_member_of_the_family_and_decides_nothing_at_smoke_scale(tmp_path: Path) -> None:
    _, other = universal(tmp_path / "a", [[0.1], [0.11], [0.12]])
    assert other.p_holm == other.p
    assert universal(tmp_path / "b", [[0.1], [2.0]], scale="smoke")[0].verdict == "inconclusive"


def test_runs_without_games_are_judged_by_their_metrics_and_are_no_lost_runs(tmp_path: Path) -> None:
    _, v = universal(tmp_path, [[0.1], [0.11], [0.12]])
    assert v.runs == {"planned": 3, "used": 3, "failed": 0, "running": 0, "missing": 0, "unscored": 0, "left_out": 0}
    assert v.verdict == "supported"


def test_holm_counts_only_claims_that_are_planned_at_this_scale(tmp_path: Path) -> None:
    claims = [synth.claim(), synth.claim(id="absent", contrast=["da_full", "da_1step"])]
    claims += [synth.claim(id="elsewhere", tasks=["Gravitar"])]
    content = synth.make_plan(["ppo", "da_full"], ["Qbert"], 3, claims)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(990, (9.0 + run["seed"]) if run["arm"] == "da_full" else 0.0)])
    verdicts = {v.id: v for v in analyse(tmp_path, "multi_step", "gpu").verdicts}
    assert verdicts["full_over_ppo"].p_holm == verdicts["full_over_ppo"].p
    assert (verdicts["absent"].verdict, verdicts["elsewhere"].verdict) == ("not run", "not run")


def test_a_planned_claim_without_runs_still_costs_power(tmp_path: Path) -> None:
    claims = [synth.claim(), synth.claim(id="unrun", contrast=["da_1step"])]
    content = synth.make_plan(["ppo", "da_full", "da_1step"], ["Qbert"], 3, claims)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        if run["arm"] != "da_1step":
            synth.write_run(tmp_path, run, [(990, (9.0 + run["seed"]) if run["arm"] == "da_full" else 0.0)])
    verdicts = {v.id: v for v in analyse(tmp_path, "multi_step", "gpu").verdicts}
    first = verdicts["full_over_ppo"]
    assert verdicts["unrun"].verdict == "not run"
    assert first.p is not None
    assert first.p_holm == pytest.approx(2 * first.p)


def test_what_the_seeds_can_detect_is_in_the_claims_units(tmp_path: Path) -> None:
    gains = [4.0, 5.0, 6.0, 5.0, 4.5]
    content = synth.make_plan(
        ["ppo", "da_full"], ["Qbert"], 5, [synth.claim(margin=2.0), synth.claim(id="z", margin=0.0)]
    )
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(990, gains[run["seed"]] if run["arm"] == "da_full" else 0.0)])
    v, zero = analyse(tmp_path, "multi_step", "gpu").verdicts
    from statsmodels.stats.power import TTestPower

    sd = float(np.std(gains, ddof=1))
    assert v.detectable is not None
    power = TTestPower().power(v.detectable / sd, 5, 0.025 / 2, alternative="larger")  # alpha 0.05 over two claims
    assert power == pytest.approx(0.8, abs=1e-4)
    assert v.powered is (v.detectable <= 2.0)
    assert zero.powered is None


def test_shares_of_nothing_have_an_interval_with_a_width(tmp_path: Path) -> None:
    # No run of either arm collapsed: no proof that none ever does.
    claim = synth.claim(metric="collapsed", margin=0.05, normalise=None)
    content = synth.make_plan(["ppo", "da_full"], ["CartPole-v1"], 20, [claim])
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(100, 20.0), (990, 200.0 + run["seed"])])
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert (v.estimate, v.verdict) == (0.0, "inconclusive")
    assert v.interval is not None
    assert v.interval[0] < -0.05 < 0.05 < v.interval[1]


def test_a_lost_run_may_have_collapsed_or_not(tmp_path: Path) -> None:
    claim = synth.claim(metric="collapsed", margin=0.0, normalise=None)
    content = synth.make_plan(["ppo", "da_full"], ["CartPole-v1"], 3, [claim])
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        if (run["arm"], run["seed"]) != ("ppo", 0):
            synth.write_run(tmp_path, run, [(100, 20.0), (990, 200.0)])
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    low = stats.binary_difference(np.array([[-1.0], [0.0], [0.0]]), 2, 0.05)
    high = stats.binary_difference(np.zeros((3, 1)), 2, 0.05)
    assert v.interval == pytest.approx([min(low.low, high.low), max(low.high, high.high)])


def test_seeds_that_are_not_planned_everywhere_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo", "da_full"], ["Qbert", "Gravitar"], 4, [synth.claim()])
    content["runs"] = [run for run in content["runs"] if run["task"] == "Qbert" or run["seed"] < 2]
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(990, 1.0 + run["seed"] * (run["arm"] == "da_full"))])
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert (v.n, v.runs["planned"], v.runs["left_out"]) == (2, 8, 4)
    assert "4 runs are of seeds not planned for all of its arms and tasks, and left out." in v.reason


def test_runs_of_different_lengths_are_said_to_be(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo", "da_full"], ["Qbert", "CartPole-v1"], 2, [])
    for run in content["runs"]:
        run["steps"] = 8192 if run["task"] == "Qbert" else 40_000
    synth.write_plan(tmp_path, content)
    study = analyse(tmp_path, "multi_step", "gpu")
    assert tables.budget_sentence(study).startswith("8,192 to 40,000 agent steps per run")
    assert study.plan.budget_fraction(["ppo"], ["Qbert"]) == 8.192
    assert study.plan.budget_fraction(["ppo"], ["Qbert", "CartPole-v1"]) is None


def test_an_arm_without_any_number_is_not_judged_by_the_numbers_of_others(tmp_path: Path) -> None:
    # The planted fault: no run of da_full has the metric, ppo's are tight; imputed from them it would be supported.
    claim = synth.claim(contrast=["da_full"], metric="exact_auc", margin=0.1)
    content = synth.make_plan(["ppo", "da_full"], ["chain"], 4, [claim])
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        value = 0.9 + 0.01 * run["seed"] if run["arm"] == "ppo" else None
        synth.write_run(tmp_path, run, [], metrics={"exact_return": [value] * 3})
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert (v.verdict, v.interval, v.p) == ("inconclusive", None, None)
    assert "An arm has no number on a task" in v.reason


def test_a_lost_rank_correlation_could_have_been_any(tmp_path: Path) -> None:
    claim = synth.claim(contrast=["da_full"], metric="bias_rank", margin=0.5)
    content = synth.make_plan(["da_full"], ["chain"], 4, [claim])
    synth.write_plan(tmp_path, content)
    rising = [1.0, 2.0, 3.0, 4.0, 5.0]
    for run in content["runs"]:
        if run["seed"]:
            synth.write_run(tmp_path, run, [], metrics={"kl_exact": rising, "delta2": rising})
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    low = stats.student_t(np.array([-1.0, 1.0, 1.0, 1.0]))
    assert v.interval is not None
    assert v.interval[0] == pytest.approx(low.low)
    assert v.verdict == "inconclusive"


def infinite(direction: str) -> Verdict:
    """Two arms, one seed of both infinite."""
    design = Design(("a", "b"), 1, 4, (claim(direction=direction),))
    scores = np.stack([np.array([1.0, 1.2, 0.9, np.inf]), np.array([0.1, 0.0, 0.05, np.inf])])[..., None]
    return judge(design.plan, design.scored(scores), {})[0]


def test_an_infinity_is_no_number_of_a_mean() -> None:
    found = infinite("greater")
    assert (found.pairs, found.runs["unscored"]) == (3, 2)
    assert found.estimate == pytest.approx((0.9 + 1.2 + 0.85) / 3)


def test_a_difference_of_infinities_is_lost_to_a_statement_about_every_run() -> None:
    assert infinite("every_below").verdict == "refuted"  # 0.9, 1.2, 0.85 are not below 0.5
    design = Design(("a", "b"), 1, 2, (claim(direction="every_below"),))
    scores = np.array([[0.1, np.inf], [0.0, np.inf]])[..., None]
    assert judge(design.plan, design.scored(scores), {})[0].verdict == "inconclusive"
