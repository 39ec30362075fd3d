"""Every operator of the table, recorded for all sizes of one of its dimensions.

One size that occurs in the arguments is replaced by others, wherever it occurs; one compiled
function is called with all of them. Results and gradients are those of the function as it is, and
where that raises, the compiled one raises the same kind of error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captured import captured_in

import taper as torch

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from gradient_samples import RANDOM
from operator_samples import ASKED, mapped, tensors_in
from test_every_operator_compiled import UNINITIALIZED, UNITS, fresh, step_of, units_off

pytestmark = [
    pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:taper couldn't make"),
]

# Their errors depend on values, which programs don't look at; or another error is raised, by NumPy.
VALUES_CHECKED = frozenset("segment_reduce embedding_bag".split())
FEWEST_RESULTS = 4
ALL_SIZES = "TAPER_ALL_SIZES" in os.environ  # else one of an operator's, in half the time

# Whose results, or whose gradients, look at the value of a size that occurs in their arguments: of
# one size or of all. All others are recorded for all sizes.
CLOSED = frozenset("""
    nn.functional.glu convolution nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d
    conv_tbc nn.functional.max_pool1d nn.functional.max_pool2d nn.functional.max_pool3d
    nn.functional.max_pool1d_with_indices nn.functional.max_pool2d_with_indices
    nn.functional.max_pool3d_with_indices nn.functional.avg_pool1d nn.functional.avg_pool2d
    nn.functional.avg_pool3d nn.functional.lp_pool1d nn.functional.lp_pool2d
    nn.functional.lp_pool3d nn.functional.scaled_dot_product_attention nn.functional.group_norm
    group_norm native_group_norm linalg.tensorinv linalg.tensorsolve linalg.cholesky
    linalg.cholesky_ex cholesky cholesky_inverse nn.functional.multi_margin_loss view_as_complex
    linalg.det pdist embedding_bag nn.functional.embedding_bag nn.functional.unfold fft.rfft
    fft.ihfft fft.rfft2 fft.rfftn fft.ihfft2 fft.ihfftn fft.fftshift fft.ifftshift
    grid_sampler_2d grid_sampler nn.functional.grid_sample nn.functional.affine_grid
    combinations linalg.pinv linalg.lstsq linalg.lu lu_unpack nonzero_static linalg.eigh
    linalg.eig linalg.eigvals linalg.matrix_rank diag_embed diagflat mode quantile linalg.qr qr
    linalg.householder_product ormqr lstm gru rnn_tanh rnn_relu lstm_cell gru_cell
    nn.functional.interpolate nn.functional.upsample nn.functional.upsample_nearest
    nn.functional.upsample_bilinear searchsorted stft istft pixel_unshuffle channel_shuffle
    native_channel_shuffle unbind split chunk unsafe_split unsafe_chunk tensor_split hsplit
    vsplit dsplit as_strided_scatter reshape broadcast_to expand_copy split_copy unbind_copy
    view_copy nn.functional.multi_head_attention_forward
""".split())


@pytest.fixture(autouse=True)
def by_numpy() -> Any:
    before, torch.settings.native = torch.settings.native, "off"
    with np.errstate(all="ignore"):
        yield
    torch.settings.native = before


def sizes_to_call(size: int) -> list[int]:
    """One is seen, one more is recorded; then it goes by the symbolic size."""
    return [size, size, size + 1, 2 * size + 5, 2, size]


def resized(arguments: Any, size: int, new: int) -> Any:
    """The tensors, whose dimensions of one size have another."""
    return mapped(lambda t: resized_tensor(t, size, new), arguments)


def resized_tensor(t: Any, size: int, new: int) -> Any:
    axes = [d for d, n in enumerate(t.shape) if n == size]
    if not axes or new == size or t.layout is not torch.strided:
        return t
    found = t.detach().numpy()
    if axes[-2:] == [t.ndim - 2, t.ndim - 1] and found.dtype.kind in "fc":
        found = resized_matrix(found, size, new)
        axes = axes[:-2]
    for axis in axes:
        found = np.take(found, np.arange(new) % size, axis)
    if found.dtype.kind == "f" and axes:  # equal elements would hide whose gradient is whose
        found = found * np.random.default_rng(new).uniform(0.98, 1.02, found.shape)
    return torch.tensor(np.ascontiguousarray(found))


def resized_matrix(array: Any, size: int, new: int) -> Any:
    """It stays triangular, or positive definite, if it was."""
    found = np.zeros((*array.shape[:-2], new, new), array.dtype)
    found += np.eye(new)
    n = min(size, new)
    found[..., :n, :n] = array[..., :n, :n]
    return found


def call(function: Any, path: str, arguments: Any) -> Any:
    torch.manual_seed(0)
    try:
        return function(*fresh(path, arguments)), torch.get_rng_state()
    except Exception as error:
        return error, None


def check(path: str, size: int) -> bool | None:
    """Compares at all sizes; tells whether a call was recorded for all; None if it couldn't be."""
    step, arguments = step_of(path, 0 if path in RANDOM else None)
    compiled = torch.compile(step, dynamic=True)
    count = 0
    for new in sizes_to_call(size):
        given = resized(arguments, size, new)
        expected, state = call(step, path, given)
        found, state_after = call(compiled, path, given)
        if isinstance(expected, Exception):
            if path not in VALUES_CHECKED:
                assert isinstance(found, (type(expected), LookupError, ValueError)), (new, expected)
            continue
        assert not isinstance(found, Exception), (new, found)
        assert torch.equal(state, state_after), new
        assert len(found) == len(expected)
        count += 1
        gradients = len(expected) - len(fresh(path, given)[2])  # they may lie in any way
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert (a is None) is (b is None), new
            if b is not None and path not in UNINITIALIZED:
                assert units_off(a, b) <= UNITS, new
            if i < gradients and b.layout is torch.strided:
                assert a.stride() == b.stride(), new
    captured = captured_in(compiled)
    return bool(captured.symbolic) if count >= FEWEST_RESULTS and captured.calls_compiled else None


@pytest.mark.parametrize("path", [*ASKED, *RANDOM])
def test_sizes(path: str) -> None:
    _, arguments = step_of(path, 0 if path in RANDOM else None)
    sizes = sorted({n for t in tensors_in(arguments) for n in t.shape if n >= 2})
    found = []
    for size in sizes:
        found.append(check(path, size))
        if found[-1] is not None and not ALL_SIZES:
            break
    if all([is_open is None for is_open in found]):
        pytest.skip("no tensors, or it works for one size only, or runs as it is")
    assert False not in found or path in CLOSED
