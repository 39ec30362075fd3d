"""Distributions made from simple noise by transforms that hold their parameters."""

from __future__ import annotations

from typing import Any

from taper.distributions.transformed_distribution import TransformedDistribution

__all__ = ["Rebuilt"]


class Rebuilt(TransformedDistribution):
    """A transformed distribution whose transforms are made again for expanded parameters.

    A subclass sets its parameters, lets `_build` return (noise, transforms), and calls `_finish`.
    """

    def _build(self) -> tuple[Any, list[Any]]:
        raise NotImplementedError

    def _finish(self, validate_args: bool | None) -> None:
        TransformedDistribution.__init__(self, *self._build(), validate_args=validate_args)

    def _rebuilt(self, cls: type, batch_shape: Any, _instance: Any) -> Any:
        """What `expand` returns."""
        new = self._get_checked_instance(cls, _instance)
        self._expand_parameters(new, batch_shape)
        new._finish(False)
        new._validate_args = self._validate_args
        return new
