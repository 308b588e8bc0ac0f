"""Is the divergence to the behaviour policy better than an entropy term of any weight?"""

from analysis.checks import Figure, View, across

X = {
    "x": {"key": "algo.inv_eta"},
    "x_label": "weight 1/eta",
    "lines": {"PPO+Entropy": ("ent0.001", "ent0.01", "ent0.1", "ent0.5")},
}

VIEW = View(
    metrics=("score", "auc", "entropy", "coverage"),
    figures=(
        Figure("dose", {"metric": "auc"} | X),
        Figure("dose", {"metric": "entropy"} | X),
        Figure("curves", {}),
        *across("auc"),
    ),
    baseline="ppo",
)
