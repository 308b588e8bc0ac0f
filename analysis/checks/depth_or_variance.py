"""Does the multi-step divergence help by deeper exploration or by less variance?"""

from analysis.checks import Figure, View, across

X = {"x": {"task": True}, "x_label": "length of the sea"}

VIEW = View(
    metrics=(
        "auc",
        "exact_auc",
        "exact_return",
        "score",
        "coverage_mean",
        "coverage",
        "d_variance",
        "pg_variance",
        "entropy",
    ),
    figures=(
        Figure("dose", {"metric": "auc"} | X),
        Figure("dose", {"metric": "coverage_mean"} | X),
        Figure("dose", {"metric": "d_variance"} | X),
        Figure("dose", {"metric": "pg_variance"} | X),
        Figure("bars", {"metric": "pg_variance_ratio", "line": 0.0}),
        Figure("tradeoff", {"cost": "d_variance", "gain": "auc"}),
        *across("auc"),
    ),
    baseline="ppo",
)
