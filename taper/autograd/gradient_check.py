"""Checks derivatives against finite differences: `gradcheck` and `gradgradcheck`.

The numerical Jacobian uses central differences, (f(x + e) - f(x - e)) / 2e, element by element; the
analytical one asks the tape for each row, u^T J with u a unit vector. Complex inputs are moved
along the real and the imaginary axis; outputs then have both Wirtinger derivatives tested through
the real-valued pairing that PyTorch's convention implies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import taper
from taper.autograd.backward import grad as autograd_grad
from taper.autograd.forward_gradient_check import (
    batch_problem,
    forward_batch_problem,
    forward_problem,
)
from taper.autograd.modes import no_grad
from taper.core.tensor import Tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """Raised by `gradcheck` when two Jacobians differ."""

    __module__ = "torch.autograd.gradcheck"


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _outputs(func: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """The differentiable outputs of one call."""
    found = _as_tuple(func(*inputs))
    return tuple(
        o for o in found
        if isinstance(o, Tensor) and (o.is_floating_point() or o.is_complex())
    )


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Compares the tape's Jacobian of `func` with finite differences; True if they agree.

    Args:
        func: from tensors to a tensor or several.   inputs: float64 or complex128, some requiring
            grad.   eps: the step.   atol, rtol: how far the two may be apart.
        raise_exception: raise GradcheckError instead of returning False.
        nondet_tol: how far two analytical results may be apart.
        check_forward_ad: compare forward mode, too; check_backward_ad: reverse mode.
        check_batched_grad, check_batched_forward_grad: compare vmapped passes with single ones.
        fast_mode: compare one random projection of the Jacobians instead of every element.
    Raises:
        GradcheckError: if the Jacobians differ.    ValueError: if no input requires grad.
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
        >>> torch.autograd.gradcheck(torch.exp, (x,))
        True
    """
    given = _as_tuple(inputs)
    try:
        _check_inputs(given)
        if check_backward_ad:
            _check(func, given, eps, atol, rtol, nondet_tol, check_grad_dtypes, fast_mode,
                   check_undefined_grad)
        problems: list[Callable[[], str | None]] = []
        if check_forward_ad:
            problems.append(lambda: forward_problem(
                func, given, _outputs, eps, atol, rtol, fast_mode))
        if check_batched_forward_grad:
            problems.append(lambda: forward_batch_problem(func, given, _outputs))
        if check_batched_grad:
            problems.append(lambda: batch_problem(func, given, _outputs))
        for problem in problems:
            if message := problem():
                raise GradcheckError(message)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable[..., Any], inputs: tuple[Any, ...], eps: float, atol: float, rtol: float,
    nondet_tol: float, check_grad_dtypes: bool, fast_mode: bool, check_undefined_grad: bool,
) -> None:
    outputs = _outputs(func, inputs)
    if not any(o.requires_grad for o in outputs):
        _check_constant(func, inputs, outputs, eps, atol)
        return
    for i, output in enumerate(outputs):
        if not output.requires_grad:
            continue
        _check_output(
            func, inputs, outputs, i, eps, atol, rtol, nondet_tol, fast_mode, check_grad_dtypes
        )
    if check_undefined_grad:
        _check_undefined(func, inputs)


def _check_inputs(inputs: tuple[Any, ...]) -> None:
    any_requires_grad = False
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or not x.requires_grad:
            continue
        any_requires_grad = True
        if x.dtype not in (taper.float64, taper.complex128):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex. This check will likely fail if all the inputs are not of double "
                "precision floating point or complex. ",
                UserWarning, stacklevel=4,
            )
        if any(s == 0 and n > 1 for s, n in zip(x.stride(), x.shape, strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping to be able to compute the numerical gradients "
                "correctly. You should call .contiguous on the input before passing it to "
                "gradcheck."
            )
    if not any_requires_grad:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them "
            "have requires_grad=True."
        )


def _differentiable(inputs: tuple[Any, ...]) -> list[tuple[int, Tensor]]:
    return [(i, x) for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]


def _moved(
    func: Callable[..., Any], inputs: tuple[Any, ...], x: Tensor, index: tuple[int, ...],
    step: complex, output: int,
) -> Tensor:
    """One output after moving one element of one input by `step`; the element is put back."""
    data = x.data
    original = data[index].item()
    with no_grad():
        data[index] = original + step
        try:
            return _outputs(func, inputs)[output].detach().clone()  # type: ignore[no-any-return]
        finally:
            data[index] = original


