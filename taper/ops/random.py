"""Random tensors: rand, randn, randint, randperm and their kin, and filling in place.

Numbers that depend on tensors, such as `bernoulli` of probabilities, are in random_sampling.py.
How draws become numbers is in kernels/random.py, where raw draws come from in core/generator.py;
seeds are set in taper/random.py.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from taper.arrays.levels import is_batched, running
from taper.autograd.tangents import carried_by
from taper.core import dtype as dtypes
from taper.core.dtype import _default, float32, get_default_dtype
from taper.core.generator import default_generator
from taper.core.promotion import cpp_type_name, fitting_number, scalar_type_name
from taper.core.state import active, is_recording
from taper.core.storage import refuse_repeated_memory
from taper.core.tensor import Tensor, wrap
from taper.kernels import random as kernels
from taper.kernels.random_levels import check_refilled
from taper.kernels.random_streams import few_normals
from taper.ops import slow
from taper.ops.declare import composite, method, operator
from taper.ops.options import (
    check_out_dtype,
    dense_like,
    filled_like,
    finish,
    order_like,
    read_options,
    uninitialized,
    write_out,
)
from taper.ops.sizes import as_sizes, size_arguments

ndarray = np.ndarray
_new = object.__new__
_F32 = np.dtype(np.float32)


# What rand and randn draw with where no vmap runs.
_uniform, _normal = kernels.uniform.__wrapped__, kernels.normal.__wrapped__


def check_float(kernel: str, dtype: Any) -> None:
    if dtype.category < 2:
        raise NotImplementedError(f'"{kernel}" not implemented for \'{scalar_type_name(dtype)}\'')


def _sizes(function: str, sizes: tuple[Any, ...], size: Any) -> tuple[int, ...]:
    if not sizes and size is None:
        raise TypeError(
            f"{function}() received an invalid combination of arguments - got (), but expected one "
            "of:\n * (tuple of ints size, *, torch.Generator generator, Tensor out = None, "
            "torch.dtype dtype = None, ...)\n"
        )
    return size_arguments(function, sizes, size)


def _finished(
    function: str, kernel: str, make: Any, shape: tuple[int, ...], generator: Any, out: Any,
    dtype: Any, layout: Any, device: Any, pin_memory: bool, requires_grad: bool,
) -> Tensor:
    """The unusual ways of making a random tensor; `make` is a kernel of uniform or normal."""
    wanted, where = read_options(function, dtype, device, layout, pin_memory)
    if out is not None:
        check_out_dtype(out, wanted)
        if out._array.shape != shape:
            slow.resize_out(out, shape)
        check_float(kernel, out.dtype)
        fill = out.uniform_ if make is kernels.uniform else out.normal_
        from taper.autograd.modes import no_grad

        with no_grad():
            fill(generator=generator)
        return out
    wanted = wanted or get_default_dtype()
    check_float(kernel, wanted)
    if where.type != "cpu":
        return finish(uninitialized(shape, wanted, where), requires_grad)
    array = make(generator or default_generator, shape, wanted.numpy_dtype)
    return finish(array, requires_grad)


@composite()
def rand(
    *sizes: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: Any = None,
    layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor of uniform random numbers in [0, 1).

    Args: sizes (ints, or one tuple)    generator: default the global one
    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.rand(2)
        tensor([0.4963, 0.7682])
    """
    if dtype is device is out is layout is None and len(sizes) == 1 and type(sizes[0]) is int and (
        sizes[0] >= 0 and not requires_grad and not active.modes
        and _default[0] is float32 and not running.vmaps
    ):
        return wrap(_uniform(generator or default_generator, sizes))
    shape = _sizes("rand", sizes, size)
    return _finished("rand", "check_uniform_bounds", kernels.uniform, shape, generator, out, dtype,
                     layout, device, pin_memory, requires_grad)


