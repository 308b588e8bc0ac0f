"""What the self-test tries: rows of rule x world x seeds, each a trial that is repeated with fresh synthetic runs.

A trial makes a check whose truth is known, has it judged, and says the verdict, and whether the interval holds the
truth.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from analysis import bootstrap, stats
from analysis.cells import SIGNS
from analysis.compare import label_of
from analysis.selection import parse_entry
from analysis.verdicts import judge
from analysis.worlds import WORLDS, Design, claim, losses

MARGIN = 0.5  # half of the way from the margin to what is well beyond it, so that no effect is as far on the other side
NOTHING = -0.5
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
        frame = design.scored(scores, losses(rng, scores) if lost else None)
        verdict = judge(design.plan, frame, {})[0]
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
        verdict = judge(design.plan, frame, {})[0]
        assert verdict.interval is not None
        return verdict.verdict, verdict.interval[0] <= truth <= verdict.interval[1]

    return trial


def of_family(design: Design, world: str) -> Trial:
    """Several claims, all of them with the truth on the margin: is any of them decided?"""

    def trial(rng: np.random.Generator, at: float) -> Outcome:
        truths = [MARGIN + at] * (len(design.arms) - 1) + [0.0]
        verdicts = judge(design.plan, design.scored(design.scores(rng, WORLDS[world], truths)), {})
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


# --- the rows --------------------------------------------------------------------------------------------------------


def _two(tasks: int, seeds: int, **changes: Any) -> Design:
    form = {name: changes.pop(name) for name in ("metric", "tuning_seeds", "looks", "spread") if name in changes}
    return Design(("a", "b"), tasks, seeds, (claim(**({"metric": form.get("metric", "score")} | changes)),), **form)


def _rows() -> list[Row]:
    above, beyond = [MARGIN, 0.0], [MARGIN + 1, 0.0]
    rows = []
    for seeds in (3, 5, 10, 20):
        for world in ("normal", "heavy tails", "bimodal seeds"):
            trial = of_claim(_two(1, seeds), world, above, beyond)
            rows.append(Row("greater, one task", world, seeds, trial, exact=world == "normal"))
    for seeds in (3, 5, 10, 20):
        for world in ("normal", "heavy tails", "bimodal seeds", "dependent tasks", "unequal spread"):
            trial = of_claim(_two(5, seeds, spread=0.5), world, above, beyond)
            rows.append(Row("greater, IQM of 5 tasks", world, seeds, trial))
    for seeds in (5, 20):
        trial = of_claim(_two(26, seeds, spread=1.0), "normal", above, beyond)
        rows.append(Row("greater, IQM of 26 tasks", "normal", seeds, trial))
        less = of_claim(_two(5, seeds, direction="less"), "normal", [-MARGIN, 0.0], [-MARGIN - 1, 0.0])
        rows.append(Row("less, IQM of 5 tasks", "normal", seeds, less))
        for tasks in (1, 5):
            for world in ("normal", "heavy tails", "bimodal seeds"):
                equal = of_claim(_two(tasks, seeds, direction="equal", margin=1.0), world, [1.0, 0.0], [0.0, 0.0])
                name = f"equal, {'one task' if tasks == 1 else 'IQM of 5 tasks'}"
                rows.append(Row(name, world, seeds, equal, directed=False))
        four = Design(("a", "b", "c", "d"), 3, seeds, (claim(contrast=["a", "b", "c", "d"]),))
        rows.append(
            Row("interaction of 4 arms", "normal", seeds, of_claim(four, "normal", [MARGIN, 0, 0, 0], [1.5, 0, 0, 0]))
        )
    for seeds in (5, 10, 20):
        for world in ("normal", "bimodal seeds"):
            trial = of_claim(_two(5, seeds), world, above, beyond, lost=True)
            rows.append(Row("greater, lost runs imputed at their worst", world, seeds, trial))
        share = of_shares(_two(1, seeds, metric="collapsed", margin=0.2), 0.2)
        rows.append(Row("greater, share of runs", "coins", seeds, share))
        best = Design(
            ("best", "b", "c", "d", "e"), 1, seeds + 3, (claim(contrast=["best(best, b, c, d)", "e"]),), tuning_seeds=3
        )
        chosen = of_claim(best, "normal", [MARGIN] * 4 + [0.0], [MARGIN + 1] * 4 + [0.0])
        rows.append(Row("best(4 arms) on tuning seeds", "normal", seeds, chosen))
    for looks in ((3, 5, 8, 10), (5, 10, 15, 20)):
        for world in ("normal", "heavy tails", "bimodal seeds"):
            trial = of_claim(_two(1, looks[-1], looks=looks), world, above, beyond)
            rows.append(Row(f"seeds=auto, {len(looks)} looks", world, looks[-1], trial, coverage=None))
    for seeds in (5, 20):
        arms = ("a", "b", "c", "d", "z")
        claims = tuple(claim(id=arm, contrast=[arm, "z"]) for arm in arms[:-1])
        trial = of_family(Design(arms, 1, seeds, claims), "normal")
        rows.append(Row("any of 4 claims, Holm", "normal", seeds, trial, coverage=None))
        for theirs in (1, 5):
            rows.append(
                Row(
                    f"reported mean of {theirs}",
                    "normal",
                    seeds,
                    of_reported(seeds, theirs),
                    exact=True,
                    directed=False,
                )
            )
    return rows + _shown() + _intervals()


def _intervals() -> list[Row]:
    """Of figures: ours, and for comparison the percentiles."""
    rows = []
    for seeds in (3, 5, 10):
        for statistic in ("iqm", "mean", "median", "optimality_gap"):
            trial = of_aggregate(statistic, "normal", seeds, 5)
            rows.append(Row(f"figure: {statistic}, 5 tasks", "normal", seeds, trial, verdicts=False))
        rows.append(
            Row("figure: improvement, 5 tasks", "normal", seeds, of_improvement("normal", seeds, 5), verdicts=False)
        )
        usual = of_aggregate("iqm", "normal", seeds, 5, percentile=True)
        rows.append(Row("percentiles: iqm, 5 tasks", "normal", seeds, usual, claimed=False, verdicts=False))
    return rows


def _shown() -> list[Row]:
    rows = []
    for seeds in (5, 20):
        alone = Design(("a",), 1, seeds, (claim(contrast=["a"]),))
        for world in ("skewed", "rare failures"):
            trial = of_claim(alone, world, [MARGIN], [MARGIN + 1])
            rows.append(Row("one arm alone, one task", world, seeds, trial, claimed=False))
        rows.append(Row("survivors only", "normal", seeds, of_survivors(_two(1, seeds), "normal"), claimed=False))
        rows.append(Row("20 episodes of a run taken for runs", "normal", seeds, of_episodes(seeds), claimed=False))
        rows.append(Row("best(4 arms) on the seeds that judge", "normal", seeds, of_winner(4, seeds), claimed=False))
    return rows


ROWS = tuple(_rows())
