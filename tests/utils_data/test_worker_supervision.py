"""However workers, or the loader's process, come to their end: an error says so, nothing is left.

A few trials of each kind; TAPER_TRIALS=full runs a hundred. What happens is in worker_faults.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worker_faults import faults_of, state

import taper

IS_FULL = os.environ.get("TAPER_TRIALS") == "full"
PROGRAM = Path(__file__).with_name("worker_faults.py")
# Python 3.12 and later warn of every fork of a program with threads.
COMMAND = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(PROGRAM)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(taper.__file__).parents[1])}
FEW_SPAWNED = ("killed", "raises", "can't be pickled", "can't be unpickled")  # they take long
CASES = [
    (method, faults)
    for method in ("fork", "spawn", "thread")
    for faults in (
        [[fault] for fault in faults_of(method)] if IS_FULL
        else [FEW_SPAWNED if method == "spawn" else faults_of(method)]
    )
]  # fmt: skip


@pytest.mark.parametrize(("method", "faults"), CASES)
def test_faults(method, faults):
    """Each ends in its error, within five seconds, and leaves nothing behind."""
    trials = 100 if IS_FULL else 1 if method == "spawn" else 5
    ended = subprocess.run(
        [*COMMAND, *faults, "--method", method, "--trials", str(trials)], env=ENVIRONMENT,
        capture_output=True, text=True, timeout=3000 if IS_FULL else 200, check=True,
    )
    reports = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [report["fault"] for report in reports] == list(faults)
    for report in reports:
        print(report)
        assert report["wrong"] == []
        assert report["slowest"] < 5
        left = report["orphans"], report["shared memory"], report["descriptors"]
        assert left == (0, [], 0)


class Program:
    """One that goes on for long, in a group of processes of its own, as a terminal's are."""

    def __init__(self, where, method):
        self.process = subprocess.Popen(
            [*COMMAND, "--loop", where, "--method", method], env=ENVIRONMENT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )
        self.pids = [int(pid) for pid in self.process.stdout.readline().split()]
        assert len(self.pids) == 2, self.process.stderr.read()

    def wait(self):
        """The exit code, what was written to stderr, and how long that took."""
        begun = time.monotonic()
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors, time.monotonic() - begun

    def is_gone_within(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if all(state(pid) in ("", "Z") for pid in self.pids):  # nobody may reap orphans
                return True
            time.sleep(0.02)
        return False


REPEATED = range(20 if IS_FULL else 1)
BUSY = [
    ("hangs", "fork"), ("persistent", "fork"), ("trains", "fork"), ("hangs", "thread"),
    *([("starts", "spawn"), ("hangs", "spawn"), ("trains", "spawn")] if IS_FULL else []),
]  # fmt: skip


@pytest.mark.parametrize(("where", "method"), BUSY)
@pytest.mark.parametrize("_", REPEATED)
def test_interrupts(where, method, _):
    """Ctrl-C ends everything within two seconds, and only the loader's process speaks of it."""
    program = Program(where, method)
    time.sleep(0.1)
    os.killpg(program.process.pid, signal.SIGINT)
    code, errors, seconds = program.wait()
    assert code == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert seconds < 2
    assert method == "thread" or program.is_gone_within(0.1)


@pytest.mark.parametrize(("where", "method", "number"), [
    (where, method, number)
    for where, method in BUSY for number in (signal.SIGKILL, signal.SIGTERM)
    if method != "thread" and (IS_FULL or number == signal.SIGKILL or where == "hangs")
])  # fmt: skip
@pytest.mark.parametrize("_", REPEATED)
def test_workers_do_not_outlive_a_killed_loader(where, method, number, _):
    program = Program(where, method)
    program.process.send_signal(number)
    assert program.wait()[0] == -number
    assert program.is_gone_within(3)


@pytest.mark.parametrize("method", ["fork", "thread", *(["spawn"] if IS_FULL else [])])
@pytest.mark.parametrize("_", REPEATED)
def test_programs_that_end_early(method, _):
    """A program may end in the middle of an epoch."""
    program = Program("ends", method)
    assert program.wait()[:2] == (0, "")
    assert method == "thread" or program.is_gone_within(0.1)
