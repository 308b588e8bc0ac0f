"""What a verdict says in words: why it cannot be decided, what a reader must know, which tasks differ."""

import math

from analysis import stats
from analysis.cells import Cells
from analysis.measure import Verdict
from analysis.plan import Claim, Plan
from analysis.words import percent, unscientific


def gates_of(
    claim: Claim, plan: Plan, verdict: Verdict, cells: Cells, estimate: stats.Estimate | None = None
) -> list[str]:
    """Reasons why the claim cannot be decided here, whatever the numbers say."""
    sentences = [] if plan.scientific else [unscientific(plan)]
    fraction = verdict.budget_fraction
    if claim.min_budget > 0 and fraction is None:
        sentences.append(
            f"The claim needs {percent(claim.min_budget)} of a reported run, of which these tasks have none."
        )
    elif fraction is not None and fraction < claim.min_budget:
        sentences.append(
            f"The runs cover {percent(fraction)} of the paper's budget; the claim needs {percent(claim.min_budget)}."
        )
    if cells.censored is not None and (without := cells.beyond()[2]):
        sentences.append(f"No run of it got there within the budget on {', '.join(without)}: nothing to compare.")
    if estimate is not None and estimate.sd == 0:
        alike = f"All {estimate.n} seeds give the same number: no spread to judge by; up to "
        sentences.append(f"{alike}{percent(stats.share_bound(0, estimate.n))} of seeds may give another (exact, 95 %).")
    if any(choice.is_open for choice in cells.choices):
        sentences.append("Tuning runs that lack a number leave open which arm it is about.")
    return sentences


def facts(cells: Cells, verdict: Verdict) -> list[str]:
    """What a reader must know beside the numbers."""
    sentences = [choice.sentence for choice in cells.choices if choice.sentence]
    if cells.unplanned:
        sentences.append(f"Not planned at this scale for all of its arms: {', '.join(cells.unplanned)}.")
    if cells.censored is not None and (late := cells.beyond())[0]:
        sentences.append(
            f"{late[0]} of {late[1]} runs did not get there within their budget and count as if at its end."
        )
    if cells.left_out:
        sentences.append(f"{cells.left_out} runs are of seeds not planned for all of its arms and tasks, and left out.")
    if verdict.paper_estimate is not None:
        sentences.append(f"The paper's own curves give {verdict.paper_estimate:.3g} at these steps.")
    return sentences


def apart_of(verdict: Verdict, claim: Claim) -> list[str]:
    """Tasks that, each on its own interval, contradict an aggregate: the IQM leaves the outer quarters out."""
    if len(verdict.tasks) < 2 or len(claim.contrast) == 1:
        return []
    sign = -1.0 if claim.direction == "less" else 1.0
    floor, ceiling = (-claim.margin, claim.margin) if claim.direction == "equal" else (0.0, math.inf)
    said = []
    for row in verdict.tasks:
        if row["interval"] is not None:
            low, high = sorted(sign * end for end in row["interval"])
            if high < floor or low > ceiling:
                said.append(f"{row['task']} ({row['difference']:.2g})")
    where = "outside the margin" if claim.direction == "equal" else "on the other side of 0"
    return [f"Tasks whose own interval lies {where}: {', '.join(said)}."] if said else []
