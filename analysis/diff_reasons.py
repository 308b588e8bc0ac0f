"""Why a claim is judged differently on two sides: as sentences, each beginning with its cause.

claim, seeds, runs lost, configuration, code, versions, NOT REPRODUCIBLE, records, family, analysis code.
"""

import json
import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import fields
from typing import Any

from analysis.archive import NOT_CONFIG, ranges_text
from analysis.cells import claim_tasks, named_arms
from analysis.diff_sides import Judged, Said, restricted
from analysis.load import RunKey, Store, run_records
from analysis.measure import is_planned
from analysis.plan import Claim
from analysis.protocol import flatten
from analysis.study import Study
from analysis.words import interval_text, number
from bench.registration import LATER

Row = dict[Hashable, Any]
VERSIONS = ("versions", "identity_versions", "simulators")
SHOWN = 4
ROUNDING = 1e-4  # packs keep five digits of metrics


def changed(before: Said, after: Said) -> str:
    """`verdict`, `numbers` (the estimate or its interval, beyond rounding), or nothing."""
    if before.verdict != after.verdict:
        return "verdict"
    ends = [*(before.interval or ()), *(after.interval or ())]
    scale = max([abs(x) for x in (before.estimate, after.estimate, *ends) if x is not None], default=0.0)
    pairs = [(before.estimate, after.estimate), *zip(before.interval or (), after.interval or (), strict=False)]
    moved = any(x is not None and y is not None and abs(x - y) > ROUNDING * scale for x, y in pairs)
    appeared = (before.estimate is None) != (after.estimate is None) or bool(before.interval) != bool(after.interval)
    return "numbers" if moved or appeared else ""


def in_words(said: Said) -> str:
    """Estimate, interval, seeds."""
    interval = interval_text(list(said.interval)) if said.interval else "no interval"
    return f"{number(said.estimate)} {interval}, n = {said.n}"


def claim_of(side: Judged, claim: str) -> Claim | None:
    """The claim as the side's plan froze it."""
    return next((c for c in side.study.plan.claims if c.id == claim), None) if side.study else None


def _about(side: Judged, claim: str) -> dict[RunKey, Row]:
    """The planned runs that a claim of this side is about."""
    study, asked = side.study, claim_of(side, claim)
    if study is None or asked is None or not is_planned(asked, study.plan):
        return {}
    arms, tasks = named_arms(asked, study.plan), claim_tasks(asked, study.plan)
    return {key: row for key, row in run_records(study.scored) if key[0] in arms and key[1] in tasks}


