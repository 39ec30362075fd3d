"""The machine code of the worker pool: how work is handed out, waited for, and slept on.

Note [the protocol]. All words below are in one block of memory, each group in a cache line of its
own. A launch writes the job, opens it (OPEN in ENTERED), publishes it (TICKET + 1), wakes who
sleeps, takes chunks like everybody, closes, and waits until nobody is inside.

- A worker enters by adding 1 to ENTERED, and looks at the job only if it is open then. Thus one
  that comes late finds a closed door, or the next job, but never half a job.
- A chunk is claimed by adding 1 to NEXT; who finds none left leaves. The launching thread then
  takes the first chunk that it hasn't had, workers the last that no worker has: each thread sees
  the same part of an array from launch to launch, which is still in its own cache.
- To sleep, a worker sets PARKED, then looks at TICKET once more, then waits on its semaphore. Who
  launches publishes first and looks at PARKED then. So one of the two sees the other: no wake-up
  is lost. Both may; then who turns PARKED from 1 to 0 decides whether the semaphore is posted.
- The launching thread sleeps in the same way, until the last one to leave wakes it.
- A second launch meanwhile (BUSY) does all of its work on its own thread.

Everybody spins for some 50 µs before sleeping. Semaphores are the system's, called by pointer.

Note [apart from the launcher]. Linux tends to wake a thread on the processor of the one that wakes
it, and leaves it there for 100 ms and more, though another is idle: the worker then runs when the
work is done. So workers say where they ran last, and a launch that finds one on its own processor
forbids it that one (sched_setaffinity), until they meet on another.
"""

from __future__ import annotations

import platform
from string import Template

__all__ = ["MASK_WORDS", "PAUSES", "RUN", "WORK", "WORKER_WORDS", "Word", "text"]


class Word:
    """Where things are in the block, as indices of 64-bit words."""

    TICKET = 0
    ENTERED = 8
    NEXT, FROM_END = 16, 17
    KERNEL, BLOCK, COUNT, CHUNK, ALLOWED = range(24, 29)
    BUSY = 32
    LAUNCHER_PARKED, LAUNCHER_SEMAPHORE = 40, 41
    STOP, SPINS, WAIT, POST, GET_CPU, SET_AFFINITY = range(48, 54)
    MASK = 56  # of the processors that may be used, as sched_setaffinity reads it
    WORKERS = 72  # then a line for each worker:
    PARKED, SEMAPHORE, CPU, THREAD = range(4)


MASK_WORDS = Word.WORKERS - Word.MASK


WORKER_WORDS = 8
WORK, RUN, PAUSES = "taper_work", "taper_run", "taper_pauses"

_OPEN = 1 << 32

_INTEL = "declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"
# A barrier for instructions takes as long as Intel's pause; YIELD takes no time on most processors.
_ARM = "declare void @llvm.aarch64.isb(i32)", "call void @llvm.aarch64.isb(i32 15)"
_PAUSE_OF = {"x86_64": _INTEL, "amd64": _INTEL, "aarch64": _ARM, "arm64": _ARM}


def text(name: str) -> str:
    """The module (LLVM IR) with the function `name`."""
    source = {WORK: _SHARED + _WORK, RUN: _SHARED + _RUN, PAUSES: _LOOP}[name]
    numbers = {key: value for key, value in vars(Word).items() if key.isupper()}
    declare, pause = _PAUSE_OF.get(platform.machine().lower(), ("", "fence acquire"))
    found = Template(source).substitute(
        numbers, OPEN=_OPEN, MOST_CPUS=64 * MASK_WORDS, MASK_BYTES=8 * MASK_WORDS, pause=pause)
    return f"{found}\n{declare}\n"


