"""Runs an optimizer's update rule over many parameters: joined, cut into blocks, or on tensors.

A rule is a pure function ``rule(param, grad, *states, **settings) -> (param, *states)`` made of
elementwise arithmetic. It is written once and runs on whatever it is given:

- a kernel, where there is one, updates a parameter in one pass (kernels/native_updates.py);
- otherwise small parameters are joined into one flat array, so that the cost of a NumPy call is
  paid once for all of them;
- large ones are computed by a native kernel made from the rule, or, until there is one, cut into
  blocks that stay in the processor's cache;
- parameters that aren't plain arrays (``differentiable=True``, meta) run as they are; while a step
  is recorded, what they are made of does.

Rules use operators and the few functions below, which take arrays and tensors alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

import taper
from taper import Tensor

__all__ = [
    "absolute", "apply_rule", "clip", "maximum", "sign", "where", "with_decay",
    "with_decay_or_apart",
]

if TYPE_CHECKING:
    from taper.kernels.native_updates import Update

Rule = Callable[..., tuple[Any, ...]]

# Elements per block: seven float32 arrays of this size fit a 1 MiB second-level cache.
_BLOCK = 16384
_FIRST_NATIVE = 8  # calls; a program of a few steps does without what kernels need
_calls = count()
_PLAIN = {np.ndarray}
_COMPUTED_IN = frozenset([np.dtype(np.float32), np.dtype(np.float64)])


def absolute(x: Any) -> Any:
    """The absolute value of an array or tensor."""
    return x.abs() if isinstance(x, Tensor) else np.absolute(x)


def sign(x: Any) -> Any:
    """The sign of each element of an array or tensor."""
    return x.sign() if isinstance(x, Tensor) else np.sign(x)


def maximum(x: Any, y: Any) -> Any:
    """The larger element of two arrays or tensors."""
    return taper.maximum(x, y) if isinstance(x, Tensor) else np.maximum(x, y)


def clip(x: Any, low: float, high: float) -> Any:
    """An array or tensor with its elements limited to a range."""
    return x.clamp(low, high) if isinstance(x, Tensor) else np.minimum(np.maximum(x, low), high)


def where(condition: Any, x: Any, y: Any) -> Any:
    """Elements of `x` where the condition holds, else of `y`; for arrays and tensors."""
    return taper.where(condition, x, y) if isinstance(x, Tensor) else np.where(condition, x, y)


def with_decay(param: Any, grad: Any, weight_decay: Any, maximize: bool) -> Any:
    """The gradient to descend along: negated to climb, and with the parameter's own share."""
    if maximize:
        grad = -grad
    if isinstance(weight_decay, (int, float)) and weight_decay == 0:
        return grad
    return grad + weight_decay * param


def with_decay_or_apart(
    param: Any, grad: Any, weight_decay: float, maximize: bool, decoupled: bool, lr: Any
) -> tuple[Any, Any]:
    """(param, grad): the decay is added to the gradient, or shrinks the parameter by itself."""
    if not decoupled:
        return param, with_decay(param, grad, weight_decay, maximize)
    grad = -grad if maximize else grad
    return param * (1 - lr * weight_decay) if weight_decay != 0 else param, grad


def apply_rule(
    rule: Rule, rows: Sequence[Sequence[Tensor]], *, differentiable: bool = False, **settings: Any
) -> None:
    """Applies `rule` to each row ``(param, grad, *states)``, writing its results in place."""
    if not rows:
        return
    if differentiable:
        for row in rows:
            _apply_to_tensors(rule, row, True, settings)
        return
    tensors = list(zip(*rows, strict=True))
    columns = [[tensor._array for tensor in column] for column in tensors]
    update = None
    if type(columns[0][0]) is np.ndarray and next(_calls) >= _FIRST_NATIVE:
        update = _find_update(rule, len(columns), columns[0][0].dtype, settings)
    if update is not None:
        rows = _apply_natively(update, rows, columns)
        if not rows:
            return
        tensors = list(zip(*rows, strict=True))
        columns = [[tensor._array for tensor in column] for column in tensors]
    with np.errstate(all="ignore"):
        if _are_small_and_alike(columns):
            _apply_joined(rule, columns, settings)
        else:
            _apply_by_kind(rule, rows, columns, settings)
            return
    for column in _without_grad(tensors):
        for tensor in column:
            tensor._bump_version()


def _find_update(rule: Rule, count: int, dtype: Any, settings: dict[str, Any]) -> Update | None:
    from taper.kernels.native_updates import find_update

    return find_update(rule, count, dtype, settings)


def _apply_natively(
    update: Update, rows: Sequence[Sequence[Tensor]], columns: list[list[Any]]
) -> list[Sequence[Tensor]]:
    """Updates the rows that a kernel takes, and returns the others."""
    rest = []
    for row, arrays in zip(rows, zip(*columns, strict=True), strict=True):
        if update.apply(arrays):
            for tensor in _without_grad(row):
                tensor._bump_version()
        else:
            rest.append(row)
    return rest


def _without_grad(row: Sequence[Any]) -> Sequence[Any]:
    """What a rule returns new values for: everything in the row but the gradient."""
    return (row[0], *row[2:])


def _are_small_and_alike(columns: list[list[Any]]) -> bool:
    """Whether all arrays are plain, of one dtype to compute in, and together fit a block."""
    dtypes = set()
    for column in columns:
        if {*map(type, column)} != _PLAIN:
            return False
        dtypes.update([array.dtype for array in column])
    return (
        len(dtypes) == 1 and not dtypes.isdisjoint(_COMPUTED_IN)
        and sum([array.size for array in columns[0]]) <= _BLOCK
    )


