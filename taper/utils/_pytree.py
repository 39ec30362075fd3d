"""torch.utils._pytree, which is private in PyTorch but used by many programs: see func/tree.py."""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from taper.func.tree import (
    CONTAINERS,
    LEAF,
    Container,
    Structure,
    flatten,
    is_named_tuple,
    leaves,
    map_tree,
    unflatten,
)

__all__ = [
    "SUPPORTED_NODES", "Context", "GetAttrKey", "LeafSpec", "MappingKey", "PyTree", "SequenceKey",
    "TreeSpec", "arg_tree_leaves", "is_namedtuple", "is_namedtuple_class", "keystr",
    "register_pytree_node", "tree_all", "tree_all_only", "tree_any", "tree_any_only",
    "tree_flatten", "tree_flatten_with_path", "tree_is_leaf", "tree_iter", "tree_leaves",
    "tree_leaves_with_path", "tree_map", "tree_map_", "tree_map_only", "tree_map_only_",
    "tree_map_with_path", "tree_structure", "tree_unflatten", "treespec_dumps", "treespec_loads",
]

Context = Any
PyTree = Any
TreeSpec = Structure
KeyPath = tuple[Any, ...]
tree_flatten = flatten
tree_leaves = leaves
tree_map = map_tree


class MappingKey(NamedTuple):
    """A step of a path: the key of a dict."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        """The part that it leads to."""
        return mapping[self.key]


class SequenceKey(NamedTuple):
    """A step of a path: the place in a sequence."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        """The part that it leads to."""
        return sequence[self.idx]


class GetAttrKey(NamedTuple):
    """A step of a path: the name of an attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:
        """The part that it leads to."""
        return getattr(obj, self.name)


def _namedtuple_flatten(value: Any) -> tuple[list[Any], Any]:
    return list(value), type(value)


def _namedtuple_unflatten(values: Iterable[Any], context: Any) -> Any:
    return context(*values)


class NodeDef(NamedTuple):
    """How a registered class is taken apart and put together, under PyTorch's names."""

    type: Any
    flatten_fn: Callable[[Any], tuple[list[Any], Any]]
    unflatten_fn: Callable[[Iterable[Any], Any], Any]
    flatten_with_keys_fn: Any = None


def _definition(kind: type) -> NodeDef:
    container = CONTAINERS[kind]

    def take_apart(value: Any) -> tuple[list[Any], Any]:
        parts, context = container.apart(value)
        return list(parts), context

    return NodeDef(kind, take_apart, container.together)


SUPPORTED_NODES: dict[Any, NodeDef] = {
    **{kind: _definition(kind) for kind in CONTAINERS},
    namedtuple: NodeDef(namedtuple, _namedtuple_flatten, _namedtuple_unflatten),
}
_dict_flatten = SUPPORTED_NODES[dict].flatten_fn
_dict_unflatten = SUPPORTED_NODES[dict].unflatten_fn
_NAMES: dict[Any, str] = {
    tuple: "builtins.tuple", list: "builtins.list", dict: "builtins.dict",
    OrderedDict: "collections.OrderedDict", defaultdict: "collections.defaultdict",
    deque: "collections.deque",
}
_CONTEXTS: dict[Any, tuple[Any, Any]] = {}  # kind → to and from what json can write


def _dict_flatten_with_keys(mapping: Any) -> tuple[list[tuple[Any, Any]], Any]:
    return [(MappingKey(k), v) for k, v in mapping.items()], list(mapping)


