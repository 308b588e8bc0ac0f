"""How much do lambda, the baseline's learning rate and the interpolation weights omega and nu matter?"""

from typing import Any

from analysis.checks import Figure, View

LINE = "DPO, one setting changed"
GRID = {"x": "algo.lam", "y": "algo.omega", "x_label": "lambda", "y_label": "omega"}
CROSSED = GRID | {"metric": "eval_auc", "arms": ("default", "lam_*", "omega_*", "cross_*")}


def _one(name: str, key: str, label: str, **options: Any) -> Figure:
    """The default setting and those that differ from it in one key."""
    arms = ("default", f"{name}_*")
    x = {"x": {"key": f"algo.{key}"}, "x_label": label, "lines": {LINE: arms}}
    return Figure("dose", {"metric": "eval_auc", "arms": arms, "stem": f"dose_{name}"} | x | options)


VIEW = View(
    metrics=("eval_score", "eval_auc", "steps_to", "score", "auc", "entropy"),
    figures=(
        _one("lam", "lam", "lambda of UAE", linear=True),
        _one("blr", "baseline_learning_rate", "learning rate of the baseline"),
        _one("omega", "omega", "weight of the on-policy loss, omega", linear=True),
        _one("nu", "nu", "weight of Q - b in the advantage, nu", linear=True),
        Figure("heatmap", CROSSED | {"stem": "heatmap_lam_omega"}),
        Figure("sensitivity", CROSSED),
    ),
    baseline="default",
)