def _indices(shape: Any) -> Any:
    import itertools

    return itertools.product(*(range(n) for n in shape))


def numerical_jacobian(
    func: Callable[..., Any], inputs: tuple[Any, ...], x: Tensor, output: int, eps: float
) -> list[tuple[Tensor, Tensor | None]]:
    """The Jacobian by central differences, as an (input elements, output elements) matrix.

    For complex inputs each row is the gradient in PyTorch's convention:
    d/dRe + i d/dIm, of a complex output's conjugated pairing.
    """
    rows: list[tuple[Tensor, Tensor | None]] = []
    for index in _indices(x.shape):
        real = _difference(func, inputs, x, index, eps, output)
        if x.is_complex():
            imaginary = _difference(func, inputs, x, index, eps * 1j, output)
            rows.append((real, imaginary))
        else:
            rows.append((real, None))
    return rows


def _difference(
    func: Callable[..., Any], inputs: tuple[Any, ...], x: Tensor, index: tuple[int, ...],
    step: Any, output: int,
) -> Tensor:
    ahead = _moved(func, inputs, x, index, step, output)
    behind = _moved(func, inputs, x, index, -step, output)
    return ((ahead - behind) / (2 * abs(step))).reshape(-1)  # type: ignore[no-any-return]


def _numerical(
    func: Callable[..., Any], inputs: tuple[Any, ...], x: Tensor, output: int, eps: float,
    factor: complex,
) -> Tensor:
    """Column j holds the gradient at x of Re(conj(factor) * y_j)."""
    rows = []
    for real, imaginary in numerical_jacobian(func, inputs, x, output, eps):
        row = _real_pairing(real, factor)
        if imaginary is not None:
            row = taper.complex(row, _real_pairing(imaginary, factor))
        rows.append(row)
    if rows:
        return taper.stack(rows)  # type: ignore[no-any-return]
    return taper.zeros(0, 0, dtype=taper.float64)  # type: ignore[no-any-return]


def _real_pairing(change: Tensor, factor: complex) -> Tensor:
    if not change.is_complex():
        return change
    return (change * factor.conjugate()).real  # type: ignore[no-any-return]


def _analytical(
    output: Tensor, x: Tensor, factor: complex, columns: int
) -> tuple[Tensor, Tensor | None]:
    """The same matrix from the tape, and its dtype's witness: one gradient as returned."""
    found = []
    witness = None
    for j in range(columns):
        u = taper.zeros(columns, dtype=output.dtype)
        u[j] = factor if output.is_complex() else 1.0
        (g,) = autograd_grad(
            output, x, u.reshape(output.shape), retain_graph=True, allow_unused=True
        )
        if g is None:
            g = taper.zeros_like(x)
        else:
            witness = g
        found.append(g.reshape(-1))
    if not found:
        return taper.zeros(x.numel(), 0, dtype=x.dtype), None
    return taper.stack(found, 1), witness


def _check_output(
    func: Callable[..., Any], inputs: tuple[Any, ...], outputs: tuple[Tensor, ...], i: int,
    eps: float, atol: float, rtol: float, nondet_tol: float, fast_mode: bool,
    check_grad_dtypes: bool,
) -> None:
    output = outputs[i]
    columns = output.numel()
    for position, (_, x) in enumerate(_differentiable(inputs)):
        for factor in ((1.0, 1j) if output.is_complex() else (1.0,)):
            analytical, witness = _analytical(output, x, factor, columns)
            again, _ = _analytical(output, x, factor, columns)
            if _largest_difference(analytical, again) > nondet_tol:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values, although analytical "
                    f"gradient matches numerical gradient.The tolerance for nondeterminism was "
                    f"{nondet_tol}."
                )
            if check_grad_dtypes and witness is not None and witness.dtype is not x.dtype:
                raise GradcheckError("Gradient has dtype mismatch")
            numerical = _numerical(func, inputs, x, i, eps, complex(factor))
            if numerical.numel() == 0:
                continue
            if fast_mode:
                _compare_projected(analytical, numerical, i, position, atol, rtol)
            elif not taper.allclose(
                analytical, numerical.to(analytical.dtype), rtol, atol
            ):
                raise GradcheckError(_mismatch(analytical, numerical, i, position, factor))


