"""Does the learned baseline lower the variance on held-out states, and does the architecture of its network matter?"""

from analysis.checks import Figure, View

SHOWN = ("[!n]*",)  # all but none: b = 0 is four decades away and would hide all other differences

VIEW = View(
    metrics=("heldout_variance", "heldout_residual"),
    figures=(
        Figure(
            "sweep",
            {
                "x": "step",
                "x_label": "updates",
                "columns": (
                    ("heldout_variance", "gradient variance\nover V's, held out"),
                    ("fitted_variance", "gradient variance\nover V's, seen"),
                    ("heldout_residual", "squared error\nover V's, held out"),
                ),
                "arms": ("w*", "shared_*"),
                "stem": "fit_over_updates",
            },
        ),
        Figure("bars", {"metric": "heldout_variance", "arms": SHOWN, "line": 0.0}),
        Figure("bars", {"metric": "heldout_residual", "arms": SHOWN, "line": 0.0}),
    ),
    baseline="value",
)
