"""Trees: tensors in nested tuples, lists and dicts, taken apart and put together again.

`flatten` gives the leaves from left to right and a `Structure` that can put others in their place;
what is no container is a leaf, None included. Structures print and compare as PyTorch's TreeSpecs.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = [
    "CONTAINERS", "LEAF", "Container", "Structure", "flatten", "is_named_tuple", "leaves",
    "map_tree", "spread", "unflatten",
]


class Structure:
    """The shape of a tree: what kind each container is, and its parts.

    Attributes:
        kind: the class of the container; None for a leaf.
        context: what the class needs beside its parts: the keys of a dict, the named tuple …
    """

    __slots__ = ("context", "kind", "parts")

    def __init__(self, kind: Any, context: Any, parts: list[Structure]) -> None:
        self.kind = kind
        self.context = context
        self.parts = parts

    @property
    def num_leaves(self) -> int:
        return 1 if self.kind is None else sum([p.num_leaves for p in self.parts])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure) or self.kind is not other.kind:
            return False
        return bool(self.context == other.context) and self.parts == other.parts

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self._text(0)

    def _text(self, indent: int) -> str:
        if self.kind is None:
            return "*"
        name = "namedtuple" if isinstance(self.context, type) else self.kind.__name__
        indent += 2
        inner = f",\n{' ' * indent}".join([p._text(indent) for p in self.parts])
        return f"TreeSpec({name}, {self.context}, [{inner}])"


LEAF = Structure(None, None, [])


class Container(NamedTuple):
    """How one class of containers is taken apart and put together.

    apart: gives the parts and the context, which `together` gets with other parts.
    keys: the keys by which the parts are found, for paths; None counts them.
    """

    apart: Callable[[Any], tuple[Iterable[Any], Any]]
    together: Callable[[Iterable[Any], Any], Any]
    keys: Callable[[Any], list[Any]] | None = None


CONTAINERS: dict[type, Container] = {
    tuple: Container(lambda value: (value, None), lambda parts, _: tuple(parts)),
    list: Container(lambda value: (value, None), lambda parts, _: list(parts)),
    dict: Container(
        lambda value: (value.values(), list(value)),
        lambda parts, keys: dict(zip(keys, parts, strict=True)), list,
    ),
    OrderedDict: Container(
        lambda value: (value.values(), list(value)),
        lambda parts, keys: OrderedDict(zip(keys, parts, strict=True)), list,
    ),
    defaultdict: Container(
        lambda value: (value.values(), [value.default_factory, list(value)]),
        lambda parts, context: defaultdict(context[0], zip(context[1], parts, strict=True)), list,
    ),
    deque: Container(
        lambda value: (value, value.maxlen), lambda parts, maxlen: deque(parts, maxlen=maxlen)
    ),
}


def is_named_tuple(kind: type) -> bool:
    """Whether a class is a named tuple, or one of PyTorch's kind with numbered fields too."""
    return issubclass(kind, tuple) and (
        (hasattr(kind, "_fields") and hasattr(kind, "_make")) or hasattr(kind, "n_sequence_fields")
    )


def _taken_apart(value: Any) -> tuple[Any, Any, Iterable[Any]] | None:
    """Kind, context and parts of a container; None for a leaf."""
    kind = type(value)
    container = CONTAINERS.get(kind)
    if container is not None:
        parts, context = container.apart(value)
        return kind, context, parts
    return (kind, kind, value) if isinstance(value, tuple) and is_named_tuple(kind) else None


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves, from left to right, and the structure."""
    found: list[Any] = []
    return found, _flatten_into(found, tree)


def _flatten_into(found: list[Any], tree: Any) -> Structure:
    apart = _taken_apart(tree)
    if apart is None:
        found.append(tree)
        return LEAF
    kind, context, parts = apart
    return Structure(kind, context, [_flatten_into(found, p) for p in parts])


def leaves(tree: Any) -> list[Any]:
    """The leaves, from left to right."""
    return flatten(tree)[0]


def unflatten(values: Iterable[Any], structure: Structure) -> Any:
    """The tree of that structure with these leaves."""
    return _built(iter(values), structure)


def _built(values: Any, structure: Structure) -> Any:
    kind, context = structure.kind, structure.context
    if kind is None:
        return next(values)
    parts = [_built(values, p) for p in structure.parts]
    if kind in CONTAINERS:
        return CONTAINERS[kind].together(parts, context)
    return kind._make(parts) if hasattr(kind, "_make") else kind(parts)


def map_tree(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The tree with ``function(leaf, …)`` in the place of each leaf.

    Raises: ValueError: if `others` have not the structure of `tree`.
    """
    values, structure = flatten(tree)
    columns = [values]
    for other in others:
        more, found = flatten(other)
        if found != structure:
            raise ValueError(f"Tree structures differ: {structure} and {found}")
        columns.append(more)
    return unflatten([function(*row) for row in zip(*columns, strict=True)], structure)


def spread(prefix: Any, structure: Structure) -> list[Any] | None:
    """One entry for each leaf of a structure: those of `prefix`, a tree that may end earlier.

    None if `prefix` is no such tree.
    """
    if type(prefix) is int:
        return [prefix] * structure.num_leaves
    found: list[Any] = []
    return found if _spread_into(found, prefix, structure) else None


def _spread_into(found: list[Any], prefix: Any, structure: Structure) -> bool:
    apart = _taken_apart(prefix)
    if apart is None:
        found += [prefix] * structure.num_leaves
        return True
    kind, context, parts = apart
    parts = list(parts)
    return (
        kind is structure.kind and context == structure.context
        and len(parts) == len(structure.parts)
        and all([_spread_into(found, p, s) for p, s in zip(parts, structure.parts, strict=True)])
    )
