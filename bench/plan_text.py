"""A plan as tables for a terminal, plain where there is none."""

import textwrap
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from bench.budget import Choice, Chooser, Offer, wall_hours
from bench.check_config import BlockConfig, CheckConfig, hours
from bench.plan import STATES, PlannedRun
from bench.rates import FILE, ORIGINS, Speed

if TYPE_CHECKING:
    from analysis.power import Power
    from bench.planning import Outlook, Prospect

WIDTH = 120
CROWDED = 0.1  # share of a measured run's time that other work may take before the reader is told
NEAR = 0.005  # shares below it are not worth a word
MEANINGS = {
    "finished": "such runs of the store took as long on this machine",
    "measured": "a run of the kind was made for some seconds",
    "pilot": "such runs of {pilot} took as long, {ratio}",
    "alike": "that of the run that differs in the fewest words",
    "at most": "its first metrics were not reached in time, so that it takes longer than this",
    "unknown": "nothing like it could be run here",
}
DETECTS = (
    "detects: smallest difference from the margin that the seeds find with 80 % power after Holm (of an equivalence: "
    "smallest margin); estimate: of so many finished seeds, in the runs named beside the check; needs: seeds that find "
    "a difference as large as the estimate's."
)
IN_SD = (
    " sd: standard deviations of a seed's contrast, where no finished run says how large one is; needs: seeds that "
    "find one of them."
)


def terminal() -> Console:
    """Standard output, at most WIDTH columns wide."""
    found = Console()
    return Console(highlight=False, markup=False, width=min(WIDTH, found.width) if found.is_terminal else WIDTH)


def duration(time: float) -> str:
    """Hours for reading: 40 s, 12 min, 3.6 h, 210 h; a question mark for what is not known."""
    if time == float("inf"):
        return "?"
    if time < 0.1:
        return f"{3600 * time:.0f} s"
    if time < 1:
        return f"{60 * time:.0f} min"
    return f"{time:,.1f} h" if time < 100 else f"{time:,.0f} h"


def _say(console: Console, text: str, later: str = "") -> None:
    console.print(textwrap.fill(text, console.width, subsequent_indent=later))


