"""Is the divergence over the future needed, and what does it cost in variance?"""

from analysis.checks import Figure, View, across

VIEW = View(
    metrics=("score", "auc", "d_variance_ratio", "pg_variance_ratio", "entropy", "coverage"),
    figures=(
        Figure("curves", {}),
        Figure("tradeoff", {"cost": "d_variance", "gain": "auc"}),
        Figure("bars", {"metric": "d_variance_ratio", "line": 0.0}),
        Figure("bars", {"metric": "pg_variance_ratio", "line": 0.0}),
        *across("auc"),
    ),
    baseline="ppo",
)
