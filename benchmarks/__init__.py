"""A small side-by-side benchmark: taper and PyTorch do the same work in turns, in two processes.

    python -m benchmarks                       # the table of ratios; above 1 taper is faster
    python -m benchmarks --filter train --filter tiny --rounds 15
    python -m benchmarks --reference taper     # against itself: every ratio is about 1

PyTorch has to be installed beside taper, which none of taper's extras do.
`workloads.py` holds the work, `worker.py` is one side, `__main__.py` times both.
"""
