"""Trees are taken apart and put together; structures print as PyTorch's."""

from collections import OrderedDict, deque, namedtuple

import pytest

import taper as torch
from taper.func.tree import flatten, leaves, map_tree, spread, unflatten

Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize("tree", [
    1, (), (1, 2), [1, (2, {"a": 3})], {"b": 1, "a": [2, None]}, OrderedDict(x=1), Pair(1, (2,)),
    deque([1, 2], maxlen=3),
])
def test_there_and_back(tree):
    values, structure = flatten(tree)
    assert structure.num_leaves == len(values)
    again = unflatten(values, structure)
    assert again == tree and type(again) is type(tree)


def test_named_results():
    found = map_tree(lambda t: t + 1, torch.max(torch.ones(2, 2), 0))
    assert found.values.tolist() == [2.0, 2.0] and type(found).__name__ == "max"


def test_text():
    assert repr(flatten((1, [2, {"a": 3}]))[1]) == (
        "TreeSpec(tuple, None, [*,\n  TreeSpec(list, None, [*,\n    TreeSpec(dict, ['a'], [*])])])"
    )
    assert repr(flatten(())[1]) == "TreeSpec(tuple, None, [])"


def test_several_trees():
    assert map_tree(lambda a, b: a * b, {"x": 2, "y": (3,)}, {"x": 5, "y": (7,)}) == {
        "x": 10, "y": (21,)
    }
    with pytest.raises(ValueError, match="structures differ"):
        map_tree(lambda a, b: a, (1, 2), [1, 2])


def test_spread():
    structure = flatten(((1, 2), {"a": 3}))[1]
    assert spread(0, structure) == [0, 0, 0]
    assert spread(((0, None), 1), structure) == [0, None, 1]
    assert spread((0, 1, 2), structure) is None
    assert leaves(((1, 2), {"a": 3})) == [1, 2, 3]
