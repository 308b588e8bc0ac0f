"""What surrounds a CUDA graph, with a tape of operations in the place of the graph."""

import copy

import pytest
import torch
from tapes import Taping
from torch import Tensor, nn

from bench import graphs
from bench.graphs import Forward, Named, Static, optimised, set_rate
from bench.nets import ActorCritic
from bench.precision import Working


def batch(seed: int, rows: int = 6) -> Named:
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(rows, 3, generator=generator), "y": torch.randn(rows, 1, generator=generator)}


class Learner:
    """Regression by Adam, with clipping, as a learner's update is: loss, working copy, master."""

    def __init__(self, precision: str = "fp32"):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 1))
        self.working = Working(self.net, precision)
        rate = torch.tensor(1e-2)  # as of an optimiser on CUDA
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=rate, eps=1e-3, fused=True)

    def step(self, inputs: Named) -> Named:
        dtype = next(self.working.net.parameters()).dtype
        loss = (self.working.net(inputs["x"].to(dtype)).float() - inputs["y"]).square().mean()
        norm = self.working.step(self.optimizer, loss, 0.5)
        assert norm is not None
        return {"loss": loss.detach(), "norm": norm}

    def changes(self) -> list[Tensor]:
        return optimised(self.optimizer, list(self.working.net.parameters()))


def bits(net: nn.Module) -> list[bytes]:
    return [p.detach().float().numpy().tobytes() for p in net.parameters()]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_updates_of_a_graph_are_the_updates_without(precision):
    plain, graphed = Learner(precision), Learner(precision)
    capture = Taping()
    static = Static(graphed.step, graphed.changes, capture)
    for n in range(5):
        for learner in (plain, graphed):
            set_rate(learner.optimizer, 1e-2 / (n + 1))
        expected, found = plain.step(batch(n)), static(batch(n))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        assert bits(plain.net) == bits(graphed.net)
        assert bits(plain.working.net) == bits(graphed.working.net)
    assert capture.captures == 1
    states = zip(plain.optimizer.state.values(), graphed.optimizer.state.values(), strict=True)
    assert all(torch.equal(a[name], b[name]) for a, b in states for name in a)


def test_a_capture_in_the_midst_of_training_keeps_the_moments():
    plain, graphed = Learner(), Learner()
    for n in range(3):
        plain.step(batch(n))
        graphed.step(batch(n))
    static = Static(graphed.step, graphed.changes, Taping())
    for n in range(3, 6):
        plain.step(batch(n))
        static(batch(n))
    assert bits(plain.net) == bits(graphed.net)


def test_a_loaded_optimiser_is_captured_anew():
    plain, graphed = Learner(), Learner()
    capture = Taping()
    static = Static(graphed.step, graphed.changes, capture)
    for n in range(4):
        plain.step(batch(n))
        static(batch(n))
        if n == 1:
            graphed.optimizer.load_state_dict(copy.deepcopy(graphed.optimizer.state_dict()))
            static.forget()
    assert bits(plain.net) == bits(graphed.net)
    assert capture.captures == 2


def test_a_batch_of_another_shape_goes_through_the_function_itself():
    plain, graphed = Learner(), Learner()
    capture = Taping()
    static = Static(graphed.step, graphed.changes, capture)
    for n, rows in enumerate((6, 2, 6)):
        plain.step(batch(n, rows))
        static(batch(n, rows))
    assert bits(plain.net) == bits(graphed.net)
    assert capture.captures == 1


def test_results_stay_when_the_graph_is_replayed():
    static = Static(lambda inputs: {"double": 2 * inputs["x"]}, lambda: (), Taping())
    first = static({"x": torch.ones(2)})
    static({"x": torch.zeros(2)})
    assert first["double"].tolist() == [2, 2]


@pytest.mark.parametrize("recurrent", [False, True])
def test_acting_through_a_graph_is_acting(recurrent):
    net = ActorCritic((5,), 3, recurrent=recurrent, generator=torch.Generator().manual_seed(0))
    capture = Taping()
    graph = Forward(net, capture)
    state = other = net.initial_state(4)
    for t in range(3):
        obs = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(t))
        start = torch.tensor([[t == 1, False, True, False]])
        with torch.no_grad():
            logits, value, state = net(obs, state, start)
            found, worth, other = graph(obs, other, start)
            next(net.parameters()).add_(0.1)  # as a publication: the graph acts with what is there
        assert torch.equal(logits, found)
        assert torch.equal(value, worth)
        assert all(torch.equal(a, b) for a, b in zip(state, other, strict=True))
    assert capture.captures == 1
    assert next(graph.parameters()).device == next(net.parameters()).device
    assert graph.initial_state(2)[0].shape == net.initial_state(2)[0].shape


def test_on_the_cpu_nothing_is_captured():
    net = ActorCritic((5,), 3, recurrent=False, generator=torch.Generator())
    assert graphs.acting(net) is net


def test_the_rate_of_an_optimiser_that_a_graph_holds_is_changed_in_place():
    parameter = nn.Parameter(torch.zeros(()))
    rate = torch.tensor(1.0)
    optimizer = torch.optim.Adam([parameter], lr=rate, fused=True)
    set_rate(optimizer, 0.25)
    assert rate.item() == 0.25
    assert optimizer.param_groups[0]["lr"] is rate


def test_a_number_of_python_stays_as_it_was_at_the_capture():
    numbers = iter(range(9))
    static = Static(lambda inputs: {"n": inputs["x"].sum() + next(numbers)}, lambda: (), Taping())
    assert static({"x": torch.zeros(1)})["n"] == static({"x": torch.zeros(1)})["n"]


def test_a_function_that_asks_the_device_for_a_value_is_not_captured():
    static = Static(lambda inputs: {"n": inputs["x"] * inputs["x"].max().item()}, lambda: (), Taping())
    with pytest.raises(RuntimeError, match="asks for a value"):
        static({"x": torch.ones(2)})
