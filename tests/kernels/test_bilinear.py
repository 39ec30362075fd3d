"""Bilinear maps by their native kernel, and as einsum and bilinear use it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper as torch
from taper.compiler import machine
from taper.kernels import bilinear, native_bilinear

from .guarded_memory import guarded

random = np.random.default_rng(5)
pytestmark = pytest.mark.usefixtures("at_once")
needs_kernels = pytest.mark.skipif(
    not machine.is_available() or machine.host().vector_bytes < 32, reason="needs llvmlite and AVX2"
)
SIZES = [  # rows, features, depth, columns
    (256, 32, 64, 48), (8, 1, 8, 8), (37, 5, 70, 129), (13, 33, 9, 17), (100, 3, 20, 30),
    (1, 2, 1, 1), (64, 17, 300, 64),
]


def operands(sizes: Any, dtype: Any) -> list[Any]:
    m, f, k, n = sizes
    return [random.standard_normal(shape).astype(dtype) for shape in ((m, k), (f, k, n), (m, n))]


def wanted_of(first: Any, matrices: Any, second: Any) -> Any:
    return np.einsum("mk,fkn,mn->mf", *(a.astype("f8") for a in (first, matrices, second)))


def close(found: Any, wanted: Any) -> None:
    assert found is not None and found.shape == wanted.shape
    error = {4: 2e-6, 8: 1e-14}[found.itemsize]
    np.testing.assert_allclose(found, wanted, atol=error * max(1.0, float(abs(wanted).max())))


@needs_kernels
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sizes(sizes: Any, dtype: Any) -> None:
    found = operands(sizes, dtype)
    close(native_bilinear.bilinear(*found), wanted_of(*found))
    close(bilinear.bilinear(*found), wanted_of(*found))


@needs_kernels
def test_layouts() -> None:
    first, matrices, second = operands((40, 6, 20, 24), "f4")
    wanted = wanted_of(first, matrices, second)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        back = tuple(int(i) for i in np.argsort(order))
        laid = np.ascontiguousarray(matrices.transpose(order)).transpose(back)
        close(native_bilinear.bilinear(first, laid, second), wanted)
        close(native_bilinear.bilinear(first.T.copy().T, laid, second.T.copy().T), wanted)
    broad = np.broadcast_to(first[:1], first.shape)
    close(native_bilinear.bilinear(broad, matrices, second), wanted_of(broad, matrices, second))
    spaced = np.repeat(second, 2, 1)[:, ::2]
    close(native_bilinear.bilinear(first[::-1], matrices[:, :, ::1], spaced),
          wanted_of(first[::-1], matrices, second))


@needs_kernels
@pytest.mark.parametrize("at_end", [False, True])
def test_nothing_is_read_beyond_the_operands(at_end: bool) -> None:
    for sizes in SIZES[2:5]:
        found = [guarded(a, at_end) for a in operands(sizes, "f4")]
        close(native_bilinear.bilinear(*found), wanted_of(*found))


@needs_kernels
def test_what_is_not_finite_stays_in_its_row() -> None:
    first, matrices, second = operands((30, 5, 9, 17), "f4")
    wanted = wanted_of(first, matrices, second)
    first[4, 3], second[11, 16] = np.inf, np.nan
    found = native_bilinear.bilinear(first, matrices, second)
    assert found is not None
    assert not np.isfinite(found[4]).any() and np.isnan(found[11]).all()
    kept = [i for i in range(30) if i not in (4, 11)]
    close(found[kept], wanted[kept])


@needs_kernels
def test_the_number_of_threads_changes_nothing() -> None:
    found = operands((301, 33, 64, 70), "f4")
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(native_bilinear.bilinear(*found))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


EQUATIONS = [
    "bi,kij,bj->bk", "bi,kij,bj->kb", "ib,ijk,jb->bk", "bj,bi,jki->bk", "kij,bi,bj->bk",
    "bi,bj,ijk->bk",
    # no bilinear maps of rows
    "bi,kij,bj->k", "bi,kij,bj->bki", "bi,bij,bj->b", "bi,kij,ci->bc", "bi,kji,ib->bk",
]


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("records", [False, True])
def test_einsum(equation: str, records: bool) -> None:
    sizes = {"b": 40, "i": 16, "j": 24, "k": 18, "c": 7}
    arrays = [random.standard_normal([sizes[c] for c in term])
              for term in equation.partition("->")[0].split(",")]
    tensors = [torch.tensor(a, requires_grad=records) for a in arrays]
    found = torch.einsum(equation, *tensors)
    assert (found.grad_fn is not None) == records
    np.testing.assert_allclose(found.detach().numpy(), np.einsum(equation, *arrays), atol=1e-11)


def test_einsum_of_broadcast_operands() -> None:
    found = torch.einsum("bi,kij,bj->bk", torch.ones(40, 1), torch.ones(8, 16, 24),
                         torch.ones(40, 24))
    assert (found == 16 * 24).all() and found.shape == (40, 8)


def test_bilinear_with_and_without_history() -> None:
    x, y = torch.randn(5, 9, 20), torch.randn(5, 9, 30)
    layer = torch.nn.Bilinear(20, 30, 40)
    recorded = layer(x, y)
    with torch.no_grad():
        found = layer(x, y)
    assert recorded.requires_grad and not found.requires_grad
    torch.testing.assert_close(found, recorded.detach(), rtol=1e-5, atol=1e-5)
