"""Does the learned baseline lower the variance on held-out states, and does the architecture of its network matter?"""

from analysis.checks import Figure, View

# b = 0 is four decades away and would hide all other differences.
SHOWN = (
    "value",
    "optimal",
    "replay_mean",
    "zero_residual",
    "w256_d2",
    "w64_d2",
    "w16_d2",
    "w256_d1",
    "w256_d3",
    "shared_tuned",
    "shared_frozen",
)

VIEW = View(
    metrics=("heldout_variance", "heldout_residual"),
    figures=(
        Figure("bars", {"metric": "heldout_variance", "arms": SHOWN, "line": 0.0}),
        Figure("bars", {"metric": "heldout_residual", "arms": SHOWN, "line": 0.0}),
    ),
    baseline="value",
)
