"""Memory of large results: who has it, when it is used again, how much of it waits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from taper.compiler import background
from taper.core.settings import settings
from taper.runtime import large_arrays, waiting_memory

F32 = np.dtype(np.float32)
slow_make = large_arrays._make


@pytest.fixture(autouse=True)
def machine_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "native", "now")
    if not background.load() or waiting_memory.find_functions() is None:
        pytest.skip("no machine code here")
    large_arrays.clear()
    yield
    large_arrays.clear()


def test_memory_is_used_again_once_nobody_has_it() -> None:
    first = large_arrays.new_array((1000, 1000), F32, 1_000_000)
    address = first.ctypes.data
    view = first[10:]
    del first
    assert large_arrays.new_array((1000, 1000), F32, 1_000_000).ctypes.data != address
    large_arrays.clear()
    del view
    assert large_arrays.waiting_bytes() >= 4_000_000
    again = large_arrays.new_array((10**6,), F32, 1_000_000)
    assert again.ctypes.data == address
    assert large_arrays.waiting_bytes() == 0


@pytest.mark.parametrize("size", [8192, 10_000, 100_000, 262_144, 786_432, 3_000_001])
def test_arrays_begin_at_a_cache_line_and_can_be_written(size: int) -> None:
    arrays = [large_arrays.new_array((size,), F32, size) for _ in range(3)]
    for i, a in enumerate(arrays):
        assert a.ctypes.data % 64 == 0 and a.flags.writeable
        a[:] = i
    assert [set(a.tolist()) for a in arrays] == [{0.0}, {1.0}, {2.0}]


def test_what_was_freed_last_is_used_first() -> None:
    a, b = (large_arrays.new_array((10**5,), F32, 10**5) for _ in range(2))
    last = b.ctypes.data
    del a
    del b
    assert large_arrays.new_array((10**5,), F32, 10**5).ctypes.data == last


def test_waiting_memory_is_bounded() -> None:
    words = waiting_memory.find_functions().words
    most = words[waiting_memory.Word.MOST_BYTES]
    words[waiting_memory.Word.MOST_BYTES] = 1 << 21
    try:
        kept = [large_arrays.new_array((1 << 18,), F32, 1 << 18) for _ in range(6)]
        kept.clear()
        assert 0 < large_arrays.waiting_bytes() <= 1 << 21
    finally:
        words[waiting_memory.Word.MOST_BYTES] = most
    large_arrays.clear()
    assert large_arrays.waiting_bytes() == 0


def test_few_pieces_wait() -> None:
    sizes = range(10_000, 10_000 + 1024 * 600, 1024)
    kept = [large_arrays.new_array((n,), F32, n) for n in sizes]
    kept.clear()
    assert 0 < waiting_memory.find_functions().words[waiting_memory.Word.COUNT] <= 512


def test_arrays_have_any_order() -> None:
    strides = (4, 4000, 400_000)
    x = large_arrays.new_array((1000, 100, 3), F32, 300_000, strides)
    assert x.strides == strides and x.T.flags.c_contiguous and x.flags.writeable


def test_numpy_can_resize_what_it_owns() -> None:
    vector = large_arrays.new_array((10**5,), F32, 10**5)
    assert vector.flags.owndata
    vector[:] = 7
    vector.resize((10**6,), refcheck=False)
    assert set(vector[: 10**5].tolist()) == {7}
    vector.resize((1000,), refcheck=False)
    assert set(vector.tolist()) == {7}


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_without_machine_code_numpy_makes_the_memory(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "is_loaded", lambda: False)
    monkeypatch.setattr(large_arrays, "_make", slow_make)
    x = large_arrays.new_array((size // 100, 100), F32, size)
    assert x.shape == (size // 100, 100) and x.ctypes.data % 64 == 0 and x.flags.c_contiguous
    x[...] = 1
    assert x.sum() == size
