"""`torch.utils.cpp_extension`: there is no C++ library to build extensions against."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "CUDA_HOME",
    "BuildExtension",
    "CUDAExtension",
    "CppExtension",
    "include_paths",
    "is_ninja_available",
    "library_paths",
    "load",
    "load_inline",
]

CUDA_HOME: str | None = None
ROCM_HOME: str | None = None


def _refuse(*args: Any, **options: Any) -> NoReturn:
    """Raises NotImplementedError."""
    raise NotImplementedError(
        "torch.utils.cpp_extension: taper is Python over NumPy, and has no C++ library that an "
        "extension could be built against. Write the operation with torch's functions "
        "(torch.library.custom_op makes it one operator), or wrap a compiled function with "
        "autograd.Function and Tensor.numpy()."
    )


load = load_inline = CppExtension = CUDAExtension = _refuse


class BuildExtension:
    """Would build extensions."""

    def __init__(self, *args: Any, **options: Any) -> None:
        _refuse()

    with_options = classmethod(_refuse)


def is_ninja_available() -> bool:
    """Returns False: nothing is built."""
    return False


def include_paths(device_type: str = "cpu") -> list[str]:
    """Returns []: there are no headers."""
    return []


def library_paths(device_type: str = "cpu") -> list[str]:
    """Returns []: there are no libraries."""
    return []
