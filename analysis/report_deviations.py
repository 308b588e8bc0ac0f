"""In what the runs of a check differ from the experiment that a paper reports, field by field."""

import json
from dataclasses import dataclass
from typing import Any

from analysis.protocol import differing
from analysis.study import Study


@dataclass(frozen=True)
class Deviation:
    """A field with our value and theirs, and the runs that it is about."""

    field: str
    ours: str
    theirs: str
    where: str


@dataclass(frozen=True)
class Deviations:
    """Fields that differ; tasks on which the paper reports nothing; a sentence that says what was compared."""

    sentence: str
    rows: list[Deviation]
    own_tasks: list[str]


def as_text(value: Any) -> str:
    """A value of a configuration or manifest as it is printed: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _where(pairs: set[tuple[str, str]], every: set[tuple[str, str]]) -> str:
    """(arm, task) pairs in words. Args: every: all pairs that were compared."""
    if pairs == every:
        return "all runs"
    arms, tasks = sorted({arm for arm, _ in pairs}), sorted({task for _, task in pairs})
    if pairs == {pair for pair in every if pair[0] in arms}:
        return f"arm {', '.join(arms)}"
    if pairs == {pair for pair in every if pair[1] in tasks}:
        return f"task {', '.join(tasks)}"
    return "; ".join(f"{arm} on {', '.join(sorted(task for a, task in pairs if a == arm))}" for arm in arms)


def _scale_rows(study: Study, games: list[str]) -> list[Deviation]:
    """Length and number of the runs beside the reported ones."""
    reference = study.plan.reference
    assert reference is not None
    runs = study.scored[study.scored["task"].isin(games)]
    steps = sorted({int(step) for step in runs["steps"]})
    counts = sorted({int(count) for count in runs.groupby(["arm", "task"]).size()})
    ours, theirs = " to ".join(f"{step:,}" for step in dict.fromkeys((steps[0], steps[-1]))), f"{reference.steps:,.0f}"
    rows = [Deviation("agent steps of a run", ours, theirs, "all runs")] if ours != theirs else []
    ours, theirs = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))), str(reference.runs)
    return rows + ([Deviation("runs per arm and game", ours, theirs, "all runs")] if ours != theirs else [])


def deviations(study: Study) -> Deviations:
    """Everything in which the games' runs differ from the reported setting of their arm."""
    plan = study.plan
    if plan.reference is None:
        said = "The check repeats no reported experiment: its settings are this project's; no field can be compared."
        return Deviations(said, [], [])
    games = [task for task, known in plan.tasks.items() if known.env == "atari"]
    own = [task for task in plan.tasks if task not in games]
    found: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
    every = set()
    for (arm, task, _), config in study.store.configs.items():
        if task in games and arm in plan.reference_config:
            every.add((arm, task))
            for item in differing(config, plan.reference_config[arm]):
                found.setdefault((item.field, as_text(item.ours), as_text(item.theirs)), set()).add((arm, task))
    rows = [Deviation(*fields, _where(pairs, every)) for fields, pairs in sorted(found.items())]
    experiment = f"{plan.reference.paper.upper()}, Figure {plan.reference.figure}"
    if not games:
        said = f"None of the tasks of this scale is among those of {experiment}, so no field can be compared."
        return Deviations(said, [], own)
    said = f"Our runs on games beside the setting of {experiment}, as far as it is known: algorithm and environment."
    return Deviations(said, _scale_rows(study, games) + rows, own)
