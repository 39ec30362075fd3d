"""The `taper` command: `taper run`, `taper graph`, `taper bench` and `taper info`.

Each command is a file here; this one only chooses. What a command imports is imported when it is
chosen, because a program started by `taper run` pays for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

USAGE = """\
PyTorch's programming model over NumPy: runs programs written for PyTorch, and explains itself.

usage: taper run PROGRAM.py [arguments]      run a program; `import torch` means taper
       taper run NOTEBOOK.ipynb [arguments]  run the cells of a notebook in order
       taper run -m MODULE [arguments]       run a module, as python -m does
       taper run -c CODE [arguments]         run a line of Python
       taper graph PROGRAM.py [arguments]    draw what its backward pass walks through
       taper graph --compiled PROGRAM.py     draw what its compiled function runs, with times
       taper bench                           time taper and PyTorch side by side here
       taper info                            this installation
       taper info OPERATOR                   an operator: declaration, generated code, derivative
       taper --version

`taper run --help` and the like say more. `python -m taper …` is the same as
`taper …`, and `taper PROGRAM.py` is short for `taper run PROGRAM.py`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    match words:
        case ["run", *rest]:
            from taper.cli.run_program import run

            return run(rest)
        case [program, *_] if program.endswith((".py", ".ipynb")):
            from taper.cli.run_program import run

            return run(words)
        case ["graph", *rest]:
            from taper.cli.graph import graph

            return graph(rest)
        case ["bench", *rest]:
            from taper.cli.bench import bench

            return bench(rest)
        case ["info", *rest]:
            from taper.cli.info import info

            try:
                return info(rest)
            except BrokenPipeError:  # `taper info exp | head`: the reader has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 1
        case ["--version" | "-V"]:
            from taper.version import TAPER_VERSION, TORCH_VERSION

            print(f"taper {TAPER_VERSION}, which follows PyTorch {TORCH_VERSION}")
            return 0
        case [] | ["--help" | "-h" | "help", *_]:
            print(USAGE, end="")
            return 0
        case _:
            print(
                f"taper: there is no command {words[0]!r}, only run, graph, bench, info and "
                "--version; `taper --help` explains them", file=sys.stderr,
            )
            return 2
