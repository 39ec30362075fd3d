"""`vmap`: a function of one sample becomes a function of many, without a loop.

The arguments' arrays get a hidden axis (arrays/batched.py), so each operation in the function runs
once for all samples. How tensors enter and leave, and what the tape does about it, is in
ops/batch_dims.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taper.arrays.batched import BatchedArray
from taper.arrays.levels import Level
from taper.autograd.node import next_sequence
from taper.core.tensor import Tensor, wrap
from taper.func.tree import LEAF, Structure, flatten, spread, unflatten
from taper.ops.batch_dims import enter, hand_back, has_level, leave
from taper.ops.declare import OPERATORS
from taper.random import get_rng_state, set_rng_state

__all__ = ["debug_unwrap", "vmap"]


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Returns a function that maps `func` over a dimension of its inputs, all samples at once.

    Args:
        in_dims: the dimension of each input to map over, None for inputs that all samples share:
            one int, or a tree as the arguments are. Keyword arguments are shared.
        out_dims: where the samples lie in the outputs: one int, or a tree as the outputs are.
        randomness: "error" forbids random operations; with "different" each sample draws its own
            numbers, with "same" all have the same.
        chunk_size: compute so many samples at once, to save memory. Default: all.
    Example:
        >>> import taper as torch
        >>> torch.vmap(torch.dot)(torch.tensor([[1., 2.], [3., 4.]]), torch.ones(2, 2))
        tensor([3., 7.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )
    if chunk_size is not None and not chunk_size > 0:
        raise ValueError(
            f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})"
        )

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        size, dims, flat, structure = _checked_inputs(func, in_dims, args)
        call = _Call(func, out_dims, randomness, structure, kwargs)
        if chunk_size is None or chunk_size >= size:
            return call.mapped(flat, dims, size)
        return _in_chunks(call, flat, dims, size, chunk_size)

    return wrapped


def name_of(func: Callable[..., Any]) -> str:
    """A function's name, as messages show it."""
    return getattr(func, "__name__", None) or repr(func)


# -- what goes in ----------------------------------------------------------------------------------


