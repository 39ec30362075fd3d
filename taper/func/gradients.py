"""Reverse mode as transforms of functions: grad, grad_and_value, vjp, jacrev.

Note [one tape]. There is one tape, not one for each transform: a transform runs the function on
stand-ins for its inputs and asks the tape for the gradients of those. A stand-in of a tensor that
has a history itself, or the results of an outer transform, is connected to it by a node, so outer
transforms differentiate through. What comes out keeps its history only if that leads somewhere else
than to the stand-ins; so it does in PyTorch, where each transform has a level of its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.backward import grad as autograd_grad
from taper.autograd.modes import enable_grad, no_grad
from taper.autograd.node import NodeOutput, next_sequence
from taper.core.state import is_recording
from taper.core.tensor import LEAF, Tensor, wrap
from taper.func.tree import Structure, flatten, leaves, map_tree, unflatten
from taper.func.vectorization import vmap
from taper.ops.creation import zeros, zeros_like
from taper.ops.declare import operator

__all__ = ["Trial", "basis_of", "check_argnums", "grad", "grad_and_value", "jacrev", "vjp"]


# -- stand-ins -------------------------------------------------------------------------------------


@operator("_stand_in", hidden=True, node="AliasBackward0")
def _connected(input: Tensor) -> Tensor:
    return input


@_connected.derivative("input")
def _(grad):
    return grad


class Trial:
    """One run of a function on stand-ins: what is needed to tell its history from older ones."""

    def __init__(self) -> None:
        self.recorded = is_recording()
        self.start = next_sequence()
        self.stop: float = math.inf

    def stand_in(self, value: Any) -> Tensor:
        """A tensor with the memory of `value` that requires grad."""
        if not isinstance(value, Tensor):
            raise ValueError(
                f"Thing passed to transform API must be Tensor, got {type(value)}"
            )
        if not (value.is_floating_point() or value.is_complex()):
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if self.recorded:
            result: Tensor = _connected(value)
        else:
            with no_grad():
                result = _connected(value)
        result._storage = value._shared_storage()
        if result._edge is None:
            result._edge = LEAF
            result.__dict__["_stands_in_since"] = self.start
        return result

    def end(self) -> None:
        """To be called when the function has run: stand-ins made later are not its own."""
        self.stop = next_sequence()

    def leads_out(self, tensor: Tensor) -> bool:
        """Whether the history of a tensor leads anywhere else than to stand-ins, those of this run
        and of transforms inside of it."""
        edge = tensor._edge
        waiting = [tensor if edge is LEAF else edge]
        seen = set()
        while waiting:
            edge = waiting.pop()
            if edge is None:
                continue
            if isinstance(edge, Tensor):
                if not self.start <= edge.__dict__.get("_stands_in_since", -1) <= self.stop:
                    return True
                continue
            node = edge.node if type(edge) is NodeOutput else edge
            if node.sequence < self.start:
                return True
            if node.sequence not in seen:
                seen.add(node.sequence)
                waiting.extend(node.edges)
        return False

    def released(self, value: Any) -> Any:
        """A result as it is given out: without the history that ends at the stand-ins."""
        if not isinstance(value, Tensor) or value._edge is None:
            return value
        if self.recorded and self.leads_out(value):
            return value
        with no_grad():
            result: Tensor = _connected(value)
        result._storage = value._shared_storage()
        return result


def check_argnums(argnums: Any, count: int) -> Any:
    """`argnums` without negative numbers."""
    if isinstance(argnums, bool) or not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if isinstance(argnums, int):
        return _checked_argnum(argnums, count)
    if not argnums:
        raise RuntimeError("argnums must be non-empty")
    found = []
    for number in argnums:
        if not isinstance(number, int):
            raise RuntimeError(f"argnums elements must be int, got {type(number)}")
        found.append(_checked_argnum(number, count))
    if len(set(found)) != len(found):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(found)


def _checked_argnum(number: int, count: int) -> int:
    if not -count <= number < count:
        raise RuntimeError(f"Got argnum={number}, but only {count} positional inputs")
    return number % count


def chosen(args: tuple[Any, ...], argnums: Any) -> Any:
    """The arguments that `argnums` names: one, or a tuple of them."""
    if isinstance(argnums, int):
        return args[argnums]
    return tuple([args[i] for i in argnums])


def replaced(args: tuple[Any, ...], argnums: Any, values: Any) -> tuple[Any, ...]:
    """The arguments with those that `argnums` names replaced."""
    new = list(args)
    if isinstance(argnums, int):
        new[argnums] = values
    else:
        for i, value in zip(argnums, values, strict=True):
            new[i] = value
    return tuple(new)


def _with_aux(result: Any, has_aux: bool, what: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(
            f"{what}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return result


def _released_aux(trial: Trial, aux: Any) -> Any:
    for value in leaves(aux):
        if not isinstance(value, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(value)}")
    return map_tree(trial.released, aux)


def _gradients(
    outputs: list[Tensor], inputs: list[Tensor], given: list[Any], create_graph: bool
) -> list[Tensor]:
    """The gradients of the inputs; zeros where no output depends on one."""
    pairs = [(o, g) for o, g in zip(outputs, given, strict=True) if o._edge is not None]
    found: tuple[Any, ...] = (None,) * len(inputs)
    if pairs and inputs:
        found = autograd_grad(
            [o for o, _ in pairs], inputs, [g for _, g in pairs], create_graph=create_graph,
            retain_graph=True, allow_unused=True,
        )
    return [zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


# -- grad ------------------------------------------------------------------------------------------


def grad_and_value(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Returns a function that computes the gradient of `func` and the value of it, as a tuple.

    Args:
        argnums: with respect to which arguments; trees of tensors have trees of gradients.
        has_aux: `func` returns ``(output, aux)``, and the new one ``(gradient, (output, aux))``.
    """
    what = "grad_and_value(f)(*args)"

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        numbers = check_argnums(argnums, len(args))
        trial = Trial()
        with enable_grad():
            inputs = map_tree(trial.stand_in, chosen(args, numbers))
            result = func(*replaced(args, numbers, inputs), **kwargs)
            output, aux = _with_aux(result, has_aux, what)
            if not isinstance(output, Tensor):
                raise RuntimeError(
                    f"{what}: Expected f(*args) to return a Tensor, got {type(output)}"
                )
            if output._array.ndim:
                raise RuntimeError(
                    f"{what}: Expected f(*args) to return a scalar Tensor, got tensor with "
                    f"{output._array.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs "
                    "instead?"
                )
            flat, structure = flatten(inputs)
            create_graph = trial.recorded and output._edge is not None and trial.leads_out(output)
            found = _gradients([output], flat, [None], create_graph)
            gradient = unflatten([trial.released(g) for g in found], structure)
            value = trial.released(output)
            if has_aux:
                value = value, _released_aux(trial, aux)
        return gradient, value

    return wrapped


