"""A program that kills saves at random moments and looks at what is left.

    python kill_saves.py nameless|named COUNT SEED FOLDER

Children save checkpoints that say which one they are, one after the other, to one path; SIGKILL
comes at any time. Prints a line of JSON with what was seen. "named" is how files are written where
there are none without a name.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter

import taper as torch
from taper.serialization import replacing

LEFT = {"nameless": ".model.pt.taper-complete", "named": ".model.pt.taper-unfinished"}
SIZES = (10, 3000, 300_000, 3_000_000)  # elements; the last takes more than one write to disk


def checkpoint(number: int, size: int) -> dict[str, object]:
    weight = torch.full((size,), float(number))
    return {"number": number, "weight": weight, "parts": [weight[:3], {"more": weight + 1}]}


def is_whole(loaded: dict[str, object]) -> bool:
    number, weight = loaded["number"], loaded["weight"]
    return bool((weight == number).all() and (loaded["parts"][1]["more"] == number + 1).all())


def save_on(path: str, first: int, size: int) -> None:
    """Saves until it is killed."""
    for number in range(first, first + 10**9):
        torch.save(checkpoint(number, size), path)


def duration(path: str, size: int) -> float:
    start = time.perf_counter()
    torch.save(checkpoint(0, size), path)
    return time.perf_counter() - start


def main() -> None:
    kind, count, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    if kind == "named":
        replacing._nameless_file = lambda folder: None
    path = os.path.join(folder, "model.pt")
    chance, seen = random.Random(seed), Counter()
    durations = {size: duration(path, size) for size in SIZES}
    last = left = 0
    for trial in range(count):
        size = chance.choice(SIZES)
        # One that saves alone, or two that save to one path.
        children = []
        for _ in range(chance.choice([1, 1, 1, 2])):
            child = os.fork()
            if not child:
                save_on(path, (trial + 1) * 10**4, size)
            children.append(child)
        time.sleep(chance.random() * 2.5 * durations[size])
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        loaded = torch.load(path)
        assert is_whole(loaded), f"trial {trial}: the file is a mixture"
        number = int(loaded["number"])
        # A complete file that was left is put in place by the next save, which may be killed then.
        expected = {last, left} if number // 10**4 != trial + 1 else {number}
        assert number in expected, f"trial {trial}: {number} instead of {expected}"
        seen["old" if number == last else "new"] += 1
        last = number
        names = set(os.listdir(folder))
        assert names <= {"model.pt", LEFT[kind]}, names
        seen["left"] += LEFT[kind] in names
        if kind == "nameless" and LEFT[kind] in names:
            loaded = torch.load(os.path.join(folder, LEFT[kind]))
            assert is_whole(loaded)
            left = int(loaded["number"])
    torch.save(checkpoint(1, 10), path)
    assert os.listdir(folder) == ["model.pt"], os.listdir(folder)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
