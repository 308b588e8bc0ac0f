"""Is the squared bias of the policy gradient below its bound, and does the divergence track it through training?"""

from analysis.checks import Figure, View

TRAINED = ("ppo", "da_1step", "da_full")
STALE = ("delta2_stale", "kl_stale", "bound_stale")

VIEW = View(
    metrics=(
        "bound_ratio",
        "bound_ratio_median",
        "bound_ratio_stale",
        "bias_rank",
        "bias",
        "bias_matched",
        "exact_return",
        "fresh_bias_ratio",
        "fresh_bias_rank",
    ),
    figures=(
        Figure("bound", {"arms": ("instances",), "by": "task", "stem": "bound_instances"}),
        Figure("bound", {"arms": TRAINED, "by": "arm", "stem": "bound_training"}),
        Figure("bound", {"arms": TRAINED, "by": "arm", "columns": STALE, "stem": "bound_stale"}),
        Figure("trajectory", {"arms": TRAINED, "rows": "exact", "stem": "bias_in_training"}),
        Figure("bars", {"metric": "bias_matched", "arms": TRAINED}),
        Figure("bars", {"metric": "bias_rank", "arms": TRAINED}),
        Figure("bars", {"metric": "fresh_bias_ratio", "arms": TRAINED, "line": 0.0}),
        Figure("trajectory", {"arms": TRAINED, "rows": "fresh", "stem": "fresh_gradient"}),
    ),
    baseline="ppo",
)
