"""State by the names of attributes: what comes back, what is refused, and what is shared with nobody."""

import io
from typing import Any

import numpy as np
import pytest
import torch

from bench.coverage import Coverage
from bench.keeping import Kept, Rows


def through_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class Inner(Kept):
    KEPT = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Whole(Kept):
    KEPT = ("number", "array", "scalar", "generators", "inner", "nothing", "table")
    MEMORY = ("rows", "pair", "late")

    def __init__(self) -> None:
        self.number, self.array, self.scalar = 0.5, np.zeros(2, np.float32), np.zeros(())
        self.generators, self.inner = {"a": torch.Generator().manual_seed(0)}, Inner()
        self.nothing: Inner | None = None
        self.table: dict[int, torch.Tensor] = {}
        self.rows = Rows()
        self.pair = (torch.zeros(2), torch.zeros(2))
        self.late: torch.Tensor | None = None
        self.constant = 1


def lived() -> Whole:
    """One in which everything has changed."""
    whole = Whole()
    whole.number, whole.array[1], whole.scalar = 0.1, 0.1, whole.scalar + 0.1
    torch.rand(5, generator=whole.generators["a"])
    whole.inner.count, whole.table[3] = 7, torch.ones(2)
    whole.rows.append({"x": torch.ones(2), "y": torch.tensor(1.5)})
    whole.rows.append({"x": torch.zeros(2), "y": torch.tensor(0.5)})
    whole.pair, whole.late = (torch.ones(2), torch.zeros(2)), torch.ones(1)
    return whole


def test_every_kind_of_attribute_comes_back() -> None:
    old, new = lived(), Whole()
    generator, inner, rows = new.generators["a"], new.inner, new.rows
    new.load_state_dict(through_file(old.state_dict()))
    assert (new.number, new.inner.count, new.nothing) == (0.1, 7, None)
    assert new.array.tobytes() == old.array.tobytes()
    assert (new.array.dtype, new.scalar.dtype, new.scalar.shape) == (np.float32, np.float64, ())
    assert new.scalar == old.scalar
    assert torch.equal(torch.rand(3, generator=new.generators["a"]), torch.rand(3, generator=old.generators["a"]))
    assert torch.equal(new.table[3], old.table[3])
    assert torch.equal(new.pair[0], old.pair[0])
    assert isinstance(new.pair, tuple)
    assert torch.equal(new.late, old.late)
    assert [row["y"].item() for row in new.rows] == [1.5, 0.5]
    assert torch.equal(new.rows[0]["x"], torch.ones(2))
    assert (new.generators["a"] is generator, new.inner is inner, new.rows is rows) == (True, True, True)


def test_what_is_big_or_transient_stands_apart() -> None:
    state = lived().state_dict()
    assert list(state) == [*Whole.KEPT, "memory"]
    assert list(state["memory"]) == list(Whole.MEMORY)
    assert "memory" not in Inner().state_dict()


def test_a_state_with_other_keys_is_refused() -> None:
    state = lived().state_dict()
    with pytest.raises(ValueError, match=r"a state of Whole does not match in number$"):
        Whole().load_state_dict({name: part for name, part in state.items() if name != "number"})
    with pytest.raises(ValueError, match=r"does not match in late, pair, rows$"):
        Whole().load_state_dict({name: part for name, part in state.items() if name != "memory"})
    with pytest.raises(ValueError, match=r"does not match in constant$"):
        Whole().load_state_dict({**state, "constant": 1})
    with pytest.raises(ValueError, match="a state of Inner does not match in count, x"):
        Whole().load_state_dict({**state, "inner": {"x": 1}})


def test_a_loaded_state_is_shared_with_nobody() -> None:
    state, whole = lived().state_dict(), Whole()
    whole.load_state_dict(state)
    whole.array[:] = 9
    whole.table[3][:] = 9
    whole.pair[0][:] = 9
    whole.rows[0]["x"][:] = 9
    whole.rows.clear()
    other = Whole()
    other.load_state_dict(state)
    assert other.array.max() < 1
    assert (other.table[3].max(), other.pair[0].max(), other.rows[0]["x"].max()) == (1, 1, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_loaded_fused_adam_steps_as_the_other(layout) -> None:
    class Learner(Kept):
        KEPT = ("net", "adam")

        def __init__(self) -> None:
            torch.manual_seed(0)
            self.net = torch.nn.Conv2d(3, 5, 3).to(memory_format=layout)
            self.adam = torch.optim.Adam(self.net.parameters(), lr=0.1, fused=True)

        def learn(self, x: torch.Tensor) -> None:
            self.adam.zero_grad(set_to_none=True)
            self.net(x).square().mean().backward()
            self.adam.step()

    first, second = Learner(), Learner()
    for k in range(3):
        first.learn(torch.full((2, 3, 4, 4), k + 1.0))
    state = through_file(first.state_dict())
    second.load_state_dict(state)
    for one in (first, second):
        for k in range(3):
            one.learn(torch.full((2, 3, 4, 4), k - 1.0))
    for a, b in zip(first.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(a, b)
        for name, value in first.adam.state[a].items():
            assert torch.equal(value, second.adam.state[b][name])
            assert (value.dtype, value.stride()) == (
                second.adam.state[b][name].dtype,
                second.adam.state[b][name].stride(),
            )
    assert [float(kept["step"]) for kept in state["adam"]["state"].values()] == [3, 3]  # it did not go on


def test_means_of_rows_are_over_rows_and_of_none_nothing() -> None:
    assert lived().rows.means() == {"x": 0.5, "y": 1.0}
    assert Rows().means() == Rows().state_dict() == {}
    rows = Rows([{"x": torch.ones(1)}])
    rows.load_state_dict({})
    assert rows == []


def test_loaded_coverage_counts_nothing_twice_and_forgets_nothing() -> None:
    rng = np.random.default_rng(0)
    first, later = rng.standard_normal((300, 3)), rng.standard_normal((300, 3))
    coverage, other = Coverage(), Coverage()
    coverage.add(first)
    other.add(later[:5])  # is replaced
    other.load_state_dict(through_file(coverage.state_dict()))
    assert other.count() == coverage.count() == 300
    for one in (coverage, other):
        one.add(later)
        one.add(first)
    assert other.count() == coverage.count() > 300
    assert np.array_equal(other.marked, coverage.marked)
