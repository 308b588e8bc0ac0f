import json
from pathlib import Path

import pytest
import synthetic as synth

from analysis import load, plan, reported
from analysis.scores import run_curves, score_runs
from bench.errors import UserError

ARMS = ["ppo", "da_full"]
GAMES = [(50, 1.0), (500, 2.0), (1000, 3.0)]


def make(root: Path, seeds: int = 2, games: list[tuple[int, float]] | None = None) -> dict:
    content = synth.make_plan(ARMS, ["Qbert"], seeds, [synth.claim()])
    synth.write_plan(root, content)
    for run in content["runs"]:
        synth.write_run(root, run, GAMES if games is None else games)
    return content


def runs_of(root: Path):
    return load.load_store(root, plan.read_plan(root, "multi_step", "gpu")).runs


def test_every_planned_run_has_a_row_whatever_became_of_it(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 4, [synth.claim()])
    synth.write_plan(tmp_path, content)
    runs = [run for run in content["runs"] if run["arm"] == "ppo"]
    synth.write_run(tmp_path, runs[0], GAMES)
    synth.write_run(tmp_path, runs[1], [], state="failed", error="boom")
    synth.write_run(tmp_path, runs[2], [], state="running")
    frame = runs_of(tmp_path)
    assert frame.loc[frame.arm == "ppo", "state"].tolist() == ["done", "failed", "running", "missing"]
    assert load.count_states(frame) == {"planned": 8, "done": 1, "failed": 1, "running": 1, "missing": 5}
    assert frame.loc[1, "error"] == "boom"


def test_an_interrupted_run_is_a_lost_run(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 1, [synth.claim()])
    synth.write_plan(tmp_path, content)
    synth.write_run(tmp_path, content["runs"][0], [], state="interrupted", error="KeyboardInterrupt: ")
    assert runs_of(tmp_path).loc[0, "state"] == "failed"


def test_configurations_that_differ_in_their_seed_alone_keep_it(tmp_path: Path) -> None:
    make(tmp_path, seeds=3)
    configs = load.load_store(tmp_path, plan.read_plan(tmp_path, "multi_step", "gpu")).configs
    assert {key: config["seed"] for key, config in configs.items()} == {key: key[2] for key in configs}
    assert len(configs) == 6


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    path.write_text("step,return,length,env,truncated,lives\n5,1.5,5,0,0,0\n9,27")
    assert load.read_table(path, load.EPISODE_COLUMNS)["return"].tolist() == [1.5]


def test_a_whole_last_line_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    path.write_text("step,return,length,env,truncated,lives\n5,1.5,5,0,0,0\n9,27,4,0,0,0\n")
    assert load.read_table(path, load.EPISODE_COLUMNS)["return"].tolist() == [1.5, 27.0]


def test_a_torn_header_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,ver")
    assert load.read_table(path, ("step",)).empty


def test_words_that_pandas_takes_for_missing_stay_words_and_blanks_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("step,mode,value\n1,None,\n2,NA,nan\n3,null,4\n")
    table = load.read_table(path, ("step",))
    assert table["mode"].tolist() == ["None", "NA", "null"]
    assert table["value"].isna().tolist() == [True, True, False]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    path.write_text("step,score\n1,2\n")
    with pytest.raises(UserError, match="return, length, env, truncated, lives"):
        load.read_table(path, load.EPISODE_COLUMNS)


def test_a_seed_planned_twice_is_refused(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 1, [synth.claim()])
    content["runs"].append(content["runs"][0])
    synth.write_plan(tmp_path, content)
    with pytest.raises(UserError, match="seed 0 twice"):
        plan.read_plan(tmp_path, "multi_step", "gpu")


def test_one_training_run_under_two_seeds_counts_once(tmp_path: Path) -> None:
    content = make(tmp_path)
    status = tmp_path / content["runs"][1]["run_dir"] / "status.json"
    twin = json.loads((tmp_path / content["runs"][0]["run_dir"] / "status.json").read_text())
    status.write_text(json.dumps(twin))
    frame = runs_of(tmp_path)
    assert frame.loc[:1, "state"].tolist() == ["done", "failed"]
    assert "identical to seed 0" in frame.loc[1, "error"]


def test_a_directory_of_another_seed_is_not_the_planned_run(tmp_path: Path) -> None:
    content = make(tmp_path)
    content["runs"][1]["run_dir"] = content["runs"][0]["run_dir"]
    synth.write_plan(tmp_path, content)
    assert runs_of(tmp_path).loc[1, "error"] == "config.yaml says seed 0, the plan says 1"


