"""What tests of programs of kernels ask of the machine and of the settings."""

from __future__ import annotations

import pytest

import taper as torch
from taper.compiler import machine

needs_kernels = pytest.mark.skipif(
    torch.settings.native == "off" or not machine.is_available(),
    reason="needs llvmlite, and TAPER_NATIVE other than 0",
)
