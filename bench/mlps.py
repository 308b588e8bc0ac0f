"""Networks of DPO and its baselines: one per purpose, none shared.

Source: Ma 2023, released code (network.py, base.py).

Vectors go straight into the hidden layers, frames through convolutions of their own first (a trunk per network).
Initialisation is PyTorch's default, with a generator of its own.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.ops.images import to_channels_last
from bench.ops.linear import linear, linear_tanh
from bench.precision import full_precision

LATENT = 256  # features of a frame stack; MagiFeeney's discrete code

Activation = Callable[[Tensor], Tensor]


def default_init(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """PyTorch's own initialisation of linear and convolutional layers, U(+-1/sqrt(fan in)), from a generator."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


class Layers(nn.Module):
    """Linear layers with an activation after each but the last. `[..., inputs]` -> `[..., outputs]`.

    Each computes in the type of its own weights (bench.precision); the last, and so the output, is float32.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int, generator: torch.Generator, activation: Activation
    ):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([inputs, *hidden, outputs]))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            default_init(layer, generator)
        full_precision(self.layers[-1])
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        *hidden, last = self.layers
        for layer in hidden:
            assert isinstance(layer, nn.Linear)
            parts = x.to(layer.weight.dtype), layer.weight, layer.bias
            x = linear_tanh(*parts) if self.activation is torch.tanh else self.activation(linear(*parts))
        assert isinstance(last, nn.Linear)
        return linear(x.to(last.weight.dtype), last.weight, last.bias)


class Frames(nn.Module):
    """uint8 frames `[N, stack, 84, 84]`, scaled to [0, 1] -> `[N, 256]`."""

    def __init__(self, stack: int, generator: torch.Generator, activation: Activation):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(stack, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 32, 3, 1)])
        self.last = nn.Linear(32 * 7 * 7, LATENT)
        for layer in (*self.convs, self.last):
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            default_init(layer, generator)
        self.activation = activation

    def forward(self, obs: Tensor) -> Tensor:
        """Scale and run the convolutions."""
        x = to_channels_last(obs, self.last.weight.dtype) / 255
        for conv in self.convs:
            x = self.activation(conv(x))
        weight, bias = self.last.weight, self.last.bias
        if self.activation is torch.tanh:
            return linear_tanh(x.flatten(1), weight, bias)
        return self.activation(linear(x.flatten(1), weight, bias))


class Net(nn.Module):
    """A function of states, or of states and encoded actions.

    Args:
        obs_shape: `(stack, 84, 84)` frames or `(d,)` vectors.
        code: width of the action's encoding, 0 for a function of states alone.
        outputs: numbers per state.
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        hidden: Sequence[int],
        outputs: int,
        generator: torch.Generator,
        *,
        code: int = 0,
        activation: Activation = torch.tanh,
    ):
        super().__init__()
        pixels = len(obs_shape) == 3
        self.frames = Frames(obs_shape[0], generator, activation) if pixels else None
        self.body = Layers((LATENT if pixels else obs_shape[0]) + code, hidden, outputs, generator, activation)

    def features(self, obs: Tensor) -> Tensor:
        """What the actions of a state share: computed once, however many actions follow. `[N, ...]` -> `[N, F]`."""
        return obs if self.frames is None else self.frames(obs)

    def forward(self, obs: Tensor, code: Tensor | None = None) -> Tensor:
        """Args: obs: `[N, *obs_shape]`; code: `[N, C]` or, for S actions per state, `[S, N, C]`.

        Returns `[N, outputs]` or `[S, N, outputs]`.
        """
        x = self.features(obs)
        if code is not None:
            x = torch.cat([x.expand(*code.shape[:-1], -1), code.to(x.dtype)], -1)
        out: Tensor = self.body(x)
        return out
