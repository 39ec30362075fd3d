"""A program that reads bad files, each within limits of time and memory, and says what happened.

    python read_files.py damaged FIRST LAST        files of `damaged_files`, by their seeds
    python read_files.py bombs once|all NAME…      those of `bombs`, in one way or each way to read

It may have no more address space than it has at the start and LIMIT bytes besides. For each file
it prints one line of JSON before (a crash shows which it was) and one after it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import bombs
import damaged_files

import taper as torch
from taper.serialization import get_unsafe_globals_in_checkpoint
from taper.serialization.safetensors import load_file, read_metadata

LIMIT = 256 << 20
SECONDS = 5
DOCUMENTED = (pickle.UnpicklingError, RuntimeError, EOFError)


class TooSlow(BaseException):
    """The time for one file is over."""


def stop(*_: Any) -> None:
    raise TooSlow


def look_at(value: Any, depth: int = 0) -> None:
    """Reads the first and the last element of each tensor: they have to be there."""
    if isinstance(value, torch.Tensor):
        if value.layout is torch.strided and value.numel() and not value.is_meta:
            value[(0,) * value.dim()].item()
            value[(-1,) * value.dim()].item()
            value.untyped_storage().nbytes()
    elif depth < 10:
        parts: Iterable[Any] = ()
        if isinstance(value, dict):
            parts = [*value, *value.values()][:100]
        elif isinstance(value, (list, tuple, set)):
            parts = list(value)[:100]
        for part in parts:
            look_at(part, depth + 1)


def outcome(read: Any, *arguments: Any, **options: Any) -> str:
    """What came of reading a file: "loaded", "refused", or what should never happen."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        look_at(read(*arguments, **options))
    except DOCUMENTED:
        return "refused"
    except ValueError as error:
        if str(error).startswith("Unknown endianness type"):
            return "refused"
        return f"{read.__name__}: ValueError: {error}"[:300]
    except TooSlow:
        return f"{read.__name__}: took more than {SECONDS} seconds"
    except BaseException as error:
        return f"{read.__name__}: {type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "loaded"


def outcomes(form: str, content: bytes, path: str, ways: str) -> list[str]:
    """What comes of a file in the ways to read it; the first of them, if `ways` is "once"."""
    with open(path, "wb") as file:
        file.write(content)
    if form == "safetensors":
        return [outcome(load_file, path), outcome(read_metadata, path)]
    found = [outcome(torch.load, io.BytesIO(content))]
    if ways == "all":
        found.append(outcome(torch.load, path))
    if form == "zip" and ways == "all":
        found.append(outcome(torch.load, path, mmap=True))
        if content[:4] == b"PK\3\4":
            found.append(outcome(get_unsafe_globals_in_checkpoint, path))
    return found


def files(kind: str, arguments: list[str]) -> Iterable[tuple[str, str, bytes]]:
    """Triples of a name, a format and a content."""
    if kind == "bombs":
        for name in arguments[1:]:
            yield (name, *bombs.BOMBS[name]())
        return
    for seed in range(*map(int, arguments)):
        form, done, content = damaged_files.damaged(seed)
        yield f"{seed} ({form}, {done})", form, content


def address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def main() -> None:
    signal.signal(signal.SIGALRM, stop)
    for _, content in damaged_files.sound_files()[:3]:  # imports what reading needs
        torch.load(io.BytesIO(content))
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for name, form, content in files(sys.argv[1], sys.argv[2:]):
            print(json.dumps({"name": name}), flush=True)
            start = time.perf_counter()
            limit = address_space() + LIMIT + 40 * len(content)
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            ways = sys.argv[2] if sys.argv[1] == "bombs" else "all"
            found = outcomes(form, content, os.path.join(temporary, "file"), ways)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(json.dumps({"name": name, "outcomes": found, "size": len(content),
                              "seconds": time.perf_counter() - start, "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
