"""Softmax and cross entropy of small matrices, by NumPy and by machine code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from taper.compiler import machine
from taper.kernels import row_sums
from taper.kernels.small_rows import make
from taper.runtime.direct_call import is_possible

BY_NUMPY = {name: getattr(row_sums, name) for name in row_sums.__all__}


@pytest.fixture(params=["NumPy", "machine code"])
def functions(request: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(row_sums, "_awaited", set())
    if request.param == "NumPy":
        return BY_NUMPY
    if not machine.is_available() or not is_possible():
        pytest.skip("needs llvmlite and CPython with a GIL on 64 bits")
    return {name: make(name, function) for name, function in BY_NUMPY.items()}


def exact_logs(x: Any) -> Any:
    x = x.astype(np.longdouble)
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (4, 10), (8, 10), (3, 17), (2, 64)])
def test_values(functions: dict[str, Any], dtype: Any, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    logs = exact_logs(x)
    size = np.finfo(dtype).eps
    found = functions["softmax_of_rows"](x)
    assert found.dtype == dtype and np.allclose(found, np.exp(logs), rtol=16 * size, atol=0)
    found = functions["log_softmax_of_rows"](x)
    assert found.dtype == dtype and np.allclose(found, logs, rtol=0, atol=16 * size)
    classes = np.arange(shape[0]) % shape[1]
    loss = functions["mean_cross_entropy"](x, classes)
    expected = -logs[np.arange(shape[0]), classes].mean()
    assert loss.dtype == dtype and loss.shape == ()
    assert math.isclose(loss, expected, rel_tol=0, abs_tol=16 * size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 2), (37, 2), (3, 3), (4, 10), (3, 17), (3, 0), (0, 2)]
)
def test_logsumexp(functions: dict[str, Any], dtype: Any, shape: tuple[int, int]) -> None:
    x = 3 * np.random.default_rng(3).standard_normal(shape).astype(dtype)
    found = functions["logsumexp_of_rows"](x)
    if found is None:
        assert functions is BY_NUMPY
        return
    exact = np.logaddexp.reduce(x.astype(np.longdouble), 1)
    assert found.dtype == dtype and found.shape == shape[:1]
    assert np.allclose(found, exact, rtol=8 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("columns", [2, 3])
def test_logsumexp_of_infinite_elements(functions: dict[str, Any], columns: int) -> None:
    inf, nan = math.inf, math.nan
    rows = [[-inf, -inf], [inf, 1], [inf, -inf], [inf, inf], [nan, 1], [1, nan], [-inf, 2],
            [3e38, -3e38], [-3e38, -3e38], [0, -100]]
    x = np.array([row + [-inf] * (columns - 2) for row in rows], np.float32)
    found = functions["logsumexp_of_rows"](x)
    if found is not None:
        expected = [-inf, inf, inf, inf, nan, nan, 2, 3e38, -3e38, 0]
        assert np.array_equal(found, np.array(expected, np.float32), equal_nan=True)


def test_what_they_leave_to_others(functions: dict[str, Any]) -> None:
    loss, x = functions["mean_cross_entropy"], np.zeros((3, 4), np.float32)
    for classes in ([0, 1, 4], [0, -1, 2], [0, -100, 2], [0, 1], [0, 1, 2, 3]):
        assert loss(x, np.array(classes)) is None
    assert loss(x, np.zeros(3, np.int32)) is None
    assert loss(x, np.zeros((3, 4), np.float32)) is None
    assert loss(x[:0], np.zeros(0, np.int64)) is None
    assert loss(x.astype(np.float16), np.zeros(3, np.int64)) is None
    assert functions["softmax_of_rows"](x.astype(np.float16)) is None
    assert functions["softmax_of_rows"](np.zeros((300, 300), np.float32)) is None


def test_machine_code_takes_over_with_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    if not machine.is_available() or not is_possible():
        pytest.skip("needs llvmlite and CPython with a GIL on 64 bits")
    for name, value in {**BY_NUMPY, "_awaited": set(BY_NUMPY), "_asked": {}}.items():
        monkeypatch.setattr(row_sums, name, value)
    monkeypatch.setattr(row_sums.settings, "_native", "now")
    x = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)
    first = BY_NUMPY["softmax_of_rows"](x)
    assert row_sums.softmax_of_rows is not BY_NUMPY["softmax_of_rows"]
    assert first.tobytes() == row_sums.softmax_of_rows(x).tobytes()
    assert row_sums._awaited == set(BY_NUMPY) - {"softmax_of_rows"}
    BY_NUMPY["softmax_of_rows"](x)  # what is left to it doesn't come back


def test_without_machine_code_numpy_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_sums, "_awaited", set(BY_NUMPY))
    monkeypatch.setattr(row_sums.settings, "_native", "off")
    assert BY_NUMPY["softmax_of_rows"](np.zeros((1, 2))).tolist() == [[0.5, 0.5]]
