"""Attention: scaled_dot_product_attention and multi_head_attention_forward."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.promotion import cpp_type_name
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor, wrap
from taper.kernels import attention as kernel
from taper.ops.declare import composite, operator
from taper.ops.namespace import find
from taper.ops.signature import Truth


def _joined(array: Any, batch: tuple[int, ...]) -> Any:
    """The array with its leading dimensions, broadcast to `batch`, as one."""
    if array.shape[:-2] != batch:
        array = np.broadcast_to(array, (*batch, *array.shape[-2:]))
    return array.reshape(math.prod(batch), *array.shape[-2:])


def _joined_mask(mask: Any, batch: tuple[int, ...], dtype: Any) -> Any:
    """A mask as numbers to add to scores, with at most one leading dimension."""
    if mask is None:
        return None
    if mask.dtype.kind == "b":
        mask = np.where(mask, dtype.type(0), dtype.type(-math.inf))
    mask = mask.astype(dtype, copy=False)
    mask = mask.reshape(*(1,) * (len(batch) + 2 - mask.ndim), *mask.shape)
    if all(n == 1 for n in mask.shape[:-2]):
        return mask.reshape(1, *mask.shape[-2:])
    return _joined(mask, batch)


def _are_heads(*arrays: Any) -> bool:
    """Whether ndarrays are heads of equal batches, which the kernel reads where they lie."""
    lead = arrays[0].shape[:2]
    return all(type(a) is np.ndarray and a.ndim == 4 and a.shape[:2] == lead for a in arrays)


@lru_cache(maxsize=64)
def _default_scale(size: int) -> float:
    """The scale of queries of a size; one object, as plans of calls have it."""
    return 1.0 / math.sqrt(size) if size else 1.0


@operator(
    hidden=True, upcast=True, kinds="f", aux=("logsum",),
    node="ScaledDotProductFlashAttentionForCpuBackward0",
)
def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Any, causal: bool, scale: float
) -> Tensor:
    if mask is None and _are_heads(query, key, value):
        return kernel.attention(query, key, value, None, causal, scale)
    batch = broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    given = None if mask is None else mask._array
    if given is not None and given.ndim > 2:
        batch = broadcast_shapes(batch, given.shape[:-2])
    result, logsum = kernel.attention(
        _joined(query, batch), _joined(key, batch), _joined(value, batch),
        _joined_mask(given, batch, query.dtype), causal, scale,
    )
    return result.reshape(*batch, *result.shape[1:]), logsum


@attend.derivative("query", "key", "value")
def _(grad, result, query, key, value, logsum, needs, mask, causal, scale):
    kind = query.dtype
    grad, query, key, value = (_widened(t) for t in (grad, query, key, value))
    arrays = [t._array for t in (grad, result, query, key, value)]
    batch = arrays[1].shape[:-2]
    # The kernel's way takes the result, which half precision has rounded too much for that.
    is_plain = kind.itemsize > 2 and all(a.shape[:-2] == batch for a in arrays)
    if is_plain and not is_differentiated():
        logsums = logsum._array
        if mask is None and _are_heads(*arrays, logsums):
            wanted, out, q, k, v = arrays
            given = None
        else:
            wanted, out, q, k, v = (_joined(a, batch) for a in arrays)
            given = _joined_mask(None if mask is None else mask._array, batch, q.dtype)
            if logsums.ndim > 3:
                logsums = _joined(logsums, batch)
        found = kernel.attention_gradient(wanted, q, k, v, given, out, logsums, causal, scale)
        return tuple([
            wrap(g.reshape(a.shape)) for g, a in zip(found, arrays[2:], strict=True)
        ])
    weights = _weights(query, key, mask, causal, scale)
    for_weights = grad @ value.transpose(-2, -1)
    for_scores = weights * (for_weights - (for_weights * weights).sum(-1, True)) * scale
    return (
        (for_scores @ key).sum_to_size(query.shape).to(kind),
        (for_scores.transpose(-2, -1) @ query).sum_to_size(key.shape).to(kind),
        (weights.transpose(-2, -1) @ grad).sum_to_size(value.shape).to(kind),
    )


def _widened(t: Tensor) -> Tensor:
    """In float32 if it is in half precision, in which sums of products lose too many digits."""
    return t.float() if t._array.dtype.itemsize == 2 else t


def _weights(query: Tensor, key: Tensor, mask: Any, causal: bool, scale: float) -> Tensor:
    """The attention weights, as a recorded computation."""
    scores = (query @ key.transpose(-2, -1)) * scale
    if causal:
        shape = scores._array.shape[-2:]
        scores = scores.masked_fill(wrap(~np.tri(*shape, dtype=np.bool_)), -math.inf)
    if mask is not None and mask._array.dtype.kind == "b":
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1)
    if mask is None:
        return weights
    hidden = (scores._array == -math.inf).all(-1, keepdims=True)
    return weights.masked_fill(wrap(hidden), 0.0) if hidden.any() else weights


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    q, k, v = (t._array for t in (query, key, value))
    if not q.dtype == k.dtype == v.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{cpp_type_name(query.dtype)} key.dtype: {cpp_type_name(key.dtype)} and "
            f"value.dtype: {cpp_type_name(value.dtype)} instead."
        )
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{q.ndim} key.dim: {k.ndim} and value.dim: {v.ndim} instead."
        )
    if mask is not None:
        kind = mask._array.dtype
        if kind.kind != "b" and kind != q.dtype and str(kind) != "float32":
            raise RuntimeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
                f"attn_mask.dtype: {cpp_type_name(mask.dtype)} and  query.dtype: "
                f"{cpp_type_name(query.dtype)} instead."
            )
    if q.dtype.kind in "iub":
        raise RuntimeError(f"expected scalar type Float but found {query.dtype.name}")
    if q.shape[-1] != k.shape[-1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{q.shape[0]}, "
            f"{q.shape[-1]}] but got: [{k.shape[0]}, {k.shape[-1]}]."
        )


@composite("nn.functional.scaled_dot_product_attention")
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    r"""Mixes values by how well keys fit queries: :math:`\mathrm{softmax}(q k^T s + m)\, v`.

    Args:     attn_mask: False where a query must not see a key, or numbers to add to the scores;
        dropout_p: the probability with which weights are dropped;  is_causal: queries see keys up
        to their own place;  scale: default :math:`1 / \sqrt{E}`;  enable_gqa: several heads of
        the query share one of the key
    Shape:    query (*, L, E), key (*, S, E), value (*, S, F), attn_mask (*, L, S) → (*, L, F)
    Source:   Vaswani et al., Attention Is All You Need, 2017.
    Example:
        >>> import taper as torch
        >>> q = torch.tensor([[1., 0.]])
        >>> v = torch.tensor([[1.], [3.]])
        >>> torch.nn.functional.scaled_dot_product_attention(q, torch.zeros(2, 2), v)
        tensor([[2.]])
    """
    _check(query, key, value, attn_mask)
    if enable_gqa and query._array.ndim > 2:
        key, value = (_shared_heads(query, t) for t in (key, value))
    if is_causal and attn_mask is not None:
        is_causal = False  # as PyTorch's kernel for CPUs has it: the mask wins
    if scale is None:
        scale = _default_scale(query._array.shape[-1])
    if dropout_p == 0 and (attn_mask is None or attn_mask._edge is None) and (
        query._array.dtype.kind == "f" or query._array.dtype.itemsize == 2
    ):
        return attend(query, key, value, attn_mask, is_causal, scale)
    weights = _weights(_widened(query), _widened(key), attn_mask, is_causal, scale)
    if dropout_p > 0:
        weights = find("nn.functional.dropout")(weights, dropout_p, True)
    return (weights @ _widened(value)).to(value.dtype)


def _shared_heads(query: Tensor, shared: Tensor) -> Tensor:
    heads, given = query._array.shape[-3], shared._array.shape[-3]
    if not given or heads % given:
        raise RuntimeError("Number of heads in key and value must divide the number of heads in ")
    if heads == given:
        return shared
    return shared.repeat_interleave(heads // given, -3)


# -- several heads -------------------------------------------------------------------------------


def _check_batch(
    query: Tensor, key: Tensor, value: Tensor, padding: Any, mask: Any, heads: int
) -> bool:
    """Whether the query is a batch; raises AssertionError unless everything else fits it."""
    ndim = query.dim()
    if ndim not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{ndim}-D query tensor"
        )
    words = "batched" if ndim == 3 else "unbatched"
    if key.dim() != ndim or value.dim() != ndim:
        raise AssertionError(
            f"For {words} ({ndim}-D) `query`, expected `key` and `value` to be {ndim}-D but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if padding is not None and padding.dim() != ndim - 1:
        raise AssertionError(
            f"For {words} ({ndim}-D) `query`, expected `key_padding_mask` to be `None` or "
            f"{ndim - 1}-D but found {padding.dim()}-D tensor instead"
        )
    if mask is not None:
        if mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {words} ({ndim}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D "
                f"but found {mask.dim()}-D tensor instead"
            )
        if ndim == 2 and mask.dim() == 3:
            expected = (heads, query.shape[0], key.shape[0])
            if tuple(mask.shape) != expected:
                raise AssertionError(
                    f"Expected `attn_mask` shape to be {expected} but got {tuple(mask.shape)}"
                )
    return ndim == 3


def _additive_mask(mask: Any, name: str, like: Tensor, other: Any, other_name: str) -> Any:
    """A mask as floats, from bools that are True where attention is forbidden."""
    if mask is None:
        return None
    kind = mask._array.dtype.kind
    if kind not in "bfV":
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if other is not None and other._array.dtype != mask._array.dtype and other_name:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both "
            "instead.", UserWarning, stacklevel=4,
        )
    if kind != "b":
        return mask
    dtype = like._array.dtype
    return wrap(np.where(mask._array, dtype.type(-math.inf), 0).astype(dtype))


def _projected(
    query: Tensor, key: Tensor, value: Tensor, weight: Any, bias: Any, size: int, separate: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values after their linear maps."""
    if separate is not None and any(w is None for w in separate):
        name = "qkv"[[w is None for w in separate].index(True)]
        raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
    if separate is None and weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    linear = find("nn.functional.linear")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    if separate is not None:
        return tuple(
            [linear(x, w, b) for x, w, b in zip((query, key, value), separate, biases, strict=True)]
        )
    if query is key and key is value:
        # One product for all three.
        return linear(query, weight, bias).split(size, -1)
    weights = weight.chunk(3)
    return tuple(
        [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    )


def _by_head(x: Tensor, batch: int, heads: int) -> Tensor:
    """(length, batch, heads * size) as (batch * heads, length, size)."""
    length = x._array.shape[0]
    return x.reshape(length, batch * heads, -1).transpose(0, 1)


def _one_longer(mask: Any) -> Any:
    return None if mask is None else find("nn.functional.pad")(mask, (0, 1))


@composite("nn.functional.multi_head_attention_forward")
def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None,
    bias_v: Tensor | None, add_zero_attn: Truth, dropout_p: float, out_proj_weight: Tensor,
    out_proj_bias: Tensor | None, training: Truth = True, key_padding_mask: Tensor | None = None,
    need_weights: Truth = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: Truth = False, q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: Truth = True, is_causal: Truth = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads with the linear maps around it; what nn.MultiheadAttention calls.

    Args:     masks are True, or minus infinity, where attention is forbidden;  need_weights: also
        return the attention weights, averaged over heads or not
    Shape:    query (L, N, E), key (S, N, E), value (S, N, E), without N for a single one,
        attn_mask (L, S) or (N * heads, L, S), key_padding_mask (N, S)
        → (L, N, E), weights (N, L, S)
    Example:
        >>> import taper as torch
        >>> x, eye = torch.ones(3, 1, 2), torch.eye(2)
        >>> out, weights = torch.nn.functional.multi_head_attention_forward(
        ...     x, x, x, 2, 1, eye.repeat(3, 1), None, None, None, False, 0., eye, None)
        >>> out.shape, weights[0, 0]
        (torch.Size([3, 1, 2]), tensor([0.3333, 0.3333, 0.3333]))
    """
    is_batch = _check_batch(query, key, value, key_padding_mask, attn_mask, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask."
        )
    if not is_batch:
        same_key, same_value = key is query, value is key
        query = query.unsqueeze(1)
        key = query if same_key else key.unsqueeze(1)
        value = key if same_value else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    target, batch, size = query._array.shape
    head_size = size // num_heads
    _check_sizes(size, embed_dim_to_check, num_heads, key, value, use_separate_proj_weight)
    key_padding_mask = _additive_mask(
        key_padding_mask, "key_padding_mask", query, attn_mask, "attn_mask"
    )
    hint = is_causal and key_padding_mask is None and not need_weights
    if hint:
        attn_mask = None
    else:
        attn_mask = _additive_mask(attn_mask, "attn_mask", query, None, "")
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias, size, separate)
    source = k._array.shape[0]
    if attn_mask is not None:
        attn_mask = _mask_of_heads(attn_mask, target, source, batch, num_heads)
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key.")
        cat = find("cat")
        k, v = cat([k, bias_k.repeat(1, batch, 1)]), cat([v, bias_v.repeat(1, batch, 1)])
        attn_mask, key_padding_mask = _one_longer(attn_mask), _one_longer(key_padding_mask)
    q = _by_head(q, batch, num_heads)
    k = _by_head(k, batch, num_heads) if static_k is None else static_k
    v = _by_head(v, batch, num_heads) if static_v is None else static_v
    if add_zero_attn:
        cat = find("cat")
        zeros = k.new_zeros(batch * num_heads, 1, head_size)
        k, v = cat([k, zeros], 1), cat([v, zeros], 1)
        attn_mask, key_padding_mask = _one_longer(attn_mask), _one_longer(key_padding_mask)
    source = k._array.shape[1]
    if key_padding_mask is not None:
        padding = key_padding_mask.view(batch, 1, 1, source).expand(-1, num_heads, -1, -1)
        padding = padding.reshape(batch * num_heads, 1, source)
        attn_mask = padding if attn_mask is None else attn_mask + padding
    p = dropout_p if training else 0.0
    if need_weights:
        mixed, weights = _attend_with_weights(q, k, v, attn_mask, p, head_size)
    else:
        shape = (batch, num_heads, -1, head_size)
        mixed, weights = _attend(q, k, v, attn_mask, p, hint, shape), None
    joined = mixed.transpose(0, 1).reshape(target * batch, size)
    linear = find("nn.functional.linear")
    result = linear(joined, out_proj_weight, out_proj_bias).view(target, batch, size)
    if weights is not None:
        weights = weights.view(batch, num_heads, target, source)
        if average_attn_weights:
            weights = weights.mean(1)
        if not is_batch:
            weights = weights.squeeze(0)
    return (result if is_batch else result.squeeze(1)), weights


def _check_sizes(
    size: int, expected: int, heads: int, key: Tensor, value: Tensor, is_separate: bool
) -> None:
    if size != expected:
        raise AssertionError(f"was expecting embedding dimension of {expected}, but got {size}")
    if size % heads:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {heads}")
    if is_separate:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's "
                f"{value.shape[:2]}"
            )
    elif key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")


def _mask_of_heads(mask: Tensor, target: int, source: int, batch: int, heads: int) -> Tensor:
    """A mask checked, and as three dimensions."""
    if mask.dim() == 2:
        if tuple(mask.shape) != (target, source):
            raise RuntimeError(
                f"The shape of the 2D attn_mask is {mask.shape}, but should be "
                f"{(target, source)}."
            )
        return mask.unsqueeze(0)
    if tuple(mask.shape) != (batch * heads, target, source):
        raise RuntimeError(
            f"The shape of the 3D attn_mask is {mask.shape}, but should be "
            f"{(batch * heads, target, source)}."
        )
    return mask


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, is_causal: bool,
    shape: tuple[int, ...],
) -> Tensor:
    """Attention of (batch * heads, length, size) where nobody asks for the weights."""
    if mask is not None:
        if mask._array.shape[0] == 1 and mask._array.ndim == 3:
            mask = mask.unsqueeze(0)
        else:
            mask = mask.view(*shape[:2], -1, k._array.shape[1])
    mixed = scaled_dot_product_attention(
        q.view(shape), k.view(shape), v.view(shape), mask, p, is_causal
    )
    return mixed.reshape(q._array.shape)


def _attend_with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, head_size: int
) -> tuple[Any, Any]:
    scores = (q * math.sqrt(1.0 / head_size)).bmm(k.transpose(-2, -1))
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1)
    if p > 0:
        weights = find("nn.functional.dropout")(weights, p)
    return weights.bmm(v), weights
