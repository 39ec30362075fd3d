"""Sample arguments for every operator: by the shape of its signature, or by its name.

`sample(path)` gives ``(args, kwargs)`` with small float64 tensors, the same on every call; what has
no sample is in `WITHOUT_SAMPLE`, with the reason.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import taper as torch
from taper import Tensor
from taper.ops.declare import OPERATORS, Operator
from taper.ops.signature import REQUIRED, VALUE
from taper.ops.slow import signature_of

Sample = tuple[tuple[Any, ...], dict[str, Any]]


class Maker:
    """Makes tensors from random numbers that depend on the operator's name only."""

    def __init__(self, path: str) -> None:
        self.random = np.random.default_rng(zlib.crc32(path.encode()))

    def x(self, *shape: int, low: float = -1.5, high: float = 1.5) -> Any:
        """Floats, away from zero and from each other, where functions have their corners."""
        n = int(np.prod(shape))
        values = np.linspace(low, high, 2 * n + 1)[1::2] if n else np.zeros(0)
        values = values + self.random.uniform(-0.2, 0.2, n) * (high - low) / (2 * n + 1)
        values[np.abs(values) < 0.05] += 0.09 if high > 0.2 else 0
        return torch.tensor(self.random.permutation(values).reshape(shape))

    def unit(self, *shape: int) -> Any:
        return self.x(*shape, low=0.05, high=0.95)

    def positive(self, *shape: int) -> Any:
        return self.x(*shape, low=0.3, high=2.5)

    def i(self, *shape: int, high: int = 3, low: int = 0) -> Any:
        return torch.tensor(self.random.integers(low, high, shape))

    def b(self, *shape: int) -> Any:
        return torch.tensor(self.random.random(shape) < 0.5)

    def square(self, n: int = 3) -> Any:
        """Well conditioned, without symmetry."""
        return self.x(n, n) + 2 * torch.eye(n, dtype=torch.float64)

    def spd(self, n: int = 3) -> Any:
        a = self.x(n, n)
        return a @ a.t() + torch.eye(n, dtype=torch.float64)

    def lower(self, n: int = 3) -> Any:
        return self.square(n).tril()


# What the required parameters of a signature get; tensors are written "tensor".
BY_SIGNATURE: dict[tuple[str, ...], Callable[[Maker], tuple[Any, ...]]] = {
    ("tensor",): lambda m: (m.x(2, 3),),
    ("tensor", "tensor"): lambda m: (m.x(2, 3), m.x(2, 3)),
    ("tensor", "number"): lambda m: (m.x(2, 3), m.x(2, 3)),
    ("number", "number"): lambda m: (m.positive(2, 3), m.positive(2, 3)),
    ("tensor", "tensor", "tensor"): lambda m: (m.x(2, 3), m.x(2, 3), m.x(2, 3)),
    ("tensor", "tensor", "number"): lambda m: (m.x(2, 3), m.x(2, 3), 0.3),
    ("tensor", "dim"): lambda m: (m.x(2, 3), 1),
    ("tensor", "dims"): lambda m: (m.x(2, 3), (1, 0)),
    ("tensor", "size"): lambda m: (m.x(2, 3), (4, 2, 3)),
    ("tensor", "shape"): lambda m: (m.x(2, 3), (3, 2)),
    ("tensor", "size", "stride"): lambda m: (m.x(2, 3), (2, 2), (3, 1)),
    ("tensor", "dim0", "dim1"): lambda m: (m.x(2, 3), 0, 1),
    ("tensor", "axis0", "axis1"): lambda m: (m.x(2, 3), 0, 1),
    ("tensor", "dim", "index"): lambda m: (m.x(2, 3), 1, 2),
    ("tensor", "dim", "start", "length"): lambda m: (m.x(2, 4), 1, 1, 2),
    ("tensor", "split_size"): lambda m: (m.x(4, 3), 2),
    ("tensor", "split_sizes"): lambda m: (m.x(4, 3), [1, 3]),
    ("tensor", "chunks"): lambda m: (m.x(4, 3), 2),
    ("tensor", "groups"): lambda m: (m.x(1, 4, 2), 2),
    ("tensor", "pad"): lambda m: (m.x(2, 3), (1, 2)),
    ("tensor", "q"): lambda m: (m.x(2, 3), 0.3),
    ("tensor", "k"): lambda m: (m.x(2, 3), 2),
    ("tensor", "num_groups"): lambda m: (m.x(2, 4, 3), 2),
    ("tensor", "normalized_shape"): lambda m: (m.x(2, 3), (3,)),
    ("tensors",): lambda m: ([m.x(2, 3), m.x(2, 3)],),
    ("list",): lambda m: ([m.x(2, 3), m.x(2, 3)],),
    ("M",): lambda m: (5,),
    ("n",): lambda m: (4,),
    ("window_length",): lambda m: (5,),
    ("row", "col"): lambda m: (3, 4),
    ("start", "end", "steps"): lambda m: (0.0, 1.0, 4),
    ("tensor", "dim", "tensor"): lambda m: (m.x(2, 3), 1, m.i(2, 2)),
    ("tensor", "dim", "tensor", "tensor"): lambda m: (
        m.x(3, 2), 0, torch.tensor([0, 2]), m.x(2, 2)),
}


