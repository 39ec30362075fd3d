"""The functions of `torch.linalg` under their longer names, as pickles have them."""

from typing import Any

import taper


def __getattr__(name: str) -> Any:
    if not name.startswith("linalg_"):
        raise AttributeError(f"module 'torch._C._linalg' has no attribute {name!r}")
    return getattr(taper.linalg, name.removeprefix("linalg_"))
