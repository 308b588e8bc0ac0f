"""The command line of the analysis as data: which words a command takes, and what was said."""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError

STORE, RESULTS = Path("store"), Path("results")  # where commands look that name neither


@dataclass(frozen=True)
class Command:
    """One command: `module` has `run(call) -> exit status` and is imported only when it is asked for."""

    does: str
    module: str
    keys: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # names of the plain words that it takes, in order; all are needed


@dataclass(frozen=True)
class Call:
    """What was asked for: keys with their values, plain words, flags."""

    command: str
    values: dict[str, str]
    words: tuple[str, ...]
    flags: frozenset[str]

    def get(self, key: str) -> str | None:
        """The value of a key, or None."""
        return self.values.get(key)

    def path(self, key: str) -> Path | None:
        """The value of a key as a path, or None."""
        return Path(self.values[key]) if key in self.values else None

    def whole(self, key: str, default: int, least: int = 1) -> int:
        """The value of a key as a whole number (UserError for anything else)."""
        text = self.values.get(key, str(default)).replace("_", "")
        if not text.isdecimal() or int(text) < least:
            raise refusal(f"{key} is {self.values[key]!r}; allowed: a whole number from {least} on")
        return int(text)

    @property
    def root(self) -> Path | None:
        """Where the runs are read from: a store, or packed results; None where neither was named."""
        return self.path("store") or self.path("results")

    def root_or_default(self) -> Path:
        """The root that was named, else ./store if it holds plans, else ./results (UserError: there is none)."""
        if self.get("store") and self.get("results"):
            raise refusal(f"{self.command} takes store or results, not both")
        if self.root is not None:
            return self.root
        if found := default_root():
            return found
        raise refusal(f"{self.command}: there is neither ./{STORE} nor ./{RESULTS} with a plan; name store or results")


def default_root() -> Path | None:
    """./store if it holds plans, else ./results, else None."""
    places = ((STORE, "checks/*/*.json"), (RESULTS, "*-*/plan.json"))
    return next((path for path, plans in places if any(path.glob(plans))), None)


def refusal(sentence: str) -> UserError:
    """The error of a command line that is not understood."""
    return UserError(f"{sentence}; python -m analysis --help prints the usage")


def parse(arguments: list[str], commands: dict[str, Command]) -> Call:
    """The command line as data (UserError for anything that is not understood)."""
    name = arguments[0] if arguments else "no command"
    if name not in commands:
        raise refusal(f"{name}: unknown, there is {', '.join(commands)}")
    command = commands[name]
    flags = [word for word in arguments[1:] if word.startswith("--")]
    given = [word.partition("=")[::2] for word in arguments[1:] if "=" in word and word not in flags]
    pairs = dict(given)
    plain = [word for word in arguments[1:] if "=" not in word and word not in flags]
    unknown = [key for key in pairs if key not in command.keys] + [flag for flag in flags if flag not in command.flags]
    if unknown:
        raise refusal(f"{name}: unknown {', '.join(unknown)}")
    if twice := [key for key, _ in given if [other for other, _ in given].count(key) > 1]:
        raise refusal(f"{twice[0]} is given twice")
    if empty := [key for key, value in pairs.items() if not value]:
        raise refusal(f"{', '.join(empty)} has no value")
    if len(plain) != len(command.words):
        wanted = " ".join(command.words) or "only KEY=VALUE"
        raise refusal(f"{name} takes {wanted}, found {' '.join(plain) or 'nothing'}")
    return Call(name, pairs, tuple(plain), frozenset(flags))
