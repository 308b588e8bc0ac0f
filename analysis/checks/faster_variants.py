"""Do the options that make runs faster leave what is learnt as it is?"""

from analysis.checks import Figure, View

VIEW = View(
    metrics=("auc", "score"),
    figures=(
        Figure("curves", {"arms": ("dpo", "dpo_bf16", "dpo_fused")}),
        Figure("curves", {"arms": ("dapo", "dapo_bf16", "dapo_overlap")}),
        Figure("curves", {"arms": ("ppo", "ppo_bf16")}),
        Figure("improvement", {"metric": "auc"}),
    ),
    baseline="dpo",
)
