"""What metrics.csv and episodes.csv hold: every column, its unit and its meaning, once."""

# One row per policy version. A blank cell was not measured in that row.
METRICS = {
    "step": "agent steps generated so far, all actors together",
    "wall_s": "seconds since the run began",
    "version": "policies published so far",
    "updates": "gradient steps so far",
    "trained": "trained steps so far, a step counted each time it is trained on",
    "reuse": "trained steps per generated step",
    "lr": "learning rate after the version's updates",
    "loss_policy": "clipped surrogate, mean over the version's updates (as all below)",
    "loss_value": "value loss before its coefficient",
    "entropy": "entropy of the policy on replayed states, nats",
    "kl": "mean of log pi_t - log pi on replayed steps, nats",
    "ratio": "mean importance ratio",
    "clipped": "share of steps whose importance ratio lies outside the clip range",
    "advantage_rms": "root mean square of the raw advantage",
    "d_mean": "mean of the divergence estimate D, nats",
    "d_var": "variance of D over the steps of a batch, nats^2",
    "grad_norm": "global gradient norm before clipping",
    "staleness": "mean age of the trained steps' policy, updates",
    "pg_var": "variance of a roll-out's policy gradient, summed over parameters; a roll-out's loss is its own mean",
    "pg_var_1step": "the same with the 1-step divergence in its place, same batch and parameters",
    "pg_var_full": "the same with the full divergence in its place, same batch and parameters",
    "d_var_1step": "variance of the 1-step divergence over the steps of that batch, nats^2",
    "d_var_full": "variance of the full divergence over the steps of that batch, nats^2",
    "coverage": "distinct observations seen so far, on a coarse grid (bench.coverage)",
}

# One row per finished full game.
EPISODES = {
    "step": "agent steps the run had generated when the game ended, all actors together",
    "return": "raw, unclipped score of the full game",
    "length": "agent steps of the game",
    "env": "environment that played it",
    "truncated": "1 where a limit cut the game, 0 where it ended by its own rules",
    "lives": "lives left when the game ended; more than 0 in a cut game that was not over",
}
