"""PyTorch's private names for trees."""

from taper.utils import _pytree as pytree

TREE = {"a": 1, "b": [2.0, (3,)]}


def test_names():
    values, structure = pytree.tree_flatten(TREE)
    assert values == pytree.tree_leaves(TREE) == [1, 2.0, 3]
    assert structure == pytree.tree_structure(TREE) and isinstance(structure, pytree.TreeSpec)
    assert pytree.tree_unflatten([4, 5, 6], structure) == {"a": 4, "b": [5, (6,)]}
    assert pytree.tree_map(lambda a, b: a + b, TREE, TREE) == {"a": 2, "b": [4.0, (6,)]}
    assert pytree.tree_map_only(int, str, TREE) == {"a": "1", "b": [2.0, ("3",)]}
    assert pytree.tree_any(lambda x: x > 2, TREE) and not pytree.tree_all(lambda x: x > 2, TREE)
    assert pytree.tree_structure(1) == pytree.LeafSpec()


def test_map_in_place():
    seen = []
    assert pytree.tree_map_(seen.append, TREE) is TREE
    assert seen == [1, 2.0, 3]
