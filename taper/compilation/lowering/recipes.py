"""Operations whose launches a recipe lists (kernels/launch_recipes.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taper.arrays.node_arguments import at_size
from taper.arrays.symbolic_shape import environment_in, joined_numbers
from taper.compilation.lowering.launches import Address, Launch
from taper.compilation.lowering.nodes import Lowering
from taper.compilation.lowering.operations import Prepared
from taper.compilation.lowering.values import Value, View, contiguous
from taper.core.symbolic import SizePinned
from taper.kernels.launch_recipes import Recipe

__all__ = ["SizedRecipe", "all_made_by", "launches_of_recipe", "made_by", "prepared"]


class SizedRecipe:
    """A recipe that depends on a symbolic size: a function makes it for each.

    Attributes:
        results: the names and shapes of all results.
    """

    def __init__(self, make: Callable[..., Recipe | None], args: Any, results: Any) -> None:
        self.make = make
        self.args = args
        self.results = results

    def at(self, size: int) -> Recipe:
        """The recipe for one size."""
        found = self.make(*at_size(self.args, size))
        if found is None:
            raise SizePinned("there are no kernels for this batch size")
        return found


def prepared(make: Callable[..., Recipe | None], *args: Any) -> Recipe | SizedRecipe | None:
    """``make(*args)``, the recipe for these sizes; None if there is none."""
    environment = environment_in(args)
    if environment is None:
        return make(*args)
    found = [make(*at_size(args, size)) for size in environment.points]
    recipes = [recipe for recipe in found if recipe is not None]
    if len(recipes) != len(found):
        return None
    names = [name for name, _ in recipes[0].results]
    shapes = joined_numbers(environment, [
        tuple([shape for _, shape in recipe.results]) for recipe in recipes])
    return SizedRecipe(make, args, tuple(zip(names, shapes, strict=True)))


def made_by(
    lowering: Lowering, label: str, recipe: Recipe | SizedRecipe, views: Sequence[View]
) -> View:
    """What a recipe makes of operands; those that don't lie in C order are copied."""
    return all_made_by(lowering, label, recipe, views)[0]


def all_made_by(
    lowering: Lowering, label: str, recipe: Recipe | SizedRecipe, views: Sequence[View]
) -> tuple[View, ...]:
    """The same, for recipes of several results."""
    views = [view if _is_dense(view) else lowering.copied(view) for view in views]
    outs = [lowering.new_value(shape, views[0].dtype) for _, shape in recipe.results]
    lowering.add(Prepared(label, recipe, views, outs))
    return tuple(map(View.of, outs))


def _is_dense(view: View) -> bool:
    return all(
        n == 1 or have == usual for n, have, usual in zip(
            view.shape, view.strides, contiguous(view.shape), strict=True))


def launches_of_recipe(operation: Prepared) -> tuple[list[Launch], list[Value]]:
    """The launches, and the scratch memory that they need besides."""
    recipe, out = operation.recipe, operation.out
    names = [name for name, _ in recipe.results]
    memory = [Value(f"{out}.scratch{i}", (size,), out.dtype)
              for i, size in enumerate(recipe.scratch)]
    named: dict[str | int, Address] = {
        **dict(zip(names, map(Address, operation.outs), strict=True)),
        **{number: Address(value) for number, value in enumerate(memory)}}
    for name, view in zip(recipe.operands, operation.views, strict=True):
        named[name] = Address(view.value, view.offset)

    def address(item: str | int | np.ndarray) -> Address:
        if not isinstance(item, np.ndarray):
            return named[item]
        table = Value("table", item.shape, item.dtype)
        table.constant = item
        return Address(table)

    views = ", ".join(map(repr, operation.views))
    return [
        Launch(stage.kernel, stage.kernel.build, [*map(address, stage.arrays), *stage.words],
               stage.tasks, stage.grain,
               f"{operation.label} {out} = {views}: {stage.text}")
        for stage in recipe.stages
    ], memory
