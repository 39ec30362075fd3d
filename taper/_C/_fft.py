"""The functions of `torch.fft` under their longer names, as pickles have them."""

from typing import Any

import taper


def __getattr__(name: str) -> Any:
    if not name.startswith("fft_"):
        raise AttributeError(f"module 'torch._C._fft' has no attribute {name!r}")
    return getattr(taper.fft, name.removeprefix("fft_"))
