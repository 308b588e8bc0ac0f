"""The two numerical parts of a trust-region step: solve F x = g by products with F, and shorten a step until safe.

Source: Schulman et al. 2015, section 6 and appendix C.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], g: Tensor, *, iterations: int, tolerance: float = 1e-10
) -> Tensor:
    """x with product(x) = g, product symmetric and positive definite: exact after n iterations, but for rounding.

        a = |r|^2 / p.Ap,  x += a p,  r -= a Ap,  p = r + (|r_new|^2 / |r|^2) p,  from x = 0, r = p = g

    Source: Hestenes & Stiefel 1952. The start, the iterations and the tolerance as in Schulman et al. 2015.

    Args:
        product: `[n]` to `[n]`, x to A x.
        g: `[n]`, a constant.
        iterations: at most this many, one product each.
        tolerance: stops once |r|^2 is at most this; the zero vector is thus returned for g = 0.
    Returns:
        `[n]`, without gradient.
    Raises:
        ValueError: product is not positive definite, or gives NaN, along a direction that was tried.
    """
    g = g.detach()
    x, r, p = torch.zeros_like(g), g.clone(), g.clone()
    squared = r @ r
    for _ in range(iterations):
        if squared <= tolerance:
            break
        image = product(p).detach()
        curvature = p @ image
        if not curvature > 0:  # NaN included
            raise ValueError(f"product must be positive definite, got p . product(p) = {curvature.item()}")
        length = squared / curvature
        x += length * p
        r -= length * image
        previous, squared = squared, r @ r
        p = r + squared / previous * p
    return x


def line_search(
    evaluate: Callable[[Tensor], tuple[float, float]], step: Tensor, *, max_kl: float, decay: float, tries: int
) -> tuple[Tensor, int]:
    """The first of step, decay step, decay^2 step, ... that improves the surrogate within the trust region.

    Source: Schulman et al. 2015, appendix C; no expected improvement is asked for, as in the authors' code of Ma 2023.

    Args:
        evaluate: of a step, `[n]`, to (improvement of the surrogate, KL to the old policy in nats). NaN is refused.
        step: `[n]` the longest step.
        max_kl: largest KL accepted.
        decay: in (0, 1).
        tries: at least 1.
    Returns:
        the step accepted, or zeros, and how many steps were evaluated.
    Raises:
        ValueError: decay or tries out of range.
    """
    if not 0 < decay < 1:
        raise ValueError(f"decay must lie in (0, 1), got {decay}")
    if tries < 1:
        raise ValueError(f"tries must be at least 1, got {tries}")
    for i in range(tries):
        candidate = decay**i * step
        improvement, kl = evaluate(candidate)
        if improvement > 0 and kl <= max_kl:
            return candidate, i + 1
    return torch.zeros_like(step), tries
