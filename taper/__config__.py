"""`torch.__config__`: what this installation is made of."""

from __future__ import annotations

__all__ = ["parallel_info", "show"]


def show() -> str:
    """What `taper info` prints."""
    from taper.cli.info import environment

    return "\n".join(environment())


def parallel_info() -> str:
    """How many threads there are."""
    from taper.core.threads import get_num_interop_threads, get_num_threads

    return (
        f"ATen/Parallel:\n\tat::get_num_threads() : {get_num_threads()}\n"
        f"\tat::get_num_interop_threads() : {get_num_interop_threads()}\n"
        "ATen parallel backend: taper's worker pool\n"
    )
