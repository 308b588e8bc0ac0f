"""Policies over what a network gives: Beta, squashed Gaussian, categorical, one interface (`Family`).

`raw [..., size]` is the last layer's output. A continuous action is kept as u in the unit cube, as it was drawn: what
is stored needs no inverse of the affine map to the environment's range, and `log_prob` is the density of u. That
leaves out the constant sum log(high - low), which cancels in ratios and has no gradient.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Beta as BetaDensity
from torch.distributions import kl_divergence

from bench.ops.losses import gaussian_kl

MARGIN = 1e-6  # u is kept this far from 0 and 1: the log-density of a Beta is -inf at the ends (unsourced)
LOG_STD_RANGE = (-20.0, 2.0)  # Haarnoja et al. 2018, the authors' code
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
MANY = 4096  # Gamma draws; from here on they are drawn all at once, which is then faster than one after another


class Family(Protocol):
    """A parametric policy without parameters: everything is a function of `raw`.

    Every method takes any number of leading axes, and raises ValueError where raw does not end in `size`.
    """

    size: int
    """Numbers that the network gives per state."""
    code_size: int
    """Width of `encode`."""

    def sample(self, raw: Tensor, generator: torch.Generator, draws: int | None = None) -> Tensor:
        """One action u per state, without gradient: `[..., d]` in (0, 1), or `[...]` int64; `[draws, ...]` of them."""

    def log_prob(self, raw: Tensor, u: Tensor) -> Tensor:
        """`[...]` log-density of u in nats, summed over the dimensions, differentiable in raw."""

    def mean(self, raw: Tensor) -> Tensor:
        """The deterministic action, shaped as a sample."""

    def encode(self, u: Tensor) -> Tensor:
        """`[..., code_size]` float: the action as a critic sees it."""

    def to_env(self, u: Tensor) -> Tensor:
        """The action as the environment takes it."""

    def kl(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        """`[...]` KL(p || q) in nats, differentiable twice in both."""


def _require_size(raw: Tensor, size: int) -> None:
    if raw.ndim == 0 or raw.shape[-1] != size:
        raise ValueError(f"raw has shape {list(raw.shape)}, expected the last axis to be {size}")


def _inside(u: Tensor) -> Tensor:
    return u.clamp(MARGIN, 1 - MARGIN)


def _size(shape: torch.Size, draws: int | None) -> tuple[int, ...]:
    return shape if draws is None else (draws, *shape)


def standard_gamma(shape: Tensor, generator: torch.Generator, draws: int | None = None) -> Tensor:
    """Draws from Gamma(shape, 1), exact whatever their number, without gradient.

    Source: Marsaglia and Tsang 2000: d v with d = shape - 1/3, v = (1 + z / sqrt(9 d))^3, z Gaussian, is accepted if
    log U < z^2 / 2 + d - d v + d log v, for which U < 1 - 0.0331 z^4 suffices. Where it is not, PyTorch's own draw,
    which is independent of the refused one, takes its place.

    Args:
        shape: at least 1, float.
        draws: how many for each; None: one.
    Returns:
        `[*shape.shape]`, or with draws `[draws, *shape.shape]`.
    """
    size = _size(shape.shape, draws)
    if math.prod(size) < MANY:
        # torch.distributions takes no generator; the kernel under its Gamma does, and nothing public draws a Gamma.
        return torch._standard_gamma(shape.expand(size), generator=generator)
    d = shape - 1 / 3
    z = torch.randn(size, generator=generator, dtype=shape.dtype, device=shape.device)
    chance = torch.rand(size, generator=generator, dtype=shape.dtype, device=shape.device)
    root = torch.addcmul(torch.ones_like(d), z, (9 * d).rsqrt())
    v = root * root * root
    out = d * v
    z2 = z * z
    # Wherever v <= 0, z < -sqrt(9 d) <= -sqrt(6), and so the second term is above 1: no chance is small enough.
    doubtful = (chance + 0.0331 * z2 * z2 >= 1).flatten().nonzero()[:, 0]
    if not len(doubtful):
        return out
    of = doubtful % d.numel()
    d, v, z2, chance = d.flatten()[of], v.flatten()[doubtful], z2.flatten()[doubtful], chance.flatten()[doubtful]
    refused = ~((v > 0) & (chance.log() < 0.5 * z2 + d * (1 - v + v.log())))
    again, of = doubtful[refused], of[refused]
    out.view(-1)[again] = torch._standard_gamma(shape.flatten()[of], generator=generator)
    return out


class _Box:
    """What the two continuous families share: two numbers per dimension, and the map to the environment's range."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        if low.ndim != 1 or low.shape != high.shape:
            raise ValueError(f"low and high have shapes {list(low.shape)} and {list(high.shape)}, expected one [d]")
        if not bool((torch.isfinite(low) & torch.isfinite(high) & (low < high)).all()):
            raise ValueError(f"low and high must be finite and low < high, got {low.tolist()} and {high.tolist()}")
        self.low, self.span = low, high - low
        self.size, self.code_size = 2 * len(low), len(low)

    def split(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The two halves of raw, `[..., d]` each."""
        _require_size(raw, self.size)
        return raw[..., : self.code_size], raw[..., self.code_size :]

    def encode(self, u: Tensor) -> Tensor:
        """low + (high - low) u: a critic sees the environment's action."""
        return self.low + self.span * u

    def to_env(self, u: Tensor) -> Tensor:
        """low + (high - low) u."""
        return self.encode(u)


class Beta(_Box):
    """Independent Beta(alpha, beta) per dimension, alpha and beta = 1 + softplus(.): one mode, inside.

    Source: the authors' code of Ma 2023, distributions.py:68-79.

    Args:
        low, high: `[d]` range of the environment's actions, on the device of raw.
    """

    def concentrations(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and beta, `[..., d]` each, never below 1."""
        return self.split(1 + nn.functional.softplus(raw))

    def _density(self, raw: Tensor) -> BetaDensity:
        return BetaDensity(*self.concentrations(raw), validate_args=False)

    @torch.no_grad()
    def sample(self, raw: Tensor, generator: torch.Generator, draws: int | None = None) -> Tensor:
        """u = x / (x + y), x ~ Gamma(alpha), y ~ Gamma(beta), clamped inside (0, 1)."""
        x, y = self.split(standard_gamma(1 + nn.functional.softplus(raw), generator, draws))
        return _inside(x / (x + y))

    def log_prob(self, raw: Tensor, u: Tensor) -> Tensor:
        """sum_j log Beta(u_j; alpha_j, beta_j)."""
        _require_size(raw, self.size)
        extra, u = nn.functional.softplus(raw), _inside(u)  # alpha - 1 and beta - 1
        both = 1 + extra
        alpha, beta = self.split(both)
        kernel = (extra * torch.cat([u.log(), torch.log1p(-u)], -1) - both.lgamma()).sum(-1)
        return kernel + (alpha + beta).lgamma().sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """alpha / (alpha + beta)."""
        alpha, beta = self.concentrations(raw)
        return alpha / (alpha + beta)

    def kl(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        """Sum of the dimensions' divergences."""
        return kl_divergence(self._density(raw_p), self._density(raw_q)).sum(-1)


class SquashedGaussian(_Box):
    """u = (tanh z + 1) / 2, z Gaussian per dimension; raw is the mean of z, then log sigma, clamped to LOG_STD_RANGE.

    Source: Haarnoja et al. 2018, appendix C, with u in (0, 1) in place of (-1, 1): u = sigmoid(2 z),
    log du/dz = log 2 - softplus(2 z) - softplus(-2 z).

    Args:
        low, high: `[d]` range of the environment's actions, on the device of raw.
    """

    def gaussian(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sigma of z, `[..., d]` each."""
        mean, log_std = self.split(raw)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def rsample(self, raw: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """u `[..., d]` and its log-density `[...]`, both differentiable in raw along z = mean + sigma noise.

        The log-density comes from z itself: from u it would be lost where tanh saturates.
        """
        mean, log_std = self.gaussian(raw)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        z = mean + log_std.exp() * noise
        log_slope = math.log(2) - nn.functional.softplus(2 * z) - nn.functional.softplus(-2 * z)
        log_prob = -0.5 * noise.square() - log_std - HALF_LOG_TWO_PI - log_slope
        return _inside(torch.sigmoid(2 * z)), log_prob.sum(-1)

    @torch.no_grad()
    def sample(self, raw: Tensor, generator: torch.Generator, draws: int | None = None) -> Tensor:
        """As `rsample`, without its log-density."""
        mean, log_std = self.gaussian(raw)
        size = _size(mean.shape, draws)
        noise = torch.randn(size, generator=generator, dtype=mean.dtype, device=mean.device)
        return _inside(torch.sigmoid(2 * (mean + log_std.exp() * noise)))

    def log_prob(self, raw: Tensor, u: Tensor) -> Tensor:
        """sum_j log N(z_j) - log du_j/dz_j at z = atanh(2 u - 1) = logit(u) / 2, where du/dz = 2 u (1 - u)."""
        mean, log_std = self.gaussian(raw)
        u = _inside(u)
        log_u, log_rest = u.log(), torch.log1p(-u)
        error = (0.5 * (log_u - log_rest) - mean) * (-log_std).exp()
        log_slope = math.log(2) + log_u + log_rest
        return (-0.5 * error.square() - log_std - HALF_LOG_TWO_PI - log_slope).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """The squashed mean of z: the median of u, not its expectation."""
        return _inside(torch.sigmoid(2 * self.gaussian(raw)[0]))

    def kl(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        """That of the two Gaussians: an invertible map of both changes no divergence."""
        (mean_p, log_std_p), (mean_q, log_std_q) = self.gaussian(raw_p), self.gaussian(raw_q)
        return gaussian_kl(mean_p, log_std_p.exp(), mean_q, log_std_q.exp()).sum(-1)


class Categorical:
    """Softmax over num_actions logits; the action is its index, and one-hot for a critic.

    Args:
        num_actions: at least 1.
    """

    def __init__(self, num_actions: int) -> None:
        if num_actions < 1:
            raise ValueError(f"num_actions must be at least 1, got {num_actions}")
        self.size = self.code_size = num_actions

    def _log_p(self, raw: Tensor) -> Tensor:
        _require_size(raw, self.size)
        return torch.log_softmax(raw, dim=-1)

    @torch.no_grad()
    def sample(self, raw: Tensor, generator: torch.Generator, draws: int | None = None) -> Tensor:
        """`[...]` int64. Raises: FloatingPointError: raw holds what is no number."""
        raw = raw.expand(_size(raw.shape, draws))
        p = self._log_p(raw).exp().reshape(-1, self.size)
        try:
            return torch.multinomial(p, 1, generator=generator).reshape(raw.shape[:-1])
        except RuntimeError as error:  # which PyTorch has looked for anyway
            raise FloatingPointError(f"the policy has no probabilities any more: {error}") from None

    def log_prob(self, raw: Tensor, u: Tensor) -> Tensor:
        """log softmax(raw) at u."""
        return self._log_p(raw).gather(-1, u[..., None])[..., 0]

    def mean(self, raw: Tensor) -> Tensor:
        """The most likely action: indices have no mean."""
        _require_size(raw, self.size)
        return raw.argmax(-1)

    def encode(self, u: Tensor) -> Tensor:
        """One-hot float32."""
        return nn.functional.one_hot(u, self.code_size).float()

    def to_env(self, u: Tensor) -> Tensor:
        """The index itself."""
        return u

    def kl(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        """sum_a p_a (log p_a - log q_a)."""
        log_p, log_q = self._log_p(raw_p), self._log_p(raw_q)
        return (log_p.exp() * (log_p - log_q)).sum(-1)
