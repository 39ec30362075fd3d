"""The worker pool: it computes everything once, whatever happens around it."""

import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator

import numpy as np
import pytest

import taper
from taper.compiler import background, machine
from taper.core.settings import settings
from taper.runtime import pool

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

# x[i] += i, and visits[i] += 1, for i from begin to end; `work` rounds of nothing at each.
COUNT = """
define void @count(i64 %block, i64 %begin, i64 %end) nounwind {
entry:
  %b = inttoptr i64 %block to ptr
  %x = load ptr, ptr %b
  %work.at = getelementptr i64, ptr %b, i64 1
  %work = load i64, ptr %work.at
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %done ]
  %at = getelementptr i64, ptr %x, i64 %i
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  br label %waste
waste:
  %w = phi i64 [ 0, %loop ], [ %w.next, %waste ]
  %w.next = add i64 %w, 1
  store volatile i64 %new, ptr %at
  %again = icmp slt i64 %w.next, %work
  br i1 %again, label %waste, label %done
done:
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %exit
exit:
  ret void
}
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "native", "now")
    before = taper.get_num_threads()
    taper.set_num_threads(4)
    yield
    taper.set_num_threads(before)


def kernel() -> int:
    address = background.request("test: count", lambda: (COUNT, "count"))
    assert address is not None
    return address


class Job:
    def __init__(self, count: int, work: int = 1) -> None:
        self.visits = np.zeros(count, np.int64)
        self.block = array("q", [self.visits.ctypes.data, work])
        self.address = kernel()

    def launch(self, grain: int = 64) -> None:
        pool.launch(self.address, self.block.buffer_info()[0], len(self.visits), grain)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000, 100_003])
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_everything_is_done_once(count: int, threads: int) -> None:
    taper.set_num_threads(threads)
    job = Job(count)
    for _ in range(20):
        job.launch()
    assert (job.visits == 20).all()


def test_workers_sleep_and_wake() -> None:
    job = Job(5000, work=20)
    for pause in (0, 20e-6, 50e-6, 60e-6, 1e-3):
        for _ in range(50):
            job.launch()
            time.sleep(pause)
    assert (job.visits == 250).all()


def test_launches_from_many_threads() -> None:
    jobs = [Job(3000, work=3) for _ in range(6)]

    def run(job: Job) -> None:
        for _ in range(300):
            job.launch()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert all((job.visits == 300).all() for job in jobs)


def test_one_thread_starts_no_workers() -> None:
    program = (
        "import taper, sys; taper.set_num_threads(1); sys.path.insert(0, '.')\n"
        "from tests.runtime.test_pool import Job\n"
        "import threading; job = Job(10000); job.launch()\n"
        "names = [t.name for t in threading.enumerate() if t.name.startswith('taper-worker')]\n"
        "print(len(names), int(job.visits.sum()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True,
        env={**os.environ, "TAPER_NATIVE": "now"},
    )
    assert done.stdout == "0 10000\n"


def test_idle_workers_use_no_time() -> None:
    Job(5000).launch()
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_workers() -> None:
    job = Job(20_000)
    job.launch()
    done = threading.Event()

    def keep_launching() -> None:
        other = Job(20_000)
        while not done.is_set():
            other.launch()

    thread = threading.Thread(target=keep_launching)  # a launch is going on during the fork
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    job.launch()
                    job.launch()
                    status = 0 if (job.visits == job.visits[0]).all() else 2
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()


def test_a_program_ends_while_workers_work() -> None:
    program = (
        "import sys, threading; sys.path.insert(0, '.')\n"
        "from tests.runtime.test_pool import Job\n"
        "import taper; taper.set_num_threads(4); job = Job(50000, work=50)\n"
        "def run():\n    while True: job.launch()\n"
        "thread = threading.Thread(target=run, daemon=True); thread.start(); thread.join(0.2)\n"
        "print('end')"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30,
            env={**os.environ, "TAPER_NATIVE": "now"},
        )
        assert done.stdout == "end\n" and not done.stderr


def test_workers_end_when_stopped() -> None:
    job = Job(5000)
    job.launch()
    found = pool._shared.find()
    assert found is not None and found.threads
    threads = list(found.threads)
    pool._shared.start_afresh()  # so that later tests get a new one
    found.stop()
    assert not any(thread.is_alive() for thread in threads)
    job.launch()
    assert (job.visits == 2).all()


@pytest.mark.parametrize("threads", [2, 5, 8, 64])
def test_pieces_begin_at_multiples_of_the_power_of_two_in_a_grain(threads):
    for grain in (1, 2, 6, 64, 96, 1024):
        for count in (1, grain, 5 * grain - 1, 17 * grain, 1000 * grain + 3):
            helpers, piece = pool._shares(count, grain, threads)
            assert piece % (grain & -grain) == 0 and 0 <= helpers < threads
