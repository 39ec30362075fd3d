"""More samples for the derivatives: options, complex numbers, seeded random operators, sparse ones.

operator_samples.py has one call for each operator; here are the ways that have rules of their own.
`OPTIONS` adds keywords to that call (None in place of it: `CALLS` gives the arguments).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from operator_samples import Maker, sample

import taper as torch

Keywords = dict[str, Any]


def _reductions(**more: Any) -> list[Keywords]:
    return [{"reduction": "none", **more}, {"reduction": "sum", **more}]


def _each(name: str, *values: Any) -> list[Keywords]:
    return [{name: value} for value in values]


_DIM = [{"dim": 1}, {"dim": 0, "keepdim": True}]
_ONE_DIM: list[Keywords] = [{"norm": "ortho"}, {"n": 5}, {"n": 3}]
_MANY_DIMS: list[Keywords] = [{"norm": "ortho"}, {"s": (3, 4)}]
_SUMS: list[Keywords] = [*_DIM, {"dim": (0, 1)}]
_POOL: list[Keywords] = [{"stride": 1, "padding": 1}, {"stride": 3, "ceil_mode": True}]

OPTIONS: dict[str, list[Keywords]] = {
    **dict.fromkeys("sum mean nansum nanmean amax amin var std var_mean std_mean".split(), _SUMS),
    **dict.fromkeys("prod max min median nanmedian mode aminmax".split(), _DIM),
    "var": [{"correction": 0}, {"dim": 1, "correction": 2, "keepdim": True}],
    "norm": [{"p": 1}, {"p": 3, "dim": 1}, {"p": inf, "dim": 0}, {"p": "nuc"}, {"p": -1, "dim": 1}],
    "linalg.vector_norm": [{"ord": 1}, {"ord": 3.5, "dim": 0}, {"ord": inf}, {"ord": -inf},
                           {"ord": 0.5, "keepdim": True}],
    "linalg.matrix_norm": _each("ord", "nuc", 2, -2, 1, inf, -1),
    "linalg.norm": [{"ord": "nuc"}, {"ord": 2}, {"ord": 1, "dim": 1}],
    "linalg.cond": _each("p", "fro", 1, -2, "nuc"),
    "linalg.pinv": [{"rtol": 1e-3}],
    "linalg.cholesky": [{"upper": True}], "cholesky": [{"upper": True}],
    "linalg.eigh": [{"UPLO": "U"}],
    "linalg.lu_solve": [{"adjoint": True}],
    "linalg.solve_triangular": [{"unitriangular": True}],
    "ormqr": [{"transpose": True}],
    "quantile": [{"dim": 1}, *_each("interpolation", "lower", "higher", "midpoint", "nearest")],
    "nanquantile": [{"dim": 1, "keepdim": True}],
    "diff": [{"n": 2}, {"dim": 0}],
    "gradient": [{"dim": 1, "edge_order": 2}, {"spacing": 0.5}],
    "trapezoid": [{"dx": 0.5}], "cumulative_trapezoid": [{"dim": 0}],
    "cdist": _each("p", 1.0, 3.0, inf), "pdist": _each("p", 1.0, 3.0, inf),
    "dist": _each("p", 1, 3, inf), "nn.functional.pairwise_distance": [{"p": 1.0, "keepdim": True}],
    "cosine_similarity": [{"dim": 0}],
    "sort": [{"descending": True, "dim": 0}], "topk": [{"largest": False}],
    "nan_to_num": [{"nan": 1.0}], "round": [{"decimals": 1}],
    # activations
    "nn.functional.gelu": [{"approximate": "tanh"}],
    "nn.functional.softplus": [{"beta": 2.0, "threshold": 1.0}],
    "nn.functional.elu": [{"alpha": 0.5}], "celu": [{"alpha": 0.5}],
    "nn.functional.leaky_relu": [{"negative_slope": 0.2}],
    "nn.functional.normalize": [{"p": 1.0}, {"dim": 0}],
    "nn.functional.hardtanh": [{"min_val": -0.5, "max_val": 0.7}],
    "nn.functional.scaled_dot_product_attention": [{"is_causal": True}, {"scale": 0.3}],
    # losses
    **dict.fromkeys("""nn.functional.mse_loss nn.functional.l1_loss nn.functional.soft_margin_loss
        nn.functional.binary_cross_entropy nn.functional.hinge_embedding_loss
        nn.functional.margin_ranking_loss nn.functional.cosine_embedding_loss
        nn.functional.multilabel_margin_loss nn.functional.multilabel_soft_margin_loss
        nn.functional.nll_loss nn.functional.ctc_loss nn.functional.triplet_margin_loss
        """.split(), _reductions()),
    "nn.functional.smooth_l1_loss": [*_reductions(beta=0.3), {"beta": 0.0}],
    "nn.functional.huber_loss": _reductions(delta=0.4),
    "nn.functional.kl_div": [*_reductions(), {"reduction": "batchmean", "log_target": True}],
    "nn.functional.poisson_nll_loss": [{"full": True}, {"reduction": "sum"}],
    "nn.functional.gaussian_nll_loss": _reductions(full=True),
    "nn.functional.multi_margin_loss": [*_reductions(), {"p": 2, "margin": 0.5}],
    "nn.functional.cross_entropy": [*_reductions(), {"label_smoothing": 0.2},
                                    {"ignore_index": 1}],
    # pictures
    **{f"nn.functional.{kind}_pool{n}d": _POOL for kind in ("max", "avg") for n in (1, 2)},
    "nn.functional.avg_pool2d": [*_POOL, {"padding": 1, "count_include_pad": False},
                                 {"divisor_override": 3}],
    "nn.functional.max_pool2d": [*_POOL, {"dilation": 2, "stride": 1}],
    **{f"nn.functional.conv{n}d": [{"stride": 2, "padding": 1}, {"dilation": 2, "padding": 1}]
       for n in (1, 2)},
    **{f"nn.functional.conv_transpose{n}d": [
        {"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 2}] for n in (1, 2)},
    "nn.functional.interpolate": [{"mode": "linear"}, {"mode": "linear", "align_corners": True},
                                  {"mode": "nearest-exact"}, {"mode": "area"}],
    "nn.functional.grid_sample": [
        {"mode": mode, "padding_mode": padding, "align_corners": align}
        for mode, padding, align in (
            ("bilinear", "border", True), ("bilinear", "reflection", False),
            ("bicubic", "zeros", False), ("nearest", "zeros", True))],
    "nn.functional.pad": [{"mode": "constant", "value": 2.0}, {"mode": "reflect"},
                          {"mode": "replicate"}, {"mode": "circular"}],
    "nn.functional.embedding_bag": _each("mode", "sum", "max"),
    "nn.functional.instance_norm": [{"eps": 0.1}],
    "nn.functional.batch_norm": [{"training": True}],
    # signals
    **dict.fromkeys("fft.fft fft.ifft fft.rfft fft.irfft fft.hfft fft.ihfft".split(), _ONE_DIM),
    **dict.fromkeys("fft.fftn fft.ifftn fft.rfftn fft.irfftn fft.hfftn fft.ihfftn fft.fft2".split(),
                    _MANY_DIMS),
    "stft": [{"normalized": True, "center": False}, {"onesided": False}],
}


def _constant(t: Any) -> Any:
    """Float32, which no derivative is asked for here: PyTorch has none for weights of losses."""
    return t.float()


_INDEX = torch.tensor([0, 2, 0])


def _reduce(name: str, how: str, include_self: bool) -> Callable[[Maker], Any]:
    if name == "scatter_reduce":
        return lambda m: (
            (m.x(3, 2), 0, torch.tensor([[0, 1], [0, 1], [2, 2]]), m.x(3, 2), how),
            {"include_self": include_self})
    return lambda m: ((m.x(3, 2), 0, _INDEX, m.x(3, 2), how), {"include_self": include_self})


# Calls with other arguments than the sample's.
CALLS: dict[str, list[Callable[[Maker], Any]]] = {
    "scatter_reduce": [_reduce("scatter_reduce", how, own) for own in (True, False)
                       for how in ("sum", "prod", "mean", "amax", "amin")],
    "index_reduce": [_reduce("index_reduce", how, own) for own in (True, False)
                     for how in ("prod", "mean", "amax", "amin")],
    "segment_reduce": [
        lambda m, how=how: ((m.x(4), how), {"lengths": torch.tensor([1, 3])})
        for how in ("mean", "prod", "max", "min")],
    "einsum": [
        lambda m: (("ij,ij->i", m.x(2, 3), m.x(2, 3)), {}),
        lambda m: (("ii->i", m.x(3, 3)), {}),
        lambda m: (("bij,bjk->bik", m.x(2, 2, 3), m.x(2, 3, 2)), {}),
        lambda m: (("...ij,kj->...ik", m.x(2, 2, 3), m.x(2, 3)), {}),
        lambda m: (("i,j,k->", m.x(2), m.x(2), m.x(2)), {})],
    "tensordot": [lambda m: ((m.x(2, 3), m.x(3, 2)), {"dims": 1}),
                  lambda m: ((m.x(2, 3), m.x(2, 3)), {"dims": ([0], [0])})],
    "matmul": [lambda m: ((m.x(3), m.x(3)), {}), lambda m: ((m.x(2, 3), m.x(3)), {}),
               lambda m: ((m.x(2), m.x(2, 3)), {}), lambda m: ((m.x(2, 2, 3), m.x(3, 2)), {}),
               lambda m: ((m.x(2, 1, 2, 3), m.x(2, 3, 2)), {})],
    "linalg.solve": [lambda m: ((m.square(), m.x(2, 3)), {"left": False}),
                     lambda m: ((m.square(), m.x(3)), {})],
    "linalg.qr": [lambda m: ((m.x(2, 3),), {}), lambda m: ((m.square(),), {"mode": "complete"})],
    "linalg.lstsq": [lambda m: ((m.x(2, 3), m.x(2, 2)), {}),
                     lambda m: ((m.x(4, 2), m.x(4, 1)), {"driver": "gelsd"})],
    "linalg.lu": [lambda m: ((m.x(2, 3),), {}), lambda m: ((m.x(3, 2),), {})],
    "linalg.matrix_power": [lambda m: ((m.square(), -2), {})],
    "linalg.matrix_exp": [lambda m: ((m.x(2, 3, 3),), {})],
    "linalg.det": [lambda m: ((m.x(2, 2, 2),), {})],
    "linalg.svd": [lambda m: ((m.x(3, 2),), {"full_matrices": False})],
    "where": [lambda m: ((m.b(2, 3), m.x(1, 3), m.x(2, 1)), {})],
    "index_put": [lambda m: ((m.x(2, 3), (torch.tensor([0, 0]),), m.x(2, 3)),
                             {"accumulate": True})],
    "nn.functional.layer_norm": [lambda m: ((m.x(2, 3), (3,), m.x(3), m.x(3)), {}),
                                 lambda m: ((m.x(2, 2, 3), (2, 3)), {})],
    "nn.functional.rms_norm": [lambda m: ((m.x(2, 3), (3,), m.x(3)), {})],
    "nn.functional.group_norm": [lambda m: ((m.x(2, 4, 3), 2, m.x(4), m.x(4)), {})],
    "nn.functional.batch_norm": [lambda m: (
        (m.x(3, 2), None, None, m.x(2), m.x(2)), {"training": True})],
    "nn.functional.instance_norm": [lambda m: (
        (m.x(2, 3, 4), None, None, m.x(3), m.x(3)), {})],
    "nn.functional.conv2d": [lambda m: ((m.x(1, 4, 3, 3), m.x(4, 2, 2, 2)), {"groups": 2})],
    "nn.functional.conv1d": [lambda m: ((m.x(2, 4), m.x(3, 2, 2)), {"padding": "same"})],
    "nn.functional.interpolate": [
        lambda m, mode=mode, align=align: (
            (m.x(1, 1, 3, 3), (4, 5)), {"mode": mode, "align_corners": align})
        for mode, align in (("bilinear", True), ("bicubic", False))],
    "nn.functional.scaled_dot_product_attention": [
        lambda m: ((m.x(2, 3, 2), m.x(2, 4, 2), m.x(2, 4, 2), m.x(3, 4)), {})],
    "nn.functional.cross_entropy": [
        lambda m: ((m.x(3, 4), m.unit(3, 4)), {}),
        lambda m: ((m.x(2, 4, 3), m.i(2, 3), _constant(m.positive(4))), {}),
        lambda m: ((m.x(3, 4), m.unit(3, 4), m.positive(4)), {"label_smoothing": 0.1})],
    "nn.functional.nll_loss": [lambda m: ((m.x(2, 4, 3), m.i(2, 3), _constant(m.positive(4))), {})],
    "nn.functional.binary_cross_entropy": [
        lambda m: ((m.unit(2, 3), m.unit(2, 3), _constant(m.positive(2, 3))), {})],
    "nn.functional.binary_cross_entropy_with_logits": [lambda m: (
        (m.x(2, 3), m.unit(2, 3), _constant(m.positive(2, 3))),
        {"pos_weight": _constant(m.positive(3))})],
    "nn.functional.poisson_nll_loss": [
        lambda m: ((m.positive(2, 3), m.positive(2, 3)), {"log_input": False})],
    "nn.functional.triplet_margin_loss": [
        lambda m: ((m.x(2, 3), m.x(2, 3), m.x(2, 3)), {"swap": True, "p": 1.0})],
    "nn.functional.embedding_bag": [lambda m: (
        (m.i(2, 2), m.x(4, 3)), {"mode": "sum", "per_sample_weights": m.x(2, 2)})],
    "nn.functional.linear": [lambda m: ((m.x(2, 2, 3), m.x(4, 3), m.x(4)), {}),
                             lambda m: ((m.x(3), m.x(4, 3)), {})],
    "nn.functional.pad": [
        lambda m, mode=mode: ((m.x(1, 1, 3, 3), (1, 2, 1, 0)), {"mode": mode})
        for mode in ("reflect", "replicate", "circular")],
}

# Random operators: the same numbers every time, by the seed that is set before each call.
RANDOM: dict[str, Callable[[Maker], Any]] = {
    **dict.fromkeys("""nn.functional.dropout nn.functional.alpha_dropout
        nn.functional.feature_alpha_dropout""".split(), lambda m: ((m.x(2, 3),), {})),
    **dict.fromkeys("dropout alpha_dropout feature_dropout feature_alpha_dropout".split(),
                    lambda m: ((m.x(2, 3), 0.4, True), {})),
    "native_dropout": lambda m: ((m.x(2, 3), 0.4, True), {}),
    "nn.functional.dropout1d": lambda m: ((m.x(2, 3, 2),), {}),
    "nn.functional.dropout2d": lambda m: ((m.x(1, 3, 2, 2),), {}),
    "nn.functional.dropout3d": lambda m: ((m.x(1, 3, 2, 1, 2),), {}),
    "rrelu": lambda m: ((m.x(2, 3),), {"training": True}),
    "nn.functional.rrelu": lambda m: ((m.x(2, 3),), {"training": True}),
    "nn.functional.gumbel_softmax": lambda m: ((m.x(2, 3),), {"tau": 0.7}),
    "nn.functional.fractional_max_pool2d": lambda m: ((m.x(1, 2, 4, 4), 2), {"output_size": 2}),
    "nn.functional.fractional_max_pool3d": lambda m: ((m.x(1, 1, 4, 4, 4), 2), {"output_size": 2}),
    "nn.functional.fractional_max_pool2d_with_indices": lambda m: (
        (m.x(1, 2, 4, 4), 2), {"output_size": 2}),
    "nn.functional.fractional_max_pool3d_with_indices": lambda m: (
        (m.x(1, 1, 4, 4, 4), 2), {"output_size": 2}),
    "svd_lowrank": lambda m: ((m.x(4, 3),), {"q": 3}),
    "pca_lowrank": lambda m: ((m.x(4, 3),), {"q": 2}),
    "nn.functional.multi_head_attention_forward": lambda m: (
        (m.x(3, 1, 2), m.x(4, 1, 2), m.x(4, 1, 2), 2, 1, m.x(6, 2), m.x(6), None, None, False, 0.2,
         m.x(2, 2), m.x(2)), {}),
}


def _of_sparse(operator: Callable[..., Any], *dense: int) -> Callable[..., Any]:
    """The operator as a function of dense numbers; `dense` says which arguments stay so."""

    def function(*values: Any) -> Any:
        given = [v if n in dense else v.to_sparse() for n, v in enumerate(values)]
        result = operator(*given)
        return result.to_dense() if result.is_sparse else result

    return function


# Functions with sparse operands, and the dense numbers to put into them.
SPARSE: dict[str, tuple[Callable[..., Any], Callable[[Maker], Any]]] = {
    "sparse.mm": (_of_sparse(torch.sparse.mm, 1), lambda m: (m.x(2, 3), m.x(3, 2))),
    "smm": (_of_sparse(torch.smm), lambda m: (m.x(2, 3), m.x(3, 2))),
    "sparse.addmm": (_of_sparse(torch.sparse.addmm, 0, 2),
                     lambda m: (m.x(2, 2), m.x(2, 3), m.x(3, 2))),
    "sparse.sum": (_of_sparse(lambda a: torch.sparse.sum(a, 1)), lambda m: (m.x(2, 3),)),
    "sparse.softmax": (_of_sparse(lambda a: torch.sparse.softmax(a, 1)), lambda m: (m.x(2, 3),)),
    "sparse.log_softmax": (_of_sparse(lambda a: torch.sparse.log_softmax(a, 1)),
                           lambda m: (m.x(2, 3),)),
    "sparse_coo_tensor": (
        lambda v: torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), v, (2, 2)).to_dense(),
        lambda m: (m.x(2),)),
}

# Operators without a sample whose derivatives are not asked either, with the reason.
NO_DERIVATIVE = {
    **dict.fromkeys("""rand randn randint rand_like randn_like randint_like randperm bernoulli
        multinomial normal poisson binomial empty empty_like empty_permuted empty_strided
        _standard_gamma _sample_dirichlet""".split(),
        "results don't depend on the input, or not smoothly"),
    **dict.fromkeys("""dropout_ alpha_dropout_ feature_dropout_ feature_alpha_dropout_
        embedding_renorm_ resize_as_sparse_""".split(), "in place: asked in their other form"),
    **dict.fromkeys("""quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic
        sparse.to_sparse_semi_structured""".split(), "refused, and what to use instead said"),
    **dict.fromkeys("fake_quantize_per_tensor_affine fake_quantize_per_channel_affine".split(),
                    "rounds, but passes gradients: tests/ops/test_quantization.py"),
    "lobpcg": "iterates with a random start; its values are those of linalg.eigh",
    "from_file": "reads a file",
    **dict.fromkeys("""sparse_compressed_tensor sparse_csr_tensor sparse_csc_tensor
        sparse_bsr_tensor sparse_bsc_tensor sparse.sampled_addmm hspmm sspaddmm sparse.spsolve
        sparse.spdiags sparse.as_sparse_gradcheck""".split(),
        "sparse layouts: tests/ops/test_sparse_math.py differentiates them"),
}


def calls(path: str) -> list[Any]:
    """The arguments and keywords of an operator's further calls."""
    found = [(args, {**keywords, **more}) for more in OPTIONS.get(path, ())
             for args, keywords in [sample(path)]]
    return found + [make(Maker(path)) for make in CALLS.get(path, ())]
