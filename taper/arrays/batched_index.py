"""Reading and writing parts of batched arrays: what NumPy's brackets mean for each sample.

An index of ints, slices and None is put behind the hidden axis. Where arrays of positions take
part, those of all samples are joined: if the positions are batched, too, the hidden axis is indexed
by `arange(samples)`. NumPy puts dimensions made by arrays in front if a slice stands between them;
the hidden axis must not change that, so they are moved to where one sample has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.batched import BatchedArray
from taper.arrays.levels import in_place_error, shapes_error

__all__ = ["placed", "read", "write"]

_ALL = slice(None)
_BASIC = (int, slice, type(None), type(Ellipsis), np.integer)


class Place:
    """An index of the array of all samples, and how what it names lies beside the logical one.

    Attributes:
        index: for `inner`, a tuple.
        source: axes of ``inner[index]`` in the order that the result has them; None for as it is.
    """

    __slots__ = ("index", "source")

    def __init__(self, index: tuple[Any, ...], source: tuple[int, ...] | None = None) -> None:
        self.index = index
        self.source = source


def read(array: BatchedArray, index: Any) -> BatchedArray:
    """``array[index]`` of each sample; `index` may be batched on younger levels, too."""
    parts = index if type(index) is tuple else (index,)
    younger = _younger(array, parts)
    if younger is not None:
        return _expanded(array, younger)[index]  # type: ignore[no-any-return]
    place = placed(array, parts)
    found = array.inner[place.index]
    if place.source is not None:
        found = found.transpose(place.source)
    return BatchedArray(found, array.level)


def write(array: BatchedArray, index: Any, value: Any) -> None:
    """``array[index] = value`` of each sample."""
    level = array.level
    parts = index if type(index) is tuple else (index,)
    if _younger(array, (*parts, value)) is not None:
        raise in_place_error()
    inner = array.inner
    if inner.shape[0] > 1 and inner.strides[0] == 0 and inner.size:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )
    if len(parts) == 1 and _is_mask(parts[0]) and type(parts[0]) is BatchedArray:
        _write_masked(array, parts[0], value)
        return
    place = placed(array, parts)
    if type(value) is not BatchedArray or value.level is not level:
        if place.source is None:
            inner[place.index] = value
            return
        value = np.asarray(value) if not hasattr(value, "shape") else value
        given, batched = value, False
    else:
        given, batched = value.inner, True
    shape = inner[place.index].shape
    logical = shape[1:] if place.source is None else tuple([shape[d] for d in place.source[1:]])
    extra = value.ndim - len(logical)
    if extra > 0:  # NumPy lets values have more dimensions of size 1
        if any(n != 1 for n in value.shape[:extra]):
            raise ValueError(
                f"could not broadcast input array from shape {value.shape} into shape {logical}"
            )
        given = given.reshape(((given.shape[0],) if batched else ()) + value.shape[extra:])
    elif batched and extra:
        given = given.reshape((given.shape[0], *(1,) * -extra, *value.shape))
    if place.source is not None:
        given = np.broadcast_to(given, (inner.shape[0], *logical))
        back = sorted(range(len(place.source)), key=place.source.__getitem__)
        given = given.transpose(back)
    inner[place.index] = given


def _write_masked(array: BatchedArray, mask: BatchedArray, value: Any) -> None:
    """Writes where a mask of each sample's own says so; one value for all places."""
    if getattr(value, "ndim", 0):
        raise shapes_error("masked_scatter")
    shown = mask.inner.reshape(mask.inner.shape + (1,) * (array.ndim - mask.ndim))
    if type(value) is BatchedArray and value.level is array.level:
        value = value.inner.reshape((-1, *(1,) * array.ndim))
    np.copyto(array.inner, value, where=shown, casting="unsafe")


def _younger(array: BatchedArray, values: tuple[Any, ...]) -> Any:
    """The youngest level among `values`, if it is younger than the array's."""
    level = array.level
    for value in values:
        if type(value) is BatchedArray and value.level.number > level.number:
            level = value.level
    return None if level is array.level else level


def _expanded(array: Any, level: Any) -> BatchedArray:
    """An array that is the same for all samples of a level."""
    return BatchedArray(np.broadcast_to(array, (level.size, *array.shape)), level)


def _is_mask(part: Any) -> bool:
    dtype = getattr(part, "dtype", None)
    return dtype is not None and dtype.kind == "b" and bool(part.ndim)


def placed(array: BatchedArray, parts: tuple[Any, ...]) -> Place:
    """Where an index is in the array of all samples."""
    if all([isinstance(p, _BASIC) for p in parts]):
        # Without a trailing Ellipsis, NumPy would make numbers of what names single elements.
        return Place((_ALL, *parts) if Ellipsis in parts else (_ALL, *parts, ...))
    return _advanced(array, _spelled_out(parts, array.ndim))


def _spelled_out(parts: tuple[Any, ...], ndim: int) -> list[Any]:
    """The index with one entry for each dimension: no Ellipsis, masks as positions."""
    result: list[Any] = []
    named = 0
    for part in parts:
        if part is None or part is Ellipsis:
            result.append(part)
        elif _is_mask(part):
            if type(part) is BatchedArray:
                raise shapes_error("nonzero")
            result.extend(np.nonzero(part))
            named += part.ndim
        else:
            result.append(np.asarray(part) if isinstance(part, (list, bool, np.bool_)) else part)
            named += 0 if isinstance(part, (bool, np.bool_)) else 1
    for i, part in enumerate(result):
        if part is Ellipsis:
            result[i : i + 1] = [_ALL] * (ndim - named)
            break
    else:
        result += [_ALL] * (ndim - named)
    return result


def _advanced(array: BatchedArray, parts: list[Any]) -> Place:
    level = array.level
    positions = [i for i, p in enumerate(parts) if p is not None and type(p) is not slice]
    shape = np.broadcast_shapes(*[np.shape(parts[i]) for i in positions])
    batched = any([type(parts[i]) is BatchedArray and parts[i].level is level for i in positions])
    together = positions[-1] - positions[0] == len(positions) - 1
    width, before = len(shape), positions[0] if together else 0
    rest = sum([1 for p in parts if p is None or type(p) is slice])
    if not batched:
        index = (_ALL, *parts)
        if together:
            return Place(index)
        # NumPy puts what the arrays make before the hidden axis.
        return Place(index, (width, *range(width), *range(width + 1, width + 1 + rest)))
    lifted: list[Any] = [np.arange(level.size).reshape((-1, *(1,) * width))]
    for part in parts:
        if type(part) is BatchedArray and part.level is level:
            inner = part.inner
            part = inner.reshape((inner.shape[0], *(1,) * (width - part.ndim), *part.shape))
        lifted.append(part)
    if not before:
        return Place(tuple(lifted))
    # What the arrays make stands behind the hidden axis now, `before` dimensions too early.
    moved = range(1, width + 1)
    source = (0, *range(width + 1, width + 1 + before), *moved,
              *range(width + 1 + before, width + 1 + rest))
    return Place(tuple(lifted), source)
