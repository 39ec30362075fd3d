"""Seeds and states of the global random number generator: ``torch.random``."""

from __future__ import annotations

from collections.abc import Generator as Iterator
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

from taper.core.generator import Generator, default_generator
from taper.core.tensor import Tensor

__all__ = [
    "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state",
    "thread_safe_generator",
]


def manual_seed(seed: int) -> Generator:
    """Restarts the global generator from `seed`, and returns it.

    Equal seeds give equal random tensors, and PyTorch's own numbers.

    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.rand(1)
        tensor([0.4963])
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seeds the global generator from the operating system's randomness; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """Returns the seed that the global generator was last started from."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Returns the state of the global generator, as a tensor of bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continues from a state that `get_rng_state` returned."""
    default_generator.set_state(new_state)


def thread_safe_generator() -> Generator | None:
    """Returns the generator of a data loading worker's thread, if this is one: None."""
    return None


@contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None, enabled: bool = True, _caller: str = "fork_rng",
    _devices_kw: str = "devices", device_type: str = "cuda",
) -> Iterator[None, None, None]:
    """Restores the state of the global generator at the end of the block."""
    if not enabled:
        yield
        return
    state = default_generator.state_bytes()
    try:
        yield
    finally:
        default_generator.set_state(state)
