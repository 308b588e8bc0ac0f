"""Does the critic's own uncertainty matter: learned, floored, fixed, masked at the end of episodes, or none (MSE)?"""

from analysis.checks import Figure, View, across

SHOWN = ("learned", "floor_0.03", "floor_0.3", "fixed_0.3", "fixed_1", "masked", "mse")
GAUSSIAN = SHOWN[:-1]  # whose critic losses have one unit

VIEW = View(
    metrics=("calibration", "critic_loss", "eval_score", "eval_auc", "score", "auc"),
    figures=(
        Figure("bars", {"metric": "calibration"}),
        Figure("bars", {"metric": "critic_loss", "arms": GAUSSIAN}),
        Figure("bars", {"metric": "auc"}),
        Figure("bars", {"metric": "eval_auc"}),
        Figure("curves", {"arms": SHOWN}),
        Figure("curves", {"arms": SHOWN, "values": "eval_return"}),
        *across("auc", "eval_auc"),
    ),
    baseline="learned",
)
