"""`detect_anomaly`: errors in backward tell the forward line, and NaN gradients are errors."""

from __future__ import annotations

import warnings
from typing import Any

from taper.autograd import engine

__all__ = [
    "detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_anomaly_enabled",
    "set_detect_anomaly",
]


def is_anomaly_enabled() -> bool:
    """Returns whether backward passes look for anomalies."""
    return engine.anomaly.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Returns whether a NaN in a gradient counts as an anomaly."""
    return engine.anomaly.check_nan


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Turns the search for anomalies on or off."""
    engine.anomaly.enabled, engine.anomaly.check_nan = enabled, check_nan


class set_detect_anomaly:  # PyTorch's name
    """Turns the search for anomalies on or off, at once; as a block it restores what was before.

    Args:     check_nan: raise when a node's gradient has a NaN
    """

    __module__ = "torch.autograd.anomaly_mode"

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.prev = (engine.anomaly.enabled, engine.anomaly.check_nan)
        engine.anomaly.enabled = mode
        engine.anomaly.check_nan = check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        engine.anomaly.enabled, engine.anomaly.check_nan = self.prev


class detect_anomaly:
    """A block in which backward passes find the forward line of what went wrong.

    Raises (in `backward`):   RuntimeError: if a gradient has a NaN
    """

    __module__ = "torch.autograd.anomaly_mode"

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.", UserWarning, stacklevel=2,
        )

    def __enter__(self) -> None:
        self.prev = (engine.anomaly.enabled, engine.anomaly.check_nan)
        engine.anomaly.enabled, engine.anomaly.check_nan = True, self.check_nan

    def __exit__(self, *exception: Any) -> None:
        engine.anomaly.enabled, engine.anomaly.check_nan = self.prev
