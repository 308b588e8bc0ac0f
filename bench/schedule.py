"""How much of what happens when: arithmetic that the schemas check and the algorithms follow."""


def collect_per_env(
    *, updates_per_version: int, batch_size: int, rollout_length: int, reuse: float, num_envs: int
) -> int:
    """Steps that each actor generates per policy version: whole roll-outs, rounded down.

    The paper's setting (16 actors, 100 updates of 1024 trained steps) gives 896, an actual reuse of 7.14; the
    actual one is in metrics.csv.
    """
    exact = updates_per_version * batch_size / (reuse * num_envs)
    return int(exact // rollout_length) * rollout_length
