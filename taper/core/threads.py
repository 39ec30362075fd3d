"""How many threads taper may use, and other process-wide numeric settings."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from taper.core.settings import on_change

__all__ = [
    "are_deterministic_algorithms_enabled", "get_deterministic_debug_mode",
    "get_float32_matmul_precision", "get_num_interop_threads", "get_num_threads",
    "is_deterministic_algorithms_warn_only_enabled", "is_warn_always_enabled",
    "set_deterministic_debug_mode", "set_float32_matmul_precision", "set_flush_denormal",
    "set_num_interop_threads", "set_num_threads", "set_warn_always",
    "use_deterministic_algorithms",
]


def _available() -> int:
    asked = os.environ.get("TAPER_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    if asked and asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, _allowed_by_cgroup(Path("/sys/fs/cgroup")) or count))


def _allowed_by_cgroup(root: Path) -> int | None:
    """How many processors' time this container may use (rounded up); None without a limit.

    With more threads than that, all of them are stopped for the rest of each period.
    """
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if quota == "max" or int(quota) <= 0:
        return None
    return -(-int(quota) // int(period))


_settings: dict[str, Any] = {
    "threads": None, "interop_threads": None, "deterministic": False, "warn_only": False,
    "precision": "highest", "warn_always": False,
}


def get_num_threads() -> int:
    """Returns how many threads operators may use."""
    if _settings["threads"] is None:
        _settings["threads"] = _available()
    return int(_settings["threads"])


def set_num_threads(num: int) -> None:
    """Sets how many threads operators may use. NumPy's BLAS follows where threadpoolctl is
    installed."""
    if isinstance(num, bool) or not isinstance(num, int):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    _settings["threads"] = num
    for tell in on_change:
        tell()
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(num, user_api="blas")


def get_num_interop_threads() -> int:
    """Returns the number of threads for independent operators: taper runs them one by one."""
    return int(_settings["interop_threads"] or _available())


def set_num_interop_threads(num: int) -> None:
    """Remembers the number, for `get_num_interop_threads`."""
    if num <= 0:
        raise RuntimeError("Expected positive number of threads")
    _settings["interop_threads"] = num


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Makes programs give the same digits in each run: calls then wait for their kernels.

    Each way to compute an operator is deterministic. But without this a call whose kernel is not
    compiled within 45 ms is computed by NumPy, whose last digit may differ.
    """
    _settings["deterministic"], _settings["warn_only"] = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """Returns what `use_deterministic_algorithms` set."""
    return bool(_settings["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Returns whether `use_deterministic_algorithms` was set to warn only."""
    return bool(_settings["warn_only"])


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Sets the mode by PyTorch's numbers or names: "default", "warn", "error"."""
    names = {"default": 0, "warn": 1, "error": 2}
    level = names.get(debug_mode, debug_mode)  # type: ignore[arg-type]
    if level not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {level}")
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """Returns 0 for "default", 1 for "warn", 2 for "error"."""
    if not _settings["deterministic"]:
        return 0
    return 1 if _settings["warn_only"] else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Remembers the precision; taper always computes float32 products in float32."""
    if precision not in ("highest", "high", "medium"):
        warnings.warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current"
            "setFloat32MatmulPrecision call has no effect.", UserWarning, stacklevel=2,
        )
        return
    _settings["precision"] = precision


def get_float32_matmul_precision() -> str:
    """Returns what `set_float32_matmul_precision` set."""
    return str(_settings["precision"])


def set_flush_denormal(mode: bool) -> bool:
    """Returns False: NumPy offers no way to flush denormal numbers to zero."""
    return False


def set_warn_always(b: bool) -> None:
    """Remembers the setting; Python's own filters decide what is shown."""
    _settings["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """Returns what `set_warn_always` set."""
    return bool(_settings["warn_always"])
