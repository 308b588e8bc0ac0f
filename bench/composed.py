"""The configurations of a plan, composed once: Hydra takes a tenth of a second for each, and a plan asks for hundreds.

Two savings, neither of which changes a value. Words that choose presets decide what is merged, all others set single
values of the result: so Hydra composes each choice of presets once, and the values are set on copies of it, in the
order in which Hydra sets them. And what was composed is kept between commands beside the compiled sources, under a
digest of conf/, of these sources and of the libraries that compose: whatever of these changes, nothing kept is used.
"""

import contextlib
import copy
import hashlib
import importlib.metadata
import json
import platform
import re
import types
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
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
ELSEWHERE = (b"oc.env", b"oc.decode")  # what would make a configuration depend on more than conf/
MOST = 2000  # configurations in the file; beyond that only the last command's are kept
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
    if (kept := _find("suites", words)) is not None:
        with contextlib.suppress(KeyError, TypeError, AttributeError, StopIteration):  # not as this class writes it
            built: SuiteConfig = _built(SuiteConfig, kept)
            return built
    config = to_suite_config(compose(list(words), "suite"))
    container = asdict(config)
    if _built(SuiteConfig, container) == config:
        _keep("suites", words, container)
    return config


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


def _sources() -> list[Path]:
    return sorted(path for folder, ending in ((CONF_DIR, "*"), (BENCH, "*.py")) for path in folder.rglob(ending))


def digest() -> str | None:
    """Hash of all that a composition depends on; None where that is more than conf/, these sources and libraries."""
    found = hashlib.sha256(f"{platform.python_version()} {CONF_DIR}".encode())
    for library in LIBRARIES:
        found.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    for path in _sources():
        if not path.is_file() or path.parent.name == FOLDER.name:
            continue
        content = path.read_bytes()
        if path.is_relative_to(CONF_DIR) and any(word in content for word in ELSEWHERE):
            return None
        found.update(f"{path} {len(content)}\n".encode() + content)
    return found.hexdigest()


class _Shelf:
    """What the file held when this process first asked, and what has been added since."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # a source that may not be read
            self.digest = digest()
        self.held: Kept = {}
        self.used: Kept = {}
        self.is_new = False
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            content = json.loads(self.path.read_text())
            self.held = {str(kind): dict(kept) for kind, kept in content.items()}

    digest: str | None = None

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
    kinds = shelf.held.keys() | shelf.used.keys()
    both = {kind: {**shelf.held.get(kind, {}), **shelf.used.get(kind, {})} for kind in sorted(kinds)}
    content = both if sum(map(len, both.values())) <= MOST else shelf.used
    with contextlib.suppress(OSError):
        for old in FOLDER.glob("composed-*.json"):
            if old != shelf.path:
                old.unlink(missing_ok=True)
        write_atomically(shelf.path, json.dumps(content))
    shelf.is_new = False
