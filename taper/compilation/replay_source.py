"""Python source for a planned graph: one line a call, as one would write it for speed."""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.node_functions import MethodCaller, write
from taper.compilation.array_functions import scatter, scatter_add
from taper.compilation.memory_plan import ALIGNMENT
from taper.compilation.passes import kind_of
from taper.compilation.passes.views import VIEWS
from taper.compilation.replay_plan import Key, Place, Plan, key_of, takes_target, writes
from taper.compiler.graph import GraphNode, Reference, replaced

__all__ = ["compiled_source"]

_VIEWS = frozenset([*VIEWS, "diagonal", "expand_dims", "moveaxis", "ravel", "squeeze", "swapaxes",
                    "view"])
_LOCAL = re.compile(r"[iruv]\d+|run|arrays|into")
_WORTH_FREEING = 1 << 15  # bytes


def compiled_source(plan: Plan) -> tuple[str, Callable[..., list[np.ndarray]]]:
    """The source, and the function `run(arrays, into)` that it defines."""
    return _Writer(plan).finish()


def _moved(target: np.ndarray, value: Any) -> np.ndarray:
    np.copyto(target, value)
    return target


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lines: list[str] = []
        self.globals: dict[str, Any] = {
            "__name__": __name__, "copyto": np.copyto, "array": np.array, "asarray": np.asarray,
            "moved": _moved, "add_at": np.add.at,
        }
        self.names: dict[Key, str] = {}  # how source calls a value
        self.known: dict[Key, np.ndarray] = {}  # values whose array is the same in every run
        self._global_names: dict[int, str] = {}
        self._locals: dict[Key, list[str]] = {}  # by root, the variables that keep it alive
        buffer = np.empty(plan.memory.nbytes + ALIGNMENT, np.uint8)
        self.arena_start = -buffer.__array_interface__["data"][0] % ALIGNMENT
        self.arena = buffer

    def finish(self) -> tuple[str, Callable[..., list[np.ndarray]]]:
        plan = self.plan
        inputs = [f"i{n.number}" for n in plan.graph.inputs]
        self.names.update({(n.number, None): f"i{n.number}" for n in plan.graph.inputs})
        if inputs:
            self.lines.append(f"{', '.join(inputs)}, = arrays")
        for i, node in enumerate(plan.graph.nodes):
            self._node(node)
            self._free(i, node)
        self._outputs()
        source = "\n    ".join(["def run(arrays, into):", *self.lines]) + "\n"
        exec(compile(source, "<replayed graph>", "exec"), self.globals)
        return source, self.globals["run"]

    # -- one node ----------------------------------------------------------------------------------

    def _node(self, node: GraphNode) -> None:
        plan = self.plan
        keys = plan.keys_of(node)
        if all([key in plan.constant for key in keys]) or self._is_known_view(node, keys):
            assert node.function is not None
            result = node.function(*replaced(node.args, self._array),
                                   **replaced(node.kwargs, self._array))
            for key in keys:
                self.known[key] = np.asarray(result if key[1] is None else result[key[1]])
            return
        if len(keys) == 1 and keys[0][1] is None and plan.layouts[keys[0]].root == keys[0]:
            place = plan.places[keys[0]]
            if place.how != "new" and takes_target(node):
                self._into_place(node, keys[0], place)
                return
        self._new(node, keys)

    def _is_known_view(self, node: GraphNode, keys: list[Key]) -> bool:
        """Whether a node is a view of memory that stays, and so is the same in every run."""
        return (kind_of(node) in _VIEWS and self.plan.layouts[keys[0]].root != keys[0]
                and all([key_of(r) in self.known for r in node.read]))

    def _array(self, reference: Reference) -> np.ndarray:
        return self.known[key_of(reference)]

    def _new(self, node: GraphNode, keys: list[Key]) -> None:
        """A call that makes its own memory, or a view of such."""
        name = f"v{node.number}"
        self.lines.append(f"{name} = {self._call(node)}")
        for key in keys:
            self.names[key] = name if key[1] is None else f"{name}[{key[1]}]"
            if len(keys) == 1:
                self._locals.setdefault(self.plan.layouts[key].root, []).append(name)

    def _into_place(self, node: GraphNode, key: Key, place: Place) -> None:
        if place.how == "arena":
            layout = self.plan.layouts[key]
            target = self._global(f"b{node.number}", np.ndarray(
                layout.shape, layout.dtype, self.arena, self.arena_start + place.at,
                layout.strides))
            self.known[key] = self.globals[target]
            self.lines.extend(self._statements(node, target, self.known[key]))
        elif place.how == "input":
            target = self.names[key] = f"i{place.at}"
            self.lines.extend(self._statements(node, target, None))
        else:
            call = self._call_with(node, f"into[{place.at}]")
            if call is None:
                self._new(node, [key])
                return
            self.names[key] = name = f"v{node.number}"
            self._locals.setdefault(key, []).append(name)
            self.lines.append(f"{name} = {call}")

    def _call(self, node: GraphNode) -> str:
        """A call without target, as an expression."""
        function = node.function
        args = [self._expression(a) for a in self._operands(node)]
        if type(function) is MethodCaller:
            if function.__name__ == "__getitem__":
                return f"{args[0]}[{self._index(node.args[1])}]"
            function_name = f"{args.pop(0)}.{function.__name__}"
        else:
            function_name = self._global(_identifier(node.label), function)
        args += [f"{k}={self._expression(v)}" for k, v in node.kwargs.items()]
        return f"{function_name}({', '.join(args)})"

    def _call_with(self, node: GraphNode, target: str) -> str | None:
        """A call that takes its target, which may be None when it runs, as an expression."""
        kind = kind_of(node)
        args = [self._expression(a) for a in self._operands(node)]
        name = self._global(_identifier(node.label), node.function)
        if isinstance(node.function, np.ufunc):
            by_name = node.function in (np.maximum, np.minimum)  # which take no third operand
            return f"{name}({', '.join([*args, f'out={target}' if by_name else target])})"
        if kind.endswith(".reduce"):
            axis = args[1] if len(args) > 1 else self._expression(node.kwargs.get("axis", 0))
            dtype = self._expression(node.kwargs.get("dtype"))
            keepdims = self._expression(node.kwargs.get("keepdims", False))
            return f"{name}({args[0]}, {axis}, {dtype}, {target}, {keepdims})"
        if kind == "concatenate":
            return f"{name}({', '.join(args)}, out={target})"
        return None

    def _statements(self, node: GraphNode, target: str, known: np.ndarray | None) -> list[str]:
        """Lines that compute a node into its target."""
        call = self._call_with(node, target)
        if call is not None:
            return [call]
        kind, function = kind_of(node), node.function
        if function in (scatter, scatter_add):
            _, number, index, value = node.args
            change = (f"{target}[{self._index(index)}] = {self._expression(value)}"
                      if function is scatter else
                      f"add_at({target}, {self._index(index)}, {self._expression(value)})")
            return [f"{target}.fill({self._expression(number)})", change]
        if writes(node):
            return self._changes(node, target, known)
        if kind == "dot":
            c_order = known is not None and known.flags.c_contiguous
            args = ", ".join(map(self._expression, node.args))
            name = self._global("dot", np.dot)
            return [f"{name}({args}, {target})" if c_order else f"copyto({target}, {name}({args}))"]
        (x, *_) = node.args
        if kind == "reshape" and known is not None:
            shape = self.plan.layouts[key_of(x)].shape
            target = self._global(f"b{node.number}_as_operand", known.reshape(shape))
        elif kind == "reshape":
            return [f"copyto({target}, {self._call(node)})"]
        return [f"copyto({target}, {self._expression(x)}, 'unsafe')"]

    def _changes(self, node: GraphNode, target: str, known: np.ndarray | None) -> list[str]:
        """A write into a copy of the first operand, or into the operand itself."""
        base = key_of(node.args[0])
        lines = []
        if self.plan.places.get(base) != self.plan.places[node.number, None]:
            lines.append(f"copyto({target}, {self._expression(node.args[0])})")
        if node.function is write:
            _, steps, value = node.args
            view = known
            for step in steps if view is not None else ():
                view = step(view)
            if view is None or not np.may_share_memory(view, known):
                return [f"copyto({target}, {self._call(node)})"]
            view.flags.writeable = True  # np.diagonal makes views that are not
            name = self._global(f"b{node.number}_part", view)
            return [*lines, f"copyto({name}, {self._expression(value)}, 'unsafe')"]
        change = node.function.function  # type: ignore[union-attr]
        if change is operator.setitem:
            _, index, value = node.args
            return [*lines, f"{target}[{self._index(index)}] = {self._expression(value)}"]
        args = [target, *map(self._expression, node.args[1:])]
        args += [f"{k}={self._expression(v)}" for k, v in node.kwargs.items()]
        return [*lines, f"{self._global(_identifier(node.label), change)}({', '.join(args)})"]

    # -- expressions -------------------------------------------------------------------------------

    def _expression(self, value: Any) -> str:
        if isinstance(value, Reference):
            key = key_of(value)
            if key in self.known and key not in self.names:
                self.names[key] = self._global(f"b{value.node.number}", self.known[key])
            return self.names[key]
        cls = type(value)
        if cls in (tuple, list) and any([isinstance(r, Reference) for r in value]):
            inner = "".join([f"{self._expression(v)}, " for v in value])
            return f"({inner})" if cls is tuple else f"[{inner}]"
        if value is None or cls in (bool, int, str) or (cls is float and math.isfinite(value)):
            return repr(value)
        return self._global("c", value)

    def _index(self, index: Any) -> str:
        return self._expression(index)

    def _operands(self, node: GraphNode) -> list[Any]:
        """The arguments; for ufuncs, Python numbers as arrays, which NumPy takes quicker."""
        args = list(node.args)
        if isinstance(node.function, np.ufunc):
            dtypes = {a.node.results[a.output or 0][1] for a in args if isinstance(a, Reference)}
            for i, a in enumerate(args):
                if type(a) in (int, float) and len(dtypes) == 1:
                    (dtype,) = dtypes
                    if dtype.kind == "f" or (type(a) is int and dtype.kind == "i" and (
                        np.iinfo(dtype).min <= a <= np.iinfo(dtype).max
                    )):
                        args[i] = np.asarray(a, dtype)
        return args

    def _global(self, name: str, value: Any) -> str:
        """The name of a global variable for an object."""
        known = self._global_names.get(id(value))
        if known is None:
            known = name if name not in self.globals else f"{name}_{len(self.globals)}"
            self.globals[known] = value  # which also keeps the object and its id
            self._global_names[id(value)] = known
        return known

    # -- the end -----------------------------------------------------------------------------------

    def _free(self, i: int, node: GraphNode) -> None:
        """Lets go of large values that were read for the last time."""
        for root in {self.plan.root(r) for r in node.read}:
            names = self._locals.get(root)
            if names and self.plan.last_read(root) == i and (
                self.plan.layouts[root].nbytes >= _WORTH_FREEING
            ):
                self.lines.append(f"{' = '.join(names)} = None")

    def _outputs(self) -> None:
        plan = self.plan
        outputs = plan.graph.outputs
        given: set[Key] = set()  # roots that are handed out
        for k, name in enumerate(plan.returned):
            reference = outputs[name]
            key = key_of(reference)
            layout, root = plan.layouts[key], plan.root(reference)
            value = self._expression(reference)
            place = plan.places.get(root, Place("constant"))
            size = math.prod(plan.layouts[root].shape)
            own = root not in given and place.how in ("new", "result") and (
                layout.is_in_rows and math.prod(layout.shape) == size)
            given.add(root)
            if own and place == Place("result", k) and key == root and self._took_target(key):
                result = f"asarray({value})" if layout.shape == () else value
            else:
                result = f"asarray({value})" if own else f"array({value}, order='C')"
                result = f"{result} if into[{k}] is None else moved(into[{k}], {value})"
            self.lines.append(f"r{k} = {result}")
        late = [(name, plan.graph.inputs[position].number)
                for name, position in plan.updates.items() if name not in plan.written]
        sources = {}
        for j, (name, _) in enumerate(late):
            sources[name] = self._expression(outputs[name])
            if plan.places.get(plan.root(outputs[name]), Place("")).how == "input":
                self.lines.append(f"u{j} = array({sources[name]})")
                sources[name] = f"u{j}"
        self.lines += [f"copyto(i{number}, {sources[name]})" for name, number in late]
        self.lines.append(f"return [{', '.join([f'r{k}' for k in range(len(plan.returned))])}]")

    def _took_target(self, key: Key) -> bool:
        node = next(n for n in self.plan.graph.nodes if n.number == key[0])
        return self._call_with(node, "None") is not None


def _identifier(label: str) -> str:
    """A name for a function; no local variable of the source has one like it."""
    name = label.replace(".", "_")
    is_free = name.isidentifier() and not keyword.iskeyword(name) and not _LOCAL.fullmatch(name)
    return name if is_free else f"call_{name}" if name.isidentifier() else "call"
