"""best(...) and tuned(...): chosen on tuning seeds, judged on the others."""

from pathlib import Path
from typing import Any

import pytest
import synthetic as synth

from analysis.selection import parse_entry
from analysis.study import Study, analyse
from bench.errors import UserError

ARMS = ["ppo", "da_1step", "da_full"]
TUNING = 2


def study(
    root: Path,
    scores: dict[str, list[float]],
    contrast: list[str],
    *,
    tasks: tuple[str, ...] = ("CartPole-v1",),
    skip: tuple[tuple[str, int], ...] = (),
    by_task: dict[str, dict[str, float]] | None = None,
    **plan: Any,
) -> Study:
    """Runs that score `scores[arm][seed]`, plus `by_task[task][arm]`; the first two seeds are for tuning."""
    seeds = len(next(iter(scores.values())))
    claims = [synth.claim(contrast=contrast, margin=5.0)]
    content = synth.make_plan(list(scores), list(tasks), seeds, claims, tuning_seeds=TUNING, **plan)
    synth.write_plan(root, content)
    for run in content["runs"]:
        if (run["arm"], run["seed"]) not in skip:
            extra = (by_task or {}).get(run["task"], {}).get(run["arm"], 0.0)
            synth.write_run(root, run, [(990, scores[run["arm"]][run["seed"]] + extra)])
    return analyse(root, "multi_step", content["scale"])


# da_1step shines on the tuning seeds alone, da_full on the test seeds alone.
TRAP = {
    "ppo": [50.0, 50.0, 50.0, 51.0, 52.0],
    "da_1step": [90.0, 90.0, 50.0, 50.5, 52.5],
    "da_full": [10.0, 10.0, 99.0, 98.0, 99.0],
}


def test_the_arm_is_chosen_on_the_tuning_seeds_and_judged_on_the_others(tmp_path: Path) -> None:
    (v,) = study(tmp_path, TRAP, ["best(da_1step, da_full)", "ppo"]).verdicts
    assert v.chosen == {"best(da_1step, da_full)": {"CartPole-v1": "da_1step"}}
    assert v.estimate == pytest.approx((0.0 - 0.5 + 0.5) / 3)  # seeds 2, 3, 4 of da_1step - ppo
    assert (v.n, v.verdict, v.runs["planned"]) == (3, "refuted", 6)
    assert "best(da_1step, da_full) is da_1step, chosen on seeds 0 to 1." in v.reason


def test_choosing_on_the_test_seeds_would_have_been_supported(tmp_path: Path) -> None:
    # The planted fault: the same runs, the seeds in another order, are what a choice on test seeds sees.
    swapped = {arm: values[2:] + values[:2] for arm, values in TRAP.items()}
    (v,) = study(tmp_path, swapped, ["best(da_1step, da_full)", "ppo"]).verdicts
    assert v.chosen["best(da_1step, da_full)"] == {"CartPole-v1": "da_full"}
    (honest,) = study(tmp_path / "honest", TRAP, ["da_full", "ppo"]).verdicts
    assert honest.n == 5  # a claim that chooses nothing uses all seeds


def test_tuned_chooses_per_task_and_best_one_arm_for_all(tmp_path: Path) -> None:
    flat = {"ppo": [50.0] * 4, "da_1step": [50.0] * 4}
    # da_1step: +20 of 500 on CartPole, -200 of 500 on Acrobot.
    by_task = {
        "CartPole-v1": {"da_1step": 20.0},
        "Acrobot-v1": {"ppo": -350.0, "da_1step": -500.0},
    }
    (v,) = study(tmp_path, flat, ["tuned()", "best()"], tasks=("CartPole-v1", "Acrobot-v1"), by_task=by_task).verdicts
    assert v.chosen["best()"] == {"CartPole-v1": "ppo", "Acrobot-v1": "ppo"}
    assert v.chosen["tuned()"] == {"CartPole-v1": "da_1step", "Acrobot-v1": "ppo"}
    assert v.estimate == pytest.approx(10.0)  # mean over tasks of 20 and 0


