"""Functions that stand in for ufuncs give the same bits, whatever they are called with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import small_calls, when_busy
from taper.runtime.direct_call import is_possible

pytestmark = pytest.mark.skipif(
    not machine.is_available() or not is_possible(),
    reason="needs llvmlite and CPython with a GIL on 64 bits",
)

UFUNCS = [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.equal,
          np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, 1e-310, 3.4e38, 1e300, 2.5]


def pairs(dtype: Any) -> list[tuple[Any, Any]]:
    """Operands that the stand-ins take, and some that they leave to the ufunc."""
    random = np.random.default_rng(1)
    with np.errstate(over="ignore"):
        a, b = (m.astype(dtype) for m in np.meshgrid(SPECIAL, SPECIAL))
    found: list[tuple[Any, Any]] = [(a.copy(), b.copy()), (a, b), (a.T, b)]
    for n in (0, 1, 3, 16, 67, 1000):
        x, y = random.standard_normal((2, n)).astype(dtype)
        found += [
            (x, y), (x, x), (x, np.array(1.5, dtype)), (np.array(-0.0, dtype), x),
            (x, np.array(np.nan, dtype)), (x[::2], y[::2]), (x.reshape(1, -1), y.reshape(1, -1)),
            (x.reshape(-1, 1), y), (x.astype(np.float64), y), (x, 2.0), (x.astype(np.int32), y),
        ]
    return found


def agree(found: Any, expected: Any) -> bool:
    return bool(
        found.dtype == expected.dtype and found.shape == expected.shape
        and found.tobytes() == expected.tobytes()
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda u: u.__name__)
def test_two_operands(ufunc: Any, dtype: Any) -> None:
    function = small_calls.made(ufunc, False)
    with np.errstate(all="ignore"):
        for x, y in pairs(dtype):
            assert agree(function(x, y), ufunc(x, y))


@pytest.mark.parametrize("ufunc", [np.negative, np.sqrt, np.square], ids=lambda u: u.__name__)
def test_one_operand(ufunc: Any) -> None:
    function = small_calls.made(ufunc, False)
    with np.errstate(all="ignore"):
        for dtype in (np.float32, np.float64):
            for x, _ in pairs(dtype):
                assert agree(function(x), ufunc(x))


def test_choosing() -> None:
    function = small_calls.made(np.where, False)
    for dtype in (np.float32, np.float64):
        for x, y in pairs(dtype):
            if isinstance(y, np.ndarray):
                chosen = x > 0
                assert agree(function(chosen, x, y), np.where(chosen, x, y))


@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply, np.divide],
                         ids=lambda u: u.__name__)
def test_in_place(ufunc: Any) -> None:
    function = small_calls.made(ufunc, True)
    with np.errstate(all="ignore"):
        for dtype in (np.float32, np.float64):
            for x, y in pairs(dtype):
                if x.dtype != dtype or np.broadcast(x, y).shape != x.shape:
                    continue
                expected, found = x.copy(), x.copy()
                ufunc(expected, y, expected)
                function(found, y, found)
                assert agree(found, expected)
    memory = np.arange(10.0) + 1
    function(memory[1:], memory[:-1], memory[1:])  # overlapping, so NumPy's
    expected = np.arange(10.0) + 1
    ufunc(expected[1:], expected[:-1], expected[1:])
    assert agree(memory, expected)


def test_shapes_that_do_not_fit_are_told_by_numpy() -> None:
    function = small_calls.made(np.add, False)
    with pytest.raises(ValueError, match="broadcast"):
        function(np.ones(3), np.ones(4))


def test_namespaces_get_what_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "background")
    scope: dict[str, Any] = {}
    small_calls.stand_in(np.add, scope, "add")
    small_calls.stand_in(np.hypot, scope, "hypot")
    assert scope["hypot"] is np.hypot
    when_busy.make_all()
    assert scope["add"] is not np.add
    assert scope["add"](np.ones(2), np.ones(2)).tolist() == [2, 2]
    assert scope["add"] is small_calls.made(np.add, False)
