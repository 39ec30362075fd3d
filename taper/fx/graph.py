"""A graph: nodes in the order in which they run, and how nodes are added, moved and removed."""

from __future__ import annotations

import builtins
import keyword
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from taper.fx.code import PythonCode, python_code
from taper.fx.node import Node, map_arg

__all__ = ["CodeGen", "Graph"]


class CodeGen:
    """How a graph becomes Python; see code.py. Programs of their own kind may derive from it."""

    def __init__(self) -> None:
        self._func_name = "forward"


class _Names:
    """Names that are free, and no words of Python."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.counts: dict[str, int] = defaultdict(int)

    def create(self, wanted: str) -> str:
        wanted = re.sub(r"[^0-9a-zA-Z_]+", "_", wanted) or "_unnamed"
        if wanted[0].isdigit():
            wanted = f"_{wanted}"
        numbered = re.fullmatch(r"(.*)_(\d+)", wanted)
        base = numbered[1] if numbered else wanted
        number = int(numbered[2]) if numbered else 0
        found = wanted
        number = number or self.counts[base]
        while found in self.used or _is_word(found):
            number += 1
            found = f"{base}_{number}"
        self.used.add(found)
        self.counts[base] = number
        return found


def _is_word(name: str) -> bool:
    return keyword.iskeyword(name) or hasattr(builtins, name) or name in (
        "torch", "device", "inf", "nan", "NoneType"
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


class _Nodes:
    """The nodes in order; they may be changed while somebody goes through them."""

    def __init__(self, graph: Graph, backwards: bool = False) -> None:
        self.graph = graph
        self.backwards = backwards

    def __len__(self) -> int:
        return self.graph._count

    def __iter__(self) -> Iterator[Node]:
        root = self.graph._root
        node = root.prev if self.backwards else root.next
        while node is not root:
            if not node._erased:
                yield node
            node = node.prev if self.backwards else node.next

    def __reversed__(self) -> _Nodes:
        return _Nodes(self.graph, not self.backwards)


class _Insertion:
    """Where new nodes go, within a block or from now on."""

    def __init__(self, graph: Graph, insert: Callable[[Node], None]) -> None:
        self.graph = graph
        self.before, graph._insert = graph._insert, insert

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        self.graph._insert = self.before


class _Column(NamedTuple):
    title: str
    text: Callable[[Node], str]


class Graph:
    """What a traced function calls, in order.

    Example:
        >>> import taper as torch
        >>> graph = torch.fx.Graph()
        >>> x = graph.placeholder("x")
        >>> _ = graph.output(graph.call_function(torch.relu, (x,)))
        >>> print(graph)
        graph():
            %x : [num_users=1] = placeholder[target=x]
            %relu : [num_users=1] = call_function[target=torch.relu](args = (%x,), kwargs = {})
            return relu
    """

    __module__ = "torch.fx.graph"

    def __init__(
        self, owning_module: Any = None, tracer_cls: Any = None, tracer_extras: Any = None
    ) -> None:
        self._root = Node(self, "", "root", "", (), {})
        self._count = 0
        self._insert: Callable[[Node], None] = self._root.prepend
        self._names = _Names()
        self._codegen = CodeGen()
        self.owning_module = owning_module
        self._tracer_cls = tracer_cls

    @property
    def nodes(self) -> _Nodes:
        """All nodes in order."""
        return _Nodes(self)

    def output_node(self) -> Node:
        """The node of the result."""
        return next(node for node in reversed(self.nodes) if node.op == "output")

    def find_nodes(self, *, op: str, target: Any = None, sort: bool = True) -> list[Node]:
        """The nodes of an operation, and of a target where one is given."""
        return [
            node for node in self.nodes
            if node.op == op and (target is None or node.target == target)
        ]

    # -- adding --------------------------------------------------------------------------------

    def create_node(
        self, op: str, target: Any, args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None, name: str | None = None, type_expr: Any = None,
    ) -> Node:
        """Adds a node where nodes are being inserted: at the end, if nothing else was said."""
        wanted = name if name is not None else self._name_for(op, target)
        node = Node(
            self, self._names.create(wanted), op, target, args or (), kwargs or {}, type_expr
        )
        self._insert(node)
        self._count += 1
        return node

    def _name_for(self, op: str, target: Any) -> str:
        if isinstance(target, str):
            wanted = target
        else:
            wanted = getattr(target, "__name__", type(target).__name__)
        if wanted.startswith("__") and wanted.endswith("__"):
            wanted = wanted[2:-2]
        return wanted if op == "placeholder" else _snake_case(wanted)

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """Adds an input. `default_value`: none if it is not given."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """Adds the reading of a parameter, buffer or attribute."""
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(
        self, module_name: str, args: Any = None, kwargs: Any = None, type_expr: Any = None
    ) -> Node:
        """Adds the call of a submodule."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(
        self, method_name: str, args: Any = None, kwargs: Any = None, type_expr: Any = None
    ) -> Node:
        """Adds the call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self, the_function: Callable[..., Any], args: Any = None, kwargs: Any = None,
        type_expr: Any = None, name: str | None = None,
    ) -> Node:
        """Adds the call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name, type_expr)

    def output(self, result: Any, type_expr: Any = None) -> Node:
        """Adds the result."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda x: x) -> Node:
        """Adds a copy of a node of another graph; `arg_transform` gives what stands for inputs."""
        copy = self.create_node(
            node.op, node.target, map_arg(node.args, arg_transform),
            map_arg(node.kwargs, arg_transform), node.name, node.type,
        )
        copy.meta = dict(node.meta)
        return copy

    def graph_copy(
        self, g: Graph, val_map: dict[Node, Any], return_output_node: bool = False
    ) -> Any:
        """Adds copies of all nodes of a graph but its output, whose argument is returned."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], lambda n: val_map[n])
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def inserting_before(self, n: Node | None = None) -> _Insertion:
        """New nodes come before this one: from now on, or within a ``with`` block."""
        return self.inserting_after(self._root) if n is None else _Insertion(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _Insertion:
        """New nodes come after this one, in the order they are added."""
        if n is None:
            return _Insertion(self, self._root.prepend)
        place = n

        def insert(node: Node) -> None:
            nonlocal place
            place.append(node)
            place = node

        return _Insertion(self, insert)

    # -- removing ------------------------------------------------------------------------------

    def erase_node(self, to_erase: Node) -> None:
        """Removes a node that nobody uses.

        Raises: RuntimeError: if it has users.
        """
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in "
                f"the graph: {to_erase.users}!"
            )
        if to_erase._erased:
            return
        to_erase._unlink()
        to_erase._erased = True
        self._count -= 1
        to_erase._set_arguments((), {})

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Removes nodes that nobody uses and that have no effect; says whether there were any."""
        self.lint()
        is_impure = is_impure_node or Node.is_impure
        found = False
        for node in reversed(self.nodes):
            if not node.users and not is_impure(node):
                self.erase_node(node)
                found = True
        return found

    # -- checks, text, code --------------------------------------------------------------------

    def lint(self) -> None:
        """Raises RuntimeError if a node uses what comes later, or modules that aren't there."""
        seen: set[Node] = set()
        names: set[str] = set()
        for node in self.nodes:
            if node.graph is not self:
                raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
            for used in node.all_input_nodes:
                if used not in seen:
                    raise RuntimeError(
                        f"Argument '{used}' of Node '{node}' was used before it has been defined! "
                        "Please check that Nodes in the graph are topologically ordered"
                    )
            if node.name in names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            seen.add(node)
            names.add(node.name)
            if self.owning_module is not None and node.op in ("get_attr", "call_module"):
                self._check_target(node)

    def _check_target(self, node: Node) -> None:
        found = self.owning_module
        for part in node.target.split("."):
            if not hasattr(found, part):
                raise RuntimeError(
                    f"Node {node} target {node.target} references nonexistent attribute {part} "
                    f"of {type(found).__name__}"
                )
            found = getattr(found, part)

    def python_code(self, root_module: str, **options: Any) -> PythonCode:
        """The graph as a Python function ``forward``; `root_module` is the name of its self."""
        return python_code(self, root_module)

    def set_codegen(self, codegen: CodeGen) -> None:
        """Sets what `python_code` asks."""
        self._codegen = codegen

    def print_tabular(self) -> None:
        """Prints the nodes as a table."""
        columns = [
            _Column("opcode", lambda n: n.op), _Column("name", lambda n: n.name),
            _Column("target", lambda n: str(n.target)), _Column("args", lambda n: str(n.args)),
            _Column("kwargs", lambda n: str(n.kwargs)),
        ]
        rows = [[column.text(node) for column in columns] for node in self.nodes]
        table = [[column.title for column in columns], *rows]
        widths = [max(len(column[0]) + 2, *map(len, column)) for column in zip(*table, strict=True)]
        table.insert(1, ["-" * width for width in widths])
        for row in table:
            print("  ".join([text.ljust(w) for text, w in zip(row, widths, strict=True)]).rstrip())

    def __str__(self) -> str:
        return "graph():" + "".join([f"\n    {node.format_node()}" for node in self.nodes])

    def __deepcopy__(self, memo: Any = None) -> Graph:
        copy = Graph(tracer_cls=self._tracer_cls)
        copy._codegen = self._codegen
        places: dict[Node, Node] = {}
        found = copy.graph_copy(self, places, return_output_node=True)
        if found is not None:
            copy.output(found[0], found[1].type).meta = dict(found[1].meta)
        return copy
