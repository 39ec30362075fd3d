"""One step of a graph: what is called, with which arguments, and who uses the result."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import taper
from taper.fx.immutable_collections import immutable_dict, immutable_list

if TYPE_CHECKING:
    from taper.fx.graph import Graph

__all__ = [
    "Argument", "Node", "Target", "has_side_effect", "map_aggregate", "map_arg", "qualified_name",
]

Target = Callable[..., Any] | str  # a function, or the name of a method, module or attribute
Argument = Any  # a node, a constant, or tuples, lists, dicts and slices of them

OPERATIONS = (
    "placeholder", "get_attr", "call_function", "call_module", "call_method", "output", "root",
)
_with_side_effects: set[Any] = {taper._assert}


def has_side_effect(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function whose calls must stay though nobody uses their results; returns it."""
    _with_side_effects.add(fn)
    return fn


_side_effectful_functions = _with_side_effects


def map_aggregate(a: Any, fn: Callable[[Any], Any]) -> Any:
    """The argument with ``fn(x)`` for all that is in tuples, lists, dicts and slices."""
    if isinstance(a, tuple):
        parts = [map_aggregate(x, fn) for x in a]
        return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
    if isinstance(a, list):
        return immutable_list([map_aggregate(x, fn) for x in a])
    if isinstance(a, dict):
        return immutable_dict({k: map_aggregate(v, fn) for k, v in a.items()})
    if isinstance(a, slice):
        return slice(*[map_aggregate(x, fn) for x in (a.start, a.stop, a.step)])
    return fn(a)


