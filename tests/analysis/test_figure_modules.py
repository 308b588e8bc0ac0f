"""Figures on studies whose numbers are known: what is drawn is in the CSV, what is missing is shown or named."""

import math
from pathlib import Path
from typing import Any

import figure_studies as made
import numpy as np
import pandas as pd
import pytest

from analysis import checks, figures
from analysis.figures import (
    Drawn,
    aggregates,
    bars,
    bound,
    dose,
    frames,
    heatmap,
    improvement,
    profile,
    style,
    tradeoff,
    trajectory,
)
from analysis.figures import sensitivity as tuning
from analysis.run_metrics import ROUNDING, bias_by_regret, log_ratio
from analysis.study import Study

TASKS = {"CartPole-v1": "classic", "Acrobot-v1": "classic"}
M = {"x": {"key": "algo.updates_per_version"}, "x_label": "M"}


def delayed(root: Path, **changes: Any) -> Study:
    """Two families at M = 1, 10, 100; worst_drop = M / 1000 + seed / 100, for PPO 0.1 more."""

    def split(arm: str) -> tuple[str, int]:
        family, _, m = arm.rpartition("_m")
        return family, int(m)

    def numbers(cell: made.Cell) -> dict[str, float]:
        family, m = split(cell[0])
        return {
            "worst_drop": m / 1000 + cell[2] / 100 + 0.1 * (family == "ppo"),
            "collapsed": float(cell[2] == 0),
            "auc": 250.0,
        }

    arms = [f"{family}_m{m}" for family in ("ppo", "da_full") for m in (1, 10, 100)]
    return made.make_study(
        root,
        arms,
        TASKS,
        4,
        numbers,
        algo=lambda arm: {"updates_per_version": split(arm)[1]},
        name="delayed_policy",
        **changes,
    )


def gridded(root: Path, **changes: Any) -> Study:
    """A 3 x 2 grid; the score is 1 at 1/eta = 0.1, 0.5 elsewhere, plus seed / 100."""
    arms = {f"e{e:g}_c{c:g}": f"{e:g}, {c:g}" for e in (0.01, 0.1, 1) for c in (0.1, 0.5)}
    places = {arm: tuple(float(part) for part in label.split(", ")) for arm, label in arms.items()}
    return made.make_study(
        root,
        arms,
        TASKS,
        6,
        lambda cell: {"score": (1.0 if places[cell[0]][0] == 0.1 else 0.5) + cell[2] / 100},
        algo=lambda arm: {"inv_eta": places[arm][0], "c_d": places[arm][1]},
        tuning_seeds=2,
        **changes,
    )


GRID = {
    "metric": "score",
    "normalise": "none",
    "x": "algo.inv_eta",
    "y": "algo.c_d",
    "x_label": "1/eta",
    "y_label": "$c_D$",
}


def traced(root: Path, **changes: Any) -> Study:
    """Ten versions of 100 steps: delta2 = 10^-(version + seed), half of it for da_full; bound 10 times delta2."""

    def rows(cell: made.Cell) -> pd.DataFrame:
        version = np.arange(1, 11)
        delta2 = 10.0 ** -(version + cell[2]) * (0.5 if cell[0] == "da_full" else 1.0)
        table = {"step": 100 * version, "delta2": delta2, "kl_exact": delta2, "bound": 10 * delta2}
        return pd.DataFrame(table | {"exact_return": (version - 1) / 10})

    return made.make_study(root, ["ppo", "da_full"], {"garnet": "tabular"}, 3, rows=rows, **changes)


def read(drawn: list[Drawn]) -> pd.DataFrame:
    """The CSV of the only figure."""
    (figure,) = drawn
    assert {"png", "svg", "pdf", "csv", "md", "tex"} == set(figure.paths)
    return pd.read_csv(figure.paths["csv"])


