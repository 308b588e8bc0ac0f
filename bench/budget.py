"""Which seeds, tasks and steps of which checks fit a budget of hours. Pure: cells, hours and claims in, choices out.

Moves are made one at a time until what is left fits: fewer seeds, the most expensive task less, half the steps, a check
not at all. Of those that leave every decidable claim decidable the first in this order is taken, and of equals the one
that saves the most; when none is left, the one that costs the fewest decidable claims per hour that is needed and
saved. What decides nothing is not made smaller but left out, unless it is all there is. At the end hours that are left
over give back what was cut last. The same input gives the same choice.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

SEEDS, TASKS, STEPS, CHECK = range(4)  # kinds of moves, in the order in which they are tried
MOST_HALVINGS = 2  # of the steps: less is another experiment


@dataclass(frozen=True)
class Cell:
    """An arm on a task: runs that differ in nothing but the seed."""

    arm: str
    task: str
    device: str
    steps: int
    names: tuple[str, ...]  # one per planned seed; checks that share a run have the same name for it
    done: frozenset[str]  # of the names
    hours: Callable[[int], float]  # of one run, by its steps; infinite where unknown


@dataclass(frozen=True)
class Choice:
    """What is run of a check; None: what the check says itself."""

    seeds: int | None = None  # of every cell
    tasks: tuple[str, ...] | None = None
    steps: int | None = None


@dataclass(frozen=True)
class Offer:
    """A check that may be cut."""

    name: str
    cells: tuple[Cell, ...]  # in the order in which a seed's runs are made
    least_seeds: int
    decides: Callable[[Choice], frozenset[str]]  # claims that it leaves decidable
    accepts: Callable[[int], bool]  # can its runs be so short?
    made: bool = False  # runs of it were made: it stays as it is, or waits
    planned: Choice = Choice()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(cell.task for cell in self.cells))

    @property
    def seeds(self) -> int:
        """Most of any cell."""
        return max((len(cell.names) for cell in self.cells), default=0)

    @property
    def steps(self) -> int | None:
        """Of all runs; None where they differ, so that no one number could stand for them."""
        found = {cell.steps for cell in self.cells}
        return found.pop() if len(found) == 1 else None


Choices = dict[str, Choice | None]  # by check; None: not run


def wall_hours(offers: Iterable[Offer], choices: Choices, slots: Mapping[str, int]) -> float:
    """Until the last run has ended, one check after the other, each run once.

    Args: slots: runs at once by device; runs on a device without any take for ever.
    """
    seen: set[str] = set()
    return sum(_makespan(offer, choice, slots, seen) for offer in offers if (choice := choices[offer.name]) is not None)


def _makespan(offer: Offer, choice: Choice, slots: Mapping[str, int], seen: set[str]) -> float:
    """Hours of a check's runs in their order, each started when a slot is free. Args: seen: runs made before; grows."""
    free = {device: [0.0] * count for device, count in slots.items()}
    cells = [cell for cell in offer.cells if choice.tasks is None or cell.task in choice.tasks]
    last = 0.0
    for seed in range(max((choice.seeds or len(cell.names) for cell in cells), default=0)):
        for cell in cells:
            if seed >= (choice.seeds or len(cell.names)):
                continue
            steps = choice.steps or cell.steps
            as_planned = seed < len(cell.names) and steps == cell.steps
            name = cell.names[seed] if as_planned else f"{offer.name} {cell.arm} {cell.task} {seed} {steps}"
            if name in seen or name in cell.done:
                continue
            seen.add(name)
            if not free.get(cell.device):
                return float("inf")
            ended = free[cell.device][0] + cell.hours(steps)
            heapq.heapreplace(free[cell.device], ended)
            last = max(last, ended)
    return last


@dataclass(frozen=True)
class _Move:
    check: str
    kind: int
    to: Choice | None
    lost: frozenset[str]
    saved: float  # hours of the check alone

    def rank(self, excess: float) -> tuple[bool, float, int, float, str, str]:
        """The least first. Args: excess: hours that are too many."""
        per_hour = len(self.lost) / min(self.saved, excess)
        return bool(self.lost), per_hour, self.kind, -self.saved, self.check, str(self.to)