def register_pytree_node(
    cls: type, flatten_fn: Any, unflatten_fn: Any, *, serialized_type_name: str | None = None,
    to_dumpable_context: Any = None, from_dumpable_context: Any = None,
    flatten_with_keys_fn: Any = None,
) -> None:
    """Makes a class a container of trees.

    Args:
        flatten_fn: gives the parts and a context.
        unflatten_fn: gets parts and the context, and gives an instance.
        serialized_type_name, to_dumpable_context, from_dumpable_context: for `treespec_dumps`.
        flatten_with_keys_fn: like `flatten_fn`, each part with its step of a path.
    Raises:
        ValueError: if the class is registered already.
    Example:
        >>> import taper as torch
        >>> class Pair:
        ...     def __init__(self, a, b):
        ...         self.a, self.b = a, b
        >>> tree = torch.utils._pytree
        >>> tree.register_pytree_node(
        ...     Pair, lambda p: ([p.a, p.b], None), lambda parts, _: Pair(*parts))
        >>> tree.tree_leaves([Pair(1, 2), 3])
        [1, 2, 3]
    """
    if cls in CONTAINERS:
        raise ValueError(f"{cls} is already registered as pytree node.")
    if (to_dumpable_context is None) != (from_dumpable_context is None):
        raise ValueError(
            f"Both to_dumpable_context and from_dumpable_context for {cls} must be None or "
            "registered."
        )
    keys = None
    if flatten_with_keys_fn is not None:
        def keys(value: Any) -> list[Any]:
            return [key for key, _ in flatten_with_keys_fn(value)[0]]

    CONTAINERS[cls] = Container(flatten_fn, unflatten_fn, keys)
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
    if serialized_type_name is not None:
        _NAMES[cls] = serialized_type_name
    if to_dumpable_context is not None:
        _CONTEXTS[cls] = to_dumpable_context, from_dumpable_context


_register_pytree_node = register_pytree_node


def _deregister_pytree_node(cls: type) -> None:
    del CONTAINERS[cls], SUPPORTED_NODES[cls]
    _NAMES.pop(cls, None)
    _CONTEXTS.pop(cls, None)


def is_namedtuple(obj: Any) -> bool:
    """Whether an object, or a class, is a named tuple."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_namedtuple_class(cls: type) -> bool:
    """Whether a class is a named tuple's."""
    return is_named_tuple(cls) and hasattr(cls, "_fields")


is_namedtuple_instance = is_namedtuple


def _get_node_type(tree: Any) -> Any:
    """The key under which `SUPPORTED_NODES` knows how to take a container apart."""
    return namedtuple if is_named_tuple(type(tree)) else type(tree)


def LeafSpec() -> Structure:
    """Returns the structure of a leaf."""
    return LEAF


def tree_is_leaf(tree: Any) -> bool:
    """Whether something is no container."""
    return flatten(tree)[1] is LEAF


def tree_unflatten(leaves: Iterable[Any], treespec: Structure) -> Any:
    """Returns the tree of that structure with these leaves."""
    return unflatten(leaves, treespec)


def tree_structure(tree: Any) -> Structure:
    """Returns the structure of a tree."""
    return flatten(tree)[1]


def tree_iter(tree: Any) -> Iterable[Any]:
    """Goes through the leaves."""
    return iter(leaves(tree))


def arg_tree_leaves(*args: Any, **kwargs: Any) -> list[Any]:
    """The leaves of all arguments."""
    return [*leaves(args), *leaves(kwargs)]


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any) -> Any:
    """Calls ``func(leaf, …)`` for each leaf and returns the tree as it was."""
    map_tree(func, tree, *rests)
    return tree


def tree_map_only(kind: Any, func: Any = None, tree: Any = None) -> Any:
    """Returns the tree with ``func(leaf)`` in place of leaves of a class, or of several."""
    def chosen(value: Any) -> Any:
        return func(value) if isinstance(value, kind) else value

    return map_tree(chosen, tree)


def tree_map_only_(kind: Any, func: Any = None, tree: Any = None) -> Any:
    """Calls ``func(leaf)`` for leaves of a class, or of several, and returns the tree."""
    tree_map_only(kind, func, tree)
    return tree


