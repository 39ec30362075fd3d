"""Machine code that makes arrays; large ones in memory that is used again (waiting_memory.py).

`$NAME` stands for a number of plan_words.py.
"""

from __future__ import annotations

from taper.runtime.plan_words import with_numbers

__all__ = ["OWNED_ARRAY", "new_memory"]

OWNED_ARRAY = """
; A new array on memory that is used again; null if there is none.
define internal ptr @owned_array(ptr %env, ptr %dtype, i32 %ndim, ptr %sizes, ptr %strides,
                                 i64 %bytes) {
entry:
  %is.large = icmp uge i64 %bytes, $OWN_MEMORY
  %new.at = getelementptr ptr, ptr %env, i64 $NEW
  %new = load ptr, ptr %new.at
  %ndarray.at = getelementptr ptr, ptr %env, i64 $NDARRAY
  %ndarray = load ptr, ptr %ndarray.at
  %retain.at = getelementptr ptr, ptr %env, i64 $RETAIN
  %retain = load ptr, ptr %retain.at
  call void %retain(ptr %dtype)
  br i1 %is.large, label %large, label %small
small:
  %plain = call ptr %new(ptr %ndarray, ptr %dtype, i32 %ndim, ptr %sizes, ptr %strides, ptr null,
                         i32 0, ptr null)
  ret ptr %plain
large:
  %take.at = getelementptr ptr, ptr %env, i64 $TAKE
  %take = load ptr, ptr %take.at
  %give.at = getelementptr ptr, ptr %env, i64 $GIVE
  %give = load ptr, ptr %give.at
  %memory.at = getelementptr ptr, ptr %env, i64 $MEMORY
  %memory = load ptr, ptr %memory.at
  %data = call ptr %take(ptr %memory, i64 %bytes)
  %is.none = icmp eq ptr %data, null
  br i1 %is.none, label %small, label %make
make:
  %array = call ptr %new(ptr %ndarray, ptr %dtype, i32 %ndim, ptr %sizes, ptr %strides, ptr %data,
                         i32 $IN_ORDER, ptr null)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %undo, label %own
undo:
  call void %give(ptr %memory, ptr %data)
  ret ptr null
own:
  %handler.at = getelementptr ptr, ptr %env, i64 $HANDLER
  %handler = load ptr, ptr %handler.at
  call void %retain(ptr %handler)
  %its.handler = getelementptr i8, ptr %array, i64 $HANDLER_OF_ARRAY
  store ptr %handler, ptr %its.handler
  %flags.at = getelementptr i8, ptr %array, i64 $FLAGS
  %flags = load i32, ptr %flags.at
  %owning = or i32 %flags, $OWNS
  store i32 %owning, ptr %flags.at
  ret ptr %array
}
"""

_NEW_MEMORY = """
define ptr @new_memory(ptr %self, ptr %args, i64 %given, ptr %names) {
entry:
  %size = alloca i64, align 8
  %table.at = getelementptr i8, ptr %self, i64 $DATA
  %env = load ptr, ptr %table.at
  %to.int.at = getelementptr ptr, ptr %env, i64 $TO_INT
  %to.int = load ptr, ptr %to.int.at
  %number = load ptr, ptr %args
  %count = call i64 %to.int(ptr %number)
  store i64 %count, ptr %size
  %dtype.at = getelementptr ptr, ptr %args, i64 1
  %dtype = load ptr, ptr %dtype.at
  %bytes.at = getelementptr ptr, ptr %args, i64 2
  %bytes.number = load ptr, ptr %bytes.at
  %bytes = call i64 %to.int(ptr %bytes.number)
  %array = call ptr @owned_array(ptr %env, ptr %dtype, i32 1, ptr %size, ptr null, i64 %bytes)
  ret ptr %array
}
"""


def new_memory() -> str:
    """The module (LLVM IR) with the function "new_memory", for vectors."""
    return with_numbers(OWNED_ARRAY + _NEW_MEMORY)
