"""The whole analysis of a check at a scale: plan -> frames -> one number per run -> verdicts."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import archive
from analysis.compare import Comparison, compare_reported
from analysis.load import Store, load_store, run_records
from analysis.measure import Verdict
from analysis.plan import Plan, archive_folder, is_archive, read_plan
from analysis.scores import METRICS, Curves, run_curves, score_runs
from analysis.verdicts import judge
from bench.errors import UserError

REPORTS = Path("reports")  # where an analysis of packed results writes, unless it is told


@dataclass(frozen=True)
class Study:
    """Everything that tables, figures and the report are made from."""

    root: Path  # the store, or the folder of packed results
    plan: Plan
    store: Store
    curves: Curves
    scored: pd.DataFrame  # one row per planned run, a column per metric
    verdicts: list[Verdict]
    comparisons: list[Comparison]
    out: Path | None = None  # where analyses are written; None: `default_out`

    @property
    def folder(self) -> Path:
        """Where the analysis writes."""
        return (self.out or default_out(self.root)) / f"{self.plan.name}-{self.plan.scale}"


def default_out(root: Path) -> Path:
    """Inside a store; beside packed results, which are never changed by reading them."""
    return REPORTS if is_archive(root) else root / "analysis"


def judge_store(root: Path, out: Path | None, plan: Plan, store: Store) -> Study:
    """Frames -> numbers -> verdicts."""
    curves = run_curves(store)
    scored = score_runs(store, curves)
    verdicts = judge(plan, scored, store.configs)
    return Study(root, plan, store, curves, scored, verdicts, compare_reported(store, plan), out)


def analyse(root: Path, check: str, scale: str, out: Path | None = None) -> Study:
    """Read the runs of a check and judge its claims.

    Args: root: a store, or a folder of packed results; check, scale: name a plan in it; out: where to write.
    UserError for what is not there, and for packed numbers that the packed games and metrics do not give.
    """
    plan = read_plan(root, check, scale)
    if not is_archive(root):
        return judge_store(root, out, plan, load_store(root, plan))
    folder = archive_folder(root, check, scale)
    runs = archive.read_runs(folder, plan)
    study = judge_store(root, out, plan, archive.read_store(folder, plan, runs))
    _require_equal(folder, runs, study.scored)
    return study


def _require_equal(folder: Path, written: pd.DataFrame, computed: pd.DataFrame) -> None:
    """Refuse a runs.csv whose numbers are not those of the games and metrics beside it."""
    pairs = zip(run_records(written), run_records(computed), strict=True)
    for ((arm, task, seed), before), (_, now) in pairs:
        for name in METRICS:
            x, y = float(before.get(name, math.nan)), float(now[name])
            if not (math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(x) and math.isnan(y))):
                raise UserError(
                    f"{folder / 'runs.csv'} says {name} {x:.7g} of arm {arm}, task {task}, seed {seed}; its packed "
                    f"games and metrics give {y:.7g}"
                )
