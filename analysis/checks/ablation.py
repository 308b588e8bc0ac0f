"""What do UAE, the learned residual baseline and the KL off-policy gradient each add, and together?"""

from analysis.checks import Figure, View, across

# Digits of an arm: UAE (else GAE), learned residual (else g = 0), KL off-policy gradient (else omega = 1).
FACTORS = {"prefix": "f", "factors": ("UAE", "residual", "off-policy KL")}
SHOWN = ("f111", "f000", "no_clamp", "mse_critic", "squashed_gaussian")

VIEW = View(
    metrics=("eval_score", "eval_auc", "steps_to", "score", "auc", "entropy"),
    figures=(
        Figure("factorial", {"metric": "auc"} | FACTORS),
        Figure("factorial", {"metric": "eval_auc"} | FACTORS),
        Figure("bars", {"metric": "auc"}),
        Figure("bars", {"metric": "eval_auc"}),
        Figure("curves", {"arms": SHOWN}),
        Figure("curves", {"arms": SHOWN, "values": "eval_return"}),
        *across("auc", "eval_auc"),
    ),
    baseline="f111",
)
