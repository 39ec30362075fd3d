"""Results of every operator lie in memory alike with data, without data, and while recorded.

Whether a reshape is a view depends on it, and so what a write into it changes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taper as torch
from taper.capture import record

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from operator_samples import (
    ASKED,
    BY_NAME,
    BY_SIGNATURE,
    KEYWORDS,
    PREPARE,
    Maker,
    mapped,
    required_parameters,
    results_of,
    tensors_in,
)

from taper.ops.declare import OPERATORS

pytestmark = pytest.mark.filterwarnings("ignore")


def laid(t: Any, order: Any) -> Any:
    """The same values, in memory with the dimensions in this order."""
    array = np.ascontiguousarray(t.numpy().transpose(order))
    return torch.from_numpy(array).permute(*np.argsort(order).tolist())


def transposed(t: Any) -> Any:
    return laid(t, range(t.ndim)[::-1]) if t.ndim > 1 else t


def channels_last(t: Any) -> Any:
    return laid(t, (0, *range(2, t.ndim), 1)) if t.ndim > 2 else t


def last_dim_first(t: Any) -> Any:
    return laid(t, (t.ndim - 1, *range(t.ndim - 1))) if t.ndim > 2 else t


def gaps(t: Any) -> Any:
    return t.repeat_interleave(2, -1)[..., ::2] if t.ndim else t


def transposed_with_gaps(t: Any) -> Any:
    return transposed(t).repeat_interleave(2, 0)[::2] if t.ndim else t


def expanded(t: Any) -> Any:
    return transposed(t)[:1].clone().expand(t.shape) if t.ndim > 1 else t


LAYOUTS = (
    transposed, channels_last, last_dim_first, gaps, transposed_with_gaps, expanded,
)


class Deeper(Maker):
    """Samples with more dimensions than the operator's own."""

    def __init__(self, path: str, more: tuple[int, ...]) -> None:
        super().__init__(path)
        self.more = more

    def x(self, *shape: int, low: float = -1.5, high: float = 1.5) -> Any:
        return super().x(*shape, *self.more, low=low, high=high)

    def i(self, *shape: int, high: int = 3, low: int = 0) -> Any:
        return super().i(*shape, *self.more, high=high, low=low)

    def b(self, *shape: int) -> Any:
        return super().b(*shape, *self.more)


def arguments_of(path: str) -> Iterator[Any]:
    """Samples whose tensors lie in memory in several ways: all of them, or one."""
    make = BY_NAME.get(path) or BY_SIGNATURE[required_parameters(OPERATORS[path])]
    keywords = {name: torch.tensor(value) if isinstance(value, np.ndarray) else value
                for name, value in KEYWORDS.get(path, {}).items()}
    for more in ((), (4,), (4, 5)):
        try:
            arguments = make(Deeper(path, more) if more else Maker(path)), keywords
        except (RuntimeError, ValueError, IndexError):
            continue  # this operator's tensors have no more dimensions
        for layout in LAYOUTS:
            yield mapped(layout, arguments)
        tensors = tensors_in(arguments)
        for chosen in tensors if len(tensors) > 1 else ():
            for layout in (transposed, expanded):
                yield mapped(
                    lambda t, chosen=chosen, layout=layout: layout(t) if t is chosen else t,
                    arguments)


def lies(t: Any) -> Any:
    """Strides, where they are seen: of dimensions of several elements."""
    if t.layout is not torch.strided or not t.numel():
        return tuple(t.shape)
    return tuple(t.shape), [s for n, s in zip(t.shape, t.stride(), strict=True) if n > 1]


def without_data(t: Any) -> Any:
    return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")


@pytest.mark.parametrize("path", [path for path in ASKED if not path.endswith("_")])
def test_lies_alike(path: str) -> None:
    function = OPERATORS[path].function
    prepare = PREPARE.get(path, lambda *args: args)
    found: list[Any] = []

    def step(arguments: Any) -> None:
        args, keywords = arguments
        found[:] = [lies(t) for t in results_of(function(*prepare(*args), **keywords))]

    with np.errstate(all="ignore"):
        for arguments in arguments_of(path):
            if any(t.layout is not torch.strided for t in tensors_in(arguments)):
                continue
            told = [(t.shape, t.stride()) for t in tensors_in(arguments)]
            try:
                step(arguments)
            except (RuntimeError, ValueError, IndexError, TypeError):
                continue  # not for so many dimensions, or it writes into expanded memory
            expected = list(found)
            try:
                step(mapped(without_data, arguments))
            except (NotImplementedError, RuntimeError):
                pass  # values are needed
            else:
                assert found == expected, told
            try:
                record(lambda *tensors, given=arguments: step(given), *tensors_in(arguments))
            except NotImplementedError:
                continue
            assert found == expected, told


def test_a_write_into_a_reshaped_copy_changes_nothing() -> None:
    def program(a: Any, c: Any) -> Any:
        scattered = (c + 0).select_scatter(a, 0, 1)  # lies as c does, so reshape() copies
        scattered.reshape((-1,))[...] = 1.5
        return scattered, scattered.T.reshape(-1)

    a, c = torch.zeros(2), torch.arange(6.0).reshape(2, 3).t()
    compiled = torch.compile(program)
    for _ in range(3):
        for found, expected in zip(compiled(a, c), program(a, c), strict=True):
            assert torch.equal(found, expected) and found.stride() == expected.stride()
    assert compiled.explain().graph_count


def test_windows_are_those_of_memory_as_it_lies() -> None:
    def program(x: Any) -> Any:
        y = x * 2
        return y.as_strided((2, 2), (3, 1)), y.as_strided_scatter(torch.ones(2), (2,), (1,))

    def of_gaps(x: Any) -> Any:
        return torch.as_strided_copy(x, (2, 2), (3, 1))

    wide = torch.arange(12.0).reshape(3, 4)
    for function, x in ((program, torch.arange(6.0).reshape(3, 2).t()), (of_gaps, wide[:, ::2])):
        compiled = torch.compile(function)
        for _ in range(3):
            for found, expected in zip(compiled(x), function(x), strict=True):
                assert torch.equal(found, expected)
