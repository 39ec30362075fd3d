"""Has the workers of data loaders fail in some way, many times, and reports what became of it.

    python tests/utils_data/worker_faults.py killed raises --method spawn --trials 100
    python tests/utils_data/worker_faults.py --loop hangs        # prints process ids, then waits

A program of its own, as workers that are spawned import the program that spawned them.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import taper as torch
from taper.utils import data

EXITED = r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly"
THREAD_EXITED = r"DataLoader worker thread \d exited unexpectedly by "
RAISED = r"Caught ValueError in DataLoader worker (process|thread) \d\.\nOriginal Traceback \(most"
ERRORS = {  # fault → type of the error, and how its message begins
    "killed": (RuntimeError, EXITED + ": killed by signal: Killed"),
    "segfaults": (RuntimeError, EXITED + ": killed by signal: Segmentation fault"),
    "exits": (RuntimeError, EXITED + " with exit code 3"),
    "leaves": (RuntimeError, f"({EXITED} with exit code 4|{THREAD_EXITED}SystemExit\\(4\\))"),
    "interrupts": (RuntimeError, f"({EXITED} with exit code 1|{THREAD_EXITED}KeyboardInterrupt)"),
    "raises": (ValueError, RAISED),
    "hangs": (RuntimeError, r"DataLoader timed out after "),
    "sends what can't be pickled": (
        (TypeError, AttributeError), r"Caught \w+ in DataLoader worker process \d\.\nOriginal",
    ),
    "sends what can't be unpickled": (
        ZeroDivisionError, r"Caught ZeroDivisionError from DataLoader worker process \d\.\nOrig",
    ),
    "can't be pickled": ((TypeError, AttributeError), ".*pickle"),  # only if workers are spawned
    "can't be unpickled": (RuntimeError, EXITED + " with exit code 1"),
}
OF_THREADS = ("leaves", "interrupts", "raises", "hangs")
OF_SPAWNED = ("can't be pickled", "can't be unpickled")
PLACES = ("item", "collate", "start")
SIZE = 8


def fail(note: str) -> float:
    note_time(note)
    return 1 / 0


def note_time(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{time.monotonic()}\n")


class Unloadable:
    def __init__(self, note: str) -> None:
        self.note = note

    def __reduce__(self):
        return fail, (self.note,)


class Fault:
    """Notes the time and does what it is named for, in the place that it is meant for."""

    def __init__(self, name: str, place: str, note: str) -> None:
        self.name, self.place, self.note = name, place, note

    def __call__(self, place: str) -> object:
        if place != self.place:
            return None
        note_time(self.note)
        faulthandler.disable()
        match self.name:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfaults":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exits":
                os._exit(3)
            case "leaves":
                sys.exit(4)
            case "interrupts":
                raise KeyboardInterrupt
            case "raises":
                raise ValueError("no such row")
            case "hangs":
                time.sleep(60)
            case "sends what can't be pickled":
                return open(os.devnull)
            case "sends what can't be unpickled":
                return Unloadable(self.note)
        return None


def sample(fault: Fault, index: int) -> object:
    """Large enough for batches to travel in shared memory."""
    found = fault("item") if index == 3 else None
    return found if found is not None else torch.full((20_000,), float(index))


class Rows(data.Dataset):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> object:
        return sample(self.fault, index)


class Stream(data.IterableDataset):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def __iter__(self):
        worker = data.get_worker_info()
        for index in range(worker.id, SIZE, worker.num_workers):
            yield sample(self.fault, index)


class Collate:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def __call__(self, samples: list) -> object:
        found = self.fault("collate") if data.get_worker_info().id == 1 else None
        return samples if found is None else found


class Start:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def __call__(self, worker_id: int) -> None:
        if worker_id == 1:
            self.fault("start")


def loaders(name: str, method: str, note: str):
    """Endlessly many loaders with all combinations of options."""
    sends = name.startswith("sends")
    places = PLACES[:2] if sends else PLACES
    combinations = list(itertools.product(places, (Rows, Stream), (False, True), (True, False)))
    for number in itertools.count():
        place, kind, persistent, in_order = combinations[7 * number % len(combinations)]
        fault = Fault(name, place, note)
        dataset = kind(fault)
        if name == "can't be pickled":
            dataset.function = lambda: None
        if name == "can't be unpickled":
            dataset.part = Unloadable(note)
        yield data.DataLoader(
            dataset, batch_size=2, num_workers=2, collate_fn=Collate(fault),
            worker_init_fn=Start(fault), persistent_workers=persistent, in_order=in_order,
            multiprocessing_context=method, timeout=0.3 if name == "hangs" else 0,
        )


def state(pid: int) -> str:
    """The letter that the system has for a process's state; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def shared_memory() -> set[str]:
    """Shared memory with a name, and what this process has mapped of memory without one."""
    named = os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else []
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {name for name in named if name.startswith(("taper", "torch", "psm_"))} | {
        line for line in maps if "memfd:taper" in line
    }


