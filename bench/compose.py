"""From override strings to a typed configuration, and from a configuration to its hash.

Hydra composes, OmegaConf checks types, the dataclasses of bench.config check values; whatever is wrong becomes
one sentence that names the key (`UserError`).
"""

import contextlib
import difflib
import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.check_config import CheckConfig, ExecutorConfig, ScaleConfig, SlurmConfig, SuiteConfig
from bench.config import (
    DAPO_NAMES,
    DapoConfig,
    ExactAscentConfig,
    LoggerConfig,
    Proposition1Config,
    ReleasedConfig,
    RunConfig,
)
from bench.dpo_config import LEARNERS, DpoConfig, OnPolicyConfig, SacConfig
from bench.env_config import (
    CONTINUOUS_SUITES,
    AtariConfig,
    AtariProtocol,
    ContinuousConfig,
    EnvConfig,
    EvaluationConfig,
    TabularConfig,
)
from bench.errors import UserError
from bench.exact_config import BaselineFitConfig, UaeVarianceConfig

# Group, name in conf/'s defaults lists, dataclass.
SCHEMAS: tuple[tuple[str | None, str, Any], ...] = (
    (None, "run_schema", RunConfig),
    (None, "suite_schema", SuiteConfig),
    ("algo", "dapo_schema", DapoConfig),
    ("algo/released", "released_schema", ReleasedConfig),
    ("algo", "proposition1_schema", Proposition1Config),
    ("algo", "exact_ascent_schema", ExactAscentConfig),
    ("algo", "uae_variance_schema", UaeVarianceConfig),
    ("algo", "baseline_fit_schema", BaselineFitConfig),
    ("algo", "on_policy_schema", OnPolicyConfig),
    ("algo", "dpo_schema", DpoConfig),
    ("algo", "sac_schema", SacConfig),
    ("env", "env_schema", EnvConfig),
    ("env", "atari_schema", AtariConfig),
    ("env", "tabular_schema", TabularConfig),
    ("env", "continuous_schema", ContinuousConfig),
    ("env/evaluation", "evaluation_schema", EvaluationConfig),
    ("env/protocol", "protocol_schema", AtariProtocol),
    ("logger", "logger_schema", LoggerConfig),
    ("executor", "executor_schema", ExecutorConfig),
    ("executor", "slurm_schema", SlurmConfig),
    ("scale", "scale_schema", ScaleConfig),
    ("check", "check_schema", CheckConfig),
)

CONF_DIR = Path(__file__).resolve().parent.parent / "conf"
# Keys of algo=dapo and its relatives, which the presets of discrete environments set.
_DAPO_KEYS = {f"algo.{field.name}" for field in fields(DapoConfig)} - {
    f"algo.{field.name}" for config in (Proposition1Config, ExactAscentConfig) for field in fields(config)
}
_PRESETS = (
    ": hparams=default_atari, default_classic and default_tabular are for algo=dapo and its relatives; with their "
    "discrete actions, which a Beta policy does not have, algo=dpo needs hparams=dpo_discrete or dpo_cpu_discrete and "
    "algo=on_policy hparams=on_policy_discrete or on_policy_cpu_discrete; algo=sac needs env=mujoco or dmc; "
    "algo=baseline_fit, exact_ascent, "
    "proposition1 and uae_variance need env=exact, or env=tabular hparams=default_exact"
)
# A value that Hydra takes for something else than the name of a preset, or for a path.
NO_NAME = re.compile(r"[/\\\[{]|^(null|true|false|nan|inf|[-+]?[\d._]+(e[-+]?\d+)?)$", re.IGNORECASE)
# Hydra's own keys that have an effect here: presets of one's own, and how a sweep (-m) is made.
HYDRA_KEYS = ("hydra.searchpath", "hydra/launcher", "hydra.launcher.")
# Keys that say where a run lives or is shown, not what it computes.
NOT_IDENTITY = ("logger", "store", "run_dir", "checkpoint_minutes")


@cache
def register() -> None:
    """Make the schemas and the resolver of conf/ known to Hydra, once."""
    for group, name, node in SCHEMAS:
        ConfigStore.instance().store(group=group, name=name, node=node, provider="bench.config")
    OmegaConf.register_new_resolver("if", lambda test, yes, no: yes if test else no, replace=True)