def _largest_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


def _mismatch(
    analytical: Tensor, numerical: Tensor, output: int, position: int, factor: complex
) -> str:
    part = "" if factor == 1.0 else (
        "While considering the imaginary part of complex outputs only, "
    )
    return (
        f"{part}Jacobian mismatch for output {output} with respect to input {position},\n"
        f"numerical:{numerical}\nanalytical:{analytical}\n"
    )


def _compare_projected(
    analytical: Tensor, numerical: Tensor, output: int, position: int, atol: float, rtol: float
) -> None:
    """Compares u^T J v for random unit vectors, as `fast_mode` does."""
    generator = taper.Generator().manual_seed(0)
    u = taper.rand(analytical.shape[0], dtype=taper.float64, generator=generator)
    v = taper.rand(analytical.shape[1], dtype=taper.float64, generator=generator)
    u, v = (u / u.norm()).to(analytical.dtype), (v / v.norm()).to(analytical.dtype)
    a = (u @ analytical @ v).item()
    n = (u @ numerical.to(analytical.dtype) @ v).item()
    if abs(a - n) <= atol + rtol * abs(n):
        return
    raise GradcheckError(
        f"Jacobian mismatch for output {output} with respect to input {position},\n"
        f"numerical:{n}\nanalytical:{a}\n\n"
        "The above quantities relating the numerical and analytical jacobians are computed \n"
        "in fast mode. See: https://github.com/pytorch/pytorch/issues/53876 for more background \n"
        "about fast mode. Below, we recompute numerical and analytical jacobians in slow mode:\n\n"
        f"Numerical:\n {numerical}\nAnalytical:\n{analytical}\n\n"
        "The max per-element difference (slow mode) is: "
        f"{_largest_difference(analytical, numerical.to(analytical.dtype))}.\n"
    )


def _check_constant(
    func: Callable[..., Any], inputs: tuple[Any, ...], outputs: tuple[Tensor, ...], eps: float,
    atol: float,
) -> None:
    """Outputs without history must not depend on the inputs."""
    for i, _ in enumerate(outputs):
        for _, x in _differentiable(inputs):
            numerical = _numerical(func, inputs, x, i, eps, 1.0)
            if numerical.numel() and float(numerical.abs().max()) > atol:
                raise GradcheckError("Numerical gradient for function expected to be zero")


def _check_undefined(func: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    """Gradients that nobody sent must count as zeros, in every custom function on the way."""
    outputs = [o for o in _outputs(func, inputs) if o.requires_grad]
    xs = [x for _, x in _differentiable(inputs)]
    if len(outputs) < 2:
        return
    for output in outputs:
        autograd_grad(
            output, xs, taper.zeros_like(output), retain_graph=True, allow_unused=True
        )


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Checks second derivatives: `gradcheck` of the function that computes the gradients.

    Args:     grad_outputs: what arrives at the outputs; default random.  Others as `gradcheck`.
    """
    given = _as_tuple(inputs)
    outputs = [o for o in _outputs(func, given) if o.requires_grad]
    if grad_outputs is None:
        generator = taper.Generator().manual_seed(0)
        vectors = tuple(
            taper.randn(o.shape, dtype=o.dtype, generator=generator).requires_grad_()
            for o in outputs
        )
    else:
        vectors = _as_tuple(grad_outputs)
    wanted = [i for i, _ in _differentiable(given)]

    def gradients(*arguments: Any) -> tuple[Tensor, ...]:
        xs, us = arguments[: len(given)], arguments[len(given):]
        xs = tuple(
            x.view_as(x).requires_grad_() if i in wanted and not x.requires_grad else x
            for i, x in enumerate(xs)
        )
        found = [o for o in _outputs(func, xs) if o.requires_grad]
        grads = autograd_grad(
            found, [xs[i] for i in wanted], us, create_graph=True, allow_unused=True
        )
        return tuple(g for g in grads if isinstance(g, Tensor) and g.requires_grad)

    def recording(*arguments: Any) -> tuple[Tensor, ...]:
        with taper.enable_grad():
            return gradients(*arguments)

    return gradcheck(
        recording, (*given, *vectors), eps=eps, atol=atol, rtol=rtol,
        raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad, check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev, fast_mode=fast_mode,
    )
