"""An LSTM over a roll-out that crosses episodes, with its gradient written out.

Derived by hand because the recursion is all that must go step by step: autograd would also multiply and add the
gradient of the recurrent weights once per step, and keep some twenty small tensors of each (docs/performance.md).
"""

from typing import Any

import torch
from torch import Tensor

from bench.ops.linear import product


def lstm(gates_in: Tensor, h: Tensor, c: Tensor, start: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run over the sequence; state is zeroed where an episode starts.

        i, f, g, o = gates_in_t + weight h_{t-1};  c_t = s(f) c_{t-1} + s(i) tanh(g);  h_t = s(o) tanh(c_t)

    Source: Hochreiter, Schmidhuber 1997 with the forget gate of Gers et al. 2000. Differentiable once in `gates_in`,
    `h`, `c` and `weight`.

    Args:
        gates_in: `[T, B, 4 H]` float32, what the inputs and the bias give each gate, in the order i, f, g, o.
        h, c: `[B, H]` float32, state before the first step.
        start: `[T, B]` bool, the state before that step counts as zero.
        weight: `[4 H, H]`, recurrent; its type is that of the product with it.
    Returns:
        outputs `[T, B, H]` float32 and the state after the last step.
    """
    keep = (~start).to(gates_in.dtype).unsqueeze(-1)
    outputs, state_h, state_c = _Lstm.apply(gates_in, h, c, keep, weight)  # type: ignore[no-untyped-call]
    return outputs, state_h, state_c


class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates_in: Tensor, h: Tensor, c: Tensor, keep: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """Step by step."""
        size, transposed = weight.shape[1], weight.t()
        gates, hs, cs, squashed, outputs = [], [], [], [], []
        for t in range(len(gates_in)):
            h, c = h * keep[t], c * keep[t]
            hs.append(h)
            cs.append(c)
            gate = gates_in[t] + product(h.to(weight.dtype), transposed)
            gate[:, : 2 * size].sigmoid_()
            gate[:, 2 * size : 3 * size].tanh_()
            gate[:, 3 * size :].sigmoid_()
            i, f, g, o = gate.chunk(4, -1)
            c = torch.addcmul(f * c, i, g)
            gates.append(gate)
            squashed.append(torch.tanh(c))
            h = o * squashed[-1]
            outputs.append(h)
        stacked = [torch.stack(part) for part in (outputs, gates, hs, cs, squashed)]
        ctx.save_for_backward(keep, weight, *stacked[1:])
        return stacked[0], h, c

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Back step by step through the state alone; all else at once."""
        keep, weight, gates, hs, cs, squashed = ctx.saved_tensors
        of_outputs, of_h, of_c = grads
        i, f, g, o = gates.chunk(4, -1)
        # of each gate before its function, per unit of the gradient that reaches c (of o: h)
        factors = torch.stack([g * i * (1 - i), cs * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)], 2)
        through, back = o * (1 - squashed * squashed), f * keep
        of_gates = torch.empty_like(factors)
        for t in range(len(gates) - 1, -1, -1):
            of_h = of_outputs[t] + of_h
            of_c = torch.addcmul(of_c, of_h, through[t])
            torch.mul(factors[t, :, :3], of_c.unsqueeze(1), out=of_gates[t, :, :3])
            torch.mul(factors[t, :, 3], of_h, out=of_gates[t, :, 3])
            of_c = of_c * back[t]
            of_h = product(of_gates[t].flatten(1).to(weight.dtype), weight) * keep[t]
        flat = of_gates.flatten(2)
        low = flat.flatten(0, 1).to(weight.dtype)
        return flat, of_h, of_c, None, product(low.t(), hs.flatten(0, 1).to(weight.dtype))
