"""Packed results: judged alone they give the verdicts that were packed; an edited pack is found out."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic as synth

from analysis import __main__ as cli
from analysis import archive, evidence, tables
from analysis.study import analyse
from bench.errors import UserError

FOLDER = "multi_step-cpu"


def make(root: Path, skip: tuple[tuple[str, int], ...] = ()) -> Path:
    """Noisy runs of games and of exact numbers, with digits to lose."""
    claims = [
        synth.claim(normalise=None, margin=0.01),
        synth.claim(id="auc", metric="auc", normalise=None, margin=0.02, direction="equal"),
        synth.claim(id="d", metric="d_variance", normalise=None, margin=0.1),
        synth.claim(id="bound", contrast=["exact_ascent"], metric="bound_ratio", direction="every_below", margin=0.0),
        synth.claim(id="bias", contrast=["exact_ascent"], metric="bias", direction="less", margin=0.0),
        synth.claim(id="best", contrast=["best(ppo, da_full)", "ppo"], normalise=None, margin=0.01),
    ]
    content = synth.make_plan(
        ["ppo", "da_full", "exact_ascent"], ["CartPole-v1", "chain"], 7, claims, scale="cpu", tuning_seeds=1
    )
    content["check"]["reference"] = None
    content["runs"] = [run for run in content["runs"] if (run["arm"] == "exact_ascent") == (run["task"] == "chain")]
    synth.write_plan(root, content)
    rng = np.random.default_rng(0)
    for run in content["runs"]:
        if (run["arm"], run["seed"]) in skip:
            continue
        if run["arm"] == "exact_ascent":
            delta2, bound = rng.lognormal(-5, 1, 9), rng.lognormal(0, 1, 9)
            synth.write_run(
                root, run, [], metrics={"delta2": list(map(float, delta2)), "bound": list(map(float, bound))}
            )
            continue
        steps = np.sort(rng.choice(np.arange(1, 1001), 60, replace=False))
        values = rng.normal(100, 30, 60) + (20 if run["arm"] == "da_full" else 0)
        games = [(int(s), float(v)) for s, v in zip(steps, values, strict=True)]
        synth.write_run(root, run, games, d_var=float(rng.lognormal()))
    return root


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store and its packed results."""
    folder = tmp_path_factory.mktemp("packed")
    store, results = make(folder / "store"), folder / "results"
    assert cli.main(["archive", "check=all", f"store={store}", f"results={results}", "scale=cpu"]) == 0
    return store, results


@pytest.fixture
def copy(packed: tuple[Path, Path], tmp_path: Path) -> Path:
    """Packed results that a test may spoil."""
    return Path(shutil.copytree(packed[1], tmp_path / "results"))


def confirm(store: Path, results: Path) -> int:
    return cli.main(["confirm", "check=all", f"store={store}", f"results={results}", "scale=cpu"])


def test_the_pack_holds_the_files_that_it_should(packed: tuple[Path, Path]) -> None:
    assert sorted(path.name for path in (packed[1] / FOLDER).iterdir()) == [
        "configs.json",
        "episodes.csv.gz",
        "manifests.json",
        "metrics.csv.gz",
        "plan.json",
        "runs.csv",
        "table.md",
        "verdicts.json",
    ]


def test_the_packed_results_alone_give_the_packed_verdicts_bit_for_bit(
    packed: tuple[Path, Path], tmp_path: Path
) -> None:
    _, results = packed
    assert cli.main(["verdict", "check=all", f"results={results}", f"out={tmp_path}"]) == 0
    for name in ("verdicts.json", "table.md"):
        assert (tmp_path / FOLDER / name).read_bytes() == (results / FOLDER / name).read_bytes()


