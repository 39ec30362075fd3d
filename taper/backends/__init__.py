"""`torch.backends`: what numeric libraries there are. taper computes with NumPy's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]


class Backend:
    """One library: whether it is there, and the switches programs set on it."""

    def __init__(self, name: str, available: bool, **switches: Any) -> None:
        self.__name__ = f"torch.backends.{name}"
        self._available = available
        for switch, value in switches.items():
            setattr(self, switch, value)

    def is_available(self) -> bool:
        """Returns whether the library is used."""
        return self._available

    def is_built(self) -> bool:
        """Returns whether support for the library was built in."""
        return self._available

    def version(self) -> int | None:
        """Returns None: the library is not there."""
        return None

    def __repr__(self) -> str:
        return f"<module '{self.__name__}'>"


cudnn = Backend(
    "cudnn", False, enabled=True, benchmark=False, deterministic=False, allow_tf32=True,
    benchmark_limit=10,
)
@contextmanager
def _flags(**switches: Any) -> Iterator[None]:
    """Within: cudnn's switches have these values."""
    before = {name: getattr(cudnn, name, None) for name in switches}
    for name, value in switches.items():
        setattr(cudnn, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(cudnn, name, value)


cudnn.flags = _flags  # type: ignore[attr-defined]
fp32_precision = "none"
cuda = Backend("cuda", False, matmul=Backend("cuda.matmul", False, allow_tf32=False))
mps = Backend("mps", False)
mkl = Backend("mkl", False)
mkldnn = Backend("mkldnn", False, enabled=True)
openmp = Backend("openmp", False)
opt_einsum = Backend("opt_einsum", False, enabled=False, strategy=None)
cpu = Backend("cpu", True)
cpu.get_cpu_capability = lambda: "DEFAULT"  # type: ignore[attr-defined]
