"""The base of all distributions: shapes, checks of parameters and values, expansion, printing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import taper as torch
from taper import Size, Tensor
from taper.checks import all_hold
from taper.distributions import constraints
from taper.distributions.utils import lazy_property

__all__ = ["Distribution"]

_NOTHING = Size()


class Distribution:
    """The base class of probability distributions.

    A distribution describes `batch_shape` independent draws, each of shape `event_shape`; what
    `sample(sample_shape)` returns has the shape sample_shape + batch_shape + event_shape.

    Args:
        batch_shape: the shape of the batch of distributions.
        event_shape: the shape of one draw.
        validate_args: check parameters now, and values when they are given; default: yes, unless
            Python runs with -O. See `set_default_validate_args`.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Says whether distributions check their arguments if they aren't told."""
        if value not in [True, False]:
            raise ValueError
        Distribution._validate_args = value

    def __init__(
        self, batch_shape: Size = _NOTHING, event_shape: Size = _NOTHING,
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape = batch_shape
        self._event_shape = event_shape
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()
        super().__init__()

    # Shapes -------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one draw."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Iterable[int] = _NOTHING) -> Size:
        """The shape of what `sample(sample_shape)` returns."""
        if type(sample_shape) is not Size:
            sample_shape = Size(sample_shape)
        return sample_shape + self._batch_shape + self._event_shape

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """Returns the same distribution for a larger batch: parameters become expanded views."""
        raise NotImplementedError

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """A new object of this class without `__init__`, or `_instance`.

        Raises: NotImplementedError: if a subclass with an `__init__` of its own lacks `expand`.
        """
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ "
                "method must also define a custom .expand() method."
            )
        return type(self).__new__(type(self)) if _instance is None else _instance

    def _expand_parameters(self, new: Any, batch_shape: Iterable[int]) -> Size:
        """Gives `new` expanded views of all parameters that were given or computed."""
        batch_shape = Size(batch_shape)
        for name, constraint in self.arg_constraints.items():
            value = self.__dict__.get(name)
            if value is not None:
                event = 0 if constraint.is_discrete else constraint.event_dim
                setattr(new, name, value.expand(batch_shape + value.shape[value.ndim - event :]))
        return batch_shape

    def _expanded(self, cls: type, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """What `expand` returns where parameters with constraints are all there is to expand."""
        new = self._get_checked_instance(cls, _instance)
        batch_shape = self._expand_parameters(new, batch_shape)
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    # What a distribution is ---------------------------------------------------------------

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """The constraint on each parameter, by its name."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The constraint that draws satisfy."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The most probable value."""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    # Drawing ------------------------------------------------------------------------------

    def sample(self, sample_shape: Any = _NOTHING) -> Tensor:
        """Draws values, without a history."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = _NOTHING) -> Tensor:
        """Draws values as differentiable functions of the parameters (`has_rsample` says if)."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """Draws n values for each of the batch; deprecated: use `sample((n,))`."""
        warnings.warn(
            "`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning,
            stacklevel=2,
        )
        return self.sample(Size((n,)))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Returns all values that are possible, along a new first dimension.

        Args: expand: also expand over the batch; otherwise its dimensions have size 1.
        """
        raise NotImplementedError

    def _along_first(self, values: Tensor, expand: bool) -> Tensor:
        """Lays values out along a new first dimension, as `enumerate_support` returns them."""
        values = values.reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values

    # Densities and measures ---------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the logarithm of the density, or of the probability, at `value`."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """Returns the probability of drawing at most `value`."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """Returns the number whose `cdf` is `value`."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Returns the entropy, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """Returns the exponential of the entropy."""
        return torch.exp(self.entropy())

    # Checks -------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            arg_constraints = {}
            warnings.warn(
                f"{self.__class__} does not define `arg_constraints`. Please set "
                "`arg_constraints = {}` or initialize the distribution with `validate_args=False` "
                "to turn off validation.",
                stacklevel=3,
            )
        own = self.__dict__
        for name, constraint in arg_constraints.items():
            value = own.get(name)
            if value is None:
                if isinstance(getattr(type(self), name, None), lazy_property):
                    continue  # not given: it will follow from what was
                value = getattr(self, name)
            if constraints.is_dependent(constraint):
                continue
            if not all_hold(constraint.check(value)):
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape "
                    f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                    f"{constraint!r}, but found invalid values:\n{value}"
                )

    def _validate_sample(self, value: Any) -> None:
        """Checks a value that somebody wants to know the density of."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        shape = value.shape
        event_shape = self._event_shape
        if event_shape and shape[max(len(shape) - len(event_shape), 0) :] != event_shape:
            event = shape[max(len(shape) - len(event_shape), 0) :]
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{event} vs {event_shape}."
            )
        own = self._batch_shape + event_shape
        if shape != own and any(
            i not in (1, j) and j != 1 for i, j in zip(reversed(shape), reversed(own), strict=False)
        ):
            raise ValueError(
                f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {own}."
            )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{self.__class__} does not define `support` to enable sample validation. Please "
                "initialize the distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not all_hold(support.check(value)):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(shape)}) to be "
                f"within the support ({support!r}) of the distribution {self!r}, but found invalid "
                f"values:\n{value}"
            )

    def __repr__(self) -> str:
        own = self.__dict__
        parameters = [name for name in self.arg_constraints if name in own]
        shown = ", ".join(
            f"{name}: {own[name] if own[name].numel() == 1 else own[name].shape}"
            for name in parameters
        )
        return f"{type(self).__name__}({shown})"
