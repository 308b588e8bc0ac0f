"""The whole analysis of a check at a scale: plan -> frames -> one number per run -> verdicts."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.compare import Comparison, compare_reported
from analysis.load import Store, load_store
from analysis.plan import Plan, read_plan
from analysis.scores import Curves, run_curves, score_runs
from analysis.verdicts import Verdict, judge


@dataclass(frozen=True)
class Study:
    """Everything that tables, figures and the report are made from."""

    root: Path  # the store
    plan: Plan
    store: Store
    curves: Curves
    scored: pd.DataFrame  # one row per planned run, a column per metric
    verdicts: list[Verdict]
    comparisons: list[Comparison]

    @property
    def folder(self) -> Path:
        """Where the analysis writes."""
        return self.root / "analysis" / f"{self.plan.name}-{self.plan.scale}"


def analyse(root: Path, check: str, scale: str) -> Study:
    """Read a store and judge the claims of a check.

    Args: root: the store; check, scale: name a plan in it (UserError otherwise).
    """
    plan = read_plan(root, check, scale)
    store = load_store(root, plan)
    curves = run_curves(store)
    scored = score_runs(store, curves)
    verdicts = judge(plan, scored, store.configs)
    return Study(root, plan, store, curves, scored, verdicts, compare_reported(store, plan))
