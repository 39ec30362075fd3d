"""torch.utils._pytree, which is private in PyTorch but used by many programs: see func/tree.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from taper.func.tree import LEAF, Structure, flatten, leaves, map_tree, unflatten

__all__ = [
    "LeafSpec", "TreeSpec", "tree_all", "tree_any", "tree_flatten", "tree_leaves", "tree_map",
    "tree_map_", "tree_map_only", "tree_structure", "tree_unflatten",
]

TreeSpec = Structure
tree_flatten = flatten
tree_leaves = leaves
tree_map = map_tree


def LeafSpec() -> Structure:
    """Returns the structure of a leaf."""
    return LEAF


def tree_unflatten(leaves: Iterable[Any], treespec: Structure) -> Any:
    """Returns the tree of that structure with these leaves."""
    return unflatten(leaves, treespec)


def tree_structure(tree: Any) -> Structure:
    """Returns the structure of a tree."""
    return flatten(tree)[1]


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any) -> Any:
    """Calls ``func(leaf, …)`` for each leaf and returns the tree as it was."""
    map_tree(func, tree, *rests)
    return tree


def tree_map_only(kind: Any, func: Any = None, tree: Any = None) -> Any:
    """Returns the tree with ``func(leaf)`` in place of leaves of a class, or of several."""
    def chosen(value: Any) -> Any:
        return func(value) if isinstance(value, kind) else value

    return map_tree(chosen, tree)


def tree_any(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Returns whether ``pred(leaf)`` holds for any leaf."""
    return any([pred(value) for value in leaves(tree)])


def tree_all(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Returns whether ``pred(leaf)`` holds for all leaves."""
    return all([pred(value) for value in leaves(tree)])
