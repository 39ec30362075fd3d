"""Quasirandom points: they fill a cube more evenly than random ones."""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.dtype import dtype as dtype_class
from taper.core.generator import Generator
from taper.core.tensor import Tensor

__all__ = ["SobolEngine"]

_BITS = 30


class SobolEngine:
    r"""Draws points of the (scrambled) Sobol sequence in the unit cube.

    Point n is the exclusive or of those direction numbers that the Gray code of n names, divided by
    2^30 (Sobol, 1967; direction numbers of Joe and Kuo, "Constructing Sobol sequences with better
    two-dimensional projections", 2008, as SciPy carries them). Scrambled, the direction numbers are
    multiplied with random triangular matrices of bits and all points shifted (Matousek, 1998).

    Args:
        dimension: of the cube, 1 to 21201.
        scramble: whether to scramble.
        seed: of the scrambling; None draws from the default generator.
    Raises:
        ValueError: if the dimension is not in that range.
    Example:
        >>> import taper as torch
        >>> torch.quasirandom.SobolEngine(2).draw(3)
        tensor([[0.0000, 0.0000],
                [0.5000, 0.5000],
                [0.7500, 0.2500]])
    """

    MAXBIT = _BITS
    MAXDIM = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if dimension > self.MAXDIM or dimension < 1:
            raise ValueError(
                "Supported range of dimensionality for SobolEngine is "
                f"[1, {self.MAXDIM}]"
            )
        self.dimension = dimension
        self.scramble = scramble
        self.seed = seed
        self.num_generated = 0
        self._directions = _direction_numbers(dimension)
        self.shift = taper.zeros(dimension, dtype=taper.long)
        if scramble:
            self._scramble()
        self._quasi = self.shift.numpy().copy()

    def _scramble(self) -> None:
        generator: Generator | None = None
        if self.seed is not None:
            generator = Generator()
            generator.manual_seed(self.seed)
        weights = 2 ** np.arange(_BITS)
        bits = taper.randint(2, (self.dimension, _BITS), generator=generator)
        self.shift = taper.from_numpy(bits.numpy() @ weights)
        lower = taper.randint(2, (self.dimension, _BITS, _BITS), generator=generator).numpy()
        lower = np.tril(lower)
        lower[:, range(_BITS), range(_BITS)] = 1
        rows = lower @ weights[::-1]  # each row of bits as a number
        # Bit k, counted from the highest, of a new number: the parity of row k and the old number.
        shared = rows[:, :, None] & self._directions[:, None, :]
        parities = np.bitwise_count(shared).astype(np.int64) & 1
        self._directions = np.einsum("dkj,k->dj", parities, weights[::-1])

    def draw(
        self, n: int = 1, out: Tensor | None = None, dtype: dtype_class | None = None
    ) -> Tensor:
        """Draws the next points.

        Shape: (n, dimension)
        Args:     dtype: of the points; the default dtype if it is not given
        """
        points = np.empty((n, self.dimension), np.int64)
        for i in range(n):
            if self.num_generated:  # the first point is the shift itself
                changed = _lowest_zero(self.num_generated - 1)
                self._quasi ^= self._directions[:, changed]
            points[i] = self._quasi
            self.num_generated += 1
        result = taper.from_numpy(points * 0.5**_BITS).to(dtype or taper.get_default_dtype())
        if out is None:
            return result
        out.resize_(result.shape).copy_(result)
        return out

    def draw_base2(self, m: int, out: Tensor | None = None, dtype: Any = None) -> Tensor:
        """Draws 2^m points, which together are balanced.

        Raises: ValueError: if the total of drawn points would not be a power of 2.
        """
        count = 2**m
        total = self.num_generated + count
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require "
                f"n to be a power of 2. {self.num_generated} points have been "
                f"previously generated, then: n={self.num_generated}+2**{m}={total}. "
                "If you still want to do this, please use "
                "'SobolEngine.draw()' instead."
            )
        return self.draw(count, out=out, dtype=dtype)

    def reset(self) -> SobolEngine:
        """Begins anew."""
        self._quasi = self.shift.numpy().copy()
        self.num_generated = 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Skips `n` points."""
        for _ in range(n):
            if self.num_generated:
                self._quasi ^= self._directions[:, _lowest_zero(self.num_generated - 1)]
            self.num_generated += 1
        return self

    def __repr__(self) -> str:
        parts = [f"dimension={self.dimension}"]
        if self.scramble:
            parts.append("scramble=True")
        if self.seed is not None:
            parts.append(f"seed={self.seed}")
        return f"{type(self).__name__}({', '.join(parts)})"


def _lowest_zero(number: int) -> int:
    """The place of the lowest bit that is 0."""
    return ((number + 1) & ~number).bit_length() - 1


def _direction_numbers(dimension: int) -> Any:
    """(dimension, 30) numbers below 2^30, from SciPy's table."""
    from scipy.stats import qmc

    engine = qmc.Sobol(dimension, scramble=False, bits=_BITS)
    numbers = getattr(engine, "_sv", None)
    if numbers is None:
        raise NotImplementedError(
            "SobolEngine: this SciPy keeps no direction numbers where they were up to SciPy 1.17; "
            "scipy.stats.qmc.Sobol draws such points too"
        )
    return np.asarray(numbers).astype(np.int64)