def _pool(n: int, *more: Any) -> Callable[[Maker], tuple[Any, ...]]:
    return lambda m: (m.x(1, 2, *(4,) * n), *more)


def _on(make: str) -> Callable[[Maker], tuple[Any, ...]]:
    return lambda m: (getattr(m, make)(2, 3) if make in ("unit", "positive") else
                      getattr(m, make)(),)


def _conv(n: int, transposed: bool = False) -> Callable[[Maker], tuple[Any, ...]]:
    rest = {1: (3,), 2: (3, 3), 3: (3, 2, 2)}[n]
    weight = (2, 3, *(2,) * n) if transposed else (3, 2, *(2,) * n)
    return lambda m: (m.x(1, 2, *rest), m.x(*weight), m.x(3))


def _names(text: str, make: Callable[[Maker], tuple[Any, ...]]) -> dict[str, Any]:
    return dict.fromkeys(text.split(), make)


def _weights(m: Maker, gates: int) -> list[Any]:
    return [m.x(gates, 2), m.x(gates, 1), m.x(gates), m.x(gates)]


_LOSSES = """nn.functional.mse_loss nn.functional.l1_loss nn.functional.smooth_l1_loss
    nn.functional.huber_loss nn.functional.kl_div nn.functional.poisson_nll_loss
    nn.functional.soft_margin_loss kl_div"""

