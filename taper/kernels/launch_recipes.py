"""Recipes: what a function of kernels launches, as data that depends on shapes only.

A recipe names its arrays, so the same one serves a call, which runs it on arrays (`run`), and a
program of `taper.compile`, which runs it on values of its arena (compilation/lowering/recipes.py).
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from taper.kernels.native import Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import constant, replayed, scratch, unchanging

__all__ = ["Recipe", "Stage", "run"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]


class Stage(NamedTuple):
    """One launch.

    Attributes:
        arrays: whose addresses begin the argument block: names of operands, "result" and names of
            other results, numbers of scratch memory, or tables that are the same for every call.
        words: the rest of the block.      tasks, grain: units of work; how many make a piece.
    """

    kernel: Kernel
    arrays: tuple[Any, ...]
    words: Ints
    tasks: int
    grain: int
    text: str


@unchanging
class Recipe(NamedTuple):
    """Launches that make an array of a shape from operands, all of one dtype.

    `scratch` are sizes, in elements; `operands` the names of those that are given, in order;
    `others` the names and shapes of results besides.
    """

    stages: tuple[Stage, ...]
    scratch: Ints
    shape: Ints
    operands: tuple[str, ...]
    others: tuple[tuple[str, Ints], ...] = ()

    @property
    def results(self) -> tuple[tuple[str, Ints], ...]:
        """The names and shapes of all results."""
        return ("result", self.shape), *self.others


@replayed
def run(recipe: Recipe, *operands: Array) -> Any:
    """The result, a tuple if there are several, or None while there are no kernels. Recipes are
    told apart by identity."""
    if not are_ready(*[stage.kernel for stage in recipe.stages], in_programs=True):
        return None
    dtype = operands[0].dtype
    addresses = [stage.kernel.address() for stage in recipe.stages]
    named: dict[Any, Array] = {
        name: new_array(shape, dtype, prod(shape)) for name, shape in recipe.results}
    results = tuple(named.values())
    named.update(zip(recipe.operands, operands, strict=True))
    for number, size in enumerate(recipe.scratch):
        named[number] = scratch(new_array((size,), dtype, size))
    for stage, address in zip(recipe.stages, addresses, strict=True):
        assert address is not None
        arrays = [constant(a) if isinstance(a, np.ndarray) else named[a] for a in stage.arrays]
        stage.kernel.launch(address, arrays, stage.words, stage.tasks, stage.grain)
    return results if recipe.others else results[0]
