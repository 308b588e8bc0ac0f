"""Does DPO need fewer samples than the on-policy algorithms that it builds on?"""

from analysis.checks import Figure, View, across

VIEW = View(
    metrics=("eval_score", "eval_auc", "steps_to", "score", "auc", "entropy"),
    figures=(
        Figure("curves", {"values": "eval_return"}),
        Figure("bars", {"metric": "eval_auc"}),
        Figure("bars", {"metric": "steps_to"}),
        Figure("bars", {"metric": "eval_score"}),
        Figure("curves", {}),
        Figure("bars", {"metric": "auc"}),
        *across("eval_auc", "auc"),
    ),
    baseline="ppo",
    published=("PPO", "A2C", "TRPO", "SAC", "TD3"),
)
