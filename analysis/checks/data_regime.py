"""Does the gain of PPO+DA need reused data?"""

from analysis.checks import Figure, View, across

X = {"x": {"key": "algo.reuse"}, "x_label": "trained steps per generated step (reuse)"}

VIEW = View(
    metrics=("score", "auc", "worst_drop", "entropy"),
    figures=(
        Figure("dose", {"metric": "auc"} | X),
        Figure("dose", {"metric": "score"} | X),
        Figure("curves", {}),
        *across("auc"),
    ),
    baseline="ppo_reuse7",
)
