"""`torch._C._nn`: the functions of `nn.functional`, and how ``to`` reads its arguments."""

from __future__ import annotations

from typing import Any

import taper


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """The device, dtype, non_blocking and memory format that ``to`` was called with."""
    from taper.nn.modules import conversion

    return conversion._parse_to(*args, **kwargs)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(taper.nn.functional, {"log_sigmoid": "logsigmoid"}.get(name, name))
