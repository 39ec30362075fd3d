"""Tables of rows: embedding, embedding_bag and one_hot."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core.tensor import Tensor, wrap
from taper.kernels import embedding as kernel
from taper.kernels.memory_order import in_rows
from taper.ops.argument_checks import values_known
from taper.ops.declare import composite, operator


def _check_indices(index: Any, rows: int) -> None:
    """Raises unless all indices are between 0 and `rows`."""
    if type(index) is not np.ndarray or not index.size:
        return
    if int(index.view(f"u{index.dtype.itemsize}").max()) >= rows:
        raise IndexError("index out of range in self")


_TENSOR_TYPES = {
    "float32": "FloatTensor", "float64": "DoubleTensor", "float16": "HalfTensor",
    "bfloat16": "BFloat16Tensor", "int16": "ShortTensor", "int8": "CharTensor",
    "uint8": "ByteTensor", "bool": "BoolTensor", "complex64": "ComplexFloatTensor",
    "complex128": "ComplexDoubleTensor", "int64": "LongTensor", "int32": "IntTensor",
}


def _check_index_type(function: str, index: Any) -> None:
    if index.dtype.kind == "i" and index.dtype.itemsize >= 4:
        return
    raise RuntimeError(
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long,"
        f" Int; but got torch.{_TENSOR_TYPES.get(str(index.dtype), str(index.dtype))} instead "
        f"(while checking arguments for {function})"
    )


@operator(native="native_indexing.embedding")
def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Looks up rows: `nn.functional.embedding` with its arguments in another order.

    Shape:    weight (V, D), indices (*) → (*, D)
    Example:
        >>> import taper as torch
        >>> torch.embedding(torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([1, 0]))
        tensor([[3., 4.],
                [1., 2.]])
    """
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    _check_index_type("embedding", indices)
    if not indices.flags.c_contiguous:
        indices = indices.copy()
    _check_indices(indices, weight.shape[0])
    return weight.take(indices, 0)


@embedding.derivative("weight")
def _(grad, indices, weight_shape, padding_idx, scale_grad_by_freq, sparse):
    if sparse:
        return _sparse_gradient(grad, indices, weight_shape, padding_idx)
    return embedding_gradient(grad, indices, weight_shape[0], padding_idx, scale_grad_by_freq)


def _sparse_gradient(grad: Tensor, indices: Tensor, shape: Any, padding_idx: int) -> Tensor:
    import taper

    rows = grad.reshape(-1, shape[1])
    flat = indices.reshape(-1)
    if padding_idx >= 0:
        kept = flat != padding_idx
        rows, flat = rows[kept], flat[kept]
    make = getattr(taper, "sparse_coo_tensor", None)
    if make is None:
        raise NotImplementedError(
            "embedding(): gradients of embeddings with sparse=True need sparse tensors, which are "
            "not there yet; use sparse=False"
        )
    return make(flat.unsqueeze(0), rows, tuple(shape))


@operator(
    hidden=True, upcast=True, unpromoted=("indices",), node="EmbeddingDenseBackwardBackward0"
)
def embedding_gradient(
    output_grad: Tensor, indices: Tensor, rows: int, padding_idx: int, scale_grad_by_freq: bool
) -> Tensor:
    index = indices.reshape(-1)
    wanted = output_grad.reshape(index.size, output_grad.shape[-1])
    if scale_grad_by_freq:
        counts = np.bincount(index, minlength=rows)
        wanted = wanted / counts[index][:, None].astype(wanted.dtype)
    result = kernel.add_rows(rows, index, wanted)
    if padding_idx >= 0:
        result[padding_idx] = 0
    return result


@embedding_gradient.derivative("output_grad")
def _(grad, indices, rows, padding_idx, scale_grad_by_freq):
    result = embedding(grad, indices, padding_idx)
    if scale_grad_by_freq:
        index = indices._array.reshape(-1)
        counts = np.bincount(index, minlength=rows)[indices._array]
        result = result / wrap(counts.astype(result._array.dtype)).unsqueeze(-1)
    if padding_idx >= 0:
        result = result.masked_fill((indices == padding_idx).unsqueeze(-1), 0)
    return result


@composite("embedding_renorm_")
def embedding_renorm_(
    input: Tensor, indices: Tensor, max_norm: float, norm_type: float
) -> Tensor:
    """Scales the named rows of a table, in place, to norms of at most `max_norm`.

    Example:
        >>> import taper as torch
        >>> table = torch.tensor([[3., 4.], [6., 8.]])
        >>> torch.embedding_renorm_(table, torch.tensor([1]), 1., 2.)
        tensor([[3.0000, 4.0000],
                [0.6000, 0.8000]])
    """
    if input._array.ndim != 2:
        raise RuntimeError("'self' must be 2-D")
    _check_indices(indices._array.reshape(-1).astype(np.int64), input._array.shape[0])
    kernel.limit_row_norms(input._array, indices._array, max_norm, norm_type)
    input._bump_version()
    return input