def _apply_joined(rule: Rule, columns: list[list[np.ndarray]], settings: dict[str, Any]) -> None:
    """Joins each column into one flat array for the rule, and hands its results out again."""
    flat = [[array.ravel() for array in column] for column in columns]
    values = rule(*[np.concatenate(column) for column in flat], **settings)
    for column, pieces, value in zip(
        _without_grad(columns), _without_grad(flat), values, strict=True
    ):
        start = 0
        for array, piece in zip(column, pieces, strict=True):
            end = start + piece.size
            if piece.base is None:  # a copy, because the array isn't contiguous
                array.flat = value[start:end]
            else:
                piece[:] = value[start:end]
            start = end


def _apply_by_kind(
    rule: Rule, rows: Sequence[Sequence[Tensor]], columns: list[list[Any]],
    settings: dict[str, Any],
) -> None:
    """The same for rows of all sizes, dtypes and kinds of arrays: small ones are still joined."""
    joined: dict[Any, list[Any]] = {}
    for row, *arrays in zip(rows, *columns, strict=True):
        dtype = arrays[0].dtype
        if any(type(array) is not np.ndarray or array.dtype != dtype for array in arrays):
            if not _apply_recorded(rule, row, arrays, settings):
                _apply_to_tensors(rule, row, False, settings)
            continue
        if arrays[0].size > _BLOCK // 4 or dtype not in _COMPUTED_IN:
            _apply_in_blocks(rule, arrays, settings)
        else:
            waiting = joined.setdefault(dtype, [])
            if sum(waits[0].size for waits in waiting) + arrays[0].size > _BLOCK:
                _apply_joined(rule, list(map(list, zip(*waiting, strict=True))), settings)
                waiting.clear()
            waiting.append(arrays)
        for tensor in _without_grad(row):
            tensor._bump_version()
    for waiting in joined.values():
        _apply_joined(rule, list(map(list, zip(*waiting, strict=True))), settings)


def _apply_in_blocks(rule: Rule, arrays: list[np.ndarray], settings: dict[str, Any]) -> None:
    flat = _flattened(arrays)
    if flat is not None and flat[0].size > _BLOCK and flat[0].dtype in _COMPUTED_IN:
        update = _find_update(rule, len(flat), flat[0].dtype, settings)
        if update is not None and update.apply(flat):
            return
    if flat is None:
        blocks: Iterable[list[np.ndarray]] = [arrays]
    else:
        blocks = ([a[i:i + _BLOCK] for a in flat] for i in range(0, flat[0].size, _BLOCK))
    for block in blocks:
        values = rule(*[_computable(array) for array in block], **settings)
        for array, value in zip(_without_grad(block), values, strict=True):
            array[...] = value if array.dtype.kind != "c" else _from_pairs(value, array)


def _flattened(arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """One-dimensional views of the arrays in a common order of elements, or None.

    The arrays that are written to must be dense; the gradient may be copied into their order.
    """
    param = arrays[0]
    if not param.flags.c_contiguous:
        arrays = [array.T for array in arrays]
    if not all(array.flags.c_contiguous for array in _without_grad(arrays)):
        return None
    return [array.reshape(-1) for array in arrays]


def _computable(array: np.ndarray) -> np.ndarray:
    """The array as the rule wants it: complex numbers as pairs, short floats as float32."""
    dtype = array.dtype
    if dtype.kind == "c":
        real = np.dtype(f"f{dtype.itemsize // 2}")
        return array.view(real) if array.ndim == 1 else _as_pairs(array, real)
    return array.astype(np.float32) if dtype.itemsize < 4 else array


def _as_pairs(array: np.ndarray, real: np.dtype[Any]) -> np.ndarray:
    """A complex array of any shape as real numbers with a trailing axis of length 2."""
    return np.stack([array.real, array.imag], axis=-1).astype(real, copy=False)


def _from_pairs(pairs: np.ndarray, like: np.ndarray) -> np.ndarray:
    """What `_computable` made pairs of, as complex numbers again."""
    values = pairs.view(like.dtype)
    return values if like.ndim == 1 else values[..., 0]


def _apply_recorded(
    rule: Rule, row: Sequence[Tensor], arrays: list[Any], settings: dict[str, Any]
) -> bool:
    """Updates a recorded row array by array, which takes a third of the time that operators take;
    tells whether it is such a row, of dense tensors of one dtype that own their memory."""
    from taper.arrays.traced import TracedArray

    dtype = arrays[0].dtype
    if dtype not in _COMPUTED_IN or any([
        type(array) is not TracedArray or array.dtype != dtype or 0 in array.strides
        for array in arrays
    ]) or any([array.owner is not None for array in _without_grad(arrays)]) or any([
        isinstance(value, Tensor) for value in settings.values()
    ]):
        return False
    values = rule(*arrays, **settings)
    for tensor, array, value in zip(
        _without_grad(row), _without_grad(arrays), values, strict=True
    ):
        array[...] = value
        tensor._bump_version()
    return True


def _apply_to_tensors(
    rule: Rule, row: Sequence[Tensor], differentiable: bool, settings: dict[str, Any]
) -> None:
    with taper.set_grad_enabled(differentiable):
        values = [taper.view_as_real(t) if t.is_complex() else t for t in row]
        if differentiable:  # what the rule saves for its backward must outlive the writing below
            values = [value.clone() for value in values]
        results = rule(*values, **settings)
        for tensor, value in zip(_without_grad(row), results, strict=True):
            tensor.copy_(taper.view_as_complex(value) if tensor.is_complex() else value)
