"""Registered claims: what stood, word for word and with its hash, in a plan file before a run of the plan existed.

Pure but for `origin`: contents of plan files in, the value of their key `registered` out.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from bench.checkout import git

LATER = ("paper", "section", "pairing", "protocol")  # keys of a claim that plans once lacked
Content = dict[str, Any]


def sha256(claim: Mapping[str, Any]) -> str:
    """Hash of a claim's canonical JSON: keys sorted, no blanks. Args: claim: as a plan file holds it."""
    return hashlib.sha256(json.dumps(claim, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def unedited(registered: Content, now: Content) -> bool:
    """Whether a claim says now what was registered, maybe when claims had fewer keys."""
    return registered == {key: value for key, value in now.items() if key in registered or key not in LATER}


def cell(arm: str, task: str) -> str:
    """An arm on a task, as a plan file names it."""
    return f"{arm}/{task}"


def seeds_of(runs: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Cell -> how many seeds of it are planned. Args: runs: of a plan file."""
    counts: dict[str, int] = {}
    for run in runs:
        name = cell(run["arm"], run["task"])
        counts[name] = max(counts.get(name, 0), run["seed"] + 1)
    return counts


def origin() -> Content:
    """When and from which code something is registered. Commit and dirty are null outside a git checkout."""
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.decode().strip() if commit else None,
        "dirty": None if changes is None else bool(changes.strip()),
    }


def begun(plan: Content, now: Content) -> Content:
    """The registration of a plan of which runs were made: as it is, with the seeds that were added since.

    Claims frozen before there were registrations are kept without hash and time.
    Args: plan: the plan file; now: what it is to hold.
    """
    old = plan.get("registered")
    if old is None:
        claims = {claim["id"]: {"sha256": "", "claim": claim, "at": ""} for claim in plan["check"]["claims"]}
        old = {"at": "", "commit": None, "dirty": None, "claims": claims, "seeds": seeds_of(plan["runs"])}
    seeds = {name: max(count, old["seeds"].get(name, 0)) for name, count in seeds_of(now["runs"]).items()}
    return {**old, "seeds": {**old["seeds"], **seeds}}


def fresh(plan: Content | None, now: Content, *, made: bool) -> Content:
    """The registration of a plan of which no run was made: its claims as they are now; unedited ones keep their time.

    Args: plan: the plan file, if there is one; now: what it is to hold; made: runs of it are there all the same, made
    for another check or under a plan file that is gone: nothing can be registered any more.
    """
    old = (plan or {}).get("registered") or {"claims": {}}
    stamp = origin()
    entries: Content = {}
    for claim in [] if made else now["check"]["claims"]:
        hashed = sha256(claim)
        known = old["claims"].get(claim["id"])
        same = known is not None and known["sha256"] == hashed
        entries[claim["id"]] = known if same else {"sha256": hashed, "claim": claim, "at": stamp["at"]}
    head = {key: old[key] for key in stamp} if entries and entries == old["claims"] else stamp
    return {**head, "claims": entries, "seeds": seeds_of(now["runs"])}


def edited(registered: Content, claim: Content) -> bool:
    """Whether a claim is not what was registered, or was not registered at all. Args: registered: of a plan file."""
    entry = registered["claims"].get(claim["id"])
    return entry is None or not unedited(entry["claim"], claim)


def united(ours: Content, theirs: Content) -> Content:
    """The registration of two plan files together: what both registered alike, since the later of the two times.

    What one of them lacks was seen there with runs before it was registered, if it ever was.
    Args: ours, theirs: plan files that have the key `registered`.
    """
    one, other = ours["registered"], theirs["registered"]
    claims = {}
    for name, entry in one["claims"].items():
        known = other["claims"].get(name)
        if known is not None and known["sha256"] == entry["sha256"]:
            claims[name] = max(entry, known, key=lambda item: str(item["at"]))
    cells = {**other["seeds"], **one["seeds"]}
    seeds = {name: max(one["seeds"].get(name, 0), other["seeds"].get(name, 0)) for name in cells}
    return {**max(one, other, key=lambda item: str(item["at"])), "claims": claims, "seeds": seeds}