_SHARED = """
; Takes chunks of the open job until there are none: a worker from its end, else from its beginning.
define internal void @take_chunks(ptr %s, i1 %is.worker) nounwind {
entry:
  %kernel.at = getelementptr i64, ptr %s, i64 $KERNEL
  %kernel.int = load i64, ptr %kernel.at
  %kernel = inttoptr i64 %kernel.int to ptr
  %block.at = getelementptr i64, ptr %s, i64 $BLOCK
  %block = load i64, ptr %block.at
  %count.at = getelementptr i64, ptr %s, i64 $COUNT
  %count = load i64, ptr %count.at
  %chunk.at = getelementptr i64, ptr %s, i64 $CHUNK
  %chunk = load i64, ptr %chunk.at
  %next.at = getelementptr i64, ptr %s, i64 $NEXT
  %from.end.at = getelementptr i64, ptr %s, i64 $FROM_END
  %count.up = add i64 %count, %chunk
  %count.less = sub i64 %count.up, 1
  %chunks = udiv i64 %count.less, %chunk
  %last = sub i64 %chunks, 1
  br label %loop
loop:
  %mine = phi i64 [ 0, %entry ], [ %mine.next, %do ]
  %claims = atomicrmw add ptr %next.at, i64 1 monotonic
  %more = icmp slt i64 %claims, %chunks
  br i1 %more, label %claimed, label %done
claimed:
  br i1 %is.worker, label %from.end, label %do
from.end:
  %taken = atomicrmw add ptr %from.end.at, i64 1 monotonic
  %backward = sub i64 %last, %taken
  br label %do
do:
  %index = phi i64 [ %mine, %claimed ], [ %backward, %from.end ]
  %mine.next = add i64 %mine, 1
  %begin = mul i64 %index, %chunk
  %beyond = add i64 %begin, %chunk
  %is.short = icmp slt i64 %beyond, %count
  %end = select i1 %is.short, i64 %beyond, i64 %count
  call void %kernel(i64 %block, i64 %begin, i64 %end)
  br label %loop
done:
  ret void
}

; Waits on a semaphore, through signals.
define internal void @sleep_on(ptr %s, i64 %semaphore) nounwind {
entry:
  %wait.at = getelementptr i64, ptr %s, i64 $WAIT
  %wait.int = load i64, ptr %wait.at
  %wait = inttoptr i64 %wait.int to ptr
  br label %again
again:
  %failed = call i32 %wait(i64 %semaphore, i64 -1)
  %interrupted = icmp ne i32 %failed, 0
  br i1 %interrupted, label %again, label %done
done:
  ret void
}

; The processor that this thread runs on; -1 where nobody can tell.
define internal i64 @this_cpu(ptr %s) nounwind {
entry:
  %get.at = getelementptr i64, ptr %s, i64 $GET_CPU
  %get.int = load i64, ptr %get.at
  %is.known = icmp ne i64 %get.int, 0
  br i1 %is.known, label %ask, label %none
ask:
  %get = inttoptr i64 %get.int to ptr
  %cpu.short = call i32 %get()
  %cpu = sext i32 %cpu.short to i64
  ret i64 %cpu
none:
  ret i64 -1
}

; Wakes whoever owns the flag and the semaphore behind it, if it sleeps or is about to.
define internal void @wake(ptr %s, ptr %parked.at) nounwind {
entry:
  %parked = load atomic i64, ptr %parked.at seq_cst, align 8
  %sleeps = icmp eq i64 %parked, 1
  br i1 %sleeps, label %claim, label %done
claim:
  %claimed = cmpxchg ptr %parked.at, i64 1, i64 0 seq_cst seq_cst
  %is.ours = extractvalue { i64, i1 } %claimed, 1
  br i1 %is.ours, label %post, label %done
post:
  %semaphore.at = getelementptr i64, ptr %parked.at, i64 1
  %semaphore = load i64, ptr %semaphore.at
  %post.at = getelementptr i64, ptr %s, i64 $POST
  %post.int = load i64, ptr %post.at
  %post.function = inttoptr i64 %post.int to ptr
  %ignored = call i32 %post.function(i64 %semaphore, i64 1, i64 0)
  br label %done
done:
  ret void
}
"""