def _table(*columns: str) -> Table:
    """A table whose first and last columns hold words, which are wrapped; the others hold numbers, which are not."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        words = i in (0, len(columns) - 1)
        table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    return table


def show_checks(console: Console, outlook: "Outlook") -> None:
    """Runs, what the store has of them, steps and hours, by check and in all."""
    prospects = outlook.prospects
    suite = prospects[0].plan.suite
    said = "1 check" if len(prospects) == 1 else f"{len(prospects)} checks"
    slots = ", ".join(f"{count or 'none'} on {device}" for device, count in outlook.slots.items())
    _say(console, f"{said} at scale {suite.scale.name}, store {suite.store}; runs at once: {slots}")
    if len(prospects) == 1:
        check = prospects[0].plan.suite.check
        _say(console, f"{check.name}: {check.question}", "  ")
        for block in prospects[0].plan.blocks:
            _say(console, _block(block, check), "    ")
    table = _table("check", "runs", "in the store", "steps to make", "core time", "time", "rates")
    for prospect in prospects:
        table.add_row(prospect.name, *_costs(outlook, [prospect]))
    if len(prospects) > 1:
        table.add_section()
        table.add_row("all, each run once", *_costs(outlook, prospects))
    console.print(table)
    for note in _notes(outlook):
        _say(console, note)


def _block(block: BlockConfig, check: CheckConfig) -> str:
    tuning = f", {check.tuning_seeds} of them to choose arms on" if check.tuning_seeds else ""
    said = f"  {', '.join(block.arms)} on {', '.join(block.tasks)}: {block.seeds} seeds{tuning}; {block.steps:,} steps"
    if check.reference and {check.tasks[task].env for task in block.tasks} == {"atari"}:
        said += f", {block.steps / check.reference.hours / check.reference.steps_per_hour:.2%} of the paper's"
    return said


def _costs(outlook: "Outlook", prospects: "list[Prospect]") -> tuple[str, ...]:
    run_dirs = dict.fromkeys(run.run_dir for prospect in prospects for run in prospect.plan.runs)
    found = [outlook.runs[name] for name in run_dirs if name in outlook.runs]
    counts = Counter(state for _, state in found if state != "missing")
    held = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    todo = [(run, outlook.speeds.speed(run)) for run, state in found if state != "done"]
    names = {prospect.name for prospect in prospects}
    wanted = [_known_part(offer) for offer in outlook.offers if offer.name in names]
    wall = wall_hours(wanted, {offer.name: Choice() for offer in wanted}, outlook.slots)
    core = sum(speed.hours(run.steps) for run, speed in todo if speed.per_second)
    unknown = any(speed.most_hours(1) == float("inf") for _, speed in todo)
    return (
        str(len(found)),
        held or "-",
        f"{sum(run.steps for run, _ in todo):,}",
        _at_least(core, unknown),
        _at_least(wall, unknown),
        _shares(todo),
    )


def _at_least(time: float, unknown: bool) -> str:
    """A duration to which others of unknown length are added."""
    return duration(time) if not unknown else f"{duration(time)} + ?" if time else "?"


def _known_part(offer: Offer) -> Offer:
    """Without the runs of unknown length."""
    return replace(offer, cells=tuple(cell for cell in offer.cells if cell.hours(cell.steps) < float("inf")))


def _shares(todo: list[tuple[PlannedRun, Speed]]) -> str:
    """Share of the hours by origin; of unknown ones the runs."""
    parts: Counter[str] = Counter()
    for run, speed in todo:
        if speed.per_second:
            parts[speed.origin] += speed.hours(run.steps)  # type: ignore[assignment]
    unknown, total = sum(not speed.per_second for _, speed in todo), sum(parts.values())
    said = [f"{parts[origin] / total:.0%} {origin}" for origin in ORIGINS if total and parts[origin] / total > NEAR]
    return ", ".join([*said, *([f"{unknown} runs unknown"] if unknown else [])]) or "-"


def _notes(outlook: "Outlook") -> list[str]:
    found = {outlook.speeds.speed(run).origin for run, state in outlook.runs.values() if state != "done"}
    ratio = "times this machine's ratio to it" if outlook.speeds.is_scaled else "on another machine perhaps"
    words = {"pilot": outlook.prospects[0].plan.suite.pilot, "ratio": ratio}
    said = [f"{origin}: {meaning.format(**words)}" for origin, meaning in MEANINGS.items() if origin in found]
    suite = outlook.prospects[0].plan.suite
    notes = [f"core time: one run after the other; time: so many at once; rates: {'; '.join(said)}."] if said else []
    if outlook.speeds.crowded > CROWDED:
        notes.append(
            f"Other work took {outlook.speeds.crowded:.0%} of the cores while rates were measured; times are those of "
            f"a machine without it. Where {suite.store}/{FILE} is, they were kept; without it they are measured again."
        )
    return notes


def show_claims(console: Console, outlook: "Outlook") -> None:
    """Every claim: what its planned seeds can detect, and the seeds that it needs."""
    table = _table("claim", "seeds", "margin", "detects", "estimate", "of", "needs", "outcome")
    absent: dict[str, list[str]] = {}
    outcomes, assumed = Counter[str](), False
    for prospect in outlook.prospects:
        powers = prospect.powers()
        outcomes.update(power.outcome for power in powers)
        assumed |= any(power.detectable is not None and not power.spread for power in powers)
        sources = sorted({power.spread.source for power in powers if power.spread})
        table.add_section()
        table.add_row(" ".join([prospect.name, *([f"({', '.join(sources)})"] if sources else [])]), style="bold")
        for power in powers:
            if power.outcome == "not run":
                absent.setdefault(prospect.name, []).append(power.claim.id)
                continue
            table.add_row(*_claim(power))
            if power.note and prospect.design.plan.scientific:
                table.add_row(f"    {power.note}")
    console.print(table)
    _say(console, "Claims: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()) + ".")
    _say(console, DETECTS + (IN_SD if assumed else ""))
    scale = outlook.prospects[0].plan.suite.scale
    if not scale.scientific:
        _say(console, f"Scale {scale.name} decides nothing, whatever the seeds.")
    if absent:
        _say(console, "Not run at this scale:")
        for check, claims in absent.items():
            _say(console, f"- {check}: {', '.join(claims)}", "  ")


def _claim(power: "Power") -> tuple[str, ...]:
    claim, known = power.claim, power.spread
    sign = {"greater": "> ", "less": "< -", "equal": "+- ", "every_below": "each < "}[claim.direction]
    return (
        f"  {claim.id}",
        str(power.seeds),
        f"{sign}{claim.margin:.3g}",
        "-" if power.detectable is None else f"{power.detectable:.3g}" + ("" if known else " sd"),
        f"{known.value:.3g}" if known else "-",
        str(known.n) if known else "-",
        "-" if power.needed is None else str(power.needed),
        power.outcome,
    )


def show_budget(console: Console, outlook: "Outlook", chooser: Chooser, budget: str, commands: list[str]) -> None:
    """What fits, what that costs, the commands that run it, and what the rest of the budget could decide."""
    whole = wall_hours(outlook.offers, {offer.name: offer.planned for offer in outlook.offers}, outlook.slots)
    takes, lines = chooser.hours(), chooser.explain()
    length = "is of unknown length" if whole == float("inf") else f"takes {duration(whole)}"
    _say(
        console,
        f"Budget {budget}: the plan {length} and {f'is cut to {duration(takes)}' if takes < whole else 'fits'}.",
    )
    for line in lines:
        _say(console, f"- {line}", "  ")
    kept = [offer for offer in outlook.offers if chooser.choices[offer.name] is not None]
    decidable = sum(len(chooser.decided(offer, chooser.choices[offer.name])) for offer in kept)
    before = sum(len(chooser.decided(offer, offer.planned)) for offer in outlook.offers)
    _say(console, f"{decidable} of {before} decidable claims stay decidable. What runs it:")
    for command in commands:
        console.print(f"  {command}", soft_wrap=True)
    if more := _more(outlook, chooser, hours(budget) - takes):
        _say(console, "The hours that are left would also decide one of these:")
        for line in more:
            _say(console, f"- {line}", "  ")


def _more(outlook: "Outlook", chooser: Chooser, left: float) -> list[str]:
    """Checks of which a few more seeds than planned would decide more, within the hours that are left."""
    lines = []
    for prospect, offer in zip(outlook.prospects, outlook.offers, strict=True):
        if (choice := chooser.choices[offer.name]) is None:
            continue
        held, tuning = offer.decides(choice), prospect.plan.suite.check.tuning_seeds
        needed = {power.needed for power in prospect.powers(choice) if power.outcome == "more seeds" and power.needed}
        for seeds in sorted(needed | {number + tuning for number in needed}):
            more = replace(choice, seeds=seeds)
            extra = _alone(offer, more, outlook) - _alone(offer, choice, outlook)
            if 0 < extra <= left and (gained := offer.decides(more) - held):
                lines.append(f"{offer.name}: seeds={seeds}, {duration(extra)}, for {', '.join(sorted(gained))}")
                break
    return lines


def _alone(offer: Offer, choice: Choice, outlook: "Outlook") -> float:
    return wall_hours([offer], {offer.name: choice}, outlook.slots)
