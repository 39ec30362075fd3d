"""Attention whose scores and masks are given by functions of places.

Where PyTorch fuses these functions into a kernel, they run here on all places at once, by `vmap`;
memory grows with the product of both lengths.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import taper
from taper import Tensor

__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "and_masks", "create_block_mask", "create_mask",
    "flex_attention", "noop_mask", "or_masks",
]

MaskFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ScoreFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
_DEFAULT_SPARSE_BLOCK_SIZE = 128


class AuxRequest(NamedTuple):
    """What `flex_attention(return_aux=…)` returns beside the values."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was asked for with `AuxRequest`."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """A mask that lets every query see every key."""
    return batch.new_ones(size=(), dtype=taper.bool)


def and_masks(*mask_mods: MaskFunction) -> MaskFunction:
    """A mask that lets through what all of these do."""

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        found = noop_mask(b, h, q, k)
        for each in mask_mods:
            found = found & each(b, h, q, k)
        return found

    return mask


def or_masks(*mask_mods: MaskFunction) -> MaskFunction:
    """A mask that lets through what any of these does."""

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        found = ~noop_mask(b, h, q, k)
        for each in mask_mods:
            found = found | each(b, h, q, k)
        return found

    return mask


def _at_all_places(function: Any, sizes: tuple[int, int, int, int], scores: Any = None) -> Tensor:
    """The function at each batch, head, query and key."""
    first: tuple[Any, ...] = () if scores is None else (0,)
    own: tuple[Any, ...] = () if scores is None else (None,)
    for places in ((*own, None, None, None, 0), (*own, None, None, 0, None),
                   (*own, None, 0, None, None), (*own, 0, None, None, None)):
        dims = (*first, *places[len(own):]) if scores is not None else places
        function = taper.vmap(function, in_dims=dims)
    counted = [taper.arange(size) for size in sizes]
    found: Tensor = function(*counted) if scores is None else function(scores, *counted)
    return found


def create_mask(
    mod_fn: MaskFunction, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int,
    device: Any = None,
) -> Tensor:
    """A mask as a tensor of bools.

    Shape: (B or 1, H or 1, Q_LEN, KV_LEN)
    Example:
        >>> import taper as torch
        >>> from taper.nn.attention.flex_attention import create_mask
        >>> create_mask(lambda b, h, q, k: q >= k, None, None, 2, 2)
        tensor([[[[ True, False],
                  [ True,  True]]]])
    """
    return _at_all_places(mod_fn, (B or 1, H or 1, Q_LEN, KV_LEN))


