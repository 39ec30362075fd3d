"""A side-by-side benchmark: taper and PyTorch do the same work in turns, in two processes.

`workloads.py` holds the work, `worker.py` is one side, `sides.py` times both in turns.
`taper bench` prints the table (cli/bench.py).
"""
