"""PyTorch's CPU generator: NumPy's MT19937, drawn ahead in blocks, in PyTorch's state layout.

Here: where raw 32-bit draws come from and how their state is kept. How draws become numbers of a
distribution is in `kernels/random_streams.py` and `random.py`; operators wrap states into tensors.
What kernels use:

    generator.draw(n)        the next n raw draws, a uint32 array (read it, never write to it)
    generator.peek(n)        the same draws, left in the stream
    generator.draw64(n)      n 64-bit numbers of two draws each, the first draw the high half
    generator.next_normal    None, or the second value of a Box-Muller pair kept for the next call
    generator.take(kind, n)  the next n numbers of a kind that is computed ahead (see `Ahead`)

Note [draws ahead]: `_buffer[:_end]` holds whole 624-word blocks of output, of which the first
`_position` were handed out; the bit generator stands at the end of the buffer. The state that
PyTorch would have is recovered from the block at `_position` by undoing MT19937's tempering.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.core.device import CPU, device
from taper.core.tensor import Tensor, wrap

__all__ = ["DEFAULT_SEED", "STATE_BYTES", "Ahead", "Generator", "Quicker", "default_generator"]

Array = np.ndarray[Any, np.dtype[Any]]

DEFAULT_SEED = 67280421310721  # PyTorch's, for every generator that nobody seeded
BLOCK = 624  # MT19937's words of state: outputs are made this many at a time
MOST_BLOCKS_AHEAD = 16
_MANY_BLOCKS = 32  # from which on it is worth asking `Quicker`
STATE_BYTES = 5056
_STATE = np.dtype(
    [("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("key", "<u8", 624),
     ("normal_x", "<f8"), ("normal_y", "<f8"), ("normal_rho", "<f8"), ("normal_valid", "<i4"),
     ("pad", "<i4"), ("next_float", "<f4"), ("float_valid", "<i4")]
)
_NOTHING = np.empty(0, np.uint32)
_NONE_AHEAD = -1, _NOTHING


class Quicker:
    """Who makes many draws, if somebody can: ``draws(bits, blocks)``, or None for NumPy's."""

    draws: Any = None


def _raw(bits: Any, blocks: int) -> Array:
    """The next blocks of 32-bit numbers of a bit generator."""
    if blocks >= _MANY_BLOCKS and Quicker.draws is not None:
        found: Array | None = Quicker.draws(bits, blocks)
        if found is not None:
            return found
    raw: Array = bits.random_raw(blocks * BLOCK).astype(np.uint32)
    return raw


class Ahead:
    """A kind of random numbers that is computed ahead of small calls.

    `make` maps draws to numbers, `period` draws at a time and each such group on its own; `each`
    draws make a number.
    """

    __slots__ = ("each", "make", "period")

    def __init__(self, make: Callable[[Array], Array], each: int, period: int) -> None:
        self.make, self.each, self.period = make, each, period