# What the signature doesn't tell: domains, square matrices, indices …
BY_NAME: dict[str, Callable[[Maker], tuple[Any, ...]]] = {
    **_names("""log log2 log10 sqrt rsqrt lgamma digamma special.gammaln polygamma special.psi
        special.k0 special.k1 special.modified_bessel_k0 special.scaled_modified_bessel_k0
        special.modified_bessel_k1 special.scaled_modified_bessel_k1 bessel_y0 special.bessel_y0
        special.bessel_y1 special.entr""", _on("positive")),
    **_names("logit erfinv special.ndtri ndtri special.logit acos asin atanh", _on("unit")),
    "log1p": _on("unit"),
    "special.zeta": lambda m: (m.x(2, 3, low=1.3, high=3.0), m.positive(2, 3)),
    "acosh": lambda m: (m.x(2, 3, low=1.2, high=3.0),),
    "mvlgamma": lambda m: (m.x(2, 3, low=1.5, high=3.0), 2),
    "polygamma": lambda m: (1, m.positive(2, 3)),
    **_names("igamma igammac", lambda m: (m.positive(2, 3), m.positive(2, 3))),
    **_names("special.log_ndtr", _on("positive")),
    **_names("""bitwise_not bitwise_and bitwise_or bitwise_xor gcd lcm bitwise_left_shift
        bitwise_right_shift""", lambda m: (m.i(2, 3, low=1), m.i(2, 3, low=1))),
    "bitwise_not": lambda m: (m.i(2, 3),),
    "ldexp": lambda m: (m.x(2, 3), m.i(2, 3)),
    # matrices
    **_names("""linalg.inv inverse linalg.det det slogdet linalg.slogdet logdet linalg.inv_ex
        linalg.matrix_exp matrix_exp linalg.lu_factor linalg.lu_factor_ex linalg.lu lu
        linalg.cond trace linalg.eigvals linalg.eig""", _on("square")),
    **_names("logdet", _on("spd")),
    **_names("""linalg.cholesky cholesky linalg.cholesky_ex linalg.eigh linalg.eigvalsh
        linalg.ldl_factor linalg.ldl_factor_ex""", _on("spd")),
    "cholesky_inverse": lambda m: (m.lower(),),
    "cholesky_solve": lambda m: (m.x(3, 2), m.lower()),
    **_names("linalg.matrix_power matrix_power", lambda m: (m.square(), 3)),
    **_names("linalg.tensorinv", lambda m: (m.square(4).reshape(2, 2, 4), 2)),
    **_names("linalg.tensorsolve", lambda m: (m.square(4).reshape(2, 2, 4), m.x(2, 2))),
    **_names("linalg.solve linalg.solve_ex", lambda m: (m.square(), m.x(3, 2))),
    "linalg.solve_triangular": lambda m: (m.lower(), m.x(3, 2)),
    "triangular_solve": lambda m: (m.x(3, 2), m.square().triu()),
    "linalg.lstsq": lambda m: (m.x(4, 3), m.x(4, 2)),
    "linalg.householder_product": lambda m: (m.x(4, 3), m.unit(3)),
    "linalg.multi_dot": lambda m: ([m.x(2, 3), m.x(3, 4), m.x(4, 2)],),
    "chain_matmul": lambda m: (m.x(2, 3), m.x(3, 4), m.x(4, 2)),
    **_names("lu_solve", lambda m: (m.x(3, 2), *torch.linalg.lu_factor(m.square()))),
    **_names("linalg.lu_solve", lambda m: (*torch.linalg.lu_factor(m.square()), m.x(3, 2))),
    **_names("linalg.ldl_solve", lambda m: (*torch.linalg.ldl_factor(m.spd()), m.x(3, 2))),
    "lu_unpack": lambda m: tuple(torch.linalg.lu_factor(m.square())),
    "ormqr": lambda m: (*torch.geqrf(m.x(4, 3)), m.x(4, 2)),
    **_names("mm matmul hspmm smm", lambda m: (m.x(2, 3), m.x(3, 2))),
    "bmm": lambda m: (m.x(2, 2, 3), m.x(2, 3, 2)),
    "mv": lambda m: (m.x(2, 3), m.x(3)),
    **_names("dot vdot outer ger inner kron", lambda m: (m.x(3), m.x(3))),
    "tensordot": lambda m: (m.x(2, 3), m.x(2, 3)),
    "addmm": lambda m: (m.x(2, 2), m.x(2, 3), m.x(3, 2)),
    "addmv": lambda m: (m.x(2), m.x(2, 3), m.x(3)),
    "addr": lambda m: (m.x(2, 3), m.x(2), m.x(3)),
    "baddbmm": lambda m: (m.x(2, 2, 2), m.x(2, 2, 3), m.x(2, 3, 2)),
    "addbmm": lambda m: (m.x(2, 2), m.x(2, 2, 3), m.x(2, 3, 2)),
    **_names("cross linalg.cross", lambda m: (m.x(2, 3), m.x(2, 3))),
    "einsum": lambda m: ("ij,jk->ki", m.x(2, 3), m.x(3, 2)),
    "cdist": lambda m: (m.x(2, 3), m.x(4, 3)),
    "bilinear": lambda m: (m.x(2, 3), m.x(2, 2), m.x(4, 3, 2)),
    "nn.functional.bilinear": lambda m: (m.x(2, 3), m.x(2, 2), m.x(4, 3, 2)),
    "nn.functional.linear": lambda m: (m.x(2, 3), m.x(4, 3)),
    "vander": lambda m: (m.x(3),),
    "linalg.vander": lambda m: (m.x(3),),
    "cartesian_prod": lambda m: (m.x(2), m.x(3)),
    "meshgrid": lambda m: (m.x(2), m.x(3)),
    "broadcast_tensors": lambda m: (m.x(2, 1), m.x(3)),
    "broadcast_shapes": lambda m: ((2, 1), (3,)),
    "broadcast_to": lambda m: (m.x(2, 3), (2, 2, 3)),
    **_names("block_diag atleast_1d atleast_2d atleast_3d", lambda m: (m.x(2, 3), m.x(1, 2))),
    "combinations": lambda m: (m.x(3),),
    "diag_embed": lambda m: (m.x(2, 3),),
    "trapezoid": lambda m: (m.x(2, 3),),
    # indices
    "where": lambda m: (m.b(2, 3), m.x(2, 3), m.x(2, 3)),
    "masked_fill": lambda m: (m.x(2, 3), m.b(2, 3), 1.5),
    "masked_select": lambda m: (m.x(2, 3), m.b(2, 3)),
    "masked_scatter": lambda m: (m.x(2, 3), m.b(2, 3), m.x(2, 3)),
    "take": lambda m: (m.x(2, 3), m.i(4, high=6)),
    "take_along_dim": lambda m: (m.x(2, 3), m.i(2, 3, high=2), 1),
    "put": lambda m: (m.x(2, 3), torch.tensor([0, 4]), m.x(2)),
    "index_select": lambda m: (m.x(2, 3), 1, torch.tensor([2, 0])),
    "gather": lambda m: (m.x(2, 3), 1, m.i(2, 2)),
    "scatter": lambda m: (m.x(2, 3), 1, torch.tensor([[0, 2], [1, 0]]), m.x(2, 2)),
    "scatter_add": lambda m: (m.x(2, 3), 1, torch.tensor([[0, 0], [1, 2]]), m.x(2, 2)),
    "index_fill": lambda m: (m.x(2, 3), 1, torch.tensor([2]), 0.5),
    **_names("scatter_reduce", lambda m: (
        m.x(2, 3), 1, torch.tensor([[0, 0], [1, 2]]), m.x(2, 2), "sum")),
    "index_reduce": lambda m: (m.x(3, 2), 0, torch.tensor([0, 2]), m.x(2, 2), "prod"),
    **_names("index_put", lambda m: (m.x(2, 3), (torch.tensor([0, 1]),), m.x(3))),
    "slice_scatter": lambda m: (m.x(2, 3), m.x(2, 3)),
    "select_scatter": lambda m: (m.x(2, 3), m.x(2), 1, 0),
    "diagonal_scatter": lambda m: (m.x(3, 3), m.x(3)),
    "as_strided_scatter": lambda m: (m.x(2, 3), m.x(2, 2), (2, 2), (3, 1)),
    "unflatten": lambda m: (m.x(2, 6), 1, (2, 3)),
    "movedim": lambda m: (m.x(2, 3, 2), 0, 2),
    "moveaxis": lambda m: (m.x(2, 3, 2), 0, 2),
    "swapaxes": lambda m: (m.x(2, 3), 0, 1),
    "unfold_copy": lambda m: (m.x(2, 4), 1, 2, 1),
    "roll": lambda m: (m.x(2, 3), 1, 1),
    "tile": lambda m: (m.x(2, 3), (2, 1)),
    "repeat_interleave": lambda m: (m.x(2, 3), 2, 0),
    "renorm": lambda m: (m.x(2, 3), 2.0, 0, 1.0),
    "searchsorted": lambda m: (torch.tensor([0.0, 1.0, 2.0]), m.x(2, 3)),
    "bucketize": lambda m: (m.x(2, 3), torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)),
    "isin": lambda m: (m.i(2, 3), m.i(2)),
    "bincount": lambda m: (m.i(5),),
    "histc": lambda m: (m.x(6),),
    "histogram": lambda m: (m.x(6), 3),
    "histogramdd": lambda m: (m.x(6, 2), [2, 2]),
    "unravel_index": lambda m: (m.i(3, high=6), (2, 3)),
    "segment_reduce": lambda m: (m.x(4), "sum"),
    "linalg.vecdot": lambda m: (m.x(2, 3), m.x(2, 3)),
    "complex": lambda m: (m.x(2, 3), m.x(2, 3)),
    "polar": lambda m: (m.positive(2, 3), m.x(2, 3)),
    "view_as_complex": lambda m: (m.x(3, 2),),
    "view_as_real": lambda m: (torch.complex(m.x(3), m.x(3)),),
    "imag": lambda m: (torch.complex(m.x(3), m.x(3)),),
    "reshape_as": lambda m: (m.x(2, 3), m.x(3, 2)),
    "tensor_split": lambda m: (m.x(4, 3), 2),
    "split": lambda m: (m.x(4, 3), 2),
    "split_with_sizes": lambda m: (m.x(4, 3), [1, 3]),
    **_names("hsplit vsplit", lambda m: (m.x(4, 4), 2)),
    "dsplit": lambda m: (m.x(2, 2, 4), 2),
    "fill": lambda m: (m.x(2, 3), 0.5),
    "full": lambda m: ((2, 3), 1.5),
    "full_like": lambda m: (m.x(2, 3), 1.5),
    "float_power": lambda m: (m.positive(2, 3), m.x(2, 3)),
    "threshold": lambda m: (m.x(2, 3), 0.1, 2.0),
    "nn.functional.threshold": lambda m: (m.x(2, 3), 0.1, 2.0),
    "addcdiv": lambda m: (m.x(2, 3), m.x(2, 3), m.positive(2, 3)),
    "zeros ones empty": lambda m: ((2, 3),),
    **_names("zeros ones", lambda m: ((2, 3),)),
    "arange": lambda m: (5,),
    "logspace": lambda m: (0.0, 1.0, 4),
    "scalar_tensor": lambda m: (1.5,),
    "empty_strided": lambda m: ((2, 3), (3, 1)),
    # nn.functional
    **{f"nn.functional.conv{n}d": _conv(n) for n in (1, 2, 3)},
    **{f"conv{n}d": _conv(n) for n in (1, 2, 3)},
    **{f"nn.functional.conv_transpose{n}d": _conv(n, True) for n in (1, 2, 3)},
    "convolution": lambda m: (m.x(1, 2, 3), m.x(3, 2, 2), m.x(3), (1,), (0,), (1,), False, (0,), 1),
    "conv_tbc": lambda m: (m.x(3, 1, 2), m.x(2, 2, 3), m.x(3)),
    **{f"nn.functional.{kind}{n}d{tail}": _pool(n, 2)
       for n in (1, 2, 3) for kind in ("max_pool", "avg_pool", "adaptive_avg_pool",
                                       "adaptive_max_pool")
       for tail in ("", "_with_indices")},
    **{f"{kind}{n}d": _pool(n, 2) for n in (1, 2, 3) for kind in (
        "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")},
    **{f"nn.functional.lp_pool{n}d": (lambda m, n=n: (m.positive(1, 2, *(4,) * n), 2.0, 2))
       for n in (1, 2, 3)},
    "nn.functional.unfold": lambda m: (m.x(1, 2, 3, 3), 2),
    "nn.functional.fold": lambda m: (m.x(1, 8, 4), (3, 3), 2),
    **{f"nn.functional.max_unpool{n}d": (lambda m, n=n: (
        *getattr(torch.nn.functional, f"max_pool{n}d")(
            m.x(1, 1, *(4,) * n), 2, return_indices=True), 2)) for n in (1, 2, 3)},
    **_names("pixel_shuffle nn.functional.pixel_shuffle", lambda m: (m.x(1, 4, 2, 2), 2)),
    **_names("pixel_unshuffle nn.functional.pixel_unshuffle", lambda m: (m.x(1, 1, 4, 4), 2)),
    "nn.functional.local_response_norm": lambda m: (m.x(1, 3, 4), 2),
    "nn.functional.glu": lambda m: (m.x(2, 4),),
    "glu": lambda m: (m.x(2, 4),),
    **_names("nn.functional.batch_norm", lambda m: (m.x(3, 2), m.x(2), m.positive(2))),
    "batch_norm": lambda m: (m.x(3, 2), m.x(2), m.x(2), m.x(2), m.positive(2), False, 0.1, 1e-5,
                             False),
    "native_batch_norm": lambda m: (m.x(3, 2), m.x(2), m.x(2), m.x(2), m.positive(2), False, 0.1,
                                    1e-5),
    "native_layer_norm": lambda m: (m.x(2, 3), (3,), m.x(3), m.x(3), 1e-5),
    "native_group_norm": lambda m: (m.x(2, 4, 3), m.x(4), m.x(4), 2, 4, 3, 2, 1e-5),
    "instance_norm": lambda m: (m.x(2, 3, 4), None, None, None, None, True, 0.1, 1e-5, False),
    "nn.functional.instance_norm": lambda m: (m.x(2, 3, 4),),
    **_names("embedding", lambda m: (m.x(4, 3), m.i(2, 2))),
    "nn.functional.embedding": lambda m: (m.i(2, 2), m.x(4, 3)),
    "nn.functional.embedding_bag": lambda m: (m.i(2, 2), m.x(4, 3)),
    "embedding_bag": lambda m: (m.x(4, 3), m.i(4), torch.tensor([0, 2])),
    "nn.functional.one_hot": lambda m: (m.i(3),),
    "nn.functional.pad": lambda m: (m.x(2, 3), (1, 2)),
    "nn.functional.interpolate": lambda m: (m.x(1, 2, 3), 5),
    "nn.functional.upsample": lambda m: (m.x(1, 2, 3), 5),
    "nn.functional.upsample_nearest": lambda m: (m.x(1, 2, 3), 5),
    "nn.functional.upsample_bilinear": lambda m: (m.x(1, 2, 3, 3), 5),
    "nn.functional.grid_sample": lambda m: (m.x(1, 2, 3, 3), m.x(1, 2, 2, 2, low=-0.7, high=0.7)),
    **_names("grid_sampler grid_sampler_2d", lambda m: (
        m.x(1, 2, 3, 3), m.x(1, 2, 2, 2, low=-0.7, high=0.7), 0, 0, False)),
    "grid_sampler_3d": lambda m: (
        m.x(1, 1, 2, 2, 2), m.x(1, 1, 2, 2, 3, low=-0.7, high=0.7), 0, 0, False),
    "nn.functional.affine_grid": lambda m: (m.x(1, 2, 3), (1, 1, 2, 2)),
    "affine_grid_generator": lambda m: (m.x(1, 2, 3), (1, 1, 2, 2), False),
    "nn.functional.scaled_dot_product_attention": lambda m: (m.x(2, 3, 2), m.x(2, 4, 2),
                                                             m.x(2, 4, 2)),
    "nn.functional.channel_shuffle": lambda m: (m.x(1, 4, 2), 2),
    "prelu": lambda m: (m.x(2, 3), m.x(3)),
    "nn.functional.prelu": lambda m: (m.x(2, 3), m.x(3)),
    **_names(_LOSSES, lambda m: (m.x(2, 3), m.unit(2, 3))),
    "nn.functional.binary_cross_entropy": lambda m: (m.unit(2, 3), m.unit(2, 3)),
    "nn.functional.binary_cross_entropy_with_logits": lambda m: (m.x(2, 3), m.unit(2, 3)),
    "binary_cross_entropy_with_logits": lambda m: (m.x(2, 3), m.unit(2, 3)),
    **_names("nn.functional.nll_loss nn.functional.cross_entropy nn.functional.multi_margin_loss",
             lambda m: (m.x(3, 4), m.i(3))),
    "nn.functional.multilabel_margin_loss": lambda m: (
        m.x(2, 3), torch.tensor([[0, 2, -1], [1, -1, 0]])),
    "nn.functional.multilabel_soft_margin_loss": lambda m: (m.x(2, 3), m.unit(2, 3)),
    **_names("nn.functional.hinge_embedding_loss hinge_embedding_loss",
             lambda m: (m.x(2, 3), 1 - 2 * m.i(2, 3, high=2))),
    **_names("nn.functional.margin_ranking_loss margin_ranking_loss",
             lambda m: (m.x(3), m.x(3), torch.tensor([1, -1, 1]))),
    **_names("nn.functional.cosine_embedding_loss cosine_embedding_loss",
             lambda m: (m.x(2, 3), m.x(2, 3), torch.tensor([1, -1]))),
    "poisson_nll_loss": lambda m: (m.x(2, 3), m.unit(2, 3), True, False, 1e-8, 0),
    "dequantize": lambda m: (m.i(2, 3),),
    "nn.functional.gaussian_nll_loss": lambda m: (m.x(2, 3), m.x(2, 3), m.positive(2, 3)),
    **_names("nn.functional.ctc_loss ctc_loss", lambda m: (
        m.x(5, 2, 4).log_softmax(-1), m.i(2, 2, low=1, high=4), torch.tensor([5, 4]),
        torch.tensor([2, 1]))),
    **_names("rnn_tanh_cell rnn_relu_cell", lambda m: (m.x(2, 3), m.x(2, 2), m.x(2, 3), m.x(2, 2))),
    "gru_cell": lambda m: (m.x(2, 3), m.x(2, 2), m.x(6, 3), m.x(6, 2)),
    "lstm_cell": lambda m: (m.x(2, 3), (m.x(2, 1), m.x(2, 1)), m.x(4, 3), m.x(4, 1)),
    # signals, types
    "stft": lambda m: (m.x(8), 4),
    "signal.windows.general_cosine": lambda m: (5,),
    **_names("fft.hfft fft.irfft fft.ihfft", lambda m: (m.x(4),)),
    "result_type": lambda m: (m.x(2), m.i(2)),
    "promote_types": lambda m: (torch.float32, torch.int64),
    "can_cast": lambda m: (torch.float32, torch.int64),
    "from_numpy": lambda m: (np.ones(3),),
    "tensor": lambda m: ([1.0, 2.0],),
    "as_tensor": lambda m: ([1.0, 2.0],),
    "asarray": lambda m: ([1.0, 2.0],),
    "from_dlpack": lambda m: (np.ones(3),),
    "frombuffer": lambda m: (bytearray(8),),
    "is_nonzero": lambda m: (m.x(1),),
    "range": lambda m: (0, 3),
    "index_put_": lambda m: (m.x(2, 3), (torch.tensor([0, 1]),), m.x(3)),
    "view_copy": lambda m: (m.x(2, 3), (3, 2)),
    "istft": lambda m: (torch.stft(m.x(12), 4, return_complex=True, window=torch.ones(4)), 4),
    "nn.functional.linear_cross_entropy": lambda m: (m.x(3, 2), m.x(4, 2), m.i(3)),
    "lstm": lambda m: (m.x(2, 1, 2), (m.x(1, 1, 1), m.x(1, 1, 1)), _weights(m, 4), True, 1, 0.0,
                       False, False, False),
    "gru": lambda m: (m.x(2, 1, 2), m.x(1, 1, 1), _weights(m, 3), True, 1, 0.0, False, False,
                      False),
    **_names("rnn_tanh rnn_relu", lambda m: (
        m.x(3, 1, 2), m.x(1, 1, 1), _weights(m, 1), True, 1, 0.0, False, False, False)),
    **_names("is_tensor is_storage typename", lambda m: (m.x(2),)),
    "nonzero_static": lambda m: (m.i(2, 3),),
    "masked.normalize": lambda m: (m.x(2, 3), 2.0, 1),
    "resize_as_": lambda m: (m.x(2, 3), m.x(3, 2)),
    "fft.fftfreq": lambda m: (4,),
}

