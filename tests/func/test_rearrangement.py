"""rearrange: patterns of names."""

import pytest

import taper as torch
from taper.func import rearrange

X = torch.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize(("pattern", "sizes", "expected"), [
    ("a b c -> c a b", {}, X.permute(2, 0, 1)),
    ("a b c -> (a b) c", {}, X.reshape(6, 4)),
    ("a b (c d) -> a (d b) c", {"c": 2},
     X.reshape(2, 3, 2, 2).permute(0, 3, 1, 2).reshape(2, 6, 2)),
    ("a ... -> ... a", {}, X.permute(1, 2, 0)),
    ("a ... -> (... a)", {}, X.permute(1, 2, 0).reshape(-1)),
    ("a b c -> a 1 b c", {}, X.unsqueeze(1)),
])
def test_patterns(pattern, sizes, expected):
    assert torch.equal(rearrange(X, pattern, **sizes), expected)


def test_a_list_is_stacked():
    assert rearrange([X, X], "n a b c -> (n a) b c").shape == (4, 3, 4)


@pytest.mark.parametrize("pattern", [
    "a b c", "a b -> b a", "a b c -> a b", "a b b -> b b a", "a b (c d) -> a b c d",
])
def test_wrong_patterns(pattern):
    with pytest.raises(ValueError):
        rearrange(X, pattern)
