"""Networks of several seeds as one: parameters stacked into `[S, out, in]`, products batched, draws per seed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bench.mlps import Net
from bench.ops.distributions import Family
from bench.ops.linear import WORTH, linear, linear_tanh
from bench.precision import full_precision

Generators = Sequence[torch.Generator]  # one per seed


class StackedLinear(nn.Module):
    """The same linear layer of S networks, whose parameters become views of these."""

    def __init__(self, layers: Sequence[nn.Linear]):
        super().__init__()
        learns = layers[0].weight.requires_grad
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]), learns)  # [S, out, in]
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]), learns)  # [S, out]
        for seed, layer in enumerate(layers):
            layer.weight.data, layer.bias.data = self.weight.data[seed], self.bias.data[seed]
        if getattr(layers[0], "full_precision", False):
            full_precision(self)

    def forward(self, x: Tensor) -> Tensor:
        """`[S, N, in]` -> `[S, N, out]`."""
        return self._run(x, linear)

    def tanh(self, x: Tensor) -> Tensor:
        """Its tanh."""
        return self._run(x, linear_tanh)

    def _run(self, x: Tensor, one: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Args: one: the same of one seed."""
        x = x.to(self.weight.dtype)
        if (
            x.device.type == "cpu" and x[0].numel() * self.weight.shape[1] >= WORTH
        ):  # the faster kernel knows no batches
            return torch.stack([one(*of) for of in zip(x, self.weight.unbind(), self.bias.unbind(), strict=True)])
        out = torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)
        return torch.tanh(out) if one is linear_tanh else out


class StackedNet(nn.Module):
    """Networks of vectors, one per seed, that compute together. Its parameters come in the order of theirs."""

    def __init__(self, nets: Sequence[Net]):
        super().__init__()
        rows = zip(*(net.body.layers for net in nets), strict=True)
        self.layers = nn.ModuleList(StackedLinear([_linear(layer) for layer in row]) for row in rows)

    def forward(self, obs: Tensor, code: Tensor | None = None) -> Tensor:
        """Args: obs: `[S, N, d]`; code: `[S, N, C]` or, for K actions per state, `[K, S, N, C]`.

        Returns `[S, N, outputs]` or `[K, S, N, outputs]`.
        """
        if code is None:
            return self._run(obs)
        if code.ndim == 3:
            return self._run(torch.cat([obs, code], -1))
        seeds, draws, steps = len(obs), len(code), obs.shape[1]
        x = torch.cat([obs.unsqueeze(1).expand(-1, draws, -1, -1), code.transpose(0, 1)], -1)
        return self._run(x.flatten(1, 2)).view(seeds, draws, steps, -1).transpose(0, 1)

    def _run(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            assert isinstance(layer, StackedLinear)
            x = layer.tanh(x)
        out: Tensor = last(x)
        return out


def _linear(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


class SeedsFamily:
    """The family of the S policies, each of which draws with its own generator; all else has no state."""

    def __init__(self, family: Family):
        self.family = family
        self.encode, self.log_prob = family.encode, family.log_prob

    def sample(self, raw: Tensor, generators: Generators, draws: int | None = None) -> Tensor:
        """`[S, N, size]` -> `[S, N, ...]`, or `[draws, S, N, ...]`."""
        drawn = [self._draw(part, g, draws) for part, g in zip(raw, generators, strict=True)]
        return torch.stack(drawn, 0 if draws is None else 1)

    def _draw(self, raw: Tensor, generator: torch.Generator, draws: int | None) -> Tensor:
        try:
            return self.family.sample(raw, generator, draws)
        except FloatingPointError:  # this seed has diverged, as its losses will tell; the others have not
            return self.family.sample(torch.zeros_like(raw), generator, draws)


class StackedPolicy(nn.Module):
    """The S policies."""

    family: SeedsFamily

    def __init__(self, nets: Sequence[Net], family: Family):
        super().__init__()
        self.net, self.family = StackedNet(nets), SeedsFamily(family)

    def forward(self, x: Tensor) -> Tensor:
        """Parameters of the distributions. `[S, N, d]` -> `[S, N, size]`."""
        raw: Tensor = self.net(x)
        return raw