class Chooser:
    """Cuts a plan until it fits.

    Args: offers: all with runs of known length ; slots: runs at once by device.
    """

    def __init__(self, offers: list[Offer], slots: Mapping[str, int]):
        self.offers, self.slots = {offer.name: offer for offer in offers}, slots
        self.choices: Choices = {offer.name: offer.planned for offer in offers}
        self._cut: list[str] = []  # checks, in the order of their cuts
        self._decided: dict[tuple[str, Choice], frozenset[str]] = {}
        self._taken: dict[tuple[str, Choice], float] = {}
        self.least = 0.0  # hours of the smallest plan, where not even that fits

    def fit(self, budget: float) -> Choices:
        """What fits into so many hours; every check None where nothing does, and then `least` says what would."""
        for offer in self.offers.values():
            if self._alone(offer, offer.planned) == float("inf"):
                self._make(offer.name, self._known_part(offer))
        while (hours := self.hours()) > budget:
            if (move := self._next(hours - budget)) is None:
                self.least, self.choices = hours, dict.fromkeys(self.choices)
                return self.choices
            self._make(move.check, move.to)
        self._leave_out_what_is_left_of_nothing()
        for check in reversed(dict.fromkeys(self._cut)):
            self._give_back(self.offers[check], budget)
        return self.choices

    def _known_part(self, offer: Offer) -> Choice | None:
        """The tasks whose runs are of known length; None where there are none, and of a check that stays as it is."""
        tasks = offer.planned.tasks or offer.tasks
        alone = {task: self._alone(offer, replace(offer.planned, tasks=(task,))) for task in tasks}
        known = tuple(task for task in tasks if alone[task] < float("inf"))
        return replace(offer.planned, tasks=known) if known and not offer.made else None

    def hours(self) -> float:
        """Of what is chosen now."""
        return wall_hours(self.offers.values(), self.choices, self.slots)

    def decided(self, offer: Offer, choice: Choice | None) -> frozenset[str]:
        """Claims of the check that stay decidable. None is won by a cut: that would choose tasks by their results."""
        if choice is None:
            return frozenset()
        if (offer.name, choice) not in self._decided:
            planned = self.decided(offer, offer.planned) if choice != offer.planned else None
            found = offer.decides(choice)
            self._decided[offer.name, choice] = found if planned is None else found & planned
        return self._decided[offer.name, choice]

    def _alone(self, offer: Offer, choice: Choice | None) -> float:
        if choice is None:
            return 0.0
        if (offer.name, choice) not in self._taken:
            self._taken[offer.name, choice] = _makespan(offer, choice, self.slots, set())
        return self._taken[offer.name, choice]

    def _make(self, check: str, to: Choice | None) -> None:
        self.choices[check] = to
        self._cut.append(check)

    def _next(self, excess: float) -> _Move | None:
        moves = [move for offer in self.offers.values() for move in self._moves(offer)]
        for move in sorted(moves, key=lambda move: move.rank(excess)):
            if move.kind != STEPS or self.offers[move.check].accepts(move.to.steps or 0 if move.to else 0):
                return move
        return None

    def _moves(self, offer: Offer) -> Iterable[_Move]:
        """Ways to make the check cheaper."""
        now = self.choices[offer.name]
        if now is None:
            return
        held, takes = self.decided(offer, now), self._alone(offer, now)
        others = any(choice is not None for check, choice in self.choices.items() if check != offer.name)
        options: list[tuple[int, Choice | None]] = [(CHECK, None)] if others else []
        if not offer.made and (held or not others):
            options += self._smaller(offer, now)
        for kind, to in options:
            if (saved := takes - self._alone(offer, to)) > 0:
                yield _Move(offer.name, kind, to, held - self.decided(offer, to), saved)

    def _smaller(self, offer: Offer, now: Choice) -> Iterable[tuple[int, Choice]]:
        if seeds := self._fewer_seeds(offer, now):
            yield SEEDS, replace(now, seeds=seeds)
        tasks = now.tasks or offer.tasks
        if len(tasks) > 1:  # by its cost alone: what is known of the results may not choose among tasks
            rests = [replace(now, tasks=tuple(name for name in tasks if name != task)) for task in reversed(tasks)]
            yield TASKS, min(rests, key=lambda rest: self._alone(offer, rest))
        whole = offer.steps
        if whole and (steps := now.steps or whole) * 2**MOST_HALVINGS > whole:
            yield STEPS, replace(now, steps=steps // 2)

    def _fewer_seeds(self, offer: Offer, now: Choice) -> int | None:
        """The fewest that keep what is decidable; where all are needed, the fewest that cost one claim only."""
        held, most = self.decided(offer, now), now.seeds or offer.seeds
        for spared in (0, 1):
            for seeds in range(offer.least_seeds, most):
                if len(held - self.decided(offer, replace(now, seeds=seeds))) <= spared:
                    return seeds
        return None

    def _leave_out_what_is_left_of_nothing(self) -> None:
        """Of what was cut, checks that could decide something and now cannot, unless there is nothing else."""
        for check in dict.fromkeys(self._cut):
            offer, now = self.offers[check], self.choices[check]
            others = any(choice is not None for name, choice in self.choices.items() if name != check)
            if others and self.decided(offer, offer.planned) and not self.decided(offer, now):
                self.choices[check] = None

    def _give_back(self, offer: Offer, budget: float) -> None:
        """All of the check if it fits, else as many of its own seeds as do."""
        cut = self.choices[offer.name]
        options = [offer.planned]
        if cut is not None and cut.seeds != offer.planned.seeds:
            options += [replace(cut, seeds=offer.planned.seeds)]
            options += [replace(cut, seeds=seeds) for seeds in range(offer.seeds - 1, cut.seeds or 0, -1)]
        for more in options:
            self.choices[offer.name] = more
            if self.decided(offer, more) >= self.decided(offer, cut) and self.hours() <= budget:
                return
        self.choices[offer.name] = cut

    def explain(self) -> list[str]:
        """One line per check that is not run as it says: how else, and which claims that costs."""
        lines = []
        for check, offer in self.offers.items():
            if (now := self.choices[check]) == offer.planned != Choice():
                lines.append(f"{check}: goes on as it was begun, {_difference(offer, now, Choice())}")
            elif now != offer.planned:
                lost = self.decided(offer, offer.planned) - self.decided(offer, now)
                cost = f"no longer decidable: {', '.join(sorted(lost))}" if lost else "no decidable claim is lost"
                unknown = self._alone(offer, offer.planned) == float("inf")
                why = "how long its runs take is not known" if unknown else cost
                lines.append(f"{check}: {_difference(offer, now, offer.planned)}; {why}")
        return lines


def _difference(offer: Offer, now: Choice | None, before: Choice) -> str:
    if now is None:
        return "left out"
    said = []
    if now.seeds != before.seeds:
        said.append(f"{now.seeds} seeds instead of {before.seeds or offer.seeds}")
    if now.tasks != before.tasks:
        said.append(
            f"without {', '.join(task for task in before.tasks or offer.tasks if task not in (now.tasks or ()))}"
        )
    if now.steps != before.steps:
        said.append(f"{now.steps:,} steps instead of {before.steps or offer.steps:,}")
    return ", ".join(said)
