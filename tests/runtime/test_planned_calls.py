"""Calls that are replayed by machine code give what the Python that was recorded gives."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import taper as torch
from taper.compiler import background
from taper.core.settings import settings
from taper.kernels.native import Elementwise
from taper.kernels.native_rows import FULL, PER_ROW, RowProgram, largest, total
from taper.runtime import planned_calls
from taper.runtime.planned_calls import forget, planned

random = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def machine_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "native", "now")
    if not background.load() or planned(len) is None:
        pytest.skip("no machine code here")
    yield


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        return self.function(*args, **named)


def replayed(function: Any) -> tuple[Counted, Any]:
    counted = Counted(function)
    found = planned(counted)
    assert found is not None
    return counted, found


def normal(*shape: int) -> Any:
    return random.standard_normal(shape).astype(np.float32)


LAYOUTS = [
    ((300, 200), lambda a: a), ((200, 300), lambda a: a.T), ((300, 400), lambda a: a[:, ::2]),
    ((600, 200), lambda a: a[::2]), ((1, 200), lambda a: np.broadcast_to(a, (300, 200))),
    ((300, 1), lambda a: np.broadcast_to(a, (300, 200))), ((301, 207), lambda a: a[1:, 7:]),
    ((300, 200), lambda a: a[::-1]), ((300, 200), lambda a: a[:, ::-1]),
]


@pytest.mark.parametrize("first", range(len(LAYOUTS)))
@pytest.mark.parametrize("second", range(len(LAYOUTS)))
def test_layouts(first: int, second: int) -> None:
    __, add = replayed(Elementwise(np.add, (0, 1)))
    for _ in range(3):  # other memory each time
        (shape, view), (other_shape, other_view) = LAYOUTS[first], LAYOUTS[second]
        x, y = view(normal(*shape)), other_view(normal(*other_shape))
        found = add(x, y)
        wanted = x + y
        np.testing.assert_array_equal(found, wanted)
        assert found.strides == wanted.strides and found.flags.writeable
        assert not any(np.may_share_memory(found, a) for a in (x, y))


def test_plans_wait_for_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, add = replayed(Elementwise(np.add, (0, 1)))
    x = normal(1000, 1000)
    add(x, x)
    if len(planned_calls.pool.current_pool().threads) == 0:
        pytest.skip("one processor")
    counted, add = replayed(Elementwise(np.add, (0, 1)))
    with monkeypatch.context() as while_it_is_made:
        while_it_is_made.setattr(planned_calls.pool, "division", lambda *_: None)
        while_it_is_made.setattr(background, "is_at_work", lambda: True)
        for _ in range(300):  # more attempts than are made in vain
            add(x, x)
    assert counted.calls == 300
    for _ in range(3):
        np.testing.assert_array_equal(add(x, x), x + x)
    assert counted.calls == 301


def test_attempts_in_vain_end(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, add = replayed(Elementwise(np.add, (0, 1)))
    x = normal(10, 10)
    monkeypatch.setattr(planned_calls.pool, "division", lambda *_: None)
    monkeypatch.setattr(background, "is_at_work", lambda: False)
    for _ in range(300):
        add(x, x)
    monkeypatch.undo()
    assert counted.calls == 300
    add(x, x)
    assert counted.calls == 301 and add(x, x) is not None and counted.calls == 302


def test_a_plan_is_for_one_kind_of_call() -> None:
    __, add = replayed(Elementwise(np.add, (0, 1)))
    for dtype in (np.float32, np.float64, np.int64):
        for shape in ((200, 300), (300, 200), (60_000,), (2, 30_000)):
            for repeat in range(3):
                x = (random.standard_normal(shape) * 100).astype(dtype)
                y = np.array(5, dtype) if repeat == 2 else x[..., ::-1].copy()
                np.testing.assert_array_equal(add(x, y), x + y)
                assert add(x, y).dtype == dtype


def test_known_calls_need_no_python() -> None:
    counted, add = replayed(Elementwise(np.add, (0, 1)))
    x, y = normal(50_000), normal(50_000)
    for _ in range(10):
        add(x, y)
    assert counted.calls == 1
    forget()
    add(x, y)
    assert counted.calls == 2


def test_one_array_twice() -> None:
    counted, add = replayed(Elementwise(np.subtract, (0, 1)))
    x, y = normal(50_000), normal(50_000)
    for _ in range(3):
        np.testing.assert_array_equal(add(x, x), np.zeros_like(x))
        np.testing.assert_array_equal(add(x, y), x - y)
        np.testing.assert_array_equal(add(y, x), y - x)
        np.testing.assert_array_equal(add(x[:], x[:]), np.zeros_like(x))
    assert counted.calls <= 5


def test_misaligned_and_other_arrays_are_not_replayed() -> None:
    counted, add = replayed(Elementwise(np.add, (0, 1)))
    x, y = normal(50_000), normal(50_000)
    add(x, y)
    raw = np.zeros(200_001, np.uint8)
    odd = raw[1:].view(np.float32)
    odd[:] = x
    np.testing.assert_array_equal(add(odd, y), x + y)
    masked = np.ma.masked_array(x)
    assert counted.calls == 2
    assert type(add(masked, y)) is not None and counted.calls == 3


def test_a_planned_call_within_another_is_written_down() -> None:
    inner, negative = replayed(Elementwise(np.negative, (0,)))
    doubled = Elementwise(np.add, (0, 1))
    x = normal(50_000)
    for _ in range(3):
        negative(x)
    assert inner.calls == 1

    def both(a: Any) -> Any:
        first = planned_calls.scratch(negative(a))
        return doubled.compute((first, first), {})

    outer, run = replayed(both)
    for _ in range(3):
        x = normal(50_000)
        np.testing.assert_array_equal(run(x), -2 * x)
    assert outer.calls == 1
    np.testing.assert_array_equal(negative(x), -x)


def test_results_belong_to_the_caller() -> None:
    __, add = replayed(Elementwise(np.add, (0, 1)))
    x, y = normal(50_000), normal(50_000)
    add(x, y)
    kept = [add(x, y) for _ in range(5)]
    assert len({a.ctypes.data for a in kept}) == 5
    assert len({sys.getrefcount(a) for a in kept}) == 1
    for i, a in enumerate(kept):
        a += i
    for i, a in enumerate(kept):
        np.testing.assert_array_equal(a, (x + y) + np.float32(i))
    before = sys.getrefcount(x)
    for _ in range(100):
        add(x, y)
    assert sys.getrefcount(x) == before


def test_several_results_and_scratch() -> None:
    program = RowProgram(lambda x: (x - largest(x), total(x)), FULL)

    def shifted(x: Any, dim: int) -> Any:
        n, m = x.shape
        found = program(n, m, 1, x)
        return None if found is None else (found[0].reshape(n, m), None, found[1].reshape(n))

    def only_sums(x: Any) -> Any:
        found = program(len(x), x.shape[1], 1, x)
        if found is None:
            return None
        planned_calls.scratch(found[0])
        return found[1].reshape(len(x))

    for function, arguments in ((shifted, (1,)), (only_sums, ())):
        counted, run = replayed(function)
        for _ in range(4):
            x = normal(200, 300)
            found = run(x, *arguments)
            sums = found[2] if arguments else found
            np.testing.assert_allclose(sums, x.sum(1), rtol=1e-4, atol=1e-4)
            if arguments:
                np.testing.assert_array_equal(found[0], x - x.max(1, keepdims=True))
                assert type(found) is tuple and found[1] is None
        assert counted.calls == 1


def test_what_numpy_did_is_not_replayed() -> None:
    program = RowProgram(lambda x, m: x - m, FULL, PER_ROW)

    def centered(x: Any) -> Any:
        mean = x.mean(1)
        found = program(len(x), x.shape[1], 1, x, mean)
        return None if found is None else found[0].reshape(x.shape)

    counted, run = replayed(centered)
    for _ in range(3):
        x = normal(200, 300)
        np.testing.assert_allclose(run(x), x - x.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)
    assert counted.calls == 3


def test_values_are_part_of_the_plan() -> None:
    clamp = Elementwise(lambda x, low: np.maximum(x, x.dtype.type(low)), (0,))
    _, run = replayed(clamp)
    x = normal(50_000)
    for low in (0, 1, 2, 0.5, None, 0, 1):
        if low is not None:
            np.testing.assert_array_equal(run(x, low), np.maximum(x, np.float32(low)))
    mutable = [1.0]
    __, run = replayed(lambda x, values: clamp(x, values[0]))
    np.testing.assert_array_equal(run(x, mutable), np.maximum(x, np.float32(1)))
    mutable[0] = 2.0
    np.testing.assert_array_equal(run(x, mutable), np.maximum(x, np.float32(2)))


def test_plans_in_vain_end() -> None:
    counted, run = replayed(Elementwise(np.add, (0, 1)))
    for n in range(40_000, 40_400):
        x = np.ones(n, np.float32)
        assert run(x, np.array(1, np.float32))[-1] == 2
    assert counted.calls == 400


def test_errors_and_names_reach_the_function() -> None:
    _, run = replayed(Elementwise(np.add, (0, 1)))
    with pytest.raises(ValueError, match="broadcast"):
        run(np.zeros(40_000, np.float32), np.zeros(40_001, np.float32))
    __, run = replayed(lambda *args, **named: (args, named))
    assert run(1, b=2) == ((1,), {"b": 2})
    assert run(a=1) == ((), {"a": 1})


def test_the_number_of_threads_may_change() -> None:
    __, run = replayed(Elementwise(np.exp, (0,)))
    x = normal(300_001)
    before = torch.get_num_threads()
    wanted = run(x)
    try:
        for count in (1, 2, 8, 3):
            torch.set_num_threads(count)
            for _ in range(3):
                np.testing.assert_array_equal(run(x), wanted)
    finally:
        torch.set_num_threads(before)


def test_off_means_off(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, run = replayed(Elementwise(np.add, (0, 1)))
    x, y = normal(50_000), normal(50_000)
    run(x, y)
    monkeypatch.setattr(settings, "native", "off")
    run(x, y)
    run(x, y)
    assert counted.calls == 3


def test_threads_at_the_same_time() -> None:
    __, run = replayed(Elementwise(lambda a, b: a * b + a, (0, 1)))
    wrong = []

    def work(seed: int) -> None:
        own = np.random.default_rng(seed)
        for i in range(60):
            x = own.standard_normal(40_000 + 1000 * (i % 7)).astype(np.float32)
            y = own.standard_normal(x.shape).astype(np.float32)
            if not np.allclose(run(x, y), x * y + x, rtol=1e-5, atol=1e-6):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own() -> None:
    __, run = replayed(Elementwise(np.add, (0, 1)))
    x, y = normal(300_000), normal(300_000)
    for _ in range(3):
        run(x, y)
    child = os.fork()
    if not child:
        right = all(bool((run(x, y) == x + y).all()) for _ in range(5))
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_functions_can_be_collected() -> None:
    counted, run = replayed(Elementwise(np.add, (0, 1)))
    run(normal(50_000), normal(50_000))
    del counted, run
    gc.collect()