@composite("nn.functional.embedding")
def functional_embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:
    """Looks up a row of `weight` for each index.

    Args:     padding_idx: the row that gets no gradient;  max_norm: rows that are looked up are
        first scaled, in place, to a `norm_type`-norm of at most this;  scale_grad_by_freq: divide
        gradients by how often an index occurs
    Shape:    input (*), weight (V, D) → (*, D)
    Raises:   IndexError: if an index is not in the table.
    Example:
        >>> import taper as torch
        >>> table = torch.tensor([[1., 2.], [3., 4.]])
        >>> torch.nn.functional.embedding(torch.tensor([1, 0]), table)
        tensor([[3., 4.],
                [1., 2.]])
    """
    if padding_idx is None:
        padding_idx = -1
    else:
        padding_idx = _check_padding_index(padding_idx, weight)
    if max_norm is not None:
        embedding_renorm_(weight, input, max_norm, norm_type)
    return embedding(weight, input, padding_idx, scale_grad_by_freq, sparse)


def _check_padding_index(padding_idx: int, weight: Tensor) -> int:
    rows = weight._array.shape[0]
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows if rows else padding_idx


# -- bags ----------------------------------------------------------------------------------------


def _check_weight_type(bound: dict[str, Any]) -> None:
    kind = bound["weight"].dtype
    if not kind.is_floating_point:
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types: "
            f"Half, BFloat16, Float, Double; but got {bound['weight'].type()} instead (while "
            "checking arguments for embedding_bag)"
        )


@operator(
    hidden=True, node="EmbeddingBagBackward0", outputs=4, aux=("bags", "sizes"), upcast=True,
    check=_check_weight_type,
)
def pool_bags(
    weight: Tensor, indices: Tensor, offsets: Tensor, per_sample_weights: Tensor | None,
    mode: int, padding_idx: int, scale_grad_by_freq: bool,
) -> Any:
    index = indices.reshape(-1)
    _check_indices(index if index.flags.c_contiguous else index.copy(), weight.shape[0])
    count = len(offsets)
    bags = kernel.bag_numbers(offsets, index.size)
    kept = index != padding_idx if padding_idx >= 0 else None
    rows = weight.take(index, 0)
    if per_sample_weights is not None:
        rows *= per_sample_weights.reshape(-1, 1)
    if kept is not None:
        rows, used, names = rows[kept], bags[kept], index[kept]
    else:
        used, names = bags, index
    sizes = np.bincount(used, minlength=count)
    none = np.zeros(count, np.int64)
    if mode == 2:
        result, chosen = kernel.bag_maxima(rows, used, names, count)
        return result, bags, sizes, chosen, bags, sizes
    result = kernel.bag_sums(rows, used, count)
    if mode == 1:
        result /= np.maximum(sizes, 1).reshape(-1, 1).astype(result.dtype)
        return result, bags, sizes, sizes.copy(), bags, sizes
    return result, np.empty(0, np.int64), none, none.copy(), bags, sizes


@pool_bags.derivative("weight")
def _(grad, per_sample_weights, weight_shape, indices, bags, sizes, result3, mode, padding_idx,
      scale_grad_by_freq):
    if mode == 2:
        filled = (sizes > 0).unsqueeze(1).to(grad.dtype)
        return grad.new_zeros(weight_shape).scatter_add(0, result3, grad * filled)
    if mode == 1:
        grad = grad / sizes.clamp(min=1).unsqueeze(1).to(grad.dtype)
    rows = grad.index_select(0, bags)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    return embedding_gradient(
        rows, indices.reshape(-1), weight_shape[0], padding_idx, scale_grad_by_freq
    )


@pool_bags.derivative("per_sample_weights")
def _(grad, weight, per_sample_weights_shape, indices, bags, padding_idx):
    index = indices.reshape(-1)
    found = (embedding(weight, index) * grad.index_select(0, bags)).sum(1)
    if padding_idx >= 0:
        found = found.masked_fill(index == padding_idx, 0)
    return found.reshape(per_sample_weights_shape)