def test_a_stale_directory_of_another_configuration_is_not_the_planned_run(tmp_path: Path) -> None:
    content = make(tmp_path)
    content["runs"][0]["hash"] = "other"
    synth.write_plan(tmp_path, content)
    assert "the plan asks for other" in runs_of(tmp_path).loc[0, "error"]


def test_frames_written_for_agent_steps_are_caught(tmp_path: Path) -> None:
    make(tmp_path, games=[(4 * step, value) for step, value in GAMES])
    frame = runs_of(tmp_path)
    assert set(frame.state) == {"failed"}
    assert "frames taken for steps: episodes.csv goes to step 4000" in frame.loc[0, "error"]


def test_game_lengths_in_frames_are_caught(tmp_path: Path) -> None:
    content = make(tmp_path)
    path = tmp_path / content["runs"][0]["run_dir"] / "episodes.csv"
    path.write_text("step,return,length,env,truncated,lives\n900,1,2400,0,0,0\n")
    assert "its games add up to 2400 steps" in runs_of(tmp_path).loc[0, "error"]


def test_a_run_that_repeats_its_own_games_is_caught(tmp_path: Path) -> None:
    content = make(tmp_path)
    path = tmp_path / content["runs"][0]["run_dir"] / "episodes.csv"
    path.write_text("step,return,length,env,truncated,lives\n500,1,5,0,0,0\n900,1,5,0,0,0\n500,1,5,0,0,0\n")
    assert "out of order" in runs_of(tmp_path).loc[0, "error"]


def test_a_done_run_that_stopped_early_is_not_done(tmp_path: Path) -> None:
    content = make(tmp_path)
    path = tmp_path / content["runs"][0]["run_dir"] / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 984}))
    assert runs_of(tmp_path).loc[0, "error"] == "done, but only at step 984 of 1000"


def test_a_run_ends_on_a_whole_step_of_all_its_actors(tmp_path: Path) -> None:
    content = make(tmp_path)
    path = tmp_path / content["runs"][0]["run_dir"] / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 992}))  # 62 of 62.5 steps of 16 actors
    (path.parent / "episodes.csv").write_text("step,return,length,env,truncated,lives\n900,1,300,0,0,0\n")
    (path.parent / "metrics.csv").write_text("step,version\n992,1\n")
    assert runs_of(tmp_path).loc[0, "state"] == "done"


def test_a_run_without_a_finished_game_is_shown_without_a_score(tmp_path: Path) -> None:
    make(tmp_path, games=[])
    store = load.load_store(tmp_path, plan.read_plan(tmp_path, "multi_step", "gpu"))
    scored = score_runs(store, run_curves(store))
    assert len(scored) == 4
    assert scored["score"].isna().all()
    assert set(scored["score_rule"]) == {"no finished game"}


def test_every_run_of_a_task_averages_its_curve_over_the_same_steps(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 1, [synth.claim()])
    synth.write_plan(tmp_path, content)
    early, late = content["runs"]
    synth.write_run(tmp_path, early, [(5, 0.0), (600, 8.0)])
    synth.write_run(tmp_path, late, [(500, 4.0)])
    store = load.load_store(tmp_path, plan.read_plan(tmp_path, "multi_step", "gpu"))
    scored = score_runs(store, run_curves(store)).set_index("arm")
    # From the bin (490, 500] on, 51 bins: the early run holds 0 for ten of them and 8 from (590, 600] on.
    assert scored["auc_from"].tolist() == [490.0, 490.0]
    assert scored.loc["ppo", "auc"] == pytest.approx(41 * 8 / 51)
    assert scored.loc["da_full", "auc"] == 4.0


def test_a_damaged_plan_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "checks" / "multi_step").mkdir(parents=True)
    (tmp_path / "checks" / "multi_step" / "gpu.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        plan.read_plan(tmp_path, "multi_step", "gpu")


def test_an_unknown_claim_key_is_named(tmp_path: Path) -> None:
    synth.write_plan(tmp_path, synth.make_plan(ARMS, ["Qbert"], 1, [synth.claim(marign=1)]))
    with pytest.raises(UserError, match="unknown keys marign"):
        plan.read_plan(tmp_path, "multi_step", "gpu")


def test_the_largest_scale_is_chosen(tmp_path: Path) -> None:
    for scale in ("smoke", "cpu", "quick"):
        synth.write_plan(tmp_path, synth.make_plan(ARMS, ["Qbert"], 1, [synth.claim()], scale=scale))
    assert plan.choose_scale(tmp_path, "multi_step") == ("cpu", ["smoke", "quick", "cpu"])


def test_reported_steps_are_hours_times_generated_agent_steps_not_frames() -> None:
    curve = reported.dapo_curve("Qbert", "PPO", 3500 * 3600)
    assert curve is not None
    assert curve["step"].iloc[1] == pytest.approx(0.033 * 12_600_000)
    assert curve["step"].iloc[-1] == pytest.approx(4.633 * 12_600_000)


def test_the_reported_curve_is_not_extrapolated() -> None:
    curve = reported.dapo_curve("Qbert", "PPO", 1000)
    with pytest.raises(UserError, match="outside the digitised curve"):
        reported.value_at(curve, 5000)


def test_a_reported_file_without_its_columns_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "atari_human_random.csv").write_text("game,human\nQbert,1\n")
    with pytest.raises(UserError, match="random, exploration_class"):
        reported.read("atari_human_random.csv", tmp_path)


