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


def measured(config: Config) -> dict[str, Any]:
    """How our run measures, in the words of analysis/reported/protocols.yaml; None where its configuration is silent.

    Args: config: resolved, of a run on Atari or MuJoCo.
    """
    env = config.get("env") or {}
    if env.get("suite") != "atari":
        return {"reward": env.get("reward"), "env_version": str(env.get("task", "")).rpartition("-")[2] or None}
    rules = env.get("protocol") or {}
    return {
        "frame_skip": rules.get("frame_skip"),
        "sticky_actions": rules.get("repeat_action_probability"),
        "life_loss_ends": rules.get("life_loss_terminates"),
        "clipped_rewards": rules.get("sign_rewards"),
        "starts": None if rules.get("noop_max") is None else f"no-ops {rules['noop_max']}",
        "full_action_space": rules.get("full_action_space"),
        "no_reward_limit": rules.get("no_reward_limit"),
        "max_frames": rules.get("max_frames"),
    }


def stated_differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[Difference]:
    """Fields that both sides state and that are unequal, in the order of theirs. Args: None = not stated."""
    both = [name for name in theirs if theirs[name] is not None and ours.get(name) is not None]
    return [Difference(name, ours[name], theirs[name]) for name in both if not same(ours[name], theirs[name])]
