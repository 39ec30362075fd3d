"""What to write into a report: `python -m taper.utils.collect_env` prints it."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import NamedTuple

import taper

__all__ = ["SystemEnv", "get_env_info", "get_pretty_env_info", "main"]

_PACKAGES = ("numpy", "scipy", "ml_dtypes", "llvmlite", "safetensors", "tensorboardX", "pytest")


class SystemEnv(NamedTuple):
    """The machine, the interpreter, and the packages that taper uses."""

    torch_version: str
    is_debug_build: str
    cuda_compiled_version: str
    is_cuda_available: str
    os: str
    libc_version: str
    python_version: str
    python_platform: str
    cpu_info: str
    num_threads: str
    pip_packages: str


def get_env_info() -> SystemEnv:
    """Returns what is known of this machine and installation."""
    packages = []
    for name in _PACKAGES:
        try:
            packages.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            packages.append(f"{name} (not installed)")
    return SystemEnv(
        torch_version=f"{taper.__version__} (taper)",
        is_debug_build="False",
        cuda_compiled_version="None",
        is_cuda_available="False",
        os=f"{platform.system()} {platform.release()} ({platform.machine()})",
        libc_version="-".join(platform.libc_ver()) or "N/A",
        python_version=f"{sys.version.split(chr(10))[0]} ({sys.maxsize.bit_length() + 1}-bit)",
        python_platform=platform.platform(),
        cpu_info=f"{_processor()}, {os.cpu_count()} cores",
        num_threads=str(taper.get_num_threads()),
        pip_packages="\n".join(packages),
    )


def get_pretty_env_info() -> str:
    """Returns the same as text."""
    found = get_env_info()
    return "\n".join([
        f"PyTorch version: {found.torch_version}",
        f"Is debug build: {found.is_debug_build}",
        f"CUDA used to build PyTorch: {found.cuda_compiled_version}",
        "",
        f"OS: {found.os}",
        f"Libc version: {found.libc_version}",
        "",
        f"Python version: {found.python_version}",
        f"Python platform: {found.python_platform}",
        f"Is CUDA available: {found.is_cuda_available}",
        f"CPU: {found.cpu_info}",
        f"Threads: {found.num_threads}",
        "",
        "Versions of relevant libraries:",
        *(f"[pip3] {line}" for line in found.pip_packages.splitlines()),
    ])


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except FileNotFoundError:  # not Linux
        pass
    return platform.processor() or "unknown processor"


def main() -> None:
    """Prints the text."""
    print("Collecting environment information...")
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
