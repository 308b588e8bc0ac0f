"""Is PPO+DA more stable than PPO when the policy is published rarely?"""

from analysis.checks import Figure, View

X = {"x": {"key": "algo.updates_per_version"}, "x_label": "updates between publications, M"}

VIEW = View(
    metrics=("score", "auc", "worst_drop", "collapsed", "entropy"),
    figures=(
        Figure("dose", {"metric": "worst_drop"} | X),
        Figure("dose", {"metric": "collapsed"} | X),
        Figure("dose", {"metric": "auc"} | X),
        Figure(
            "curves",
            {"arms": tuple(f"{family}_m{m}" for family in ("ppo", "da_1step", "da_full") for m in (10, 100))},
        ),
        Figure("improvement", {"metric": "auc"}),
    ),
    baseline="ppo_m1",
)