KEYWORDS: dict[str, dict[str, Any]] = {
    "linalg.solve_triangular": {"upper": False},
    "nonzero_static": {"size": 4},
    "segment_reduce": {"lengths": np.array([1, 3])},
    "stft": {"return_complex": True, "window": np.ones(4)},
    "nn.functional.one_hot": {"num_classes": 3},
    "signal.windows.general_cosine": {"a": [0.5, 0.3, 0.2]},
    "frombuffer": {"dtype": torch.float32},
    "linalg.svd": {"full_matrices": False},
    "clamp": {"min": -0.5, "max": 0.7},
    "istft": {"window": np.ones(4)},
}

# Arguments as functions of free parameters: symmetric, triangular, normalized.
PREPARE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        "linalg.cholesky linalg.cholesky_ex cholesky linalg.eigh linalg.eigvalsh".split(),
        lambda a, *more: (a @ a.mH + a.mH + a, *more)),
    "cholesky_solve": lambda b, a: (b, a.tril()),
    # LAPACK takes the diagonal for real.
    "cholesky_inverse": lambda a: (a.tril(-1) + a.diagonal().real.diag(),),
    **dict.fromkeys(["ctc_loss", "nn.functional.ctc_loss"],
                    lambda a, *more: (a.log_softmax(-1), *more)),
}

