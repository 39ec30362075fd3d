"""Padded and packed sequences."""

import pytest

import taper as torch
from taper.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

STEPS = torch.arange(12.0).reshape(3, 2, 2)


def test_packing_and_padding_again():
    packed = pack_padded_sequence(STEPS, [3, 1])
    assert packed.data.tolist() == [[0, 1], [2, 3], [4, 5], [8, 9]]
    assert packed.batch_sizes.tolist() == [2, 1, 1]
    assert packed.sorted_indices is None
    padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)
    assert padded.tolist() == [[[0, 1], [4, 5], [8, 9]], [[2, 3], [-1, -1], [-1, -1]]]
    assert lengths.tolist() == [3, 1]


def test_sequences_in_any_order():
    packed = pack_padded_sequence(STEPS, [1, 3], enforce_sorted=False)
    assert packed.data.tolist() == [[2, 3], [0, 1], [6, 7], [10, 11]]
    assert packed.sorted_indices.tolist() == [1, 0]
    assert packed.unsorted_indices.tolist() == [1, 0]
    padded, lengths = pad_packed_sequence(packed, total_length=4)
    assert padded.shape == (4, 2, 2)
    assert lengths.tolist() == [1, 3]
    assert [len(part) for part in unpack_sequence(packed)] == [1, 3]


def test_gradients_flow_to_what_is_packed():
    x = STEPS.clone().requires_grad_()
    pad_packed_sequence(pack_padded_sequence(x, [3, 1]))[0].sum().backward()
    assert x.grad[:, :, 0].tolist() == [[1, 1], [1, 0], [1, 0]]


@pytest.mark.parametrize(("act", "message"), [
    (lambda: pack_padded_sequence(STEPS, [1, 3]),
     "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True."),
    (lambda: pack_padded_sequence(STEPS, [3]),
     "Expected `len(lengths)` to be equal to batch_size, but got 1 (batch_size=2)"),
    (lambda: pack_padded_sequence(STEPS, [3, 0]),
     "Length of all samples has to be greater than 0"),
    (lambda: pad_sequence([]), "received an empty list of sequences"),
    (lambda: pad_sequence(5),
     "pad_sequence: Expected iterable for input sequences, but got arg of type: <class 'int'>"),
    (lambda: pad_sequence([torch.ones(1)], padding_side="up"),
     "Expected padding_side to be one of left or right, but got up."),
])
def test_errors(act, message):
    with pytest.raises(RuntimeError) as caught:
        act()
    assert str(caught.value).startswith(message)


def test_padding():
    parts = [torch.ones(2), torch.ones(3)]
    assert pad_sequence(parts).tolist() == [[1, 1], [1, 1], [0, 1]]
    assert pad_sequence(parts, True, 5.0, "left").tolist() == [[5, 1, 1], [1, 1, 1]]
    assert [part.tolist() for part in unpad_sequence(STEPS[:, :, 0], torch.tensor([3, 1]))] == [
        [0, 4, 8], [2]]


def test_a_packed_sequence_is_a_tuple_with_conversions():
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    data, batch_sizes, _, _ = packed
    assert batch_sizes.tolist() == [2, 2, 1]
    assert packed.double().data.dtype is torch.float64
    assert packed.to("cpu") is packed
    assert isinstance(PackedSequence((data, batch_sizes)), PackedSequence)
