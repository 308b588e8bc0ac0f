"""How much do lambda, the baseline's learning rate and the interpolation weights omega and nu matter?"""

from typing import Any

from analysis.checks import Figure, View

LINE = "DPO, one setting changed"
GRID = {"x": "algo.lam", "y": "algo.omega", "x_label": "lambda", "y_label": "omega"}
CROSSED = GRID | {"arms": ("default", "lam_*", "omega_*", "cross_*")}


def _one(metric: str, name: str, key: str, label: str, linear: bool) -> Figure:
    """The default setting and those that differ from it in one key."""
    arms = ("default", f"{name}_*")
    x = {"x": {"key": f"algo.{key}"}, "x_label": label, "lines": {LINE: arms}, "linear": linear}
    return Figure("dose", {"metric": metric, "arms": arms, "stem": f"dose_{name}_{metric}"} | x)


def _figures(metric: str) -> tuple[Figure, ...]:
    crossed: dict[str, Any] = CROSSED | {"metric": metric}
    return (
        _one(metric, "lam", "lam", "lambda of UAE", linear=True),
        _one(metric, "blr", "baseline_learning_rate", "learning rate of the baseline", linear=False),
        _one(metric, "omega", "omega", "weight of the on-policy loss, omega", linear=True),
        _one(metric, "nu", "nu", "weight of Q - b in the advantage, nu", linear=True),
        Figure("heatmap", crossed | {"stem": f"heatmap_{metric}"}),
        Figure("sensitivity", crossed | {"stem": f"sensitivity_{metric}"}),
    )


def _settings(metric: str) -> tuple[Figure, ...]:
    """Every setting over the default one; too many for profiles."""
    return Figure("aggregates", {"metric": metric}), Figure("improvement", {"metric": metric})


VIEW = View(
    metrics=("eval_score", "eval_auc", "steps_to", "score", "auc", "entropy"),
    figures=(*_figures("auc"), *_figures("eval_auc"), *_settings("auc"), *_settings("eval_auc")),
    baseline="default",
)
