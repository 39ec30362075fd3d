"""Arguments that hold tensors - lists, dicts, named tuples, dataclasses - are compared as quickly
as tensors are, and whatever else is in them is honoured."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any, NamedTuple

import pytest

import taper as torch

from .captured import captured_in

Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Batch:
    x: Any
    y: Any
    scale: int = 2
    shift = 1.0

    @property
    def target(self) -> Any:
        return self.y * self.scale + self.shift


def of_list(batch: Any) -> Any:
    return batch[0] - 2 * batch[1]


def of_dict(batch: Any) -> Any:
    return batch["x"] - 2 * batch["y"]


def of_attributes(batch: Any) -> Any:
    return batch.x - 2 * batch.y


def of_dataclass(batch: Any) -> Any:
    return batch.x - batch.target


def nested(batch: Any) -> Any:
    return batch["a"][0].x - batch["b"]["c"] * batch["n"]


def tensors() -> tuple[Any, Any]:
    return torch.randn(3), torch.randn(3)


CASES = {
    "list": (of_list, lambda: list(tensors())),
    "tuple": (of_list, tensors),
    "dict": (of_dict, lambda: dict(zip("xy", tensors(), strict=True))),
    "OrderedDict": (of_dict, lambda: OrderedDict(zip("xy", tensors(), strict=True))),
    "named tuple": (of_attributes, lambda: Pair(*tensors())),
    "dataclass": (of_dataclass, lambda: Batch(*tensors())),
    "nested": (nested, lambda: {
        "a": [Batch(*tensors())], "b": OrderedDict(c=torch.randn(3)), "n": 2.5}),
}


def no_walk(*args: Any) -> Any:
    pytest.fail("the whole state was walked through")


@pytest.mark.parametrize("case", CASES)
def test_others_are_taken_at_once(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, make = CASES[case]
    compiled = torch.compile(function)
    for _ in range(3):
        batch = make()
        assert torch.equal(compiled(batch), function(batch))
    monkeypatch.setattr(captured_in(compiled), "consider", no_walk)
    for _ in range(2):
        batch = make()
        assert torch.equal(compiled(batch), function(batch))
    assert compiled.explain().calls == {"compiled": 4, "eager": 1}


def test_what_else_they_hold_is_honoured() -> None:
    compiled = torch.compile(of_dataclass)
    batch = Batch(torch.ones(2), torch.ones(2))
    for _ in range(3):
        assert compiled(batch).tolist() == [-2, -2]
    batch.scale = 5
    assert compiled(batch).tolist() == of_dataclass(batch).tolist() == [-5, -5]
    batch.shift = 2.0  # was the class's
    assert compiled(batch).tolist() == [-6, -6]
    batch.x = torch.ones(3, dtype=torch.float64)
    batch.y = torch.ones(3)
    assert compiled(batch).tolist() == [-6, -6, -6]
    assert compiled(batch).dtype is torch.float64

    compiled = torch.compile(nested)
    given: Any = CASES["nested"][1]()
    for number in (2.5, 2.5, 2.5, 3.5, 2, True):
        given["n"] = number
        assert torch.equal(compiled(given), nested(given))
    given["b"] = {"c": torch.ones(3)}
    assert torch.equal(compiled(given), nested(given))
    given["a"].append(given["a"][0])
    assert torch.equal(compiled(given), nested(given))


class Scaled(NamedTuple):
    x: Any
    y: Any

    @property
    def total(self) -> Any:
        return (self.x + self.y) * FACTORS["total"]


FACTORS = {"total": 2.0}


def test_what_methods_of_named_tuples_read(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile(lambda batch: batch.total + batch.x)
    for _ in range(3):
        assert compiled(Scaled(torch.ones(1), torch.ones(1))).item() == 5
    monkeypatch.setitem(FACTORS, "total", 3.0)
    for _ in range(3):
        assert compiled(Scaled(torch.ones(1), torch.ones(1))).item() == 7
    monkeypatch.setattr(Scaled, "total", property(lambda batch: batch.x))
    for _ in range(3):
        assert compiled(Scaled(torch.ones(1), torch.ones(1))).item() == 2
    assert compiled.explain().calls["compiled"] >= 5


def test_tensors_that_are_passed_twice() -> None:
    def program(a: Any, b: Any) -> Any:
        a[0].add_(1)
        return a[0] * b["x"]

    compiled = torch.compile(program)
    for is_same in (False, False, False, True, True, False, True):
        x = torch.full((2,), 2.0)
        y = x if is_same else torch.full((2,), 2.0)
        assert compiled([x], {"x": y}).tolist() == ([9, 9] if is_same else [6, 6])


def test_containers_that_a_call_changes() -> None:
    def grows(batch: Any) -> Any:
        batch["z"] = batch["x"] + 1
        return batch["z"]

    def replaces(batch: Any) -> Any:
        batch.x = batch.x * 2
        return batch.x

    for function, make in ((grows, lambda: {"x": torch.ones(2)}),
                           (replaces, lambda: Batch(torch.ones(2), None))):
        compiled = torch.compile(function)
        for _ in range(4):
            batch = make()
            found = compiled(batch)
            assert found.tolist() == [2, 2]
            assert found is (batch["z"] if function is grows else batch.x)


def test_results_in_ordered_dicts() -> None:
    compiled = torch.compile(lambda x: OrderedDict(b=x + 1, a=x * 2))
    for _ in range(3):
        found = compiled(torch.ones(1))
        assert type(found) is OrderedDict and list(found) == ["b", "a"] and found["a"].item() == 2
    assert compiled.explain().calls["compiled"] == 2


def test_gradients_of_arguments_are_added_to_without_a_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def program(a: Any, b: Any) -> Any:
        loss = (a * b).sum()
        loss.backward()
        return loss.clone()

    compiled = torch.compile(program)
    a, b = [torch.tensor([float(i), 2.0], requires_grad=True) for i in (1, 3)]
    for _ in range(3):
        compiled(a, b)
    with monkeypatch.context() as patch:
        patch.setattr(captured_in(compiled), "consider", no_walk)
        compiled(a, b)
    assert a.grad.tolist() == [12, 8] and b.grad.tolist() == [4, 8]
    b.grad = a.grad  # what is added to either is in both
    compiled(a, b)
    assert a.grad is b.grad and a.grad.tolist() == [16, 12]


def test_a_gradient_that_is_another_tensor() -> None:
    layers = [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]

    def of_arguments(w: Any, g: Any) -> Any:
        return w.grad * 2 + 0 * g

    def of_two(a: Any, b: Any) -> Any:
        return a.grad + b.grad

    def of_state() -> Any:
        return layers[0].weight.grad + layers[1].weight.grad

    two, five = torch.full((1, 1), 2.0), torch.full((1, 1), 5.0)
    a, b = [torch.ones(1, 1, requires_grad=True) for _ in range(2)]
    for function, owners, given, expected in (
        (of_arguments, [a], (a, two), (4, 10)),
        (of_two, [a, b], (a, b), (4, 7)),
        (of_state, [layer.weight for layer in layers], (), (4, 7)),
    ):
        for owner in owners:
            owner.grad = two
        compiled = torch.compile(function)
        for _ in range(3):
            assert compiled(*given).item() == expected[0]
        owners[-1].grad = five
        for _ in range(3):
            assert compiled(*given).item() == expected[1]


def test_sizes_that_are_others_each_time() -> None:
    compiled = torch.compile(lambda batch: (batch["x"] * 2).sum(1))
    for size in range(3, 11):
        x = torch.randn(size, 4)
        torch.testing.assert_close(compiled({"x": x}), (x * 2).sum(1))
    assert compiled.explain().calls == {"compiled": 7, "eager": 1}


@pytest.mark.parametrize("is_inference", [False, True])
def test_pieces_are_taken_without_a_walk(
    is_inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `split` gives, and what is made in inference mode, says so; and that is compared."""
    function = torch.compile(lambda x: x * 2 + 1)
    with torch.inference_mode(is_inference):
        pieces = torch.arange(12.0).split(3)
        for piece in pieces:
            function(piece)
        monkeypatch.setattr(captured_in(function), "consider", no_walk)
        for piece in pieces:
            result = function(piece)
            assert result.tolist() == [2 * x + 1 for x in piece.tolist()]
            assert result.is_inference() is is_inference


def test_pieces_that_are_changed_in_place() -> None:
    function = torch.compile(lambda x: x.add_(1))
    x = torch.zeros(6)
    for _ in range(4):
        for piece in x.split(2):
            function(piece)
    assert x.tolist() == [4.0] * 6 and x._version == 12
    pieces = torch.zeros(6, requires_grad=True).mul(1).split(2)
    with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
        function(pieces[0])
    with torch.inference_mode():
        x = torch.zeros(2)
        assert function(x).tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside"):
        function(x)
