"""Does the number of policy samples behind the baseline matter?"""

from analysis.checks import Figure, View, across

X = {"x": {"key": "algo.baseline_samples"}, "x_label": "policy samples per baseline", "lines": {"DPO": ("n*",)}}

VIEW = View(
    metrics=("eval_score", "eval_auc", "score", "auc", "entropy"),
    figures=(
        Figure("dose", {"metric": "auc"} | X),
        Figure("dose", {"metric": "eval_auc"} | X),
        Figure("curves", {}),
        Figure("curves", {"values": "eval_return"}),
        *across("auc", "eval_auc"),
    ),
    baseline="n30",
)
