"""Multi-head attention: the layer, and the function it calls."""

from __future__ import annotations

import math
import warnings
from typing import Any

import taper
import taper.nn.functional as F
from taper import Tensor
from taper.nn import init
from taper.nn.modules.linear import NonDynamicallyQuantizableLinear
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter

__all__ = ["MultiheadAttention", "canonical_mask", "multi_head_attention_forward"]


def canonical_mask(
    mask: Tensor | None, mask_name: str, other_type: Any, other_name: str, target_type: Any,
    check_other: bool = True,
) -> Tensor | None:
    """A mask of numbers to add to the scores: of a bool mask, -inf where it is true."""
    if mask is None:
        return None
    if mask.dtype != taper.bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype != other_type:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type "
            "for both instead.",
            stacklevel=2,
        )
    if mask.is_floating_point():
        return mask
    return taper.zeros_like(mask, dtype=target_type).masked_fill_(mask, float("-inf"))


class MultiheadAttention(Module):
    r"""Attends from each query to all keys: :math:`\mathrm{softmax}(QK^T / \sqrt{d}) V` per head.

    Queries, keys and values are projected to `num_heads` parts of size d = embed_dim / num_heads,
    and the heads' results, side by side, to the output (Vaswani et al., 2017).

    Args:
        embed_dim (int): size of queries and outputs.
        num_heads (int): number of heads; divides embed_dim.
        dropout (float): dropout of the attention weights. Default 0.
        bias (bool): whether the projections have biases. Default True.
        add_bias_kv (bool): whether to add a learned key and value to the sequence.
        add_zero_attn (bool): whether to add a zero key and value.
        kdim, vdim (int, optional): sizes of keys and values, default: embed_dim.
        batch_first (bool): whether tensors are (N, L, E). Default False.

    Shape: query (L, N, E), key (S, N, kdim), value (S, N, vdim), or all without N →
        output (L, N, E), weights (N, L, S) or None. Masks: key_padding_mask (N, S), attn_mask
        (L, S) or (N·num_heads, L, S); true means: not to be seen; numbers are added to the scores.
    """

    __constants__ = ["batch_first"]
    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got "
                f"embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        options = {"device": device, "dtype": dtype}

        def parameter(*shape: int) -> Parameter:
            return Parameter(taper.empty(shape, **options))

        self.embed_dim = embed_dim
        self.kdim = kdim if kdim is not None else embed_dim
        self.vdim = vdim if vdim is not None else embed_dim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        if self._qkv_same_embed_dim:
            self.in_proj_weight = parameter(3 * embed_dim, embed_dim)
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = parameter(embed_dim, embed_dim)
            self.k_proj_weight = parameter(embed_dim, self.kdim)
            self.v_proj_weight = parameter(embed_dim, self.vdim)
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", parameter(3 * embed_dim) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **options)
        self.bias_k = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.bias_v = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        if self._qkv_same_embed_dim:
            init.xavier_uniform_(self.in_proj_weight)
        else:
            init.xavier_uniform_(self.q_proj_weight)
            init.xavier_uniform_(self.k_proj_weight)
            init.xavier_uniform_(self.v_proj_weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
        if self.bias_v is not None:
            init.xavier_normal_(self.bias_v)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state.setdefault("_qkv_same_embed_dim", True)
        super().__setstate__(state)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None,
        average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        transposed = self.batch_first and query.dim() == 3
        if transposed:
            # Equal arguments stay the same object: they are projected together.
            same = {id(tensor): tensor.transpose(1, 0) for tensor in (query, key, value)}
            query, key, value = (same[id(tensor)] for tensor in (query, key, value))
        output, weights = multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, training=self.training,
            key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight, k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight, average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(1, 0) if transposed else output), weights

    def merge_masks(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor
    ) -> tuple[Tensor | None, int | None]:
        """Returns one mask for both, and its type: 0 attention, 1 padding, 2 both."""
        if key_padding_mask is not None:
            mask_type, merged = 1, key_padding_mask
        else:
            mask_type, merged = None, None
        if attn_mask is not None:
            batch, length, _ = query.shape
            mask_type = 2
            if attn_mask.dim() == 3:
                expanded = attn_mask.view(batch, -1, length, length)
            else:
                expanded = attn_mask.view(1, 1, length, length).expand(
                    batch, self.num_heads, -1, -1)
            merged = expanded
            if key_padding_mask is not None:
                padding = key_padding_mask.view(batch, 1, 1, length)
                merged = expanded + padding.expand(-1, self.num_heads, -1, -1)
        return merged, mask_type


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None,
    bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
    out_proj_bias: Tensor | None, training: bool = True, key_padding_mask: Tensor | None = None,
    need_weights: bool = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Computes multi-head attention with given weights: what MultiheadAttention calls.

    Time comes first: query (L, N, E), key (S, N, …), value (S, N, …), or all without N.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    mask, padding, is_causal = _read_masks(
        attn_mask, key_padding_mask, is_causal, need_weights, query.dtype
    )
    if not batched:
        same = {id(tensor): tensor.unsqueeze(1) for tensor in (query, key, value)}
        query, key, value = (same[id(tensor)] for tensor in (query, key, value))
        padding = None if padding is None else padding.unsqueeze(0)
    length, batch, embed_dim = query.shape
    if embed_dim != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}"
        )
    if embed_dim % num_heads != 0:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = _project_separately((query, key, value), weights, in_proj_bias)
    else:
        q, k, v = _project_together(query, key, value, in_proj_weight, in_proj_bias)
    mask = _check_mask(mask, length, key.shape[0], batch * num_heads)

    extra = 0  # keys added at the end: all of them can be seen
    if bias_k is not None and bias_v is not None:
        k = taper.cat([k, bias_k.repeat(1, batch, 1)])
        v = taper.cat([v, bias_v.repeat(1, batch, 1)])
        extra += 1
    heads = (batch * num_heads, embed_dim // num_heads)
    q = _split_heads(q, *heads)
    k = static_k if static_k is not None else _split_heads(k, *heads)
    v = static_v if static_v is not None else _split_heads(v, *heads)
    if add_zero_attn:
        zeros = k.new_zeros(heads[0], 1, heads[1])
        k, v = taper.cat([k, zeros], dim=1), taper.cat([v, zeros], dim=1)
        extra += 1
    if extra:
        mask = None if mask is None else F.pad(mask, (0, extra))
        padding = None if padding is None else F.pad(padding, (0, extra))
    mask = _merge_padding(mask, padding, batch, num_heads, k.size(1))

    attended, attention = _attend(
        q, k, v, mask, num_heads, dropout_p if training else 0.0, need_weights, is_causal
    )
    output = F.linear(
        attended.reshape(length * batch, embed_dim), out_proj_weight, out_proj_bias
    ).view(length, batch, -1)
    if attention is not None:
        attention = attention.mean(dim=1) if average_attn_weights else attention
        attention = attention if batched else attention.squeeze(0)
    return (output if batched else output.squeeze(1)), attention


def _read_masks(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool,
    need_weights: bool, dtype: Any,
) -> tuple[Tensor | None, Tensor | None, bool]:
    """Both masks as numbers, and whether the causal hint stands for the first."""
    attn_type = None if attn_mask is None else attn_mask.dtype
    padding = canonical_mask(key_padding_mask, "key_padding_mask", attn_type, "attn_mask", dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask."
        )
    # The hint replaces the mask only where nothing else masks and nobody asks for weights.
    if is_causal and key_padding_mask is None and not need_weights:
        return None, padding, True
    mask = canonical_mask(attn_mask, "attn_mask", None, "", dtype, check_other=False)
    return mask, padding, False


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, dropout: float,
    need_weights: bool, is_causal: bool,
) -> tuple[Tensor, Tensor | None]:
    """(L, N, heads · d) of attended values, and the weights by head if they are asked for."""
    batch_heads, length, head_dim = q.shape
    batch, source = batch_heads // num_heads, k.size(1)
    if need_weights:
        q = q * math.sqrt(1.0 / head_dim)
        keys = k.transpose(-2, -1)
        scores = q.bmm(keys) if mask is None else taper.baddbmm(mask, q, keys)
        weights = F.softmax(scores, dim=-1)
        weights = F.dropout(weights, p=dropout) if dropout > 0.0 else weights
        return weights.bmm(v).transpose(0, 1), weights.view(batch, num_heads, length, source)
    if mask is not None:
        shared = mask.size(0) == 1
        mask = mask.unsqueeze(0) if shared else mask.view(batch, num_heads, -1, source)
    attended = F.scaled_dot_product_attention(
        q.reshape(batch, num_heads, length, head_dim),
        k.reshape(batch, num_heads, source, head_dim),
        v.reshape(batch, num_heads, source, head_dim), mask, dropout, is_causal,
    )
    return attended.permute(2, 0, 1, 3), None


