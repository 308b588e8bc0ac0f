"""Does the critic's own uncertainty matter: learned, floored, fixed, masked at the end of episodes, or none (MSE)?"""

from analysis.checks import Figure, View

VIEW = View(
    metrics=("calibration", "critic_loss", "eval_score", "eval_auc", "score", "auc"),
    figures=(
        Figure("bars", {"metric": "calibration"}),
        Figure("bars", {"metric": "critic_loss"}),
        Figure("bars", {"metric": "eval_auc"}),
        Figure(
            "curves",
            {"values": "eval_return", "arms": ("learned", "floor_0.3", "fixed_0.3", "masked", "mse")},
        ),
    ),
    baseline="learned",
)
