"""Random mutations of configurations: each must run, or be refused in one sentence that names what was changed.

python -m tests.faults.mutations --count 2000 --seed 0       (from the project's folder; about ten minutes)

A case is a small valid command line of `python -m bench`, or of `python -m bench.suite plan|status`, with one to three
mutations. The n-th case of a seed is always the same. Violations are printed with the command that repeats them.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from bench import compose
from tests.faults import forked, values
from tests.faults.bases import RUNS, SUITES
from tests.faults.forked import Case

SUITE_SHARE = 0.15  # of all cases


class Base(NamedTuple):
    """A valid command line, and the keys and values that it composes to."""

    module: str
    words: tuple[str, ...]
    leaves: dict[str, Any]  # dotted key -> value
    groups: dict[str, Any]  # dotted key -> mapping


class Mutation(NamedTuple):
    """Words that replace or follow those of a base, and the names of which a refusal must hold one."""

    words: list[str]
    names: set[str]


@cache
def base_of(module: str, line: str) -> Base:
    """The base of a line of `bases`."""
    words = tuple(line.split())
    name = "config" if module == "bench" else "suite"
    overrides = [word for word in words if "=" in word]
    composed = compose.compose(overrides, name)
    container = compose.to_container(composed)
    leaves: dict[str, Any] = {}
    groups: dict[str, Any] = {}

    def walk(prefix: str, tree: dict[str, Any]) -> None:
        for key, value in tree.items():
            if "." in key:  # an arm of a check, which no override reaches
                continue
            if isinstance(value, dict):
                groups[prefix + key] = value
                walk(f"{prefix}{key}.", value)
            else:
                leaves[prefix + key] = value

    walk("", container)
    return Base(module, words, leaves, groups)


def _key(rng: random.Random, base: Base) -> str:
    """A key, those of the algorithm and the environment not drowned by those of a check."""
    top = sorted({key.partition(".")[0] for key in base.leaves})
    chosen = rng.choice([*top, *(name for name in ("algo", "algo", "algo", "env") if name in top)])
    return rng.choice(sorted(key for key in base.leaves if key.partition(".")[0] == chosen))


def _names(key: str) -> set[str]:
    """What a sentence may call it: a suite is chosen, and spoken of, as env=..., an algorithm as algo=..."""
    spoken = {"env.suite": {"env"}, "algo.name": {"algo"}, "algo.learner.name": {"learner"}}
    of_check = {"check"} if key.startswith("check.") else set()  # of which a sentence names arm and task, or claim
    return {key, key.rpartition(".")[2]} | spoken.get(key, set()) | of_check


def value(rng: random.Random, base: Base) -> Mutation:
    """A key gets a value that may be of any type."""
    key = _key(rng, base)
    return Mutation([f"{key}={values.of_any_type(base.leaves[key], rng)}"], _names(key))


def near(rng: random.Random, base: Base) -> Mutation:
    """A number moves to another of its type, a word to another that the key knows elsewhere."""
    key = _key(rng, base)
    found = base.leaves[key]
    if isinstance(found, str):
        others = sorted({other for line in RUNS if isinstance(other := base_of("bench", line).leaves.get(key), str)})
        return Mutation([f"{key}={compose.quoted(rng.choice(others or [found]))}"], _names(key))
    return Mutation([f"{key}={values.near(found, rng)}"], _names(key))


def structure(rng: random.Random, base: Base) -> Mutation:
    """A key is removed, added, misspelt, or taken for a group or an item."""
    key = _key(rng, base)
    parent, _, leaf = key.rpartition(".")
    group = rng.choice(sorted(base.groups))
    odd = rng.choice(values.SCALARS)
    wrong = values.misspelt(leaf, rng)
    near_key = f"{parent}.{wrong}".lstrip(".")
    word, names = rng.choice(
        [
            (f"~{key}", _names(key)),
            (f"~{key}={odd}", _names(key)),
            (f"~{group}", _names(group)),
            (f"~{group}={odd}", _names(group)),
            (f"+{key}={odd}", _names(key)),
            (f"++{key}={odd}", _names(key)),
            (f"+{near_key}={odd}", {near_key}),
            (f"++{wrong}={odd}", {wrong}),
            (f"{near_key}={odd}", {near_key}),
            (f"{leaf}={odd}", _names(key)),
            (f"{key.upper()}={odd}", {key.upper(), *key.upper().split(".")[:1]}),
            (f"{key}.{wrong}={odd}", {f"{key}.{wrong}", *_names(key)}),
            (f"{key}.0={odd}", _names(key)),
            (f"{key}[0]={odd}", _names(key)),
            (f"{key.replace('.', '/')}={odd}", _names(key)),
            (f"{key}@{wrong}={odd}", {wrong, *_names(key)}),
            (f"{group}={odd}", _names(group)),
            (f"{group}={{}}", _names(group)),
            (f"{group}={{{wrong}:{odd}}}", {wrong, *_names(group)}),
            (f"+{group}={{{wrong}:{odd}}}", {wrong, *_names(group)}),
            (f"+{group}.{wrong}={odd}", {f"{group}.{wrong}", *_names(group)}),
            (f"+{group.replace('.', '/')}={odd}", _names(group)),
            (f"{group}.{group}={odd}", _names(group)),
            (key, _names(key)),
            (f"={odd}", {"=", "no key"}),
            (f"{key}==={odd}", _names(key)),
        ]
    )
    return Mutation([word], names)


def preset(rng: random.Random, base: Base) -> Mutation:
    """A group takes another preset: of another algorithm, none, one that is not there, a path."""
    group = rng.choice([*values.GROUPS, *("algo", "env", "hparams", "learner"), "check", "scale", "executor"])
    known = values.presets(group)
    name = rng.choice([*known, *known, values.misspelt(known[0], rng), *values.PATHS, *values.SCALARS[:12]])
    word = rng.choice(["{}={}"] * 6 + ["+{}={}", "~{}={}", "++{}={}", "{}@_global_={}", "override {}={}"])
    # What another preset leaves without a value, or does not know, may be any key of the base or of the preset.
    return Mutation([word.format(group, name)], {group, group.split("/")[0], name, *values.every_name()})


def place(rng: random.Random, base: Base) -> Mutation:
    """The run goes to odd places."""
    key = rng.choice([key for key in ("store", "run_dir", "pilot") if key in base.leaves])
    return Mutation([f"{key}={rng.choice(values.PLACES)}"], {key, "run directory", "is a file"})


def flag(rng: random.Random, base: Base) -> Mutation:
    """Flags and keys of Hydra."""
    word = rng.choice(values.FLAGS)
    return Mutation([word], {word, *word.split("="), *values.FLAG_NAMES})


def twice(rng: random.Random, base: Base) -> Mutation:
    """A word of the base again, as it is or with another value."""
    word = rng.choice([word for word in base.words if "=" in word])
    key, _, old = word.partition("=")
    other = rng.choice([old, old, rng.choice(values.SCALARS)])
    return Mutation([word, f"{key}={other}"], _names(key))


KINDS: dict[Callable[[random.Random, Base], Mutation], int] = {
    value: 35,
    near: 30,
    structure: 15,
    preset: 10,
    place: 4,
    flag: 4,
    twice: 2,
}


def case(seed: int, number: int) -> Case:
    """The case of this number."""
    rng = random.Random(f"{seed} {number}")
    suite = rng.random() < SUITE_SHARE
    base = base_of("bench.suite", rng.choice(SUITES)) if suite else base_of("bench", rng.choice(RUNS))
    words, names = list(base.words), set()
    for kind in rng.choices(list(KINDS), list(KINDS.values()), k=rng.choice([1, 1, 1, 1, 2, 2, 3])):
        mutation = kind(rng, base)
        for word in mutation.words:
            key = word.partition("=")[0]
            again = [i for i, old in enumerate(words) if old.partition("=")[0] == key and kind is not twice]
            if again:
                words[again[0]] = word
            else:
                words.append(word)
        names |= mutation.names
    return Case(number, base.module, tuple(words), frozenset(names))


def cases(seed: int, count: int) -> Iterator[Case]:
    """The first cases of a seed."""
    return (case(seed, number) for number in range(count))


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 when a case was neither made nor refused as it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one case of that number, shown in full")
    parser.add_argument("--show", action="store_true", help="print every case and what it said")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    chosen = cases(asked.seed, asked.count) if asked.only is None else iter([case(asked.seed, asked.only)])
    verdicts: Counter[str] = Counter()
    for one, outcome in forked.judge_all(chosen):
        verdicts[outcome.verdict if not outcome.faults else "violations"] += 1
        if outcome.faults or asked.show or asked.only is not None:
            print(f"{one.number:6} {outcome.verdict}: {one.command}\n       said: {outcome.said.strip()[-1500:]}")
            print("".join(f"       VIOLATION: {fault}\n" for fault in outcome.faults), end="", flush=True)
    tried = sum(verdicts.values())
    print(f"\n{'mutated configurations':24} {tried:6}   seed {asked.seed}, {time.monotonic() - began:.0f} s")
    for name in (*forked.VERDICTS, "violations"):
        print(f"{name:24} {verdicts[name]:6}")
    return 1 if verdicts["violations"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
