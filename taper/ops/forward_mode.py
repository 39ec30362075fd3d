"""Forward mode: how tangents (autograd/tangents.py) pass through operators.

Note [tangents from reverse rules]. No operator declares a rule for forward mode: the one for its
gradient says enough. A reverse rule computes v(u) = Jᵀu from the gradient u of the result, and it
is linear in u. So Jt, the tangent of the result for tangents t of the inputs, is the gradient of
<v(u), t> with respect to u, whatever u is: v is recorded with a u of ones, and the tape is walked
back from v with t. That serves every operator whose rule can itself be differentiated; the tests
ask that of all of them. Three kinds need not go this way: elementwise operators of real numbers,
where Jᵀ = J; linear ones, which are applied to the tangent; products, which have the product rule.

Note [tangents of several levels]. The levels are served one after the other, the outermost first.
For each, the operands are taken without the tangents of that level and those within (`below`), but
with those of the levels outside, which the rule's own operations then pass on to the new tangent.

Note [tangents and memory]. The tangent of a view is the same view of the tangent, so an in-place
change of a dual tensor writes its tangent in place, too, and base and views stay in step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd import tangents as tangents_module
from taper.autograd.backward import grad
from taper.autograd.node import NodeOutput, SavedAs
from taper.autograd.tangents import (
    DualLevel,
    below,
    carried_by,
    forward_grad_mode,
    levels_of,
    set_tangent,
    take_tangents,
    tangent_of,
)
from taper.core.state import active, grad_mode, is_recording
from taper.core.tensor import LEAF, Tensor, wrap
from taper.ops.declare import Operator
from taper.ops.recorded_call import new_node
from taper.ops.reduction import cast_and_reduce
from taper.ops.signature import LIST, Signature

__all__ = ["check_forward_mode", "keep_tangents", "pass_tangents", "rewrite_tangents"]

ndarray = np.ndarray

# Applied to tangents as they are to tensors; all operands at once, indices stay.
LINEAR = frozenset("""sum mean cat stack clone tril triu cumsum embedding _stand_in
    _add_batch_dim _remove_batch_dim""".split())

# Linear in each operand.
PRODUCTS = frozenset("mm bmm mv dot".split())

# Elementwise, beside those that are declared so (for the sake of native kernels).
ELEMENTWISE = frozenset("""addcmul addcdiv lerp pow frac remainder fmod erfinv lgamma digamma xlogy
    sinc""".split())


def check_forward_mode(op: Operator, out: Any) -> None:
    """Raises PyTorch's error if `op` can't pass tangents on."""
    reason = None
    if out is not None:
        reason = f"{op.name}_out that does not support it because it is an out= function"
    elif op.differentiable and not op.derivatives:
        reason = f"{op.name} that does not support it because it has not been implemented yet.\n" \
                 "It has no derivative, in reverse mode neither."
    if reason is not None:
        raise NotImplementedError(f"Trying to use forward AD with {reason}")


def pass_tangents(
    op: Operator, signature: Signature, bound: dict[str, Any], outputs: list[Tensor],
    aux: tuple[Any, ...],
) -> None:
    """Gives the results of a call the tangents that follow from those of its operands."""
    if not op.differentiable or not forward_grad_mode.get():
        return
    call = Call(op, signature, bound, outputs, aux)
    if not call.results:
        return
    for level in levels_of(call.operands):
        for result, tangent in zip(call.results, call.tangents(level), strict=True):
            set_tangent(result, level, tangent)
    call.save_tangents()


class Call:
    """One call of an operator, whose results are known: what their tangents follow from."""

    def __init__(
        self, op: Operator, signature: Signature, bound: dict[str, Any], outputs: list[Tensor],
        aux: tuple[Any, ...],
    ) -> None:
        self.op = op
        self.signature = signature
        self.bound = bound
        self.outputs = outputs
        self.aux = aux
        self.results = [t for t in outputs if t._array.dtype.kind not in "biu"]
        self.operands: list[Tensor] = []
        for p in signature.tensors:
            value = bound[p.name]
            items = value if p.role is LIST else (value,)
            self.operands += [item for item in items if isinstance(item, Tensor)]

    def with_operands(self, operands: list[Tensor]) -> dict[str, Any]:
        """The arguments with other tensors in the places of the operands."""
        replaced = dict(self.bound)
        given = iter(operands)
        for p in self.signature.tensors:
            value = self.bound[p.name]
            if p.role is LIST:
                replaced[p.name] = [next(given) for _ in value]
            elif isinstance(value, Tensor):
                replaced[p.name] = next(given)
        return replaced

    def again(self, operands: list[Tensor]) -> Any:
        """The same operator on other operands."""
        from taper.ops.slow import execute

        arguments = tuple(self.with_operands(operands).values())
        return execute(self.op, self.signature, arguments, None, None)

    def tangents(self, level: DualLevel) -> list[Tensor]:
        """The tangents of the results at one level."""
        given = [tangent_of(t, level) for t in self.operands]
        if not is_recording():
            given = [t if t is None or t._edge is None else _without_history(t) for t in given]
        primals = [below(t, level) for t in self.operands]
        if self.op.view:
            return self._of_view(given, level)
        if nobody_watches(primals, given):
            modes, active.modes = active.modes, 0
            try:
                found = self._follow_from(primals, given, level)
            finally:
                active.modes = modes
        else:
            found = self._follow_from(primals, given, level)
        return [
            _fitted(tangent, result, given)
            for tangent, result in zip(found, self.results, strict=True)
        ]

    def _follow_from(
        self, primals: list[Tensor], given: list[Tensor | None], level: DualLevel
    ) -> list[Tensor | None]:
        """The tangents of the results, in the shortest way."""
        op = self.op
        if op.path in LINEAR:
            return self._of_linear(primals, given)
        if op.path in PRODUCTS:
            return self._of_product(primals, given)
        if (op.elementwise or op.path in ELEMENTWISE) and all(
            [t._array.dtype.kind != "c" for t in (*self.operands, *self.results)]
        ):
            return self._of_elementwise(primals, given, level)
        return self._transposed(primals, given, level)

    # -- shortcuts -----------------------------------------------------------------------------

    def _of_view(self, given: list[Tensor | None], level: DualLevel) -> list[Tensor]:
        (tangent,) = given
        (source,) = self.operands
        assert tangent is not None
        laid_out = _laid_out_as(tangent, source)
        if laid_out is not tangent:
            set_tangent(source, level, laid_out)
        found = self.again([laid_out])
        return [found] if isinstance(found, Tensor) else list(found)

    def _of_linear(self, primals: list[Tensor], given: list[Tensor | None]) -> list[Tensor | None]:
        found = self.again([
            t if t is not None else
            p if p._array.dtype.kind in "biu" else wrap(np.zeros_like(p._array))
            for p, t in zip(primals, given, strict=True)
        ])
        return [found] if isinstance(found, Tensor) else list(found)

    def _of_product(self, primals: list[Tensor], given: list[Tensor | None]) -> list[Tensor | None]:
        total: Tensor | None = None
        for place, tangent in enumerate(given):
            if tangent is not None:
                operands = list(primals)
                operands[place] = tangent.to(primals[place].dtype)
                part = self.again(operands)
                total = part if total is None else total + part
        return [total]

    def _of_elementwise(
        self, primals: list[Tensor], given: list[Tensor | None], level: DualLevel
    ) -> list[Tensor | None]:
        (result,) = self.results
        node = self._node(primals, given, level)
        edges = node.edges
        places = [i for i, edge in enumerate(edges) if edge is not None]
        total: Tensor | None = None
        for place, tangent in zip(places, [t for t in given if t is not None], strict=True):
            if tangent._array.dtype != result._array.dtype:
                tangent = tangent.to(result.dtype)
            if tangent._array.shape != result._array.shape:
                tangent = tangent.expand(result._array.shape)
            node.edges = tuple([e if i == place else None for i, e in enumerate(edges)])
            part = node.backward(tangent)[place]
            if part is not None:
                total = part if total is None else total + part
        return [total]

    # -- the general way -----------------------------------------------------------------------

    def _node(
        self, primals: list[Tensor], given: list[Tensor | None], level: DualLevel
    ) -> Any:
        """A node like that of the call, on operands of the levels outside; its edges tell which
        operands have a tangent."""
        marks = iter([LEAF if t is not None else None for t in given])
        node = new_node(
            self.op, self.signature, self.with_operands(primals), self.outputs, self.aux, None,
            lambda operand: next(marks),
        )
        saved = list(node.saved)
        for i, item in enumerate(saved):
            if type(item) is tuple and len(item) == 3:
                result = next((r for r in self.results if r._array is item[0]), None)
                if result is not None:
                    saved[i] = (*item[:2], SavedAs(below(result, level)))
        node.saved = tuple(saved)
        if self.op.outputs is not None:
            node.outputs = len(self.outputs)
        return node

    def _transposed(
        self, primals: list[Tensor], given: list[Tensor | None], level: DualLevel
    ) -> list[Tensor | None]:
        """See Note [tangents from reverse rules]."""
        node = self._node(primals, given, level)
        cotangents: list[Tensor | None] = []
        for output in self.outputs:
            u = None
            if any([output is r for r in self.results]):
                u = wrap(np.ones_like(output._array))
                u._edge = LEAF
            cotangents.append(u)
        recorded = is_recording() and any(
            [t is not None and t._edge is not None for t in (*primals, *given)]
        )
        token = grad_mode.set(True)
        try:
            products = node.backward(
                cotangents[0] if self.op.outputs is None or len(cotangents) == 1 else cotangents
            )
            if node.adjust is not None:
                products = [
                    v if v is None or how is None else cast_and_reduce(v, how)
                    for v, how in zip(products, node.adjust, strict=True)
                ]
        finally:
            grad_mode.reset(token)
        pairs = self._pairs(node, products, given)
        wanted = [u for u in cotangents if u is not None]
        if not pairs:
            return [None] * len(wanted)
        return list(grad(
            [v for v, _ in pairs], wanted, [t for _, t in pairs], create_graph=recorded,
            allow_unused=True,
        ))

    def _pairs(
        self, node: Any, products: Any, given: list[Tensor | None]
    ) -> list[tuple[Tensor, Tensor]]:
        """Each product that depends on the cotangents, with the tangent of its operand."""
        at_edges = [v for v, edge in zip(products, node.edges, strict=True) if edge is not None]
        pairs = []
        for v, t in zip(at_edges, [t for t in given if t is not None], strict=True):
            if v is None or v._edge is None:
                continue
            if t._array.dtype != v._array.dtype:
                t = t.to(v.dtype)
            pairs.append((v, t))
        return pairs

    # -- what the tape keeps -------------------------------------------------------------------

    def save_tangents(self) -> None:
        """Results that their node saved come back with their tangents."""
        edge = self.results[0]._edge
        node = edge.node if type(edge) is NodeOutput else edge
        if node is None or node is LEAF or not node.saved:
            return
        saved = list(node.saved)
        for i, item in enumerate(saved):
            if type(item) is tuple and len(item) == 3 and type(item[2]) is int:
                for result in self.results:
                    if result._array is item[0]:
                        kept = SavedAs(None, result._tangents, item[2])
                        saved[i] = (*item[:2], kept)
        node.saved = tuple(saved)


def nobody_watches(primals: list[Tensor], given: list[Tensor | None]) -> bool:
    """Whether the operations that make a tangent may take their short paths: they have no tangents
    of outer levels to pass on, and in this only thread nothing is active but levels."""
    return (
        active.modes == active.tangents and not carried_by(primals) and not carried_by(given)
        and (threading.active_count() == 1 or all([
            t.name.startswith("taper-") for t in threading.enumerate()
            if t is not threading.current_thread()
        ]))
    )


def _without_history(tensor: Tensor) -> Tensor:
    """The same memory and outer tangents, cut from the tape."""
    result = wrap(tensor._array)
    if type(tensor._array) is ndarray:
        result._storage = tensor._shared_storage()
    take_tangents(result, tensor)
    return result


def _fitted(tangent: Tensor | None, result: Tensor, given: list[Tensor | None]) -> Tensor:
    """A tangent of the result's shape and dtype, in memory of its own; zeros for None."""
    if tangent is None:
        return wrap(np.zeros_like(result._array))
    if tangent._array.dtype != result._array.dtype:
        tangent = tangent.to(result.dtype)
    if tangent._array.shape != result._array.shape:
        tangent = tangent.expand(result._array.shape)
    for t in given:
        if t is not None and (t is tangent or _same_memory(t, tangent)):
            return tangent.clone()
    return tangent


