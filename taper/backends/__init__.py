"""`torch.backends`: what numeric libraries there are. taper computes with NumPy's and its own.

Each library is a module (``import torch.backends.cudnn as cudnn``) with the switches that programs
set on it; they are kept, and change nothing.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = [
    "cpu", "cuda", "cudnn", "cusparselt", "kleidiai", "mha", "miopen", "mkl", "mkldnn", "mps",
    "nnpack", "openmp", "opt_einsum", "quantized", "xeon", "xnnpack",
]


class Backend(ModuleType):
    """One library: whether it is there, and the switches programs set on it."""

    def __init__(self, name: str, available: bool = False, **switches: Any) -> None:
        super().__init__(f"torch.backends.{name}")
        self._available = available
        for switch, value in switches.items():
            setattr(self, switch, value)
        sys.modules[f"{__name__}.{name}"] = self

    def is_available(self) -> bool:
        """Returns whether the library is used."""
        return self._available

    def is_built(self) -> bool:
        """Returns whether support for the library was built in."""
        return self._available

    def version(self) -> int | None:
        """Returns None: the library is not there."""
        return None

    @contextmanager
    def flags(self, **switches: Any) -> Iterator[None]:
        """Within: the library's switches have these values."""
        before = {name: getattr(self, name, None) for name in switches}
        self.set_flags(**switches)
        try:
            yield
        finally:
            self.set_flags(**before)

    def set_flags(self, **switches: Any) -> tuple[Any, ...]:
        """Sets switches; returns their values before."""
        before = tuple(getattr(self, name, None) for name in switches)
        for name, value in switches.items():
            setattr(self, name, value)
        return before

    def __repr__(self) -> str:
        return f"<module '{self.__name__}'>"


class AttentionSwitches(Backend):
    """`torch.backends.cuda`: which of a GPU's ways to compute attention are allowed."""

    def __init__(self) -> None:
        super().__init__("cuda", matmul=Backend(
            "cuda.matmul", allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
            allow_bf16_reduced_precision_reduction=True, fp32_precision="none",
        ))
        for way in ("flash", "mem_efficient", "math", "cudnn"):
            _add_switch(self, f"{way}_sdp_enabled", f"enable_{way}_sdp")

    @contextmanager
    def sdp_kernel(
        self, enable_flash: bool = True, enable_math: bool = True,
        enable_mem_efficient: bool = True, enable_cudnn: bool = True,
    ) -> Iterator[dict[str, bool]]:
        """Within: these ways are allowed. Deprecated: use `torch.nn.attention.sdpa_kernel`."""
        warnings.warn(
            "`torch.backends.cuda.sdp_kernel()` is deprecated. In the future, this context manager "
            "will be removed. Please see `torch.nn.attention.sdpa_kernel()` for the new context "
            "manager, with updated signature.", FutureWarning, stacklevel=3,
        )
        wanted = {"flash": enable_flash, "mem_efficient": enable_mem_efficient,
                  "math": enable_math, "cudnn": enable_cudnn}
        before = {way: getattr(self, f"{way}_sdp_enabled")() for way in wanted}
        self._allow(wanted)
        try:
            yield {}
        finally:
            self._allow(before)

    def _allow(self, wanted: dict[str, bool]) -> None:
        for way, allowed in wanted.items():
            getattr(self, f"enable_{way}_sdp")(allowed)


def _add_switch(backend: Backend, getter: str, setter: str) -> None:
    """Two functions for one switch, which is on.

    Compiled steps watch what stands under the names that they read: there, it is another function
    for each position.
    """
    enabled = True
    answers: dict[bool, Any] = {True: lambda: enabled, False: lambda: enabled}

    def enable(value: bool) -> None:
        nonlocal enabled
        enabled = value
        setattr(backend, getter, answers[bool(value)])

    enable(True)
    setattr(backend, setter, enable)


fp32_precision = "none"
cuda = AttentionSwitches()
cudnn = Backend(
    "cudnn", enabled=True, benchmark=False, deterministic=False, allow_tf32=True,
    benchmark_limit=10,
)
cusparselt = Backend("cusparselt")
kleidiai = Backend("kleidiai")
mha = Backend("mha")
_add_switch(mha, "get_fastpath_enabled", "set_fastpath_enabled")
miopen = Backend("miopen", immediate=False)
mkl = Backend("mkl", VERBOSE_OFF=0, VERBOSE_ON=1)
mkldnn = Backend("mkldnn", enabled=True, deterministic=False, allow_tf32=True)
mps = Backend("mps", is_macos_or_newer=lambda major, minor: False,
              is_macos13_or_newer=lambda minor=0: False)
nnpack = Backend("nnpack", enabled=False)
openmp = Backend("openmp")
opt_einsum = Backend("opt_einsum", enabled=False, strategy=None)
quantized = Backend("quantized", engine="none", supported_engines=["none"])
xeon = Backend("xeon")
xnnpack = Backend("xnnpack", enabled=False)
cpu = Backend("cpu", True, get_cpu_capability=lambda: "DEFAULT")
