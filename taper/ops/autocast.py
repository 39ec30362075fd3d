"""What autocast does to which operator: PyTorch's lists for the CPU.

Inside ``with torch.autocast("cpu")`` products run in the lower precision, operators that lose too
much there in float32, and what isn't listed in the dtypes it is given. An operator that is listed
runs with autocast off inside, so its parts follow its dtype.

While autocast is off nobody looks here: `active.modes` is raised as long as it is on, and the full
way (ops/slow.py), and composites that are listed, then ask `autocasting`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.core.dtype import bfloat16, dtype, float16, float32
from taper.core.state import autocasting
from taper.core.tensor import LEAF, Tensor

__all__ = ["POLICIES", "Autocast", "run_autocast"]

_LOWER = """
    addbmm addmm affine_grid_generator baddbmm bmm chain_matmul conv_tbc linalg.multi_dot
    linalg.vecdot lstm_layer matmul mm nn.functional.affine_grid nn.functional.conv1d
    nn.functional.conv2d nn.functional.conv3d nn.functional.conv_transpose1d
    nn.functional.conv_transpose2d nn.functional.conv_transpose3d nn.functional.linear
    nn.functional.prelu nn.functional.scaled_dot_product_attention prelu rnn_layer rnn_relu_cell
    rnn_tanh_cell
"""
_FLOAT32 = """
    binary_cross_entropy_with_logits cdist cholesky cholesky_inverse cholesky_solve
    cosine_embedding_loss ctc_loss fft.fft fft.fft2 fft.fftn fft.hfft fft.hfft2 fft.hfftn fft.ifft
    fft.ifft2 fft.ifftn fft.ihfft fft.ihfft2 fft.ihfftn fft.irfft fft.irfft2 fft.irfftn fft.rfft
    fft.rfft2 fft.rfftn geqrf grid_sampler grid_sampler_2d grid_sampler_3d hinge_embedding_loss
    inverse kl_div linalg.cholesky linalg.cholesky_ex linalg.cond linalg.eig linalg.eigh
    linalg.eigvals linalg.eigvalsh linalg.householder_product linalg.inv linalg.inv_ex
    linalg.lstsq linalg.matrix_rank linalg.qr linalg.solve linalg.svd linalg.svdvals
    linalg.tensorinv linalg.tensorsolve lu lu_solve margin_ranking_loss nanquantile
    nn.functional.adaptive_avg_pool3d nn.functional.adaptive_max_pool3d
    nn.functional.adaptive_max_pool3d_with_indices nn.functional.avg_pool3d
    nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits
    nn.functional.cosine_embedding_loss nn.functional.cross_entropy nn.functional.ctc_loss
    nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d
    nn.functional.grid_sample nn.functional.hinge_embedding_loss nn.functional.huber_loss
    nn.functional.kl_div nn.functional.l1_loss nn.functional.linear_cross_entropy
    nn.functional.lp_pool3d nn.functional.margin_ranking_loss nn.functional.max_pool3d
    nn.functional.max_unpool1d nn.functional.max_unpool2d nn.functional.max_unpool3d
    nn.functional.mse_loss nn.functional.multi_margin_loss nn.functional.multilabel_margin_loss
    nn.functional.nll_loss nn.functional.poisson_nll_loss nn.functional.smooth_l1_loss
    nn.functional.soft_margin_loss nn.functional.triplet_margin_loss orgqr ormqr pinverse
    poisson_nll_loss polar prod qr quantile stft svd trace triangular_solve triplet_margin_loss
    view_as_complex
"""
_WIDEST = "cat index_copy stack"
_ALONE = "bilinear inner lstm_cell nn.functional.bilinear tensordot"  # not cast, nor their parts

_LISTS = {"lower": _LOWER, "float32": _FLOAT32, "widest": _WIDEST, "alone": _ALONE}

POLICIES: dict[str, str] = {
    path: policy for policy, paths in _LISTS.items() for path in paths.split()
}


class Autocast:
    """Autocast that is on: the lower precision, and the weights that were cast to it.

    Args:
        lower: bfloat16 or float16.
        casts: for each leaf that was cast, by its id, the leaf and what became of it; None keeps
            nothing.
    """

    __slots__ = ("casts", "lower")

    def __init__(self, lower: dtype, casts: dict[int, tuple[Tensor, Tensor]] | None) -> None:
        self.lower = lower
        self.casts = casts

    def cast(self, value: Any, target: dtype) -> Any:
        """A tensor, or the tensors of a list, in another precision; anything else as it is."""
        if isinstance(value, (list, tuple)):
            if any(isinstance(item, Tensor) for item in value):
                return type(value)([self.cast(item, target) for item in value])
            return value
        if not _is_cast(value) or value.dtype is target:
            return value
        if (
            self.casts is None or target is not self.lower or value.dtype is not float32
            or value._edge is not LEAF or value._base is not None
        ):
            return value.to(target)
        # A weight may be used many times before it changes.
        found = self.casts.get(id(value))
        if found is None:
            found = self.casts[id(value)] = value, value.to(target)
        return found[1]

    def precision(self, policy: str, args: tuple[Any, ...]) -> dtype:
        """The dtype that an operator's arguments are cast to."""
        if policy == "lower":
            return self.lower
        if policy == "float32":
            return float32
        tensors = [
            item for value in args
            for item in (value if isinstance(value, (list, tuple)) else (value,))
        ]
        is_wide = any(_is_cast(t) and t.dtype is float32 for t in tensors)
        return float32 if is_wide else self.lower


_CAST = (float32, bfloat16, float16)


def _is_cast(value: Any) -> bool:
    """Whether autocast changes a tensor's dtype: float64 was asked for by somebody."""
    return (
        isinstance(value, Tensor)
        and value.dtype in _CAST
        and value.device.type == "cpu"
    )


def run_autocast(path: str, args: tuple[Any, ...], run: Callable[[tuple[Any, ...]], Any]) -> Any:
    """Calls `run` on the arguments that autocast gives to a listed operator, with autocast off."""
    on = autocasting.get()
    policy = POLICIES[path]
    if policy != "alone":
        target = on.precision(policy, args)
        args = tuple(on.cast(value, target) for value in args)
    token = autocasting.set(None)
    try:
        return run(args)
    finally:
        autocasting.reset(token)
