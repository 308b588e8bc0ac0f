"""The command register: write the claims of checks, with their hashes, into a store before their runs are made."""

from typing import Any

from analysis.call import Call, refusal
from bench.compose import compose, quoted, to_suite_config
from bench.plan import Plan, expand
from bench.registration import edited, sha256
from bench.suite import check_names

DIGITS = 12  # of a hash that are printed
NEEDED = ("check", "scale", "store")


def run(call: Call) -> int:
    """Register and print one line per claim. Returns the exit status."""
    if absent := [key for key in NEEDED if not call.get(key)]:
        raise refusal(f"register needs {', '.join(absent)}")
    asked = call.values["check"]
    names = check_names() if asked == "all" else list(dict.fromkeys(asked.split(",")))
    words = [f"scale={call.values['scale']}", f"store={quoted(call.values['store'])}"]
    plans = [expand(to_suite_config(compose([*words, f"check={name}"], "suite"))) for name in names]
    for plan in plans:
        for line in register(plan):
            print(line)
    return 0


def register(plan: Plan) -> list[str]:
    """Register the claims of a plan. Returns a line per claim: check, id, first digits of the hash, what it is."""
    before = plan.frozen() or {}
    known = (before.get("registered") or {}).get("claims", {})
    after = plan.register()
    return [f"{plan.suite.check.name}  {line}" for line in _lines(after, known)]


def _lines(plan: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """Args: plan: the plan file as it is now; known: the claims that were registered in it before."""
    registered, lines = plan["registered"], []
    now = {claim["id"]: claim for claim in plan["check"]["claims"]}
    for name, entry in registered["claims"].items():
        said = "registered now" if known.get(name) != entry else f"registered {entry['at']}"
        said = said if entry["sha256"] else "frozen with its plan, before claims were registered"
        if entry["sha256"] and sha256(entry["claim"]) != entry["sha256"]:
            said = "exploratory: the plan file was changed by hand, its words have another hash"
        gone = ", no longer in the check and judged all the same" if name not in now else ""
        lines.append(f"{name}  {(entry['sha256'] or sha256(entry['claim']))[:DIGITS]}  {said}{gone}")
    for name, claim in now.items():
        if edited(registered, claim):
            word = "edited" if name in registered["claims"] else "new"
            lines.append(f"{name}  {sha256(claim)[:DIGITS]}  exploratory: {word} after runs of the plan were made")
    return lines
