"""The machine code of planned calls: how a plan is found, and run. See planned_calls.py.

`$NAME` stands for a number of plan_words.py.
"""

from __future__ import annotations

from taper.runtime.array_code import OWNED_ARRAY
from taper.runtime.plan_words import with_numbers

__all__ = ["planned_call"]

_PLANNED_CALL = """
; Mixes what an argument is into a hash.
define internal i64 @mixed(i64 %h, ptr %object, ptr %ndarray) {
entry:
  %type.at = getelementptr i8, ptr %object, i64 $TYPE
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, %ndarray
  br i1 %is.array, label %array, label %other
other:
  %identity = ptrtoint ptr %object to i64
  %h.other = add i64 %h, %identity
  br label %mix
array:
  %dtype.at = getelementptr i8, ptr %object, i64 $DTYPE
  %dtype = load i64, ptr %dtype.at
  %ndim.at = getelementptr i8, ptr %object, i64 $NDIM
  %ndim.short = load i32, ptr %ndim.at
  %ndim = sext i32 %ndim.short to i64
  %with.dtype = add i64 %h, %dtype
  %h.array = add i64 %with.dtype, %ndim
  %has.none = icmp eq i64 %ndim, 0
  br i1 %has.none, label %mix, label %with.sizes
with.sizes:
  %sizes.at = getelementptr i8, ptr %object, i64 $SIZES
  %sizes = load ptr, ptr %sizes.at
  %strides.at = getelementptr i8, ptr %object, i64 $STRIDES
  %strides = load ptr, ptr %strides.at
  %last = sub i64 %ndim, 1
  %first.size = load i64, ptr %sizes
  %last.size.at = getelementptr i64, ptr %sizes, i64 %last
  %last.size = load i64, ptr %last.size.at
  %has.rows = icmp ne i64 %last, 0
  %is.before = zext i1 %has.rows to i64
  %row = sub i64 %last, %is.before
  %row.size.at = getelementptr i64, ptr %sizes, i64 %row
  %row.size = load i64, ptr %row.size.at
  %last.stride.at = getelementptr i64, ptr %strides, i64 %last
  %last.stride = load i64, ptr %last.stride.at
  %h.1 = mul i64 %h.array, 31
  %h.2 = add i64 %h.1, %first.size
  %h.3 = mul i64 %h.2, 31
  %h.4 = add i64 %h.3, %row.size
  %h.5 = mul i64 %h.4, 31
  %h.6 = add i64 %h.5, %last.size
  %h.7 = mul i64 %h.6, 31
  %h.8 = add i64 %h.7, %last.stride
  br label %mix
mix:
  %sum = phi i64 [ %h.other, %other ], [ %h.array, %array ], [ %h.8, %with.sizes ]
  %mixed = mul i64 %sum, $HASH
  ret i64 %mixed
}

; Whether an argument is what a plan's record says.
define internal i1 @fits(ptr %plan, ptr %record, ptr %args, ptr %object, ptr %ndarray) {
entry:
  %kind = load i64, ptr %record
  %wanted.at = getelementptr ptr, ptr %record, i64 1
  %wanted = load ptr, ptr %wanted.at
  %is.other = icmp eq i64 %kind, $AN_OBJECT
  br i1 %is.other, label %other, label %array
other:
  %is.same = icmp eq ptr %object, %wanted
  ret i1 %is.same
array:
  %is.repeated = icmp eq i64 %kind, $AN_ARGUMENT
  br i1 %is.repeated, label %repeated, label %new
repeated:
  %number = ptrtoint ptr %wanted to i64
  %first.at = getelementptr ptr, ptr %args, i64 %number
  %first = load ptr, ptr %first.at
  %is.first = icmp eq ptr %object, %first
  ret i1 %is.first
new:
  %type.at = getelementptr i8, ptr %object, i64 $TYPE
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, %ndarray
  br i1 %is.array, label %look, label %no
look:
  %dtype.at = getelementptr i8, ptr %object, i64 $DTYPE
  %dtype = load ptr, ptr %dtype.at
  %of.dtype = icmp eq ptr %dtype, %wanted
  %ndim.at = getelementptr i8, ptr %object, i64 $NDIM
  %ndim.short = load i32, ptr %ndim.at
  %ndim = sext i32 %ndim.short to i64
  %wanted.ndim.at = getelementptr i64, ptr %record, i64 2
  %wanted.ndim = load i64, ptr %wanted.ndim.at
  %of.ndim = icmp eq i64 %ndim, %wanted.ndim
  %flags.at = getelementptr i8, ptr %object, i64 $FLAGS
  %flags = load i32, ptr %flags.at
  %aligned = and i32 %flags, $ALIGNED
  %is.aligned = icmp ne i32 %aligned, 0
  %both = and i1 %of.dtype, %of.ndim
  %all = and i1 %both, %is.aligned
  br i1 %all, label %shape, label %no
shape:
  %sizes.at = getelementptr i8, ptr %object, i64 $SIZES
  %sizes = load ptr, ptr %sizes.at
  %strides.at = getelementptr i8, ptr %object, i64 $STRIDES
  %strides = load ptr, ptr %strides.at
  %place.at = getelementptr i64, ptr %record, i64 3
  %place = load i64, ptr %place.at
  %wanted.sizes = getelementptr i64, ptr %plan, i64 %place
  %wanted.strides = getelementptr i64, ptr %wanted.sizes, i64 %ndim
  br label %more
more:
  %d = phi i64 [ 0, %shape ], [ %next, %next.dim ]
  %is.over = icmp eq i64 %d, %ndim
  br i1 %is.over, label %yes, label %compare
compare:
  %size.at = getelementptr i64, ptr %sizes, i64 %d
  %size = load i64, ptr %size.at
  %wanted.size.at = getelementptr i64, ptr %wanted.sizes, i64 %d
  %wanted.size = load i64, ptr %wanted.size.at
  %stride.at = getelementptr i64, ptr %strides, i64 %d
  %stride = load i64, ptr %stride.at
  %wanted.stride.at = getelementptr i64, ptr %wanted.strides, i64 %d
  %wanted.stride = load i64, ptr %wanted.stride.at
  %same.size = icmp eq i64 %size, %wanted.size
  %same.stride = icmp eq i64 %stride, %wanted.stride
  %same = and i1 %same.size, %same.stride
  br i1 %same, label %next.dim, label %no
next.dim:
  %next = add i64 %d, 1
  br label %more
yes:
  ret i1 true
no:
  ret i1 false
}

; Packs the argument block of a step and launches it.
define internal void @step(ptr %env, ptr %plan, ptr %record, ptr %addresses, ptr %block) {
entry:
  %kernel = load ptr, ptr %record
  %count.at = getelementptr i64, ptr %record, i64 1
  %count = load i64, ptr %count.at
  %piece.at = getelementptr i64, ptr %record, i64 2
  %piece = load i64, ptr %piece.at
  %helpers.at = getelementptr i64, ptr %record, i64 3
  %helpers = load i64, ptr %helpers.at
  %length.at = getelementptr i64, ptr %record, i64 4
  %length = load i64, ptr %length.at
  %words.at = getelementptr i64, ptr %record, i64 5
  %words.place = load i64, ptr %words.at
  %words = getelementptr i64, ptr %plan, i64 %words.place
  %moves.at = getelementptr i64, ptr %record, i64 6
  %moves = load i64, ptr %moves.at
  %moved.at = getelementptr i64, ptr %record, i64 7
  %moved.place = load i64, ptr %moved.at
  %moved = getelementptr i64, ptr %plan, i64 %moved.place
  br label %copy
copy:
  %i = phi i64 [ 0, %entry ], [ %i.next, %copy.one ]
  %copied = icmp eq i64 %i, %length
  br i1 %copied, label %address, label %copy.one
copy.one:
  %from = getelementptr i64, ptr %words, i64 %i
  %to = getelementptr i64, ptr %block, i64 %i
  %word = load i64, ptr %from
  store i64 %word, ptr %to
  %i.next = add i64 %i, 1
  br label %copy
address:
  %j = phi i64 [ 0, %copy ], [ %j.next, %address.one ]
  %addressed = icmp eq i64 %j, %moves
  br i1 %addressed, label %launch, label %address.one
address.one:
  %j.double = mul i64 %j, 2
  %where.at = getelementptr i64, ptr %moved, i64 %j.double
  %where = load i64, ptr %where.at
  %which.at = getelementptr i64, ptr %where.at, i64 1
  %which = load i64, ptr %which.at
  %address.at = getelementptr i64, ptr %addresses, i64 %which
  %its.address = load i64, ptr %address.at
  %target = getelementptr i64, ptr %block, i64 %where
  store i64 %its.address, ptr %target
  %j.next = add i64 %j, 1
  br label %address
launch:
  %is.alone = icmp eq i64 %helpers, 0
  br i1 %is.alone, label %alone, label %together
alone:
  call void %kernel(ptr %block, i64 0, i64 %count)
  ret void
together:
  %run.at = getelementptr ptr, ptr %env, i64 $RUN
  %run = load ptr, ptr %run.at
  %pool.at = getelementptr ptr, ptr %env, i64 $POOL
  %pool = load ptr, ptr %pool.at
  call void %run(ptr %pool, ptr %kernel, ptr %block, i64 %count, i64 %piece, i64 %helpers)
  ret void
}

define ptr @planned_call(ptr %self, ptr %args, i64 %given, ptr %names) {
entry:
  %block = alloca [$MOST_WORDS x i64], align 16
  %addresses = alloca [26 x i64], align 16
  %objects = alloca [8 x ptr], align 16
  %table.at = getelementptr i8, ptr %self, i64 $DATA
  %table = load ptr, ptr %table.at
  %env.at = getelementptr ptr, ptr %table, i64 $ENVIRONMENT
  %env = load ptr, ptr %env.at
  %ndarray.at = getelementptr ptr, ptr %env, i64 $NDARRAY
  %ndarray = load ptr, ptr %ndarray.at
  %first.arg = load ptr, ptr %args
  %unnamed = icmp eq ptr %names, null
  br i1 %unnamed, label %hash, label %refuse
hash:
  %i = phi i64 [ 0, %entry ], [ %i.next, %hash.one ]
  %h = phi i64 [ %given, %entry ], [ %h.next, %hash.one ]
  %hashed = icmp eq i64 %i, %given
  br i1 %hashed, label %find, label %hash.one
hash.one:
  %arg.at = getelementptr ptr, ptr %args, i64 %i
  %arg = load ptr, ptr %arg.at
  %h.mixed = call i64 @mixed(i64 %h, ptr %arg, ptr %ndarray)
  %is.first = icmp eq ptr %arg, %first.arg
  %repeats = zext i1 %is.first to i64
  %repeats.far = shl i64 %repeats, 58
  %h.next = xor i64 %h.mixed, %repeats.far
  %i.next = add i64 %i, 1
  br label %hash
find:
  %slot = lshr i64 %h, $SLOT_SHIFT
  %slot.word = add i64 %slot, $SLOT
  %plan.at = getelementptr ptr, ptr %table, i64 %slot.word
  %plan = load ptr, ptr %plan.at
  %is.empty = icmp eq ptr %plan, null
  br i1 %is.empty, label %refuse, label %check
check:
  %epoch = load i64, ptr %plan
  %now.at = getelementptr i64, ptr %env, i64 $EPOCH
  %now = load i64, ptr %now.at
  %is.current = icmp eq i64 %epoch, %now
  %arguments.at = getelementptr i64, ptr %plan, i64 $ARGUMENTS
  %arguments = load i64, ptr %arguments.at
  %as.many = icmp eq i64 %arguments, %given
  %is.usable = and i1 %is.current, %as.many
  br i1 %is.usable, label %compare, label %refuse
compare:
  %a = phi i64 [ 0, %check ], [ %a.next, %same ]
  %compared = icmp eq i64 %a, %given
  br i1 %compared, label %make, label %compare.one
compare.one:
  %a.offset = mul i64 %a, $ARGUMENT
  %a.place = add i64 %a.offset, $ARGUMENT_PLACE
  %a.record = getelementptr i64, ptr %plan, i64 %a.place
  %object.at = getelementptr ptr, ptr %args, i64 %a
  %object = load ptr, ptr %object.at
  %does.fit = call i1 @fits(ptr %plan, ptr %a.record, ptr %args, ptr %object, ptr %ndarray)
  br i1 %does.fit, label %same, label %refuse
same:
  %data.at = getelementptr i8, ptr %object, i64 $DATA
  %data = load i64, ptr %data.at
  %own.at = getelementptr i64, ptr %addresses, i64 %a
  store i64 %data, ptr %own.at
  %a.next = add i64 %a, 1
  br label %compare
make:
  %results.at = getelementptr i64, ptr %plan, i64 $RESULTS
  %results = load i64, ptr %results.at
  %scratches.at = getelementptr i64, ptr %plan, i64 $SCRATCHES
  %scratches = load i64, ptr %scratches.at
  %steps.at = getelementptr i64, ptr %plan, i64 $STEPS
  %steps = load i64, ptr %steps.at
  %result.place.at = getelementptr i64, ptr %plan, i64 $RESULT_PLACE
  %result.place = load i64, ptr %result.place.at
  %scratch.place.at = getelementptr i64, ptr %plan, i64 $SCRATCH_PLACE
  %scratch.place = load i64, ptr %scratch.place.at
  %step.place.at = getelementptr i64, ptr %plan, i64 $STEP_PLACE
  %step.place = load i64, ptr %step.place.at
  %release.at = getelementptr ptr, ptr %env, i64 $RELEASE
  %release = load ptr, ptr %release.at
  %retain.at = getelementptr ptr, ptr %env, i64 $RETAIN
  %retain = load ptr, ptr %retain.at
  %take.at = getelementptr ptr, ptr %env, i64 $TAKE
  %take = load ptr, ptr %take.at
  %give.at = getelementptr ptr, ptr %env, i64 $GIVE
  %give = load ptr, ptr %give.at
  %memory.at = getelementptr ptr, ptr %env, i64 $MEMORY
  %memory = load ptr, ptr %memory.at
  br label %make.more
make.more:
  %r = phi i64 [ 0, %make ], [ %r.next, %made ]
  %are.made = icmp eq i64 %r, %results
  br i1 %are.made, label %take.more, label %make.one
make.one:
  %r.offset = mul i64 %r, $RESULT
  %r.place = add i64 %result.place, %r.offset
  %r.record = getelementptr i64, ptr %plan, i64 %r.place
  %r.dtype = load ptr, ptr %r.record
  %r.ndim.at = getelementptr i64, ptr %r.record, i64 1
  %r.ndim.long = load i64, ptr %r.ndim.at
  %r.ndim = trunc i64 %r.ndim.long to i32
  %r.sizes.at = getelementptr i64, ptr %r.record, i64 2
  %r.sizes.place = load i64, ptr %r.sizes.at
  %r.sizes = getelementptr i64, ptr %plan, i64 %r.sizes.place
  %r.strides.at = getelementptr i64, ptr %r.record, i64 3
  %r.strides.place = load i64, ptr %r.strides.at
  %in.order = icmp slt i64 %r.strides.place, 0
  %r.strides.some = getelementptr i64, ptr %plan, i64 %r.strides.place
  %r.strides = select i1 %in.order, ptr null, ptr %r.strides.some
  %r.bytes.at = getelementptr i64, ptr %r.record, i64 4
  %r.bytes = load i64, ptr %r.bytes.at
  %array = call ptr @owned_array(ptr %env, ptr %r.dtype, i32 %r.ndim, ptr %r.sizes, ptr %r.strides,
                                 i64 %r.bytes)
  %is.none = icmp eq ptr %array, null
  br i1 %is.none, label %undo, label %made
made:
  %array.at = getelementptr ptr, ptr %objects, i64 %r
  store ptr %array, ptr %array.at
  %array.data.at = getelementptr i8, ptr %array, i64 $DATA
  %array.data = load i64, ptr %array.data.at
  %r.number = add i64 %given, %r
  %r.address.at = getelementptr i64, ptr %addresses, i64 %r.number
  store i64 %array.data, ptr %r.address.at
  %r.next = add i64 %r, 1
  br label %make.more
undo:
  %u = phi i64 [ 0, %make.one ], [ 0, %take.one ], [ %u.next, %undo.one ]
  %is.none.result = phi i1 [ true, %make.one ], [ false, %take.one ], [ %is.none.result, %undo.one ]
  %are.undone = icmp eq i64 %u, %r
  br i1 %are.undone, label %failed, label %undo.one
undo.one:
  %undone.at = getelementptr ptr, ptr %objects, i64 %u
  %undone = load ptr, ptr %undone.at
  call void %release(ptr %undone)
  %u.next = add i64 %u, 1
  br label %undo
failed:
  br i1 %is.none.result, label %raise, label %refuse
raise:
  ret ptr null
take.more:
  %s = phi i64 [ 0, %make.more ], [ %s.next, %take.one ]
  %are.taken = icmp eq i64 %s, %scratches
  br i1 %are.taken, label %run, label %take.one
take.one:
  %s.place = add i64 %scratch.place, %s
  %s.bytes.at = getelementptr i64, ptr %plan, i64 %s.place
  %s.bytes = load i64, ptr %s.bytes.at
  %taken = call ptr %take(ptr %memory, i64 %s.bytes)
  %s.some = add i64 %given, %results
  %s.number = add i64 %s.some, %s
  %s.address.at = getelementptr ptr, ptr %addresses, i64 %s.number
  store ptr %taken, ptr %s.address.at
  %s.next = add i64 %s, 1
  %s.failed = icmp eq ptr %taken, null
  br i1 %s.failed, label %undo, label %take.more
run:
  %hits.at = getelementptr i64, ptr %table, i64 $HITS
  %hits = load i64, ptr %hits.at
  %hits.more = add i64 %hits, 1
  store i64 %hits.more, ptr %hits.at
  %save.at = getelementptr ptr, ptr %env, i64 $SAVE
  %save = load ptr, ptr %save.at
  %restore.at = getelementptr ptr, ptr %env, i64 $RESTORE
  %restore = load ptr, ptr %restore.at
  %owner.at = getelementptr ptr, ptr %plan, i64 $OWNER
  %owner = load ptr, ptr %owner.at
  call void %retain(ptr %owner)
  %thread = call ptr %save()
  br label %run.more
run.more:
  %t = phi i64 [ 0, %run ], [ %t.next, %run.one ]
  %have.run = icmp eq i64 %t, %steps
  br i1 %have.run, label %finish, label %run.one
run.one:
  %t.offset = mul i64 %t, $STEP
  %t.place = add i64 %step.place, %t.offset
  %t.record = getelementptr i64, ptr %plan, i64 %t.place
  call void @step(ptr %env, ptr %plan, ptr %t.record, ptr %addresses, ptr %block)
  %t.next = add i64 %t, 1
  br label %run.more
finish:
  call void %restore(ptr %thread)
  %returned.at = getelementptr i64, ptr %plan, i64 $RETURNED
  %returned = load i64, ptr %returned.at
  br label %give.more
give.more:
  %g = phi i64 [ 0, %finish ], [ %g.next, %give.one ]
  %are.given = icmp eq i64 %g, %scratches
  br i1 %are.given, label %answer, label %give.one
give.one:
  %g.some = add i64 %given, %results
  %g.number = add i64 %g.some, %g
  %g.address.at = getelementptr ptr, ptr %addresses, i64 %g.number
  %g.address = load ptr, ptr %g.address.at
  call void %give(ptr %memory, ptr %g.address)
  %g.next = add i64 %g, 1
  br label %give.more
answer:
  %is.one = icmp slt i64 %returned, 0
  br i1 %is.one, label %single, label %several
single:
  %is.array = icmp eq i64 %results, 1
  br i1 %is.array, label %one, label %known
known:
  %object.place.at = getelementptr i64, ptr %plan, i64 $RETURN_PLACE
  %object.place = load i64, ptr %object.place.at
  %object.value = add i64 %object.place, 1
  %object.known.at = getelementptr ptr, ptr %plan, i64 %object.value
  %object.known = load ptr, ptr %object.known.at
  call void %retain(ptr %object.known)
  call void %release(ptr %owner)
  ret ptr %object.known
one:
  %only = load ptr, ptr %objects
  call void %release(ptr %owner)
  ret ptr %only
several:
  %return.place.at = getelementptr i64, ptr %plan, i64 $RETURN_PLACE
  %return.place = load i64, ptr %return.place.at
  %new.tuple.at = getelementptr ptr, ptr %env, i64 $NEW_TUPLE
  %new.tuple = load ptr, ptr %new.tuple.at
  %tuple = call ptr %new.tuple(i64 %returned)
  br label %fill.more
fill.more:
  %f = phi i64 [ 0, %several ], [ %f.next, %fill ]
  %are.filled = icmp eq i64 %f, %returned
  br i1 %are.filled, label %filled, label %fill.one
fill.one:
  %f.offset = mul i64 %f, $RETURN
  %f.place = add i64 %return.place, %f.offset
  %f.kind.at = getelementptr i64, ptr %plan, i64 %f.place
  %f.kind = load i64, ptr %f.kind.at
  %f.value.at = getelementptr i64, ptr %f.kind.at, i64 1
  %is.result = icmp eq i64 %f.kind, 1
  br i1 %is.result, label %fill.result, label %fill.other
fill.result:
  %f.index = load i64, ptr %f.value.at
  %f.array.at = getelementptr ptr, ptr %objects, i64 %f.index
  %f.array = load ptr, ptr %f.array.at
  br label %fill
fill.other:
  %f.object = load ptr, ptr %f.value.at
  call void %retain(ptr %f.object)
  br label %fill
fill:
  %f.item = phi ptr [ %f.array, %fill.result ], [ %f.object, %fill.other ]
  %set.at = getelementptr ptr, ptr %env, i64 $SET_ITEM
  %set = load ptr, ptr %set.at
  %ignored = call i32 %set(ptr %tuple, i64 %f, ptr %f.item)
  %f.next = add i64 %f, 1
  br label %fill.more
filled:
  call void %release(ptr %owner)
  ret ptr %tuple
refuse:
  %call.at = getelementptr ptr, ptr %env, i64 $CALL
  %call = load ptr, ptr %call.at
  %otherwise.at = getelementptr ptr, ptr %table, i64 $OTHERWISE
  %otherwise = load ptr, ptr %otherwise.at
  %answer.of.other = call ptr %call(ptr %otherwise, ptr %args, i64 %given, ptr %names)
  ret ptr %answer.of.other
}
"""


def planned_call() -> str:
    """The module (LLVM IR) with the function "planned_call"."""
    return with_numbers(OWNED_ARRAY + _PLANNED_CALL)
