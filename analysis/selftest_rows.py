"""The rows of the self-test: which rules it tries in which worlds with how many seeds, and what each of them claims."""

from typing import Any

from analysis.selftest_rules import (
    LOOKS_LIMIT,
    MARGIN,
    Row,
    of_aggregate,
    of_claim,
    of_episodes,
    of_family,
    of_improvement,
    of_reported,
    of_shares,
    of_survivors,
    of_winner,
)
from analysis.worlds import Design, claim


def _two(tasks: int, seeds: int, **changes: Any) -> Design:
    form = {name: changes.pop(name) for name in ("metric", "tuning_seeds", "looks", "spread") if name in changes}
    return Design(("a", "b"), tasks, seeds, (claim(**({"metric": form.get("metric", "score")} | changes)),), **form)


def _rows() -> list[Row]:
    above, beyond = [MARGIN, 0.0], [MARGIN + 1, 0.0]
    rows = []
    for seeds in (2, 3, 5, 10, 20):
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
        main = Design(tuple("abcd"), 3, seeds, (claim(contrast=["mean(a, b)", "mean(c, d)"]),))
        halves = of_claim(main, "normal", [MARGIN, MARGIN, 0, 0], [1.5, 1.5, 0, 0])
        rows.append(Row("main effect of a factorial", "normal", seeds, halves))
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
        many = tuple("abcdefgh")
        best = Design((*many, "z"), 1, seeds + 3, (claim(contrast=[f"best({', '.join(many)})", "z"]),), tuning_seeds=3)
        chosen = of_claim(best, "normal", [MARGIN] * 8 + [0.0], [MARGIN + 1] * 8 + [0.0])
        rows.append(Row("best(8 arms) on tuning seeds", "normal", seeds, chosen))
    for looks in ((3, 5, 8, 10), (5, 10, 15, 20)):
        for world in ("normal", "heavy tails", "bimodal seeds"):
            trial = of_claim(_two(1, looks[-1], looks=looks), world, above, beyond)
            rows.append(Row("seeds=auto, one task", world, looks[-1], trial, coverage=None, limit=LOOKS_LIMIT))
        auto = of_claim(_two(3, looks[-1], looks=looks), "normal", above, beyond)
        rows.append(Row("seeds=auto, IQM of 3 tasks", "normal", looks[-1], auto, coverage=None, limit=LOOKS_LIMIT))
    for seeds in (5, 20):
        arms = ("a", "b", "c", "d", "z")
        claims = tuple(claim(id=arm, contrast=[arm, "z"]) for arm in arms[:-1])
        trial = of_family(Design(arms, 1, seeds, claims), "normal")
        rows.append(Row("any of 4 claims, Holm", "normal", seeds, trial, coverage=None, limit=0.05))
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
        alike = of_aggregate("iqm", "dependent tasks", seeds, 5)
        rows.append(Row("figure: iqm, 5 tasks", "dependent tasks", seeds, alike, claimed=False, verdicts=False))
    return rows


def _shown() -> list[Row]:
    rows = []
    for seeds in (5, 20):
        alone = Design(("a",), 1, seeds, (claim(contrast=["a"]),))
        for world in ("skewed", "rare failures"):
            trial = of_claim(alone, world, [MARGIN], [MARGIN + 1])
            rows.append(Row("one arm alone, one task", world, seeds, trial, claimed=False))
        pair = of_claim(_two(1, seeds), "rare failures of A", [MARGIN, 0.0], [MARGIN + 1, 0.0])
        rows.append(Row("greater, one task", "rare failures of A", seeds, pair, claimed=False))
        rows.append(Row("survivors only", "normal", seeds, of_survivors(_two(1, seeds), "normal"), claimed=False))
        rows.append(Row("20 episodes of a run taken for runs", "normal", seeds, of_episodes(seeds), claimed=False))
        rows.append(Row("best(8 arms) on the seeds that judge", "normal", seeds, of_winner(8, seeds), claimed=False))
    return rows


ROWS = tuple(_rows())