EVERY = [
    (dose.draw, delayed, {"metric": "worst_drop"} | M),
    (dose.draw, delayed, {"metric": "collapsed"} | M),
    (bars.draw, delayed, {"metric": "worst_drop"}),
    (heatmap.draw, gridded, GRID),
    (tuning.draw, gridded, GRID),
    (bound.draw, traced, {}),
    (trajectory.draw, traced, {"rows": "exact"}),
    (tradeoff.draw, delayed, {"cost": "worst_drop", "gain": "auc"}),
    (aggregates.draw, delayed, {"metric": "worst_drop"}),
    (profile.draw, delayed, {"metric": "worst_drop"}),
    (improvement.draw, delayed, {"metric": "worst_drop"}),
]


@pytest.mark.parametrize(("draw", "build", "options"), EVERY)
def test_equal_data_give_equal_bytes(draw: Any, build: Any, options: dict[str, Any], tmp_path: Path) -> None:
    first, second = (draw(build(tmp_path / name), options)[0] for name in ("a", "b"))
    assert first.caption == second.caption
    for suffix, path in first.paths.items():
        assert path.read_bytes() == second.paths[suffix].read_bytes(), suffix


@pytest.mark.parametrize(("draw", "build", "options"), EVERY)
def test_n_and_what_the_interval_is_are_in_the_caption(
    draw: Any, build: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    (figure,) = draw(build(tmp_path), options)
    assert "n = " in figure.caption
    assert any(word in figure.caption for word in ("interval", "onfidence band"))
    assert "scale cpu" in figure.caption


@pytest.mark.parametrize(("draw", "build", "options"), EVERY)
def test_a_lost_run_is_named_in_the_caption(draw: Any, build: Any, options: dict[str, Any], tmp_path: Path) -> None:
    study = build(tmp_path)
    key = tuple(study.scored.iloc[-1][["arm", "task", "seed"]])
    (figure,) = draw(build(tmp_path, missing=(key,)), options)
    assert "1 missing" in figure.caption or ("1 planned runs are not done" in figure.caption)


def test_a_dose_is_the_configured_number_and_its_point_the_mean_of_the_runs(tmp_path: Path) -> None:
    data = read(dose.draw(delayed(tmp_path), {"metric": "worst_drop"} | M))
    point = data[(data["kind"] == "mean") & (data["arm"] == "ppo_m10") & (data["panel"] == "CartPole-v1")].iloc[0]
    assert (point["x"], point["n"], point["line"]) == (10, 4, "PPO")
    assert point["value"] == pytest.approx(0.01 + 0.015 + 0.1)
    # Student-t of 0, 0.01, 0.02, 0.03: 3.182 sd / 2
    assert point["high"] - point["value"] == pytest.approx(3.182446 * np.std([0, 0.01, 0.02, 0.03], ddof=1) / 2)


def test_a_share_has_wilsons_interval_and_no_dots(tmp_path: Path) -> None:
    data = read(dose.draw(delayed(tmp_path), {"metric": "collapsed"} | M))
    assert set(data["kind"]) == {"mean"}
    assert data["value"].unique() == pytest.approx([0.25])
    assert (data["low"].iloc[0], data["high"].iloc[0]) == pytest.approx((0.0456, 0.6994), abs=1e-4)


@pytest.mark.parametrize(
    ("hits", "n", "ends"), [(0, 20, (0.0, 0.1611)), (20, 20, (0.8389, 1.0)), (1, 2, (0.0945, 0.9055))]
)
def test_wilsons_interval_by_hand(hits: int, n: int, ends: tuple[float, float]) -> None:
    assert frames.wilson(hits, n) == pytest.approx(ends, abs=1e-4)


def test_an_arm_without_any_run_stands_where_its_other_tasks_put_it(tmp_path: Path) -> None:
    lost = tuple(("da_full_m100", "Acrobot-v1", seed) for seed in range(4))
    data = read(dose.draw(delayed(tmp_path, missing=lost), {"metric": "worst_drop"} | M))
    gone = data[data["kind"] == "none"]
    assert list(zip(gone["arm"], gone["panel"], gone["x"], strict=True)) == [("da_full_m100", "Acrobot-v1", 100)]


def test_ppo_is_the_reference_of_a_curve_over_the_weight(tmp_path: Path) -> None:
    weights = {"ppo": 0.0, "e0.1": 0.1, "e1": 1.0}
    study = made.make_study(
        tmp_path,
        list(weights),
        TASKS,
        3,
        lambda cell: {"auc": weights[cell[0]]},
        algo=lambda arm: {"inv_eta": weights[arm]},
    )
    options = {"metric": "auc", "normalise": "none", "x": {"key": "algo.inv_eta"}, "x_label": "1/eta"}
    (figure,) = dose.draw(study, options | {"lines": {"PPO+DA": ("e0.1", "e1")}})
    data = pd.read_csv(figure.paths["csv"])
    assert set(data["line"]) == {"ppo", "PPO+DA"}
    assert (data.loc[data["line"] == "ppo", "x"] == 0).all()
    assert "Dashed line and band" in figure.caption


def test_a_measured_dose_is_the_mean_of_the_named_arm(tmp_path: Path) -> None:
    study = made.make_study(
        tmp_path, ["with_ratio", "without"], {"garnet": "exact", "chain_10": "exact"}, 2,
        lambda cell: {"shift": 0.5 + cell[2] if cell[0] == "without" else 9.0, "exact_auc": 0.25},
    )  # fmt: skip
    data = read(
        dose.draw(study, {"metric": "exact_auc", "x": {"metric": "shift", "arm": "without"}, "x_label": "shift"})
    )
    assert set(data["x"]) == {1.0}


def test_the_length_of_a_task_is_in_its_name_and_a_task_without_one_is_named(tmp_path: Path) -> None:
    tasks = {"deep_sea_5": "tabular", "deep_sea_10": "tabular", "river_swim": "tabular"}
    study = made.make_study(tmp_path, ["ppo"], tasks, 2, lambda _: {"coverage": 3.0})
    (figure,) = dose.draw(study, {"metric": "coverage", "x": {"task": True}, "x_label": "length"})
    assert set(pd.read_csv(figure.paths["csv"])["x"]) == {5, 10}
    assert "river_swim" in figure.caption


def test_bars_show_every_run_beside_the_mean(tmp_path: Path) -> None:
    study = delayed(tmp_path)
    data = read(bars.draw(study, {"metric": "worst_drop"}))
    runs = data[data["kind"] == "run"].merge(study.scored, on=["task", "arm", "seed"])
    assert len(runs) == len(study.scored) == 48
    assert runs["value"].to_numpy() == pytest.approx(runs["worst_drop"].to_numpy())
    assert (data.loc[data["kind"] == "mean", "n"] == 4).all()


def test_a_task_that_cannot_have_the_number_is_named_not_drawn(tmp_path: Path) -> None:
    tasks = {"CartPole-v1": "classic", "garnet": "tabular"}
    study = made.make_study(tmp_path, ["ppo"], tasks, 2, lambda cell: {"exact_auc": 0.5} if cell[1] == "garnet" else {})
    (figure,) = bars.draw(study, {"metric": "exact_auc"})
    assert set(pd.read_csv(figure.paths["csv"])["task"]) == {"garnet"}
    assert "Not measured on CartPole-v1" in figure.caption


def test_one_run_has_no_interval(tmp_path: Path) -> None:
    study = made.make_study(tmp_path, ["ppo"], {"CartPole-v1": "classic"}, 1, lambda _: {"auc": 100.0})
    data = read(bars.draw(study, {"metric": "auc"}))
    mean = data[data["kind"] == "mean"].iloc[0]
    assert (mean["value"], mean["n"]) == (0.2, 1)  # of 0 .. 500
    assert math.isnan(mean["low"])


def test_the_bound_draws_every_row_and_counts_what_it_cannot_draw(tmp_path: Path) -> None:
    study = traced(tmp_path)
    study.store.metrics.loc[0, "delta2"] = 0.0
    (figure,) = bound.draw(study, {"by": "arm"})
    data = pd.read_csv(figure.paths["csv"])
    assert len(data) == 59
    assert data["ratio"].to_numpy() == pytest.approx(0.1)
    assert "60 rows of n = 6 runs, 0 above the bound" in figure.caption
    assert "1 rows with no bias" in figure.caption


def test_a_violation_is_counted_and_never_thinned_out(tmp_path: Path) -> None:
    study = traced(tmp_path)
    study.store.metrics.loc[7, "bound"] = study.store.metrics.loc[7, "delta2"] / 2
    rows, counts = bound.bound_data(study, {})
    assert counts["violations"] == 1
    many = pd.concat([rows.assign(ratio=rows["ratio"].where(rows["ratio"] > 1, 0.1))] * 100, ignore_index=True)
    thin = bound.thinned(many, points=50)
    assert (thin["ratio"] > 1).sum() == 100
    assert len(thin) < 300


def test_a_bias_under_a_bound_of_zero_is_counted_as_the_metric_counts_it(tmp_path: Path) -> None:
    study = traced(tmp_path)
    metrics = study.store.metrics
    metrics.loc[[3, 4], ["bound", "kl_exact"]] = 0.0
    metrics.loc[4, "delta2"] = ROUNDING / 2  # of a bias that is 0
    rows = {name: metrics[name].to_numpy(float) for name in ("delta2", "bound")}
    assert log_ratio("delta2", "bound", np.max)(rows) == math.inf
    (figure,) = bound.draw(study, {})
    assert "1 above the bound, 1 of them under a bound of 0 and not drawn" in figure.caption
    assert "Largest ratio of all rows inf, median 0.1" in figure.caption
    assert len(pd.read_csv(figure.paths["csv"])) == 58
    _, counts = bound.bound_data(study, {})
    assert (counts["violations"], counts["hidden"], counts["zero"]) == (1, 1, 2)


def test_thinning_takes_from_every_series_and_is_the_same_each_time(tmp_path: Path) -> None:
    rows, _ = bound.bound_data(traced(tmp_path), {"by": "arm"})
    many = pd.concat([rows.assign(ratio=np.linspace(0, 0.5, len(rows)))] * 20, ignore_index=True)
    thin = bound.thinned(many, points=100)
    assert thin["series"].value_counts().min() >= 40
    pd.testing.assert_frame_equal(thin, bound.thinned(many, points=100))


def test_a_trajectory_is_the_median_over_seeds_of_the_geometric_mean(tmp_path: Path) -> None:
    data = read(trajectory.draw(traced(tmp_path), {"rows": "exact"}))
    line = data[(data["arm"] == "ppo") & (data["row"] == 0)].sort_values("x")
    assert line["x"].to_numpy() == pytest.approx(100 * np.arange(10) + 50)
    # seeds 0, 1, 2 have delta2 10^-v, 10^-(v+1), 10^-(v+2)
    assert line["median"].to_numpy() == pytest.approx(10.0 ** -(np.arange(1, 11) + 1))
    assert (line["n"] == 3).all()


def test_the_bias_against_the_regret_has_the_bins_and_means_of_the_metric(tmp_path: Path) -> None:
    study = traced(tmp_path)
    data = read(trajectory.draw(study, {"rows": "exact"}))
    line = data[(data["arm"] == "da_full") & (data["against"] == "regret")]
    # Regrets 1, 0.9, ... 0.1 towards the optimum, in tenths of a decade: 0.9 and 0.8 share one, and 0.5 and 0.4.
    bins = np.array([0, -1, -2, -3, -4, -6, -7, -10])
    assert line["x"].to_numpy() == pytest.approx(10 ** ((bins + 0.5) / 10))
    version = np.array([1, 2.5, 4, 5, 6.5, 8, 9, 10])
    assert line["median"].to_numpy() == pytest.approx(0.5 * 10.0 ** -(version + 1))
    rows = study.store.metrics[(study.store.metrics["arm"] == "da_full") & (study.store.metrics["seed"] == 1)]
    metric = bias_by_regret({name: rows[name].to_numpy(float) for name in ("exact_return", "delta2")})
    assert dict(zip(bins, np.log10(line["median"]), strict=True)) == pytest.approx(metric)


def test_the_heatmap_shows_the_test_runs_and_frames_the_stable_cells(tmp_path: Path) -> None:
    (figure,) = heatmap.draw(gridded(tmp_path), GRID)
    data = pd.read_csv(figure.paths["csv"])
    cell = data[(data["task"] == heatmap.MEAN) & (data["arm"] == "e0.1_c0.5")].iloc[0]
    assert (cell["n"], cell["mean"]) == (4, pytest.approx(1.035))  # seeds 2 to 5
    whole = data[data["task"] == heatmap.MEAN]
    assert set(whole.loc[whole["stable"].astype(bool), "x"]) == {0.1}
    assert "Stable region: 2 of 6 cells" in figure.caption
    assert "first 2 seeds" in figure.caption


def test_fixed_and_tuned_agree_where_one_setting_is_best_everywhere(tmp_path: Path) -> None:
    data = read(tuning.draw(gridded(tmp_path), GRID))
    scores = data.pivot(index="task", columns="kind", values="value")
    assert (scores.loc[list(TASKS), "fixed"] == scores.loc[list(TASKS), "tuned"]).all()
    assert scores.loc[tuning.MEAN, "tuned - fixed"] == 0


def test_a_variant_keeps_the_colour_and_mark_of_its_family() -> None:
    arms = ["ppo_m1", "ppo_m10", "da_full_m1", "da_1step_m1", "da_full_cd1", "tv"]
    assert [style.family(arm) for arm in arms] == ["ppo", "ppo", "da_full", "da_1step", "da_full_cd1", None]
    assert style.look("ppo_m1", arms) == style.LOOKS["ppo"]
    assert style.look("ppo_m10", arms).marker == style.LOOKS["ppo"].marker
    assert style.look("ppo_m10", arms) != style.look("ppo_m1", arms)
    assert style.look("tv", arms).color not in [look.color for look in style.LOOKS.values()]


@pytest.mark.parametrize("check", checks.names())
def test_a_check_asks_its_figures_for_what_they_understand(
    check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure of the view draws under a name of its own, on arms of which the check's are but some."""
    monkeypatch.setattr(figures.provenance, "record", lambda drawn, studies, options: drawn)
    monkeypatch.setattr(style, "save", lambda figure, folder, stem, caption, data, table: Drawn(stem, caption, {}))
    arms = {
        "ppo": 0.0,
        "da_full": 0.5,
        "without": 0.1,
        "ppo_m1": 1.0,
        "default": 0.2,
        "lam_0": 0.3,
        "a0": 0.0,
        "n1": 0.4,
    }
    keys = ("inv_eta", "lam", "omega", "nu", "alpha", "baseline_learning_rate", "baseline_samples")
    study = made.make_study(
        tmp_path,
        list(arms),
        {"deep_sea_8": "tabular", "CartPole-v1": "classic"},
        2,
        lambda cell: dict.fromkeys(checks.view(check).metrics, 0.5 + cell[2]),
        algo=lambda arm: dict.fromkeys(keys, arms[arm]) | {"c_d": 0.5, "reuse": 7, "updates_per_version": 4},
        rows=lambda cell: pd.DataFrame({"step": [500, 1000], "eval_return": [1.0, 2.0 + cell[2]]}),
        name=check,
    )
    stems = [figure.stem for figure in figures.draw_all(study)]
    assert stems
    assert len(stems) == len(set(stems))
