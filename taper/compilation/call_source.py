"""Writes what a compiled call does around its program, as straight-line Python.

Two functions for each variant: `attempt(args, kwargs)`, in call_checks.py, checks everything that
the program depends on and answers MISSED if something differs; `run(tensors)` collects arrays, runs
the program, and makes tensors of its results. Every line is paid at every call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from taper.autograd.node import NodeOutput
from taper.compilation.differentiable import Backward, new_node
from taper.compilation.noted_warnings import give_again, one_is_an_error
from taper.compilation.recorded import (
    INVALID,
    UNCHANGED,
    Alias,
    CheckFailed,
    Constant,
    Fresh,
    Given,
    Known,
    Recorded,
)
from taper.compilation.results import freed_node, laid_out, view_of
from taper.compiler.graph import GraphNode
from taper.core.storage import inference_storage, new_storage
from taper.core.tensor import LEAF, Tensor, wrap

__all__ = ["Source", "run_function"]

_getrefcount = sys.getrefcount


def _count_of_unshared() -> tuple[int, int]:
    """What getrefcount says of a gradient that only its leaf and a local variable hold, and of its
    array; asked as the generated code asks."""
    leaf = wrap(np.empty(1))
    leaf._grad = wrap(np.empty(1))
    grad = leaf._grad
    count = _getrefcount(grad)
    array = grad._array
    return count, _getrefcount(array)


UNSHARED_GRAD, UNSHARED_ARRAY = _count_of_unshared()


def is_alone(array: Any) -> bool:
    """Whether nobody else has the memory that an array is a view of."""
    owner = array.base
    while owner is not None:
        if _getrefcount(owner) > _UNSHARED_OWNER:
            return False
        owner = owner.base if type(owner) is np.ndarray else None
    return True


_UNSHARED_OWNER = 3  # what a local variable, the call and one array make of it


@lru_cache(maxsize=64)
def _code_of(text: str, name: str) -> CodeType:
    """The code of a function: `run` is the same for programs that differ in sizes."""
    return compile(text, f"<taper compiled call: {name}>", "exec")


class Source:
    """The lines of a function, and what they name."""

    def __init__(self, head: str) -> None:
        self.lines = [head]
        self.scope: dict[str, Any] = {}

    def add(self, *lines: str) -> None:
        self.lines += ["    " + line for line in lines]

    def name(self, prefix: str, value: Any) -> str:
        """A global of the function that stands for `value`."""
        name = f"{prefix}{len(self.scope)}"
        self.scope[name] = value
        return name

    def function(self) -> Callable[..., Any]:
        text = "\n".join(self.lines)
        name = self.lines[0].split("(")[0].removeprefix("def ")
        exec(_code_of(text, name), self.scope)
        made: Callable[..., Any] = self.scope[name]
        made.source = text  # type: ignore[attr-defined]
        return made


def run_function(recorded: Recorded, program: Any, static: list[Any]) -> Callable[..., Any]:
    """`run(tensors)`: what a call does once it is known that the program fits.

    Args:
        static: for each input of the program, its array where that doesn't depend on the call.
    """
    return _Run(recorded, program, static).write()


class _Run(Source):
    """Writes `run`."""

    def __init__(self, recorded: Recorded, program: Any, static: list[Any]) -> None:
        super().__init__("def run(tensors):")
        self.recorded = recorded
        self.known = recorded.known
        self.holders: dict[int, str] = {}
        self.kept: dict[int, str] = {}  # by place of a new gradient, its array if it may stay
        self.scope.update(
            new=object.__new__, Tensor=Tensor, program=program, static=static, new_node=new_node,
            getrefcount=_getrefcount, ndarray=np.ndarray, view_of=view_of, freed_node=freed_node,
            laid_out=laid_out, is_alone=is_alone, wrap=wrap, new_storage=new_storage, LEAF=LEAF,
            inference_storage=inference_storage,
        )

    def write(self) -> Callable[..., Any]:
        recorded, known, add = self.recorded, self.known, self.add
        if recorded.warnings:
            self.scope.update(
                warned=recorded.warnings, one_is_an_error=one_is_an_error, give_again=give_again,
                CheckFailed=CheckFailed)
            add("if one_is_an_error(warned): raise CheckFailed")
        add("arrays = static.copy()")
        for i, item in enumerate(known):
            if item.input >= 0 and item.role != "state":
                add(f"arrays[{item.input}] = {self.held(i)}._array")
        self.write_call(f"out = program(arrays, [{', '.join(self.write_reuse())}])")
        if recorded.warnings:
            add("give_again(warned)")
        for i, item in enumerate(known):
            if item.bumps:
                self.write_version(i, item)
        for place, made in enumerate(recorded.tensors):
            if place not in self.kept:
                self.write_tensor(place, made)
        for i, item in enumerate(known):
            if item.grad is UNCHANGED:
                continue
            if item.grad in self.kept:
                made = recorded.tensors[item.grad]
                add(f"if {self.kept[item.grad]} is None: "
                    f"{self.held(i)}._grad = wrap(out[{made.output}])")
            else:
                add(f"{self.held(i)}._grad = "
                    + ("None" if item.grad is None else f"r{item.grad}"))
        saved = recorded.output_count - sum([len(b.saved) for b in recorded.backwards])
        for backward in recorded.backwards:
            self.write_node(backward, saved)
            saved += len(backward.saved)
        if recorded.only is not None:
            add(f"return r{recorded.only}")
        else:
            self.scope["result"] = recorded.result
            tensors = ["None" if i in self.kept else f"r{i}"
                       for i in range(len(recorded.tensors))]
            add(f"return result([{', '.join(tensors)}])")
        return self.function()

    def write_call(self, call: str) -> None:
        """The call of the program. If it fails where the function may fail, everything is put back,
        and the function is to run as it is."""
        nodes, add = self.recorded.graph.nodes, self.add
        may_fail = any([_may_fail(node) for node in nodes])
        generators = list(dict.fromkeys([n.args[0] for n in nodes if n.effect]))
        if not may_fail and not (generators and INVALID in self.recorded.graph.outputs):
            add(call)
            return
        self.scope.update(CheckFailed=CheckFailed, LinAlgError=np.linalg.LinAlgError,
                          generators=generators)
        written = [f"arrays[{i}]" for i in dict.fromkeys(self.recorded.updates.values())]
        written += dict.fromkeys(self.kept.values())
        add("states = [g.state_bytes() for g in generators]")
        if may_fail:
            add(f"before = [(a, a.copy()) for a in ({listed(written)}) if a is not None]")
        add("try:", f"    {call}",
            "except CheckFailed:",
            "    for g, state in zip(generators, states): g.set_state(state)", "    raise")
        if may_fail:
            add("except LinAlgError:",
                "    for g, state in zip(generators, states): g.set_state(state)",
                "    for a, b in before: a[...] = b",
                "    raise CheckFailed from None")

    def held(self, i: int) -> str:
        """The name of the known tensor number i."""
        item = self.known[i]
        if i not in self.holders:
            if item.role == "argument":
                self.holders[i] = f"x{item.place}"
                self.add(f"x{item.place} = tensors[{item.place}]")
            elif item.role == "gradient":
                parent = self.held(item.place)
                self.holders[i] = f"g{i}"
                self.add(f"g{i} = {parent}._grad")
            else:
                self.holders[i] = self.name("t", item.tensor)
        return self.holders[i]

    def write_reuse(self) -> list[str]:
        """For each output, the name of the array that it may go into: that of the gradient before,
        if nobody else holds it. Such a gradient stays where it is."""
        into = ["None"] * self.recorded.output_count
        read = {k.place for k in self.known if k.role == "gradient" and k.input >= 0}
        for i, item in enumerate(self.known):
            if item.grad is UNCHANGED or item.grad is None or i in read:
                continue
            made = self.recorded.tensors[item.grad]
            if type(made) is not Fresh or made.steps or made.edge is not None or (
                self.recorded.uses[item.grad] > 1 or len(self.sharing(made)) > 1
            ):
                continue
            a = into[made.output] = self.kept[item.grad] = f"a{made.output}"
            self.add(
                f"g = {self.held(i)}._grad", f"{a} = None",
                f"if g is not None and getrefcount(g) == {UNSHARED_GRAD} and g._storage is None:",
                f"    {a} = g._array",
                f"    if (getrefcount({a}) != {UNSHARED_ARRAY}"
                f" or {a}.base is not None and not is_alone({a})"
                f" or {a}.dtype is not {self.name('d', item.array.dtype)}"
                f" or {a}.shape != {item.array.shape!r}): {a} = None",
            )
        if self.kept:
            self.add("del g")
        return into

    def sharing(self, made: Fresh) -> list[int]:
        """The places of tensors that are made of the same output."""
        return [i for i, m in enumerate(self.recorded.tensors)
                if type(m) is Fresh and m.output == made.output]

    def write_version(self, i: int, item: Known) -> None:
        t, s = self.held(i), "s"
        if item.role == "state":
            if item.tensor._storage is None:
                item.tensor._storage = new_storage(item.tensor._array)
            s = self.name("s", item.tensor._storage)
        else:
            self.add(f"s = {t}._storage",
                     f"if s is None: s = {t}._storage = new_storage({t}._array)")
        self.add(f"{s}.version += {item.bumps}",
                 f"{s}.changed_at = {self.name('c', item.changed_at)}")

    def write_tensor(self, place: int, made: Any) -> None:
        add, r = self.add, f"r{place}"
        if type(made) is Given:
            add(f"{r} = {self.held(made.known)}")
            return
        if type(made) is Constant:
            add(f"{r} = wrap({self.name('k', made.array)}.copy('K'))")
        elif type(made) is Alias:
            add(f"{r} = view_of({self.held(made.known)}, {self.name('v', made.steps)})")
        else:
            shared = self.sharing(made)
            base = f"b{made.output}"
            array = f"out[{made.output}]"
            strides = next(filter(None, [self.recorded.tensors[i].strides for i in shared]), None)
            if strides is not None and shared[0] == place:
                add(f"if {array}.strides != {strides!r}:",
                    f"    {array} = laid_out({array}, {strides!r})")
            if len(shared) == 1 and not made.steps:
                add(f"{r} = new(Tensor)", f"{r}._array = {array}",
                    f"{r}._storage = None", f"{r}._base = None", f"{r}._grad = None")
            else:
                whole = [i for i in shared if not self.recorded.tensors[i].steps]
                if shared[0] == place:
                    add(f"{base} = wrap({array})")
                    if made.is_inference:
                        add(f"{base}._storage = inference_storage({array})")
                add(f"{r} = {base}" if whole[:1] == [place]
                    else f"{r} = view_of({base}, {self.name('v', made.steps)})")
            if made.is_inference:
                add(f"{r}._inference = True",
                    f"if {r}._storage is None: {r}._storage = inference_storage({array})")
        if made.edge is None or made.edge is LEAF:
            add(f"{r}._edge = {'LEAF' if made.edge is LEAF else 'None'}")
        else:
            add(f"{r}._edge = freed_node({self.name('e', made.edge)})")

    def write_node(self, backward: Backward, first: int) -> None:
        """The node behind results that require grad; what it saves are outputs from `first` on."""
        tensors = self.recorded.tensors
        self.scope.update(NodeOutput=NodeOutput)
        edges = [*[self.held(i) for i in backward.leaves], *[f"r{i}" for i in backward.below]]
        inputs = [self.held(i) for i in backward.inputs]
        results = [f"r{i}" for i, made in enumerate(tensors)
                   if type(made) is Fresh and i not in self.kept]
        for place in backward.places:
            self.add(f"r{place}._base = None")
        self.add(f"node = new_node({self.name('backward', backward)}, ({listed(edges)}), "
                 f"[{', '.join(inputs)}], out[{first}:{first + len(backward.saved)}], "
                 f"({listed(results)}))")
        many = len(backward.places) > 1
        for i, place in enumerate(backward.places):
            self.add(f"r{place}._edge = " + (f"NodeOutput(node, {i})" if many else "node"))


_ALGEBRA = frozenset(["numpy.linalg", "scipy.linalg", "taper.kernels.linear_algebra"])


def _may_fail(node: GraphNode) -> bool:
    """Whether a function raises LinAlgError for some matrices."""
    function: Any = node.function
    operator = getattr(function, "op", None)  # of one that is recorded whole
    return getattr(function, "__module__", None) in _ALGEBRA or (
        operator is not None and "linalg" in getattr(operator.forward, "__module__", "")
    ) or node.label == "least_squares"


def listed(names: list[str]) -> str:
    """The names as elements of a tuple."""
    return "".join([f"{name}, " for name in names])