def test_packing_again_gives_equal_bytes(packed: tuple[Path, Path], tmp_path: Path) -> None:
    store, results = packed
    assert cli.main(["archive", "check=multi_step", f"store={store}", f"results={tmp_path}", "scale=cpu"]) == 0
    for path in (results / FOLDER).iterdir():
        assert (tmp_path / FOLDER / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_verdicts_of_store_and_pack_agree_to_the_digits_that_were_kept(packed: tuple[Path, Path]) -> None:
    store, results = packed
    ours, theirs = (analyse(root, "multi_step", "cpu").verdicts for root in (store, results))
    assert [v.verdict for v in ours] == [v.verdict for v in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a.estimate == pytest.approx(b.estimate, rel=1e-5)


def test_a_verdict_can_be_recomputed_by_hand_from_runs_csv(packed: tuple[Path, Path]) -> None:
    runs = pd.read_csv(packed[1] / FOLDER / "runs.csv")
    of = {arm: part.sort_values("seed")["score"].to_numpy() for arm, part in runs.groupby("arm")}
    d = (of["da_full"] - of["ppo"]) / 500  # CartPole: 0 to 500
    half = 2.4469118511449692 * d.std(ddof=1) / np.sqrt(7)  # t of 6 degrees of freedom, 97.5 %
    stated = json.loads((packed[1] / FOLDER / "verdicts.json").read_text())
    (claim,) = [claim for claim in stated["claims"] if claim["id"] == "full_over_ppo"]
    assert claim["estimate"] == pytest.approx(d.mean())
    assert claim["interval"] == pytest.approx([d.mean() - half, d.mean() + half])


def test_confirming_untouched_results_says_that_all_is_the_same(
    packed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert confirm(*packed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(": same; params_sha256 agree in " in line for line in lines)
    assert any(line.startswith("multi_step  bound:") and line.endswith("agree in 7 of 7 runs") for line in lines)


def test_an_edited_verdict_is_found_out(
    packed: tuple[Path, Path], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / FOLDER / "verdicts.json"
    content = json.loads(path.read_text())
    (claim,) = [claim for claim in content["claims"] if claim["id"] == "bound"]
    claim["verdict"] = "refuted" if claim["verdict"] == "supported" else "supported"
    path.write_text(json.dumps(content))
    assert confirm(packed[0], copy) == 1
    assert f"verdicts.json says {claim['verdict']}: DIFFERENT" in capsys.readouterr().out


def test_an_edited_number_in_runs_csv_is_refused_by_name(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / FOLDER / "runs.csv"
    runs = pd.read_csv(path, dtype=str, keep_default_na=False)
    runs.loc[3, "score"] = "499.0"
    runs.to_csv(path, index=False)
    assert cli.main(["verdict", "check=all", f"results={copy}", f"out={copy.parent}"]) == 2
    assert "says score 499 of arm ppo, task CartPole-v1, seed 3" in capsys.readouterr().err


def test_edited_games_are_refused_by_the_number_that_they_change(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / FOLDER / "episodes.csv.gz"
    games = pd.read_csv(path)
    games.loc[games["run"] == 0, "return"] += 50
    path.write_bytes(gzip.compress(games.to_csv(index=False).encode()))
    assert cli.main(["verdict", "check=all", f"results={copy}", f"out={copy.parent}"]) == 2
    assert "says score" in capsys.readouterr().err


def test_runs_taken_out_of_runs_csv_are_missed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / FOLDER / "runs.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert cli.main(["verdict", "check=all", f"results={copy}", f"out={copy.parent}"]) == 2
    assert "does not hold the runs of" in capsys.readouterr().err


def test_other_parameters_are_counted(packed: tuple[Path, Path], tmp_path: Path) -> None:
    store = Path(shutil.copytree(packed[0], tmp_path / "store"))
    path = next((store / "runs").glob("exact_ascent*")) / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"params_sha256": "other"}))
    (row,) = [row for row in evidence.confirm(store, "multi_step", "cpu", packed[1]) if row.claim == "bound"]
    assert (row.agreeing, row.runs) == (6, 7)


def test_unfinished_runs_are_packed_only_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make(tmp_path / "store", skip=(("ppo", 2),))
    command = ["archive", "check=multi_step", f"store={store}", f"results={tmp_path / 'results'}", "scale=cpu"]
    assert cli.main(command) == 2
    assert "runs that are not done (1 missing)" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    assert cli.main([*command, "--partial"]) == 0
    study = analyse(tmp_path / "results", "multi_step", "cpu")
    (v,) = [v for v in study.verdicts if v.id == "full_over_ppo"]
    assert (v.runs["missing"], v.runs["used"]) == (1, 13)
    assert tables.verdicts_json(study) == (tmp_path / "results" / FOLDER / "verdicts.json").read_text()


def one_sentence(capsys: pytest.CaptureFixture[str], said: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_scale_that_is_not_planned_is_refused_by_archive_and_by_pack(
    packed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["archive", "check=multi_step", f"store={packed[0]}", f"results={tmp_path}", "scale=gpu"]
    assert cli.main(command) == 2
    one_sentence(capsys, "holds no plan of multi_step at scale gpu; there is: cpu")
    with pytest.raises(UserError, match="no plan of multi_step at scale gpu"):
        evidence.pack(packed[0], "multi_step", "gpu", tmp_path)


def test_packed_results_are_no_store_to_pack(
    packed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["archive", "check=multi_step", f"store={packed[1]}", f"results={tmp_path}", "scale=cpu"]
    assert cli.main(command) == 2
    one_sentence(capsys, "holds packed results; archive packs the runs of a store")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "verdicts.json cannot be read: No such file"),
        ('{"claims": [', "verdicts.json cannot be read: "),
        ("[]", "verdicts.json lacks claims"),
        ("{}", "verdicts.json lacks claims"),
        ('{"claims": [{"id": "d"}]}', "verdicts.json holds a claim without its id or verdict"),
    ],
)
def test_verdicts_that_a_killed_archive_left_out_or_torn_are_one_sentence(
    packed: tuple[Path, Path], copy: Path, content: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / FOLDER / "verdicts.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert confirm(packed[0], copy) == 2
    one_sentence(capsys, said)


@pytest.mark.parametrize(("name", "content"), [("configs.json", b"[]"), ("manifests.json", b"{}")])
def test_a_pack_without_its_parts_is_one_sentence(
    copy: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / FOLDER / name).write_bytes(content)
    assert cli.main(["verdict", "check=all", f"results={copy}", f"out={copy.parent}"]) == 2
    one_sentence(capsys, f"{name} lacks ")


def test_a_damaged_gzip_is_one_sentence(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / FOLDER / "episodes.csv.gz"
    content = bytearray(path.read_bytes())
    content[40:60] = b"\xff" * 20
    path.write_bytes(bytes(content))
    assert cli.main(["verdict", "check=all", f"results={copy}", f"out={copy.parent}"]) == 2
    one_sentence(capsys, "episodes.csv.gz cannot be read: ")


def test_nothing_of_the_machine_is_packed(packed: tuple[Path, Path]) -> None:
    for path in (packed[1] / FOLDER).glob("*.json"):
        assert "/somewhere" not in path.read_text()


def test_configurations_and_origins_come_back_as_they_were(packed: tuple[Path, Path]) -> None:
    ours, theirs = (analyse(root, "multi_step", "cpu").store for root in packed)
    for key, config in ours.configs.items():
        kept = {name: value for name, value in config.items() if name not in ("store", "run_dir")}
        assert theirs.configs[key] == kept
    assert {m["commit"] for m in theirs.manifests.values()} == {"c0ffee"}
    assert len(theirs.manifests) == len(ours.manifests)


def test_a_command_is_kept_without_seed_and_places() -> None:
    command = "/usr/bin/python3 -m bench algo=ppo seed=12 store=/home/me/store run_dir=x logger=none 'env.task=a b'"
    assert archive.command_pattern(command) == "python3 -m bench algo=ppo seed=SEED 'env.task=a b'"


@pytest.mark.parametrize(("numbers", "text"), [([0, 1, 2, 5], "0-2,5"), ([7], "7"), ([], ""), ([3, 1], "1,3")])
def test_ranges_of_numbers(numbers: list[int], text: str) -> None:
    assert archive.ranges_text(numbers) == text
    assert archive.numbers_of(text) == sorted(numbers)


def test_seven_digits_are_kept_of_fractions_and_all_of_whole_numbers() -> None:
    frame = pd.DataFrame(
        {"arm": "a", "task": "t", "seed": 0, "step": [1, 2], "x": [1 / 3, np.nan], "big": [123456789.0, np.nan],
         "blank": np.nan, "wall_s": 1.0}
    )  # fmt: skip
    text = gzip.decompress(archive.pack_table(frame, [("a", "t", 0)], 7)).decode()
    assert text == "run,step,x,big\n0,1,0.3333333,123456789\n0,2,,\n"


def test_the_overview_names_every_claim_once_decided_or_waiting(tmp_path: Path) -> None:
    store, results = tmp_path / "store", tmp_path / "results"
    make(store)
    evidence.pack(store, "multi_step", "cpu", results)
    text = evidence.overview(results)
    stated = json.loads((results / FOLDER / "verdicts.json").read_text())["claims"]
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert len(rows) == sum(claim["verdict"] != "not run" for claim in stated)
    assert text.count("\n* ") == sum(claim["verdict"] == "not run" for claim in stated)
    for claim, row in zip([c for c in stated if c["verdict"] != "not run"], rows, strict=True):
        assert claim["statement"] in row
        assert f"| {claim['verdict']} |" in row