def tree_any(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Returns whether ``pred(leaf)`` holds for any leaf."""
    return any([pred(value) for value in leaves(tree)])


def tree_all(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Returns whether ``pred(leaf)`` holds for all leaves."""
    return all([pred(value) for value in leaves(tree)])


def tree_any_only(kind: Any, pred: Callable[[Any], bool], tree: Any) -> bool:
    """Returns whether ``pred(leaf)`` holds for any leaf of a class."""
    return any([pred(value) for value in leaves(tree) if isinstance(value, kind)])


def tree_all_only(kind: Any, pred: Callable[[Any], bool], tree: Any) -> bool:
    """Returns whether ``pred(leaf)`` holds for all leaves of a class."""
    return all([pred(value) for value in leaves(tree) if isinstance(value, kind)])


# -- paths -----------------------------------------------------------------------------------------


def tree_leaves_with_path(tree: Any) -> list[tuple[KeyPath, Any]]:
    """The leaves, each with the steps that lead to it."""
    return list(_walk((), tree))


def tree_flatten_with_path(tree: Any) -> tuple[list[tuple[KeyPath, Any]], Structure]:
    """The leaves with their paths, and the structure."""
    return tree_leaves_with_path(tree), tree_structure(tree)


def tree_map_with_path(func: Callable[..., Any], tree: Any, *rests: Any) -> Any:
    """Returns the tree with ``func(path, leaf, …)`` in the place of each leaf."""
    paths = iter([path for path, _ in tree_leaves_with_path(tree)])
    return map_tree(lambda *values: func(next(paths), *values), tree, *rests)


def keystr(kp: KeyPath) -> str:
    """A path as text: ``['a'][1]``."""
    return "".join([str(key) for key in kp])


def _walk(path: KeyPath, tree: Any) -> Iterable[tuple[KeyPath, Any]]:
    kind = type(tree)
    container = CONTAINERS.get(kind)
    if container is None:
        if not (isinstance(tree, tuple) and is_named_tuple(kind)):
            yield path, tree
            return
        names = getattr(kind, "_fields", None) or map(str, range(len(tree)))
        keys: Any = [GetAttrKey(name) for name in names]
        parts: Any = tree
    else:
        parts = list(container.apart(tree)[0])
        if container.keys is None:
            keys = [SequenceKey(i) for i in range(len(parts))]
        else:
            keys = container.keys(tree)
            if kind in (dict, OrderedDict, defaultdict):
                keys = [MappingKey(key) for key in keys]
    for key, part in zip(keys, parts, strict=True):
        yield from _walk((*path, key), part)


# -- structures as text ----------------------------------------------------------------------------


def treespec_dumps(treespec: Structure, protocol: int | None = None) -> str:
    """A structure as JSON.

    Raises: NotImplementedError: for classes registered without `serialized_type_name`.
    """
    return json.dumps((1 if protocol is None else protocol, _dumped(treespec)))


def _dumped(spec: Structure) -> dict[str, Any]:
    if spec.kind is None:
        return {"type": None, "context": None, "children_spec": []}
    if spec.kind not in _NAMES:
        raise NotImplementedError(
            f"No registered serialization name for {spec.kind} found. Please call "
            "register_pytree_node with serialized_type_name."
        )
    to_json = _CONTEXTS.get(spec.kind, (json.dumps,))[0]
    return {
        "type": _NAMES[spec.kind], "context": to_json(spec.context),
        "children_spec": [_dumped(part) for part in spec.parts],
    }


def treespec_loads(serialized: str) -> Structure:
    """The structure that `treespec_dumps` wrote."""
    protocol, spec = json.loads(serialized)
    if protocol != 1:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [1]")
    return _loaded(spec)


def _loaded(spec: dict[str, Any]) -> Structure:
    if spec["type"] is None:
        return LEAF
    kind = next((kind for kind, name in _NAMES.items() if name == spec["type"]), None)
    if kind is None:
        raise NotImplementedError(f"No registered class for {spec['type']}")
    from_json = _CONTEXTS.get(kind, (None, json.loads))[1]
    parts = [_loaded(part) for part in spec["children_spec"]]
    return Structure(kind, from_json(spec["context"]), parts)
