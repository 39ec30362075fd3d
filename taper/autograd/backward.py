"""`backward` and `grad`: the two ways to ask the tape for derivatives."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from taper.autograd import engine
from taper.autograd.explanations import no_history, not_a_scalar, unused
from taper.autograd.node import GradientEdge
from taper.core.overrides import has_override
from taper.core.tensor import LEAF, Tensor, wrap

__all__ = ["backward", "grad"]


def _as_tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, Tensor) or type(value) is GradientEdge:
        return (value,)
    return tuple(value)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Adds the gradients of `tensors` to the `.grad` of the leaves they were computed from.

    Args:
        tensors (Tensor or sequence of Tensors): what to differentiate.
        grad_tensors: for each, the gradient that arrives there; None means 1, for scalars.
        retain_graph: keep what the nodes saved, for another pass. Default: `create_graph`.
        create_graph: record the pass itself, for higher derivatives.
        inputs: only these get gradients. Default: all leaves.
    Raises:
        RuntimeError: if a tensor has no history, or is no scalar and has no `grad_tensors`.
    """
    outputs = _as_tuple(tensors)
    given = _gradients_for(outputs, grad_tensors if grad_tensors is not None else grad_variables)
    if inputs is not None:
        inputs = _as_tuple(inputs)
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    _run(outputs, given, retain_graph, create_graph, inputs, accumulate=True)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of `outputs` with respect to `inputs`, leaving `.grad` alone.

    Args:
        outputs (sequence of Tensors or Tensor): what to differentiate.
        inputs (sequence of Tensors or Tensor): with respect to what.
        grad_outputs: the "vectors" of the vector-Jacobian product; None means 1, for scalars.
        allow_unused: give None for inputs that were not used, instead of an error.
        is_grads_batched: the first dimension of `grad_outputs` counts vectors, and that of the
            results their products: all are computed in one vmapped pass.
        materialize_grads: give zeros for them.
    Example:
        >>> import taper as torch
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> torch.autograd.grad(x ** 2, x)
        (tensor(6.),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    if allow_unused is None:
        allow_unused = materialize_grads
    if not only_inputs:
        import warnings

        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To "
            "accumulate gradient for other parts of the graph, please use "
            "torch.autograd.backward.",
            FutureWarning, stacklevel=2,
        )
    outputs_tuple, inputs_tuple = _as_tuple(outputs), _as_tuple(inputs)
    for t in inputs_tuple:
        if not (isinstance(t, Tensor) or type(t) is GradientEdge):
            raise TypeError(f"grad(): argument 'inputs' must be Tensors, not {type(t).__name__}")
    for t in (*outputs_tuple, *inputs_tuple):
        if has_override(t):
            handler = type(t).__torch_function__
            return handler(  # type: ignore[no-any-return]
                grad, (type(t),), (outputs, inputs, grad_outputs),
                {"retain_graph": retain_graph, "create_graph": create_graph,
                 "allow_unused": allow_unused},
            )

    if is_grads_batched:
        found = engine.over_first_dim(functools.partial(
            _found, outputs_tuple, inputs_tuple, retain_graph, create_graph, True
        ), grad_outputs)
    else:
        found = _found(
            outputs_tuple, inputs_tuple, retain_graph, create_graph, False, grad_outputs
        )
    for index, value in enumerate(found):
        if value is None:
            if materialize_grads:
                found[index] = wrap(np.zeros_like(inputs_tuple[index]._array))
            elif not allow_unused:
                raise unused(inputs_tuple[index], index)
    return tuple(found)


def _found(
    outputs: tuple[Any, ...], inputs: tuple[Any, ...], retain_graph: bool | None,
    create_graph: bool, batched: bool, gradients: Any,
) -> Any:
    given = _gradients_for(outputs, gradients, batched)
    return _run(outputs, given, retain_graph, create_graph, inputs, accumulate=False)


def _gradients_for(
    outputs: Sequence[Tensor], given: Any, is_grads_batched: bool = False
) -> list[Tensor]:
    """The gradient that arrives at each output: as given, checked, or 1 for scalars."""
    if given is None or isinstance(given, Tensor):
        gradients: Sequence[Any] = (given,) if len(outputs) == 1 or given is not None else (
            (None,) * len(outputs)
        )
    else:
        gradients = list(given)
    if len(gradients) != len(outputs):
        raise RuntimeError(
            f"got {len(outputs)} tensors and {len(gradients)} gradients"
        )
    return [
        _gradient_for(o, g, i, is_grads_batched)
        for i, (o, g) in enumerate(zip(outputs, gradients, strict=True))
    ]


def _gradient_for(output: Any, given: Any, index: int, is_grads_batched: bool) -> Tensor:
    if type(output) is GradientEdge:
        if given is None:
            raise RuntimeError(
                "grad can be implicitly created only for scalar outputs: a GradientEdge needs its "
                "gradient to be given"
            )
        return given  # type: ignore[no-any-return]
    if given is None:
        if output._edge is None:
            return None  # type: ignore[return-value] # reported by _run
        if output._array.size != 1:
            raise not_a_scalar(output)
        if not output.is_floating_point():
            raise RuntimeError(
                "grad can be implicitly created only for real scalar outputs but got "
                f"{output.dtype!r}"
            )
        array = output._array
        if array.ndim == 0 and type(array) is np.ndarray:
            return wrap(np.array(1, array.dtype))
        return wrap(np.ones_like(array))
    if not isinstance(given, Tensor):
        raise TypeError(
            f"gradients can be either Tensors or None, but got {type(given).__name__}"
        )
    if given._array.shape != output._array.shape:
        shapes = (
            f"grad_output[{index}] has a shape of {given.shape} and output[{index}] has a shape of "
            f"{output.shape}."
        )
        if is_grads_batched:
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output "
                "as the batch dimension. The sizes of the remaining dimensions are expected to "
                "match the shape of corresponding output, but a mismatch was detected: "
                f"{shapes} If you only want some tensors in `grad_output` to be considered "
                "batched, consider using vmap."
            )
        raise RuntimeError(f"Mismatch in shape: {shapes}")
    if given.is_complex() != output.is_complex():
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same "
            f"dtype. Mismatch in dtype: grad_output[{index}] has a dtype of {given.dtype} and "
            f"output[{index}] has a dtype of {output.dtype}."
        )
    return given


def _run(
    outputs: Sequence[Any], gradients: Sequence[Tensor], retain_graph: bool | None,
    create_graph: bool, inputs: Sequence[Any] | None, *, accumulate: bool,
) -> list[Tensor | None] | None:
    roots = []
    for index, (output, gradient) in enumerate(zip(outputs, gradients, strict=True)):
        edge = output.edge() if type(output) is GradientEdge else output._edge
        if edge is None:
            raise no_history(output, index)
        roots.append((output if edge is LEAF else edge, gradient))
    targets = None
    if inputs is not None:
        targets = []
        for t in inputs:
            if type(t) is GradientEdge:
                targets.append(t.edge())
                continue
            if t._edge is None:
                if accumulate:
                    raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            if accumulate and t._edge is not LEAF:
                t.retain_grad()
            targets.append(t if t._edge is LEAF else t._edge)
    return engine.run_backward(
        roots,
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        inputs=targets,
        accumulate=accumulate,
    )
