"""`torch.nn.attention`: which way attention is computed. Here there is one."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(enum.IntEnum):
    """PyTorch's ways to compute attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __repr__(self) -> str:
        return f"<SDPBackend.{self.name}: {self.value}>"


_chosen: ContextVar[tuple[SDPBackend, ...]] = ContextVar(
    "chosen", default=(SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
)


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    """The ways that are allowed now."""
    return list(_chosen.get())


@contextmanager
def sdpa_kernel(
    backends: SDPBackend | Sequence[SDPBackend], set_priority: bool = False
) -> Iterator[None]:
    """Within: attention may be computed in these ways only, all of which mean taper's own.

    Example:
        >>> import taper as torch
        >>> from taper.nn.attention import SDPBackend, sdpa_kernel
        >>> q = torch.zeros(1, 1, 2, 4)
        >>> with sdpa_kernel(SDPBackend.MATH):
        ...     torch.nn.functional.scaled_dot_product_attention(q, q, q).shape
        torch.Size([1, 1, 2, 4])
    """
    if isinstance(backends, SDPBackend):
        backends = (backends,)
    if not all(isinstance(backend, SDPBackend) for backend in backends):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend")
    token = _chosen.set(tuple(dict.fromkeys(backends)))
    try:
        yield
    finally:
        _chosen.reset(token)