_WORK = """
; Says where this worker runs.
define internal void @tell_cpu(ptr %s, ptr %cpu.at) nounwind {
entry:
  %cpu = call i64 @this_cpu(ptr %s)
  store atomic i64 %cpu, ptr %cpu.at monotonic, align 8
  ret void
}

; The life of one worker.
define void @taper_work(i64 %state, i64 %number) nounwind {
entry:
  %s = inttoptr i64 %state to ptr
  %ticket.at = getelementptr i64, ptr %s, i64 $TICKET
  %entered.at = getelementptr i64, ptr %s, i64 $ENTERED
  %stop.at = getelementptr i64, ptr %s, i64 $STOP
  %spins.at = getelementptr i64, ptr %s, i64 $SPINS
  %allowed.at = getelementptr i64, ptr %s, i64 $ALLOWED
  %launcher.at = getelementptr i64, ptr %s, i64 $LAUNCHER_PARKED
  %line = mul i64 %number, 8
  %offset = add i64 %line, $WORKERS
  %parked.at = getelementptr i64, ptr %s, i64 %offset
  %semaphore.at = getelementptr i64, ptr %parked.at, i64 1
  %semaphore = load i64, ptr %semaphore.at
  %cpu.at = getelementptr i64, ptr %parked.at, i64 $CPU
  br label %outer
outer:
  %seen = phi i64 [ 0, %entry ], [ %ticket.new, %leave ], [ %ticket.new, %wake.launcher ],
                  [ %seen, %awake ], [ %seen, %unpark ]
  %stop = load atomic i64, ptr %stop.at seq_cst, align 8
  %stops = icmp ne i64 %stop, 0
  br i1 %stops, label %finished, label %prepare
finished:
  ret void
prepare:
  call void @tell_cpu(ptr %s, ptr %cpu.at)
  %spins = load i64, ptr %spins.at
  br label %spin
spin:
  %left = phi i64 [ %spins, %prepare ], [ %fewer, %idle ]
  %ticket.new = load atomic i64, ptr %ticket.at acquire, align 8
  %is.new = icmp ne i64 %ticket.new, %seen
  br i1 %is.new, label %work, label %idle
idle:
  $pause
  %fewer = sub i64 %left, 1
  %is.over = icmp eq i64 %fewer, 0
  br i1 %is.over, label %park, label %spin
park:
  call void @tell_cpu(ptr %s, ptr %cpu.at)
  store atomic i64 1, ptr %parked.at seq_cst, align 8
  %ticket.late = load atomic i64, ptr %ticket.at seq_cst, align 8
  %stop.late = load atomic i64, ptr %stop.at seq_cst, align 8
  %same = icmp eq i64 %ticket.late, %seen
  %goes.on = icmp eq i64 %stop.late, 0
  %may.sleep = and i1 %same, %goes.on
  br i1 %may.sleep, label %sleep, label %unpark
unpark:
  %unparked = cmpxchg ptr %parked.at, i64 1, i64 0 seq_cst seq_cst
  %by.us = extractvalue { i64, i1 } %unparked, 1
  br i1 %by.us, label %outer, label %sleep
sleep:
  call void @sleep_on(ptr %s, i64 %semaphore)
  br label %awake
awake:
  br label %outer
work:
  %before = atomicrmw add ptr %entered.at, i64 1 seq_cst
  %is.open = icmp uge i64 %before, $OPEN
  br i1 %is.open, label %inside, label %leave.closed
inside:
  %allowed = load i64, ptr %allowed.at
  %is.allowed = icmp slt i64 %number, %allowed
  br i1 %is.allowed, label %take, label %leave.closed
take:
  call void @take_chunks(ptr %s, i1 true)
  br label %leave.closed
leave.closed:
  %inside.before = atomicrmw sub ptr %entered.at, i64 1 seq_cst
  %is.last = icmp eq i64 %inside.before, 1
  br i1 %is.last, label %wake.launcher, label %leave
wake.launcher:
  call void @wake(ptr %s, ptr %launcher.at)
  br label %outer
leave:
  br label %outer
}
"""

