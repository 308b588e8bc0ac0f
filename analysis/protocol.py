"""Are two numbers measured in the same way? Field-by-field comparison of resolved configurations."""

from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"
# Named by the row of the comparison (task), or without influence on what a run learns.
NOT_PROTOCOL = frozenset({"env.task", "algo.diagnostics_every"})
LEARNING = frozenset({"env.num_envs", "env.reward", "env.reward_delay", "env.reward_quantum"})

Config = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One field that two configurations do not share."""

    field: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{self.field} {self.ours} (theirs {self.theirs})"


def flatten(config: Config, prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> {"algo.clip": 0.2, ...}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def scientific(config: Config) -> dict[str, Any]:
    """The fields of algo and env that decide what a score means."""
    flat = flatten({group: config.get(group) or {} for group in ("algo", "env")})
    return {name: value for name, value in flat.items() if name not in NOT_PROTOCOL}


def _number(value: Any) -> float | None:
    """The value as a number: YAML 1.1 reads 1e-3 as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def same(a: Any, b: Any) -> bool:
    """Equal values; numbers by value, so that 1, 1.0 and "1e0" agree, but True is not 1."""
    x, y = _number(a), _number(b)
    return x == y if x is not None and y is not None else a == b and isinstance(a, bool) == isinstance(b, bool)


def differing(ours: Config, theirs: Config) -> list[Difference]:
    """Scientific fields with unequal values, sorted by name; a field that one side lacks differs.

    Args: ours, theirs: nested configurations with `algo` and `env`.
    """
    a, b = scientific(ours), scientific(theirs)
    return [
        Difference(name, a.get(name, ABSENT), b.get(name, ABSENT))
        for name in sorted(a.keys() | b.keys())
        if name not in a or name not in b or not same(a[name], b[name])
    ]


def env_differing(ours: Config, theirs: Config) -> list[Difference]:
    """Differences in the environment alone: two arms of one contrast may differ in their algorithm only.

    LEARNING fields are how data is gathered and what the learner is paid; scores stay raw. A claim may be about them.
    """
    found = differing(ours, theirs)
    return [item for item in found if item.field.startswith("env.") and item.field not in LEARNING]