def _checked_inputs(
    func: Callable[..., Any], in_dims: Any, args: tuple[Any, ...]
) -> tuple[int, list[Any], list[Any], Structure]:
    """The number of samples, the dimension of each leaf of the arguments, and the leaves."""
    def wrong(what: str) -> ValueError:
        return ValueError(f"vmap({name_of(func)}, in_dims={in_dims}, ...)(<inputs>): {what}")

    if not isinstance(in_dims, (int, tuple, list)):
        raise wrong(
            "expected `in_dims` to be int or a (potentially nested) tuple matching the structure "
            f"of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name_of(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or "
            "you are trying to vmap over a function with no inputs. The latter is unsupported."
        )
    flat, structure = flatten(args)
    dims = spread(tuple(in_dims) if isinstance(in_dims, list) else in_dims, structure)
    if dims is None:
        raise wrong(
            "in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{flatten(in_dims)[1]} but inputs has structure {structure}."
        )
    sizes = []
    for i, (value, dim) in enumerate(zip(flat, dims, strict=True)):
        if dim is None:
            continue
        if not isinstance(dim, int):
            raise wrong(
                f"Got in_dim={dim} for an input but in_dim must be either an integer dimension or "
                "None."
            )
        if not isinstance(value, Tensor):
            raise wrong(
                f"Got in_dim={dim} for an input but the input is of type {type(value)}. We cannot "
                "vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        ndim = value._array.ndim
        if not -ndim <= dim < ndim:
            raise wrong(
                f"Got in_dim={dim} for some input, but that input is a Tensor of dimensionality "
                f"{ndim} so expected in_dim to satisfy -{ndim} <= in_dim < {ndim}."
            )
        dims[i] = dim % ndim
        sizes.append(value._array.shape[dim])
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any(n != sizes[0] for n in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0], dims, flat, structure


# -- one call --------------------------------------------------------------------------------------


class _Call:
    """One call of a mapped function: what is the same for all chunks of samples."""

    def __init__(
        self, func: Callable[..., Any], out_dims: Any, randomness: str, structure: Structure,
        kwargs: dict[str, Any],
    ) -> None:
        self.func = func
        self.out_dims = out_dims
        self.randomness = randomness
        self.structure = structure
        self.kwargs = kwargs

    def mapped(self, flat: list[Any], dims: list[Any], size: int) -> Any:
        """Runs the function on all samples of these arguments at once."""
        outputs, structure, _ = self.outputs(flat, dims, size)
        return unflatten(outputs, structure)

    def outputs(
        self, flat: list[Any], dims: list[Any], size: int
    ) -> tuple[list[Any], Structure, list[Any]]:
        """The leaves of the result, their structure and the dimensions of the samples in them."""
        with Level(size, self.randomness, next_sequence()) as level:
            entered = [
                value if dim is None else enter(value, dim, level)
                for value, dim in zip(flat, dims, strict=True)
            ]
            flat_args = all([part is LEAF for part in self.structure.parts])
            args = entered if flat_args else unflatten(entered, self.structure)
            result = self.func(*args, **self.kwargs)
            leaves, structure = flatten(result)
            places = self._out_dims(leaves, structure)
            left = [self._left(value, dim, level)
                    for value, dim in zip(leaves, places, strict=True)]
            for outside, inside, dim in zip(flat, entered, dims, strict=True):
                if dim is not None and inside._edge is not None:
                    hand_back(outside, inside, dim, level)
        return left, structure, places

    def _out_dims(self, leaves: list[Any], structure: Structure) -> list[Any]:
        out_dims = self.out_dims
        if isinstance(out_dims, int) and structure.kind is None:
            return [out_dims]
        if structure is LEAF and isinstance(out_dims, tuple) and len(out_dims) == 1:
            out_dims = out_dims[0]  # a lone output, with its dimension in a tuple
        places = spread(out_dims, structure)
        if any([not (d is None or isinstance(d, int)) for d in flatten(out_dims)[0]]):
            raise ValueError(
                f"vmap({name_of(self.func)}, ..., out_dims={self.out_dims}): `out_dims` must be an "
                "int, None or a python collection of ints representing where in the outputs the "
                "vmapped dimension should appear."
            )
        if places is None:
            raise ValueError(
                f"vmap({name_of(self.func)}, ..., out_dims={self.out_dims})(<inputs>): out_dims is "
                "not compatible with the structure of `outputs`. out_dims has structure "
                f"{flatten(self.out_dims)[1]} but outputs has structure {structure}."
            )
        return places

    def _left(self, value: Any, dim: Any, level: Level) -> Any:
        if dim is None:
            if isinstance(value, Tensor) and has_level(value._array, level):
                name = name_of(self.func)
                raise ValueError(
                    f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is "
                    "None"
                )
            return value
        if not isinstance(value, Tensor):
            name = name_of(self.func)
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(value)}. "
                "Did you mean to set out_dims= to None for output?"
            )
        ndim = value._array.ndim + 1
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but "
                f"got {dim})"
            )
        return leave(value, dim % ndim, level)


# -- in chunks -------------------------------------------------------------------------------------


def _in_chunks(
    call: _Call, flat: list[Any], dims: list[Any], size: int, chunk_size: int
) -> Any:
    """Maps so many samples at a time and joins what comes out."""
    pieces: list[list[Any]] = []
    state = get_rng_state() if call.randomness == "same" else None
    for begin in range(0, size, chunk_size):
        if state is not None:
            set_rng_state(state)
        count = min(chunk_size, size - begin)
        chunk = [
            value if dim is None else value.narrow(dim, begin, count)
            for value, dim in zip(flat, dims, strict=True)
        ]
        leaves, structure, places = call.outputs(chunk, dims, count)
        pieces.append(leaves)
    joined = [
        column[0] if dim is None else OPERATORS["cat"](column, dim)
        for column, dim in zip(zip(*pieces, strict=True), places, strict=True)
    ]
    return unflatten(joined, structure)


# -- looking inside --------------------------------------------------------------------------------


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """Returns, for a tensor inside a vmap, that of all samples; for debugging only.

    Args: recurse: through all vmaps, not just the innermost.
    """
    array = tensor._array
    while type(array) is BatchedArray:
        array = array.inner
        if not recurse:
            break
    return tensor if array is tensor._array else wrap(array)
