"""The functions of `torch.special` under their longer names, as pickles have them."""

from typing import Any

import taper


def __getattr__(name: str) -> Any:
    if not name.startswith("special_"):
        raise AttributeError(f"module 'torch._C._special' has no attribute {name!r}")
    return getattr(taper.special, name.removeprefix("special_"))
