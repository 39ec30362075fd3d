"""Native attention against its definition in NumPy."""

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.kernels import attention as kernels
from taper.kernels import native_attention

from .definitions import definition_of
from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(3)
attention = definition_of(kernels.attention)
attention_gradient = definition_of(kernels.attention_gradient)


def operands(batch: int, queries: int, keys: int, size: int, width: int, dtype: Any) -> Any:
    shapes = (batch, queries, size), (batch, keys, size), (batch, keys, width)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def close(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    error = {4: 1e-4, 8: 1e-11}[wanted.itemsize]
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error)


def compare(query: Any, key: Any, value: Any, mask: Any, causal: bool) -> None:
    scale = query.shape[2] ** -0.5
    wanted = attention(query, key, value, mask, causal, scale)
    found = native_attention.attention(query, key, value, mask, causal, scale)
    assert found is not None
    for one, other in zip(found, wanted, strict=True):
        close(one, other)
    grad = random.standard_normal(wanted[0].shape).astype(query.dtype)
    arguments = (grad, query, key, value, mask, *wanted, causal, scale)
    gradients = native_attention.attention_gradient(*arguments)
    assert gradients is not None
    for one, other in zip(gradients, attention_gradient(*arguments), strict=True):
        close(one, other)


SIZES = [(1, 1, 1, 1, 1), (2, 7, 64, 32, 32), (3, 65, 40, 20, 33), (2, 130, 131, 64, 8),
         (1, 12, 70, 100, 200), (9, 30, 35, 20, 17), (16, 5, 3, 33, 40)]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_without_mask(sizes: Any, causal: bool, dtype: Any) -> None:
    compare(*operands(*sizes, dtype), None, causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 65, 40), (1, 65, 40), (2, 1, 40), (1, 65, 1)], ids=str)
def test_masks(shape: Any, causal: bool) -> None:
    mask = random.standard_normal(shape).astype("f4")
    mask[random.random(shape) < 0.3] = -np.inf
    mask[:, 0] = -np.inf  # a query that sees nothing
    compare(*operands(2, 65, 40, 16, 24, "f4"), mask, causal)
    compare(*operands(2, 65, 40, 16, 24, "f4"), mask.swapaxes(1, 2).copy().swapaxes(1, 2), causal)


def test_strided_operands() -> None:
    query, key, value = operands(4, 30, 50, 16, 16, "f4")
    heads = np.ascontiguousarray(key.reshape(2, 2, 50, 16).swapaxes(1, 2))
    strided = heads.swapaxes(1, 2)[1]
    compare(query[:2], strided, np.asfortranarray(value[:2]), None, False)
    compare(np.broadcast_to(query[:1], (4, 30, 16)), key, value[..., ::2], None, True)


@pytest.mark.parametrize("heads", [2, 5])
@pytest.mark.parametrize("causal", [False, True])
def test_heads_that_lie_side_by_side(heads: int, causal: bool) -> None:
    packed = random.standard_normal((2, 40, 3, heads, 20)).astype("f4")
    query, key, value = (packed[:, :, i].swapaxes(1, 2) for i in range(3))
    wanted = attention(query, key, value, None, causal, 0.3)
    found = native_attention.attention(query, key, value, None, causal, 0.3)
    assert found is not None
    for one, other in zip(found, wanted, strict=True):
        close(one, other)
    assert found[0].swapaxes(1, 2).flags.c_contiguous  # as PyTorch has it
    grad = random.standard_normal((2, 40, heads, 20)).astype("f4").swapaxes(1, 2)
    arguments = (grad, query, key, value, None, *wanted, causal, 0.3)
    gradients = native_attention.attention_gradient(*arguments)
    assert gradients is not None
    for one, other in zip(gradients, attention_gradient(*arguments), strict=True):
        close(one, other)


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_the_operands_is_touched(at_end: bool) -> None:
    for sizes in SIZES:
        query, key, value = (guarded(a, at_end) for a in operands(*sizes, "f4"))
        mask = guarded(random.standard_normal((sizes[0], sizes[1], sizes[2])).astype("f4"), at_end)
        compare(query, key, value, mask, False)


def test_values_that_are_not_finite() -> None:
    query, key, value = operands(2, 20, 90, 16, 16, "f4")
    query[0, 3, 0], query[1, 4, 1], value[1, 80, 2] = np.nan, np.inf, np.nan
    wanted, _ = attention(query, key, value, None, False, 0.25)
    found = native_attention.attention(query, key, value, None, False, 0.25)
    assert found is not None
    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(wanted))


def test_what_has_no_kernel() -> None:
    query, key, value = operands(1, 20, 20, 300, 16, "f4")
    assert native_attention.attention(query, key, value, None, False, 1.0) is None
    query, key, value = operands(1, 20, 20, 16, 16, "f2")
    assert native_attention.attention(query, key, value, None, False, 1.0) is None
    query, key, value = operands(1, 20, 0, 16, 16, "f4")
    assert native_attention.attention(query, key, value, None, False, 1.0) is None


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    query, key, value = operands(3, 100, 100, 32, 32, "f4")
    before = taper.get_num_threads()
    results = []
    for threads in (1, 4):
        taper.set_num_threads(threads)
        found = native_attention.attention(query, key, value, None, True, 0.2)
        assert found is not None
        gradients = native_attention.attention_gradient(
            query, query, key, value, None, *found, True, 0.2)
        assert gradients is not None
        results.append((*found, *gradients))
    taper.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