@composite("embedding_bag")
def embedding_bag(
    weight: Tensor, input: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False,
    mode: int = 0, sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:
    """Sums (mode 0), averages (1) or maximizes (2) the rows of bags; see the functional form.

    Returns a tuple: the pooled rows, the bag of each index, the bags' sizes, the chosen indices.
    Shape:    weight (V, D), input (n), offsets (bags) → (bags, D), …
    Example:
        >>> import taper as torch
        >>> table = torch.tensor([[1., 2.], [3., 4.]])
        >>> torch.embedding_bag(table, torch.tensor([0, 1, 1]), torch.tensor([0, 2]))[0]
        tensor([[4., 6.],
                [3., 4.]])
    """
    _check_index_type("embedding_bag", input._array)
    _check_offsets(offsets, input._array.size)
    if per_sample_weights is not None and per_sample_weights.dtype is not weight.dtype:
        types = [_TENSOR_TYPES[t.dtype.name] for t in (weight, per_sample_weights)]
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have the same type as tensor for argument "
            f"#1 'per_sample_weights'; but type torch.{types[0]} does not equal torch.{types[1]} "
            "(while checking arguments for embedding_bag)"
        )
    if include_last_offset:
        if not offsets._array.size:
            raise RuntimeError("include_last_offset: number of offsets should be at least 1")
        offsets = offsets[:-1]
    return pool_bags(
        weight, input, offsets, per_sample_weights, mode,
        -1 if padding_idx is None else _check_padding_index(padding_idx, weight),
        scale_grad_by_freq,
    )


def _check_offsets(offsets: Tensor, length: int) -> None:
    starts = offsets._array
    if not starts.size or not values_known(offsets):
        return
    if int(starts[0]) != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {int(starts[0])}"
        )
    if int(starts[-1]) > length:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {length} but got offsets[-1] of "
            f"{int(starts[-1])}"
        )
    if (starts[1:] < starts[:-1]).any():
        raise RuntimeError("offsets must not decrease")


_MODES = {"sum": 0, "mean": 1, "max": 2}


@composite("nn.functional.embedding_bag")
def functional_embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
    norm_type: float = 2, scale_grad_by_freq: bool = False, mode: Any = "mean",
    sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:
    """Looks up bags of rows and pools each bag.

    Args:     offsets: where bags begin in a flat `input`; None if its rows are the bags;
        mode: "sum", "mean" or "max";  per_sample_weights: factors for the rows, with "sum" only;
        include_last_offset: `offsets` also holds the end;  padding_idx: an index that is left out
    Shape:    input (B, N), or (N) with offsets (B); weight (V, D) → (B, D)
    Example:
        >>> import taper as torch
        >>> table = torch.tensor([[1., 2.], [3., 4.]])
        >>> torch.nn.functional.embedding_bag(torch.tensor([[0, 1], [1, 1]]), table)
        tensor([[2., 3.],
                [3., 4.]])
    """
    if weight._array.dtype.kind == "i" and input._array.dtype.kind == "f":
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag("
            "weight, input, ...)` is deprecated, and should now be `embedding_bag(input, weight, "
            "...)`.", UserWarning, stacklevel=3,
        )
        weight, input = input, weight
    if per_sample_weights is not None and input._array.shape != per_sample_weights._array.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then "
            f"it must have the same shape as the input ({input.shape})"
        )
    offsets = _read_offsets(input, offsets)
    if weight._array.ndim != 2:
        raise ValueError(
            f"weight has to be a 2D Tensor, but got Tensor of dimension {weight._array.ndim}"
        )
    if mode not in _MODES:
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    if max_norm is not None:
        embedding_renorm_(weight, input, max_norm, norm_type)
    return embedding_bag(
        weight, input.reshape(-1), offsets, scale_grad_by_freq, _MODES[mode], sparse,
        None if per_sample_weights is None else per_sample_weights.reshape(-1),
        include_last_offset, padding_idx,
    )[0]


def _read_offsets(input: Tensor, offsets: Tensor | None) -> Tensor:
    ndim = input._array.ndim
    if ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                f"of fixed length sequences. However, found offsets of type {type(offsets)}"
            )
        rows, columns = input._array.shape
        starts: Tensor = wrap(np.arange(rows, dtype=input._array.dtype) * columns)
        return starts.to(input.device)
    if ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {ndim}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets._array.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    return offsets


@operator("nn.functional.one_hot", differentiable=False, also={"tensor": "input"})
def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of zeros with a one at each index.

    Args: num_classes: the length of the rows, default: one more than the largest index
    Shape: (*) → (*, num_classes), int64
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.one_hot(torch.tensor([2, 0]))
        tensor([[0, 0, 1],
                [1, 0, 0]])
    """
    if str(input.dtype) != "int64":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not input.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return np.zeros((*input.shape, num_classes), np.int64)
    if num_classes > 0 and type(input) is not np.ndarray:
        kinds = np.add.accumulate(np.ones_like(input, shape=num_classes), -1) - 1
        return in_rows((input[..., None] == kinds).astype(np.int64))
    if int(input.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    most = int(input.max())
    if num_classes == -1:
        num_classes = most + 1
    elif most >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    result = np.zeros((input.size, num_classes), np.int64)
    result[np.arange(input.size), input.reshape(-1)] = 1
    return result.reshape(*input.shape, num_classes)