def _check_shapes(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Checks numbers of dimensions; returns whether there is a batch."""
    rank = query.dim()
    if rank not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{rank}-D query tensor"
        )
    batched = f"For {'batched' if rank == 3 else 'unbatched'} ({rank}-D) `query`"
    if key.dim() != rank or value.dim() != rank:
        raise AssertionError(
            f"{batched}, expected `key` and `value` to be {rank}-D but found {key.dim()}-D and "
            f"{value.dim()}-D tensors respectively"
        )
    if padding is not None and padding.dim() != rank - 1:
        raise AssertionError(
            f"{batched}, expected `key_padding_mask` to be `None` or {rank - 1}-D but found "
            f"{padding.dim()}-D tensor instead"
        )
    if mask is not None:
        if mask.dim() not in (2, 3):
            raise AssertionError(
                f"{batched}, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{mask.dim()}-D tensor instead"
            )
        expected = (num_heads, query.shape[0], key.shape[0])
        if rank == 2 and mask.dim() == 3 and tuple(mask.shape) != expected:
            raise AssertionError(
                f"Expected `attn_mask` shape to be {expected} but got {mask.shape}"
            )
    return rank == 3


def _check_mask(
    mask: Tensor | None, length: int, source: int, batch_heads: int
) -> Tensor | None:
    """The mask with three dimensions."""
    if mask is None:
        return None
    expected = (length, source) if mask.dim() == 2 else (batch_heads, length, source)
    if tuple(mask.shape) != expected:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {expected}."
        )
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _merge_padding(
    mask: Tensor | None, padding: Tensor | None, batch: int, num_heads: int, source: int
) -> Tensor | None:
    """The mask with the padding's added."""
    if padding is None:
        return mask
    for dim, expected in enumerate((batch, source)):
        if padding.shape[dim] != expected:
            raise AssertionError(
                f"Expected key_padded_mask.shape[{dim}] to be {expected}, but got "
                f"{padding.shape[dim]}"
            )
    padding = padding.view(batch, 1, 1, source).expand(-1, num_heads, -1, -1)
    padding = padding.reshape(batch * num_heads, 1, source)
    return padding if mask is None else mask + padding


def _project_separately(
    tensors: tuple[Tensor, Tensor, Tensor], weights: Any, bias: Tensor | None
) -> Any:
    _, key, value = tensors
    if key.shape[:2] != value.shape[:2]:
        raise AssertionError(
            f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
        )
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(map(F.linear, tensors, weights, biases))


def _project_together(
    query: Tensor, key: Tensor, value: Tensor, weight: Any, bias: Tensor | None
) -> Any:
    """The three projections, in as few products as the arguments allow."""
    if key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    size = query.size(-1)
    if key is value and query is key:
        return F.linear(query, weight, bias).chunk(3, -1)
    if key is value:
        weight_q, weight_kv = weight.split([size, size * 2])
        bias_q, bias_kv = (None, None) if bias is None else bias.split([size, size * 2])
        return F.linear(query, weight_q, bias_q), *F.linear(key, weight_kv, bias_kv).chunk(2, -1)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(map(F.linear, (query, key, value), weight.chunk(3), biases))


def _split_heads(tensor: Tensor, batch_heads: int, head_dim: int) -> Tensor:
    return tensor.reshape(tensor.shape[0], batch_heads, head_dim).transpose(0, 1)