def test_instances_and_agent_steps_of_one_task_are_not_one_clock(tmp_path: Path) -> None:
    content = synth.make_plan(["ppo", "proposition1"], ["chain"], 1, [])
    for run in content["runs"]:
        run["steps"] = 10 if run["arm"] == "proposition1" else 1000
    synth.write_plan(tmp_path, content)
    playing, exact = content["runs"]
    synth.write_run(tmp_path, playing, [(990, 5.0)])
    synth.write_run(tmp_path, exact, [], metrics={"delta2": [0.1, 0.1], "bound": [1.0, 1.0]})
    store = load.load_store(tmp_path, plan.read_plan(tmp_path, "multi_step", "gpu"))
    scored = score_runs(store, run_curves(store)).set_index("arm")
    assert scored["clock"].to_dict() == {"ppo": "agent steps", "proposition1": "instances"}
    assert scored["end"].to_dict() == {"ppo": 1000, "proposition1": 10}
    assert (scored.loc["ppo", "score"], scored.loc["proposition1", "bound_ratio"]) == (5.0, -1.0)
    assert set(scored["state"]) == {"done"}


def test_a_plan_without_a_task_environment_is_one_sentence(tmp_path: Path) -> None:
    content = synth.make_plan(ARMS, ["Qbert"], 1, [synth.claim()])
    del content["check"]["tasks"]["Qbert"]["env"]
    synth.write_plan(tmp_path, content)
    with pytest.raises(UserError, match=r"task Qbert: .*'env'"):
        plan.read_plan(tmp_path, "multi_step", "gpu")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("episodes.csv", b"step,return,length,env,truncated,lives\n500,1,5,0,0,0\n900,1,5,0,0,0,7\n", "cannot be read"),
        ("episodes.csv", b"step,return,length,env,truncated,lives\n500,1,5,0,0,0,7\n", "more values than columns"),
        (
            "episodes.csv",
            b"step,return,length,env,truncated,lives\n\0\0\0\n900,1,5,0,0,0\n",
            "a step that is not a num",
        ),
        ("episodes.csv", b"step,return,length,env,truncated,lives\n900,1,five,0,0,0\n", "a length that is not a num"),
        ("metrics.csv", b"step,delta2\n5,\xff\n", "cannot be read"),
        ("metrics.csv", b'step,delta2\n5,"1\n', "cannot be read"),
        ("metrics.csv", b"step,delta2\n5,0.1\n6,abc\n", "a delta2 that is not a number"),
        ("config.yaml", b"- seed\n", "is no mapping"),
        ("config.yaml", b"env: Qbert\n", "env is no mapping"),
        ("config.yaml", b"seed: \xff\n", "not valid YAML"),
        ("status.json", b"[]", "is no mapping"),
        ("status.json", b"null", "is no mapping"),
        ("status.json", b'{"state": "done", "step": "1000"}', "step '1000' is no number"),
        ("status.json", b"\xff", "not valid JSON"),
        ("manifest.json", b"7", "is no mapping"),
    ],
)
def test_one_damaged_file_fails_its_run_and_no_other(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    plan_content = make(tmp_path)
    (tmp_path / plan_content["runs"][0]["run_dir"] / name).write_bytes(content)
    store = load.load_store(tmp_path, plan.read_plan(tmp_path, "multi_step", "gpu"))
    assert store.runs["state"].tolist() == ["failed", "done", "done", "done"]
    assert name in store.runs.loc[0, "error"]
    assert said in store.runs.loc[0, "error"]
    assert "\n" not in store.runs.loc[0, "error"]
    assert score_runs(store, run_curves(store))["score"].notna().tolist() == [False, True, True, True]


def test_an_empty_configuration_is_the_wrong_one_not_a_traceback(tmp_path: Path) -> None:
    content = make(tmp_path)
    (tmp_path / content["runs"][0]["run_dir"] / "config.yaml").write_text("")
    assert runs_of(tmp_path).loc[0, "error"] == "config.yaml says seed None, the plan says 0"
