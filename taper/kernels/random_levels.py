"""What a vmap makes of random draws: none, the same for all samples, or each sample its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from taper.arrays.levels import Level, outside, running, running_levels, running_recorder

__all__ = ["check_refilled", "for_each_sample"]

P = ParamSpec("P")
R = TypeVar("R")


def for_each_sample(kernel: Callable[P, R]) -> Callable[P, R]:
    """Decorates a kernel ``(generator, shape or arrays, …)`` that draws random numbers.

    Where each sample of a vmap is to have its own, a shape grows by the number of samples, so the
    draws are those of one larger tensor, as in PyTorch; other kernels run once per sample.
    """

    @functools.wraps(kernel)
    def drawn(*args: P.args, **options: P.kwargs) -> R:
        if not running.vmaps:
            return kernel(*args, **options)
        recorder = running_recorder()
        draw = kernel if recorder is None else functools.partial(recorder, kernel)
        if levels := running_levels():
            return _drawn(draw, levels, args, options)
        return draw(*args, **options)

    return drawn


def _drawn(
    kernel: Callable[..., Any], levels: tuple[Level, ...], args: Any, options: dict[str, Any]
) -> Any:
    from taper.arrays.batched import BatchedArray

    own = _levels_with_own_numbers(levels)
    generator, first, *rest = args
    with outside():
        if isinstance(first, (tuple, list)):
            shape = (*[level.size for level in own], *first)
            result = kernel(generator, shape, *rest, **options)
            for level in own:
                result = BatchedArray(result, level)
            return result
        return _one_by_one(kernel, own, args, options)


def _levels_with_own_numbers(levels: tuple[Level, ...]) -> list[Level]:
    if any([level.randomness == "error" for level in levels]):
        raise RuntimeError(
            "vmap: called random operation while in randomness error mode. Please either use the "
            "'same' or 'different' randomness flags on vmap or perform the randomness operation "
            "out of vmap"
        )
    return [level for level in levels if level.randomness == "different"]


def _one_by_one(kernel: Callable[..., Any], own: list[Level], args: Any, options: Any) -> Any:
    from taper.arrays.batched_rules import each_sample, youngest

    if own:
        return each_sample(
            lambda *a, **o: _one_by_one(kernel, own[:-1], a, o), own[-1], args, options)
    if youngest(args, options) is not None:
        raise RuntimeError(
            "Vmap does not currently support same randomness with a batched tensor input"
        )
    return kernel(*args, **options)


def check_refilled(array: Any) -> None:
    """Raises if a vmap runs whose samples would each fill this array with their own numbers."""
    batched = set()
    while (level := getattr(array, "level", None)) is not None:
        batched.add(level)
        array = array.inner
    if not batched.issuperset(_levels_with_own_numbers(running_levels())):
        raise RuntimeError(
            "vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will "
            "appear like same randomness. If this is necessary for your usage, make the tensor "
            "from one that is vmapped over, as by torch.empty_like()."
        )
