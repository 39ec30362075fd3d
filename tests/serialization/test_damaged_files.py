"""Damaged files and bombs give documented errors, or load; within limits, without a crash.

    TAPER_TRIALS=full pytest -s tests/serialization/test_damaged_files.py

10,000 files, not 1,000; bombs in the older format, too, and from a path and mapped as well.

They are read by `read_files.py` in a process of its own, which may take 256 MiB and 40 times the
size of a file more than it has at the start, and 5 seconds for each way to read a file. What is
documented: UnpicklingError, RuntimeError, EOFError, and ValueError for an unknown byte order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bombs import BOMBS
from trials import trials

COUNT = trials(quick=1000, full=10_000)
READER = Path(__file__).with_name("read_files.py")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="measures address space as Linux does"
)


def read(*arguments: str) -> list[dict[str, Any]]:
    """What the reader says of each file; a crash is the outcome of the file that it came at."""
    process = subprocess.run(
        [sys.executable, str(READER), *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    found = [line for line in lines if "outcomes" in line]
    if process.returncode:
        assert lines, process.stderr
        found.append({**lines[-1], "outcomes": [
            f"the reader ended with {process.returncode}: {process.stderr[-1000:]}"]})
    return found


def check(results: list[dict[str, Any]], expected: int) -> Counter[str]:
    """Counts the outcomes, after a look for those that must not be."""
    bad = [
        f"{result['name']}: {outcome}" for result in results for outcome in result["outcomes"]
        if outcome not in ("loaded", "refused")
    ]
    assert not bad, f"{len(bad)} failed:\n" + "\n".join(bad[:30])
    assert len(results) == expected
    counts = Counter(outcome for result in results for outcome in result["outcomes"])
    slowest = max(results, key=lambda result: result["seconds"])
    growth = max(result["peak"] for result in results) - results[0]["peak"]
    print(f"{len(results)} files, {dict(counts)}; {slowest['seconds']:.2f} s for "
          f"{slowest['name']}; memory grew by {growth >> 10} MiB")
    return counts


def test_damage() -> None:
    assert COUNT is not None
    counts = check(read("damaged", "0", str(COUNT)), COUNT)
    assert counts["refused"] > COUNT / 4
    assert counts["loaded"] > COUNT / 4  # most changes hit numbers


def test_bombs() -> None:
    if trials(quick=0, full=1):
        ways, names = "all", list(BOMBS)
    else:
        ways, names = "once", [name for name in BOMBS if not name.endswith("_legacy")]
    counts = check(read("bombs", ways, *names), len(names))
    assert counts["refused"] > len(names) / 2
