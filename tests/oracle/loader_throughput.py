"""How long an epoch takes with taper's loaders and with PyTorch's, in turns, in one process.

    python tests/oracle/loader_throughput.py [rounds] [part of a case's name …]

Prints the shortest and the median epoch, and the processor time of this process and the workers
that have ended (which says more than the clock on a machine that is busy).
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import numpy as np
import torch
import torch.utils.data

import taper
import taper.utils.data


def images(library):
    """6400 images of 28 x 28 bytes, normalized one by one in NumPy."""
    pixels = np.random.default_rng(0).integers(0, 256, (6400, 28, 28), dtype=np.uint8)

    class Images(library.utils.data.Dataset):
        def __len__(self):
            return len(pixels)

        def __getitem__(self, index):
            image = pixels[index].astype(np.float32) / 255
            image = (image - image.mean()) / (image.std() + 1e-6)
            return library.from_numpy(image)[None], index % 10

    return Images()


def tensors(library):
    """The same size, normalized by the library."""
    pixels = library.arange(6400 * 28 * 28).remainder(255).reshape(6400, 1, 28, 28).float()

    class Images(library.utils.data.Dataset):
        def __len__(self):
            return len(pixels)

        def __getitem__(self, index):
            return (pixels[index] / 255 - 0.13) / 0.3, index % 10

    return Images()


def photographs(library):
    """Batches of 16 take 9.6 MB."""
    base = library.zeros(3, 224, 224)

    class Photographs(library.utils.data.Dataset):
        def __len__(self):
            return 640

        def __getitem__(self, index):
            return base + index, index

    return Photographs()


def rows(width):
    def make(library):
        return library.utils.data.TensorDataset(library.rand(20000, width), library.arange(20000))

    return make


CASES = {
    "images, 2 workers": (images, {"batch_size": 64, "num_workers": 2}),
    "images, 2 persistent workers": (
        images, {"batch_size": 64, "num_workers": 2, "persistent_workers": True},
    ),
    "tensors, 2 workers": (tensors, {"batch_size": 64, "num_workers": 2}),
    "photographs, 2 workers": (photographs, {"batch_size": 16, "num_workers": 2}),
    "photographs, 2 persistent workers": (
        photographs, {"batch_size": 16, "num_workers": 2, "persistent_workers": True},
    ),
    "images": (images, {"batch_size": 64}),
    "tensors": (tensors, {"batch_size": 64}),
    "rows of 784": (rows(784), {"batch_size": 64}),
    "rows of 784, shuffled": (rows(784), {"batch_size": 64, "shuffle": True}),
    "rows of 10": (rows(10), {"batch_size": 64}),
    "rows of 10, shuffled": (rows(10), {"batch_size": 64, "shuffle": True}),
}  # fmt: skip


def epoch(loader):
    """The seconds of an epoch, on the clock and of processors."""
    used, begun = sum(os.times()[:4]), time.perf_counter()
    count = sum(len(batch[0]) for batch in loader)
    seconds = time.perf_counter() - begun
    assert count == len(loader.dataset)
    return seconds, sum(os.times()[:4]) - used


def compare(name, rounds):
    make, options = CASES[name]
    loaders = [
        library.utils.data.DataLoader(make(library), **options) for library in (taper, torch)
    ]
    measured = [[], []]
    for number in range(rounds + 1):
        for loader, found in zip(loaders, measured, strict=True):
            seconds = epoch(loader)
            if number:  # the first warms up
                found.append(seconds)
    report = [f"{name:34}"]
    for label, kind in (("clock", 0), ("processors", 1)):
        ours, theirs = ([pair[kind] for pair in found] for found in measured)
        medians = statistics.median(ours), statistics.median(theirs)
        report.append(
            f"{label} min {1e3 * min(ours):6.1f} {1e3 * min(theirs):6.1f} median "
            f"{1e3 * medians[0]:6.1f} {1e3 * medians[1]:6.1f} ms "
            f"({medians[1] / (medians[0] or 1e-3):.2f}x)"
        )
    print("  ".join(report), flush=True)


if __name__ == "__main__":
    chosen_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(f"{'':34}taper and PyTorch")
    for case in CASES:
        if len(sys.argv) < 3 or any(part in case for part in sys.argv[2:]):
            compare(case, chosen_rounds)
