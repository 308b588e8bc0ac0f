"""How does the return depend on the temperature alpha of the off-policy gradient?"""

from analysis.checks import Figure, View, across

LINES = {"DPO": ("a0.*",), "DPO, alpha = 0": ("a0",)}
X = {"x": {"key": "algo.alpha"}, "x_label": "temperature alpha", "lines": LINES}

VIEW = View(
    metrics=("eval_score", "eval_auc", "entropy", "score", "auc"),
    figures=(
        Figure("dose", {"metric": "auc"} | X),
        Figure("dose", {"metric": "eval_auc"} | X),
        Figure("dose", {"metric": "entropy"} | X),
        Figure("curves", {}),
        Figure("curves", {"values": "eval_return"}),
        *across("auc", "eval_auc"),
    ),
    baseline="a0.03",
)