def trial(loader: data.DataLoader, name: str) -> str | None:
    """Runs a loader to its end; what is wrong with that end, if something is."""
    expected, pattern = ERRORS[name]
    pids: list[int] = []
    try:
        iterator = iter(loader)
        pids = [getattr(worker, "pid", 0) for worker in iterator._workers]
        for _ in iterator:
            pass
    except BaseException as error:
        if not isinstance(error, expected) or not re.match(pattern, str(error)):
            return f"{type(error).__name__}: {error}"
        if loader.persistent_workers and str(error).startswith("Caught"):
            pids = []  # these go on
    else:
        return "no error"
    finally:
        iterator = None
    alive = [pid for pid in pids if pid and state(pid)]
    return f"alive: {alive}" if alive else None


def run(name: str, method: str, trials: int) -> dict[str, object]:
    """The report of many trials."""
    wrong: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # threads note later
        note = Path(folder) / "time"
        before = shared_memory()
        descriptors = len(os.listdir("/proc/self/fd"))
        source = loaders(name, method, str(note))
        number = 0
        while number < trials:
            loader = next(source)
            for _ in range(1 + loader.persistent_workers):  # the next epoch has the same fate
                number += 1
                note_time(note)
                problem = trial(loader, name)
                begun = float(note.read_text().split()[-1])
                slowest = max(slowest, time.monotonic() - begun)
                if problem is not None:
                    wrong.append(f"{number}: {problem}")
            del loader
        orphans = len(multiprocessing.active_children())
        left = sorted(shared_memory() - before)
        # Spawning leaves Python's resource tracker with a pipe.
        opened = len(os.listdir("/proc/self/fd")) - descriptors - (method == "spawn")
    return {
        "fault": name, "method": method, "trials": trials, "slowest": round(slowest, 2),
        "wrong": wrong, "orphans": orphans, "shared memory": left, "descriptors": max(opened, 0),
    }


def loop(where: str, method: str) -> None:
    """Prints the process ids of workers, and then has them and this process busy for long."""
    fault = Fault("hangs" if where == "hangs" else "", "item", os.devnull)
    loader = data.DataLoader(
        Rows(fault), num_workers=2, multiprocessing_context=method,
        persistent_workers=where == "persistent",
    )
    iterator = iter(loader)
    if where != "starts":
        next(iterator)
    print(*[getattr(worker, "pid", 0) for worker in iterator._workers], flush=True)
    if where == "ends":
        return
    while where in ("hangs", "starts"):
        next(iterator)
    time.sleep(60)


def faults_of(method: str) -> list[str]:
    """What can go wrong with workers of this kind."""
    if method == "thread":
        return list(OF_THREADS)
    return [name for name in ERRORS if name not in OF_SPAWNED or method == "spawn"]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(ERRORS))
    arguments.add_argument("--loop", choices=["hangs", "starts", "persistent", "trains", "ends"])
    arguments.add_argument("--method", default="fork")
    arguments.add_argument("--trials", type=int, default=12)
    chosen = arguments.parse_args()
    if chosen.loop:
        loop(chosen.loop, chosen.method)
    for one in chosen.faults:
        print(json.dumps(run(one, chosen.method, chosen.trials)), flush=True)
