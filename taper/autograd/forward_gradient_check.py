"""What gradcheck asks beside the reverse gradients: forward mode, and batches of either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import taper
from taper.autograd.backward import grad
from taper.autograd.forward_ad import dual_level, make_dual, unpack_dual
from taper.autograd.modes import no_grad
from taper.core.tensor import Tensor

__all__ = ["batch_problem", "forward_batch_problem", "forward_problem"]

Outputs = Callable[..., tuple[Tensor, ...]]
Function = Callable[..., Any]


def forward_problem(
    func: Function, inputs: tuple[Any, ...], outputs_of: Outputs, eps: float, atol: float,
    rtol: float, fast_mode: bool,
) -> str | None:
    """Compares forward mode with central differences; what is wrong, or None."""
    for number, x in _differentiable(inputs):
        for direction in _directions(x, fast_mode):
            analytical = _tangents(func, inputs, outputs_of, number, direction)
            with no_grad():
                ahead = outputs_of(func, _moved(inputs, number, direction * eps))
                behind = outputs_of(func, _moved(inputs, number, direction * -eps))
            for i, (found, a, b) in enumerate(zip(analytical, ahead, behind, strict=True)):
                expected = (a - b) / (2 * eps)
                if not taper.allclose(found.to(expected.dtype), expected, rtol, atol):
                    return (
                        f"Jacobian computed with forward mode mismatch for output {i} with respect "
                        f"to input {number},\nnumerical:{expected}\nanalytical:{found}\n"
                        f"along {direction}"
                    )
    return None


def batch_problem(func: Function, inputs: tuple[Any, ...], outputs_of: Outputs) -> str | None:
    """Compares a vmapped backward pass with two single ones; what is wrong, or None."""
    wanted = [x for _, x in _differentiable(inputs)]
    for i, output in enumerate(outputs_of(func, inputs)):
        if not output.requires_grad:
            continue
        batch = taper.randn((2, *output.shape), dtype=output.dtype)
        found = _or_zeros(
            grad(output, wanted, batch, retain_graph=True, allow_unused=True,
                 is_grads_batched=True), wanted, 2)
        singles = [
            _or_zeros(grad(output, wanted, b, retain_graph=True, allow_unused=True), wanted, None)
            for b in batch
        ]
        for j, (f, *expected) in enumerate(zip(found, *singles, strict=True)):
            if not taper.allclose(f, taper.stack(expected), 1e-5, 1e-8):
                return (
                    f"For output {i} and input {j}: the batched gradient differs from those "
                    f"computed one by one.\nbatched:{f}\none by one:{expected}"
                )
    return None


def forward_batch_problem(
    func: Function, inputs: tuple[Any, ...], outputs_of: Outputs
) -> str | None:
    """Compares vmapped tangents with two single ones; what is wrong, or None."""
    for number, x in _differentiable(inputs):
        batch = taper.randn((2, *x.shape), dtype=x.dtype)

        def along(direction: Tensor, number: int = number) -> tuple[Tensor, ...]:
            return tuple(_tangents(func, inputs, outputs_of, number, direction))

        found = taper.vmap(along)(batch)
        singles = [along(b) for b in batch]
        for i, (f, *expected) in enumerate(zip(found, *singles, strict=True)):
            if not taper.allclose(f, taper.stack(expected), 1e-5, 1e-8):
                return (
                    f"For output {i} and input {number}: the batched forward gradient differs from "
                    f"those computed one by one.\nbatched:{f}\none by one:{expected}"
                )
    return None


def _differentiable(inputs: tuple[Any, ...]) -> list[tuple[int, Tensor]]:
    return [(i, x) for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]


def _directions(x: Tensor, fast_mode: bool) -> Iterator[Tensor]:
    """Unit vectors, of either part for complex numbers; one random direction in fast mode."""
    if fast_mode:
        yield taper.randn(x.shape, dtype=x.dtype)
        return
    for index in product(*(range(n) for n in x.shape)):
        for unit in (1, 1j) if x.is_complex() else (1,):
            direction = taper.zeros(x.shape, dtype=x.dtype)
            direction[index] = unit
            yield direction


def _moved(inputs: tuple[Any, ...], number: int, step: Tensor) -> tuple[Any, ...]:
    return tuple(
        x + step if i == number else x.detach() if isinstance(x, Tensor) else x
        for i, x in enumerate(inputs)
    )


def _tangents(
    func: Function, inputs: tuple[Any, ...], outputs_of: Outputs, number: int, direction: Tensor
) -> list[Tensor]:
    """The derivative of each output along a direction of one input."""
    with dual_level():
        given = list(inputs)
        given[number] = make_dual(inputs[number].detach(), direction)
        unpacked = [unpack_dual(o) for o in outputs_of(func, tuple(given))]
        return [
            taper.zeros_like(primal) if tangent is None else tangent
            for primal, tangent in unpacked
        ]


def _or_zeros(found: Any, inputs: list[Tensor], count: int | None) -> list[Tensor]:
    return [
        f if f is not None else x.new_zeros(x.shape if count is None else (count, *x.shape))
        for f, x in zip(found, inputs, strict=True)
    ]
