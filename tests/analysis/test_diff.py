"""What differs between two sides, and each cause on its own: planted in a copy, found by its name, and no other."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic as synth

from analysis import __main__ as cli
from analysis import diff, diff_sides
from bench import checkout

CAUSES = ("claim edited", "seeds added", "runs lost", "runs regained", "configuration", "code", "versions")
CAUSES = (*CAUSES, "NOT REPRODUCIBLE", "records", "family", "analysis_code", "no cause")


def make(root: Path, seeds: int = 8, claims: list[dict[str, Any]] | None = None, better: float = 40.0) -> Path:
    """Two arms on CartPole; `da_full` is better by a lot, so that its claim is supported."""
    wanted = claims or [synth.claim(margin=5.0), synth.claim(id="other", margin=1.0)]
    content = synth.make_plan(["ppo", "da_full"], ["CartPole-v1"], seeds, wanted, scale="cpu")
    content["check"]["reference"] = None
    synth.write_plan(root, content)
    for run in content["runs"]:
        rng = np.random.default_rng([run["seed"], run["arm"] == "ppo"])
        top = 100.0 + (better if run["arm"] == "da_full" else 0.0)
        synth.write_run(root, run, [(20 * i, round(float(rng.normal(top, 8.0)), 2)) for i in range(1, 50)])
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store."""
    return make(tmp_path_factory.mktemp("diff") / "store")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def compared(capsys: pytest.CaptureFixture[str], a: Path | str, b: Path | str, *words: str) -> tuple[int, str]:
    status = cli.main(["diff", str(a), str(b), *words])
    return status, " ".join(capsys.readouterr().out.split())


def causes_of(text: str) -> set[str]:
    return {cause for cause in CAUSES if f" {cause}:" in text.replace("analysis code:", "analysis_code:")}


def plan_of(store: Path) -> Path:
    return store / "checks" / "multi_step" / "cpu.json"


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def remake(store: Path, arm: str = "ppo", shift: float = 60.0, **manifest: Any) -> None:
    """Other parameters and other games of an arm. Args: manifest: what else its manifests say."""
    for folder in sorted((store / "runs").glob(f"{arm}-*")):
        edit(folder / "status.json", lambda status: status.update(params_sha256=status["params_sha256"] + "x"))
        edit(folder / "manifest.json", lambda content: content.update(manifest))
        games = pd.read_csv(folder / "episodes.csv")
        games.assign(**{"return": games["return"] + shift}).to_csv(folder / "episodes.csv", index=False)


def pack(store: Path, results: Path) -> Path:
    assert cli.main(["archive", "check=all", f"store={store}", f"results={results}", "scale=cpu", "--partial"]) == 0
    return results