def _same_memory(a: Tensor, b: Tensor) -> bool:
    first, second = a._array, b._array
    if type(first) is not ndarray or type(second) is not ndarray:
        return first is second
    one, other = first.base, second.base
    return first is second or one is second or other is first or (one is not None and one is other)


def _laid_out_as(tangent: Tensor, source: Tensor) -> Tensor:
    """The tangent with the strides of its tensor, so that both have the same views."""
    theirs, ours = source._array, tangent._array
    if type(theirs) is not ndarray or type(ours) is not ndarray or theirs.strides == ours.strides:
        return tangent
    result = wrap(np.empty_like(theirs, ours.dtype, subok=False))
    if result._array.strides == ours.strides:  # gaps, which no new tensor has
        return tangent
    return result.copy_(tangent)


# -- in-place changes ------------------------------------------------------------------------------


def rewrite_tangents(target: Tensor, result: Tensor) -> None:
    """Gives `target`, just overwritten by `result`, the tangents of that."""
    for level in levels_of((result,)):
        tangent = tangent_of(result, level)
        if tangent is None:
            continue
        base = target._base
        present = tangent_of(target, level)
        if present is None and base is not None:
            set_tangent(base, level, wrap(np.zeros_like(base._array)))
            present = tangent_of(target, level)
        if present is None or present._edge is LEAF or not _writeable(present):
            set_tangent(target, level, tangent)
        else:
            present.copy_(tangent)


def _writeable(tensor: Tensor) -> bool:
    array = tensor._array
    return type(array) is not ndarray or (array.flags.writeable and 0 not in array.strides)


def keep_tangents(original: Tensor) -> None:
    """Copies the tangents of a tensor as it was, before they are overwritten."""
    for level, tangent in (original._tangents or {}).items():
        set_tangent(original, level, tangent.clone())


def window_of(tangent: Tensor, view: Tensor, base: Tensor) -> Tensor:
    """The part of a base's tangent that belongs to a view of the base."""
    from taper.autograd.views import geometry_of

    laid_out = _laid_out_as(tangent, base)
    place = geometry_of(view, base)
    if place.as_real:
        laid_out = views_as_real(laid_out)
    offset = laid_out.storage_offset() + place.offset
    return laid_out.as_strided(place.shape, place.strides, offset)


def views_as_real(tensor: Tensor) -> Tensor:
    from taper.ops.complex import view_as_real

    function: Callable[[Tensor], Tensor] = view_as_real.function
    return function(tensor)


tangents_module.window_of = window_of
