"""`torch.return_types`: the named tuples that operators with several results return."""

from __future__ import annotations

from taper.ops.return_types import named

_FIELDS = {
    "values indices": "cummax cummin kthvalue max median min mode nanmedian sort topk",
    "min max": "aminmax",
    "mantissa exponent": "frexp",
    "a tau": "geqrf",
    "hist bin_edges": "histogram histogramdd",
    "L info": "linalg_cholesky_ex",
    "eigenvalues eigenvectors": "linalg_eig linalg_eigh",
    "inverse info": "linalg_inv_ex",
    "LD pivots": "linalg_ldl_factor",
    "LD pivots info": "linalg_ldl_factor_ex",
    "solution residuals rank singular_values": "linalg_lstsq",
    "P L U": "linalg_lu lu_unpack",
    "LU pivots": "linalg_lu_factor",
    "LU pivots info": "linalg_lu_factor_ex",
    "Q R": "linalg_qr qr",
    "sign logabsdet": "linalg_slogdet slogdet",
    "result info": "linalg_solve_ex",
    "U S Vh": "linalg_svd",
    "U S V": "svd",
    "solution cloned_coefficient": "triangular_solve",
}
_FIELDS_OF = {name: fields for fields, names in _FIELDS.items() for name in names.split()}

__all__ = list(_FIELDS_OF)


def __getattr__(name: str) -> type:
    """The tuple of an operator; with ``_out`` that of its form with `out=`, which is the same."""
    plain = name.removesuffix("_out")
    if plain not in _FIELDS_OF:
        raise AttributeError(f"module 'torch.return_types' has no attribute {name!r}")
    return named(plain, tuple(_FIELDS_OF[plain].split()))