_RUN = """
; Sends a worker to another processor if it ran on this one.
define internal void @keep_apart(ptr %s, ptr %worker, i64 %cpu) nounwind {
entry:
  %its.at = getelementptr i64, ptr %worker, i64 $CPU
  %its = load atomic i64, ptr %its.at monotonic, align 8
  %same = icmp eq i64 %its, %cpu
  %known = icmp sge i64 %cpu, 0
  %inside = icmp slt i64 %cpu, $MOST_CPUS
  %some = and i1 %same, %known
  %may = and i1 %some, %inside
  %thread.at = getelementptr i64, ptr %worker, i64 $THREAD
  %thread.long = load i64, ptr %thread.at
  %has.thread = icmp ne i64 %thread.long, 0
  %moves = and i1 %may, %has.thread
  br i1 %moves, label %move, label %done
move:
  store atomic i64 -1, ptr %its.at monotonic, align 8
  %thread = trunc i64 %thread.long to i32
  %mask.at = getelementptr i64, ptr %s, i64 $MASK
  %which = lshr i64 %cpu, 6
  %word.at = getelementptr i64, ptr %mask.at, i64 %which
  %word = load i64, ptr %word.at
  %bit.number = and i64 %cpu, 63
  %bit = shl i64 1, %bit.number
  %others = xor i64 %bit, -1
  %without = and i64 %word, %others
  store i64 %without, ptr %word.at
  %set.at = getelementptr i64, ptr %s, i64 $SET_AFFINITY
  %set.int = load i64, ptr %set.at
  %set = inttoptr i64 %set.int to ptr
  %ignored = call i32 %set(i32 %thread, i64 $MASK_BYTES, ptr %mask.at)
  store i64 %word, ptr %word.at
  br label %done
done:
  ret void
}

; Runs kernel(block, 0, count), in chunks, on this thread and on `helpers` workers.
define void @taper_run(i64 %state, i64 %kernel.int, i64 %block, i64 %count, i64 %chunk,
                       i64 %helpers) nounwind {
entry:
  %s = inttoptr i64 %state to ptr
  %busy.at = getelementptr i64, ptr %s, i64 $BUSY
  %claimed = cmpxchg ptr %busy.at, i64 0, i64 1 seq_cst seq_cst
  %is.ours = extractvalue { i64, i1 } %claimed, 1
  br i1 %is.ours, label %publish, label %alone
alone:
  %is.work = icmp sgt i64 %count, 0
  br i1 %is.work, label %do.alone, label %none
none:
  ret void
do.alone:
  %kernel = inttoptr i64 %kernel.int to ptr
  call void %kernel(i64 %block, i64 0, i64 %count)
  ret void
publish:
  %kernel.at = getelementptr i64, ptr %s, i64 $KERNEL
  store i64 %kernel.int, ptr %kernel.at
  %block.at = getelementptr i64, ptr %s, i64 $BLOCK
  store i64 %block, ptr %block.at
  %count.at = getelementptr i64, ptr %s, i64 $COUNT
  store i64 %count, ptr %count.at
  %chunk.at = getelementptr i64, ptr %s, i64 $CHUNK
  store i64 %chunk, ptr %chunk.at
  %allowed.at = getelementptr i64, ptr %s, i64 $ALLOWED
  store i64 %helpers, ptr %allowed.at
  %next.at = getelementptr i64, ptr %s, i64 $NEXT
  %from.end.at = getelementptr i64, ptr %s, i64 $FROM_END
  store atomic i64 0, ptr %from.end.at monotonic, align 8
  store atomic i64 0, ptr %next.at release, align 8
  %entered.at = getelementptr i64, ptr %s, i64 $ENTERED
  %opened = atomicrmw add ptr %entered.at, i64 $OPEN seq_cst
  %ticket.at = getelementptr i64, ptr %s, i64 $TICKET
  %published = atomicrmw add ptr %ticket.at, i64 1 seq_cst
  %cpu = call i64 @this_cpu(ptr %s)
  br label %rouse
rouse:
  %number = phi i64 [ 0, %publish ], [ %number.next, %rouse.one ]
  %are.more = icmp slt i64 %number, %helpers
  br i1 %are.more, label %rouse.one, label %take
rouse.one:
  %line = mul i64 %number, 8
  %offset = add i64 %line, $WORKERS
  %parked.at = getelementptr i64, ptr %s, i64 %offset
  call void @keep_apart(ptr %s, ptr %parked.at, i64 %cpu)
  call void @wake(ptr %s, ptr %parked.at)
  %number.next = add i64 %number, 1
  br label %rouse
take:
  call void @take_chunks(ptr %s, i1 false)
  %closed = atomicrmw sub ptr %entered.at, i64 $OPEN seq_cst
  %spins.at = getelementptr i64, ptr %s, i64 $SPINS
  %spins = load i64, ptr %spins.at
  %launcher.at = getelementptr i64, ptr %s, i64 $LAUNCHER_PARKED
  %semaphore.at = getelementptr i64, ptr %launcher.at, i64 1
  br label %spin
spin:
  %left = phi i64 [ %spins, %take ], [ %fewer, %idle ], [ %spins, %sleep ]
  %inside = load atomic i64, ptr %entered.at acquire, align 8
  %is.done = icmp eq i64 %inside, 0
  br i1 %is.done, label %done, label %idle
idle:
  $pause
  %fewer = sub i64 %left, 1
  %is.over = icmp eq i64 %fewer, 0
  br i1 %is.over, label %park, label %spin
park:
  store atomic i64 1, ptr %launcher.at seq_cst, align 8
  %inside.late = load atomic i64, ptr %entered.at seq_cst, align 8
  %is.done.late = icmp eq i64 %inside.late, 0
  br i1 %is.done.late, label %unpark, label %sleep
unpark:
  %unparked = cmpxchg ptr %launcher.at, i64 1, i64 0 seq_cst seq_cst
  %by.us = extractvalue { i64, i1 } %unparked, 1
  br i1 %by.us, label %done, label %sleep
sleep:
  %semaphore = load i64, ptr %semaphore.at
  call void @sleep_on(ptr %s, i64 %semaphore)
  br label %spin
done:
  store atomic i64 0, ptr %busy.at release, align 8
  ret void
}
"""

_LOOP = """
; Spins `count` times, to find out how long that takes.
define void @taper_pauses(i64 %count) nounwind {
entry:
  br label %spin
spin:
  %left = phi i64 [ %count, %entry ], [ %fewer, %spin ]
  $pause
  %fewer = sub i64 %left, 1
  %is.over = icmp eq i64 %fewer, 0
  br i1 %is.over, label %done, label %spin
done:
  ret void
}
"""
