"""Native Fourier transforms against NumPy's in double precision."""

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.compiler.fourier_kernels import radices_of
from taper.kernels import fourier, native_fourier

from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(5)
# Lines along memory, across it, both, and long ones that are cut; tails of lanes and of elements.
LAYOUTS = [
    ((20, 16), (1,)), ((17, 60), (1,)), ((33, 25), (1,)), ((16, 2), (1,)), ((40, 30), (0,)),
    ((3, 8, 50), (1,)), ((6144,), (0,)), ((2, 6000), (1,)), ((48, 20), (0, 1)),
    ((4, 24, 40), (0, 1, 2)), ((18, 243), (-1,)),
]


def complex_values(shape: Any, dtype: Any) -> Any:
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(dtype)


def close(found: Any, wanted: Any, dtype: Any) -> None:
    assert found is not None
    assert found.shape == wanted.shape and found.dtype == dtype
    error = {8: 1e-6, 16: 2e-15}[found.itemsize]
    assert np.abs(found - wanted).max() <= error * np.abs(wanted).max()


@pytest.mark.parametrize("dtype", ["c8", "c16"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_complex_transforms(layout: Any, dtype: Any) -> None:
    shape, dims = layout
    x = complex_values(shape, dtype)
    wide = x.astype("c16")
    found = native_fourier.complex_to_complex(x, dims, "backward", True)
    close(found, np.fft.fftn(wide, axes=dims), dtype)
    for norm in ("backward", "ortho", "forward"):
        found = native_fourier.complex_to_complex(x, dims, norm, False)
        close(found, np.fft.ifftn(wide, axes=dims, norm=norm), dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("layout", [
    ((20, 1000), (1,)), ((17, 15), (1,)), ((40, 30), (0, 1)), ((16, 2), (1,)),
    ((4, 6, 8, 20), (3,)),
    ((3, 8, 16, 30), (1, 2, 3)),
], ids=str)  # fmt: skip
def test_real_transforms(layout: Any, dtype: Any) -> None:
    shape, dims = layout
    x = random.standard_normal(shape).astype(dtype)
    result = {"f4": "c8", "f8": "c16"}[dtype]
    found = native_fourier.real_to_complex(x, dims, "backward", True)
    close(found, np.fft.rfftn(x.astype("f8"), axes=dims), result)
    found = native_fourier.real_to_complex(x, dims, "ortho", False)
    close(found, np.fft.fftn(x.astype("f8"), axes=dims, norm="ortho"), result)


def test_every_short_length() -> None:
    for length in range(2, 61):
        x = complex_values((16, length), "c16")
        found = native_fourier.complex_to_complex(x, (1,), "backward", True)
        if radices_of(length) is None:
            assert found is None
        else:
            close(found, np.fft.fft(x), "c16")


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_the_lines_is_touched(at_end: bool) -> None:
    for shape, dims in LAYOUTS:
        x = complex_values(shape, "c8")
        wanted = np.fft.fftn(x.astype("c16"), axes=dims)
        found = native_fourier.complex_to_complex(guarded(x, at_end), dims, "backward", True)
        close(found, wanted, "c8")
    for shape in ((17, 15), (17, 18)):
        y = random.standard_normal(shape).astype("f4")
        found = native_fourier.real_to_complex(guarded(y, at_end), (1,), "backward", True)
        close(found, np.fft.rfft(y.astype("f8")), "c8")


def test_lines_of_any_layout() -> None:
    x = complex_values((60, 80), "c8")
    for view in (x.T, x[::2, ::3], x[:, ::-1], np.broadcast_to(x[:1], (20, 80))):
        found = native_fourier.complex_to_complex(view, (0,), "backward", True)
        if found is not None:
            close(found, np.fft.fft(view.astype("c16"), axis=0), "c8")
    assert native_fourier.complex_to_complex(x[:0], (1,), "backward", True) is None


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    x = complex_values((100, 128), "c8")
    before = taper.get_num_threads()
    results = []
    for threads in (1, 4):
        taper.set_num_threads(threads)
        results.append(native_fourier.complex_to_complex(x, (0, 1), "backward", True))
    taper.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_the_definition_takes_the_kernel_where_there_is_one() -> None:
    x = complex_values((64, 128), "c8")
    for dims in ((0,), (1,), (0, 1)):
        close(fourier.complex_to_complex(x, dims, "backward", True),
              np.fft.fftn(x.astype("c16"), axes=dims), "c8")
    y = random.standard_normal((64, 7 * 64)).astype("f4")  # seven isn't a stage
    close(fourier.real_to_complex(y, (1,), "backward", True), np.fft.rfft(y.astype("f8")), "c8")


def test_transforms_that_are_launched_again() -> None:
    for _ in range(5):  # other numbers, the same plan
        for shape, dims in LAYOUTS:
            x = complex_values(shape, "c8")
            found = native_fourier.complex_to_complex(x, list(dims), "forward", True)
            close(found, np.fft.fftn(x.astype("c16"), axes=dims, norm="forward"), "c8")