def compose(overrides: list[str], config_name: str = "config") -> DictConfig:
    """Compose conf/<config_name>.yaml with overrides. Errors: `UserError`, one sentence."""
    register()
    if not CONF_DIR.is_dir():
        raise UserError(
            f"{CONF_DIR} is not there: install the project with `pip install -e .`, which keeps conf/ beside it"
        )
    for override in overrides:
        _check_word(override)
    try:
        return _compose(overrides, config_name)
    # ValueError: Hydra's, of a group's value; UserWarning: of a search path that is not there.
    except (HydraException, OmegaConfBaseException, ValueError, UserWarning) as error:
        raise UserError(_sentence(error, config_name)) from None
    except (AssertionError, AttributeError, TypeError) as error:  # Hydra's, of an item of a null key for example
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"cannot read {_culprit(overrides, config_name)!r}: {said}") from None


def _compose(overrides: list[str], config_name: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with warnings.catch_warnings(), initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        warnings.simplefilter("error", UserWarning)
        return hydra_compose(config_name, overrides=overrides)


def _culprit(overrides: list[str], config_name: str) -> str:
    """The first override without which the others compose; all of them where there is none."""
    for i, override in enumerate(overrides):
        with contextlib.suppress(Exception):
            _compose(overrides[:i] + overrides[i + 1 :], config_name)
            return override
    return " ".join(overrides)


def _check_word(override: str) -> None:
    """Refuse what Hydra answers in words of its own, with a traceback later, or not at all."""
    key, _, value = override.partition("=")
    group = key.lstrip("+~").partition("@")[0]
    if not group:
        raise UserError(f"cannot read {override!r} as key=value: it names no key")
    if re.match(r"hydra\b", group) and (not group.startswith(HYDRA_KEYS) or "_target_" in key):
        raise UserError(f"cannot take {override!r}; allowed of Hydra's own keys: {', '.join(HYDRA_KEYS)}")
    if key == "learner" and value not in LEARNERS:  # Hydra takes the group for absent, as it is for most algorithms
        raise UserError(f"learner is {value!r}; allowed: {', '.join(LEARNERS)}")
    if group in groups() and NO_NAME.search(value):
        raise UserError(f"{group} is {value!r}; allowed: the name of a preset of conf/{group}")


@cache
def groups() -> frozenset[str]:
    """Keys whose value is the name of a preset."""
    folders = {str(path.relative_to(CONF_DIR)) for path in CONF_DIR.rglob("*") if path.is_dir()}
    return frozenset(folders | {group for group, _, _ in SCHEMAS if group})


def to_run_config(config: DictConfig) -> RunConfig:
    """Convert once to dataclasses, which check their values. Errors: `UserError`."""
    try:
        algo, suite = config.algo.name, config.env.suite
    except OmegaConfBaseException as error:
        raise UserError(_sentence(error, "config")) from None
    if algo in DAPO_NAMES and suite in CONTINUOUS_SUITES:  # whose numbers no preset gives
        raise UserError(
            f"algo={algo} has discrete actions, those of env={suite} are continuous; choose "
            "algo=on_policy (learner=ppo, a2c or trpo), algo=dpo or algo=sac"
        )
    result = _to_object(config, "config")
    assert isinstance(result, RunConfig)
    return result


def to_suite_config(config: DictConfig) -> SuiteConfig:
    """Like `to_run_config`, for conf/suite.yaml."""
    result = _to_object(config, "suite")
    assert isinstance(result, SuiteConfig)
    return result


def _to_object(config: DictConfig, config_name: str) -> Any:
    try:
        result = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(_sentence(error, config_name)) from None
    _refuse_added(result, "", config_name)
    return result


def _refuse_added(config: Any, prefix: str, config_name: str) -> None:
    """Refuse keys that no schema has: `+key=value` adds them past the checks of Hydra and OmegaConf."""
    declared = {field.name for field in fields(config)}
    for key, value in vars(config).items():
        if key not in declared:
            raise UserError(f"there is no key {prefix + key!r}{_nearest_key(prefix + key, config_name)}")
        if is_dataclass(value):
            _refuse_added(value, f"{prefix}{key}.", config_name)


def to_container(config: DictConfig) -> dict[str, Any]:
    """Plain nested dictionary, interpolations resolved; a missing value is an error."""
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(_sentence(error, "config")) from None
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def configuration_hash(container: Mapping[str, Any]) -> str:
    """Hash of what a run is asked to compute: the resolved configuration without logger and paths.

    The order of the keys does not matter. Returns 64 hexadecimal digits (SHA-256).
    """
    science = {key: value for key, value in container.items() if key not in NOT_IDENTITY}
    return hashlib.sha256(json.dumps(science, sort_keys=True).encode()).hexdigest()


def quoted(value: str) -> str:
    """A value as Hydra's command line reads it back unchanged, whatever commas, quotes or spaces it holds."""
    plain = re.fullmatch(r"[A-Za-z/._][\w./-]*", value) and not re.match(r"\.\d", value)  # .5 is a number
    if plain and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value) + "'"


