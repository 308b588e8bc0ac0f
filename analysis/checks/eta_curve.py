"""Is the score over 1/eta highest at a weight in between?"""

from analysis.checks import Figure, View, across

X = {
    "x": {"key": "algo.inv_eta"},
    "x_label": "weight of the divergence, 1/eta",
    "lines": {"PPO+DA": ("e0.01", "e0.1", "e0.5", "e1")},
}

VIEW = View(
    metrics=("score", "auc", "worst_drop", "entropy"),
    figures=(
        Figure("dose", {"metric": "auc"} | X),
        Figure("dose", {"metric": "score"} | X),
        Figure("curves", {}),
        *across("auc"),
    ),
    baseline="ppo",
)
