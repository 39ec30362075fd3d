"""Forward mode as transforms of functions: jvp, linearize, jacfwd, and hessian."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taper.autograd.backward import grad as autograd_grad
from taper.autograd.forward_ad import dual
from taper.autograd.modes import enable_grad
from taper.autograd.tangents import DualLevel, below, tangent_of
from taper.core.state import is_recording
from taper.core.tensor import Tensor
from taper.func.gradients import Trial, basis_of, check_argnums, jacrev
from taper.func.tree import Structure, flatten, unflatten
from taper.func.vectorization import vmap
from taper.ops.creation import ones_like, zeros_like

__all__ = ["hessian", "jacfwd", "jvp", "linearize"]


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """Returns ``func(*primals)`` and its derivative along `tangents`: the Jacobian times a vector.

    Args:
        primals (tuple), tangents (tuple): of the same structure and shapes.
        strict: raise if an output doesn't depend on the inputs, instead of giving zeros.
        has_aux: `func` returns ``(output, aux)``; then `aux` is returned third.
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([1., 2.])
        >>> torch.func.jvp(lambda x: x * x, (x,), (torch.tensor([1., 0.]),))
        (tensor([1., 4.]), tensor([2., 0.]))
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to "
            "call f(*primals)."
        )
    flat, structure = flatten(primals)
    directions, given = flatten(tangents)
    if structure != given:
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals and tangents to have the same python "
            "structure. For example, if primals is a tuple of 3 tensors, tangents also must be. "
            f"Got primals with structure {structure} and tangents with structure {given}"
        )
    _check_tensors("primals", flat)
    _check_tensors("tangents", directions)
    with DualLevel() as level:
        duals = [dual(x, t, level, 0) for x, t in zip(flat, directions, strict=True)]
        result = func(*unflatten(duals, structure))
        aux = None
        if has_aux:
            if not isinstance(result, tuple) or len(result) != 2:
                raise RuntimeError(
                    "jvp(f, primals, tangents): output of function f should be a tuple: (output, "
                    "aux) if has_aux is True"
                )
            result, aux = result
            values, aux_structure = flatten(aux)
            aux = unflatten(
                [below(v, level) if isinstance(v, Tensor) else v for v in values], aux_structure
            )
        outputs, output_structure = flatten(result)
        for value in outputs:
            if not isinstance(value, Tensor):
                raise RuntimeError(
                    "jvp(f, primals, tangents): expected f(*primals) to return only tensors, got "
                    f"unsupported type {type(value)}"
                )
        found = [(below(value, level), _derivative(value, level, strict)) for value in outputs]
    value = unflatten([v for v, _ in found], output_structure)
    derivative = unflatten([d for _, d in found], output_structure)
    return (value, derivative, aux) if has_aux else (value, derivative)


def _check_tensors(name: str, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, Tensor):
            raise RuntimeError(
                f"jvp(f, primals, tangents): Expected {name} to contain only Tensors, got "
                f"unsupported type {type(value)}"
            )
    if not values:
        raise RuntimeError(
            f"jvp(f, primals, tangents): Expected {name} to contain at least one Tensor."
        )


def _derivative(output: Tensor, level: DualLevel, strict: bool) -> Tensor:
    tangent = tangent_of(output, level)
    if tangent is not None:
        return tangent
    if strict:
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
            "This is not allowed with strict=True."
        )
    return zeros_like(below(output, level).detach())


