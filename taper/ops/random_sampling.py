"""Random numbers that depend on tensors: bernoulli, normal, poisson, binomial, multinomial.

Those of a given distribution are in random.py.
"""

from __future__ import annotations

from typing import Any

from taper.core import dtype as dtypes
from taper.core.dtype import get_default_dtype
from taper.core.errors import broadcast_error
from taper.core.generator import default_generator
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels import random as kernels
from taper.kernels import rejection
from taper.ops.declare import composite, operator
from taper.ops.options import check_out_dtype, finish, read_options, uninitialized
from taper.ops.random import check_float, check_std, into, zeros_like_grad
from taper.ops.sizes import as_sizes


@operator("_bernoulli", node="BernoulliBackward0", hidden=True)
def bernoulli_of(input: Tensor, p: Any, generator: Any) -> Tensor:
    if p is not None:
        return kernels.bernoulli(generator, input.shape, input.dtype, float(p))
    if input.size and not bool(((input >= 0) & (input <= 1)).all()):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return kernels.bernoulli_of(generator, input)


@bernoulli_of.derivative("input")
def _(grad):
    return zeros_like_grad(grad)


@composite(method=True)
def bernoulli(input: Tensor, p: Any = None, *, generator: Any = None, out: Any = None) -> Tensor:
    """Draws ones, with the probabilities that the tensor holds, and zeros.

    Args: p (float): one probability for all; then only the shape of `input` counts.
    Raises:   RuntimeError: if a probability is not in [0, 1].
    Example:
        >>> import taper as torch
        >>> torch.bernoulli(torch.tensor([0., 1.]))
        tensor([0., 1.])
    """
    if p is None:
        check_float("bernoulli_tensor_cpu_p_", input.dtype)
    elif not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    result = bernoulli_of(input, p, generator or default_generator)
    return result if out is None else into(out, result._array)


@operator("_normal", node="NormalBackward1", hidden=True)
def normal_around(mean: Tensor, std: Any, generator: Any) -> Tensor:
    return kernels.normal_around(generator, mean, std)


@normal_around.derivative("mean")
def _(grad):
    return zeros_like_grad(grad)


@operator("_normal_std", node="NormalBackward2", hidden=True)
def normal_scaled(std: Tensor, mean: Any, generator: Any) -> Tensor:
    return kernels.normal_around(generator, mean, std)


@normal_scaled.derivative("std")
def _(grad):
    return zeros_like_grad(grad)


@operator("_normal_both", node="NormalBackward3", hidden=True)
def normal_between(mean: Tensor, std: Tensor, generator: Any) -> Tensor:
    return kernels.normal_around(generator, mean, std)


@normal_between.derivative("mean")
def _(grad, mean_shape):
    return grad.new_zeros(mean_shape)


@normal_between.derivative("std")
def _(grad, std_shape):
    return grad.new_zeros(std_shape)


normal_around.name = normal_scaled.name = normal_between.name = "normal"