# Results up to the choice of a sign or phase that the function is free to make.
FINISH: dict[str, Callable[..., Any]] = {
    "linalg.eigh": lambda values, vectors: (values, vectors.abs()),
    "linalg.eig": lambda values, vectors: (values, vectors.abs()),
    "linalg.svd": lambda u, s, vh: (u.abs(), s, vh.abs()),
    "svd": lambda u, s, v: (u.abs(), s, v.abs()),
}

# Inputs that have no gradient, by position among the tensors, as in PyTorch.
CONSTANT: dict[str, tuple[int, ...]] = {
    "nn.functional.soft_margin_loss": (1,),
    "nn.functional.batch_norm": (1, 2), "batch_norm": (3, 4), "native_batch_norm": (3, 4),
    "igamma": (0,), "igammac": (0,), "special.zeta": (0,),
}

# The reasons why some operators are asked nothing here; their own tests ask them.
WITHOUT_SAMPLE: dict[str, str] = {
    **dict.fromkeys("""rand randn randint rand_like randn_like randint_like randperm bernoulli
        multinomial normal poisson binomial dropout dropout_ alpha_dropout alpha_dropout_
        feature_dropout feature_dropout_ feature_alpha_dropout feature_alpha_dropout_
        native_dropout nn.functional.dropout nn.functional.alpha_dropout rrelu rrelu_
        nn.functional.feature_alpha_dropout nn.functional.dropout1d nn.functional.dropout2d
        nn.functional.dropout3d nn.functional.rrelu nn.functional.gumbel_softmax svd_lowrank
        pca_lowrank empty empty_like empty_permuted empty_strided
        nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d
        nn.functional.fractional_max_pool2d_with_indices lobpcg
        nn.functional.fractional_max_pool3d_with_indices""".split(), "random or uninitialized"),
    **dict.fromkeys(["_standard_gamma", "_sample_dirichlet"], "random; the gradient is that of the "
                    "distribution, not of the rejection sampler: tests/distributions"),
    **dict.fromkeys("""fake_quantize_per_tensor_affine fake_quantize_per_channel_affine
        quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic""".split(),
        "rounds, but has a slope, or is refused: tests/ops/test_quantization.py"),
    "nn.functional.multi_head_attention_forward": "tests/nn/test_attention.py asks it",
    "embedding_renorm_": "changes its input by a norm of chosen rows: see tests/nn",
    "from_file": "reads a file",
}
_SPARSE = ("sparse", "hspmm", "smm", "sspaddmm")


