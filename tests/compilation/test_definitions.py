"""Definitions of maps: which functions share one, and what they write."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.compilation.lowering.definitions import definition_of
from taper.compiler.expression import ROW, Expression

F32, F64, I32 = (np.dtype(t) for t in (np.float32, np.float64, np.int32))


def scaled(factor: Any) -> Any:
    return lambda x: np.multiply(x, factor)


def test_functions_that_do_the_same_share_a_definition() -> None:
    assert definition_of(scaled(2.0), [F32]) is definition_of(scaled(2.0), [F32])
    assert definition_of(np.add, [F32, F32]) is definition_of(np.add, [F32, F32])
    inner = lambda: scaled(3.0)  # noqa: E731
    assert definition_of(inner(), [F32]) is definition_of(inner(), [F32])


def test_what_they_hold_tells_them_apart() -> None:
    factors: list[Any] = [0.0, -0.0, 1, 1.0, True, np.float32(1), np.float64(1), 2]
    found = [definition_of(scaled(factor), [F32]) for factor in factors]
    assert None not in found
    assert len({id(d) for d in found}) == len(factors)
    assert definition_of(scaled(2.0), [F32]) is not definition_of(scaled(2.0), [F64])
    assert definition_of(scaled(np.array(1.0)), [F32]) is definition_of(
        scaled(np.float64(1)), [F32])


def test_functions_that_hold_more_are_traced_each_time() -> None:
    class Factor:
        value = 2.0

    factor = Factor()

    def times(x: Any) -> Any:
        return np.multiply(x, factor.value)

    def constant_of(function: Any) -> Any:
        definition = definition_of(function, [F32])
        assert definition is not None
        return [n.value for n in definition.nodes if n.op == "constant"]

    assert constant_of(times) == [2.0]
    factor.value = 3.0
    assert constant_of(times) == [3.0]


def test_what_cannot_be_traced_has_none() -> None:
    assert definition_of(np.sort, [F32]) is None
    assert definition_of(lambda x: x.anything(), [I32]) is None


def test_a_definition_is_written_as_its_function_is_traced() -> None:
    definition = definition_of(lambda x, y: np.where(np.greater(x, 0.5), x * y, y), [F32, F32])
    assert definition is not None and definition.dtype == F32
    e = Expression()
    row = e.input(0, "f32", ROW)
    e.results.append(definition.write(e, [row, e.input(1, "f32")]))
    assert [str(n) for n in e.nodes][-3:] == [
        "%3 = gt %0 %2  : b1 row",
        "%4 = mul %0 %1  : f32 element",
        "%5 = select %3 %4 %1  : f32 element",
    ]
    same = Expression()
    x = same.input(0, "f32")
    chosen = definition_of(np.where, [np.dtype(bool), F32, F32])
    assert chosen is not None
    assert chosen.write(same, [same.input(1, "b1"), x, x]) is x
