"""Networks: observation -> policy logits and value, with or without an LSTM."""

import hashlib
import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, the field's name

from bench.ops.images import to_channels_last
from bench.ops.linear import linear, linear_tanh
from bench.ops.lstm import lstm
from bench.precision import full_precision

FC = 512  # Mnih et al. 2015; Wang et al. 2019, appendix A.2
LSTM = 256  # Wang et al. 2019, appendix A.2
MLP = (64, 64)  # Schulman et al. 2017, section 6.1

L = TypeVar("L", bound=nn.Module)
State = tuple[Tensor, Tensor]  # LSTM's (h, c), each [B, LSTM]; [B, 0] without an LSTM


def orthogonal(layer: L, gain: float, generator: torch.Generator) -> L:
    """Orthogonal weights with the given gain, zero bias (Wang et al. 2019, released code utils.py:36-51)."""
    for name, parameter in layer.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.orthogonal_(parameter, gain, generator=generator)
    return layer


class Pixels(nn.Module):
    """uint8 frames `[N, stack, 84, 84]` -> features `[N, 512]`. Source: Wang et al. 2019, appendix A.2."""

    size = FC

    def __init__(self, stack: int, generator: torch.Generator):
        super().__init__()
        layers = [nn.Conv2d(stack, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3, 1)]
        convs = nn.Sequential(*(orthogonal(layer, math.sqrt(2), generator) for layer in layers))
        self.convs: nn.Sequential = convs.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.fc = orthogonal(nn.Linear(64 * 7 * 7, FC), math.sqrt(2), generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Scale to [0, 1] and run the convolutions."""
        first, *others = self.convs
        assert isinstance(first, nn.Conv2d)
        x = to_channels_last(obs, first.weight.dtype)
        # The weights are scaled instead of the pixels, of which there are three thousand times as many.
        x = F.relu_(F.conv2d(x, first.weight / 255, first.bias, stride=4))
        for conv in others:
            x = F.relu_(conv(x))
        # Features in the order in which they lie: any other would be a copy.
        return F.relu_(linear(x.permute(0, 2, 3, 1).flatten(1), self.fc.weight, self.fc.bias))


class Vector(nn.Module):
    """float32 vectors `[N, d]` -> features `[N, 64]`, tanh."""

    size = MLP[-1]

    def __init__(self, inputs: int, generator: torch.Generator):
        super().__init__()
        layers = [orthogonal(nn.Linear(a, b), math.sqrt(2), generator) for a, b in pairwise([inputs, *MLP])]
        self.layers = nn.Sequential(*layers)

    def forward(self, obs: Tensor) -> Tensor:
        """Run the layers."""
        x = obs
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            x = linear_tanh(x.to(layer.weight.dtype), layer.weight, layer.bias)
        return x


class Lstm(nn.Module):
    """LSTM over `[T, B, d]` whose state is zeroed where an episode starts; one bias, no forget-gate offset.

    Source: Wang et al. 2019, released code utils.py:97-119 (orthogonal gain 1, zero bias).
    """

    def __init__(self, inputs: int, generator: torch.Generator):
        super().__init__()
        self.inputs = orthogonal(nn.Linear(inputs, 4 * LSTM), 1.0, generator)
        self.recurrent = orthogonal(nn.Linear(LSTM, 4 * LSTM, bias=False), 1.0, generator)

    def forward(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """Run over the sequence. Returns the outputs `[T, B, 256]` and the state after the last step."""
        gates_in = linear(x, self.inputs.weight, self.inputs.bias).float()
        outputs, h, c = lstm(gates_in, *state, start, self.recurrent.weight)
        return outputs, (h, c)


class ActorCritic(nn.Module):
    """Policy logits and value on a shared trunk.

    Args:
        obs_shape: `(stack, 84, 84)` frames or `(d,)` vectors.
        recurrent: put an LSTM between the trunk and the heads.
    """

    def __init__(self, obs_shape: tuple[int, ...], num_actions: int, *, recurrent: bool, generator: torch.Generator):
        super().__init__()
        trunk = Pixels(obs_shape[0], generator) if len(obs_shape) == 3 else Vector(obs_shape[0], generator)
        self.trunk = trunk
        self.lstm = Lstm(trunk.size, generator) if recurrent else None
        width = LSTM if recurrent else trunk.size
        self.policy = full_precision(orthogonal(nn.Linear(width, num_actions), 0.01, generator))
        self.value = full_precision(orthogonal(nn.Linear(width, 1), 1.0, generator))

    def initial_state(self, batch: int, device: torch.device | str = "cpu") -> State:
        """Zero state for `batch` sequences."""
        size = LSTM if self.lstm else 0
        return torch.zeros(batch, size, device=device), torch.zeros(batch, size, device=device)

    def forward(self, obs: Tensor, state: State, start: Tensor) -> tuple[Tensor, Tensor, State]:
        """Run over sequences.

        Args:
            obs: `[T, B, *obs_shape]`.
            state: before the first step, each `[B, 256]`.
            start: `[T, B]` bool, True where an episode begins: the state before that step is zeroed.

        Returns: logits `[T, B, A]`, values `[T, B]`, state after the last step.
        """
        steps, batch = obs.shape[:2]
        x = self.trunk(obs.flatten(0, 1)).unflatten(0, (steps, batch))
        if self.lstm is not None:
            x, state = self.lstm(x, state, start)
        x = x.float()  # the heads' precision, whatever that of the layers before
        return self.policy(x), self.value(x).squeeze(-1), state


def sha256(*modules: nn.Module) -> str:
    """Hash of all parameters by name, of the modules in order: equal exactly when they are equal bit for bit."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