class Generator:
    """The state of a stream of random numbers, equal to PyTorch's CPU generator's.

    Example:
        >>> import taper as torch
        >>> g = torch.Generator().manual_seed(0)
        >>> torch.rand(2, generator=g)
        tensor([0.4963, 0.7682])
    """

    __slots__ = (
        "__weakref__", "_ahead", "_batch", "_bits", "_buffer", "_end", "_lock", "_position",
        "_seed", "next_normal", "restarts",
    )
    __module__ = "torch._C"

    def __init__(self, device: Any = CPU) -> None:
        _check_device(device)
        self._lock = threading.RLock()
        self._bits: Any = None
        self.restarts = 0  # how often the stream was begun anew, or at another place
        self.manual_seed(DEFAULT_SEED)

    @property
    def device(self) -> device:
        """The device of the numbers: always the CPU."""
        return CPU

    def manual_seed(self, seed: int) -> Generator:
        """Restarts the stream from `seed` and returns the generator; negative seeds count from 2⁶⁴.

        Raises: ValueError: if `seed` is not between -2⁶³ and 2⁶⁴ - 1.
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        seed = int(seed)
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        with self._lock:
            self._seed = seed & (1 << 64) - 1
            self._restart()
        return self

    def _restart(self) -> None:
        """Forgets all draws: the next one seeds the bit generator from `_seed`."""
        self.restarts += 1
        self._buffer: Array = _NOTHING
        self._position = self._end = 0
        self._batch = 1
        self.next_normal: float | None = None
        self._ahead: dict[Ahead, tuple[int, Array]] = {}

    def seed(self) -> int:
        """Seeds from the operating system's randomness and returns that seed."""
        seed = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """Returns the seed the stream was last started from."""
        return self._seed

    # Drawing ------------------------------------------------------------------------------

    def draw(self, count: int) -> Array:
        """The next `count` 32-bit draws; the array may be part of the buffer: don't write to it."""
        with self._lock:
            start = self._position
            stop = start + count
            if stop <= self._end:
                self._position = stop
                return self._buffer[start:stop]
            return self._draw_beyond(count)

    def _draw_beyond(self, count: int) -> Array:
        if not self._end:
            self._seed_bits()
        rest = self._buffer[self._position : self._end]
        missing = count - len(rest)
        blocks = -(-missing // BLOCK)
        blocks = max(blocks, self._batch)
        fresh = _raw(self._bits, blocks)
        result: Array = fresh[:missing]
        if len(rest):
            result = np.concatenate((rest, result))
        if blocks > self._batch:  # keep only the block that is still in use
            missing -= (blocks - 1) * BLOCK
            fresh = fresh[-BLOCK:].copy()
        else:
            self._batch = min(2 * blocks, MOST_BLOCKS_AHEAD)
        self._buffer, self._position, self._end = fresh, missing, len(fresh)
        self._ahead = {}
        return result

    def peek(self, count: int) -> Array:
        """The next `count` 32-bit draws, which stay in the stream; don't write to the array."""
        with self._lock:
            missing = self._position + count - self._end
            if missing > 0:
                if not self._end:
                    self._seed_bits()
                first = max(self._position - 1, 0) // BLOCK * BLOCK  # get_state needs that block
                fresh = _raw(self._bits, -(-missing // BLOCK))
                self._buffer = np.concatenate((self._buffer[first : self._end], fresh))
                self._position -= first
                self._end = len(self._buffer)
                self._ahead = {}
            return self._buffer[self._position : self._position + count]

    def draw64(self, count: int) -> Array:
        """The next `count` 64-bit numbers, each made of two draws, high half first."""
        pairs = self.draw(2 * count)
        result = pairs[0::2].astype(np.uint64)
        result <<= np.uint64(32)
        result |= pairs[1::2]
        return result

    def take(self, kind: Ahead, count: int) -> Array | None:
        """The next `count` numbers of `kind`, or None, and nothing drawn, where the buffer doesn't
        hold as many draws: use `draw` then.

        All that is buffered is converted at once, so that many small calls cost one large one.
        Written for speed: a few random numbers cost as much as this method.
        """
        each = kind.each
        lock = self._lock
        lock.acquire()  # half the time of `with`
        try:
            start = self._position
            stop = start + count * each
            if stop > self._end:
                return None
            first, numbers = self._ahead.get(kind, _NONE_AHEAD)
            if first < 0 or (start - first) % kind.period:
                first = start
                whole = (self._end - start) // kind.period * kind.period
                numbers = kind.make(self._buffer[start : start + whole])
                self._ahead[kind] = start, numbers
            self._position = stop
        finally:
            lock.release()
        at = (start - first) // each
        return numbers[at : at + count].copy()

    def _seed_bits(self) -> None:
        if self._bits is None:
            self._bits = np.random.MT19937(0)
        self._bits._legacy_seeding(self._seed & 0xFFFFFFFF)

    # State --------------------------------------------------------------------------------

    def get_state(self) -> Tensor:
        """Returns the state as PyTorch lays it out: a tensor of 5056 bytes."""
        return wrap(self.state_bytes())

    def state_bytes(self) -> Array:
        """The state of `get_state` as an array."""
        with self._lock:
            state = np.zeros((), _STATE)
            state["seed"] = self._seed
            state["seeded"] = 1
            if self._end:
                block = (self._position - 1) // BLOCK * BLOCK
                state["key"] = _untemper(self._buffer[block : block + BLOCK])
                state["next"] = self._position - block
                state["left"] = BLOCK + 1 - (self._position - block)
            else:
                self._seed_bits()
                state["key"] = self._bits.state["state"]["key"]
                state["left"] = 1
            if self.next_normal is not None:
                state["normal_valid"] = 1
                state["normal_y"] = self.next_normal
        return np.frombuffer(state.tobytes(), np.uint8).copy()

    def set_state(self, new_state: Any) -> Generator:
        """Continues from a state that `get_state`, here or in PyTorch, returned.

        Raises: TypeError: if it is no uint8 array; RuntimeError: if it is no such state.
        """
        if isinstance(new_state, Tensor):
            new_state = new_state._array
        if getattr(new_state, "dtype", None) != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        data = np.ascontiguousarray(new_state).reshape(-1)
        if data.size != STATE_BYTES:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {STATE_BYTES} but found the input RNG "
                f"state size to be {data.size}"
            )
        state = data.view(_STATE)[0]
        left, position = int(state["left"]), int(state["next"])
        started = left + position == BLOCK + 1
        if state["seeded"] != 1 or left < 1 or not (started or (left == 1 and position == 0)):
            raise RuntimeError("Invalid mt19937 state")
        with self._lock:
            self._seed = int(state["seed"])
            self._restart()
            key = state["key"].astype(np.uint32)
            self._seed_bits()
            self._bits.state = {
                "bit_generator": "MT19937", "state": {"key": key, "pos": BLOCK}
            }
            # A seeded but unused state (left 1, next 0) draws as an exhausted one does.
            if started or not np.array_equal(key, _key_of_seed(self._seed)):
                self._buffer, self._end, self._position = _temper(key), BLOCK, position or BLOCK
            if state["normal_valid"]:
                self.next_normal = float(state["normal_y"])
        return self

    def clone_state(self) -> Generator:
        """Returns a new generator in the same state."""
        return Generator().set_state(self.state_bytes())

    def graphsafe_get_state(self) -> Generator:
        """Not supported on the CPU, as in PyTorch: use `clone_state`."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Generator) -> Generator:
        """Not supported on the CPU, as in PyTorch: use `set_state`."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def get_offset(self) -> int:
        """Not supported on the CPU, as in PyTorch: use `get_state`."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> Generator:
        """Not supported on the CPU, as in PyTorch: use `set_state`."""
        raise RuntimeError("CPU Generator does not use offset")

    def __reduce__(self) -> tuple[Any, ...]:
        return _generator_in_state, (self.state_bytes(),)


def _generator_in_state(state: Array) -> Generator:
    return Generator().set_state(state)


def _check_device(value: Any) -> None:
    if value is None or value is CPU:
        return
    if isinstance(value, int) and not isinstance(value, bool):
        raise RuntimeError("Cannot access accelerator device when none is available.")
    kind = device(value).type
    if kind == "cuda":
        raise RuntimeError(
            "Cannot get CUDA generator without ATen_cuda library. taper computes on the CPU: use "
            "torch.Generator(device='cpu')."
        )
    if kind != "cpu":
        raise RuntimeError(f"{kind.upper()} device type not an accelerator.")


def _key_of_seed(seed: int) -> Array:
    bits: Any = np.random.MT19937(0)
    bits._legacy_seeding(seed & 0xFFFFFFFF)
    key: Array = bits.state["state"]["key"]
    return key


def _temper(key: Array) -> Array:
    """MT19937's output function (Matsumoto and Nishimura 1998), on words of state."""
    y: Array = key ^ (key >> 11)
    y ^= (y << 7) & np.uint32(0x9D2C5680)
    y ^= (y << 15) & np.uint32(0xEFC60000)
    y ^= y >> 18
    return y


def _untemper(output: Array) -> Array:
    """The words of state that `_temper` maps to `output`."""
    y: Array = output ^ (output >> 18)
    y ^= (y << 15) & np.uint32(0xEFC60000)
    first = y
    for _ in range(4):  # each round fixes seven more bits
        y = first ^ ((y << 7) & np.uint32(0x9D2C5680))
    second = y
    for _ in range(2):
        y = second ^ (y >> 11)
    return y


default_generator = Generator()
