"""Looks at runs before all of them are made, without more false verdicts than alpha. Pure: numbers in, numbers out.

A claim is looked at after n_1 < ... < n_K seeds and decided at the first look at which it can be. Alpha is spent by the
function of Lan and DeMets that resembles the boundary of O'Brien and Fleming, at the share n_k / n_K of the seeds, half
on each side: hardly any early, nearly all at the end. At a look the p value of its statistic (Student's t, say) is
compared with a nominal level. That the statistics of successive looks are those of a Brownian motion is exact for
normal numbers of known spread; of unknown spread it is the approximation of Jennison and Turnbull 2000, section 3.8:
simulated, 5.3 % of claims without an effect are decided at alpha 0.05 with looks at 5, 10, 15, 20, 5.5 % at 3, 4, 6, 8.

Several claims: Holm's procedure on `repeated_p` values, each of which is valid whatever look it is taken at.

Sources: Lan and DeMets 1983 (spending); Armitage, McPherson and Rowe 1969 (the recursion over looks); Jennison and
Turnbull 2000, chapters 7, 9 and 10 (levels, repeated p values, conditional power); Maurer and Bretz 2013 (Holm's
procedure with looks).
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from scipy import stats as sp
from scipy.optimize import brentq
from scipy.special import ndtr  # the normal distribution without the checks of stats.norm, many times as fast

NODES = 128  # of the quadrature over where the motion may be
FAR = 38.0  # standard deviations beyond which double precision holds no probability
ALPHAS = np.geomspace(1e-12, 0.999999, 91)  # for which levels are tabled
FUTILE = 0.1  # power of what is left, below which a claim is given up


def spent(share: float, alpha: float) -> float:
    """Alpha that may be spent by this share of the seeds, both sides together. Source: Lan and DeMets 1983."""
    return float(4 * sp.norm.sf(sp.norm.isf(alpha / 4) / math.sqrt(share)))


def levels(looks: Sequence[int], alpha: float) -> tuple[float, ...]:
    """The two-sided nominal level of each look: a p value below it decides.

    Args: looks: seeds at each look, rising; the last are all; alpha: over all looks. Errors: `ValueError` for others.
    """
    return _levels(tuple(looks), alpha)


@cache
def _levels(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    if not looks or looks[0] < 1 or any(late <= early for early, late in pairwise(looks)):
        raise ValueError(f"looks are {looks}; allowed: rising numbers of seeds")
    shares = [look / looks[-1] for look in looks]
    nodes, sizes = np.polynomial.legendre.leggauss(NODES)
    points, weights = np.zeros(1), np.ones(1)  # where the motion is that has not crossed a bound, and how likely
    found, share, used = [], 0.0, 0.0
    for now in shares:
        step, side = math.sqrt(now - share), (spent(now, alpha) - used) / 2
        share, used = now, spent(now, alpha)
        bound = _bound(points, weights, step, side)
        found.append(float(2 * ndtr(-bound / math.sqrt(share))))
        inside = bound * nodes
        density = np.exp(-(((inside[:, None] - points) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
        weights = bound * sizes * (density @ weights)
        points = inside
    return tuple(found)


def _bound(points: np.ndarray, weights: np.ndarray, step: float, side: float) -> float:
    """What the motion exceeds, after one more step, with probability `side`. Args: step: its standard deviation."""

    def excess(bound: float) -> float:
        return float(weights @ ndtr((points - bound) / step)) - side

    far = float(points.max()) + FAR * step
    return float(brentq(excess, 0.0, far, xtol=1e-14)) if excess(far) < 0 else far


def _place(looks: Sequence[int], n: int) -> int:
    """Which look n seeds are: the last that they reach, whose level is no more lenient than theirs would be."""
    return max(sum(look <= n for look in looks) - 1, 0)


def level(looks: Sequence[int], n: int, alpha: float) -> float:
    """The nominal level after n seeds; alpha itself where there is one look alone. Args: as of `levels`."""
    return levels(looks, alpha)[_place(looks, n)] if len(looks) > 1 else alpha


@cache
def _table(looks: tuple[int, ...], place: int) -> np.ndarray:
    """Log level of a look for each of ALPHAS, rising."""
    found = [_levels(looks, float(alpha))[place] for alpha in ALPHAS]
    return np.maximum.accumulate(np.log(np.maximum(found, 1e-300)))


def repeated_p(p: float, looks: Sequence[int], n: int) -> float:
    """The smallest alpha with which a nominal p value, found after n seeds, decides; p itself at a single look.

    Its false positive rate is at most alpha over all looks together, so Holm's procedure may be applied to it.
    """
    if len(looks) < 2:
        return p
    table = _table(tuple(looks), _place(looks, n))
    if not math.exp(table[0]) < p < math.exp(table[-1]):
        return float(ALPHAS[0]) if p < 0.5 and p <= math.exp(table[0]) else 1.0
    return float(np.exp(np.interp(math.log(p), table, np.log(ALPHAS))))


def conditional_power(
    estimate: float, sd: float, n: int, most: int, direction: str, margin: float, level: float
) -> float:
    """Probability that the claim is decided, either way, once all seeds are made, if what is estimated now is true.

    The estimate of all seeds is then normal around today's with variance sd^2 (1 / n - 1 / most) (n / most): what the
    seeds to come add. Looks on the way are left out, which matter little. Source: Lan and Wittes 1988.
    Args: estimate, margin: in units of the metric; sd: of a seed; n, most: seeds now and at most; direction: of the
    claim, greater, less or equal; level: two-sided, of the last look.
    """
    half = float(sp.t.isf(level / 2, most - 1)) * sd / math.sqrt(most)
    spread = sd * math.sqrt(max(1 - n / most, 0.0) / most)

    def above(bound: float) -> float:
        return float(sp.norm.sf(bound, estimate, spread)) if spread > 0 else float(estimate > bound)

    if direction == "equal":
        within = above(half - margin) - above(margin - half) if half < margin else 0.0
        return within + above(margin + half) + 1 - above(-margin - half)
    end = margin if direction == "greater" else -margin
    return above(end + half) + 1 - above(end - half)


def futile(estimate: float, sd: float, n: int, most: int, direction: str, margin: float, level: float) -> bool:
    """Whether the seeds to come would hardly decide the claim: their conditional power is below FUTILE.

    Not binding: levels do not count on a stop, so that going on costs seeds and no error. Args: of `conditional_power`.
    """
    return conditional_power(estimate, sd, n, most, direction, margin, level) < FUTILE
