"""Runs of DPO, PPO and SAC on continuous tasks, from run directories to verdicts, reports and packed results."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic as synth

from analysis import evidence, published, reported, tables
from analysis import figures as all_figures
from analysis.figures import curves
from analysis.measure import Verdict
from analysis.report import part, render
from analysis.study import Study, analyse
from bench.check_config import ClaimConfig
from bench.errors import UserError
from bench.registration import LATER

ARMS = ["dpo_ppo", "ppo", "sac"]
TASKS = ["Hopper-v5", "cartpole-swingup"]
CHECK = "sample_efficiency"
LOW, HIGH = 16.7, 2609.3  # of Hopper-v5


def store(
    root: Path,
    evaluations: dict[str, list[float | None]],
    *,
    metric: str = "eval_score",
    tasks: list[str] = TASKS,
    seeds: int = 3,
    **changes: Any,
) -> Study:
    """Runs of 1000 steps, evaluated at equal distances; seed s adds s, to ppo half of it."""
    claim = synth.claim(contrast=["dpo_ppo", "ppo"], metric=metric, normalise=None, margin=0.01, **changes)
    content = synth.make_plan(list(evaluations), tasks, seeds, [claim], name=CHECK)
    content["check"]["reference"] = None
    synth.write_plan(root, content)
    for run in content["runs"]:
        more = run["seed"] * (0.5 if run["arm"] == "ppo" else 1.0)
        values = [None if value is None else value + more for value in evaluations[run["arm"]]]
        columns = {"eval_return": values, "critic_calibration": [0.1] * len(values), "entropy": [1.0] * len(values)}
        synth.write_run(root, run, [(500, 10.0 + run["seed"]), (990, 20.0)], metrics=columns)
    return analyse(root, CHECK, "gpu")


RISING: dict[str, list[float | None]] = {
    "dpo_ppo": [0.0, 400.0, 600.0, 800.0, 900.0],
    "ppo": [0.0, 100.0, 200.0, 300.0, 400.0],
    "sac": [0.0, None, None, 300.0, 300.0],
}


def verdict(found: Study) -> Verdict:
    (only,) = found.verdicts
    return only


def test_evaluations_are_scored_in_units_of_their_task(tmp_path: Path) -> None:
    found = store(tmp_path, RISING)
    rows = found.scored.set_index(["arm", "task", "seed"])
    assert rows.loc[("dpo_ppo", "Hopper-v5", 1), "eval_score"] == 851.0  # the last two of five
    v = verdict(found)
    by_task = {row["task"]: row["difference"] for row in v.tasks}
    assert by_task["Hopper-v5"] == pytest.approx(500.5 / (HIGH - LOW))
    assert by_task["cartpole-swingup"] == pytest.approx(0.5005)
    assert (v.unit, v.verdict) == ("range-normalised", "supported")


def test_areas_of_evaluations_are_compared_over_the_same_steps(tmp_path: Path) -> None:
    late: dict[str, list[float | None]] = {"dpo_ppo": [None, 400.0, 400.0, 400.0, 400.0], "ppo": [0.0, *[400.0] * 4]}
    found = store(tmp_path, late, metric="eval_auc", tasks=["cartpole-swingup"])
    # ppo's first evaluation, before dpo_ppo had any, does not count against it
    assert verdict(found).estimate == pytest.approx(0.0005)  # the half that seeds add to ppo alone


def test_steps_to_the_middle_of_the_range_and_what_was_censored_is_said(tmp_path: Path) -> None:
    found = store(tmp_path, RISING, metric="steps_to", direction="less", tasks=["cartpole-swingup"])
    v = verdict(found)
    assert v.estimate == pytest.approx(math.log10(0.6))  # 600 at step 600 of 1000; ppo never
    assert "3 of 6 runs did not get there within their budget and count as if at its end." in v.reason
    assert v.verdict == "inconclusive"  # every seed gives the same share: no spread to judge by
    assert "All 3 seeds give the same number" in v.reason


def test_where_no_run_gets_there_nothing_is_refuted(tmp_path: Path) -> None:
    """The planted fault: all differences are 0, an interval without width, so `not faster by the margin` follows."""
    low: dict[str, list[float | None]] = {"dpo_ppo": [0.0] * 5, "ppo": [0.0] * 5}
    v = verdict(store(tmp_path, low, metric="steps_to", direction="less"))
    assert v.estimate == 0.0
    assert v.verdict == "inconclusive"
    assert "No run of it got there within the budget on Hopper-v5, cartpole-swingup: nothing to compare." in v.reason


@pytest.mark.parametrize("direction", ["equal", "every_below"])
def test_an_equivalence_in_steps_to_a_threshold_is_refused(direction: str) -> None:
    with pytest.raises(UserError, match="greater or less with steps_to"):
        ClaimConfig(**dict.fromkeys(LATER, ""), **synth.claim(metric="steps_to", direction=direction))


def test_curves_of_evaluations_are_in_agent_steps_and_join_each_runs_own_points(tmp_path: Path) -> None:
    found = store(tmp_path, RISING)
    figure = next(item for item in curves.draw(found, {"values": "eval_return"}) if item.stem == "Hopper-v5_evaluation")
    data = pd.read_csv(figure.paths["csv"])
    dpo = data[(data["arm"] == "dpo_ppo") & (data["kind"] == "run") & (data["seed"] == 0)]
    assert list(dpo["step"]) == [200, 400, 600, 800, 1000]
    assert list(dpo["score"]) == RISING["dpo_ppo"]
    sac = data[(data["arm"] == "sac") & (data["kind"] == "median")]
    assert list(sac["score"]) == [1.0, 101.0, 201.0, 301.0, 301.0]  # linear between its evaluations
    assert data["frames"].isna().all()
    assert "deterministic policy" in figure.caption
    assert "frames" not in figure.caption
    training = curves.draw(found, {})
    assert {item.stem for item in training} == set(TASKS)
    assert all("frames" not in item.caption for item in training)


def test_without_evaluations_no_curve_of_them_is_drawn(tmp_path: Path) -> None:
    found = store(tmp_path, {"dpo_ppo": [None] * 3, "ppo": [None] * 3})
    assert curves.draw(found, {"values": "eval_return"}) == []
    assert verdict(found).verdict == "inconclusive"


def test_evaluations_after_the_matched_steps_do_not_count(tmp_path: Path) -> None:
    claim = synth.claim(contrast=["dpo_ppo", "ppo"], metric="eval_score", normalise="none")
    content = synth.make_plan(["dpo_ppo", "ppo"], ["Hopper-v5"], 2, [claim], name=CHECK)
    for run in content["runs"]:
        run["steps"] = 2000 if run["arm"] == "dpo_ppo" else 1000
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        synth.write_run(tmp_path, run, [(900, 1.0)], metrics={"eval_return": [1.0, 2.0, 900.0, 900.0]})
    found = analyse(tmp_path, CHECK, "gpu")
    assert found.scored.loc[found.scored["arm"] == "dpo_ppo", "eval_score"].tolist() == [1.5, 1.5]
    (figure,) = curves.draw(found, {"values": "eval_return"})
    assert pd.read_csv(figure.paths["csv"])["step"].max() == 1000


def test_a_report_is_made_and_packed_runs_give_the_same_verdicts(tmp_path: Path) -> None:
    found = store(tmp_path / "store", RISING)
    html = render([part(found, all_figures.draw_all(found))], "store")
    assert "Evaluations, last fifth" in html
    assert "Published returns" in html
    tables.write_tables(found)
    assert "Published returns" in (found.folder / "table.md").read_text()
    evidence.pack(tmp_path / "store", CHECK, "gpu", tmp_path / "results")
    again = analyse(tmp_path / "results", CHECK, "gpu")
    assert again.scored["eval_auc"].tolist() == pytest.approx(found.scored["eval_auc"].tolist())
    (row,) = evidence.confirm(tmp_path / "store", CHECK, "gpu", tmp_path / "results")
    assert (row.same, row.agreeing) == (True, 12)
    assert json.loads((tmp_path / "results" / f"{CHECK}-gpu" / "verdicts.json").read_text())["claims"]


def test_published_returns_stand_beside_ours_with_every_field_that_differs(tmp_path: Path) -> None:
    rows = published.published_rows(store(tmp_path, RISING))
    assert {row["task"] for row in rows} == {"Hopper-v5"}  # none is published for dm_control
    ours = next(row for row in rows if row["method"] == "ours: dpo_ppo")
    assert (ours["return"], ours["n"], ours["steps"], ours["env_version"]) == (851.0, 3, 1000, "v5")
    ppo = next(row for row in rows if row["method"] == "PPO (CleanRL)")
    assert (ppo["return"], ppo["env_version"]) == (2382.86, "v4")
    for said in (
        "not comparable",
        "environment v5 (theirs v4)",
        "agent steps 1000 (theirs 1000000)",
        "(theirs mean of",
    ):
        assert said in ppo["comparable"]
    assert all("not comparable" in row["comparable"] for row in rows if not row["method"].startswith("ours"))


def test_the_newest_version_and_then_the_most_runs_are_chosen_at_the_papers_budget() -> None:
    table = reported.read("mujoco_published.csv")
    row = published.chosen_row(table, "HalfCheetah", "SAC")
    assert row is not None
    assert (row["env_version"], row["implementation"], row["steps"]) == ("v5", "SAC (rl_games)", 1e6)
    assert published.chosen_row(table, "Walker2d", "nothing") is None
    made = pd.DataFrame(
        {"env": "X", "algorithm": "A", "steps": 1e6, "score": [1.0, 2.0, 3.0, 9.0], "seeds": [3, 5, np.nan, 50]}
        | {"env_version": ["v4", "v4", "v4", "as in that source"]}
    )
    chosen = published.chosen_row(made, "X", "A")
    assert chosen is not None
    assert chosen["score"] == 2.0
