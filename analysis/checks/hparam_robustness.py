"""How much do 1/eta and c_D matter, and do they need tuning per task?"""

from analysis.checks import Figure, View

GRID = {"x": "algo.inv_eta", "y": "algo.c_d", "x_label": "1/eta", "y_label": "$c_D$"}
X = {"x": {"key": "algo.inv_eta"}, "x_label": "1/eta", "line": "algo.c_d", "line_label": "$c_D$ ="}

VIEW = View(
    metrics=("score", "auc", "worst_drop"),
    figures=(
        Figure("heatmap", {"metric": "auc", "stem": "heatmap_auc"} | GRID),
        Figure("sensitivity", {"metric": "auc"} | GRID),
        Figure("dose", {"metric": "auc"} | X),
        Figure("heatmap", {"metric": "score", "stem": "heatmap_score"} | GRID),
        Figure("aggregates", {"metric": "auc"}),
        Figure("improvement", {"metric": "auc"}),
    ),
    baseline="e0.5_c0.5",
)
