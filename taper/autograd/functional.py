"""Derivatives of functions: jacobian, hessian, and products with vectors, by the tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper
from taper.autograd.backward import grad as autograd_grad
from taper.autograd.engine import anomaly
from taper.autograd.modes import enable_grad
from taper.autograd.node import NodeOutput
from taper.core.tensor import LEAF, Tensor
from taper.func.gradients import basis_of

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _as_tuple(value: Any, name: str, function: str) -> tuple[bool, tuple[Tensor, ...]]:
    """(was it a tuple, the tensors); TypeError unless all are Tensors."""
    is_tuple = isinstance(value, (tuple, list))
    items = tuple(value) if is_tuple else (value,)
    for i, item in enumerate(items):
        if not isinstance(item, Tensor):
            if is_tuple:
                raise TypeError(
                    f"The {name} given to {function} must be either a Tensor or a tuple of Tensors "
                    f"but the value at index {i} has type {type(item)}."
                )
            raise TypeError(
                f"The {name} given to {function} must be either a Tensor or a tuple of Tensors "
                f"but the given {name} has type {type(item)}."
            )
    return is_tuple, items


def _as_inputs(inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    """Stand-ins for the inputs that require grad; connected to them with `create_graph`."""
    if create_graph:
        return tuple(
            x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
            for x in inputs
        )
    return tuple(x.detach().requires_grad_() for x in inputs)


def _check_used(outputs: tuple[Tensor, ...], strict: bool, what: str) -> None:
    if not strict:
        return
    for i, output in enumerate(outputs):
        if output._edge is None:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The "
                f"outputs must be computed in a differentiable manner from the input when running "
                f"in strict mode."
            )


def _filled(
    grads: Any, references: tuple[Tensor, ...], strict: bool, create_graph: bool, stage: str
) -> tuple[Tensor, ...]:
    """Zeros where an input does not matter; an error instead in strict mode."""
    filled = []
    for i, (g, reference) in enumerate(zip(grads, references, strict=True)):
        if g is None:
            if strict:
                raise RuntimeError(
                    f"The output of the user-provided function is independent of input {i}. This "
                    f"is not allowed in strict mode."
                )
            g = taper.zeros_like(reference)
        elif strict and create_graph and not g.requires_grad:
            raise RuntimeError(
                f"The {stage} of the user-provided function is independent of input {i}. This is "
                "not allowed in strict mode when create_graph=True."
            )
        filled.append(g)
    return tuple(filled)


def _grad(
    outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], grad_outputs: Any, create_graph: bool,
    retain_graph: bool | None = None,
) -> tuple[Any, ...]:
    """`autograd.grad` that leaves out outputs without history; None for unused inputs."""
    pairs = [
        (o, g) for o, g in zip(outputs, grad_outputs or (None,) * len(outputs), strict=True)
        if o._edge is not None
    ]
    if not pairs:
        return (None,) * len(inputs)
    return autograd_grad(
        [o for o, _ in pairs], inputs, [g for _, g in pairs], allow_unused=True,
        create_graph=create_graph, retain_graph=retain_graph,
    )


def _finish(result: Any, create_graph: bool) -> Any:
    """Without `create_graph` results carry no history."""
    if create_graph:
        return result
    if isinstance(result, tuple):
        return tuple(_finish(r, create_graph) for r in result)
    return result.detach() if result._edge is not None else result


def _call(
    func: Callable[..., Any], inputs: tuple[Tensor, ...], name: str, strict: bool
) -> tuple[bool, tuple[Tensor, ...]]:
    outputs = func(*inputs)
    is_tuple, outputs = _as_tuple(outputs, "outputs of the user-provided function", name)
    _check_used(outputs, strict, name)
    return is_tuple, outputs


def _vector(v: Any, like: tuple[Tensor, ...], is_tuple: bool, name: str, of: str) -> Any:
    """The vector of a product, checked against what it multiplies; ones for a scalar."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if the {of} contains a single Tensor with a "
                "single element."
                if of.startswith("input") else
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a single element."
            )
        return (taper.ones_like(like[0]),)
    _, vectors = _as_tuple(v, "v", name)
    if len(vectors) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(vectors)}."
            if is_tuple else "The given v should contain a single Tensor."
        )
    for i, (a, b) in enumerate(zip(vectors, like, strict=True)):
        if a.shape != b.shape:
            prefix = f"Entry {i} in v has invalid size: " if is_tuple else "v has invalid size: "
            raise RuntimeError(f"{prefix}should be {b.shape} but got {a.shape}.")
    return vectors


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    r"""Computes ``func(*inputs)`` and the vector-Jacobian product :math:`v^T J`.

    Args:     v: same shape as the output; may be left out where that is a scalar
    Returns:  (outputs, products, one for each input)
    Example:
        >>> import taper as torch
        >>> torch.autograd.functional.vjp(lambda x: x.sum(), torch.ones(2))
        (tensor(2.), tensor([1., 1.]))
    """
    with enable_grad():
        inputs_are_tuple, given = _as_tuple(inputs, "inputs", "vjp")
        xs = _as_inputs(given, create_graph)
        outputs_are_tuple, outputs = _call(func, xs, "vjp", strict)
        vectors = _vector(v, outputs, outputs_are_tuple, "vjp", "output")
        products = _filled(
            _grad(outputs, xs, vectors, create_graph), xs, strict, create_graph, "jacobian"
        )
    return (
        _finish(outputs if outputs_are_tuple else outputs[0], create_graph),
        _finish(products if inputs_are_tuple else products[0], create_graph),
    )


