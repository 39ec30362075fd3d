"""Sequences of different lengths: padded to one tensor, or packed for recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import taper
from taper import Tensor

__all__ = [
    "PackedSequence", "bind", "invert_permutation", "pack_padded_sequence", "pack_sequence",
    "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence",
]


class PackedSequence_(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Returns the permutation that undoes the given one."""
    if permutation is None:
        return None
    output = taper.empty_like(permutation)
    output.scatter_(0, permutation, taper.arange(0, permutation.numel(),
                                                 device=permutation.device))
    return output


class PackedSequence(PackedSequence_):
    """Sequences of different lengths, step by step: first elements, second elements, ….

    Made by `pack_padded_sequence` and `pack_sequence`, taken by the recurrent layers.

    Attributes:
        data: the elements, (sum of lengths, *).
        batch_sizes: how many sequences have an element at each step.
        sorted_indices: in what order the sequences were taken, longest first; None: as given.
        unsorted_indices: the inverse permutation.
    """

    def __new__(
        cls, data: Any, batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be "
                "created manually. They should be instantiated by functions like pack_sequence and "
                "pack_padded_sequences in nn.utils.rnn. https://pytorch.org/docs/stable/nn.html"
                "#torch.nn.utils.rnn.pack_sequence"
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Moves and converts `data`, as Tensor.to; returns self if nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        return type(self)(
            data, self.batch_sizes, bind(self.sorted_indices, lambda t: t.to(data.device)),
            bind(self.unsorted_indices, lambda t: t.to(data.device)),
        )

    def pin_memory(self) -> PackedSequence:
        """Copies the tensors to page-locked memory."""
        return type(self)(
            self.data.pin_memory(), self.batch_sizes,
            bind(self.sorted_indices, lambda t: t.pin_memory()),
            bind(self.unsorted_indices, lambda t: t.pin_memory()),
        )

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Moves to a GPU."""
        return self.to(*(args or ("cuda",)), **kwargs)

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Moves to the CPU."""
        return self.to("cpu", *args, **kwargs)

    def double(self) -> PackedSequence:
        return self.to(dtype=taper.double)

    def float(self) -> PackedSequence:
        return self.to(dtype=taper.float)

    def half(self) -> PackedSequence:
        return self.to(dtype=taper.half)

    def long(self) -> PackedSequence:
        return self.to(dtype=taper.long)

    def int(self) -> PackedSequence:
        return self.to(dtype=taper.int)

    def short(self) -> PackedSequence:
        return self.to(dtype=taper.short)

    def char(self) -> PackedSequence:
        return self.to(dtype=taper.int8)

    def byte(self) -> PackedSequence:
        return self.to(dtype=taper.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether `data` is on a GPU."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Returns whether `data` is in page-locked memory."""
        return self.data.is_pinned()


def bind(optional: Tensor | None, fn: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Returns ``fn(optional)``, or None of None."""
    return None if optional is None else fn(optional)


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | list[int], batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Packs padded sequences, leaving the padding out.

    Args:
        input: (T, B, *), or (B, T, *) with `batch_first`.
        lengths: the length of each sequence.
        enforce_sorted: whether the sequences come longest first; otherwise they are sorted.

    Example:
        >>> import taper as torch
        >>> from taper.nn.utils.rnn import pack_padded_sequence
        >>> pack_padded_sequence(torch.tensor([[1, 4], [2, 5], [3, 0]]), [3, 2]).data
        tensor([1, 4, 2, 5, 3])
    """
    lengths = taper.as_tensor(lengths, dtype=taper.int64, device="cpu")
    if lengths.dim() != 1:
        raise RuntimeError(
            f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D cpu "
            "Long tensor"
        )
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = taper.sort(lengths, descending=True)
        sorted_indices = sorted_indices.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    steps = input.transpose(0, 1) if batch_first else input
    _check_lengths(lengths, steps.size(1))
    counts = lengths.tolist()
    batch_sizes = [sum(count > step for count in counts) for step in range(counts[0])]
    batch = steps.size(1)
    rows = [
        step * batch + i for step, size in enumerate(batch_sizes[: steps.size(0)])
        for i in range(size)
    ]
    flat = steps.reshape(-1, *steps.shape[2:])
    data = flat.index_select(0, taper.tensor(rows, device=input.device))
    return PackedSequence(data, taper.tensor(batch_sizes), sorted_indices, None)


def _check_lengths(lengths: Tensor, batch: int) -> None:
    if lengths.numel() != batch:
        raise RuntimeError(
            "Expected `len(lengths)` to be equal to batch_size, but got "
            f"{lengths.numel()} (batch_size={batch})"
        )
    counts = lengths.tolist()
    if min(counts) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if counts != sorted(counts, reverse=True):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability."
        )


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Pads a packed sequence again; returns the padded tensor and the lengths.

    Args:
        total_length: how long to make it, default: the longest sequence.
    """
    sizes = sequence.batch_sizes.tolist()
    longest = len(sizes)
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but "
            f"got total_length={total_length} and max sequence length being {longest}"
        )
    steps, batch = (longest if total_length is None else total_length), sizes[0]
    data = sequence.data
    rows = [step * batch + i for step, size in enumerate(sizes) for i in range(size)]
    flat = data.new_full((steps * batch, *data.shape[1:]), padding_value)
    flat = flat.index_copy(0, taper.tensor(rows, device=data.device), data)
    padded = flat.view(steps, batch, *data.shape[1:])
    lengths = taper.tensor([sum(size > i for size in sizes) for i in range(batch)])
    if batch_first:
        padded = padded.transpose(0, 1)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return padded, lengths


def pad_sequence(
    sequences: Tensor | list[Tensor], batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stacks tensors of different lengths, padded: (T, B, *), or (B, T, *) with `batch_first`.

    Example:
        >>> import taper as torch
        >>> from taper.nn.utils.rnn import pad_sequence
        >>> pad_sequence([torch.ones(2), torch.ones(3)], batch_first=True)
        tensor([[1., 1., 0.],
                [1., 1., 1.]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    for index, sequence in enumerate(sequences):
        if not isinstance(sequence, Tensor):
            raise TypeError(
                f"expected Tensor as element {index} in argument 0, but got "
                f"{type(sequence).__name__}"
            )
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    longest = max(sequence.size(0) for sequence in sequences)
    padded = []
    for sequence in sequences:
        missing = longest - sequence.size(0)
        if missing:
            fill = sequence.new_full((missing, *sequences[0].shape[1:]), padding_value)
            parts = [sequence, fill] if padding_side == "right" else [fill, sequence]
            padded.append(taper.cat(parts))
        else:
            padded.append(sequence)
    return taper.stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """Returns the sequences that were padded, each with its length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [
        sequence[:length]
        for sequence, length in zip(padded_sequences, lengths.tolist(), strict=True)
    ]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs tensors of different lengths, (L, *) each."""
    lengths = taper.as_tensor([sequence.size(0) for sequence in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Returns the sequences that were packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
