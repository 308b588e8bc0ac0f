"""The exceptions that a user is meant to read."""

import math


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


def require_positive(config: object, prefix: str, *keys: str) -> None:
    """Refuse the first of these keys that is not above 0."""
    for key in keys:
        require(getattr(config, key) > 0, f"{prefix}.{key}", getattr(config, key), "a number above 0")


def require_finite(config: object, prefix: str, *keys: str) -> None:
    """Refuse the first of these keys that is negative or not finite."""
    for key in keys:
        allowed = "a finite number, 0 or more"
        require(0 <= getattr(config, key) < math.inf, f"{prefix}.{key}", getattr(config, key), allowed)
