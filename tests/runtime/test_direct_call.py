"""Kernels as built-in functions: what they take, what they hand on, and that nothing leaks."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from taper.compiler import machine
from taper.runtime.direct_call import (
    Address,
    Array,
    DirectCall,
    Elements,
    Result,
    Size,
    Status,
    by_size,
    is_possible,
)

pytestmark = pytest.mark.skipif(
    not machine.is_available() or not is_possible(),
    reason="needs llvmlite and CPython with a GIL on 64 bits",
)

DOUBLED = """
define void @doubled(ptr %block, i64 %begin, i64 %end) {
start:
  %x.int = load i64, ptr %block
  %x = inttoptr i64 %x.int to ptr
  %y.at = getelementptr i64, ptr %block, i64 1
  %y.int = load i64, ptr %y.at
  %y = inttoptr i64 %y.int to ptr
  br label %more
more:
  %i = phi i64 [%begin, %start], [%next, %step]
  %done = icmp sge i64 %i, %end
  br i1 %done, label %finish, label %step
step:
  %from = getelementptr double, ptr %x, i64 %i
  %value = load double, ptr %from
  %twice = fadd double %value, %value
  %to = getelementptr double, ptr %y, i64 %i
  store double %twice, ptr %to
  %next = add i64 %i, 1
  br label %more
finish:
  ret void
}
"""

# Writes the words of its block, from the second on, into the array of the first.
WORDS = """
define void @words(ptr %block, i64 %begin, i64 %end) {
start:
  %to.int = load i64, ptr %block
  %to = inttoptr i64 %to.int to ptr
  br label %more
more:
  %i = phi i64 [0, %start], [%next, %step]
  %done = icmp sge i64 %i, %end
  br i1 %done, label %finish, label %step
step:
  %next = add i64 %i, 1
  %word.at = getelementptr i64, ptr %block, i64 %next
  %word = load i64, ptr %word.at
  %place = getelementptr i64, ptr %to, i64 %i
  store i64 %word, ptr %place
  br label %more
finish:
  ret void
}
"""

# Refuses if the first element is negative.
CHOOSY = """
define void @choosy(ptr %block, i64 %begin, i64 %end) {
  %x.int = load i64, ptr %block
  %x = inttoptr i64 %x.int to ptr
  %first = load double, ptr %x
  %bad = fcmp olt double %first, 0.0
  %code = zext i1 %bad to i64
  %status = getelementptr i64, ptr %block, i64 1
  store i64 %code, ptr %status
  ret void
}
"""


def handed_on(*args: Any) -> Any:
    return ("handed on", *args)


def of_other_dtype(*args: Any) -> Any:
    return ("of other dtype", *args)


def doubled(**options: Any) -> Any:
    call = DirectCall(
        (Array("f64"),), (Address(0), Address(1)), Elements(0), result=Result("f64", shape_of=0),
        **options,
    )
    return call.function_now(machine.compile_ir(DOUBLED, "doubled"), handed_on, of_other_dtype)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 3), (2, 3, 4, 5)])
def test_a_result_of_the_arguments_shape(shape: tuple[int, ...]) -> None:
    x = np.arange(float(np.prod(shape))).reshape(shape)
    y = doubled()(x)
    assert type(y) is np.ndarray
    assert y.shape == shape
    assert y.flags.c_contiguous and y.flags.owndata
    assert (y == 2 * x).all()


def test_other_arguments_are_handed_on_as_they_are() -> None:
    function = doubled(largest=10)
    x = np.arange(10.0)
    cases: list[tuple[Any, ...]] = [
        (), (x, x), (x[::2],), (np.ones((3, 3)).T[1:],), (np.ones(11),),
        (np.frombuffer(bytearray(81), np.uint8)[1:].view(np.float64),),  # not aligned
    ]
    for case in cases:
        answer = function(*case)
        assert answer[0] == "handed on"
        assert all(a is b for a, b in zip(answer[1:], case, strict=True))
    for other in (None, [1.0], np.ones(3, np.float32), np.ma.ones(1), np.float64(1)):
        answer = function(other)
        assert answer[0] == "of other dtype" and answer[1] is other
    with pytest.raises(TypeError):
        function(x, key=1)


def test_errors_of_the_other_function_come_through() -> None:
    def failing(*args: Any) -> Any:
        raise ZeroDivisionError("as it should")

    call = DirectCall((Array("f64"),), (Address(0), Address(1)), Elements(0),
                      result=Result("f64", shape_of=0))
    function = call.function_now(machine.compile_ir(DOUBLED, "doubled"), failing, failing)
    with pytest.raises(ZeroDivisionError, match="as it should"):
        function(None)


def test_words_of_the_block() -> None:
    call = DirectCall(
        (Array("i64", 1), Array("f32", 3)),
        (Address(0), Size(1, 0), Size(1, 2), Size(1, 1, 4), Elements(1), 77, Address(1)), 6,
    )
    function = call.function_now(machine.compile_ir(WORDS, "words"), handed_on, handed_on)
    out, x = np.zeros(6, np.int64), np.zeros((2, 3, 5), np.float32)
    assert function(out, x) is None
    assert out.tolist() == [2, 5, 12, 30, 77, x.ctypes.data]
    assert function(out, x[0])[0] == "handed on"


def test_changed_arguments_are_writeable_the_same_and_apart() -> None:
    call = DirectCall(
        (Array("f64"), Array("f64", shape_of=0, apart_from=0), Array("f64", is_argument=0)),
        (Address(1), Address(0)), Elements(0), writes=(0,),
    )
    function = call.function_now(machine.compile_ir(DOUBLED, "doubled"), handed_on, handed_on)
    memory = np.arange(10.0)
    x, y = memory[:4], memory[4:8]
    assert function(x, y, x) is None
    assert x.tolist() == [8, 10, 12, 14]
    assert function(x, x, x) is None  # from the first element on
    assert x.tolist() == [16, 20, 24, 28]
    assert function(x, memory[1:5], x)[0] == "handed on"
    assert function(memory[1:5], x, x)[0] == "handed on"
    assert function(x, memory[4:7], x)[0] == "handed on"
    x.flags.writeable = False
    assert function(x, y, x)[0] == "handed on"


def test_a_kernel_may_refuse() -> None:
    call = DirectCall((Array("f64", 1),), (Address(0), Status()), 1, result=Result("f64"))
    function = call.function_now(machine.compile_ir(CHOOSY, "choosy"), handed_on, handed_on)
    assert function(np.ones(1)).shape == ()
    assert function(-np.ones(1))[0] == "handed on"


def test_references_are_counted() -> None:
    function = doubled()
    x = np.ones(3)
    before = [sys.getrefcount(o) for o in (x, np.ndarray, None, x.dtype)]
    for _ in range(1000):
        function(x)
        function(x, x)
        function(x[::2])
        function(None)
    after = [sys.getrefcount(o) for o in (x, np.ndarray, None, x.dtype)]
    assert all(abs(a - b) < 50 for a, b in zip(before, after, strict=True))


def test_by_size_chooses_by_what_is_broadcast_together() -> None:
    if not is_possible() or not machine.is_available():
        pytest.skip("no machine code here")
    choose = by_size(lambda *args: "few", lambda *args: "many", 100)
    shapes = [(), (1,), (10,), (11,), (10, 1), (1, 11), (101,), (100,), (0,), (5, 1, 4), (5, 6, 1)]
    for a in shapes:
        for b in shapes:
            try:
                size = np.broadcast(np.empty(a), np.empty(b)).size
            except ValueError:
                continue
            assert choose(np.empty(a), np.empty(b)) == ("many" if size > 100 else "few"), (a, b)
    assert choose(np.empty(1000), 2.0) == choose(np.empty(1000)) == "few"
