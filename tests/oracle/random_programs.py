"""Small random PyTorch programs as source text, for two libraries to be compared by.

`write_program(oracle, seed)` gives a list of statements over a module called `torch`, with leaves,
views, changes in place, indexing, mixed dtypes, reductions, products, grad modes, hooks and control
flow, and the backward pass of a scalar made of everything differentiable. How statements are
chosen: program_writer.py. Running, comparing and shortening programs: program_comparison.py.
"""

from __future__ import annotations

import warnings
from typing import Any

# Importing the statements registers them.
import random_changes  # noqa: F401
import random_linear_algebra  # noqa: F401
import random_networks  # noqa: F401
import random_statistics  # noqa: F401
import random_updates  # noqa: F401
import random_values  # noqa: F401
import random_views  # noqa: F401
from program_writer import Writer

__all__ = ["write_program"]


def write_program(oracle: Any, seed: object) -> list[str]:
    """A random program: statements to run one after the other, with `torch` defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Writer(oracle, seed).write()