def unique_operators() -> dict[str, Operator]:
    """Every operator once, under its first name."""
    found: dict[int, tuple[str, Operator]] = {}
    for path, op in OPERATORS.items():
        found.setdefault(id(op), (path, op))
    return dict(found.values())


def missing_sample(path: str) -> str | None:
    """Why there is no sample for an operator; None if there is one."""
    if path in WITHOUT_SAMPLE:
        return WITHOUT_SAMPLE[path]
    if path.startswith(_SPARSE) or "sparse" in path:
        return "sparse layouts have tests of their own"
    if path not in BY_NAME and required_parameters(OPERATORS[path]) not in BY_SIGNATURE:
        return "takes what no rule makes"
    return None


def required_parameters(op: Operator) -> tuple[str, ...]:
    return tuple(
        p.name if p.role == VALUE else p.role
        for p in signature_of(op).parameters if p.default is REQUIRED
    )


def sample(path: str) -> Sample:
    """The sample arguments of an operator."""
    maker = Maker(path)
    rule = BY_NAME.get(path) or BY_SIGNATURE[required_parameters(OPERATORS[path])]
    keywords = {
        name: torch.tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in KEYWORDS.get(path, {}).items()
    }
    return rule(maker), keywords


UNIQUE = unique_operators()
ASKED = [path for path in UNIQUE if missing_sample(path) is None]


def mapped(change, value):
    """A structure of arguments with `change` applied to its tensors."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)([mapped(change, v) for v in value])
    if isinstance(value, dict):
        return {k: mapped(change, v) for k, v in value.items()}
    return value


def tensors_in(value):
    found = []
    mapped(found.append, value)
    return found


def results_of(value):
    """The tensors of a result; named tuples are no structures to rebuild."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in results_of(v)]
    return []
