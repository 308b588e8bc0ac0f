"""Metrics and the figure of the exact programs about advantages and baselines, by hand."""

import io
import math
from pathlib import Path

import figure_studies as made
import numpy as np
import pandas as pd
import pytest

from analysis import run_metrics as rm
from analysis.figures import sweep

OPTIONS = {
    "x": "trace_decay",
    "x_label": "lambda",
    "columns": (("gradient_bias2", "bias"), ("gradient_error", "error")),
    "stem": "over_lambda",
    "even": True,
    "least": 1e-12,
}


def numbers(**columns: list[float]) -> dict[str, float]:
    return rm.version_metrics({name: np.array(values, dtype=float) for name, values in columns.items()})


def test_metrics_are_those_of_the_papers_lambda_wherever_its_row_stands() -> None:
    found = numbers(
        trace_decay=[1.0, 0.95, 0.0],
        advantage_variance=[1, 100, 3],
        advantage_mse=[1, 1000, 3],
        gradient_bias2=[0, 0.25, 5],
        gradient_error=[10, 1, 0.1],
        gradient_shift=[0, 0.5, 2],
    )
    assert (found["advantage_variance"], found["advantage_mse"], found["gradient_bias2"]) == (2.0, 3.0, 0.25)
    assert (found["gradient_error"], found["gradient_error_best"], found["gradient_shift"]) == (0.0, -1.0, 2.0)


def test_without_a_row_of_that_lambda_there_is_no_number() -> None:
    found = numbers(trace_decay=[0.9, 1.0], gradient_bias2=[1, 1], gradient_error=[1, 10])
    assert math.isnan(found["gradient_bias2"])
    assert found["gradient_error_best"] == 0.0
    assert math.isnan(numbers(step=[1])["gradient_error_best"])
    assert math.isnan(numbers(step=[1])["gradient_shift"])


def test_the_worth_of_a_baseline_is_that_of_the_last_row() -> None:
    found = numbers(heldout_variance=[1, 100], heldout_residual=[1, 0.1])
    assert (found["heldout_variance"], found["heldout_residual"]) == (2.0, pytest.approx(-1.0))


def test_the_sweep_draws_medians_over_seeds_and_leaves_out_rounding(tmp_path: Path) -> None:
    def rows(cell: made.Cell) -> pd.DataFrame:
        bias = 1e-30 if cell[0] == "uae" else 2.0 ** cell[2]
        return pd.DataFrame(
            {
                "step": [1, 2],
                "trace_decay": [0.0, 0.95],
                "gradient_bias2": [bias, 4 * bias],
                "gradient_error": [1.0, 2.0],
            }
        )

    study = made.make_study(tmp_path, ["gae", "uae"], {"chain": "exact"}, 3, rows=rows)
    (drawn,) = sweep.draw(study, OPTIONS)
    data = pd.read_csv(io.StringIO(drawn.paths["csv"].read_text()))
    bias = data[data["column"] == "gradient_bias2"]
    assert bias[["arm", "x", "median", "q25", "q75", "n"]].to_numpy().tolist() == [
        ["gae", 0.0, 2.0, 1.5, 3.0, 3],
        ["gae", 0.95, 8.0, 6.0, 12.0, 3],
    ]
    assert set(data.loc[data["column"] == "gradient_error", "arm"]) == {"gae", "uae"}
    assert "1e-12" in drawn.caption


def test_the_sweep_draws_nothing_without_its_columns(tmp_path: Path) -> None:
    assert sweep.draw(made.make_study(tmp_path, ["gae"], {"chain": "exact"}, 2), OPTIONS) == []
