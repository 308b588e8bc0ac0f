"""Has UAE less bias, variance and squared error than GAE, with values and with other functions as baseline?"""

from analysis.checks import Figure, View

VIEW = View(
    metrics=(
        "advantage_variance",
        "advantage_mse",
        "gradient_bias2",
        "gradient_error",
        "gradient_error_best",
        "gradient_shift",
    ),
    figures=(
        Figure("bars", {"metric": "advantage_variance"}),
        Figure("bars", {"metric": "advantage_mse"}),
        Figure("bars", {"metric": "gradient_bias2"}),
        Figure("bars", {"metric": "gradient_error"}),
        Figure("bars", {"metric": "gradient_error_best"}),
    ),
    baseline="gae_value",
)