def _forward_product(
    outputs: tuple[Tensor, ...], xs: tuple[Tensor, ...], vectors: Any, create_graph: bool,
    strict: bool,
) -> tuple[Tensor, ...]:
    """:math:`J v` by differentiating :math:`u^T J`, which is linear in u, with respect to u."""
    us = tuple(taper.zeros_like(o, requires_grad=True) for o in outputs)
    rows = _grad(outputs, xs, us, create_graph=True)
    rows = _filled(rows, xs, strict, True, "jacobian")
    linear = [r for r in rows if r._edge is not None]
    weights = [w for r, w in zip(rows, vectors, strict=True) if r._edge is not None]
    if not linear:
        return tuple(taper.zeros_like(o) for o in outputs)
    found = autograd_grad(
        linear, us, weights, allow_unused=True, create_graph=create_graph
    )
    return _filled(found, outputs, strict, create_graph, "jacobian")


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    r"""Computes ``func(*inputs)`` and the Jacobian-vector product :math:`J v`.

    Args:     v: same shape as the inputs; may be left out where that is one element
    Example:
        >>> import taper as torch
        >>> torch.autograd.functional.jvp(lambda x: x * x, torch.ones(2), torch.ones(2))
        (tensor([1., 1.]), tensor([2., 2.]))
    """
    with enable_grad():
        inputs_are_tuple, given = _as_tuple(inputs, "inputs", "jvp")
        xs = _as_inputs(given, create_graph)
        vectors = _vector(v, xs, inputs_are_tuple, "jvp", "input to the user-provided function")
        outputs_are_tuple, outputs = _call(func, xs, "jvp", strict)
        products = _forward_product(outputs, xs, vectors, create_graph, strict)
    return (
        _finish(outputs if outputs_are_tuple else outputs[0], create_graph),
        _finish(products if outputs_are_tuple else products[0], create_graph),
    )


def jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, strategy: str = "reverse-mode",
) -> Any:
    r"""Computes the Jacobian :math:`J_{ij} = \partial y_i / \partial x_j`.

    Args:
        func: from Tensors to a Tensor or a tuple of Tensors.
        inputs (Tensor or tuple of Tensors)
        create_graph: keep the history, to differentiate the Jacobian.
        strict: error for inputs that outputs don't depend on, instead of zeros.
        vectorize: compute all rows at once, by vmap.
        strategy: "reverse-mode" makes rows, "forward-mode" (with `vectorize`) columns.
    Shape:    (*output, *input), nested in tuples as outputs and inputs are
    Example:
        >>> import taper as torch
        >>> torch.autograd.functional.jacobian(lambda x: x ** 2, torch.tensor([1., 2.]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    if strategy == "forward-mode":
        return _forward_jacobian(func, inputs, create_graph, strict, vectorize)
    with enable_grad():
        inputs_are_tuple, given = _as_tuple(inputs, "inputs", "jacobian")
        xs = _as_inputs(given, create_graph)
        outputs_are_tuple, outputs = _call(func, xs, "jacobian", strict)
        if vectorize or (not strict and _may_run_at_once(outputs)):
            if strict:
                raise RuntimeError(
                    "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are "
                    "not supported together. Please either set `strict=False` or "
                    "`vectorize=False`."
                )
            blocks = _blocks_at_once(outputs, xs, create_graph)
        else:
            blocks = [_rows(output, xs, create_graph, strict) for output in outputs]
    result = tuple(row if inputs_are_tuple else row[0] for row in blocks)
    return _finish(result if outputs_are_tuple else result[0], create_graph)


# Rows that are computed at once need so much memory together, in elements, at most.
_MOST_AT_ONCE = 1 << 22


def _may_run_at_once(outputs: tuple[Tensor, ...]) -> bool:
    """Whether a vmapped backward pass does what a loop over rows does, only quicker.

    It does where all nodes are operators' own, so that nobody sees the batched gradients, and where
    little is kept in the graph, so that there is memory for all rows.
    """
    rows = sum([o.numel() for o in outputs])
    if rows < 2 or anomaly.enabled:
        return False
    seen: set[int] = set()
    elements = 0
    waiting = [o._edge for o in outputs]
    while waiting:
        edge = waiting.pop()
        if edge is None or edge is LEAF:
            continue
        if isinstance(edge, Tensor):
            if edge._backward_hooks:
                return False
            elements += edge.numel()
            continue
        node = edge.node if type(edge) is NodeOutput else edge
        if node.sequence in seen:
            continue
        seen.add(node.sequence)
        if node.operator is None or node.extras is not None:
            return False
        elements += sum([
            t.numel() for t in (*(node.saved or ()), *node.edges) if isinstance(t, Tensor)
        ])
        if rows * elements > _MOST_AT_ONCE:
            return False
        waiting.extend(node.edges)
    return True


def _forward_jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool, vectorize: bool
) -> Any:
    """The Jacobian by forward mode: all columns in one vmapped pass."""
    if strict:
        raise RuntimeError(
            'torch.autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are '
            "not supported together (yet). Please either set `strict=False` or "
            '`strategy="reverse-mode"`.'
        )
    if not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only "
            "implemented for `vectorize=True`."
        )
    if create_graph:
        raise NotImplementedError(
            'torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` '
            "are not supported together (yet). Please either set `create_graph=False` or "
            '`strategy="reverse-mode"`.'
        )
    inputs_are_tuple, given = _as_tuple(inputs, "inputs", "jacobian")
    with enable_grad():
        xs = _as_inputs(given, create_graph)
        result = taper.func.jacfwd(func, argnums=tuple(range(len(xs))))(*xs)
    outputs_are_tuple = not isinstance(result[0], Tensor)
    blocks = result if outputs_are_tuple else (result,)
    found = tuple(row if inputs_are_tuple else row[0] for row in blocks)
    return _finish(found if outputs_are_tuple else found[0], create_graph)


def _blocks_at_once(
    outputs: tuple[Tensor, ...], xs: tuple[Tensor, ...], create_graph: bool
) -> list[tuple[Tensor, ...]]:
    """The Jacobian of each output with respect to each input, in one vmapped backward pass."""
    counts = [o.numel() for o in outputs]
    basis = basis_of(list(outputs), counts, sum(counts))
    recorded = [i for i, o in enumerate(outputs) if o._edge is not None]
    found: tuple[Any, ...] = (None,) * len(xs)
    if recorded:
        found = autograd_grad(
            [outputs[i] for i in recorded], xs, [basis[i] for i in recorded],
            create_graph=create_graph, allow_unused=True, is_grads_batched=True,
        )
    blocks = []
    begin = 0
    for output, count in zip(outputs, counts, strict=True):
        blocks.append(tuple(
            taper.zeros((*output.shape, *x.shape), dtype=x.dtype) if g is None
            else g.narrow(0, begin, count).reshape((*output.shape, *x.shape))
            for g, x in zip(found, xs, strict=True)
        ))
        begin += count
    return blocks


def _rows(
    output: Tensor, xs: tuple[Tensor, ...], create_graph: bool, strict: bool
) -> tuple[Tensor, ...]:
    """The Jacobian of one output with respect to each input, row by row."""
    count = output.numel()
    columns: list[list[Tensor]] = [[] for _ in xs]
    flat = output.reshape(-1)
    if output._edge is None or output._edge is LEAF:
        used = output._edge is LEAF
    else:
        used = True
    for j in range(count):
        grads = (
            _grad((flat[j],), xs, None, create_graph, retain_graph=True)
            if used else (None,) * len(xs)
        )
        for column, g in zip(
            columns, _filled(grads, xs, strict, create_graph, "jacobian"), strict=True
        ):
            column.append(g)
    shape = tuple(output.shape)
    return tuple(
        taper.stack(column).view(shape + tuple(x.shape)) if column
        else taper.zeros(shape + tuple(x.shape), dtype=x.dtype)
        for column, x in zip(columns, xs, strict=True)
    )


def _scalar_output(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`func`, checked to return one element; used where second derivatives are asked for."""

    def checked(*xs: Tensor) -> Tensor:
        output = func(*xs)
        is_tuple, outputs = _as_tuple(output, "outputs of the user-provided function", name)
        if is_tuple or len(outputs) != 1:
            raise RuntimeError(
                f"The function given to {name} should return a single Tensor"
            )
        if outputs[0].numel() != 1:
            raise RuntimeError(
                f"The Tensor returned by the function given to {name} should contain a single "
                "element"
            )
        return outputs[0].reshape(())  # type: ignore[no-any-return]

    return checked


