"""Claims about one arm, about some tasks, the paper's own value of a statistic, and games that were cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import synthetic as synth

from analysis import reported, stats, tables
from analysis.paper import paper_estimate
from analysis.plan import parse_plan
from analysis.study import analyse
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


def test_a_claim_names_one_arm_or_two() -> None:
    content = synth.make_plan(["ppo"], ["Qbert"], 1, [synth.claim(contrast=["ppo", "da_full", "da_1step"])])
    with pytest.raises(UserError, match="must name one arm or two"):
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
