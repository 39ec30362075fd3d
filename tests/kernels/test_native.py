"""Native elementwise kernels against their definitions on NumPy, in every layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import native_box_muller, native_twister
from taper.kernels.box_muller import box_muller
from taper.kernels.native import Elementwise
from taper.kernels.random_streams import to_uniform32, to_uniform64
from taper.kernels.strided_walks import merged_dims

from .guarded_memory import guarded

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

random = np.random.default_rng(5)
F32 = np.float32


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "native", "now")


def normal(*shape: int, dtype: Any = F32) -> Any:
    return (random.standard_normal(shape) * 4).astype(dtype)


def check(definition: Callable[..., Any], *arrays: Any, error: float = 0.0) -> None:
    """The kernel exists and gives what the definition gives: values, dtype, shape and strides."""
    found = Elementwise(definition, range(len(arrays))).compute(arrays, {})
    wanted = definition(*arrays)
    assert found is not None
    assert (found.dtype, found.shape, found.strides) == (wanted.dtype, wanted.shape, wanted.strides)
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error)


def mixed(x: Any, y: Any) -> Any:
    return np.where(np.greater(x, y), np.multiply(x, y), np.subtract(y, np.absolute(x)))


LAYOUTS = {
    "contiguous": lambda: (normal(37, 53), normal(37, 53)),
    "fortran": lambda: (normal(37, 53).T, normal(37, 53).T),
    "crosswise": lambda: (normal(53, 37).T, normal(37, 53)),
    "crosswise third": lambda: (normal(6, 53, 37).transpose(0, 2, 1), normal(6, 37, 53)),
    "permuted": lambda: (normal(4, 20, 7, 30).transpose(0, 2, 3, 1), normal(4, 7, 30, 20)),
    "row": lambda: (normal(37, 53), normal(53)),
    "column": lambda: (normal(37, 53), normal(37, 1)),
    "outer": lambda: (normal(37, 1), normal(1, 53)),
    "expanded": lambda: (np.broadcast_to(normal(53), (37, 53)), normal(37, 53)),
    "number": lambda: (normal(37, 53), np.array(0.5, F32)),
    "rows skipped": lambda: (normal(74, 53)[::2], normal(37, 53)),
    "every second": lambda: (normal(9001)[::2], normal(4501)),
    "every third": lambda: (normal(13503)[::3], normal(4501)),
    "backwards": lambda: (normal(4501)[::-1], normal(4501)),
    "part": lambda: (normal(40, 60)[3:, 7:], normal(37, 53)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    check(mixed, *LAYOUTS[name]())


@pytest.mark.parametrize("size", [*range(1, 70), 127, 128, 129, 1000])
def test_tails(size: int) -> None:
    check(mixed, normal(size), normal(size))


def test_empty_arrays() -> None:
    check(mixed, normal(0, 5), normal(0, 5))
    assert Elementwise(mixed, (0, 1)).compute((normal(0, 5), normal(1, 5)), {}) is None


@pytest.mark.parametrize("offset", [1, 4, 6])
def test_misaligned_arrays(offset: int) -> None:
    memory = np.zeros(4 * 1001 + 64, np.uint8)
    x = np.ndarray(1001, F32, memory, offset)
    x[:] = normal(1001)
    check(mixed, x, normal(1001))


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 63, 64, 65, 255, 1024])
def test_nothing_beyond_the_operands_is_touched(size: int, at_end: bool) -> None:
    x, y = guarded(normal(size), at_end), guarded(normal(size), at_end)
    out = guarded(np.zeros(size, F32), at_end)
    assert Elementwise(mixed, (0, 1)).compute((x, y), {}, out) is out
    np.testing.assert_array_equal(out, mixed(x, y))


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_strided_operands_is_touched(at_end: bool) -> None:
    copy = Elementwise(np.positive, (0,))
    for view in (
        lambda x: x[:, :].T, lambda x: x[::2, ::2], lambda x: x[:, ::2], lambda x: x[5:, 3:].T,
    ):
        source = view(guarded(normal(67, 131), at_end))
        found = copy.compute((source,), {})
        assert found is not None
        np.testing.assert_array_equal(found, source)
    line = guarded(normal(9999), at_end)[::2]
    np.testing.assert_array_equal(copy.compute((line,), {}), line)


def test_dtypes_follow_numpy() -> None:
    whole = random.integers(-100, 100, 1000)
    for kind in (np.int8, np.int16, np.int32, np.int64, np.uint8):
        x, y = whole.astype(kind), whole[::-1].astype(kind)
        check(lambda a, b: np.bitwise_xor(np.multiply(a, b), np.subtract(a, b)), x, y)
        check(np.less, x, y)
    check(lambda a, b: np.logical_and(a, np.logical_not(b)), whole > 3, whole < 50)
    check(lambda a: np.add(np.multiply(a, 3), 1).astype(np.float64), whole)
    check(np.floor_divide, whole.astype(np.int32), np.array(-7, np.int32))
    check(np.remainder, whole.astype(np.int32), np.array(-7, np.int32))


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_rounded_once(kind: Any) -> None:
    x, y = normal(1001).astype(kind), normal(1001).astype(kind)
    x[:4] = [np.inf, -np.inf, np.nan, 0]
    add_multiply = Elementwise(lambda a, b: np.multiply(np.add(a, b), b), (0, 1), upcast=True)
    found = add_multiply.compute((x, y), {})
    wide, other = x.astype(F32), y.astype(F32)
    wanted = ((wide + other) * other).astype(kind)
    assert found.dtype == kind
    np.testing.assert_array_equal(found.astype(F32), wanted.astype(F32))
    assert Elementwise(np.add, (0, 1)).compute((x, y), {}) is None  # NumPy rounds in between


def test_nan_and_zeros_behave_as_in_numpy() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], F32)
    x, y = (a.ravel().copy() for a in np.meshgrid(values, values))
    for ufunc in (np.maximum, np.minimum, np.fmax, np.fmin, np.sign, np.isnan, np.isinf, np.equal,
                  np.less_equal, np.copysign, np.absolute, np.rint, np.floor):
        arrays = (x, y)[: ufunc.nin]
        check(ufunc, *arrays)


def test_values_are_part_of_the_definition() -> None:
    power = Elementwise(lambda x, n: np.multiply(x, n) if n > 1 else np.negative(x), (0,))
    x = normal(500)
    np.testing.assert_array_equal(power.compute((x, 3), {}), x * F32(3))
    np.testing.assert_array_equal(power.compute((x, 1), {}), -x)


def test_what_has_no_rule_is_left_to_numpy() -> None:
    x = normal(500)
    for definition in (np.spacing, lambda a: a if a.sum() else -a, np.sort):
        kernel = Elementwise(definition, (0,))
        assert kernel.compute((x,), {}) is None
    assert Elementwise(np.add, (0, 1)).compute((x, x.astype(complex)), {}) is None
    assert Elementwise(np.add, (0, 1)).compute((normal(3, 500), normal(4, 500)), {}) is None


def test_writing_into_operands() -> None:
    x, y = normal(5000), normal(5000)
    wanted = x + y
    add = Elementwise(np.add, (0, 1))
    assert add.into(x, x, y)
    np.testing.assert_array_equal(x, wanted)
    assert not add.into(x[1:], x[1:], x[:-1])  # NumPy copies what overlaps first
    assert not add.into(np.broadcast_to(normal(1), 5000), y, y)
    assert not add.into(normal(1, 5000), normal(3, 5000), normal(5000))
    assert not add.into(np.zeros(5000), x, y)  # another dtype


def test_dimensions_are_merged_where_all_operands_allow_it() -> None:
    assert merged_dims((2, 3, 4), [(48, 16, 4), (48, 16, 4)]) == ([24], [[4], [4]])
    assert merged_dims((2, 3, 4), [(48, 16, 4), (0, 16, 4)]) == ([2, 12], [[48, 4], [0, 4]])
    assert merged_dims((2, 1, 4), [(16, 0, 4)]) == ([8], [[4]])


def test_operators_use_kernels_only_on_large_tensors() -> None:
    x, y = taper.randn(200, 300), taper.randn(200, 300)
    total = (x + y).numpy()
    np.testing.assert_array_equal(total, x.numpy() + y.numpy())
    assert total.ctypes.data % 64 == 0  # it was made by a kernel
    weight = taper.nn.Parameter(taper.randn(200, 300))
    (taper.tanh(weight * x) * y).sum().backward()
    slope = (1 - np.tanh(weight.detach().numpy() * x.numpy()) ** 2) * x.numpy() * y.numpy()
    np.testing.assert_allclose(weight.grad.numpy(), slope, rtol=2e-5, atol=2e-6)
    out = taper.empty(200, 300)
    taper.add(x, y, out=out)
    np.testing.assert_array_equal(out.numpy(), total)


def test_numpy_alone_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = taper.randn(70_000), taper.randn(70_000)
    native = taper.where(x > 0, x * y, x - y).clamp(-1, 1)
    monkeypatch.setattr(settings, "native", "off")
    assert taper.equal(native, taper.where(x > 0, x * y, x - y).clamp(-1, 1))


def test_normal_numbers_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = random.integers(0, 2**32, 1 << 18, np.uint32)
    draws[:2] = 0, 0xFFFFFF
    found = native_box_muller.box_muller(draws)
    monkeypatch.setattr(settings, "native", "off")
    np.testing.assert_array_equal(found, box_muller(draws))


# -- random numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 2, 3, 40])
def test_draws_are_the_twisters(blocks: int) -> None:
    ours, numpys = np.random.MT19937(5), np.random.MT19937(5)
    ours._legacy_seeding(5)
    numpys._legacy_seeding(5)
    for _ in range(3):
        wanted = numpys.random_raw(blocks * 624)
        np.testing.assert_array_equal(native_twister.draws(ours, blocks), wanted)
    np.testing.assert_array_equal(ours.random_raw(1000), numpys.random_raw(1000))


@pytest.mark.parametrize("count", [2, 6, 16, 34, 100_002])
def test_numbers_made_of_draws(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    draws = guarded(random.integers(0, 2**32, count, np.uint32), bool(count % 4))
    draws[:2] = 0, 0
    found = [native_twister.to_uniform32(draws), native_twister.to_uniform64(draws)]
    below = [native_twister.ones_below(draws, limit, np.dtype(dtype))
             for limit in (0.0, 1e-17, 0.3, 0.5, 1.0) for dtype in (np.float32, np.float64)]
    assert native_twister.ones_below(draws, 0.5, np.dtype(np.float16)) is None
    monkeypatch.setattr(settings, "native", "off")
    np.testing.assert_array_equal(found[0], to_uniform32(draws))
    numbers = to_uniform64(draws)
    np.testing.assert_array_equal(found[1], numbers)
    for limit in (0.0, 1e-17, 0.3, 0.5, 1.0):
        for dtype in (np.float32, np.float64):
            result = below.pop(0)
            assert result.dtype == dtype
            np.testing.assert_array_equal(result, (numbers < limit).astype(dtype))


@pytest.mark.parametrize("groups", [1, 2, 3, 1001])
def test_normal_numbers_of_any_count_of_groups(
    monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    draws = guarded(random.integers(0, 2**32, 16 * groups, np.uint32), bool(groups % 2))
    found = native_box_muller.box_muller(draws)
    monkeypatch.setattr(settings, "native", "off")
    np.testing.assert_array_equal(found, box_muller(draws))
