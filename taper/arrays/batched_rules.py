"""The rules of batched arrays: whoever makes some imports this, so that NumPy finds them.

A rule is called with the level that it takes off and with the function's own arguments, in which
arrays of that level are still BatchedArrays; its result is the result for all samples. Functions
without a rule run once per sample. Rules of kernels are in kernels/over_samples.py.
"""

from __future__ import annotations

from taper.arrays import batched_axes, batched_products  # noqa: F401 - for their rules
from taper.arrays.batched import BatchedArray
from taper.arrays.batched_arguments import each_sample, expanded, youngest
from taper.arrays.batched_functions import call_function
from taper.arrays.batched_index import read, write
from taper.arrays.batched_ufuncs import call_ufunc

__all__ = ["BatchedArray", "each_sample", "expanded", "youngest"]

BatchedArray.__array_ufunc__ = call_ufunc  # type: ignore[method-assign]
BatchedArray.__array_function__ = call_function  # type: ignore[assignment,method-assign]
BatchedArray.__getitem__ = read  # type: ignore[method-assign]
BatchedArray.__setitem__ = write  # type: ignore[method-assign]
