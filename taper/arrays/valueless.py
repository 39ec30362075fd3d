"""What asks an array for its numbers: recording arrays have none, and say so."""

from __future__ import annotations

from typing import Any

from taper.arrays.stand_in import of_the_step, refusal

__all__ = ["Valueless"]


class Valueless:
    """The methods of `TracedArray` that refuse."""

    __slots__ = ()
    actual: Any
    owner: Any
    has_history: bool  # whether what it stands for has a history

    def refuse_to_tell(self, what: str) -> None:
        """Raises: for what isn't known of a tensor while a step is recorded."""
        raise refusal(NotImplementedError(
            f"{what} isn't known of a tensor while a step is recorded, and may be another one in "
            "the next call: leave it out of the step, or run it without recording"
        ))

    @property
    def is_of_an_input(self) -> bool:
        """Whether this is memory that was there before."""
        return (self if self.owner is None else self.owner).actual is not None

    def _needs_value(self, what: str) -> Any:
        raise refusal(NotImplementedError(
            f"{what} needs a value, but this step is being recorded and nothing is computed: "
            "keep values as tensors inside the step, or run it without recording"
        ))

    @of_the_step
    def __bool__(self) -> bool:
        return self._needs_value("a branch on a tensor")  # type: ignore[no-any-return]

    @of_the_step
    def __float__(self) -> float:
        return self._needs_value("float(tensor)")  # type: ignore[no-any-return]

    @of_the_step
    def __int__(self) -> int:
        return self._needs_value("int(tensor)")  # type: ignore[no-any-return]

    __index__ = __int__

    @of_the_step
    def item(self, *index: Any) -> Any:
        return self._needs_value("tensor.item()")

    @of_the_step
    def tolist(self) -> Any:
        return self._needs_value("tensor.tolist()")

    @of_the_step
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._needs_value("tensor.numpy()")

    @of_the_step
    def __dlpack__(self, **options: Any) -> Any:
        return self._needs_value("tensor.__dlpack__()")

    @of_the_step
    def tobytes(self) -> Any:
        return self._needs_value("what stores a tensor")
