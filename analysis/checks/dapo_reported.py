"""Do our runs show what Figures 1, 3 and 4 of the DAPO paper show?"""

from analysis.checks import Figure, View, across

VIEW = View(
    metrics=("score", "auc", "entropy"),
    figures=(Figure("paper", {"numbers": (1, 3, 4)}), Figure("curves", {}), *across("score")),
    baseline="ppo",
)
