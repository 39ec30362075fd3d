"""Where results lie in memory."""

from __future__ import annotations

import numpy as np

import taper as torch
from taper.kernels.memory_order import (
    as_laid_out,
    cast_in_order,
    copied,
    in_rows,
    in_rows_or_channels_last,
)


def test_rows_and_channels_last() -> None:
    x = np.arange(48.0).reshape(2, 2, 3, 4)
    channels_last = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    assert in_rows(x) is x
    assert in_rows(channels_last).flags.c_contiguous
    assert in_rows_or_channels_last(channels_last) is channels_last
    assert in_rows_or_channels_last(x.T).flags.c_contiguous


def test_copies_lie_as_their_pattern() -> None:
    x = np.arange(6.0).reshape(2, 3).T
    assert copied(x).strides == x.strides
    found = as_laid_out(x.copy(), x)
    assert found.strides == x.strides
    assert np.array_equal(found, x)


def test_expanded_operands_stay_expanded() -> None:
    x = np.broadcast_to(np.ones((2, 1), np.float16), (2, 3))
    assert cast_in_order(x, np.float32).strides == (4, 0)
    assert cast_in_order(x[:, :1].copy(), np.float32).shape == (2, 1)


def test_results_that_can_be_viewed_in_other_shapes() -> None:
    x = torch.arange(24.0).reshape(4, 3, 2).permute(2, 1, 0)  # (2, 3, 4), in columns
    f = torch.nn.functional
    for result in (
        f.avg_pool1d(x, 2), f.max_pool2d(x, 2), f.batch_norm(x, None, None, training=True),
        torch.fft.rfft(x), torch.var_mean(x, 2)[1], torch.linalg.cross(x, x, dim=1),
        torch.mvlgamma(x + 3, 2), torch.nonzero_static(x, size=3), torch.rot90(x, 4),
        torch.block_diag(x[0], x[1]), torch.diag_embed(x, dim1=0, dim2=1),
        f.nll_loss(x, torch.zeros(2, 4, dtype=torch.int64), reduction="none"),
    ):
        assert result.is_contiguous()


def test_copies_that_are_written_into_lie_as_their_input() -> None:
    x = torch.zeros(2, 3).t()
    at, values = torch.tensor([0, 2]), torch.ones(2, 2)
    for result in (
        x.index_put((at,), values), x.index_fill(0, at, 1), x.put(at, values[0]),
        x.select_scatter(values[0], 0, 1), x.slice_scatter(values, 0, 1),
        x.diagonal_scatter(values[0]),
    ):
        assert result.stride() == (1, 3)


def test_numbers_that_were_drawn_like_a_tensor_are_new() -> None:
    assert torch.rand_like(torch.ones(2))._version == 0
    assert torch.randn_like(torch.ones(2))._version == 0


def test_padded_images_keep_their_channels_side_by_side():
    x = torch.arange(24.0).reshape(1, 2, 3, 4).movedim(3, 1)
    padded = torch.nn.functional.pad(x, (1, 0))
    assert padded.stride() == (32, 1, 16, 4)
    assert padded[0, :, 0, 0].tolist() == [0, 0, 0, 0]
    assert torch.equal(padded[..., 1:], x)