def hessian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    r"""Computes the Hessian :math:`H_{ij} = \partial^2 y / \partial x_i \partial x_j` of a scalar.

    Shape:    (*input, *input), in a tuple of tuples if `inputs` is a tuple
    Example:
        >>> import taper as torch
        >>> torch.autograd.functional.hessian(lambda x: (x ** 3).sum(), torch.tensor([1., 2.]))
        tensor([[ 6.,  0.],
                [ 0., 12.]])
    """
    inputs_are_tuple, given = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode".'
        )
    checked = _scalar_output(func, "hessian")

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        if outer_jacobian_strategy == "forward-mode":
            xs = tuple([x if x.requires_grad else x.requires_grad_() for x in xs])
        grads = jacobian(checked, xs, create_graph=True, strict=strict)
        return tuple(grads)

    result = jacobian(
        gradient, given, create_graph=create_graph, strict=strict, vectorize=vectorize,
        strategy=outer_jacobian_strategy,
    )
    return result if inputs_are_tuple else result[0][0]


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    r"""Computes the value of a scalar function and the vector-Hessian product :math:`v^T H`.

    Example:
        >>> import taper as torch
        >>> torch.autograd.functional.vhp(lambda x: (x ** 3).sum(), torch.ones(2), torch.ones(2))
        (tensor(2.), tensor([6., 6.]))
    """
    with enable_grad():
        inputs_are_tuple, given = _as_tuple(inputs, "inputs", "vhp")
        xs = _as_inputs(given, create_graph)
        vectors = _vector(v, xs, inputs_are_tuple, "vhp", "input to the user-provided function")
        output = _scalar_output(func, "vhp")(*xs)
        _check_used((output,), strict, "vhp")
        grads = _filled(_grad((output,), xs, None, True), xs, strict, True, "jacobian")
        products = _filled(
            _grad(grads, xs, vectors, create_graph), xs, strict, create_graph, "hessian"
        )
    return (
        _finish(output, create_graph),
        _finish(products if inputs_are_tuple else products[0], create_graph),
    )


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    r"""Computes the value of a scalar function and the Hessian-vector product :math:`H v`.

    Equal to `vhp`, since Hessians are symmetric, by a further backward pass.
    """
    with enable_grad():
        inputs_are_tuple, given = _as_tuple(inputs, "inputs", "hvp")
        xs = _as_inputs(given, create_graph)
        vectors = _vector(v, xs, inputs_are_tuple, "hvp", "input to the user-provided function")
        output = _scalar_output(func, "hvp")(*xs)
        _check_used((output,), strict, "hvp")
        grads = _filled(_grad((output,), xs, None, True), xs, strict, True, "jacobian")
        products = _forward_product(grads, xs, vectors, create_graph, strict)
    return (
        _finish(output, create_graph),
        _finish(products if inputs_are_tuple else products[0], create_graph),
    )
