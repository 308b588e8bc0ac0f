"""The exceptions that a user is meant to read."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

OUT_OF_MEMORY = re.compile("(not allocate|t allocate|out of|not enough) memory|Storage size calculation overflowed")
# Keys, without their groups, that memory grows with.
SIZES = (
    *("num_envs", "frame_stack", "episodes", "replay_capacity", "batch_size", "rollout_length", "updates_per_version"),
    *("steps", "value_batch", "hidden", "width", "critic_samples", "baseline_samples", "samples", "versions"),
)


class UserError(Exception):
    """Bad input, said in one sentence: which key or file, what was found, what is allowed.

    The command lines print it as ``error: <sentence>`` without a traceback and exit with status 2.
    """


class RunError(UserError):
    """A run that cannot go on, through no fault of its input: exit status 1."""


class DivergedError(RunError):
    """Learning has produced what is no number."""


def require(ok: bool, key: str, found: object, allowed: str) -> None:
    """Refuse a value in one sentence: the key, what was found, what is allowed."""
    if not ok:
        raise UserError(f"{key} is {found!r}; allowed: {allowed}")


def require_representable(config: object) -> None:
    """Refuse the first number of a configuration that is none, or that arithmetic in 64 or 32 bits does not hold."""
    for key, value in _numbers(config, ""):
        if isinstance(value, int):
            require(abs(value) < 2**53, key, value, "whole numbers below 2^53")
        else:
            held = value == 0 or 2**-126 <= abs(value) < 2**128 or math.isinf(value)
            require(held, key, value, "0, or numbers from about 1e-38 to 3e38, which 32 bits hold")


def _numbers(value: object, key: str) -> Iterator[tuple[str, int | float]]:
    """Every number of nested dataclasses, lists and dictionaries, with its dotted key."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name), f"{key}.{field.name}".lstrip("."))
    elif isinstance(value, list):
        for entry in value:
            yield from _numbers(entry, key)
    elif isinstance(value, int | float):
        yield key, value


def require_numbers(config: object, prefix: str, *keys: str) -> None:
    """Refuse the first of these lists that holds lists or groups, which its type lets pass."""
    for key in keys:
        found = getattr(config, key)
        numbers = all(isinstance(entry, int | float) for entry in found)
        require(numbers, f"{prefix}.{key}", found, "a list of numbers")


def require_path(key: str, path: str) -> None:
    """Refuse what no file system takes for a path."""
    names = max(len(os.fsencode(name)) for name in path.split("/"))
    require(path.strip() != "" and names <= 200 and len(os.fsencode(path)) <= 2000, key, path, "the path of a folder")


def out_of_memory(error: BaseException, container: Mapping[str, Any]) -> str | None:
    """The sentence to say when memory was not enough for a run; None of any other error.

    Args: container: the resolved configuration.
    """
    if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
        return None
    sizes = [(key, value) for group in ("algo", "env") for key, value in _sizes(container[group], group)]
    largest = sorted(sizes, key=lambda size: size[1], reverse=True)[:4]
    return f"not enough memory; the largest sizes are {', '.join(f'{key}={value}' for key, value in largest)}"


def _sizes(value: Any, key: str) -> Iterator[tuple[str, int]]:
    """The whole numbers that memory grows with, by dotted key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _sizes(inner, f"{key}.{name}")
    elif key.rpartition(".")[2] in SIZES and value is not None:
        yield key, max(value) if isinstance(value, list) else value


def require_positive(config: object, prefix: str, *keys: str) -> None:
    """Refuse the first of these keys that is not above 0."""
    for key in keys:
        require(getattr(config, key) > 0, f"{prefix}.{key}", getattr(config, key), "a number above 0")


def require_finite(config: object, prefix: str, *keys: str) -> None:
    """Refuse the first of these keys that is negative or not finite."""
    for key in keys:
        allowed = "a finite number, 0 or more"
        require(0 <= getattr(config, key) < math.inf, f"{prefix}.{key}", getattr(config, key), allowed)