def grad(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Returns a function that computes the gradient of `func`, which returns a scalar tensor.

    Args:
        argnums: with respect to which arguments; trees of tensors have trees of gradients.
        has_aux: `func` returns ``(output, aux)``, and the new one ``(gradient, aux)``.
    Example:
        >>> import taper as torch
        >>> torch.func.grad(torch.sin)(torch.tensor(0.))
        tensor(1.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


# -- vjp -------------------------------------------------------------------------------------------


class _Pullback:
    """A function run once, whose vector-Jacobian products can be asked for."""

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], argnums: Any, has_aux: bool
    ) -> None:
        trial = self.trial = Trial()
        with enable_grad():
            inputs = map_tree(trial.stand_in, chosen(args, argnums))
            result = func(*replaced(args, argnums, inputs))
            trial.end()
            outputs, aux = _with_aux(result, has_aux, "vjp(f, *primals)")
            self.inputs, self.input_structure = flatten(inputs)
            self.outputs, self.output_structure = flatten(outputs)
            self._check_outputs()
            self.aux = _released_aux(trial, aux) if has_aux else None
            self.results = [trial.released(t) for t in self.outputs]
            self.leads_out = any(
                [t._edge is not None and trial.leads_out(t) for t in self.outputs]
            )

    def _check_outputs(self) -> None:
        what = "vjp(f, *primals): expected f(*primals) to return"
        if not self.outputs:
            raise RuntimeError(f"{what} at least one tensor, got no tensors")
        for value in self.outputs:
            if not isinstance(value, Tensor):
                raise RuntimeError(f"{what} only tensors, got unsupported type {type(value)}")
        for value in self.outputs:
            if not (value.is_floating_point() or value.is_complex()):
                raise RuntimeError(
                    "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got "
                    f"Tensor with dtype {value.dtype}"
                )

    def result(self) -> Any:
        return unflatten(self.results, self.output_structure)

    def product(self, given: list[Any], create_graph: bool | None = None) -> list[Tensor]:
        """The gradients of the inputs, for these gradients of the outputs."""
        for value in given:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"gradients can be either Tensors or None, but got {type(value).__name__}"
                )
        if create_graph is None:
            create_graph = is_recording() and (
                self.leads_out or any([g._edge is not None for g in given])
            )
        found = _gradients(self.outputs, self.inputs, given, create_graph)
        return [self.trial.released(g) for g in found]


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Computes ``func(*primals)`` and returns it with a function for vector-Jacobian products.

    That function takes "vectors" like the output and returns a tuple, one product for each primal.

    Args:
        has_aux: `func` returns ``(output, aux)``; then `aux` is returned third.
    Example:
        >>> import taper as torch
        >>> output, product = torch.func.vjp(torch.sin, torch.tensor([0., 1.]))
        >>> product(torch.ones(2))
        (tensor([1.0000, 0.5403]),)
    """
    pullback = _Pullback(func, primals, tuple(range(len(primals))), has_aux)

    def wrapper(
        *cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None
    ) -> Any:
        tree = cotangents[0] if len(cotangents) == 1 else cotangents
        given, structure = flatten(tree)
        if structure != pullback.output_structure:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of "
                f"outputs to the function. cotangents: {_named(structure)}, primal output: "
                f"{_named(pullback.output_structure)}"
            )
        return unflatten(pullback.product(given, create_graph), pullback.input_structure)

    if has_aux:
        return pullback.result(), wrapper, pullback.aux
    return pullback.result(), wrapper


def _named(structure: Structure) -> str:
    """A structure as a tree of stars."""
    return repr(unflatten([_Star()] * structure.num_leaves, structure))


class _Star:
    def __repr__(self) -> str:
        return "*"


# -- jacrev ----------------------------------------------------------------------------------------


def jacrev(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False,
    chunk_size: int | None = None, _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """Returns a function that computes the Jacobian of `func`, one row for each output element.

    All rows are computed in one vmapped backward pass.

    Args:
        argnums: with respect to which arguments.
        has_aux: `func` returns ``(output, aux)``, and the new one ``(jacobian, aux)``.
        chunk_size: compute so many rows at once, to save memory. Default: all.
    Shape:    (*output, *input), in the trees that outputs and inputs have
    Example:
        >>> import taper as torch
        >>> torch.func.jacrev(torch.sin)(torch.zeros(2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if chunk_size is not None and not chunk_size > 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapped(*args: Any) -> Any:
        numbers = check_argnums(argnums, len(args))
        pullback = _Pullback(func, args, numbers, has_aux)
        _check_real(pullback)
        rows = _jacobian_rows(pullback, chunk_size)
        jacobian = unflatten(
            [unflatten(row, pullback.input_structure) for row in rows], pullback.output_structure
        )
        return (jacobian, pullback.aux) if has_aux else jacobian

    return wrapped


def _check_real(pullback: _Pullback) -> None:
    for what, tensors in (("outputs", pullback.outputs), ("inputs", pullback.inputs)):
        for i, value in enumerate(tensors):
            if value.is_complex():
                raise RuntimeError(
                    f"jacrev: Expected all {what} to be real but received complex tensor at "
                    f"flattened input idx: {i}"
                )


def _jacobian_rows(pullback: _Pullback, chunk_size: int | None) -> list[list[Tensor]]:
    """For each output, the Jacobian with respect to each input."""
    outputs = pullback.results
    counts = [t._array.size for t in outputs]
    total = sum(counts)
    if not total:
        return [[zeros((*o.shape, *x.shape), dtype=x.dtype) for x in pullback.inputs]
                for o in outputs]
    product = vmap(lambda *given: tuple(pullback.product(list(given))), chunk_size=chunk_size)
    found = product(*basis_of(outputs, counts, total))
    rows = []
    begin = 0
    for output, count in zip(outputs, counts, strict=True):
        rows.append([
            g.narrow(0, begin, count).reshape((*output.shape, *x.shape))
            for g, x in zip(found, pullback.inputs, strict=True)
        ])
        begin += count
    return rows


def basis_of(outputs: list[Tensor], counts: list[int], total: int) -> list[Tensor]:
    """For each output, its part of the unit vectors of all outputs together."""
    basis = []
    begin = 0
    for output, count in zip(outputs, counts, strict=True):
        part = np.zeros((total, count), output._array.dtype)
        part[begin : begin + count].reshape(-1)[:: count + 1] = 1
        basis.append(wrap(part.reshape((total, *output._array.shape))).to(output.device))
        begin += count
    return basis
