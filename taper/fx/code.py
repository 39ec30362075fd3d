"""A graph as Python: the text of a function, and the objects that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import taper
from taper.fx.node import Node, qualified_name

if TYPE_CHECKING:
    from taper.fx.graph import Graph

__all__ = ["PythonCode", "python_code"]

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "lshift": "<<", "rshift": ">>", "and_": "&", "or_": "|", "xor": "^",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}
_UNARY = {"neg": "-", "pos": "+", "invert": "~"}


class PythonCode(NamedTuple):
    """src: the text. globals: what its names mean."""

    src: str
    globals: dict[str, Any]


def python_code(graph: Graph, root: str) -> PythonCode:
    """The function ``forward`` of a graph. Values are let go of after their last use."""
    writer = _Writer(root)
    last_uses = _last_uses(graph)
    for node in graph.nodes:
        writer.write(node, last_uses.get(node, []) if node.op != "output" else [])
    body = "".join([f"    {line}\n" for line in writer.lines or ["pass"]])
    parameters = ", ".join([root, *writer.parameters])
    source = (
        f"{writer.wrapping}\n\ndef {graph._codegen._func_name}({parameters}){writer.returns}:\n"
        f"{body}    "
    )
    return PythonCode(source, writer.globals)


def _last_uses(graph: Graph) -> dict[Node, list[Node]]:
    """Which values each node is the last to use; its own if nobody uses that."""
    seen: set[Node] = set()
    last: dict[Node, list[Node]] = {}
    for node in reversed(graph.nodes):
        for used in node.all_input_nodes:
            if used not in seen:
                seen.add(used)
                last.setdefault(node, []).append(used)
        if not node.users and node.op != "placeholder":
            last.setdefault(node, []).append(node)
    return last


class _Writer:
    """Writes the lines of the function, and collects the objects they name."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.lines: list[str] = []
        self.parameters: list[str] = []
        self.returns = ""
        self.wrapped: list[str] = []
        self.globals: dict[str, Any] = {"torch": taper}

    @property
    def wrapping(self) -> str:
        """The lines above the function: what shall be one step if its graph is traced again."""
        path = "torch.fx._symbolic_trace.wrap"
        return "\n" + "\n".join([f'{path}("{name}")' for name in self.wrapped])

    def write(self, node: Node, done: list[Node]) -> None:
        text = self._text(node)
        if text is not None:
            end = f";  {' = '.join([*[n.name for n in done], 'None'])}" if done else ""
            self.lines.append(text + end)

    def _text(self, node: Node) -> str | None:
        if node.op == "placeholder":
            return self._parameter(node)
        if node.op == "output":
            self.returns = f" -> {self._type(node.type)}" if node.type is not None else ""
            return f"return {self._argument(node.args[0])}"
        kind = f" : {self._type(node.type)}" if node.type is not None else ""
        return f"{node.name}{kind} = {self._value(node)}"

    def _parameter(self, node: Node) -> str | None:
        plain = node.target.lstrip("*")
        kind = f" : {self._type(node.type)}" if node.type is not None else ""
        default = f" = {self._argument(node.args[0])}" if node.args else ""
        self.parameters.append(f"{node.target}{kind}{default}")
        if plain != node.name or "*" in node.target:
            if plain == node.name:
                return None
            return f"{node.name} = {plain}"
        return None

    def _value(self, node: Node) -> str:
        if node.op == "get_attr":
            return self._attribute(self.root, node.target)
        if node.op == "call_module":
            return f"{self._attribute(self.root, node.target)}({self._arguments(node)})"
        if node.op == "call_method":
            owner, *rest = node.args
            return f"{self._operand(owner)}.{node.target}({self._arguments(node, rest)})"
        return self._call(node)

    def _call(self, node: Node) -> str:
        target, args = node.target, node.args
        name = getattr(target, "__name__", "")
        if getattr(target, "__module__", None) == "_operator" and not node.kwargs:
            if name in _SIGNS and len(args) == 2:
                return f"{self._operand(args[0])} {_SIGNS[name]} {self._operand(args[1])}"
            if name in _UNARY and len(args) == 1:
                return f"{_UNARY[name]}{self._operand(args[0])}"
            if name == "getitem" and len(args) == 2:
                return f"{self._operand(args[0])}[{self._argument(args[1])}]"
        if target is getattr and len(args) == 2 and isinstance(args[1], str) and (
            args[1].isidentifier()
        ):
            return f"{self._operand(args[0])}.{args[1]}"
        function = self._global(target)
        if node.meta.get("is_wrapped") and function not in self.wrapped:
            self.wrapped.append(function)
        return f"{function}({self._arguments(node)})"

    def _global(self, target: Any) -> str:
        """The name of an object, which the function's globals get."""
        path = qualified_name(target)
        if path.startswith("torch.") or "." not in path:
            return path
        if path.startswith("operator."):
            path = f"_{path}"
        name = re.sub(r"\W", "_", path)
        while self.globals.get(name, target) is not target:
            name += "_1"
        self.globals[name] = target
        return name

    def _arguments(self, node: Node, args: Any = None) -> str:
        given = [self._argument(a) for a in (node.args if args is None else args)]
        return ", ".join([*given, *[f"{k} = {self._argument(v)}" for k, v in node.kwargs.items()]])

    def _operand(self, value: Any) -> str:
        text = self._argument(value)
        return text if isinstance(value, Node) or not text.startswith("-") else f"({text})"

    def _argument(self, value: Any) -> str:
        if isinstance(value, Node):
            return value.name
        if isinstance(value, tuple):
            inner = ", ".join([self._argument(v) for v in value])
            if hasattr(value, "_fields"):
                return f"{self._global(type(value))}({inner})"
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, list):
            return f"[{', '.join([self._argument(v) for v in value])}]"
        if isinstance(value, dict):
            parts = [f"{k!r}: {self._argument(v)}" for k, v in value.items()]
            return "{" + ", ".join(parts) + "}"
        if isinstance(value, slice):
            parts = [self._argument(v) for v in (value.start, value.stop, value.step)]
            return f"slice({', '.join(parts)})"
        if isinstance(value, float) and repr(value) in ("inf", "-inf", "nan"):
            return f"float('{value!r}')"
        if callable(value) and hasattr(value, "__name__"):
            return self._global(value)
        text = repr(value)
        if isinstance(value, taper.device):
            return f"torch.{text}"
        return text

    def _type(self, kind: Any) -> str:
        if isinstance(kind, str):
            return kind
        if kind is taper.Tensor:
            return "torch.Tensor"
        name = getattr(kind, "__name__", None)
        if isinstance(kind, type) and kind.__module__ == "builtins" and name:
            return str(name)
        name = re.sub(r"\W+", "_", repr(kind)).strip("_")
        self.globals[name] = kind
        return name

    @staticmethod
    def _attribute(base: str, path: str) -> str:
        for part in path.split("."):
            base = f"{base}.{part}" if part.isidentifier() else f'getattr({base}, "{part}")'
        return base