def split_sweep(overrides: list[str]) -> list[list[str]]:
    """Expand comma lists and ranges as Hydra's own multirun does, so that all jobs can be checked before one."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):  # the loader lists the choices of glob(...)
            loader = GlobalHydra.instance().config_loader()
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
            parsed = [override for override in parsed if not override.get_key_element().startswith("hydra.")]
            batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        raise UserError(_sentence(error, "config")) from None
    return [job for batch in batches for job in batch]


def _sentence(error: BaseException, config_name: str) -> str:
    """One sentence from the errors of Hydra and OmegaConf, which speak in several lines."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    text = str(cause or error)
    first = text.splitlines()[0].rstrip(".")
    key = str(getattr(cause, "full_key", None) or (m[1] if (m := re.search(r"full_key: (\S+)", text)) else ""))
    if re.search(r"not in struct|is not in|not in '\w+'", text) and key:
        return f"there is no key {key!r}{_nearest_key(key, config_name)}"
    if (absent := re.search(r"Interpolation key '([\w.]+)' not found", text)) and absent[1] in _DAPO_KEYS:
        return f"there is no key {absent[1]!r}{_nearest_key(absent[1], config_name)}"
    if missing := re.search(
        r"Could not (?:find|override) '([^'@]+)[^']*'.*?Available options in '([^']+)':\n"
        r"(.*?)(?:\n\s*\n|\nConfig search|$)",
        text,
        re.S,
    ):
        options = [name for name in missing[3].split() if not name.endswith("_schema")]
        return f"there is no {missing[1]!r} in conf/; available in {missing[2]}: {', '.join(options)}"
    if wrong := re.search(r"Value '([^']*)' of type '(\w+)' could not be converted to (\w+)", text):
        whole = wrong[2] == "float" and wrong[3] == "Integer" and float(wrong[1]).is_integer()
        hint = f"; write {int(float(wrong[1])):_}" if whole else ""
        return f"{key} is {wrong[1]!r} ({wrong[2]}); allowed: {wrong[3].lower()}{hint}"
    if assigned := re.search(r"Invalid type assigned: \w+ is not a subclass of \w+. value: (\S+)", text):
        return f"{key} is a group of keys; choose a preset with {key.replace('.', '/')}={assigned[1]}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} as key=value: {first}"
    if text.startswith("Config group override must be"):
        return "a group of keys (algo, env, hparams, logger) takes the name of a preset; `--help` lists them"
    if removed := re.search(r"missing \d+ required keyword-only arguments?: '(\w+)'", text):
        key, text = removed[1], "missing mandatory value"
    if "missing mandatory value" in text.lower() and key.startswith("algo.learner"):
        return f"{key} has no value; choose learner={', '.join(LEARNERS)}"
    if "missing mandatory value" in text.lower():
        return f"{key} has no value; give one on the command line or choose a preset with hparams=..."
    if first.startswith("Ambiguous value"):
        return f"{first}; several values need -m, a list needs brackets"
    return f"{key}: {first}" if key and key not in first else first


def _nearest_key(key: str, config_name: str) -> str:
    root = RunConfig if config_name == "config" else SuiteConfig
    top = [field.name for field in fields(root)]
    known = top + [
        f"{group.replace('/', '.')}.{field.name}"
        for group, _, node in SCHEMAS
        if group and group.split("/")[0] in top
        for field in fields(node)
    ]
    if key in known:
        return " under the chosen algo and env" + (_PRESETS if key in _DAPO_KEYS else "")
    near = difflib.get_close_matches(key, known, n=1)
    if not near:
        return "; `python -m bench --cfg job` prints all" if root is RunConfig else f"; there are {', '.join(top)}"
    return f"; the nearest is {near[0]!r}"
