"""The driver of compiled programs: one call from Python runs a list of kernels.

The argument block: where the addresses of arrays are (`bases`); the list of words to fill in and
how many; the list of instructions and how many; the pool's launch and its state.

A word to fill in is (its address, which base, offset in bytes). An instruction is (kernel, argument
block, count, piece, helpers): with helpers it is launched on the pool, else called right here. One
with GUARD in the place of helpers ends the run if the i32 that its block's first word points to
isn't 0; `stopped` says so then.
"""

from __future__ import annotations

__all__ = ["DRIVER", "DRIVER_WORDS", "GUARD", "driver_text"]

DRIVER = "taper_program"
DRIVER_WORDS = (
    "bases", "patches", "patch_count", "instructions", "count", "run", "pool", "stopped",
)
GUARD = -1
_NUMBERS = ("patch_count", "count", "pool", "stopped")


def driver_text() -> str:
    """The module with the function."""
    loads = "".join(
        f"  %{name}.at = getelementptr i64, ptr %block, i64 {i}\n"
        f"  %{name} = load {'i64' if name in _NUMBERS else 'ptr'}, ptr %{name}.at\n"
        for i, name in enumerate(DRIVER_WORDS))
    return _TEXT.replace("LOADS", loads)


_TEXT = """
define void @taper_program(ptr %block, i64 %begin, i64 %end) nounwind {
entry:
LOADS  br label %patching
patching:
  %p = phi i64 [ 0, %entry ], [ %p.next, %patch ]
  %p.more = icmp slt i64 %p, %patch_count
  br i1 %p.more, label %patch, label %running
patch:
  %p.place = mul i64 %p, 3
  %word.at = getelementptr i64, ptr %patches, i64 %p.place
  %word = load ptr, ptr %word.at
  %base.at = getelementptr i64, ptr %word.at, i64 1
  %base = load i64, ptr %base.at
  %offset.at = getelementptr i64, ptr %word.at, i64 2
  %offset = load i64, ptr %offset.at
  %from.at = getelementptr i64, ptr %bases, i64 %base
  %from = load i64, ptr %from.at
  %address = add i64 %from, %offset
  store i64 %address, ptr %word
  %p.next = add i64 %p, 1
  br label %patching
running:
  %i = phi i64 [ 0, %patching ], [ %i.next, %done ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %next, label %finished
next:
  %place = mul i64 %i, 5
  %kernel.at = getelementptr i64, ptr %instructions, i64 %place
  %kernel.int = load i64, ptr %kernel.at
  %its.at = getelementptr i64, ptr %kernel.at, i64 1
  %its = load i64, ptr %its.at
  %n.at = getelementptr i64, ptr %kernel.at, i64 2
  %n = load i64, ptr %n.at
  %piece.at = getelementptr i64, ptr %kernel.at, i64 3
  %piece = load i64, ptr %piece.at
  %helpers.at = getelementptr i64, ptr %kernel.at, i64 4
  %helpers = load i64, ptr %helpers.at
  switch i64 %helpers, label %everywhere [ i64 0, label %here i64 -1, label %guard ]
guard:
  %its.block = inttoptr i64 %its to ptr
  %flag.at = load ptr, ptr %its.block
  %flag = load i32, ptr %flag.at
  %is.set = icmp ne i32 %flag, 0
  br i1 %is.set, label %stop, label %done
stop:
  store i64 1, ptr %stopped.at
  ret void
here:
  %kernel = inttoptr i64 %kernel.int to ptr
  call void %kernel(i64 %its, i64 0, i64 %n)
  br label %done
everywhere:
  call void %run(i64 %pool, i64 %kernel.int, i64 %its, i64 %n, i64 %piece, i64 %helpers)
  br label %done
done:
  %i.next = add i64 %i, 1
  br label %running
finished:
  ret void
}
"""
