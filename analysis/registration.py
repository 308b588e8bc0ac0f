"""Which claims a plan file holds, and which of them stood before the plan's first run (`bench.registration`)."""

from typing import Any

from bench.errors import UserError
from bench.registration import Content, cell, edited, sha256

REGISTERED, EXPLORATORY = "registered", "exploratory"
EDITED = ".edited"  # behind the id of a claim that is not what was registered under it


def read(plan: Content, where: str) -> tuple[list[Content], dict[str, str]]:
    """`claims_of` a plan that lists all runs that it registered. Args: plan: content of a plan file; where: its name.

    Errors: `UserError` where runs were taken out, and where the registration is not one.
    """
    try:
        require_all_seeds(plan, where)
        return claims_of(plan)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{where} has a registration that cannot be read: {error!r}") from error


def claims_of(plan: Content) -> tuple[list[Content], dict[str, str]]:
    """The claims to judge, and id -> registered | exploratory; neither for what was frozen without a hash.

    A claim that was edited after runs existed is there twice: as it was registered, and as `<id>.edited`.
    Args: plan: content of a plan file.
    """
    registered = plan.get("registered")
    if registered is None:  # frozen before claims were registered; but looks came later than registrations
        states = {claim["id"]: EXPLORATORY for claim in plan["check"]["claims"]} if plan.get("looks") else {}
        return list(plan["check"]["claims"]), states
    hashed = any(entry["sha256"] for entry in registered["claims"].values())
    claims, states = [], {}
    now = {claim["id"]: claim for claim in plan["check"]["claims"]}
    for name, entry in registered["claims"].items():
        kept = name in now and not edited(registered, now[name])
        claims.append(now[name] if kept else entry["claim"])  # the same words; its newer keys say more
        if entry["sha256"] or hashed:  # of one registration all have a hash, or none: one without was taken out
            states[name] = REGISTERED if sha256(entry["claim"]) == entry["sha256"] else EXPLORATORY
    for name, claim in now.items():
        if edited(registered, claim):
            new = name if name not in registered["claims"] else name + EDITED
            claims.append({**claim, "id": new})
            states[new] = EXPLORATORY
    return claims, states


def stamps(plan: Content, states: dict[str, str]) -> dict[str, str]:
    """Registered claim -> the beginning of its hash and its time.

    Args: plan: content of a plan file; states: as from `read`.
    """
    entries = (plan.get("registered") or {}).get("claims", {})
    return {
        name: f"sha256 {entries[name]['sha256'][:12]}, {entries[name]['at']}"
        for name, state in states.items()
        if state == REGISTERED
    }


def require_all_seeds(plan: Content, where: str) -> None:
    """Refuse a list of runs from which some were taken out.

    Args: plan: content of a plan file; where: its name. Errors: `UserError` naming the arm, the task and the seeds.
    """
    planned: dict[str, set[int]] = {}
    for run in plan["runs"]:
        planned.setdefault(cell(run["arm"], run["task"]), set()).add(run["seed"])
    seeds: dict[str, Any] = (plan.get("registered") or {}).get("seeds") or {}
    # Seeds are planned from 0 on without a gap: also without a registration a gap is a run that was taken out.
    asked = {name: max(max(found) + 1, seeds.get(name, 0)) for name, found in planned.items()}
    for name, count in (seeds | asked).items():
        if gone := sorted(set(range(count)) - planned.get(name, set())):
            arm, _, task = name.partition("/")
            raise UserError(
                f"survivors only: {where} asks for {count} seeds of arm {arm} on {task} and lists "
                f"{count - len(gone)} of them, without seed {', '.join(map(str, gone))}; restore its list of runs"
            )