@composite()
def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, out: Any = None,
    dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Draws normal random numbers whose mean and deviation are tensors or numbers.

    Args: size: the shape, if `mean` and `std` are both numbers.
    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.normal(torch.tensor([0., 100.]), 1.)
        tensor([ 1.5410, 99.7066])
    """
    source = generator or default_generator
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        if size is None:
            raise TypeError(
                "normal() received an invalid combination of arguments - got "
                f"({type(mean).__name__}, {type(std).__name__}), but expected one of:\n * (Tensor "
                "mean, Tensor std, *, torch.Generator generator = None, Tensor out = None)\n"
            )
        check_std("normal", std)
        shape = as_sizes("normal", size)
        wanted, where = read_options("normal", dtype, device, layout, pin_memory)
        if out is not None:
            check_out_dtype(out, wanted)
            wanted = out.dtype
        wanted = wanted or get_default_dtype()
        check_float("normal_kernel_cpu", wanted)
        if where.type != "cpu":
            return finish(uninitialized(shape, wanted, where), requires_grad)
        array = kernels.normal(source, shape, wanted.numpy_dtype, float(mean), float(std))
        return into(out, array, requires_grad)
    if isinstance(std, Tensor):
        a = std._array
        if a.dtype.kind == "c":
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if a.size and not bool((a >= 0).all()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
    else:
        check_std("normal", std)
    first = out if out is not None else mean if isinstance(mean, Tensor) else std
    check_float("normal_kernel_cpu", first.dtype)
    if out is not None:
        # PyTorch computes in `out`, which must therefore have room for the result.
        given = mean if isinstance(mean, Tensor) else std
        if not (isinstance(mean, Tensor) and isinstance(std, Tensor)):
            problem = broadcast_error([given._array.shape, out._array.shape])
            if problem is not None:
                raise problem
    if isinstance(mean, Tensor) and isinstance(std, Tensor):
        if mean._array.shape != std._array.shape:
            problem = broadcast_error([mean._array.shape, std._array.shape])
            if problem is not None:
                raise problem
        result = normal_between(mean, std, source)
    elif isinstance(mean, Tensor):
        result = normal_around(mean, float(std), source)
    else:
        result = normal_scaled(std, float(mean), source)
    return result if out is None else into(out, result._array)


@operator("_poisson", node="PoissonBackward0", hidden=True)
def poisson_of(input: Tensor, generator: Any) -> Tensor:
    if input.size and not bool((input >= 0).all()):
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return rejection.poisson(generator, input)


@poisson_of.derivative("input")
def _(grad):
    return zeros_like_grad(grad)


@composite()
def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Draws Poisson counts with the rates that the tensor holds.

    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.poisson(torch.tensor([1., 10., 100.]))
        tensor([  2.,  15., 109.])
    """
    check_float("poisson_cpu", input.dtype)
    return poisson_of(input, generator or default_generator)


@operator("binomial", hidden=True)
def binomial_of(count: Tensor, prob: Tensor, generator: Any) -> Tensor:
    return rejection.binomial(generator, count, prob)


@composite()
def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """Draws how many of `count` trials succeed, each with probability `prob`.

    Example:
        >>> import taper as torch
        >>> torch.binomial(torch.tensor([5., 5.]), torch.tensor([0., 1.]))
        tensor([0., 5.])
    """
    for name, given in (("count", count), ("prob", prob)):
        if not given.dtype.is_floating_point:
            raise ValueError(
                f"binomial only supports floating-point dtypes for {name}, got: "
                f"{scalar_type_name(given.dtype)}"
            )
    if prob.dtype is not count.dtype:
        raise RuntimeError(
            f"Found dtype {scalar_type_name(prob.dtype)} but expected "
            f"{scalar_type_name(count.dtype)}"
        )
    return binomial_of(count, prob, generator or default_generator)


@composite(method=True)
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None,
    out: Any = None,
) -> Tensor:
    """Draws positions with probabilities proportional to the weights in each row.

    Args: replacement (bool): whether a position may be drawn more than once.
    Shape:    (m, n) or (n) → (m, num_samples) or (num_samples)
    Raises:   RuntimeError: if weights are negative or all zero, or too few without `replacement`.
    Example:
        >>> import taper as torch
        >>> torch.multinomial(torch.tensor([0., 3., 0.]), 1)
        tensor([1])
    """
    weights = input._array
    if weights.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if input.dtype.category != 2:
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, got: "
            f"{scalar_type_name(input.dtype)}"
        )
    if weights.shape[-1] > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if out is not None and out.dtype is not dtypes.int64:
        raise RuntimeError(
            f"multinomial expects Long tensor out, got: {scalar_type_name(out.dtype)}"
        )
    if input.is_meta:
        return input.new_empty((*weights.shape[:-1], num_samples), dtype=dtypes.int64)
    source = generator or default_generator
    return into(out, kernels.multinomial(source, weights, int(num_samples), replacement))