def test_a_lost_tuning_run_that_could_change_the_choice_leaves_it_open(tmp_path: Path) -> None:
    # da_full could have had 120 (the highest seen while tuning) on its lost run: (120 + 95) / 2 > 100.
    scores = {"ppo": [1.0] * 4, "da_1step": [120.0, 80.0, 90.0, 91.0], "da_full": [0.0, 95.0, 9.0, 9.0]}
    open_, kept = (
        study(tmp_path / name, scores, ["best(da_1step, da_full)", "ppo"], skip=skip).verdicts[0]
        for name, skip in (("open", (("da_full", 0),)), ("kept", ()))
    )
    assert (open_.verdict, kept.verdict) == ("inconclusive", "supported")
    assert "Tuning runs that lack a number leave open which arm it is about." in open_.reason


def test_a_lost_tuning_run_of_a_hopeless_arm_changes_nothing(tmp_path: Path) -> None:
    scores = {"ppo": [1.0] * 4, "da_1step": [120.0, 110.0, 90.0, 91.0], "da_full": [0.0, 5.0, 9.0, 9.0]}
    (v,) = study(tmp_path, scores, ["best(da_1step, da_full)", "ppo"], skip=(("da_full", 0),)).verdicts
    assert v.verdict == "supported"
    assert "1 tuning runs lack a number; it stands anyway." in v.reason


def test_without_seeds_beyond_tuning_nothing_is_judged(tmp_path: Path) -> None:
    (v,) = study(tmp_path, {arm: values[:2] for arm, values in TRAP.items()}, ["best()", "ppo"]).verdicts
    assert v.verdict == "not run"
    assert "No seed beyond the 2 tuning seeds" in v.reason


def test_a_choice_without_any_tuning_number_is_not_run(tmp_path: Path) -> None:
    skip = tuple((arm, seed) for arm in ARMS for seed in range(TUNING))
    (v,) = study(tmp_path, TRAP, ["best(da_1step, da_full)", "ppo"], skip=skip).verdicts
    assert v.verdict == "not run"
    assert "no tuning run of CartPole-v1 has a number" in v.reason


def test_an_unknown_arm_in_brackets_is_one_sentence(tmp_path: Path) -> None:
    (v,) = study(tmp_path, TRAP, ["best(da_1step, da_ful)", "ppo"]).verdicts
    assert (v.verdict, v.reason) == ("not run", "Arm da_ful is not planned at scale gpu.")


def test_without_games_the_exact_return_chooses(tmp_path: Path) -> None:
    claims = [synth.claim(contrast=["best()", "ppo"], metric="exact_return", margin=0.1)]
    content = synth.make_plan(["ppo", "da_full"], ["chain"], 5, claims, tuning_seeds=TUNING)
    synth.write_plan(tmp_path, content)
    for run in content["runs"]:
        value, apart = (0.75, 0.001) if run["arm"] == "da_full" else (0.25, 0.002)
        synth.write_run(tmp_path, run, [], metrics={"exact_return": [0.0, value + apart * run["seed"]]})
    (v,) = analyse(tmp_path, "multi_step", "gpu").verdicts
    assert v.chosen["best()"] == {"chain": "da_full"}
    assert v.verdict == "supported"


@pytest.mark.parametrize(
    ("text", "how", "arms"),
    [
        ("a", "", ("a",)),
        ("best()", "best", ("a", "b")),
        ("tuned( b )", "tuned", ("b",)),
        ("best(b,a)", "best", ("b", "a")),
        ("mean(b, a)", "mean", ("b", "a")),
    ],
)
def test_entries_of_a_contrast(text: str, how: str, arms: tuple[str, ...]) -> None:
    entry = parse_entry(text, ["a", "b"])
    assert (entry.how, entry.arms) == (how, arms)


@pytest.mark.parametrize("text", ["worst(a)", "best(a", "best(a) ", "best(best(a))"])
def test_other_brackets_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="allowed: an arm, best"):
        parse_entry(text, ["a", "b"])


@pytest.mark.parametrize("text", ["mean()", "mean(a)", "mean(a, b, a)"])
def test_a_mean_is_of_several_different_arms(text: str) -> None:
    with pytest.raises(UserError, match="is no mean; allowed: mean"):
        parse_entry(text, ["a", "b"])
