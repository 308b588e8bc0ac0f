"""The configurations of a plan, composed once: Hydra takes a tenth of a second for each, and a plan asks for hundreds.

Two savings, neither of which changes a value. Words that choose presets decide what is merged, all others set single
values of the result: so Hydra composes each choice of presets once, and the values are set on copies of it, in the
order in which Hydra sets them. And what was composed is kept between commands beside the compiled sources, under a
digest of conf/, of these sources and of the libraries that compose: whatever of these changes, nothing kept is used.
Nothing is kept or used where the digest cannot hold all that a composition depends on (`digest`).
"""

import contextlib
import copy
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import time
import types
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.check_config import SuiteConfig
from bench.compose import CONF_DIR, compose, groups, to_container, to_run_config, to_suite_config
from bench.errors import UserError
from bench.files import write_atomically

BENCH = Path(__file__).resolve().parent
FOLDER = BENCH / "__pycache__"
LIBRARIES = ("hydra-core", "omegaconf", "PyYAML", "antlr4-python3-runtime")
MOST = 500  # configurations in the file, those of the last command first
PATHS = ("store", "pilot")  # of a suite: set afterwards, so that one composition serves every store
# An interpolation of another key, or a resolver whose value its arguments alone decide: not the time, not a variable.
_PURE = re.compile(rb"\$\{\s*(?:(?:if|oc\.select|oc\.dict\.keys|oc\.dict\.values)\s*:|[\w.-]+\s*\})")
_ESCAPE = re.compile(rb"\\[xuU\r\n]")  # could hide an interpolation from the one above
_PRESET = re.compile(r"[\w/]+=[\w-]+")
_VALUE = re.compile(r"(?!hydra\b)[A-Za-z_][\w.]*=")

Kept = dict[str, dict[str, dict[str, Any]]]  # kind -> words as JSON -> container


def run_container(words: Sequence[str], *, checked: bool = True) -> dict[str, Any]:
    """The resolved configuration of `python -m bench <words>`, not to be changed.

    Args: checked: refuse values that no run may have. Errors: `UserError`.
    """
    return _run_container(tuple(words), checked)


@cache
def _run_container(words: tuple[str, ...], checked: bool) -> dict[str, Any]:
    kind = "checked" if checked else "plain"
    if (kept := _find(kind, words)) is not None:
        return kept
    composed = composition(words)
    if checked:
        to_run_config(composed)
    return _keep(kind, words, to_container(composed))


def suite_config(words: Sequence[str]) -> SuiteConfig:
    """The configuration of a check, of the words of `python -m bench.suite`. Errors: `UserError`."""
    shared, paths = _without_paths(words)
    if (kept := _find("suites", shared)) is not None:
        with contextlib.suppress(UserError):  # of a path
            built: SuiteConfig = replace(_built(SuiteConfig, kept), **paths)
            return built
    with contextlib.suppress(UserError):
        config = to_suite_config(compose(shared, "suite"))
        container = asdict(config)
        text = json.dumps(container)
        depends = any(container[name] != _stand_in(name) or text.count(_stand_in(name)) != 1 for name in paths)
        if not depends and _built(SuiteConfig, container) == config:
            _keep("suites", shared, container)
            return replace(config, **paths)
    return to_suite_config(compose(list(words), "suite"))  # which says what is wrong, where something is


