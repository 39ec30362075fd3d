"""Small random PyTorch programs as source text, for two libraries to be compared by.

`write_program(oracle, seed)` gives a list of statements over a module called `torch`, with leaves,
views, changes in place, indexing, mixed dtypes, reductions, products, grad modes, hooks and control
flow, and the backward pass of a scalar made of everything differentiable. How statements are
chosen: program_writer.py. Running, comparing and shortening programs: program_comparison.py; how
far numbers may be apart: program_precision.py.

What programs keep away from, beside errors of names and numbers that overflow:

* values on the edge of a step, a comparison or a choice (`is_settled`, `are_apart`): rounding
  decides there. Exact numbers, as leaves are, may lie on it;
* where PyTorch is wrong or has nothing: atan2 of uint8, branch cuts of complex atan, trigamma and
  the gradient of matrix_exp in float64, half precision or derivatives of complex numbers without a
  kernel (`is_missing`), as_strided beyond what a view shows, writing into expanded memory by an
  index, zeros without memory (`is_tame`);
* what docs/compatibility.md lists: results of operands that lie differently (`laid_out`), of
  equal strides, or of LAPACK and Fourier transforms (marked = in the tables), nodes of what PyTorch
  makes of several steps (marked ~) and what these keep for backward, nodes of views that were
  changed without recording, normalizing equal numbers, attention with scores of thousands;
* views made without recording of what requires grad, where something is saved for their sake
  (`is_ghost`), hooks on views, which a change in place may pass by, and in-place changes whose
  operands partly share memory.
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