def test_equal_stores_have_no_difference(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = compared(capsys, whole, copy)
    assert status == 0
    assert "multi_step, scale cpu: 2 of 2 claims unchanged" in text
    assert text.endswith("0 of 2 verdicts differ")


def test_a_store_and_its_pack_have_no_difference(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = pack(whole, tmp_path / "results")
    assert compared(capsys, whole, results)[0] == 0


def test_an_edited_margin_is_an_edited_claim(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(plan_of(copy), lambda plan: plan["check"]["claims"][0].update(margin=500.0))
    status, text = compared(capsys, whole, copy)
    assert status == 1
    assert "full_over_ppo: supported -> refuted" in text
    assert "claim edited: margin 5.0 -> 500.0" in text
    assert causes_of(text) == {"claim edited"}
    assert text.endswith("1 of 2 verdicts differ")


def test_more_seeds_decide_and_are_told_from_the_rest(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = make(tmp_path / "few", seeds=1)
    status, text = compared(capsys, few, whole)
    assert status == 1
    assert "seeds added: 14 runs (da_full on CartPole-v1: 1-7; ppo on CartPole-v1: 1-7)" in text
    assert "on the common seeds 0 alone B gives inconclusive, as A: the seeds decide" in text


def test_other_causes_are_told_from_seeds(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make(tmp_path / "other", seeds=6, better=-40.0)
    text = compared(capsys, whole, other)[1]
    assert "seeds removed: 4 runs (da_full on CartPole-v1: 6-7; ppo on CartPole-v1: 6-7)" in text
    assert "on the common seeds 0-5 alone B gives refuted, A supported: not the seeds alone" in text


def test_lost_runs_are_named_with_their_cause(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2, 3):
        status = copy / f"runs/da_full-CartPole-v1-s{seed}" / "status.json"
        edit(status, lambda content: content.update(state="failed", error="boom"))
    text = compared(capsys, whole, copy)[1]
    assert "runs lost: 3 (da_full on CartPole-v1: 1-3): boom" in text
    assert "runs regained: 3 (da_full on CartPole-v1: 1-3)" in compared(capsys, copy, whole)[1]


def test_other_versions_are_named(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remake(copy, versions={"torch": "2.14.0", "numpy": "2.4.6"})
    status, text = compared(capsys, whole, copy)
    assert status == 1
    assert "versions: torch 2.13.0 -> 2.14.0 (8 runs)" in text
    assert causes_of(text) == {"versions"}


def test_other_commits_are_code(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remake(copy, commit="0ddba11")
    text = compared(capsys, whole, copy)[1]
    assert "code: commit c0ffee -> 0ddba11 (8 runs)" in text
    assert causes_of(text) == {"code"}


def test_sources_count_before_commits(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Path(shutil.copytree(copy, copy.parent / "first"))
    remake(first, shift=0.0, sources="aaaa", commit="1")
    remake(copy, shift=60.0, sources="bbbb", commit="2")
    for folder in (copy / "runs").glob("ppo-*"):
        edit(folder / "status.json", lambda status: status.update(params_sha256=status["params_sha256"] + "y"))
    text = compared(capsys, first, copy)[1]
    assert "code: sources aaaa -> bbbb (8 runs)" in text
    assert "commit" not in text


def test_other_settings_are_named_by_field(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remake(copy)
    for path in (copy / "runs").glob("ppo-*/config.yaml"):
        path.write_text(path.read_text().replace("inv_eta: 0.0", "inv_eta: 0.25"))
    text = compared(capsys, whole, copy)[1]
    assert "configuration: algo.inv_eta 0.0 -> 0.25 (8 runs)" in text
    assert causes_of(text) == {"configuration"}


def test_one_identity_with_two_results_is_not_reproducible(
    whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remake(copy)
    text = compared(capsys, whole, copy)[1]
    assert "NOT REPRODUCIBLE: 8 runs of one identity have other params_sha256: ppo on CartPole-v1: 0-7" in text
    assert causes_of(text) == {"NOT REPRODUCIBLE"}


def test_edited_games_of_the_same_parameters_are_records(
    whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (copy / "runs").glob("ppo-*/episodes.csv"):
        games = pd.read_csv(path)
        games.assign(**{"return": games["return"] + 60.0}).to_csv(path, index=False)
    text = compared(capsys, whole, copy)[1]
    assert "records: 8 runs of the same params_sha256 give another score (ppo on CartPole-v1: 0-7)" in text
    assert causes_of(text) == {"records"}


def test_a_pack_that_states_what_its_data_do_not_give_is_analysis_code(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = pack(whole, tmp_path / "results")
    path = results / "multi_step-cpu" / "verdicts.json"
    edit(path, lambda content: [claim.update(verdict="refuted") for claim in content["claims"]])
    status, text = compared(capsys, results, whole, "check=multi_step", "scale=cpu")
    assert status == 1
    assert "full_over_ppo: refuted -> supported" in text
    assert "analysis code: judged now, the data of A give what B says" in text
    assert causes_of(text) == {"analysis_code"}


def test_two_packs_of_an_older_judge_agree_and_say_so(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = pack(whole, tmp_path / "results")
    edit(results / "multi_step-cpu" / "verdicts.json", lambda c: [v.update(verdict="refuted") for v in c["claims"]])
    status, text = compared(capsys, results, shutil.copytree(results, tmp_path / "again"))
    assert status == 0
    assert "2 of these are stated on both sides as their own data no longer give them: analysis code" in text


def test_numbers_that_are_computed_otherwise_now_are_said(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = pack(whole, tmp_path / "results")
    path = results / "multi_step-cpu" / "episodes.csv.gz"
    games = pd.read_csv(path)
    games.loc[games["run"] == 0, "return"] += 50
    path.write_bytes(gzip.compress(games.to_csv(index=False).encode()))
    text = compared(capsys, results, whole)[1]
    assert "A: games and metrics of 1 runs now give other numbers than its runs.csv: analysis code" in text


def test_a_claim_of_one_side_is_listed_and_changes_the_family(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make(tmp_path / "other", claims=[synth.claim(margin=500.0), synth.claim(id="third", margin=1.0)])
    text = compared(capsys, whole, other)[1]
    assert "other: only in A, supported" in text
    assert "third: only in B, supported" in text
    assert "family: 2 -> 2 claims are corrected together, without other and with third" in text


def test_a_check_of_one_side_is_listed(whole: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (plan_of(copy)).rename(plan_of(copy).with_name("gpu.json"))
    assert cli.main(["diff", str(whole), str(copy)]) == 2
    assert "no check in common to compare: multi_step: no common plan (A: cpu; B: gpu)" in capsys.readouterr().err


def git(repo: Path, *words: str) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repo), *who, *words], check=True, capture_output=True)


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose first commit has packed results and whose second has none."""
    repo = tmp_path / "project"
    pack(whole, repo / "results")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "results")
    git(repo, "commit", "-q", "-m", "one")
    git(repo, "tag", "first")
    git(repo, "rm", "-q", "-r", "results")
    (repo / "a").write_text("a")
    git(repo, "add", "a")
    git(repo, "commit", "-q", "-m", "two")
    monkeypatch.setattr(checkout, "ROOT", repo)
    return repo


def test_a_revision_is_its_committed_results(project: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = compared(capsys, "first", whole)
    assert status == 0
    assert "A: first (results/ of commit " in text
    assert "2 of 2 claims unchanged" in text


def test_a_folder_is_taken_before_a_revision_of_its_name(
    project: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.parent)
    shutil.copytree(whole, project.parent / "first")
    assert "A: first (a store); first is a revision too: the folder was taken" in compared(capsys, "first", whole)[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("main", "has no results/"),
        ("nothing", "nothing is neither a folder nor a revision of this project"),
        ("-p", "-p is neither a folder nor a revision of this project"),
    ],
)
def test_what_is_neither_is_one_sentence(
    project: Path, whole: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diff", str(whole), name]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_folder_without_a_plan_and_an_unknown_check_are_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diff", str(whole), str(tmp_path)]) == 2
    assert "is a folder without a plan" in capsys.readouterr().err
    assert cli.main(["diff", str(whole), str(whole), "check=nothing"]) == 2
    assert "holds check nothing; there is: multi_step" in capsys.readouterr().err


def test_a_side_that_cannot_be_judged_now_is_compared_by_what_it_states(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = pack(whole, tmp_path / "results")
    edit(results / "multi_step-cpu" / "plan.json", lambda plan: plan["check"]["claims"][0].update(forgotten=1))
    status, text = compared(capsys, results, whole)
    assert status == 1
    assert "A cannot be judged now: " in text
    assert "unknown keys forgotten" in text
    assert "2 of 2 claims unchanged" in text


def test_rounding_is_no_change() -> None:
    one = diff_sides.Said("supported", 0.12345, (0.1, 0.2), 5)
    near = diff_sides.Said("supported", 0.123451, (0.1, 0.2), 5)
    far = diff_sides.Said("supported", 0.1244, (0.1, 0.2), 5)
    assert (diff.changed(one, near), diff.changed(one, far)) == ("", "numbers")
