"""What the self-test tries: rows of rule x world x seeds, each a trial that is repeated with fresh synthetic runs.

A trial makes a check whose truth is known, has it judged, and says the verdict, and whether the interval holds the
truth.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from analysis import bootstrap, stats
from analysis.cells import SIGNS
from analysis.compare import label_of
from analysis.selection import parse_entry
from analysis.verdicts import judge
from analysis.worlds import WORLDS, Design, losses

REPS = 10_000  # resamples, a tenth of what decides real claims; their error makes intervals 1 % wider
MARGIN = 0.5  # half of the way from the margin to what is well beyond it, so that no effect is as far on the other side
NOTHING = -0.5
LOOKS_LIMIT = 0.0285  # levels of Brownian motion, used with Student's t: at most this (tests of analysis.sequential)
Outcome = tuple[str, bool | None]  # supported, refuted, ...; does the interval hold the truth (None: there is none)
# Second argument: where the truth lies, 0 on the margin, 1 well beyond it (an equality: in its middle), NOTHING: no
# effect.
Trial = Callable[[np.random.Generator, float], Outcome]


@dataclass(frozen=True)
class Row:
    """A rule in a world. `coverage`: what its interval claims; `exact`: and holds to the last per cent."""

    rule: str
    world: str
    seeds: int
    trial: Trial = field(repr=False, compare=False)
    coverage: float | None = 0.95
    exact: bool = False
    claimed: bool = True
    verdicts: bool = True  # the trial gives verdicts, not an interval alone
    limit: float = 0.025  # of false support and refutation: half of alpha, one side of the interval
    directed: bool = True  # no effect is on the wrong side of the margin; of an equality it is what is claimed


@dataclass(frozen=True)
class Count:
    """Hits and trials of each rate."""

    at_margin: int = 0
    supported: int = 0
    refuted: int = 0
    beyond: int = 0
    found: int = 0
    intervals: int = 0
    covered: int = 0
    without: int = 0
    imagined: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def pairs(self) -> dict[str, tuple[int, int]]:
        """Name of a rate -> hits, trials."""
        return {
            "false support": (self.supported, self.at_margin),
            "false refutation": (self.refuted, self.at_margin),
            "support of nothing": (self.imagined, self.without),
            "power": (self.found, self.beyond),
            "coverage": (self.covered, self.intervals),
        }


def count(row: Row, reps: int, rng: np.random.Generator) -> Count:
    """Repeat the row's trial: `reps` times with the truth on the margin, half as often beyond it and without effect."""
    at_margin = [row.trial(rng, 0.0) for _ in range(reps)]
    beyond = [row.trial(rng, 1.0) for _ in range(reps // 2)] if row.verdicts else []
    without = [row.trial(rng, NOTHING) for _ in range(reps // 2)] if row.verdicts and row.directed else []
    covered = [held for _, held in at_margin if held is not None]
    said = [verdict for verdict, _ in at_margin]
    return Count(
        at_margin=reps if row.verdicts else 0,
        supported=said.count("supported"),
        refuted=said.count("refuted"),
        beyond=len(beyond),
        found=sum(verdict == "supported" for verdict, _ in beyond),
        intervals=len(covered),
        covered=sum(covered),
        without=len(without),
        imagined=sum(verdict == "supported" for verdict, _ in without),
    )


# --- claims -----------------------------------------------------------------------------------------------------------


def of_claim(design: Design, world: str, at_margin: list[float], beyond: list[float], *, lost: bool = False) -> Trial:
    """The claim of a design. Of a choice among arms all candidates have the same truth.

    Args: at_margin, beyond: the arms' truths, whose contrast is the margin, and more (an equality: the margin, and 0);
    lost: some runs fail, bad ones more often.
    """

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truths = [on + at * (far - on) for on, far in zip(at_margin, beyond, strict=True)]
        scores = design.scores(rng, WORLDS[world], truths)
        gone = losses(rng, scores) & (np.arange(len(scores)) == 0)[:, None, None] if lost else None  # of A alone
        frame = design.scored(scores, gone)
        verdict = judge(design.plan, frame, {}, REPS)[0]
        named = [truths[design.arms.index(parse_entry(text, list(design.arms)).arms[0])] for text in verdict.contrast]
        truth = float(np.dot(SIGNS[len(named)], named))
        held = None if verdict.interval is None else verdict.interval[0] <= truth <= verdict.interval[1]
        return verdict.verdict, held

    return trial


def of_shares(design: Design, difference: float) -> Trial:
    """Shares of collapsed runs: A's is `difference` above B's 0.3, or 0.4 more."""

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truth = difference + 0.4 * at
        chance = np.array([0.3 + truth, 0.3])[:, None, None]
        frame = design.scored((rng.random((2, design.seeds, design.tasks)) < chance).astype(float))
        verdict = judge(design.plan, frame, {}, REPS)[0]
        assert verdict.interval is not None
        return verdict.verdict, verdict.interval[0] <= truth <= verdict.interval[1]

    return trial


def of_family(design: Design, world: str) -> Trial:
    """Several claims, all of them with the truth on the margin: is any of them decided?"""

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truths = [MARGIN + at] * (len(design.arms) - 1) + [0.0]
        verdicts = judge(design.plan, design.scored(design.scores(rng, WORLDS[world], truths)), {}, REPS)
        said = {verdict.verdict for verdict in verdicts}
        return "supported" if "supported" in said else "refuted" if "refuted" in said else "inconclusive", None

    return trial


def of_reported(seeds: int, theirs: int) -> Trial:
    """A reported mean of `theirs` runs: compatible is support; the truth lies on the margin, or in the middle."""
    margin = 2.0

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truth = margin * (1 - at)
        found = stats.prediction_interval(
            rng.standard_normal(seeds) + truth, rng.standard_normal(theirs).mean(), theirs
        )
        label = label_of(found.low, found.high, margin)
        verdict = {"compatible": "supported", "higher": "refuted", "lower": "refuted"}.get(label, "inconclusive")
        return verdict, found.low <= truth <= found.high

    return trial


# --- intervals that figures show --------------------------------------------------------------------------------------


@cache
def _truth(statistic: str, world: str, tasks: int) -> float:
    """Of the runs that the worlds make, from two million of them."""
    rng = np.random.default_rng(0)
    return bootstrap.point(_runs(rng, world, 2_000_000 // tasks, tasks), statistic)


def _runs(rng: np.random.Generator, world: str, seeds: int, tasks: int) -> np.ndarray:
    return np.asarray(WORLDS[world](rng, (1, seeds, tasks))[0] + np.linspace(-0.5, 1.5, tasks))


def of_aggregate(statistic: str, world: str, seeds: int, tasks: int, *, percentile: bool = False) -> Trial:
    """An aggregate of one arm over tasks. Args: percentile: the usual interval in place of ours."""

    def trial(rng: np.random.Generator, _: float) -> Outcome:
        truth, x = _truth(statistic, world, tasks), _runs(rng, world, seeds, tasks)
        reps, seed = 1000, int(rng.integers(2**31))
        if percentile:
            low, high = bootstrap.percentiles(bootstrap.draws(x, statistic, reps, seed))
        else:
            found = bootstrap.aggregate(x, statistic, reps=reps, seed=seed)
            low, high = found.low, found.high
        return "", low <= truth <= high

    return trial


def of_improvement(world: str, seeds: int, tasks: int) -> Trial:
    """Probability of improvement of two equal arms: a half."""

    def trial(rng: np.random.Generator, _: float) -> Outcome:
        a, b = (_runs(rng, world, seeds, tasks) for _ in range(2))
        found = bootstrap.improvement(a, b, reps=1000, seed=int(rng.integers(2**31)))
        return "", found.low <= 0.5 <= found.high

    return trial


# --- what the referee does not do, shown -----------------------------------------------------------------------------


def _plain(values: np.ndarray, truth: float) -> Outcome:
    found = stats.student_t(values)
    where = "supported" if found.low > MARGIN else "refuted" if found.high < MARGIN else "inconclusive"
    return where, found.low <= truth <= found.high


def of_survivors(design: Design, world: str) -> Trial:
    """Runs that failed left out of the mean: A loses its bad seeds, B has none."""

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truth = MARGIN + at
        scores = design.scores(rng, WORLDS[world], [truth, 0.0])[..., 0]
        alive = rng.random(scores.shape[1]) > 0.9 * (scores[0] < truth - 0.5)
        values = (scores[0] - scores[1])[alive]
        return _plain(values, truth) if len(values) > 1 else ("inconclusive", None)

    return trial


def of_episodes(seeds: int) -> Trial:
    """Twenty evaluation episodes of each run taken for runs."""

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truth = MARGIN + at
        runs = rng.standard_normal((2, seeds, 1)) + np.array([truth, 0.0])[:, None, None]
        episodes = runs + rng.standard_normal((2, seeds, 20))
        return _plain((episodes[0] - episodes[1]).ravel(), truth)

    return trial


def of_winner(candidates: int, seeds: int) -> Trial:
    """The best of several equal arms, chosen and judged on the same seeds."""

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truth = MARGIN + at
        scores = rng.standard_normal((candidates, seeds)) + truth
        return _plain(scores[scores.mean(axis=1).argmax()] - rng.standard_normal(seeds), truth)

    return trial
