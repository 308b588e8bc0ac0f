"""Does leaving out the state ratio hurt under a large state shift, and does the divergence mend it?"""

from analysis.checks import Figure, View

X = {
    "x": {"metric": "shift", "arm": "without"},
    "x_label": "measured shift of the state distribution without the ratio, L1",
}

VIEW = View(
    metrics=("exact_auc", "exact_return", "shift", "first_shift", "bias"),
    figures=(
        Figure("dose", {"metric": "exact_auc"} | X),
        Figure("dose", {"metric": "exact_return"} | X),
        Figure("bars", {"metric": "first_shift"}),
        Figure("trajectory", {"rows": "ascent", "x_label": "updates", "stem": "ascent"}),
    ),
    baseline="with_ratio",
)