def _runs(keys: Iterable[RunKey]) -> str:
    """Runs in groups: arm on tasks, seeds."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for arm, task, seed in keys:
        seeds.setdefault((arm, task), []).append(seed)
    tasks: dict[tuple[str, str], list[str]] = {}
    for (arm, task), numbers in seeds.items():
        tasks.setdefault((arm, ranges_text(numbers)), []).append(task)
    said = [f"{arm} on {', '.join(names)}: {text}" for (arm, text), names in tasks.items()]
    return "; ".join(said[:SHOWN]) + (f"; and {len(said) - SHOWN} more groups" if len(said) > SHOWN else "")


def edited(a: Judged, b: Judged, claim: str) -> list[str]:
    """Fields of the claim that differ."""
    old, new = claim_of(a, claim), claim_of(b, claim)
    if old is None or new is None:
        return []
    pairs = [(f.name, getattr(old, f.name), getattr(new, f.name)) for f in fields(Claim)]
    if claim in a.now and claim in b.now:
        pairs.append(("registration", a.now[claim].registration, b.now[claim].registration))
    grown = {(name, "") for name in LATER}  # blank in plans that are older than the key
    said = [f"{name} {_short(x)} -> {_short(y)}" for name, x, y in pairs if x != y and (name, x) not in grown]
    return [f"claim edited: {'; '.join(said)}"] if said else []


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "..."


def seeds(old: dict[RunKey, Row], new: dict[RunKey, Row]) -> list[str]:
    """Runs that one side alone planned, and runs that one side alone has."""
    said = []
    for word, keys in (("removed", old.keys() - new.keys()), ("added", new.keys() - old.keys())):
        if keys:
            said.append(f"seeds {word}: {len(keys)} runs ({_runs(sorted(keys))})")
    both = old.keys() & new.keys()
    lost = sorted(key for key in both if old[key]["state"] == "done" != new[key]["state"])
    won = sorted(key for key in both if new[key]["state"] == "done" != old[key]["state"])
    if lost:
        causes = Counter(str(new[key]["error"] or new[key]["state"]) for key in lost)
        said.append(f"runs lost: {len(lost)} ({_runs(lost)}): {causes.most_common(1)[0][0]}")
    return [*said, f"runs regained: {len(won)} ({_runs(won)})"] if won else said


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, str]]:
    names = sorted(old.keys() | new.keys())
    pairs = [(name, old.get(name, "none"), new.get(name, "none")) for name in names]
    return [(name, _short(x), _short(y)) for name, x, y in pairs if x != y]


def _libraries(manifest: dict[str, Any]) -> dict[str, Any]:
    return {library: version for name in VERSIONS for library, version in (manifest.get(name) or {}).items()}


def _digest(manifest: dict[str, Any], other: dict[str, Any]) -> tuple[str, str]:
    """Name and digest of a run's code: of its sources where both sides know them, else its commit and changes."""
    if manifest.get("sources") and other.get("sources"):
        value = manifest["sources"]
        return "sources", value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return "commit", f"{manifest.get('commit')}{' changed' if manifest.get('dirty_sha256') else ''}"


def remade(a: Study, b: Study, keys: list[RunKey], old: dict[RunKey, Row], new: dict[RunKey, Row]) -> list[str]:
    """Why runs of one arm, task and seed have other parameters: configuration, versions, code, or nothing known.

    Args: keys: runs that are done on both sides with different params_sha256.
    """
    found: Counter[tuple[str, str]] = Counter()
    strange = []
    for key in keys:
        causes = _causes(a.store, b.store, key)
        if not causes and old[key]["hash"] == new[key]["hash"]:
            strange.append(key)
            continue
        found.update(causes or [("code", "the identities differ, and nothing else that was recorded")])
    said = []
    if strange:
        said.append(f"NOT REPRODUCIBLE: {len(strange)} runs of one identity have other params_sha256: {_runs(strange)}")
    for cause in ("configuration", "code", "versions"):
        items = [f"{text} ({count} runs)" for (name, text), count in found.items() if name == cause]
        if items:
            more = f"; and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
            said.append(f"{cause}: {'; '.join(items[:SHOWN])}{more}")
    return said


def _settings(store: Store, key: RunKey) -> dict[str, Any]:
    return flatten({name: value for name, value in store.configs.get(key, {}).items() if name not in NOT_CONFIG})


def _causes(a: Store, b: Store, key: RunKey) -> list[tuple[str, str]]:
    """In what the making of one run differs: (configuration, code or versions; in words)."""
    first, second = a.manifests.get(key, {}), b.manifests.get(key, {})
    settings = _differing(_settings(a, key), _settings(b, key))
    causes = [("configuration", f"{name} {x} -> {y}") for name, x, y in settings]
    causes += [("versions", f"{name} {x} -> {y}") for name, x, y in _differing(_libraries(first), _libraries(second))]
    (name, made), (_, now) = _digest(first, second), _digest(second, first)
    return [*causes, ("code", f"{name} {made[:12]} -> {now[:12]}")] if made != now else causes