# -- linearize -------------------------------------------------------------------------------------


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Returns ``func(*primals)`` and a function for its derivatives there, along any tangents.

    For several tangents at one place this is quicker than `jvp`: `func` runs once.

    Example:
        >>> import taper as torch
        >>> value, derivative = torch.func.linearize(torch.sin, torch.tensor([0., 1.]))
        >>> derivative(torch.ones(2))
        tensor([1.0000, 0.5403])
    """
    flat, structure = flatten(primals)
    trial = Trial()
    with enable_grad():
        inputs = [trial.stand_in(x) for x in flat]
        outputs, output_structure = flatten(func(*unflatten(inputs, structure)))
        trial.end()
        linear = _Linear(trial, inputs, outputs)
    value = unflatten([trial.released(o) for o in outputs], output_structure)

    def jvp_fn(*tangents: Any) -> Any:
        directions, given = flatten(tangents)
        if given != structure:
            raise RuntimeError(
                f"Expected the tangents {given} to have the same argspec as the primals {structure}"
            )
        for i, (t, x) in enumerate(zip(directions, flat, strict=True)):
            for what, theirs, ours in (("shape", t.shape, x.shape), ("dtype", t.dtype, x.dtype)):
                if theirs != ours:
                    raise RuntimeError(
                        f"tangent:{i} with {what} {theirs} in flattened pytree doesn't match the "
                        f"{what} {ours} of the corresponding primal."
                    )
        return unflatten(linear.derivatives(directions), output_structure)

    return value, jvp_fn


class _Linear:
    """The derivative of some outputs at some inputs, as the transpose of the reverse pass; see
    Note [tangents from reverse rules] in ops/forward_mode.py."""

    def __init__(self, trial: Trial, inputs: list[Tensor], outputs: list[Any]) -> None:
        self.trial = trial
        self.outputs = outputs
        recorded = [o for o in outputs if isinstance(o, Tensor) and o._edge is not None]
        self.cotangents = {id(o): ones_like(o.detach(), requires_grad=True) for o in recorded}
        self.products: tuple[Any, ...] = (None,) * len(inputs)
        if recorded:
            self.products = autograd_grad(
                recorded, inputs, list(self.cotangents.values()), create_graph=True,
                allow_unused=True,
            )

    def derivatives(self, directions: list[Tensor]) -> list[Any]:
        """The derivative of each output; zeros where it doesn't depend on the inputs."""
        pairs = [
            (p, d) for p, d in zip(self.products, directions, strict=True)
            if p is not None and p._edge is not None
        ]
        found: tuple[Tensor | None, ...] = (None,) * len(self.cotangents)
        if pairs:
            found = autograd_grad(
                [p for p, _ in pairs], list(self.cotangents.values()), [d for _, d in pairs],
                retain_graph=True, create_graph=is_recording(), allow_unused=True,
            )
        by_output = dict(zip(self.cotangents, found, strict=True))
        results: list[Any] = []
        for output in self.outputs:
            derivative = by_output.get(id(output))
            if derivative is not None:
                results.append(self.trial.released(derivative))
            else:
                results.append(
                    zeros_like(output.detach()) if isinstance(output, Tensor) else output
                )
        return results


# -- Jacobians -------------------------------------------------------------------------------------


def jacfwd(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """Returns a function that computes the Jacobian of `func`, one column for each input element.

    All columns are computed in one vmapped forward pass.

    Args:
        argnums: with respect to which arguments.
        has_aux: `func` returns ``(output, aux)``, and the new one ``(jacobian, aux)``.
        randomness: as for `vmap`.
    Shape:    (*output, *input), in the trees that outputs and inputs have
    Example:
        >>> import taper as torch
        >>> torch.func.jacfwd(torch.sin)(torch.zeros(2))
        tensor([[1., 0.],
                [0., 1.]])
    """

    @functools.wraps(func)
    def wrapped(*args: Any) -> Any:
        numbers = check_argnums(argnums, len(args))
        chosen = args[numbers] if isinstance(numbers, int) else tuple([args[n] for n in numbers])
        inputs, structure = flatten(chosen)
        counts = [x.numel() for x in inputs]
        total = sum(counts)
        shape: list[Structure] = []

        def along(*directions: Tensor) -> tuple[list[Tensor], Any]:
            found = jvp(
                lambda *values: _with_arguments(func, args, numbers, unflatten(values, structure)),
                tuple(inputs), directions, has_aux=has_aux,
            )
            derivatives, output_structure = flatten(found[1])
            shape.append(output_structure)
            return derivatives, found[2] if has_aux else None

        mapped = vmap(along, out_dims=(0, None), randomness=randomness)
        columns, aux = mapped(*basis_of(inputs, counts, total))
        jacobian = unflatten(
            [unflatten(_parts(c, inputs, counts), structure) for c in columns], shape[0]
        )
        return (jacobian, aux) if has_aux else jacobian

    return wrapped


def _with_arguments(func: Callable[..., Any], args: Any, numbers: Any, values: Any) -> Any:
    """Calls `func` with other values for the chosen arguments."""
    replaced = list(args)
    if isinstance(numbers, int):
        replaced[numbers] = values
    else:
        for number, value in zip(numbers, values, strict=True):
            replaced[number] = value
    return func(*replaced)


def _parts(columns: Tensor, inputs: list[Tensor], counts: list[int]) -> list[Tensor]:
    """The Jacobian of one output for each input, from its derivatives along all elements."""
    shape = columns.shape[1:]
    rows = columns.movedim(0, -1)
    return [
        part.reshape((*shape, *x.shape))
        for part, x in zip(rows.split(counts, -1), inputs, strict=True)
    ]


def hessian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Returns a function that computes the Hessian of `func`.

    Reverse over reverse: as forward mode comes from the reverse rules here, this asks less of them
    than ``jacfwd(jacrev(func))``, which gives the same, and is 3 times quicker.

    Example:
        >>> import taper as torch
        >>> torch.func.hessian(lambda x: (x ** 3).sum())(torch.ones(2))
        tensor([[6., 0.],
                [0., 6.]])
    """
    return jacrev(jacrev(func, argnums), argnums)
