"""Multi-head attention."""

from __future__ import annotations

import warnings
from typing import Any

import taper
import taper.nn.functional as F
from taper import Tensor
from taper.nn import init
from taper.nn.modules.linear import NonDynamicallyQuantizableLinear
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter

__all__ = ["MultiheadAttention", "canonical_mask"]


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
        output, weights = F.multi_head_attention_forward(
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