def _rewritten(metric: str, keys: list[RunKey], old: dict[RunKey, Row], new: dict[RunKey, Row]) -> list[str]:
    """Runs with the same parameters and another number."""
    other = []
    for key in keys:
        x, y = float(old[key][metric]), float(new[key][metric])
        if not math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-6) and not (math.isnan(x) and math.isnan(y)):
            other.append(key)
    if not other:
        return []
    about = "their games or metrics were edited, or other runs of the task moved the steps that are compared"
    return [f"records: {len(other)} runs of the same params_sha256 give another {metric} ({_runs(other)}): {about}"]


def _family(a: Study, b: Study) -> list[str]:
    """Other claims of the check, which share the correction for many claims."""
    old, new = ({c.id for c in study.plan.claims if is_planned(c, study.plan)} for study in (a, b))
    said = [f"{word} {', '.join(sorted(ids))}" for word, ids in (("without", old - new), ("with", new - old)) if ids]
    return [f"family: {len(old)} -> {len(new)} claims are corrected together, {' and '.join(said)}"] if said else []


def stated_otherwise(side: Judged, claim: str) -> bool:
    """Does the pack state something else than its own data give now?"""
    stated, now = side.stated.get(claim), side.gives(claim)
    return stated is not None and now is not None and bool(changed(stated, now))


def _code(name: str, side: Judged, other: Judged, claim: str) -> list[str]:
    """What the judging code changed. Args: name: of the side."""
    stated, now, theirs = side.stated.get(claim), side.gives(claim), other.says(claim)
    if stated is None or now is None or not changed(stated, now):
        return []
    if theirs is not None and not changed(now, theirs):
        return [f"analysis code: judged now, the data of {name} give what {'B' if name == 'A' else 'A'} says"]
    return [f"analysis code: judged now, the data of {name} give {now.verdict}, {in_words(now)}"]


def _common(a: Judged, b: Judged, claim: str, old: dict[RunKey, Row], new: dict[RunKey, Row]) -> list[str]:
    """What the newer side says of the seeds that both sides have, where that tells the seeds from the rest."""
    done = {key for key in old.keys() & new.keys() if old[key]["state"] == new[key]["state"] == "done"}
    cells = {key[:2] for key in old.keys() | new.keys()}
    common = sorted(seed for seed in {key[2] for key in done} if all((*cell, seed) in done for cell in cells))
    if not common or b.study is None:
        return ["no seed is done for all of its runs on both sides: nothing to compare the seeds with"]
    keys = {key for key, _ in run_records(b.study.store.runs) if key not in new or key[2] in common}
    verdict, before = restricted(b.study, keys)[claim].verdict, a.now[claim].verdict
    said = f"on the common seeds {ranges_text(common)} alone B gives {verdict}"
    return [f"{said}, as A: the seeds decide" if verdict == before else f"{said}, A {before}: not the seeds alone"]


def reasons(a: Judged, b: Judged, claim: str) -> list[str]:
    """Every cause that is found, in sentences."""
    said = [*edited(a, b, claim), *_code("A", a, b, claim), *_code("B", b, a, claim)]
    asked = claim_of(b, claim)
    if a.study is None or b.study is None or asked is None or claim not in a.now:
        return said or ["one side cannot be judged now, so that only what is stated was compared"]
    old, new = _about(a, claim), _about(b, claim)
    if not old or not new:
        return [
            *said,
            f"runs: {' and '.join(name for name, of in (('A', old), ('B', new)) if not of)} plans none for it",
        ]
    moved = seeds(old, new)
    said += moved
    done = [key for key in old if key in new and old[key]["state"] == new[key]["state"] == "done"]
    same = [key for key in done if old[key]["params_sha256"] == new[key]["params_sha256"]]
    said += remade(a.study, b.study, [key for key in done if key not in set(same)], old, new)
    said += _rewritten(asked.metric, same, old, new)
    if moved and a.now[claim].verdict != b.now[claim].verdict:
        said += _common(a, b, claim, old, new)
    said += _family(a.study, b.study)
    return said or ["no cause among its runs: other runs of its tasks, or the plan's other fields, differ"]
