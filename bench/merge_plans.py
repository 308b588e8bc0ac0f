"""The union of what several stores have frozen: each plan once, with the runs that any of them plans."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import registration
from bench.errors import UserError
from bench.store import frozen_plans

# What two plans of a check at a scale must agree in, besides the arms and tasks that both have.
FROZEN = {"claims": "claims", "tuning_seeds": "tuning seeds", "reference": "references"}
Content = dict[str, Any]


@dataclass
class United:
    """Plan files of the target that are to be written, by their path inside the store."""

    changed: dict[Path, Content] = field(default_factory=dict)
    existed: dict[Path, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def encoded(content: Content) -> str:
    """As bench.plan writes it."""
    return json.dumps(content, indent=1)


def united(sources: list[Path], target: Path, done: Callable[[str], bool]) -> United:
    """The plans that the target lacks or has less of.

    Args:
        done: whether a run directory will be finished in the target.
    Raises:
        UserError: naming two files that freeze different claims, tuning seeds or references of one check at one scale,
            or define an arm or a task differently.
    """
    before = frozen_plans(target)
    now, origin, result = dict(before), {path: target / path for path in before}, United()
    for store in sources:
        for path, theirs in frozen_plans(store).items():
            if path in now:
                _require_same_question(now[path], theirs, origin[path], store / path)
                now[path], kept = _union(now[path], theirs, done)
                if kept:
                    result.notes.append(
                        f"{kept:,} runs that {store / path} plans were planned with other code or versions in "
                        f"{origin[path]}, whose own are kept"
                    )
            else:
                now[path], origin[path] = theirs, store / path
    result.changed = {path: content for path, content in now.items() if content != before.get(path)}
    result.existed = {path: path in before for path in result.changed}
    return result


def _require_same_question(ours: Content, theirs: Content, here: Path, there: Path) -> None:
    one, other = ours["check"], theirs["check"]
    differ = [what for key, what in FROZEN.items() if one.get(key) != other.get(key)]
    one_stood, other_stood = ((plan.get("registered") or {}).get("claims", {}) for plan in (ours, theirs))
    if any(one_stood[name]["sha256"] != other_stood[name]["sha256"] for name in one_stood.keys() & other_stood.keys()):
        differ.append("registered claims")
    differ += ["looks"] if any(ours.get(key) != theirs.get(key) for key in ("looks", "most_seeds")) else []
    differ += ["words on whether it is scientific"] if ours.get("scientific") != theirs.get("scientific") else []
    for key, kind in (("arms", "arm"), ("tasks", "task")):
        differ += [f"{kind} {name}" for name in one[key] if name in other[key] and one[key][name] != other[key][name]]
    if differ:
        raise UserError(
            f"{here} and {there} freeze different {', '.join(differ)}; what was run under one of them says nothing "
            "about the other, so keep them in stores of their own"
        )


def _union(ours: Content, theirs: Content, done: Callable[[str], bool]) -> tuple[Content, int]:
    """Our runs in our order, then theirs; how many of theirs gave way to ours of another identity.

    A planned seed counts once: of two identities the one that is done stays, else ours.
    """
    runs = {(run["arm"], run["task"], run["seed"]): run for run in ours["runs"]}
    kept = 0
    for run in theirs["runs"]:
        cell = run["arm"], run["task"], run["seed"]
        known = runs.setdefault(cell, run)
        if known["hash"] != run["hash"]:
            if done(run["run_dir"]) and not done(known["run_dir"]):
                runs[cell] = run
            else:
                kept += 1
    check = {**ours["check"], **{key: {**ours["check"][key], **theirs["check"][key]} for key in ("arms", "tasks")}}
    reference = {**(theirs.get("reference_config") or {}), **(ours.get("reference_config") or {})}
    found = {**ours, "check": check, "runs": list(runs.values()), "reference_config": reference}
    if found.pop("registered", None) is not None and "registered" in theirs:  # what one froze without a hash has none
        found["registered"] = registration.united(ours, theirs)
    return found, kept
