"""Has UAE less bias, variance and squared error than GAE, with values and with other functions as baseline?"""

from analysis.checks import Figure, View

SWEEP = {
    "x": "trace_decay",
    "x_label": "lambda",
    "even": True,
    "least": 1e-12,
    "arms": ("*_value", "*_noise", "*_learned"),
}
ADVANTAGE = (
    ("advantage_bias2", "squared bias between\nactions / E A^2"),
    ("advantage_variance", "variance / E A^2"),
    ("advantage_mse", "squared error / E A^2"),
)
GRADIENT = (
    ("gradient_bias2", "squared bias of the\ngradient / its square"),
    ("gradient_error", "squared error of a batch's\ngradient / its square"),
)

VIEW = View(
    metrics=(
        "advantage_variance",
        "advantage_mse",
        "gradient_bias2",
        "gradient_error",
        "gradient_error_best",
        "gradient_shift",
        "uae_variance_ratio",
    ),
    figures=(
        Figure("sweep", SWEEP | {"columns": ADVANTAGE, "stem": "advantage_over_lambda"}),
        Figure("sweep", SWEEP | {"columns": GRADIENT, "stem": "gradient_over_lambda"}),
        Figure("bars", {"metric": "advantage_variance"}),
        Figure("bars", {"metric": "advantage_mse"}),
        Figure("bars", {"metric": "gradient_bias2"}),
        Figure("bars", {"metric": "gradient_error"}),
        Figure("bars", {"metric": "gradient_error_best"}),
        Figure("bars", {"metric": "gradient_shift"}),
        Figure("bars", {"metric": "uae_variance_ratio", "arms": ("training",), "line": 0.0}),
    ),
    baseline="gae_value",
)