@composite()
def randn(
    *sizes: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: Any = None,
    layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor of normal random numbers with mean 0 and standard deviation 1.

    Args: sizes (ints, or one tuple)    generator: default the global one
    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.randn(2)
        tensor([ 1.5410, -0.2934])
    """
    if dtype is device is out is layout is None and sizes and not (
        requires_grad or active.modes or _default[0] is not float32 or running.vmaps
    ):
        first = sizes[0]
        if len(sizes) == 1 and type(first) is int and 0 <= first < 16:
            return wrap(few_normals(generator or default_generator, first))
        if type(first) is int and min(sizes) >= 0:
            return wrap(_normal(generator or default_generator, sizes))
    shape = _sizes("randn", sizes, size)
    return _finished("randn", "normal_kernel_cpu", kernels.normal, shape, generator, out, dtype,
                     layout, device, pin_memory, requires_grad)


def _blank_like(
    function: str, input: Any, dtype: Any, layout: Any, device: Any, pin_memory: bool,
    memory_format: Any,
) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{function}(): argument 'input' (position 1) must be Tensor, not "
            f"{type(input).__name__}"
        )
    wanted, where = read_options(function, dtype, device, layout, pin_memory)
    a = input._array
    target = wanted or input.dtype
    if is_batched(a):
        return wrap(np.empty_like(a, target.numpy_dtype))
    order = order_like(a, memory_format)
    if hasattr(a, "graph"):  # being recorded
        return wrap(filled_like(a, 0, target.numpy_dtype, order))
    if type(a) is not ndarray or (device is not None and where.type != "cpu"):
        return wrap(uninitialized(a.shape, target, input.device if device is None else where))
    return wrap(dense_like(a, target.numpy_dtype, order))


def _unchanged(filled: Tensor) -> Tensor:
    """A tensor that was filled in place, as one that nothing was written into."""
    return wrap(filled._array)


@composite()
def rand_like(
    input: Tensor, *, generator: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Makes a tensor of uniform random numbers in [0, 1) with the shape and dtype of `input`.

    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.rand_like(torch.ones(2))
        tensor([0.4963, 0.7682])
    """
    made = _blank_like("rand_like", input, dtype, layout, device, pin_memory, memory_format)
    return _unchanged(uniform_(made, generator=generator)).requires_grad_(requires_grad)


@composite()
def randn_like(
    input: Tensor, *, generator: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Makes a tensor of normal random numbers with the shape and dtype of `input`.

    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.randn_like(torch.ones(2))
        tensor([ 1.5410, -0.2934])
    """
    made = _blank_like("randn_like", input, dtype, layout, device, pin_memory, memory_format)
    return _unchanged(normal_(made, generator=generator)).requires_grad_(requires_grad)


# -- whole numbers -------------------------------------------------------------------------------


def _bounds(function: str, low: Any, high: Any) -> tuple[int, int]:
    numbers = []
    for position, (name, value) in enumerate((("low", low), ("high", high)), 1):
        if isinstance(value, Tensor):
            value = value.item()
        if not isinstance(value, (int, np.integer)):
            raise TypeError(
                f"{function}(): argument '{name}' (position {position}) must be int, not "
                f"{type(value).__name__}"
            )
        numbers.append(int(value))
    return numbers[0], numbers[1]


def _check_bounds(low: int, high: int, dtype: Any) -> None:
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if dtype.category <= 1:
        least, most = (0, 1) if dtype.category == 0 else (
            int(np.iinfo(dtype.numpy_dtype).min), int(np.iinfo(dtype.numpy_dtype).max))
        for name, value in (("from", low), ("to - 1", high - 1)):
            if not least <= value <= most:
                raise RuntimeError(f"{name} is out of bounds for {cpp_type_name(dtype)}")


@composite()
def randint(
    *bounds: Any, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False, **named: Any,
) -> Tensor:
    """Makes a tensor of random whole numbers from `low` up to, but not including, `high`.

    Call it as ``randint(high, size)`` or ``randint(low, high, size)``.

    Dtype: int64 unless told.
    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.randint(10, (3,))
        tensor([4, 9, 3])
    """
    values = {"low": 0}
    # All three are there, or `low` is the one left out.
    given = len(bounds) + len(named)
    names = ("low", "high", "size") if given == 3 else ("high", "size")
    names = tuple([n for n in names if n not in named])
    values.update(zip(names, bounds, strict=False))
    values.update(named)
    if len(bounds) > len(names) or set(values) != {"low", "high", "size"} or (
        not isinstance(values["size"], (tuple, list))
    ):
        raise TypeError(
            "randint() received an invalid combination of arguments - got "
            f"({', '.join(type(b).__name__ for b in bounds)}), but expected one of:\n"
            " * (int high, tuple of ints size, *, torch.Generator generator, Tensor out = None, "
            "...)\n * (int low, int high, tuple of ints size, *, torch.Generator generator, "
            "Tensor out = None, ...)\n"
        )
    low, high = _bounds("randint", values["low"], values["high"])
    shape = size_arguments("randint", (tuple(values["size"]),))
    wanted, where = read_options("randint", dtype, device, layout, pin_memory)
    wanted = wanted or (out.dtype if out is not None else dtypes.int64)
    _check_bounds(low, high, wanted)
    if where.type != "cpu":
        return finish(uninitialized(shape, wanted, where), requires_grad)
    array = kernels.integers(generator or default_generator, shape, wanted.numpy_dtype, low, high)
    return into(out, array, requires_grad)


def into(out: Any, array: Any, requires_grad: bool = False) -> Tensor:
    return finish(array, requires_grad) if out is None else write_out(out, array)


@composite()
def randint_like(
    input: Tensor, *bounds: Any, generator: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    memory_format: Any = None, **named: Any,
) -> Tensor:
    """Makes a tensor of random whole numbers with the shape and dtype of `input`.

    Call it as ``randint_like(input, high)`` or ``randint_like(input, low, high)``.
    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.randint_like(torch.ones(4), 10)
        tensor([4., 9., 3., 0.])
    """
    low = named.get("low", bounds[0] if len(bounds) == 2 else 0)
    high = named.get("high", bounds[-1] if bounds else None)
    low, high = _bounds("randint_like", low, high)
    made = _blank_like("randint_like", input, dtype, layout, device, pin_memory, memory_format)
    return _unchanged(random_(made, low, high, generator=generator)).requires_grad_(requires_grad)


@composite()
def randperm(
    n: int, *, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a random permutation of the whole numbers below `n`.

    Example:
        >>> import taper as torch
        >>> torch.randperm(4).sort().values
        tensor([0, 1, 2, 3])
    """
    n = as_sizes("randperm", n, "n")[0]
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    wanted, where = read_options("randperm", dtype, device, layout, pin_memory)
    wanted = wanted or (out.dtype if out is not None else dtypes.int64)
    if wanted.category == 1:
        fitting_number(n - 1, wanted)
    if where.type != "cpu":
        return finish(uninitialized((n,), wanted, where), requires_grad)
    array = kernels.permutation(generator or default_generator, n, wanted.numpy_dtype)
    return into(out, array, requires_grad)


# -- filling in place ----------------------------------------------------------------------------


def _zero_gradient(name: str, node: str) -> Any:
    """An operator whose value replaces its input, so that no gradient flows through it."""

    def overwritten(input: Tensor, values: Any) -> Tensor:
        return values

    overwritten.__annotations__ = {"input": "Tensor", "values": "Any", "return": "Tensor"}
    op = operator(f"_{name}_values", node=node, hidden=True)(overwritten)
    op.name = name
    op.derivative("input")(zeros_like_grad)
    return op


def zeros_like_grad(grad: Tensor) -> Tensor:
    return grad.new_zeros(grad._array.shape)


_REPLACING = {
    name: _zero_gradient(name, node)
    for name, node in {
        "uniform": "UniformBackward0", "normal": "NormalBackward0",
        "exponential": "ExponentialBackward0", "random": "RandomBackward0",
        "cauchy": "CauchyBackward0", "log_normal": "LogNormalBackward0",
        "geometric": "GeometricBackward0", "bernoulli": "BernoulliBackward2",
    }.items()
}


def _refill(name: str, self: Tensor, write: Any) -> Tensor:
    """Lets `write(array)` fill the tensor's memory, and cuts its history there."""
    if slow.overrides.has_override(self):
        pass  # subclasses are filled like any tensor
    slow.check_inplace(self)
    array = self._array
    frame = sys._getframe(2)
    where = (frame.f_code, frame.f_lasti)
    if running.vmaps:
        from taper.ops.other_arrays import prepare_draws

        check_refilled(array)
        prepare_draws(self)
        array = self._array
    if not self.is_meta:
        if not array.flags.writeable:
            slow._make_writeable(self)
            array = self._array
        refuse_repeated_memory(array)
        write(array)
    if (self._edge is not None and is_recording()) or carried_by((self,)):
        op = _REPLACING[name]
        original = slow.alias_with_history(self)
        result = slow.execute(op, slow.signature_of(op), (original, array), None, where)
        slow.overwrite(self, original, result, f"{name}_", where)
        return self
    self._bump_version((f"{name}_", *where))
    return self


@method()
def uniform_(
    self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **named: Any
) -> Tensor:
    """Fills the tensor with uniform random numbers in [from, to)."""
    low, high = float(named.get("from", from_)), float(to)
    check_float("check_uniform_bounds", self.dtype)
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    return _refill("uniform", self, lambda a: kernels.fill(
        a, kernels.uniform, generator or default_generator, low, high))


@method()
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fills the tensor with normal random numbers."""
    check_std("normal", std)
    check_float("normal_kernel_cpu", self.dtype)
    return _refill("normal", self, lambda a: kernels.fill_normal(
        a, generator or default_generator, float(mean), float(std)))


def check_std(function: str, std: Any) -> None:
    if not std >= 0:
        raise RuntimeError(f"{function} expects std >= 0.0, but found std {std:g}")


@method()
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    r"""Fills the tensor with exponential random numbers of rate :math:`\lambda`."""
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    if self.dtype.category != 2:
        raise RuntimeError("Exponential distribution is a continuous probability distribution. "
                           f"dtype must be a floating point but you specified "
                           f"{scalar_type_name(self.dtype)}")
    return _refill("exponential", self, lambda a: kernels.fill(
        a, kernels.exponential, generator or default_generator, float(lambd)))


@method()
def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None
) -> Tensor:
    """Fills the tensor with random numbers of the Cauchy distribution."""
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    if self.dtype.category != 2:
        raise RuntimeError("Cauchy distribution is a continuous probability distribution. dtype "
                           f"must be a floating point but you specified "
                           f"{scalar_type_name(self.dtype)}")
    return _refill("cauchy", self, lambda a: kernels.fill(
        a, kernels.cauchy, generator or default_generator, float(median), float(sigma)))


@method()
def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
) -> Tensor:
    """Fills the tensor with numbers whose logarithm is normal with that mean and deviation."""
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    check_float("log_normal_cpu", self.dtype)
    return _refill("log_normal", self, lambda a: kernels.fill(
        a, kernels.log_normal, generator or default_generator, float(mean), float(std)))


@method()
def geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Fills the tensor with the numbers of trials until a first success of probability `p`."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if self.dtype.category in (0, 3):
        raise NotImplementedError(
            f'"geometric_cpu" not implemented for \'{scalar_type_name(self.dtype)}\''
        )
    return _refill("geometric", self, lambda a: kernels.fill(
        a, kernels.geometric, generator or default_generator, float(p)))


@method()
def random_(
    self: Tensor, from_: Any = None, to: Any = None, *, generator: Any = None, **named: Any
) -> Tensor:
    """Fills the tensor with random whole numbers: [from, to), [0, to), or all the dtype holds."""
    low = named.get("from", from_)
    source = generator or default_generator
    if low is None and to is None:
        return _refill("random", self, lambda a: kernels.fill(a, kernels.any_integers, source))
    if to is None and "from" not in named:
        low, to = 0, low
    if to is None:
        high = int(np.iinfo(self.dtype.numpy_dtype).max) + 1 if self.dtype.category == 1 else 2**63
    else:
        high = int(to)
    first = int(low or 0)
    _check_bounds(first, high, self.dtype)
    return _refill("random", self, lambda a: kernels.fill(a, kernels.integers, source, first, high))


@method()
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fills the tensor with ones of probability `p`, a number or a tensor, and zeros."""
    source = generator or default_generator
    if isinstance(p, Tensor):
        chances = p._array
        if chances.size and not bool(((chances >= 0) & (chances <= 1)).all()):
            raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")

        def write(a: Any) -> None:
            a[...] = kernels.bernoulli_of(source, np.broadcast_to(chances, a.shape), a.dtype)

        return _refill("bernoulli", self, write)
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    return _refill(
        "bernoulli", self, lambda a: kernels.fill(a, kernels.bernoulli, source, float(p))
    )