def _without_paths(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The words with names in place of paths, and the paths; those that are no plain text stay where they are."""
    rest: list[str] = []
    paths: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        value: Any = None
        if name in PATHS and "${" not in text and "???" not in text:
            with contextlib.suppress(HydraException):
                value = OverridesParser.create().parse_override(word).value()
        if isinstance(value, str):
            paths[name] = value
        else:
            rest.append(word)
    if any(word.lstrip("+~").partition("=")[0] in paths for word in rest):  # of two words on a key the last counts
        return list(words), {}
    return rest + [f"{name}={_stand_in(name)}" for name in sorted(paths)], paths


def _stand_in(name: str) -> str:
    return f"path-that-is-the-{name}"


def composition(words: Sequence[str]) -> DictConfig:
    """What `bench.compose.compose` gives for the words of a run, from a composition of their presets alone."""
    presets = tuple(word for word in words if word.partition("=")[0] in groups())
    values = [word for word in words if word.partition("=")[0] not in groups()]
    if all(map(_PRESET.fullmatch, presets)) and all(map(_VALUE.match, values)):
        with contextlib.suppress(HydraException, OmegaConfBaseException, UserError, ValueError, TypeError):
            return _with_values(presets, values)
    return compose(list(words))  # which says what is wrong, where something is


def _with_values(presets: tuple[str, ...], values: list[str]) -> DictConfig:
    overrides = OverridesParser.create().parse_overrides(values)
    if any(override.is_sweep_override() for override in overrides):
        raise UserError("several values")
    composed = copy.deepcopy(_of_presets(presets))
    for override in overrides:
        OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
    return composed


@cache
def _of_presets(presets: tuple[str, ...]) -> DictConfig:
    return compose(list(presets))


def _built(kind: Any, value: Any) -> Any:
    """Dataclasses again from what `asdict` made of them. Args: kind: a type of a field."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [one for one in get_args(kind) if one is not types.NoneType]
        return value if value is None or len(kinds) > 1 else _built(kinds[0], value)
    if get_origin(kind) is list:
        return [_built(get_args(kind)[0], item) for item in value]
    if get_origin(kind) is dict:
        return {key: _built(get_args(kind)[1], item) for key, item in value.items()}
    if not is_dataclass(kind):
        return value
    of = next(one for one in (kind, *_heirs(kind)) if {field.name for field in fields(one)} == value.keys())
    return of(**{name: _built(of_field, value[name]) for name, of_field in _hints(of).items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if name in {field.name for field in fields(kind)}}


def _heirs(kind: Any) -> list[Any]:
    return list(kind.__subclasses__())


def _began() -> float:
    """When this process began, in seconds since 1970, or somewhat earlier."""
    age = 60.0  # where the system does not say: sources are read within a minute of each other
    with contextlib.suppress(OSError, AttributeError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        said = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        age = said + 1 if said > 0 else age  # a second, because the clocks of files are coarse
    return time.time() - age


BEGAN = _began()  # of the process that imported this, from which others are forked


def _sources() -> list[Path]:
    """Files and folders of conf/, files and linked folders of the sources."""
    mine = (path for path in BENCH.rglob("*") if FOLDER.name not in path.parts)
    return [CONF_DIR, *sorted(CONF_DIR.rglob("*")), *sorted(path for path in mine if _is_source(path))]


def _is_source(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_symlink() and path.is_dir())


def digest() -> str | None:
    """Hash of all that a composition depends on: conf/, these sources, libraries.

    None where it depends on more: on presets elsewhere, on resolvers of the time or of variables, on linked folders,
    whose files are not seen here, and on sources that this process may have read before they were as they are now.
    """
    with contextlib.suppress(OSError):  # a source that may not be read
        return _digest()
    return None


def _digest() -> str | None:
    found = hashlib.sha256(f"{platform.python_version()} {CONF_DIR}".encode())
    for library in LIBRARIES:
        found.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    for path in _sources():
        if _is_young(path) or (path.is_dir() and path.is_symlink()):
            return None
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.is_relative_to(CONF_DIR) and not _is_self_contained(path, content):
            return None
        found.update(f"{path} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _is_young(path: Path) -> bool:
    """Whether it or a link to it has changed since this process began, be it by a move, which keeps its date."""
    return any(max(stat.st_mtime, stat.st_ctime) >= BEGAN for stat in (path.stat(), path.lstat()))


def _is_self_contained(path: Path, content: bytes) -> bool:
    """Whether a file of conf/ means the same whenever and wherever it is composed."""
    if b"searchpath" in content:
        return False
    if not _is_pure(content) and path == CONF_DIR / "config.yaml" and b"@package" not in content:
        with contextlib.suppress(Exception):  # composing it says what is wrong
            parsed = OmegaConf.to_container(OmegaConf.create(content.decode()), resolve=False)
            assert isinstance(parsed, dict)
            parsed.pop("hydra", None)  # names the folder of a sweep by the time; no configuration has it
            return _is_pure(json.dumps(parsed, ensure_ascii=False, default=str).encode())
    return _is_pure(content)


def _is_pure(content: bytes) -> bool:
    return not _ESCAPE.search(content) and content.count(b"${") == len(_PURE.findall(content))


def _seal(kept: Kept) -> str:
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


class _Shelf:
    """What the file held when this process first asked, and what has been added since."""

    def __init__(self) -> None:
        self.digest = digest()
        self.held: Kept = {}
        self.used: Kept = {}
        self.is_new = False
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(self.path.read_text())
            if content["sha256"] == _seal(content["kept"]):
                self.held = content["kept"]

    @property
    def path(self) -> Path:
        return FOLDER / f"composed-{(self.digest or 'none')[:32]}.json"


@cache
def _shelf() -> _Shelf:
    return _Shelf()


def _key(words: Sequence[str]) -> str:
    return json.dumps(list(words))


def _find(kind: str, words: Sequence[str]) -> dict[str, Any] | None:
    shelf, key = _shelf(), _key(words)
    found = shelf.held.get(kind, {}).get(key) if shelf.digest and not _is_elsewhere(words) else None
    if isinstance(found, dict):
        shelf.used.setdefault(kind, {})[key] = found
        return found
    return None


def _is_elsewhere(words: Sequence[str]) -> bool:
    """Presets of a reader's own, or values from the surroundings."""
    return any(re.match(r"[+~]*hydra\b", word) or "${" in word for word in words)


def _keep(kind: str, words: Sequence[str], container: dict[str, Any]) -> dict[str, Any]:
    shelf = _shelf()
    if shelf.digest and not _is_elsewhere(words) and json.loads(json.dumps(container)) == container:
        shelf.used.setdefault(kind, {})[_key(words)] = container
        shelf.is_new = True
    return container


def keep() -> None:
    """Write down what was composed, unless sources have changed meanwhile, or their folder may not be written."""
    shelf = _shelf()
    if not shelf.is_new or shelf.digest is None or digest() != shelf.digest:
        return
    kept: Kept = {}
    for place, (kind, key, container) in enumerate([*_entries(shelf.used), *_entries(shelf.held, shelf.used)]):
        if place < MOST:
            kept.setdefault(kind, {})[key] = container
    with contextlib.suppress(OSError):
        for old in FOLDER.glob("composed-*.json"):
            if old != shelf.path:
                old.unlink(missing_ok=True)
        write_atomically(shelf.path, json.dumps({"sha256": _seal(kept), "kept": kept}))
    shelf.is_new = False


def _entries(kept: Kept, without: Kept | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, key, container of each, but of those that another has."""
    known = without or {}
    return [
        (kind, key, one) for kind, all_ in kept.items() for key, one in all_.items() if key not in known.get(kind, {})
    ]
