"""Divergences between distributions; importing this registers all formulas that are built in."""

from __future__ import annotations

from taper.distributions import kl_between_families, kl_within_families
from taper.distributions.kl_registry import (
    _KL_MEMOIZE,
    _KL_REGISTRY,
    kl_divergence,
    register_kl,
)

__all__ = [
    "_KL_MEMOIZE", "_KL_REGISTRY", "kl_between_families", "kl_divergence", "kl_within_families",
    "register_kl",
]
