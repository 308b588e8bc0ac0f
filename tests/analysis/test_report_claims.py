"""Claims on the report page: the formula, the test, the strip, and the figures that show what a claim is about."""

import dataclasses

import pandas as pd
import pytest

from analysis import checks, report_claims
from analysis.measure import Verdict
from analysis.report_claims import Behind
from analysis.scores import METRICS


def _verdict(direction: str, margin: float, estimate: float | None, interval: list[float] | None) -> Verdict:
    return Verdict(
        id="x", statement="", source="", contrast=["a", "b"], metric="auc", unit="", direction=direction, margin=margin,
        alpha=0.05, min_budget=0, budget_fraction=None, estimate=estimate, interval=interval,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "inside", "outside"),
    [("greater", 0.2, 0.0), ("less", -0.2, 0.0), ("equal", 0.05, 0.2), ("every_below", 0.0, 0.2)],
)
def test_the_strip_puts_a_value_into_the_shade_where_the_claim_holds(
    direction: str, inside: float, outside: float
) -> None:
    for value, holds in ((inside, True), (outside, False)):
        drawn = report_claims.strip(_verdict(direction, 0.1, value, [value - 0.01, value + 0.01]))
        assert drawn is not None
        low, high = drawn.zone
        assert (low < drawn.estimate < high) == holds
        assert drawn.interval is not None
        assert drawn.interval[0] < drawn.estimate < drawn.interval[1]


def test_without_an_estimate_or_with_an_endless_interval_there_is_no_strip() -> None:
    assert report_claims.strip(_verdict("greater", 0.1, None, None)) is None
    assert report_claims.strip(_verdict("greater", 0.1, 0.2, [0.1, float("inf")])) is None


def _behind(*stems: str, arms: tuple[str, ...] = ("a", "b"), tasks: tuple[str, ...] = ("Qbert",)) -> list[Behind]:
    return [Behind(stem, list(arms), list(tasks)) for stem in stems]


def test_a_claim_is_led_to_figures_of_its_metric_then_to_curves_of_its_tasks() -> None:
    figures = _behind("Qbert", "Qbert_evaluation", "Enduro", "bars_auc", "bars_eval_auc")
    assert report_claims.figures_of("auc", ["a"], ["Qbert"], figures) == ["bars_auc", "Qbert"]
    assert report_claims.figures_of("eval_auc", ["a"], ["Qbert"], figures) == ["bars_eval_auc", "Qbert_evaluation"]


def test_a_claim_whose_metric_no_figure_shows_is_led_to_none() -> None:
    assert report_claims.figures_of("entropy", ["a"], ["Qbert"], _behind("Qbert", "bars_auc", "tradeoff")) == []


def test_a_claim_is_led_only_to_figures_of_its_arms_and_tasks() -> None:
    bound = [*_behind("bound_instances", arms=("instances",)), *_behind("bound_training")]
    assert report_claims.figures_of("bound_ratio", ["instances"], ["Qbert"], bound) == ["bound_instances"]
    assert report_claims.figures_of("bound_ratio", ["a"], ["Qbert"], bound) == ["bound_training"]
    assert report_claims.figures_of("bound_ratio", ["a"], ["Enduro"], bound) == []
    assert report_claims.figures_of("bound_ratio_stale", ["a"], ["Qbert"], bound) == []


def _drawn_as(figure: checks.Figure) -> tuple[str, set[str]]:
    """The stem of a figure that its options or its module give it, and the metrics that its options name."""
    options, kind = figure.options, figure.name
    own = "sensitivity" if kind == "sensitivity" else f"{kind}_{options['metric']}" if "metric" in options else kind
    swept = {column for column, _ in options["columns"]} & set(METRICS) if kind == "sweep" else set()
    return options.get("stem", own), swept | {options[key] for key in ("metric", "cost", "gain") if key in options}


VIEWED = [_drawn_as(figure) for check in checks.names() for figure in checks.view(check).figures]


def test_what_the_views_draw_is_known_by_its_stem() -> None:
    assert [(stem, metrics) for stem, metrics in VIEWED if metrics - set(report_claims.metrics_of(stem))] == []


def test_the_table_of_shown_metrics_names_figures_and_metrics_that_there_are() -> None:
    stems = {stem for stem, _ in VIEWED} | {"dapo_figure1", "dapo_figure[34]"}
    assert set(report_claims.SHOWN) <= stems
    assert {name for metrics in report_claims.SHOWN.values() for name in metrics} <= set(METRICS)


@pytest.mark.parametrize(
    ("contrast", "direction", "margin", "said"),
    [
        (["a", "b"], "greater", 0.05, "a − b in area under the learning curve > 0.05 (raw score)"),
        (["a"], "less", 0.02, "a in area under the learning curve < −0.02 (raw score)"),
        (
            ["a", "b", "c", "d"],
            "equal",
            0.1,
            "(a − b) − (c − d) in area under the learning curve within ±0.1 (raw score)",
        ),
        (["a"], "every_below", 0.0, "a in area under the learning curve in every run < 0 (raw score)"),
    ],
)
def test_the_claim_is_a_formula_of_its_arms(contrast: list[str], direction: str, margin: float, said: str) -> None:
    verdict = dataclasses.replace(_verdict(direction, margin, None, None), contrast=contrast, unit="raw score")
    assert report_claims.asked_text(verdict) == said


@pytest.mark.parametrize(
    ("direction", "p", "tested"),
    [("greater", 0.03, True), ("greater", 1.0, False), ("greater", None, False), ("every_below", 0.0, False)],
)
def test_a_p_is_shown_only_of_a_test(direction: str, p: float | None, tested: bool) -> None:
    assert report_claims.is_tested(dataclasses.replace(_verdict(direction, 0.1, 0.2, None), p=p)) == tested


def test_cost_is_threads_times_time_and_steps_by_what_they_count() -> None:
    runs = pd.DataFrame({"wall_s": [1800.0, None], "step": [100, None], "clock": ["agent steps", "updates"]})
    assert report_claims.cost_text(runs, 2) == "1 CPU hours, 100 agent steps"


def test_anchors_of_different_texts_differ() -> None:
    assert report_claims.anchor("runs", "a b", "c/d") == "runs/a~20b/c~2fd"
    assert report_claims.anchor("a/b") != report_claims.anchor("a", "b")