def map_arg(a: Any, fn: Callable[[Node], Any]) -> Any:
    """The argument with ``fn(node)`` in the place of each node."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


def qualified_name(function: Any) -> str:
    """The name of a function by which code can ask for it: ``torch.relu``, ``operator.add``."""
    name = function.__name__
    if getattr(builtins, name, None) is function:
        return str(name)
    if getattr(taper.Tensor, name, None) is function:
        return f"torch.Tensor.{name}"
    module = getattr(function, "__module__", None) or "builtins"
    if module.startswith("taper.") and getattr(taper, name, None) is function:
        return f"torch.{name}"
    return f"{module.replace('_operator', 'operator')}.{name}"


class Node:
    """A step of a `Graph`; made by its methods.

    Attributes:
        op: "placeholder", "get_attr", "call_function", "call_module", "call_method" or "output".
        target: the function, or the name of the input, attribute, module or method.
        args, kwargs: what it is called with; nodes among them stand for their results.
        users: the nodes that use its result.   meta: what passes write down.
        name: of its result.   type: the annotation of an input, or of the result.
    """

    __module__ = "torch.fx.node"

    def __init__(
        self, graph: Graph, name: str, op: str, target: Any, args: tuple[Any, ...],
        kwargs: dict[str, Any], return_type: Any = None,
    ) -> None:
        if op not in OPERATIONS:
            raise AssertionError(f"Unknown op {op!r}")
        if op == "call_function" and not callable(target):
            raise ValueError(
                f"Node [graph = {graph}, name = '{name}'] target {target} has type "
                f"{type(target).__name__} but a Callable is expected"
            )
        self.graph = graph
        self.name = name
        self.op = op
        self.target = target
        self.type = return_type
        self.meta: dict[str, Any] = {}
        self.users: dict[Node, None] = {}
        self.stack_trace: str | None = None
        self._inputs: dict[Node, None] = {}
        self._before: Node = self
        self._after: Node = self
        self._erased = False
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._set_arguments(args, kwargs)

    def _set_arguments(self, args: Any, kwargs: Any) -> None:
        for node in self._inputs:
            node.users.pop(self, None)
        self._inputs = {}

        def note(node: Node) -> Node:
            self._inputs[node] = None
            node.users.setdefault(self)
            return node

        self._args = map_arg(tuple(args), note)
        self._kwargs = map_arg(dict(kwargs), note)

    @property
    def args(self) -> tuple[Any, ...]:
        return self._args

    @args.setter
    def args(self, args: tuple[Any, ...]) -> None:
        self._set_arguments(args, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Any]:
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self._set_arguments(self._args, kwargs)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments."""
        return list(self._inputs)

    @property
    def _input_nodes(self) -> dict[Node, None]:
        return self._inputs

    @property
    def next(self) -> Node:
        """The node after this one."""
        return self._after

    @property
    def prev(self) -> Node:
        """The node before this one."""
        return self._before

    def prepend(self, x: Node) -> None:
        """Moves a node of the same graph to the place before this one."""
        if x.graph is not self.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if x is self:
            return
        x._unlink()
        x._before, x._after = self._before, self
        self._before._after = x
        self._before = x

    def append(self, x: Node) -> None:
        """Moves a node of the same graph to the place after this one."""
        self._after.prepend(x)

    def _unlink(self) -> None:
        self._before._after, self._after._before = self._after, self._before

    def update_arg(self, idx: int, arg: Any) -> None:
        """Replaces one argument."""
        args = list(self._args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Any) -> None:
        """Inserts an argument before the one at `idx`."""
        if not 0 <= idx <= len(self._args):
            raise AssertionError("insert_args index must be between 0 and len(self.args)")
        self.args = (*self._args[:idx], arg, *self._args[idx:])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Replaces, or adds, one argument by name."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Uses another node in the place of one."""
        def swap(node: Node) -> Node:
            return new_input if node is old_input else node

        self._set_arguments(map_arg(self._args, swap), map_arg(self._kwargs, swap))

    def replace_all_uses_with(
        self, replace_with: Node, delete_user_cb: Callable[[Node], bool] = lambda user: True, *,
        propagate_meta: bool = False,
    ) -> list[Node]:
        """Makes all users use another node; returns them."""
        if propagate_meta:
            replace_with.meta.update(self.meta)
        users = [user for user in self.users if delete_user_cb(user)]
        for user in users:
            user.replace_input_with(self, replace_with)
        return users

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether it must stay though nobody uses its result."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            return self.target in _with_side_effects
        if self.op == "call_module":
            module = self.graph.owning_module
            return getattr(module.get_submodule(self.target), "_is_impure", False) if module else (
                False
            )
        return False

    def format_node(
        self, placeholder_names: list[str] | None = None, maybe_return_typename: Any = None
    ) -> str:
        """The node as the printed graph has it."""
        if self.op == "output":
            return f"return {self.args[0]}"
        kind = "" if self.type is None else f"{_type_text(self.type)} "
        head = f"%{self.name} : {kind}[num_users={len(self.users)}]"
        if self.op == "placeholder":
            default = f"(default={self.args[0]})" if self.args else ""
            return f"{head} = {self.op}[target={self.target}]{default}"
        target = self._target_text()
        if self.op == "get_attr":
            return f"{head} = {self.op}[target={target}]"
        kwargs = ", ".join([f"{k}: {_argument_text(v)}" for k, v in self.kwargs.items()])
        return (
            f"{head} = {self.op}[target={target}](args = {_argument_text(self.args)}, "
            f"kwargs = {{{kwargs}}})"
        )

    def _target_text(self) -> str:
        if isinstance(self.target, str):
            return self.target
        path = qualified_name(self.target)
        return path if "." in path else f"builtins.{path}"

    def __repr__(self) -> str:
        return self.name


def _type_text(kind: Any) -> str:
    name = getattr(kind, "__name__", None)
    if kind is taper.Tensor:
        return "torch.Tensor"
    return name if name and not hasattr(kind, "__args__") else repr(kind)


def _argument_text(value: Any) -> str:
    """An argument with nodes as ``%name``."""
    if isinstance(value, Node):
        return f"%{value.name}"
    if isinstance(value, tuple):
        inner = ", ".join([_argument_text(v) for v in value])
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join([_argument_text(v) for v in value])}]"
    if isinstance(value, dict):
        return "{" + ", ".join([f"{k}: {_argument_text(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, slice):
        parts = [_argument_text(v) for v in (value.start, value.stop, value.step)]
        return f"slice({', '.join(parts)})"
    return str(value)
