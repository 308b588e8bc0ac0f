"""Does the gain of DPO over PPO hold on other tasks, and under sparse and delayed rewards?"""

from analysis.checks import Figure, View, across

VIEW = View(
    metrics=("eval_score", "eval_auc", "steps_to", "score", "auc", "entropy"),
    figures=(
        Figure("bars", {"metric": "auc"}),
        Figure("bars", {"metric": "eval_auc"}),
        Figure("curves", {}),
        Figure("curves", {"values": "eval_return"}),
        *across("auc", "eval_auc"),
    ),
    baseline="ppo",
)