class BlockMask:
    """A mask function, and which blocks of queries and keys it lets through.

    Attributes:
        mask_mod: the function.   seq_lengths: of queries and keys.   BLOCK_SIZE: of a block.
        kv_num_blocks, kv_indices: for each block of queries, how many blocks of keys it sees in
            part, and which; those come first, in order.
        full_kv_num_blocks, full_kv_indices: the same of blocks that are seen as a whole.
    """

    def __init__(
        self, dense: Tensor, mask_mod: MaskFunction, seq_lengths: tuple[int, int],
        block: tuple[int, int], separate_full_blocks: bool = True,
    ) -> None:
        self.mask_mod = mask_mod
        self.seq_lengths = seq_lengths
        self.BLOCK_SIZE = block
        batch, heads = dense.shape[:2]
        rows, columns = (-(-n // b) for n, b in zip(seq_lengths, block, strict=True))
        padded = taper.nn.functional.pad(
            dense, (0, columns * block[1] - seq_lengths[1], 0, rows * block[0] - seq_lengths[0])
        )
        counts = padded.view(batch, heads, rows, block[0], columns, block[1]).sum(dim=(3, 5))
        seen = counts > 0
        full = counts == block[0] * block[1] if separate_full_blocks else taper.zeros_like(seen)
        self.kv_num_blocks, self.kv_indices = _ordered(seen & ~full)
        self.full_kv_num_blocks: Tensor | None = None
        self.full_kv_indices: Tensor | None = None
        if separate_full_blocks:
            self.full_kv_num_blocks, self.full_kv_indices = _ordered(full)
        self._blocks = seen.to(taper.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        """(batch, heads, queries, keys)"""
        return (*self._blocks.shape[:2], *self.seq_lengths)

    def to_dense(self) -> Tensor:
        """Which blocks are seen, at least in part: 1 or 0 for each."""
        return self._blocks

    def sparsity(self) -> float:
        """How many of 100 blocks are not seen."""
        return float(100 * (1 - self._blocks.float().mean().item()))

    def numel(self) -> int:
        """The number of pairs of queries and keys."""
        return math.prod(self.shape)

    def to(self, device: Any) -> BlockMask:
        """Returns itself: there is one device."""
        return self

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many are true in each row, and where: true ones first."""
    order = blocks.to(taper.int32).argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(dim=-1).to(taper.int32), order.to(taper.int32)


def create_block_mask(
    mask_mod: MaskFunction, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int,
    device: Any = None, BLOCK_SIZE: int | tuple[int, int] = _DEFAULT_SPARSE_BLOCK_SIZE,
    _compile: bool = False, separate_full_blocks: bool = True, **options: Any,
) -> BlockMask:
    """A mask for `flex_attention`, from a function of (batch, head, query, key)."""
    block = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    dense = create_mask(mask_mod, B, H, Q_LEN, KV_LEN)
    return BlockMask(dense, mask_mod, (Q_LEN, KV_LEN), block, separate_full_blocks)


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: ScoreFunction | None = None,
    block_mask: BlockMask | None = None, scale: float | None = None, enable_gqa: bool = False,
    return_lse: bool = False, kernel_options: Any = None, *, return_aux: AuxRequest | None = None,
) -> Any:
    r"""Attention with scores changed by a function: :math:`\mathrm{softmax}(f(q k^T s)) v`.

    Args:
        score_mod: gets a score and its batch, head, query and key; gives the score to use.
        block_mask: from `create_block_mask`.
        scale: of the products; one over the root of the size if it is not given.
        enable_gqa: groups of query heads share a head of keys and values.
        return_lse, return_aux: also return the logarithms of the sums, or the largest scores.
    Shape: (batch, heads, queries, size), (batch, heads, keys, size), (batch, heads, keys, values) →
        (batch, heads, queries, values)
    Example:
        >>> import taper as torch
        >>> from taper.nn.attention.flex_attention import flex_attention
        >>> q = torch.zeros(1, 1, 2, 4)
        >>> flex_attention(q, q, q, score_mod=lambda s, b, h, i, j: s + (i - j)).shape
        torch.Size([1, 1, 2, 4])
    """
    for name, given in (("query", query), ("key", key), ("value", value)):
        if given.dim() != 4:
            raise ValueError(f"{name} must be 4 dimensional")
    if query.size(1) != key.size(1):
        if not enable_gqa:
            raise ValueError(
                "Expect query and key/value to have the same number of heads but got "
                f"Hq={query.size(1)} and Hkv={key.size(1)}. Try setting enable_gqa=True for GQA."
            )
        group = query.size(1) // key.size(1)
        key, value = (t.repeat_interleave(group, dim=1) for t in (key, value))
    scores = query @ key.transpose(-2, -1) * (
        1 / math.sqrt(query.size(-1)) if scale is None else scale
    )
    sizes = (*query.shape[:3], key.size(2))
    if score_mod is not None:
        scores = _at_all_places(score_mod, sizes, scores)
    if block_mask is not None:
        batch, heads = block_mask.shape[:2]
        mask = _at_all_places(block_mask.mask_mod, (batch, heads, *sizes[2:]))
        scores = scores.masked_fill(~mask, -math.inf)
    sums = scores.logsumexp(dim=-1)
    weights = (scores - sums.unsqueeze(-1)).exp().nan_to_num(0.0)  # nothing seen: zeros
    result = weights.to(value.dtype) @ value
    if return_aux is not None:
        largest = scores.amax(dim=-1) if return_aux.max_scores else None
        return result, AuxOutput(sums if return_aux.lse else None, largest)
    return (result, sums) if return_lse else result
