"""Is a 0-potential divergence, or any other, more sample-efficient than KL?"""

from analysis.checks import Figure, View, across

VIEW = View(
    metrics=("score", "auc", "exact_auc", "worst_drop", "entropy", "coverage"),
    figures=(
        Figure("bars", {"metric": "auc"}),
        Figure("bars", {"metric": "exact_auc"}),
        Figure("bars", {"metric": "coverage"}),
        Figure("curves", {}),
        *across("auc"),
    ),
    baseline="kl",
)
